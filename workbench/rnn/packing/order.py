"""The packed order: step after step, one row for each example that still runs, the longest first.

    step      0        1       2     3
    rows   a b c d | a b c | a b | a          examples sorted by falling length: 4, 3, 2, 1

A batch may be dealt to several chains, each with a packed order of its own. A step may take more rows than run
(rounded up to a size that a loop was compiled for). Those are not valid: nothing that they make is read, and no
gradient comes into them. They take the inputs of the longest example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Rounding = Callable[[tf.Tensor], tf.Tensor]


class Chain(NamedTuple):
    """Some examples of a batch in packed order. S examples, N packed rows."""

    examples: tf.Tensor  # [S] their numbers in the batch, longest first
    lengths: tf.Tensor  # [S] falling
    rows: tf.Tensor  # [steps] rows that each step takes
    offset: tf.Tensor  # [steps] the packed row at which each step begins
    steps: tf.Tensor  # the longest length, or more where `round_up` adds some
    total: tf.Tensor  # N
    source: tf.Tensor  # [N] each row's place in a batch flattened to [B * T, ...]


class Packing(NamedTuple):
    """All chains of a batch, and the way back."""

    chains: list[Chain]
    place: tf.Tensor  # [B] where each example stands when the chains' examples are put one after another
    packed: tf.Tensor  # [B, T] each position's packed row, chain after chain; `total` in the padding
    total: tf.Tensor  # packed rows of all chains


def pack(
    lengths: tf.Tensor,
    time_steps: Any,
    *,
    capacity: Any = None,
    chains: int,
    backwards: bool = False,
    round_up: Rounding = tf.identity,
) -> Packing:
    """Packs a batch of `lengths` [B], each at most `time_steps`.

    `capacity`, a multiple of `chains`, adds examples of length 0 up to that number; examples are dealt to the
    chains by turns, so that these are of equal size and nearly equal work. `backwards`: a row of step t holds
    an example's t-th position from its end. `round_up` turns the rows that run into the rows that are taken, at
    each step; it may add steps at the end, whose rows are not valid.
    """
    batch = tf.shape(lengths)[0]
    padded = lengths if capacity is None else tf.pad(lengths, [[0, capacity - batch]])
    order = tf.argsort(padded, direction="DESCENDING", stable=True)
    rank = tf.math.invert_permutation(order)[:batch]
    dealt = [
        _chain(order[c::chains], tf.gather(padded, order[c::chains]), time_steps, backwards, round_up)
        for c in range(chains)
    ]
    size = tf.shape(padded)[0] // chains
    packed, total = _rows_of_positions(dealt, rank, lengths, time_steps, backwards)
    return Packing(dealt, rank % chains * size + rank // chains, packed, total)


def _chain(
    examples: tf.Tensor, lengths: tf.Tensor, time_steps: Any, backwards: bool, round_up: Rounding
) -> Chain:
    longest = tf.reduce_max(tf.concat([lengths, [0]], 0))
    rows = round_up(tf.reduce_sum(tf.cast(tf.range(longest)[:, tf.newaxis] < lengths, tf.int32), 1))
    steps = tf.shape(rows)[0]
    offset, total = tf.cumsum(rows, exclusive=True), tf.reduce_sum(rows)
    step = tf.repeat(tf.range(steps), rows)
    row = tf.range(total) - tf.gather(offset, step)
    row, last = tf.where(step < tf.gather(lengths, row), row, 0), tf.minimum(step, longest - 1)
    position = tf.gather(lengths, row) - 1 - last if backwards else last
    source = tf.gather(examples, row) * time_steps + position
    return Chain(examples, lengths, rows, offset, steps, total, source)


def _rows_of_positions(
    chains: Sequence[Chain], rank: tf.Tensor, lengths: tf.Tensor, time_steps: Any, backwards: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """[B, T]: offset of the position's step in its example's chain, plus the example's row in the step."""
    base, offsets = tf.constant(0), []
    for chain in chains:
        offset = chain.offset[:time_steps] + base
        offsets.append(tf.pad(offset, [[0, time_steps - tf.shape(offset)[0]]]))
        base += chain.total
    position, length = tf.range(time_steps), lengths[:, tf.newaxis]
    step = (
        length - 1 - position if backwards else tf.broadcast_to(position, [tf.shape(lengths)[0], time_steps])
    )
    offset = tf.gather(tf.stack(offsets), rank % len(chains))
    begin = tf.gather(offset, tf.clip_by_value(step, 0, tf.maximum(time_steps - 1, 0)), batch_dims=1)
    packed = begin + (rank // len(chains))[:, tf.newaxis]
    return tf.where(position < length, packed, base), base


def take(flat: tf.Tensor, source: tf.Tensor) -> tf.Tensor:
    """Packs [B * T, ...], what goes into the steps: the rows at `source`, none of which is in the padding."""
    return tf.gather(flat, source)


def unpack(pieces: Sequence[tf.Tensor], packed: tf.Tensor) -> tf.Tensor:
    """Packed rows [N, ...] of each chain -> [B, T, ...], zeros in the padding."""
    zero = tf.zeros([1, *pieces[0].shape[1:]], pieces[0].dtype)
    return tf.gather(tf.concat([*pieces, zero], 0), packed)


def deal(states: Sequence[tf.Tensor], chains: Sequence[Chain], capacity: Any = None) -> list[list[tf.Tensor]]:
    """States [B, ...] in the batch's order -> for each chain its own, longest example first."""
    if capacity is not None:
        states = [_padded(state, capacity) for state in states]
    return [[tf.gather(state, chain.examples) for state in states] for chain in chains]


def gather_back(states: Sequence[Sequence[tf.Tensor]], place: tf.Tensor) -> list[tf.Tensor]:
    """The chains' states -> states [B, ...] in the batch's order."""
    return [tf.gather(tf.concat(parts, 0), place) for parts in zip(*states, strict=True)]


def _padded(state: tf.Tensor, capacity: Any) -> tf.Tensor:
    rest = [[0, capacity - tf.shape(state)[0]], *[[0, 0]] * (state.shape.rank - 1)]
    return tf.pad(state, rest)
