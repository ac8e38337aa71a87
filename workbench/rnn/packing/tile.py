"""A tile: so many steps of so many rows, forward or backward, in one XLA computation that asks the host nothing.

    projected = inputs @ kernel + bias                     (one product for all steps)
    while t < steps:                                       (XLA knows how often)
        output, states = step(projected[t], states)        `together` times in the loop's body
    d_kernel, d_recurrent: one product each, after the loop that goes backwards

Steps and rows are those of the tensors that come in, so XLA compiles one computation for each pair of them. On a
GPU a loop of a known number of turns needs no answer from the device, and some five kernels in a row, as those of a
few steps, are launched as one. What a step leaves is written as one row: XLA for a GPU merges what makes results
with one another, but not with what writes into a buffer. Not measured on a GPU yet.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, state_sizes
from workbench.rnn.packing.saved_step import (
    Saved,
    multiply,
    saved_of,
    step_backward,
    step_forward,
)

Tensors = list[tf.Tensor]


class Before(NamedTuple):
    """What a backward tile gives: gradients of its inputs and first states, and the sums of the weights' so far."""

    inputs: tf.Tensor
    states: Tensors
    weights: StepWeights


def wide(tensor: tf.Tensor) -> tf.Tensor:
    """In float32 at least."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor


def tile_of(cell: StepCell, weights: StepWeights, features: int, together: int) -> Tile:
    """The tile of a cell, traced once for each number of features and of steps in a loop's body.

    Cells that compute the same share it.
    """
    saved = saved_of(cell, tf.nest.map_structure(wide, weights))
    kind = (Tile, weights.kernel.dtype.name, features, together)
    made: Tile = saved.compiled(kind, lambda: Tile(cell, weights, features, together))
    return made


class Tile:
    """`forward` and `backward` of a tile, compiled. S steps, R rows, N = S * R packed rows of D features.

    forward(inputs [N, D], left [R], states [R, n], weights) -> (outputs [N, O], states, kept [N, width] each)
    backward(d_outputs [N, O], inputs, left, d_states, kept, weights, sums) -> Before

    `left` says how many steps of each row count; `sums` are the weights' gradients so far. Inputs and matrices may
    be in halves: these are then multiplied as they are, and all else is in float32.
    """

    def __init__(self, cell: StepCell, weights: StepWeights, features: int, together: int) -> None:
        self.cell: Any = weakref.proxy(cell)  # for the trace; what is compiled must not keep a cell alive
        self.together, given = together, weights.kernel.dtype
        self.dtype = tf.float32 if given.size < 4 else given
        self.saved: Saved = saved_of(cell, tf.nest.map_structure(wide, weights))
        self.output_size = cell.output_size
        self.kept_widths = [self.output_size + sum(self.saved.widths)]
        self.kept_widths += [cell.projection_width] * self.saved.projected
        rows, left = self._rows, tf.TensorSpec([None], tf.int32)
        inputs = tf.TensorSpec([None, features], given)
        states, kept = [rows(n) for n in state_sizes(cell)], [rows(width) for width in self.kept_widths]
        like = tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape, w.dtype), weights)
        sums = tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape, self.dtype), weights)
        compiled = {"jit_compile": True, "autograph": False}
        self.forward = tf.function(self._forward, **compiled).get_concrete_function(
            inputs, left, states, like
        )
        self.backward = tf.function(self._backward, **compiled).get_concrete_function(
            rows(self.output_size), inputs, left, states, kept, like, sums
        )

    def _rows(self, width: int) -> tf.TensorSpec:
        return tf.TensorSpec([None, width], self.dtype)

    def _forward(self, inputs: Any, left: Any, states: Tensors, weights: StepWeights) -> tuple:
        """Outputs, states after, and what is kept."""
        kernel, bias, recurrent, small = weights
        packed = multiply(inputs, kernel, of=self.dtype) + bias
        projected, width = self._by_steps(packed, left), self.kept_widths[0]

        def body(t: Any, states: Tensors, kept: tf.TensorArray) -> tuple:
            for one in range(self.together):
                step = step_forward(self.cell, projected.read(t + one), states, recurrent, small)
                row = tf.concat([step.output, *self.saved.keep(step, states)], 1)
                kept = kept.write(t + one, row)
                running = (t + one < left)[:, tf.newaxis]
                states = [tf.where(running, new, old) for new, old in zip(step.states, states, strict=True)]
            return t + self.together, states, kept

        start = (0, states, self._array(projected.size(), width))
        _, states, kept = tf.while_loop(lambda t, *_: t < projected.size(), body, start)
        rows = tf.reshape(kept.stack(), [-1, width])
        return rows[:, : self.output_size], states, [rows] + [packed] * self.saved.projected

    def _backward(
        self, d_outputs: Any, inputs: Any, left: Any, d_states: Tensors, kept: Tensors, weights: StepWeights,
        sums: StepWeights,
    ) -> Before:  # fmt: skip
        transposed = [tf.transpose(matrix) for matrix in weights.recurrent]
        given = [self._by_steps(rows, left) for rows in (d_outputs, *kept)]
        width, zero = sum(self.saved.gradient_widths), tf.zeros([], self.dtype)

        def body(t: Any, d_states: Tensors, gradients: tf.TensorArray, d_small: Tensors) -> tuple:
            for one in range(self.together):
                d_output, values, *projected = [array.read(t - one) for array in given]
                running = (t - one < left)[:, tf.newaxis]
                values, *projected = self.saved.of_running([values, *projected], running)
                products, states = self.saved.restore(self._parts(values)[1:])
                d_output, *d_after = (tf.where(running, d, zero) for d in (d_output, *d_states))
                step = step_backward(
                    self.cell, self._projected(projected, d_output), products, states, transposed, weights.small,
                    d_output, d_after,
                )  # fmt: skip
                gradients = gradients.write(t - one, tf.concat(self.saved.gradients(step), 1))
                d_states = [tf.where(running, new, d) for new, d in zip(step.states, d_states, strict=True)]
                d_small = [total + d for total, d in zip(d_small, step.small, strict=True)]
            return t - self.together, d_states, gradients, d_small

        steps = given[0].size()
        start = (steps - 1, d_states, self._array(steps, width), sums.small)
        _, d_states, gradients, d_small = tf.while_loop(lambda t, *_: t >= 0, body, start)
        d_products = tf.split(tf.reshape(gradients.stack(), [-1, width]), self.saved.gradient_widths, 1)
        return self._after(inputs, kept[0], d_products, d_states, d_small, weights, sums)

    def _after(
        self, inputs: Any, kept: Any, d_products: Tensors, d_states: Tensors, d_small: Tensors,
        weights: StepWeights, sums: StepWeights,
    ) -> Before:  # fmt: skip
        """What is left to do for all steps at once: one product a matrix."""
        values, d_projected = self._parts(kept)[1:], self.saved.d_projected(d_products)
        half = weights.kernel.dtype
        pairs = [(inputs, d_projected)]
        pairs += [(values[at], dz) for at, dz in zip(self.saved.operand_at, d_products, strict=False)]
        d_kernel, *d_recurrent = (
            total + multiply(tf.cast(a, half), tf.cast(dz, half), transpose_a=True, of=self.dtype)
            for total, (a, dz) in zip((sums.kernel, *sums.recurrent), pairs, strict=True)
        )
        d_inputs = multiply(d_projected, tf.transpose(weights.kernel), of=self.dtype)
        d_bias = sums.bias + tf.reduce_sum(d_projected, 0)
        return Before(d_inputs, d_states, StepWeights(d_kernel, d_bias, d_recurrent, d_small))

    def _parts(self, kept: tf.Tensor) -> Tensors:
        """The output, and what `saved` keeps, of rows that were written as one."""
        return tf.split(kept, [self.output_size, *self.saved.widths], 1)

    def _projected(self, kept: Tensors, like: tf.Tensor) -> tf.Tensor:
        """The projected inputs, if a step's gradient reads them."""
        return kept[0] if kept else tf.zeros([tf.shape(like)[0], self.cell.projection_width], self.dtype)

    def _by_steps(self, rows: tf.Tensor, left: tf.Tensor) -> tf.TensorArray:
        """[N, width] as an element [R, width] for each step."""
        steps = tf.shape(rows)[0] // tf.shape(left)[0]
        shape = [steps, tf.shape(left)[0], rows.shape[1]]
        return self._array(steps, rows.shape[1]).unstack(tf.reshape(rows, shape))

    def _array(self, steps: Any, width: int) -> tf.TensorArray:
        return tf.TensorArray(self.dtype, steps, clear_after_read=False, element_shape=[None, width])
