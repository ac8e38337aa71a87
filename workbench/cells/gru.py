"""The gated recurrent unit, with the reset before or after the product."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import KerasForm, StepCell, StepWeights, gates, register


@register
class GRUCell(StepCell):
    """Gates z (update) and r (reset) decide what of the state is kept and what the candidate n sees of it.

        z, r = sigmoid(x W_zr + h U_zr + b_zr)
        n    = tanh(x W_n + (r * h) U_n + b_n)            reset before (TF 1.15, the paper's first version)
        n    = tanh(x W_n + b_n + r * (h U_n + b'_n))     reset_after=True (Keras' default, cuDNN)
        h'   = z * h + (1 - z) * n

    Weights as Keras' GRUCell: kernel [D, 3H], recurrent_kernel [H, 3H] in the order z, r, n; bias [3H], or
    [2, 3H] (of x and of h) with reset_after. `gate_bias` is what the biases of z and r start from: 1, as in
    TF 1.15; Keras starts at 0. States: [h].

    Source: Cho et al., https://arxiv.org/abs/1406.1078; TF 1.15's GRUCell.
    """

    gate = staticmethod(tf.sigmoid)  # a cell of Keras' may have another

    def __init__(
        self, units: int, *, reset_after: bool = False, gate_bias: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        self.reset_after, self.gate_bias = reset_after, gate_bias
        self.projection_width = 3 * units
        self.state_size = self.output_size = units

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        H = self.units
        self.kernel = self.add_kernel("kernel", input_shape[-1], 3 * H)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", H, 3 * H)
        self.bias = self.add_weight(
            shape=(2, 3 * H) if self.reset_after else (3 * H,), name="bias", initializer=self._start_of_bias
        )

    def _start_of_bias(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        raised = tf.repeat(tf.constant([self.gate_bias, 0.0], dtype), [2 * self.units, self.units])
        if self.reset_after:
            raised = tf.stack([raised, tf.zeros_like(raised)])
        return self.bias_initializer(shape, dtype=dtype) + raised

    def step_weights(self) -> StepWeights:
        """Reset before: two products, of h and of r * h. Reset after: one product, and its bias."""
        return self.in_roles(*map(self.read, (self.kernel, self.recurrent_kernel, self.bias)))

    def in_roles(self, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> StepWeights:
        """As a step takes them."""
        if self.reset_after:
            return StepWeights(kernel, bias[0], [recurrent], [bias[1]])
        return StepWeights(kernel, bias, tf.split(recurrent, [2 * self.units, self.units], axis=1), [])

    def keras_form(self, dtype: Any = None) -> KerasForm | None:
        """Keras' GRU."""
        options = {"activation": self.activation, "reset_after": self.reset_after}
        named = {
            name: self.read(getattr(self, name), dtype) for name in ("kernel", "recurrent_kernel", "bias")
        }
        return KerasForm(keras.layers.GRU, options, named)

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above."""
        (h,) = states
        x_zr, x_n = tf.split(projected, [2 * self.units, self.units], axis=-1)
        if self.reset_after:
            h_zr, h_n = tf.split(product(0, h) + weights[0], [2 * self.units, self.units], axis=-1)
            z, r = gates(self.gate(x_zr + h_zr), 2)
            n = self.activation(x_n + r * h_n)
        else:
            z, r = gates(self.gate(product(0, h, plus=x_zr)), 2)
            n = self.activation(product(1, r * h, plus=x_n))
        h = z * h + (1 - z) * n
        return h, [h]
