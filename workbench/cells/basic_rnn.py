"""The basic (Elman) RNN."""

from __future__ import annotations

from typing import Any

import keras

from workbench.cells.base import KerasForm, StepCell, StepWeights, register


@register
class BasicRNNCell(StepCell):
    """h' = tanh(x W + h U + b).

    Weights as Keras' SimpleRNNCell: kernel [D, H], recurrent_kernel [H, H], bias [H]. States: [h].

    Source: J. L. Elman, "Finding Structure in Time", Cognitive Science 14 (1990),
    https://doi.org/10.1207/s15516709cog1402_1; TF 1.15's BasicRNNCell.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.projection_width = self.state_size = self.output_size = units

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        self.kernel = self.add_kernel("kernel", input_shape[-1], self.units)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", self.units, self.units)
        self.bias = self.add_vector("bias", self.units)

    def step_weights(self) -> StepWeights:
        """One recurrent matrix, no small weights."""
        return StepWeights(
            self.read(self.kernel), self.read(self.bias), [self.read(self.recurrent_kernel)], []
        )

    def keras_form(self, dtype: Any = None) -> KerasForm | None:
        """Keras' SimpleRNN."""
        named = {
            name: self.read(getattr(self, name), dtype) for name in ("kernel", "recurrent_kernel", "bias")
        }
        return KerasForm(keras.layers.SimpleRNN, {"activation": self.activation}, named)

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equation above."""
        h = self.activation(product(0, states[0], plus=projected))
        return h, [h]
