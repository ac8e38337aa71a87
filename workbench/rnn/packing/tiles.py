"""The packed RNN by tiles, made for a GPU: wide and short ones of static shape, one after another.

    lengths    90, 70, 20, 20, ... (64 examples), longest 90
    tiles      32 steps of 64 rows | 32 of 16 | 32 of 16        rows: those that run when a tile begins, rounded up

On a GPU a step of some hundred rows takes about as long as one of 16 (published, not measured here), so rows are
rounded up coarsely; what costs is a step, and an answer that the host waits for. What lies where is worked out on
the host, from the lengths alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepWeights
from workbench.cells.xla import never_clustered, unrecorded
from workbench.rnn.packing.compiled import capacity_for, check_fits
from workbench.rnn.packing.once import Operands, Results, differentiable_once
from workbench.rnn.packing.order import Packing, deal, gather_back, pack, take, unpack
from workbench.rnn.packing.received import Received
from workbench.rnn.packing.rows import join_rows, row_array
from workbench.rnn.packing.tile import Tile, tile_of, wide

Tensors = list[tf.Tensor]
LONG, SHORT = 32, 8
UNROLLS = (1, 2, 4, 8, 16, 32)
"""Steps that a turn of a tile's loop may take: those that LONG is a multiple of, and so is SHORT or they of it."""
_LADDER = [16 * 4**k for k in range(14)]


class Cut(NamedTuple):
    """How the steps of a batch fall into K tiles."""

    begin: tf.Tensor  # [K] the first step of each
    steps: tf.Tensor  # [K]
    rows: tf.Tensor  # [K]


def cut(running: tf.Tensor, capacity: Any, together: int = 1) -> Cut:
    """Tiles for the rows that run at each step; `capacity` is the most that may.

    Tiles of LONG steps, and of SHORT ones where less than half a long one is left (both at least
    `together`). Rows are 16, 64, 256, ... or `capacity`, so that XLA compiles few: for a capacity of C at most two
    for each of these numbers below C, and two for C, in each direction, whatever the lengths.

    >>> [part.numpy().tolist() for part in cut(tf.constant([64] * 20 + [3] * 20), 64)]
    [[0, 32], [32, 8], [64, 16]]
    """
    long, short = max(LONG, together), max(SHORT, together)
    steps = tf.shape(running)[0]
    longs = (steps + (long - 1) // 2) // long
    shorts = tf.maximum(steps - longs * long + short - 1, 0) // short
    begin = tf.concat([tf.range(longs) * long, longs * long + tf.range(shorts) * short], 0)
    ladder = tf.minimum(tf.constant(_LADDER), capacity)
    rows = tf.gather(ladder, tf.searchsorted(ladder, tf.gather(running, begin)))
    return Cut(begin, tf.concat([tf.fill([longs], long), tf.fill([shorts], short)], 0), rows)


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    inputs: tf.Tensor  # [N, D]
    tiles: list[tf.TensorArray]  # an element for each tile, in the order of Tile.kept_widths
    weights: StepWeights


@never_clustered
def run_tiles(received: Received, *, batch_size: int | None, together: int) -> Results:
    """All steps of a batch, for a cell in one-step form.

    Halves are multiplied as halves; states, sums and all that is elementwise are in float32.
    """
    states, weights = tf.nest.flatten(received.states), received.cell.step_weights()
    weights = weights._replace(bias=wide(weights.bias), small=[*map(wide, weights.small)])
    with tf.control_dependencies(check_fits(received.batch, batch_size)):
        loop = _Loop(received, weights, capacity_for(received.batch, batch_size, 1), together)
        operands = Operands(received.inputs, [*map(wide, states)], weights)
        results = differentiable_once(loop.forward, loop.backward, operands)
    return tf.nest.map_structure(lambda result: tf.cast(result, received.inputs.dtype), results)


class _Loop:
    """Forward and backward over the tiles of one batch."""

    def __init__(self, received: Received, weights: StepWeights, capacity: Any, together: int) -> None:
        self.tile: Tile = tile_of(received.cell, weights, received.inputs.shape[-1], together)
        self.capacity, self.together = capacity, together
        with tf.device("CPU:0"):
            self.packing: Packing = pack(
                received.lengths,
                received.time_steps,
                capacity=capacity,
                chains=1,
                backwards=received.backwards,
                round_up=self._round_up,
            )
            self.chain = self.packing.chains[0]
            rows = self.cut.steps * self.cut.rows
            self.at = tf.cumsum(rows, exclusive=True)
            self.count = tf.shape(rows)[0]

    def _round_up(self, running: tf.Tensor) -> tf.Tensor:
        self.cut = cut(running, self.capacity, self.together)
        return tf.repeat(self.cut.rows, self.cut.steps)

    @unrecorded
    @never_clustered
    def forward(self, operands: Operands) -> tuple[Results, _Kept]:
        """Results, and what is kept."""
        inputs, states, weights = operands
        packed = take(tf.reshape(inputs, [-1, inputs.shape[-1]]), self.chain.source)

        @never_clustered
        def body(k: Any, states: Tensors, outputs: Any, kept: Any) -> tuple:
            made, after, values = self.tile.forward(
                self._at(packed, k), self._left(k), self._first(states, k), weights
            )
            kept = [array.write(k, value) for array, value in zip(kept, values, strict=True)]
            return k + 1, self._merged(after, states, k), outputs.write(k, made), kept

        (states,) = deal(states, self.packing.chains, self.capacity)
        outputs, *kept = [self._array(width) for width in (self.tile.output_size, *self.tile.kept_widths)]
        _, states, outputs, kept = tf.while_loop(
            lambda k, *_: k < self.count, body, (0, states, outputs, kept), parallel_iterations=1
        )
        outputs = unpack([join_rows(outputs, self.tile.output_size)], self.packing.packed)
        return Results(outputs, gather_back([states], self.packing.place)), _Kept(packed, kept, weights)

    @unrecorded
    @never_clustered
    def backward(self, d_results: Results, kept: _Kept) -> Operands:
        """Gradients of the operands."""
        d_outputs, weights = d_results.outputs, kept.weights
        d_outputs = take(tf.reshape(d_outputs, [-1, d_outputs.shape[-1]]), self.chain.source)

        @never_clustered
        def body(k: Any, d_states: Tensors, d_inputs: Any, sums: StepWeights) -> tuple:
            before = self.tile.backward(
                self._at(d_outputs, k), self._at(kept.inputs, k), self._left(k), self._first(d_states, k),
                [array.read(k) for array in kept.tiles], weights, sums,
            )  # fmt: skip
            d_states = self._merged(before.states, d_states, k)
            return k - 1, d_states, d_inputs.write(k, before.inputs), before.weights

        (d_states,) = deal(d_results.states, self.packing.chains, self.capacity)
        features = kept.inputs.shape[1]
        sums = tf.nest.map_structure(lambda weight: tf.zeros(weight.shape, self.tile.dtype), weights)
        start = (self.count - 1, d_states, self._array(features), sums)
        _, d_states, d_inputs, sums = tf.while_loop(lambda k, *_: k >= 0, body, start, parallel_iterations=1)
        d_inputs = tf.cast(join_rows(d_inputs, features), kept.inputs.dtype)
        return Operands(
            unpack([d_inputs], self.packing.packed),
            gather_back([d_states], self.packing.place),
            tf.nest.map_structure(lambda total, weight: tf.cast(total, weight.dtype), sums, weights),
        )

    # ------------------------------------------------------------ a tile
    def _at(self, packed: tf.Tensor, k: Any) -> tf.Tensor:
        """The packed rows of a tile."""
        return tf.slice(packed, [self.at[k], 0], [self.cut.steps[k] * self.cut.rows[k], packed.shape[1]])

    def _left(self, k: Any) -> tf.Tensor:
        """How many steps from a tile's first each of its rows still has."""
        return self.chain.lengths[: self.cut.rows[k]] - self.cut.begin[k]

    def _first(self, states: Tensors, k: Any) -> Tensors:
        """The states of the rows that a tile takes."""
        return [state[: self.cut.rows[k]] for state in states]

    def _merged(self, new: Tensors, old: Tensors, k: Any) -> Tensors:
        """New rows of what a tile took, old ones of the rest."""
        rows = self.cut.rows[k]
        return [tf.ensure_shape(tf.concat([n, o[rows:]], 0), o.shape) for n, o in zip(new, old, strict=True)]

    def _array(self, width: int) -> tf.TensorArray:
        """An element for each tile."""
        return row_array(self.tile.dtype, self.count, width)
