"""The packed RNN by XLA windows: a batch dealt to independent chains, each going through its windows in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepWeights
from workbench.cells.xla import never_clustered, unrecorded
from workbench.rnn.packing.once import Operands, Results, differentiable_once
from workbench.rnn.packing.order import Chain, Packing, deal, gather_back, pack, take, unpack
from workbench.rnn.packing.received import Received
from workbench.rnn.packing.rows import join_rows, row_array
from workbench.rnn.packing.tile import wide
from workbench.rnn.packing.windows import Span, Windows, loop_count, row_counts, rows_of_window, windows_of

Tensors = list[tf.Tensor]
_LEAST_CAPACITY = 8
_LEAST_EXAMPLES = 4  # of a chain; with fewer, two chains on two cores are slower than one


class _Cuts(NamedTuple):
    """How a chain falls into windows: window k takes the steps step[k] to step[k + 1]."""

    windows: tf.Tensor
    step: tf.Tensor  # [windows + 1]
    row: tf.Tensor  # [windows + 1], the packed row at which each begins
    source: tf.Tensor  # Chain.source, and R more rows that are not valid
    valid: tf.Tensor


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    inputs: list[tf.TensorArray]  # for each chain: [R, D] a window
    steps: list[list[tf.TensorArray]]  # for each chain: [R, width] a window, as Windows.kept_widths
    weights: StepWeights


@never_clustered
def run_compiled(received: Received, *, batch_size: int | None, chains: int) -> Results:
    """All steps of a batch, for a cell in one-step form.

    In float32 at least: inside XLA on CPU a step in halves takes several times as long as one cast to float32.
    """
    given = Operands(received.inputs, tf.nest.flatten(received.states), received.cell.step_weights())
    operands = tf.nest.map_structure(wide, given)
    chains = chains_for(received.batch if batch_size is None else batch_size, chains)
    with tf.control_dependencies(check_fits(received.batch, batch_size)):
        runs = _Chains(received, operands.weights, capacity_for(received.batch, batch_size, chains), chains)
        results = differentiable_once(runs.forward, runs.backward, operands)
    return tf.nest.map_structure(lambda result: tf.cast(result, given.inputs.dtype), results)


def chains_for(examples: Any, chains: int) -> int:
    """How many chains so many examples are dealt to: no more than `chains`.

    >>> [chains_for(examples, 2) for examples in (1, 7, 8, 32)]
    [1, 1, 2, 2]
    """
    return max(1, min(chains, examples // _LEAST_EXAMPLES)) if isinstance(examples, int) else chains


def capacity_for(batch: Any, batch_size: int | None, chains: int) -> Any:
    """How many examples to compile for; a smaller batch is filled up with empty ones, which cost nothing.

    That of `batch_size` where it is given; else the batch's own where it is known while tracing; else the
    next power of two at run time, so that a smaller last batch seldom asks for another compilation.
    """
    if batch_size is not None:
        return _multiple(batch_size, chains)
    if isinstance(batch, int):
        return _multiple(max(batch, 1), chains)
    powers = tf.constant([2**k for k in range(31)])
    at_least = tf.maximum(batch, _LEAST_CAPACITY * chains)
    return _multiple(powers[tf.searchsorted(powers, at_least[tf.newaxis])[0]], chains)


def check_fits(batch: Any, batch_size: int | None) -> list[tf.Operation]:
    """Refuses a larger batch than was said: now, or before all else at run time where its size is not known yet."""
    if batch_size is None:
        return []
    message = f"batch_size={batch_size} is to be the most examples of a batch"
    if not isinstance(batch, int):
        return [tf.debugging.assert_less_equal(batch, batch_size, message)]
    if batch > batch_size:
        raise ValueError(f"{message}, but one has {batch}.")
    return []


def _multiple(number: Any, of: int) -> Any:
    return (number + of - 1) // of * of


class _Chains:
    """Forward and backward over the chains of one batch."""

    def __init__(self, received: Received, weights: StepWeights, capacity: Any, chains: int) -> None:
        self.capacity, examples = capacity, capacity // chains
        self.rows = rows_of_window(examples)
        loops = loop_count(examples if isinstance(examples, int) else None)
        self.windows: Windows = windows_of(received.cell, weights, received.inputs.shape[-1], loops)
        counts = tf.stack(row_counts(examples, loops)[::-1])
        self.packing: Packing = pack(
            received.lengths,
            received.time_steps,
            capacity=capacity,
            chains=chains,
            backwards=received.backwards,
            round_up=lambda running: tf.gather(counts, tf.searchsorted(counts, running)),
        )
        self.cuts = [self._cut(chain, examples) for chain in self.packing.chains]

    def _cut(self, chain: Chain, examples: Any) -> _Cuts:
        stride = self.rows - examples  # so that a window has room for all rows of its last step
        windows = tf.reduce_max(tf.concat([chain.offset // stride, [-1]], 0)) + 1
        begins = tf.searchsorted(chain.offset, tf.range(windows) * stride)
        step = tf.concat([begins, [chain.steps]], 0)
        row = tf.concat([tf.gather(chain.offset, begins), [chain.total]], 0)
        more = [[0, self.rows]]
        return _Cuts(windows, step, row, tf.pad(chain.source, more), tf.pad(chain.valid, more))

    # ------------------------------------------------------------ forward
    @unrecorded
    @never_clustered
    def forward(self, operands: Operands) -> tuple[Results, _Kept]:
        """Results, and what is kept."""
        inputs, states, weights = operands
        flat = tf.reshape(inputs, [-1, inputs.shape[-1]])
        dealt = deal(states, self.packing.chains, self.capacity)
        done = [self._forward_chain(c, flat, dealt[c], weights) for c in range(len(self.cuts))]
        outputs, states_after, kept_inputs, kept_steps = zip(*done, strict=True)
        kept = _Kept(list(kept_inputs), list(kept_steps), weights)
        states = gather_back(states_after, self.packing.place)
        return Results(unpack(outputs, self.packing.packed), states), kept

    def _forward_chain(self, c: int, flat: tf.Tensor, states: Tensors, weights: StepWeights) -> tuple:
        """One chain: (outputs [N, O], states, windows' inputs, what is kept)."""
        cuts, windows = self.cuts[c], self.windows

        @never_clustered
        def body(k: Any, states: Tensors, inputs: Any, outputs: Any, kept: Any) -> tuple:
            packed = self._take(flat, cuts, k)
            made, after, values = windows.forward(packed, self._span(c, k), states, weights)
            outputs = outputs.write(k, made[: cuts.row[k + 1] - cuts.row[k]])
            kept = [array.write(k, value) for array, value in zip(kept, values, strict=True)]
            return k + 1, _alike(after, states), inputs.write(k, packed), outputs, kept

        size = windows.output_size
        inputs, outputs, *kept = self._arrays(c, [flat.shape[1], size, *windows.kept_widths])
        _, states, inputs, outputs, kept = tf.while_loop(
            lambda k, *_: k < cuts.windows, body, (0, states, inputs, outputs, kept), parallel_iterations=1
        )
        return join_rows(outputs, size), states, inputs, kept

    # ------------------------------------------------------------ backward
    @unrecorded
    @never_clustered
    def backward(self, d_results: Results, kept: _Kept) -> Operands:
        """Gradients of the operands."""
        d_outputs, d_states = d_results
        flat = tf.reshape(d_outputs, [-1, d_outputs.shape[-1]])
        dealt = deal(d_states, self.packing.chains, self.capacity)
        done = [self._backward_chain(c, flat, dealt[c], kept) for c in range(len(self.cuts))]
        d_inputs, d_initial, d_weights = zip(*done, strict=True)
        summed = tf.nest.map_structure(lambda *parts: tf.add_n(parts), *d_weights)
        d_states = gather_back(d_initial, self.packing.place)
        return Operands(unpack(d_inputs, self.packing.packed), d_states, summed)

    def _backward_chain(self, c: int, flat: tf.Tensor, d_states: Tensors, kept: _Kept) -> tuple:
        """One chain: (d_inputs [N, D], d_states, d_weights)."""
        cuts, windows, weights = self.cuts[c], self.windows, kept.weights
        transposed = [tf.transpose(matrix) for matrix in weights.recurrent]
        kernel_transposed = tf.transpose(weights.kernel)

        @never_clustered
        def body(
            k: Any, d_states: Tensors, d_inputs: Any, d_matrices: Any, d_bias: Any, d_small: Any
        ) -> tuple:
            rows = cuts.row[k + 1] - cuts.row[k]
            values = [array.read(k) for array in kept.steps[c]]
            d_before, gradients, small = windows.backward(
                self._take(flat, cuts, k), self._span(c, k), d_states, values, transposed, weights.small
            )
            d_projected = windows.saved.d_projected(gradients)[:rows]
            pairs = [(kept.inputs[c].read(k), d_projected)]
            pairs += [(values[at], dz) for at, dz in zip(windows.saved.operand_at, gradients, strict=False)]
            products = [tf.matmul(a[:rows], b[:rows], transpose_a=True) for a, b in pairs]
            return (
                k - 1,
                _alike(d_before, d_states),
                d_inputs.write(k, tf.matmul(d_projected, kernel_transposed)),
                _added(d_matrices, products),
                d_bias + tf.reduce_sum(d_projected, 0),
                _added(d_small, small),
            )

        zeros = [tf.zeros_like(matrix) for matrix in (weights.kernel, *weights.recurrent)]
        features = weights.kernel.shape[0]
        d_small = [tf.zeros_like(vector) for vector in weights.small]
        (d_inputs,) = self._arrays(c, [features])
        start = (cuts.windows - 1, d_states, d_inputs, zeros, tf.zeros_like(weights.bias), d_small)
        _, d_states, d_inputs, (d_kernel, *d_recurrent), d_bias, d_small = tf.while_loop(
            lambda k, *_: k >= 0, body, start, parallel_iterations=1
        )
        return join_rows(d_inputs, features), d_states, StepWeights(d_kernel, d_bias, d_recurrent, d_small)

    # ------------------------------------------------------------ a window of a chain
    def _take(self, flat: tf.Tensor, cuts: _Cuts, k: Any) -> tf.Tensor:
        """The R packed rows from window k's first; those after its last belong to the next, or to none."""
        at, size = [cuts.row[k]], [self.rows]
        return take(flat, tf.slice(cuts.source, at, size), tf.slice(cuts.valid, at, size))

    def _span(self, c: int, k: Any) -> Span:
        return Span(self.packing.chains[c].lengths, self.cuts[c].step[k], self.cuts[c].step[k + 1])

    def _arrays(self, c: int, widths: Sequence[int]) -> list[tf.TensorArray]:
        """An element for each window of a chain."""
        return [row_array(self.windows.dtype, self.cuts[c].windows, width) for width in widths]


def _alike(states: Tensors, as_before: Tensors) -> Tensors:
    """With the shapes that are known outside a window."""
    return [tf.ensure_shape(new, old.shape) for new, old in zip(states, as_before, strict=True)]


def _added(totals: Tensors, more: Tensors) -> Tensors:
    return [total + one for total, one in zip(totals, more, strict=True)]
