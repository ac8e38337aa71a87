"""One training step as one graph for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from workbench.losses import LOSSES, MASKS
from workbench.model import SequenceModel
from workbench.training.objective import Batch, batch_loss, check_name, counted, dense_gradients


class PerLength:
    """A function of a batch as a `tf.function` whose graph serves batches of any size.

    One graph for any padded length, too; or one for each padded length, where the model unrolls while tracing
    (`needs_static_length`). `traces` counts the graphs; nothing is ever traced again for another batch size.
    """

    def __init__(self, model: SequenceModel, function: Callable[[Batch], Any]):
        self._model, self._function = model, function
        self._concrete: dict[int | None, Any] = {}
        self.traces = 0

    def __call__(self, batch: Batch) -> Any:
        """Run on a batch; traces first if this padded length is new and needs a graph of its own."""
        return self.trace(batch)(_fields(batch))

    def trace(self, batch: Batch) -> Any:
        """The `ConcreteFunction` that serves this batch."""
        key = self._key(batch)
        if key not in self._concrete:
            # counted inside the function, that is while tracing: what counts is what TensorFlow did
            def counted(fields: Batch) -> Any:
                self.traces += 1
                return self._function(fields)

            traced = tf.function(counted, input_signature=[self._model.batch_signature(key)], autograph=False)
            self._concrete[key] = traced.get_concrete_function()
        return self._concrete[key]

    def would_trace(self, batch: Batch) -> bool:
        """Whether this batch would make a new graph."""
        return self._key(batch) not in self._concrete

    def _key(self, batch: Batch) -> int | None:
        return int(batch["inputs"].shape[1]) if self._model.needs_static_length else None


def _fields(batch: Batch) -> dict[str, tf.Tensor]:
    """Only what a graph takes: a batch may hold more (its examples' numbers)."""
    return {name: tf.convert_to_tensor(batch[name]) for name in ("inputs", "labels", "length")}


class TrainStep:
    """One training step: forward, loss, gradients, clipping, update.

    Calling it gives the batch's loss before the update, a scalar on the device.
    """

    def __init__(
        self,
        model: SequenceModel,
        optimizer: keras.optimizers.Optimizer,
        loss: str,
        mask: str,
        clip_norm: float | None,
    ):
        variables = model.trainable_variables
        optimizer.build(variables)

        def step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                logits = model(batch, training=True)
                parts = batch_loss(model, batch, logits, loss=loss, mask=mask)
                value = parts.sum / parts.denominator
            gradients = dense_gradients(tape, value, variables)
            if clip_norm is not None:
                gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
            optimizer.apply(gradients, variables)
            return value, counted(parts)

        self._run = PerLength(model, step)

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Train on the batch; its loss before the update."""
        return self._run(batch)[0]

    def with_denominator(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on the batch; its loss and what that was divided by (valid tokens, or examples)."""
        return self._run(batch)

    def trace(self, batch: Batch) -> Any:
        """The `ConcreteFunction` that serves this batch, traced if it is not yet."""
        return self._run.trace(batch)

    def would_trace(self, batch: Batch) -> bool:
        """Whether this batch would make a new graph."""
        return self._run.would_trace(batch)

    @property
    def traces(self) -> int:
        """Graphs traced so far."""
        return self._run.traces


def make_train_step(
    model: SequenceModel,
    optimizer: keras.optimizers.Optimizer,
    loss: str = "token",
    mask: str = "length",
    clip_norm: float | None = None,
) -> TrainStep:
    """A `TrainStep` by the names of a loss in LOSSES and a mask in MASKS."""
    check_name("loss", loss, LOSSES)
    check_name("mask", mask, MASKS)
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is {clip_norm}: must be above 0, or None for no clipping")
    return TrainStep(model, optimizer, loss, mask, clip_norm)
