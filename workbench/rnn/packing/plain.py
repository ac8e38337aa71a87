"""The packed loop without XLA: an ordinary `tf.while_loop`, whose steps compute the running examples only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepWeights
from workbench.cells.xla import never_clustered, unrecorded
from workbench.rnn.packing.lifetime import held
from workbench.rnn.packing.once import Operands, Results, differentiable_once
from workbench.rnn.packing.order import Chain, Packing, deal, gather_back, pack, take, unpack
from workbench.rnn.packing.received import Received
from workbench.rnn.packing.rows import ListedRows, join_rows, row_array
from workbench.rnn.packing.saved_step import saved_of, step_backward, step_forward

Tensors = list[tf.Tensor]


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    inputs: tf.Tensor  # [N, D]
    projected: tf.Tensor  # [N, K]
    steps: list[tf.TensorArray]  # of each step, in the order of Saved.widths
    weights: StepWeights


@never_clustered
def run_plain(received: Received) -> Results:
    """All steps of a batch, for a cell in one-step form.

    Inputs are projected in one product; every matrix's gradient is one product after the backward loop.
    """
    weights = received.cell.step_weights()
    loop = _Loop(received, weights)
    operands = Operands(received.inputs, tf.nest.flatten(received.states), weights)
    return differentiable_once(loop.forward, loop.backward, operands)


class _Loop:
    """The two loops over one batch in packed order."""

    def __init__(self, received: Received, weights: StepWeights) -> None:
        self.cell = held(received.cell)
        self.dtype = weights.kernel.dtype
        self.packing: Packing = pack(
            received.lengths, received.time_steps, chains=1, backwards=received.backwards
        )
        self.saved = saved_of(received.cell, weights)
        self.in_graph = not tf.executing_eagerly()

    @property
    def chain(self) -> Chain:
        """The only one."""
        return self.packing.chains[0]

    @unrecorded
    @never_clustered
    def forward(self, operands: Operands) -> tuple[Results, _Kept]:
        """Results, and what is kept."""
        inputs, states, weights = operands
        packed = take(_flat(inputs), self.chain.source)
        projected = weights.project(packed)

        @never_clustered
        def body(t: Any, states: Tensors, outputs: Any, kept: Any) -> tuple:
            rows = self.chain.rows[t]
            part = [state[:rows] for state in states]
            step = step_forward(self.cell, self._at(projected, t), part, weights.recurrent, weights.small)
            kept = [a.write(t, v) for a, v in zip(kept, self.saved.keep(step, part), strict=True)]
            return t + 1, self._merged(step.states, states, t), outputs.write(t, step.output), kept

        (states,) = deal(states, self.packing.chains)
        outputs, *kept = self._arrays([self.cell.output_size, *self.saved.widths])
        _, states, outputs, kept = tf.while_loop(
            lambda t, *_: t < self.chain.steps, body, (0, states, outputs, kept), parallel_iterations=1
        )
        outputs = unpack([join_rows(outputs, self.cell.output_size)], self.packing.packed)
        states = gather_back([states], self.packing.place)
        return Results(outputs, states), _Kept(packed, projected, kept, weights)

    @never_clustered
    def backward(self, d_results: Results, kept: _Kept) -> Operands:
        """Gradients of the operands."""
        d_outputs = take(_flat(d_results.outputs), self.chain.source)
        weights, saved, steps = kept.weights, self.saved, self._readable(kept.steps)
        transposed = [tf.transpose(matrix) for matrix in weights.recurrent]

        @never_clustered
        def body(t: Any, d_states: Tensors, gradients: Any, d_small: Tensors) -> tuple:
            products, states = saved.restore([array.read(t) for array in steps])
            part = [d[: self.chain.rows[t]] for d in d_states]
            step = step_backward(
                self.cell, self._at(kept.projected, t), products, states, transposed, weights.small,
                self._at(d_outputs, t), part,
            )  # fmt: skip
            gradients = [a.write(t, v) for a, v in zip(gradients, saved.gradients(step), strict=True)]
            d_small = [total + d for total, d in zip(d_small, step.small, strict=True)]
            return t - 1, self._merged(step.states, d_states, t), gradients, d_small

        (d_states,) = deal(d_results.states, self.packing.chains)
        d_small = [tf.zeros_like(w) for w in weights.small]
        if self._is_mapped and int(self.chain.steps):
            arrays = [ListedRows(int(self.chain.steps)) for _ in saved.gradient_widths]
            for t in reversed(range(int(self.chain.steps))):
                _, d_states, arrays, d_small = body(t, d_states, arrays, d_small)
        else:
            start = (self.chain.steps - 1, d_states, self._arrays(saved.gradient_widths), d_small)
            _, d_states, arrays, d_small = tf.while_loop(
                lambda t, *_: t >= 0, body, start, parallel_iterations=1
            )
        gradients = [join_rows(a, w) for a, w in zip(arrays, saved.gradient_widths, strict=True)]
        d_projected = saved.d_projected(gradients)
        d_recurrent = [
            tf.matmul(join_rows(steps[at], saved.widths[at]), dz, transpose_a=True)
            for at, dz in zip(saved.operand_at, gradients, strict=False)
        ]
        d_inputs = unpack([tf.matmul(d_projected, weights.kernel, transpose_b=True)], self.packing.packed)
        d_kernel = tf.matmul(kept.inputs, d_projected, transpose_a=True)
        d_states = gather_back([d_states], self.packing.place)
        d_weights = StepWeights(d_kernel, tf.reduce_sum(d_projected, 0), d_recurrent, d_small)
        return Operands(d_inputs, d_states, d_weights)

    @property
    def _is_mapped(self) -> bool:
        """Whether the backward pass is in a graph, of `tape.jacobian`, and the forward pass was in none."""
        return not (self.in_graph or tf.executing_eagerly())

    def _readable(self, arrays: list[tf.TensorArray]) -> list[Any]:
        """What was kept, where it can be read: a graph knows no array of outside."""
        steps = int(self.chain.steps) if self._is_mapped else 0
        if not steps:
            return arrays
        inside = [ListedRows(steps) for _ in arrays]
        for t in range(steps):
            inside = [one.write(t, array.read(t)) for one, array in zip(inside, arrays, strict=True)]
        return inside

    def _at(self, packed: tf.Tensor, t: Any) -> tf.Tensor:
        """The packed rows of a step."""
        return tf.slice(packed, [self.chain.offset[t], 0], [self.chain.rows[t], packed.shape[1]])

    def _merged(self, new: Tensors, old: Tensors, t: Any) -> Tensors:
        """New rows of the examples that run, old ones of those that have ended."""
        rows = self.chain.rows[t]
        return [tf.ensure_shape(tf.concat([n, o[rows:]], 0), o.shape) for n, o in zip(new, old, strict=True)]

    def _arrays(self, widths: Sequence[int]) -> list[tf.TensorArray]:
        """An element for each step."""
        return [row_array(self.dtype, self.chain.steps, width) for width in widths]


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    """[B, T, D] -> [B * T, D]."""
    return tf.reshape(tensor, [-1, tensor.shape[-1]])
