"""Truncated back-propagation through time: a batch in chunks of K steps, the state carried from one to the next.

    states = what the cells start from
    for chunk in batch[:, 0:K], batch[:, K:2K], ...:
        logits, states = model(chunk, states)
        update by the gradient of the chunk's loss         (states are constants: no gradient crosses a chunk)

Training takes the memory of K steps however long the sequences are; evaluating takes that of a whole batch. Without
updates the losses are those of one long run; what is cut is the gradient between chunks. Source: Williams and Peng
(1990), with K steps forward for K back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.training.objective import Batch
from workbench.training.step import Done, PerLength, TrainStep, counts_of, weights_rank


def chunks(batch: Batch, steps: int, *, padding: bool = False) -> Iterator[dict[str, Any]]:
    """A padded batch in pieces of at most `steps` steps; an example's length in each is what of it lies there.

    Pieces of padding alone are left out, unless with `padding`: an update by them would be one by the optimizer's
    momentum alone, of which there would be more the more is padded.

    >>> whole = {"inputs": tf.zeros([2, 5]), "labels": tf.zeros([2, 5]), "length": [5, 2]}
    >>> [(part["inputs"].shape[1], part["length"].numpy().tolist()) for part in chunks(whole, 3)]
    [(3, [3, 2]), (2, [2, 0])]
    """
    length, width = tf.cast(batch["length"], tf.int32), int(batch["inputs"].shape[1])
    for start in range(0, width if padding else max(1, min(width, int(tf.reduce_max(length)))), steps):
        part = slice(start, start + steps)
        inputs = batch["inputs"][:, part]
        weights = {}
        if "weights" in batch:
            of_steps = len(batch["weights"].shape) == 2
            weights = {"weights": batch["weights"][:, part] if of_steps else batch["weights"]}
        yield {
            "inputs": inputs,
            "labels": batch["labels"][:, part],
            "length": tf.clip_by_value(length - start, 0, int(inputs.shape[1])),
            **weights,
        }


class TruncatedStep(TrainStep):
    """A `TrainStep` whose updates are one a chunk of `steps` steps; what it says of a batch is over all of them.

    The loss is the mean of the chunks', weighed by what counted in each, each before its own update.
    """

    def __init__(
        self,
        model: SequenceModel,
        optimizer: keras.optimizers.Optimizer,
        loss: Loss,
        clip_norm: float | None,
        steps: int,
    ):
        super().__init__(model, optimizer, loss, clip_norm)
        if model.task == "classify" or model.rnn.direction != "forward":
            raise ValueError(
                f"training.truncate={steps}: the state goes on from chunk to chunk, so a model runs forward and "
                f"has a label a step; this one runs {model.rnn.direction} and is for the task {model.task}"
            )
        if loss.average == "example":
            raise ValueError(
                f"training.truncate={steps}: loss.average=example is a mean within whole examples, and a chunk has "
                "parts of them; take loss.average=token"
            )
        for layer in model._flatten_layers():
            if hasattr(layer, "get_dropout_mask") and (layer.dropout or layer.recurrent_dropout):
                raise ValueError(
                    f"training.truncate={steps}: {layer.name} of Keras drops by one mask for all steps of a "
                    "sequence, which each chunk would draw anew; set its dropout and recurrent_dropout to 0"
                )
        self._steps, self._padding = steps, loss.mask == "none"  # where padding counts, so does a chunk of it
        self._run = PerLength(model, self._step, more={"states": self._state_specs()})

    def _step(self, batch: Batch) -> tuple[Any, ...]:
        fields = {name: value for name, value in batch.items() if name != "states"}

        def forward() -> tuple[Any, ...]:
            found = self.model.run(fields, states=batch["states"], training=True)
            return found.logits, found.state

        return self._updated(fields, forward)

    def _state_specs(self) -> list[tf.TensorSpec]:
        return [tf.TensorSpec([None, *one.shape[1:]], one.dtype) for one in self.model.initial_states(1)]

    def _first(self, batch: Batch) -> list[tf.Tensor]:
        return self.model.initial_states(int(batch["inputs"].shape[0]))

    def _chunks(self, batch: Batch) -> Iterator[dict[str, Any]]:
        of_padding = self._padding and weights_rank(batch) != 2  # weights of steps are 0 there
        return chunks(batch, self._steps, padding=of_padding)

    def _all(self, batch: Batch) -> tuple[float, float]:
        total = weight = 0.0
        states = self._first(batch)
        for chunk in self._chunks(batch):
            loss, denominator, states = self._run({**chunk, "states": states})
            if float(denominator):
                total, weight = total + float(loss) * float(denominator), weight + float(denominator)
        return total / weight if weight else 0.0, weight

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Train on the batch; its loss, of each chunk before its update."""
        return tf.constant(self._all(batch)[0])

    def run(self, batch: Batch) -> Done:
        """Train on the batch, and say what came of it."""
        return Done(*self._all(batch), *counts_of(batch))

    def trace(self, batch: Batch) -> Any:
        """The `ConcreteFunction` that serves this batch's first chunk, traced if it is not yet."""
        return self._run.trace(next(self._chunks(batch)))

    def would_trace(self, batch: Batch) -> bool:
        """Whether one of this batch's chunks would make a new graph."""
        return any(self._run.would_trace(chunk) for chunk in self._chunks(batch))
