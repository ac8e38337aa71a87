"""The update-gate RNN: one gate between keeping and renewing."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, gates, register


@register
class UGRNNCell(StepCell):
    """The gate g decides, unit by unit, whether the state is kept or replaced.

        g  = sigmoid(x W_g + h U_g + b_g + forget_bias)
        h' = g * h + (1 - g) * tanh(x W_c + h U_c + b_c)

    Weights: kernel [D, 2H], recurrent_kernel [H, 2H], bias [2H], in the order g, c. States: [h].

    Source: Collins et al., "Capacity and Trainability in Recurrent Neural Networks",
    https://arxiv.org/abs/1611.09913; TF 1.15's contrib UGRNNCell.
    """

    def __init__(self, units: int, *, forget_bias: float = 1.0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.forget_bias = forget_bias
        self.projection_width = 2 * units
        self.state_size = self.output_size = units

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        self.kernel = self.add_kernel("kernel", input_shape[-1], 2 * self.units)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", self.units, 2 * self.units)
        self.bias = self.add_vector("bias", 2 * self.units)

    def step_weights(self) -> StepWeights:
        """One recurrent matrix, no small weights."""
        bias = self.raised(self.bias, self.forget_bias, 0)
        return StepWeights(self.read(self.kernel), bias, [self.read(self.recurrent_kernel)], [])

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above."""
        g, c = gates(product(0, states[0], plus=projected), 2)
        g = tf.sigmoid(g)
        h = g * states[0] + (1 - g) * self.activation(c)
        return h, [h]
