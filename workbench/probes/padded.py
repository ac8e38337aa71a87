"""A padded batch of whatever nest of arrays a model takes, and the changes to it that must not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

LENGTH_NAMES = {
    "length", "lengths", "len", "lens", "seq_len", "seq_lens", "seq_length", "seq_lengths", "sequence_length",
    "sequence_lengths", "input_length", "input_lengths", "n_steps", "num_steps",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One array of the nest: how it goes with the steps.

    `role` is sequence ([B, T, ...]), length ([B] or [B, 1]), mask (0 or 1 by step) or fixed (has no steps);
    `fill` is what stands at padded steps; `axes` are those of the steps.
    """

    name: str
    role: str
    fill: Any = 0
    axes: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Padded:
    """Arrays of a batch, with each one's part: `inputs`, `labels` and `weights` are flat lists."""

    lengths: np.ndarray
    steps: int
    inputs: list[np.ndarray]
    parts: list[Part]
    structure: Any
    labels: list[np.ndarray] = field(default_factory=list)
    label_parts: list[Part] = field(default_factory=list)
    label_structure: Any = None
    weights: list[np.ndarray] = field(default_factory=list)
    weight_parts: list[Part] = field(default_factory=list)
    weight_structure: Any = None
    numbers: tuple[int, ...] = ()  # of the examples, in the batch that was given
    told: bool = False  # the model gets the lengths as an argument of their own
    apart: tuple[str, ...] = ()  # inputs of ids that end elsewhere than the lengths say, and are left alone

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.lengths)

    @property
    def valid(self) -> np.ndarray:
        """Bool [B, T]."""
        return np.arange(self.steps) < self.lengths[:, None]

    @property
    def knows_length(self) -> bool:
        """Is the model told where padding begins?"""
        return self.told or any(part.role in ("length", "mask") for part in self.parts)

    @property
    def counts(self) -> np.ndarray:
        """Bool [B, T]: which real steps have a weight; all have, where no weights go with them."""
        counts = self.valid
        for array, part in zip(self.weights, self.weight_parts, strict=True):
            if array.shape[:1] == (self.size,) and array[0].size == 1:
                counts &= array.reshape(-1, 1) != 0
            elif part.role == "sequence" and array.shape[:2] == counts.shape:
                counts &= (array != 0).reshape(*counts.shape, -1).any(-1)
        return counts

    def nest(self) -> Any:
        """The inputs as the model takes them."""
        return tf.nest.pack_sequence_as(self.structure, self.inputs)

    def label_nest(self) -> Any:
        """The labels as they were given."""
        return tf.nest.pack_sequence_as(self.label_structure, self.labels) if self.labels else None

    def weight_nest(self) -> Any:
        """The sample weights as they were given."""
        return tf.nest.pack_sequence_as(self.weight_structure, self.weights) if self.weights else None

    def every(self, change: Callable[[np.ndarray, Part], np.ndarray], **fields: Any) -> Padded:
        """The batch with every array changed."""
        return replace(
            self,
            inputs=[change(x, p) for x, p in zip(self.inputs, self.parts, strict=True)],
            labels=[change(x, p) for x, p in zip(self.labels, self.label_parts, strict=True)],
            weights=[change(x, p) for x, p in zip(self.weights, self.weight_parts, strict=True)],
            **fields,
        )

    def longer(self, more: int) -> Padded:
        """With `more` steps of padding behind."""

        def pad(array: np.ndarray, part: Part) -> np.ndarray:
            if part.role not in ("sequence", "mask"):
                return array
            for axis in part.axes:
                if part.role == "mask" and len(part.axes) > 1 and axis != part.axes[-1]:
                    array = np.concatenate([array, np.repeat(np.take(array, [-1], axis), more, axis)], axis)
                    continue
                shape = list(array.shape)
                shape[axis] = more
                array = np.concatenate([array, np.broadcast_to(part.fill, shape).astype(array.dtype)], axis)
            return array

        return self.every(pad, steps=self.steps + more)

    def cut(self, steps: int) -> Padded:
        """The first `steps` steps."""

        def first(array: np.ndarray, part: Part) -> np.ndarray:
            if part.role not in ("sequence", "mask"):
                return array
            for axis in part.axes:
                array = np.take(array, range(steps), axis)
            return array

        return self.every(first, steps=steps).with_lengths(np.minimum(self.lengths, steps))

    def rows(self, which: Sequence[int]) -> Padded:
        """Some of the examples, in this order, a row as often as it is named."""
        index = list(which)
        return self.every(
            lambda array, part: array[index] if array.ndim else array,
            lengths=self.lengths[index],
            numbers=tuple(self.numbers[i] for i in index),
        )

    def with_lengths(self, lengths: np.ndarray) -> Padded:
        """Told other lengths, in the inputs too; masks by step are made anew."""
        inputs = []
        for array, part in zip(self.inputs, self.parts, strict=True):
            if part.role == "length":
                array = lengths.reshape(array.shape).astype(array.dtype)
            elif part.role == "mask" and part.axes == (1,):
                valid = (np.arange(self.steps) < lengths[:, None]) != bool(part.fill)
                array = np.broadcast_to(
                    valid.reshape(*valid.shape, *[1] * (array.ndim - 2)), array.shape
                ).astype(array.dtype)
            inputs.append(array)
        return replace(self, inputs=inputs, lengths=lengths)

    def with_steps(self, change: Callable[[np.ndarray, Part], np.ndarray]) -> Padded:
        """With the input sequences changed, the rest as it is."""
        inputs = [
            change(x, p) if p.role == "sequence" else x for x, p in zip(self.inputs, self.parts, strict=True)
        ]
        return replace(self, inputs=inputs)

    def filled(self) -> Padded:
        """With what should stand at padded steps of the inputs."""
        valid = self.valid

        def fill(array: np.ndarray, part: Part) -> np.ndarray:
            return np.where(_as_rank(valid, array), array, np.asarray(part.fill).astype(array.dtype))

        return self.with_steps(fill)

    def other_padding(self, random: np.random.Generator) -> Padded:
        """With other content at padded steps: numbers of the size of the real ones, ids that are in use."""
        valid = self.valid

        def draw(array: np.ndarray, part: Part) -> np.ndarray:
            real = array[valid]
            if not real.size:
                return array
            if is_ids(array):
                junk = random.choice(np.unique(real), array.shape)
            else:
                spread = np.nanstd(real.astype(float)) or 1.0
                junk = (np.nanmean(real.astype(float)) + 2 * spread * random.normal(size=array.shape)).astype(
                    array.dtype
                )
            return np.where(_as_rank(valid, array), array, junk)

        return self.with_steps(draw)


def is_ids(array: np.ndarray) -> bool:
    """Are these ids, and not measured numbers?"""
    if array.dtype.kind in "iub":
        return True
    return array.ndim == 2 and bool(np.all(np.isfinite(array))) and bool(np.all(array == np.round(array)))


def _as_rank(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    return mask.reshape(*mask.shape, *[1] * (array.ndim - mask.ndim))
