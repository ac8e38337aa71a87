"""The GRU block cell: a whole step in one op of TensorFlow's."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import Stepper, gates, register
from workbench.cells.block import check_block_options, inside, once_only, refuse_where_lost
from workbench.cells.custom_gradient import custom_gradient
from workbench.cells.gru import GRUCell


@register
class GRUBlockCell(GRUCell):
    """GRUCell (reset before) in one op for a step, `GRUBlockCell`, with its gradient in another.

        z, r = sigmoid(x W_zr + h U_zr + b_zr);  n = tanh(x W_n + (r * h) U_n + b_n);  h' = z * h + (1 - z) * n

    Options, weights, their names and orders are GRUCell's; get_weights and set_weights exchange them. States:
    [h]. float32 only. Second derivatives are refused, and so is an outer `jit_compile`. The products are made
    inside the op, so no runner can take the step apart: `has_step` is false.

    Source: Cho et al., https://arxiv.org/abs/1406.1078; TF 1.15's contrib GRUBlockCellV2.
    """

    numbers_of_parent = True

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.supports_jit = False  # told to Keras, which then compiles no model around it
        check_block_options(self, ("float32",), reset_after=False, activation=keras.activations.tanh)

    def has_step(self, training: bool) -> bool:
        """Never: the op is the step."""
        return False

    def stepper(self, training: bool = False) -> Stepper:
        """The weights are joined once, in the op's order r, z; then one op a step."""
        refuse_where_lost(self, "gru")
        weights = self.step_weights()
        z, r, n = gates(weights.kernel, 3)
        h_z, h_r = gates(weights.recurrent[0], 2)
        b_z, b_r, b_n = gates(weights.bias, 3)
        w_ru = tf.concat([tf.concat([r, z], 1), tf.concat([h_r, h_z], 1)], 0)
        w_c = tf.concat([n, weights.recurrent[1]], 0)
        b_ru = tf.concat([b_r, b_z], 0)

        def run(inputs: tf.Tensor, states: Any) -> tuple:
            h = self._step_op(inputs, states[0], w_ru, w_c, b_ru, b_n)
            return h, [h]

        return run

    def _step_op(self, *tensors: tf.Tensor) -> tf.Tensor:
        names = ("x", "h_prev", "w_ru", "w_c", "b_ru", "b_c")

        @custom_gradient
        def op(*tensors: tf.Tensor) -> Any:
            r, u, c, h = tf.raw_ops.GRUBlockCell(**dict(zip(names, tensors, strict=True)))

            def gradient(d_h: tf.Tensor, *rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
                saved = dict(zip((*names, "r", "u", "c"), rest, strict=True))
                out = tf.raw_ops.GRUBlockCellGrad(**saved, d_h=d_h)
                x, h_prev, d_c, d_ru = saved["x"], saved["h_prev"], out.d_c_bar, out.d_r_bar_u_bar
                d_w_ru = tf.matmul(tf.concat([x, h_prev], 1), d_ru, transpose_a=True)
                d_w_c = tf.matmul(tf.concat([x, h_prev * saved["r"]], 1), d_c, transpose_a=True)
                return out.d_x, out.d_h_prev, d_w_ru, d_w_c, tf.reduce_sum(d_ru, 0), tf.reduce_sum(d_c, 0)

            saved = [*map(tf.stop_gradient, (r, u, c))]
            return h, lambda d_h: once_only(gradient, "gru")(d_h, *tensors, *saved)

        return op(*inside(tensors))
