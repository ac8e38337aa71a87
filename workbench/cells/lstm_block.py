"""The LSTM block cell: a whole step in one op of TensorFlow's, or a whole sequence in one."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import Stepper, gates, register
from workbench.cells.block import check_block_options, inside, once_only, refuse_where_lost
from workbench.cells.custom_gradient import custom_gradient
from workbench.cells.lstm import LSTMCell


@register
class LSTMBlockCell(LSTMCell):
    """LSTMCell in one op for a step, `LSTMBlockCell`, with its gradient in another.

        i = sigmoid(... [+ p_i * c]);  f = sigmoid(... + forget_bias [+ p_f * c])
        c' = f * c + i * tanh(...)                        [clipped to +-cell_clip]
        h' = sigmoid(... [+ p_o * c']) * tanh(c')

    Options (no projection), weights, their names and orders are LSTMCell's; get_weights and set_weights exchange
    them. States: [h, c]. float32 or float16. The op's gradient passes through `cell_clip` as if nothing were
    clipped, where LSTMCell's stops (both as in TF 1.15). Second derivatives are refused,
    and so is an outer `jit_compile`.

    `sequence` runs all steps in one op, for `fused_rnn`. The products are made inside the ops, so no runner can
    take the step apart: `has_step` is false.

    Source: Zaremba et al., https://arxiv.org/abs/1409.2329; the guide, "RNN cells, wrappers"; TF 1.15's contrib
    LSTMBlockCell and LSTMBlockFusedCell.
    """

    numbers_of_parent = True

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.supports_jit = False  # told to Keras, which then compiles no model around it
        check_block_options(self, ("float32", "float16"), num_proj=None, activation=keras.activations.tanh)

    def has_step(self, training: bool) -> bool:
        """Never: the op is the step."""
        return False

    def _op_weights(self, order: tuple[int, ...]) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
        """The joint kernel [D + H, 4H] and bias in an op's order of gates, the peepholes between them."""
        refuse_where_lost(self, "lstm")
        weights = self.step_weights()
        joint = gates(tf.concat([weights.kernel, weights.recurrent[0]], 0), 4)
        bias = gates(weights.bias, 4)
        peepholes = weights.small or [tf.zeros([self.units], self.compute_dtype)] * 3
        return tf.concat([joint[k] for k in order], 1), peepholes, tf.concat([bias[k] for k in order], 0)

    def stepper(self, training: bool = False) -> Stepper:
        """The weights are joined once; then one op a step."""
        kernel, peepholes, bias = self._op_weights((0, 2, 1, 3))

        def run(inputs: tf.Tensor, states: Any) -> tuple:
            h, c = self._step_op(inputs, states[1], states[0], kernel, *peepholes, bias)
            return h, [h, c]

        return run

    def sequence(self, inputs: tf.Tensor, states: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """All steps in one op: inputs [T, B, D] -> outputs [T, B, H], states [h, c] of every step, [T, B, H]."""
        kernel, peepholes, bias = self._op_weights((0, 1, 2, 3))
        h, c = self._sequence_op(inputs, states[1], states[0], kernel, *peepholes, bias)
        return h, [h, c]

    def _step_op(self, *tensors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        names = ("x", "cs_prev", "h_prev", "w", "wci", "wcf", "wco", "b")
        units, use_peephole = self.units, self.use_peepholes  # in a graph the gradient must not hold the cell

        @custom_gradient
        def op(*tensors: tf.Tensor) -> Any:
            given = dict(zip(names, tensors, strict=True))
            out = tf.raw_ops.LSTMBlockCell(
                **given, forget_bias=0.0, cell_clip=self.cell_clip or -1.0, use_peephole=use_peephole
            )

            def gradient(h_grad: tf.Tensor, c_grad: tf.Tensor, *rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
                x, c, h, w, wci, wcf, wco, b, i, cs, f, o, ci, co = rest
                c_prev, dicfo, *peepholes = tf.raw_ops.LSTMBlockCellGrad(
                    x=x, cs_prev=c, h_prev=h, w=w, wci=wci, wcf=wcf, wco=wco, b=b, i=i, cs=cs, f=f, o=o,
                    ci=ci, co=co, cs_grad=c_grad, h_grad=h_grad, use_peephole=use_peephole,
                )  # fmt: skip
                d_x, d_h = tf.split(tf.matmul(dicfo, w, transpose_b=True), [x.shape[1], units], 1)
                d_w = tf.matmul(tf.concat([x, h], 1), dicfo, transpose_a=True)
                return d_x, c_prev, d_h, d_w, *peepholes, tf.reduce_sum(dicfo, 0)

            saved = [*map(tf.stop_gradient, (out.i, out.cs, out.f, out.o, out.ci, out.co))]
            return (out.h, out.cs), lambda dh, dc: once_only(gradient, "lstm")(dh, dc, *tensors, *saved)

        return op(*inside(tensors))

    def _sequence_op(self, *tensors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        names = ("x", "cs_prev", "h_prev", "w", "wci", "wcf", "wco", "b")
        results = ("i", "cs", "f", "o", "ci", "co", "h")
        use_peephole = self.use_peepholes

        @custom_gradient
        def op(*tensors: tf.Tensor) -> Any:
            given = dict(zip(names, tensors, strict=True))
            given["seq_len_max"] = tf.shape(tensors[0], tf.int64)[0]
            out = tf.raw_ops.BlockLSTMV2(**given, cell_clip=self.cell_clip or 0.0, use_peephole=use_peephole)

            def gradient(h_grad: tf.Tensor, c_grad: tf.Tensor, *rest: tf.Tensor) -> Any:
                saved = dict(zip((*names, *results), rest, strict=True))
                return tf.raw_ops.BlockLSTMGradV2(
                    seq_len_max=given["seq_len_max"],
                    **saved,
                    cs_grad=c_grad,
                    h_grad=h_grad,
                    use_peephole=use_peephole,
                )

            return (out.h, out.cs), lambda dh, dc: once_only(gradient, "lstm")(dh, dc, *tensors, *out)

        return op(*inside(tensors))
