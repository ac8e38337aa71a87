"""One training step over several replicas, equal to one step over all their examples.

    each replica: its batch's sum of losses, denominator, and the gradient of the sum
    all_reduce:   sums of the three
    gradient / denominator, clipped by its norm; the same update everywhere

The loss is sum of losses / sum of denominators over the replicas, never a mean of means, so replicas may have
other numbers of valid tokens. A replica that has no batch left where others have takes part with one that counts
nothing, so that nobody waits for it: each step says how many replicas have another batch after this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.training.distribution import Distribution, lost_replicas, reduced_before, summed
from workbench.training.objective import Batch, batch_loss, counted, dense_gradients, forget_penalties
from workbench.training.step import Done, counts_of, fields_of, signature, weights_rank

Batches = tuple[Batch | None, ...]
"""A batch for each replica of this process; None where it has none left."""


class ReplicatedStep:
    """A `TrainStep` over the replicas of a `Distribution`; what it takes is a batch for each local replica."""

    def __init__(
        self,
        model: SequenceModel,
        optimizer: keras.optimizers.Optimizer,
        loss: Loss,
        clip_norm: float | None,
        distribution: Distribution,
    ):
        self.model, self.optimizer, self.distribution = model, optimizer, distribution
        self._concrete: dict[tuple[tuple[int | None, ...], int | None], Any] = {}
        self._widths = [1] * distribution.local
        self._rank: int | None = None
        """That of the batches' weights."""
        self._more = 0
        self._others_have_more = False
        self.traces = 0
        variables = model.trainable_variables
        with distribution.scope():
            optimizer.build(variables)
        self.variables = [*model.weights, *optimizer.variables]
        if distribution.mirrors:
            reduced_before(optimizer)

        def replica(
            batches: Sequence[Batch], facts: Sequence[tf.Tensor]
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            here = distribution.local_replica()
            batch, present = batches[here], facts[here][0]
            with tf.GradientTape() as tape:
                forget_penalties(model)
                parts = batch_loss(model, batch, model(batch, training=True), loss)
                if model.losses:
                    raise ValueError(
                        "a layer adds to the loss (a regularizer or add_loss of your own cell), which is for one "
                        "replica: take training.strategy=none"
                    )
                value = parts.sum * tf.cast(present, parts.sum.dtype)
            gradients = dense_gradients(tape, value, [variable.value for variable in variables])
            own = [tf.cast(one, tf.float64) for one in (value, counted(parts))]
            sums = summed(tf.concat([[own[0], own[1] * present], facts[here]], 0))
            denominator = tf.where(sums[1] > 0, sums[1], tf.ones([], tf.float64))
            gradients = [slope / tf.cast(denominator, slope.dtype) for slope in summed(gradients)]
            if clip_norm is not None:
                gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
            return gradients, tf.concat([[sums[0] / denominator], sums[1:]], 0)

        def step(batches: Sequence[Batch], facts: Sequence[tf.Tensor]) -> tf.Tensor:
            self.traces += 1
            gradients, found = distribution.strategy.run(replica, (batches, facts))
            distribution.update(optimizer, gradients, variables)
            return distribution.strategy.experimental_local_results(found)[0]

        self._step = step

    def feed(self, epoch: Sequence[Iterable[Batch]], limit: int | None = None) -> Iterator[Batches]:
        """An epoch's steps, at most `limit`: `epoch` has for each local replica its own batches.

        Ends where no replica anywhere has a batch left, which the step before has said.
        """
        if len(epoch) != self.distribution.local:
            raise ValueError(
                f"an epoch has batches for {len(epoch)} replicas: this process has {self.distribution.local}"
            )
        iterators = [iter(batches) for batches in epoch]
        ahead = [next(iterator, None) for iterator in iterators]
        steps = 0
        while True:
            now, steps = tuple(ahead), steps + 1
            last = steps == limit
            ahead = [None] * len(iterators) if last else [next(iterator, None) for iterator in iterators]
            self._more = sum(batch is not None for batch in ahead)
            yield now
            if last or not self._others_have_more:
                return

    def run(self, batches: Batches) -> Done:
        """Train on the batches of all replicas; what came of it is of all replicas, too."""
        concrete = self.trace(batches)
        facts = [self._facts(batch, first=number == 0) for number, batch in enumerate(batches)]
        with lost_replicas():
            found = concrete(self._filled(batches), facts).numpy()
        self._others_have_more = found[6] > 0
        loss, denominator, _, examples, padded, valid, _ = found.tolist()
        return Done(loss, denominator, int(examples), int(padded), int(valid))

    def __call__(self, batches: Batches) -> float:
        """Train on the batches; the loss of them all before the update."""
        return self.run(batches).loss

    def trace(self, batches: Batches) -> Any:
        """The `ConcreteFunction` that serves these batches, traced if it is not yet."""
        key = widths, rank = self._key(batches)
        if key not in self._concrete:
            takes = [
                [signature(self.model, width, rank) for width in widths],
                [tf.TensorSpec([5], tf.float64)] * len(widths),
            ]
            function = tf.function(self._step, input_signature=takes, autograph=False)
            self._concrete[key] = function.get_concrete_function()
        return self._concrete[key]

    def would_trace(self, batches: Batches) -> bool:
        """Whether these batches would make a new graph."""
        return self._key(batches) not in self._concrete

    def parts(self, batches: Batches) -> Batches:
        """The batches of this process."""
        return batches

    def _key(self, batches: Batches) -> tuple[tuple[int | None, ...], int | None]:
        """The padded lengths that a graph is for, and the rank of its batches' weights."""
        rank = next((weights_rank(batch) for batch in batches if batch is not None), self._rank)
        if not self.model.needs_static_length:
            return (None,) * len(batches), rank
        return tuple(
            self._widths[number] if batch is None else int(batch["inputs"].shape[1])
            for number, batch in enumerate(batches)
        ), rank

    def _facts(self, batch: Batch | None, first: bool) -> tf.Tensor:
        """(present, examples, padded tokens, valid tokens, more) of a replica; `more` of all of this process."""
        counts = (0, 0, 0) if batch is None else counts_of(batch)
        more = self._more if first else 0
        return tf.constant([batch is not None, *counts, more], tf.float64)

    def _filled(self, batches: Batches) -> list[dict[str, tf.Tensor]]:
        """Where there is no batch, one of a single empty sequence, of the width that this replica had last."""
        filled = []
        _, self._rank = self._key(batches)
        for number, batch in enumerate(batches):
            if batch is not None:
                self._widths[number] = int(batch["inputs"].shape[1])
                filled.append(fields_of(batch))
                continue
            empty = signature(self.model, self._widths[number], self._rank)
            filled.append(
                {
                    name: tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
                    for name, spec in empty.items()
                }
            )
        return filled
