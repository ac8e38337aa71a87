"""Windows: some hundred packed rows, forward or backward, in one XLA computation of static shape.

A window holds a few loops in a row, one for each number of rows that a step may take: with 16 examples in a
chain 16, 9, 4 and 1. Where one loop ends and the next begins is read from the sorted lengths at run time, so
one compilation serves all lengths. It is traced once; XLA compiles it for each size of a chain.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, state_sizes
from workbench.rnn.packing.saved_step import (
    Saved,
    saved_of,
    step_backward,
    step_forward,
)

Tensors = list[tf.Tensor]
_SHARES = {1: (), 2: (16,), 3: (16, 8), 4: (16, 9, 4), 5: (16, 10, 5, 2)}
"""Sixteenths of a chain's examples that each loop takes, for so many loops; the last loop takes one example.

Picked by the sum of what steps take by rows (26 us for 1, 44 for 4, 78 for 8, 119 for 16) over batches of
geometric, UD EWT and Python source lengths. A fifth loop saves 17% of a step at 64 examples (interleaved, LSTM of
256 units, longest 100: 0.83 [0.80, 0.86]) and a twentieth at 16; each takes 0.4 s to compile.
"""


class Span(NamedTuple):
    """The steps `begin` to `end` of a chain, whose examples have falling `lengths` [S]."""

    lengths: tf.Tensor
    begin: tf.Tensor
    end: tf.Tensor


class Segment(NamedTuple):
    """The steps `start` to `stop`, each of so many `rows`, from packed row `at` of the window."""

    rows: Any
    start: tf.Tensor
    stop: tf.Tensor
    at: tf.Tensor


def loop_count(examples: int) -> int:
    """How many loops a window has for a chain of so many examples, or of at least so many.

    >>> [loop_count(n) for n in (1, 2, 4, 8, 16, 32)]
    [1, 2, 3, 4, 4, 5]
    """
    return next(loops for least, loops in ((32, 5), (8, 4), (4, 3), (2, 2), (0, 1)) if examples >= least)


def row_counts(examples: Any, loops: int) -> list[Any]:
    """The numbers of rows that a step may take, falling: shares of all, and 1 in the end.

    >>> row_counts(16, 4), row_counts(64, 5), row_counts(1, 1)
    ([16, 9, 4, 1], [64, 40, 20, 8, 1], [1])
    """
    if loops == 1:
        return [examples]
    return [*((examples * share + 15) // 16 for share in _SHARES[loops]), 1]


def rows_of_window(examples: Any) -> Any:
    """Packed rows of a window: so many that what it costs to enter one is small, so few that memory is."""
    if isinstance(examples, int):
        return max(512, 16 * examples)
    return tf.maximum(512, 16 * examples)


def segments(span: Span, loops: int) -> Iterator[Segment]:
    """The loops of a window; many may have no step."""
    counts = row_counts(tf.shape(span.lengths)[0], loops)
    at, start = tf.constant(0), span.begin
    for k, rows in enumerate(counts):
        ends = span.lengths[counts[k + 1]] if k + 1 < loops else span.lengths[0]
        stop = tf.clip_by_value(ends, start, span.end)
        yield Segment(rows, start, stop, at)
        at, start = at + (stop - start) * rows, stop


def windows_of(cell: StepCell, weights: StepWeights, loops: int) -> Windows:
    """The windows of a cell, made once for each number of loops.

    Cells that compute the same share them, so that a model of equal layers is compiled for one of them.
    """
    saved = saved_of(cell, weights)
    made: Windows = saved.compiled((Windows, loops), lambda: Windows(cell, weights, loops))
    return made


class Windows:
    """`forward` and `backward` of one window, compiled. R packed rows of K projected inputs, S examples.

    forward(projected [R, K], span, states [S, n], recurrent, small)
        -> (outputs [R, O], states, kept [R, width] each)
    backward(d_outputs [R, O], span, d_states, kept, transposed, small) -> (d_states, gradients [R, width], d_small)
    """

    def __init__(self, cell: StepCell, weights: StepWeights, loops: int) -> None:
        self.cell: Any = weakref.proxy(cell)  # for the trace; what is compiled must not keep a cell alive
        self.loops, self.dtype = loops, weights.kernel.dtype
        self.saved: Saved = saved_of(cell, weights)
        self.kept_widths = self.saved.widths + [cell.projection_width] * self.saved.projected
        self.output_size = cell.output_size
        # what is traced around these windows, by what it is traced for and by size
        self.passes: dict[Any, dict[Any, Any]] = {}
        rows = self._rows
        span = Span(*(tf.TensorSpec(shape, tf.int32) for shape in ([None], [], [])))
        states = [rows(n) for n in state_sizes(cell)]
        like = tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape, self.dtype), weights)
        transposed = [tf.TensorSpec(matrix.shape[::-1], self.dtype) for matrix in weights.recurrent]
        kept = [rows(width) for width in self.kept_widths]
        compiled = {"jit_compile": True, "autograph": False}
        self.forward = tf.function(self._forward, **compiled).get_concrete_function(
            rows(cell.projection_width), span, states, like.recurrent, like.small
        )
        self.backward = tf.function(self._backward, **compiled).get_concrete_function(
            rows(cell.output_size), span, states, kept, transposed, like.small
        )

    def _rows(self, width: int) -> tf.TensorSpec:
        return tf.TensorSpec([None, width], self.dtype)

    def _forward(
        self, projected: tf.Tensor, span: Span, states: Tensors, recurrent: Tensors, small: Tensors
    ) -> tuple:
        size = tf.shape(projected)[0]
        buffers = [tf.zeros([size, width], self.dtype) for width in (self.output_size, *self.saved.widths)]
        for segment in segments(span, self.loops):
            states, buffers = self._forward_loop(
                segment, span, (projected, recurrent, small), states, buffers
            )
        outputs, *kept = buffers
        return outputs, states, kept + [projected] * self.saved.projected

    def _forward_loop(
        self, segment: Segment, span: Span, given: tuple, states: Tensors, buffers: Tensors
    ) -> tuple[Tensors, Tensors]:
        """The steps of one segment, on its first rows: (states of all examples, buffers)."""
        projected, recurrent, small = given
        rows = segment.rows

        def body(t: Any, at: Any, states: Tensors, buffers: Tensors) -> tuple:
            step = step_forward(self.cell, _read(projected, at, rows), states, recurrent, small)
            made = [step.output, *self.saved.keep(step, states)]
            running = (t < span.lengths[:rows])[:, tf.newaxis]
            states = [tf.where(running, new, old) for new, old in zip(step.states, states, strict=True)]
            return t + 1, at + rows, states, [_write(b, at, v) for b, v in zip(buffers, made, strict=True)]

        start = (segment.start, segment.at, [state[:rows] for state in states], buffers)
        _, _, part, buffers = tf.while_loop(lambda t, *_: t < segment.stop, body, start)
        return _over(part, states, rows), buffers

    def _backward(
        self, d_outputs: Any, span: Span, d_states: Tensors, kept: Tensors, transposed: Any, small: Any
    ) -> tuple:
        size = tf.shape(d_outputs)[0]
        buffers = [tf.zeros([size, width], self.dtype) for width in self.saved.gradient_widths]
        d_small = [tf.zeros_like(vector) for vector in small]
        for segment in reversed([*segments(span, self.loops)]):
            d_states, buffers, d_small = self._backward_loop(
                segment, span, (d_outputs, kept, transposed, small), d_states, buffers, d_small
            )
        return d_states, buffers, d_small

    def _backward_loop(
        self,
        segment: Segment,
        span: Span,
        given: tuple,
        d_states: Tensors,
        buffers: Tensors,
        d_small: Tensors,
    ) -> tuple[Tensors, Tensors, Tensors]:
        """The steps of one segment from its last: (d_states of all examples, buffers, d_small)."""
        d_outputs, kept, transposed, small = given
        rows = segment.rows

        def body(t: Any, at: Any, d_states: Tensors, buffers: Tensors, d_small: Tensors) -> tuple:
            values = [_read(buffer, at, rows) for buffer in kept]
            running = (t < span.lengths[:rows])[:, tf.newaxis]
            values = self.saved.of_running(values, running)
            projected = tf.zeros([rows, self.cell.projection_width], self.dtype)
            if self.saved.projected:
                *values, projected = values
            products, states = self.saved.restore(values)
            d_output, *d_after = (
                tf.where(running, d, tf.zeros([], self.dtype))
                for d in (_read(d_outputs, at, rows), *d_states)
            )
            step = step_backward(self.cell, projected, products, states, transposed, small, d_output, d_after)
            d_states = [tf.where(running, new, d) for new, d in zip(step.states, d_states, strict=True)]
            made = self.saved.gradients(step)
            buffers = [_write(b, at, v) for b, v in zip(buffers, made, strict=True)]
            d_small = [total + d for total, d in zip(d_small, step.small, strict=True)]
            return t - 1, at - rows, d_states, buffers, d_small

        last = segment.at + (segment.stop - segment.start - 1) * rows
        start = (segment.stop - 1, last, [d[:rows] for d in d_states], buffers, d_small)
        _, _, part, buffers, d_small = tf.while_loop(lambda t, *_: t >= segment.start, body, start)
        return _over(part, d_states, rows), buffers, d_small


def _read(buffer: tf.Tensor, at: Any, rows: Any) -> tf.Tensor:
    return tf.slice(buffer, [at, 0], [rows, buffer.shape[1]])


def _write(buffer: tf.Tensor, at: Any, value: tf.Tensor) -> tf.Tensor:
    """XLA sees that the rows are consecutive, and writes in place."""
    rows = tf.range(tf.shape(value)[0])
    return tf.tensor_scatter_nd_update(buffer, (at + rows)[:, tf.newaxis], value)


def _over(part: Tensors, states: Tensors, rows: Any) -> Tensors:
    """The first rows of `states` replaced."""
    return [tf.concat([new, old[rows:]], 0) for new, old in zip(part, states, strict=True)]
