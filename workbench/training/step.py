"""One training step as one graph for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.training.distribution import one
from workbench.training.objective import (
    Batch,
    batch_loss,
    counted,
    dense_gradients,
    forget_penalties,
    penalty,
)


class Done(NamedTuple):
    """What a training step did, over all its replicas."""

    loss: float
    """Before the update."""
    denominator: float
    """What the loss was divided by: valid tokens, or examples; 0 where nothing counted."""
    examples: int
    padded_tokens: int
    valid_tokens: int


def counts_of(batch: Batch) -> tuple[int, int, int]:
    """(examples, padded tokens, valid tokens) of a batch."""
    size, longest = (int(n) for n in batch["inputs"].shape[:2])
    return size, size * longest, int(np.sum(np.asarray(batch["length"], np.int64)))


def fields_of(batch: Batch) -> dict[str, tf.Tensor]:
    """Only what a graph takes: a batch may hold more (its examples' numbers)."""
    names = ["inputs", "labels", "length", *(["weights"] if "weights" in batch else [])]
    return {name: tf.convert_to_tensor(batch[name]) for name in names}


def weights_rank(batch: Batch) -> int | None:
    """1 where a batch's examples have weights, 2 where its steps have, else None."""
    return len(batch["weights"].shape) if "weights" in batch else None


def signature(model: SequenceModel, time_steps: int | None, rank: int | None) -> dict[str, tf.TensorSpec]:
    """A model's batch signature, with weights of that rank."""
    of_weights = {} if rank is None else {"weights": tf.TensorSpec([None, time_steps][:rank], tf.float32)}
    return {**model.batch_signature(time_steps), **of_weights}


class PerLength:
    """A function of a batch as a `tf.function` whose graph serves batches of any size.

    One graph for any padded length, too; or one for each padded length, where the model unrolls while tracing
    (`needs_static_length`). `traces` counts the graphs; nothing is ever traced again for another batch size. `more`
    are fields that a batch has beside those of the model, name -> their signature.
    """

    def __init__(
        self, model: SequenceModel, function: Callable[[Batch], Any], more: Mapping[str, Any] | None = None
    ):
        self._model, self._function, self._more = model, function, dict(more or {})
        self._concrete: dict[tuple[int | None, int | None], Any] = {}
        self.traces = 0

    def __call__(self, batch: Batch) -> Any:
        """Run on a batch; traces first if this padded length is new and needs a graph of its own."""
        more = {name: batch[name] for name in self._more}
        return self.trace(batch)({**fields_of(batch), **more})

    def trace(self, batch: Batch) -> Any:
        """The `ConcreteFunction` that serves this batch."""
        key = self._key(batch)
        if key not in self._concrete:
            # counted inside the function, that is while tracing: what counts is what TensorFlow did
            def counted(fields: Batch) -> Any:
                self.traces += 1
                return self._function(fields)

            takes = {**signature(self._model, *key), **self._more}
            traced = tf.function(counted, input_signature=[takes], autograph=False)
            self._concrete[key] = traced.get_concrete_function()
        return self._concrete[key]

    def would_trace(self, batch: Batch) -> bool:
        """Whether this batch would make a new graph."""
        return self._key(batch) not in self._concrete

    def _key(self, batch: Batch) -> tuple[int | None, int | None]:
        width = int(batch["inputs"].shape[1]) if self._model.needs_static_length else None
        return width, weights_rank(batch)


class TrainStep:
    """One training step: forward, loss, gradients, clipping, update.

    What layers add to the loss (a regularizer of a cell of one's own) is minimised with it. Calling it gives the
    batch's loss before the update, without that, a scalar on the device.
    """

    def __init__(
        self,
        model: SequenceModel,
        optimizer: keras.optimizers.Optimizer,
        loss: Loss,
        clip_norm: float | None,
    ):
        self.model, self.optimizer, self.distribution = model, optimizer, one()
        self._loss, self._clip_norm = loss, clip_norm
        optimizer.build(model.trainable_variables)
        self.variables = [*model.weights, *optimizer.variables]
        """What its updates move, or that they read."""

        self._run = PerLength(model, self._step)

    def _step(self, batch: Batch) -> tuple[Any, ...]:
        return self._updated(batch, lambda: (self.model(batch, training=True),))

    def _updated(self, batch: Batch, forward: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Loss and denominator of a batch, and what `forward` gives behind its logits; the weights are moved."""
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            forget_penalties(self.model)
            logits, *more = forward()
            parts = batch_loss(self.model, batch, logits, self._loss)
            value = parts.sum / parts.denominator
            added = penalty(self.model, value.dtype)
            minimised = value if added is None else value + added
        gradients = dense_gradients(tape, minimised, variables)
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        self.optimizer.apply(gradients, variables)
        return value, counted(parts), *more

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Train on the batch; its loss before the update."""
        return self._run(batch)[0]

    def run(self, batch: Batch) -> Done:
        """Train on the batch, and say what came of it."""
        loss, denominator = self._run(batch)
        return Done(float(loss), float(denominator), *counts_of(batch))

    def feed(self, epoch: Iterable[Batch], limit: int | None = None) -> Iterable[Batch]:
        """An epoch's steps, at most `limit`: here its batches as they are."""
        return islice(epoch, limit)

    def parts(self, batch: Batch) -> Sequence[Batch | None]:
        """The batches of a step that are this process': here one."""
        return [batch]

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
