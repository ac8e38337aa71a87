"""The packed RNN by XLA windows: a batch dealt to independent chains, each going through its windows in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepWeights
from workbench.cells.xla import never_clustered, unrecorded
from workbench.rnn.packing.once import Operands, Results, differentiable_once
from workbench.rnn.packing.order import Chain, Packing, deal, gather_back, pack, take, unpack
from workbench.rnn.packing.received import Received
from workbench.rnn.packing.rows import join_rows, read_rows, row_array
from workbench.rnn.packing.tile import wide
from workbench.rnn.packing.windows import Span, Windows, loop_count, row_counts, rows_of_window, windows_of

Tensors = list[tf.Tensor]
_LEAST_CAPACITY = 32  # where the batch is not known: so that a smaller last one of 32 is not compiled for
_LEAST_OF_A_CHAIN = 8
_LEAST_EXAMPLES = 4  # of a chain; with fewer, two chains on two cores are slower than one
_SIZES = 4  # of batch, known while tracing, that are compiled for as they are; more take a power of two


class _Cuts(NamedTuple):
    """How a chain falls into windows: window k takes the steps step[k] to step[k + 1]."""

    windows: tf.Tensor
    step: tf.Tensor  # [windows + 1]
    row: tf.Tensor  # [windows + 1], the packed row at which each begins
    source: tf.Tensor  # Chain.source, and R more rows that are no example's


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass; of each array of rows its tensor list."""

    packing: Packing
    cuts: list[_Cuts]
    inputs: Tensors  # for each chain: the D features of a window's own rows
    steps: list[Tensors]  # for each chain: [R, width] a window, as Windows.kept_widths


@never_clustered
def run_compiled(received: Received, *, batch_size: int | None, chains: int) -> Results:
    """All steps of a batch, for a cell in one-step form.

    In float32 at least: inside XLA on CPU a step in halves takes several times as long as one cast to float32.
    """
    weights = received.cell.step_weights()
    weights = weights._replace(recurrent=list(weights.recurrent), small=list(weights.small))
    given = Operands(received.inputs, tf.nest.flatten(received.states), weights)
    operands = tf.nest.map_structure(wide, given)
    most = received.batch if batch_size is None else batch_size
    some = chains_for(most, chains)
    # the passes for any batch do the same for one of the least capacity
    if not isinstance(most, int) or most == _least(some):
        passes = _passes_of(received, operands, None, some)
    else:
        passes = _passes_of(
            received, operands, max(most, 1), some, of_any=chains if batch_size is None else None
        )
    # of what all is made, as the ops of a function would not all wait
    with tf.control_dependencies(check_fits(received.batch, batch_size)):
        lengths, operands = tf.nest.map_structure(tf.identity, (received.lengths, operands))

    def forward(operands: Operands) -> tuple[Results, tuple[_Kept, StepWeights]]:
        results, kept = passes.forward(lengths, operands)
        return results, (kept, operands.weights)

    def backward(d_results: Results, kept: tuple[_Kept, StepWeights]) -> Operands:
        return passes.backward(d_results, *kept)

    results = differentiable_once(unrecorded(forward), unrecorded(never_clustered(backward)), operands)
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
    next power of two at run time, 32 at least, so that a smaller last batch seldom asks for another compilation.
    """
    if batch_size is not None:
        return _multiple(batch_size, chains)
    if isinstance(batch, int):
        return _multiple(max(batch, 1), chains)
    powers = tf.constant([2**k for k in range(31)])
    at_least = tf.maximum(batch, _least(chains))
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


def _least(chains: int) -> int:
    """The smallest capacity where the batch is not known while tracing."""
    return max(_LEAST_CAPACITY, _LEAST_OF_A_CHAIN * chains)


def _multiple(number: Any, of: int) -> Any:
    return (number + of - 1) // of * of


def _passes_of(
    received: Received, operands: Operands, most: int | None, chains: int, of_any: int | None = None
) -> _Passes:
    """The passes for such a batch, traced once for all cells that compute the same, and for all models.

    A model traces its step several times (Keras' `fit` three times where batches are of unlike shape). With
    `of_any` chains, past a few sizes of batch those for any are taken: a function may be traced for each anew.
    """
    least = _multiple(_least(chains) if most is None else most, chains) // chains
    windows = windows_of(received.cell, operands.weights, loop_count(least))
    # both, lest unlike ones fail in TensorFlow's words
    shapes = (operands.inputs.shape[-1], operands.weights.kernel.shape[0])
    of_sizes = windows.passes.setdefault((*shapes, received.backwards), {})
    if (most, chains) not in of_sizes:
        if of_any is not None and len(of_sizes) >= _SIZES:
            return _passes_of(received, operands, None, of_any)
        of_sizes[most, chains] = _Passes(windows, operands, most, chains, received.backwards)
    return of_sizes[most, chains]


class _Passes:
    """Forward and backward over the chains of a batch, as functions of all that they read.

    forward(lengths [B], operands) -> (results, kept);  backward(d_results, kept, weights) -> gradients of operands

    `most` is the most examples of a batch; None: any number, rounded up at run time as `capacity_for` says.
    """

    def __init__(
        self, windows: Windows, like: Operands, most: int | None, chains: int, backwards: bool
    ) -> None:
        self.windows, self.most, self.chains, self.backwards = windows, most, chains, backwards
        self.features = like.inputs.shape[-1]
        self._weights = tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape, w.dtype), like.weights)
        dtype = windows.dtype
        states = [tf.TensorSpec([None, state.shape[-1]], dtype) for state in like.states]
        operands = Operands(tf.TensorSpec([None, None, self.features], dtype), states, self._weights)
        self._results = Results(tf.TensorSpec([None, None, windows.output_size], dtype), states)
        self.forward = _traced(self._forward, tf.TensorSpec([None], tf.int32), operands)

    @cached_property
    def backward(self) -> Any:
        """Traced where a gradient is asked for."""
        _, kept = self.forward.structured_outputs
        kept = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), kept)
        return _traced(self._backward, self._results, kept, self._weights)

    def _capacity(self, lengths: tf.Tensor) -> Any:
        return capacity_for(tf.shape(lengths)[0] if self.most is None else self.most, self.most, self.chains)

    def _pack(self, lengths: tf.Tensor, time_steps: Any, capacity: Any) -> Packing:
        counts = tf.stack(row_counts(capacity // self.chains, self.windows.loops)[::-1])
        return pack(
            lengths,
            time_steps,
            capacity=capacity,
            chains=self.chains,
            backwards=self.backwards,
            round_up=lambda running: tf.gather(counts, tf.searchsorted(counts, running)),
        )

    def _cut(self, chain: Chain, examples: Any) -> _Cuts:
        rows = rows_of_window(examples)
        stride = rows - examples  # so that a window has room for all rows of its last step
        windows = tf.reduce_max(tf.concat([chain.offset // stride, [-1]], 0)) + 1
        begins = tf.searchsorted(chain.offset, tf.range(windows) * stride)
        step = tf.concat([begins, [chain.steps]], 0)
        row = tf.concat([tf.gather(chain.offset, begins), [chain.total]], 0)
        more = [[0, rows]]
        return _Cuts(windows, step, row, tf.pad(chain.source, more))

    # ------------------------------------------------------------ forward
    @never_clustered
    def _forward(self, lengths: tf.Tensor, operands: Operands) -> tuple[Results, _Kept]:
        """Results, and what is kept."""
        inputs, states, weights = operands
        capacity = self._capacity(lengths)
        packing = self._pack(lengths, tf.shape(inputs)[1], capacity)
        cuts = [self._cut(chain, capacity // self.chains) for chain in packing.chains]
        flat = tf.reshape(inputs, [-1, self.features])
        dealt = deal(states, packing.chains, capacity)
        done = [
            self._forward_chain(chain, its, flat, own, weights)
            for chain, its, own in zip(packing.chains, cuts, dealt, strict=True)
        ]
        outputs, states_after, kept_inputs, kept_steps = zip(*done, strict=True)
        states = gather_back(states_after, packing.place)
        kept = _Kept(packing, cuts, list(kept_inputs), list(kept_steps))
        return Results(unpack(outputs, packing.packed), states), kept

    def _forward_chain(
        self, chain: Chain, cuts: _Cuts, flat: tf.Tensor, states: Tensors, weights: StepWeights
    ) -> tuple:
        """One chain: (outputs [N, O], states, windows' inputs, what is kept)."""
        windows, window_rows = self.windows, rows_of_window(tf.shape(chain.lengths)[0])

        @never_clustered
        def body(k: Any, states: Tensors, inputs: Any, outputs: Any, kept: Any) -> tuple:
            rows = cuts.row[k + 1] - cuts.row[k]
            packed = take(flat, tf.slice(cuts.source, [cuts.row[k]], [rows]))
            projected = tf.pad(weights.project(packed), [[0, window_rows - rows], [0, 0]])
            made, after, values = windows.forward(
                projected, _span(chain, cuts, k), states, weights.recurrent, weights.small
            )
            outputs = outputs.write(k, made[:rows])
            kept = [array.write(k, value) for array, value in zip(kept, values, strict=True)]
            return k + 1, _alike(after, states), inputs.write(k, packed), outputs, kept

        size = windows.output_size
        inputs, outputs, *kept = self._arrays(cuts, [self.features, size, *windows.kept_widths])
        _, states, inputs, outputs, kept = tf.while_loop(
            lambda k, *_: k < cuts.windows, body, (0, states, inputs, outputs, kept), parallel_iterations=1
        )
        return join_rows(outputs, size), states, inputs.flow, [array.flow for array in kept]

    # ------------------------------------------------------------ backward
    @never_clustered
    def _backward(self, d_results: Results, kept: _Kept, weights: StepWeights) -> Operands:
        """Gradients of the operands."""
        d_outputs, d_states = d_results
        packing = kept.packing
        flat = tf.reshape(d_outputs, [-1, self.windows.output_size])
        dealt = deal(d_states, packing.chains, self._capacity(packing.place))
        of_chains = zip(packing.chains, kept.cuts, dealt, kept.inputs, kept.steps, strict=True)
        done = [self._backward_chain(weights, flat, *one) for one in of_chains]
        d_inputs, d_initial, d_weights = zip(*done, strict=True)
        summed = tf.nest.map_structure(lambda *parts: tf.add_n(parts), *d_weights)
        d_states = gather_back(d_initial, packing.place)
        return Operands(unpack(d_inputs, packing.packed), d_states, summed)

    def _backward_chain(
        self,
        weights: StepWeights,
        flat: tf.Tensor,
        chain: Chain,
        cuts: _Cuts,
        d_states: Tensors,
        kept_inputs: tf.Tensor,
        kept_steps: Tensors,
    ) -> tuple:
        """One chain: (d_inputs [N, D], d_states, d_weights)."""
        windows, window_rows = self.windows, rows_of_window(tf.shape(chain.lengths)[0])
        transposed = [tf.transpose(matrix) for matrix in weights.recurrent]
        kernel_transposed = tf.transpose(weights.kernel)

        @never_clustered
        def body(
            k: Any, d_states: Tensors, d_inputs: Any, d_matrices: Any, d_bias: Any, d_small: Any
        ) -> tuple:
            rows = cuts.row[k + 1] - cuts.row[k]
            inputs = read_rows(kept_inputs, k, windows.dtype, self.features)
            values = [
                read_rows(flow, k, windows.dtype, width)
                for flow, width in zip(kept_steps, windows.kept_widths, strict=True)
            ]
            d_before, gradients, small = windows.backward(
                # as many as the largest window has: those after its last belong to the next, or to none
                take(flat, tf.slice(cuts.source, [cuts.row[k]], [window_rows])),
                _span(chain, cuts, k),
                d_states,
                values,
                transposed,
                weights.small,
            )
            d_projected = windows.saved.d_projected(gradients)[:rows]
            pairs = [(inputs, d_projected)]
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
        d_small = [tf.zeros_like(vector) for vector in weights.small]
        (d_inputs,) = self._arrays(cuts, [self.features])
        start = (cuts.windows - 1, d_states, d_inputs, zeros, tf.zeros_like(weights.bias), d_small)
        _, d_states, d_inputs, (d_kernel, *d_recurrent), d_bias, d_small = tf.while_loop(
            lambda k, *_: k >= 0, body, start, parallel_iterations=1
        )
        return (
            join_rows(d_inputs, self.features),
            d_states,
            StepWeights(d_kernel, d_bias, d_recurrent, d_small),
        )

    def _arrays(self, cuts: _Cuts, widths: Sequence[int]) -> list[tf.TensorArray]:
        """An element for each window of a chain."""
        return [row_array(self.windows.dtype, cuts.windows, width) for width in widths]


def _traced(function: Callable[..., Any], *like: Any) -> Any:
    """A function that is traced for tensors like these."""
    return tf.function(function, autograph=False).get_concrete_function(*like)


def _span(chain: Chain, cuts: _Cuts, k: Any) -> Span:
    return Span(chain.lengths, cuts.step[k], cuts.step[k + 1])


def _alike(states: Tensors, as_before: Tensors) -> Tensors:
    """With the shapes that are known outside a window."""
    return [tf.ensure_shape(new, old.shape) for new, old in zip(states, as_before, strict=True)]


def _added(totals: Tensors, more: Tensors) -> Tensors:
    return [total + one for total, one in zip(totals, more, strict=True)]
