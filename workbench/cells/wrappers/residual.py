"""A cell that adds its inputs to its outputs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import Stepper, output_size, register, stepper
from workbench.cells.wrappers.wrapper import Around, WrapperCell


@register
class ResidualWrapper(WrapperCell):
    """output = inputs + cell(inputs, states); inputs and outputs are of one size. States: the cell's.

    Source: Wu et al., https://arxiv.org/abs/1609.08144; TF 1.15's ResidualWrapper.
    """

    def build(self, input_shape: Any) -> None:
        """Builds the cell, and sees that its outputs can be added."""
        super().build(input_shape)
        size = output_size(self.cell)
        if isinstance(size, int) and input_shape[-1] != size:
            raise ValueError(
                f"ResidualWrapper adds inputs to outputs, but inputs have {input_shape[-1]} numbers and the "
                f"outputs of {type(self.cell).__name__} {size}: make them equal."
            )

    def around(self, training: bool) -> Around | None:
        """The sum."""
        return Around(self.cell, lambda inputs: inputs, _sum)

    def stepper(self, training: bool = False) -> Stepper:
        """The equation above."""
        step = stepper(self.cell, training)

        def run(inputs: Any, states: Any) -> tuple[Any, Any]:
            output, new_states = step(inputs, states)
            return _sum(inputs, output), new_states

        return run


def _sum(inputs: Any, outputs: Any) -> Any:
    return tf.nest.map_structure(tf.add, inputs, outputs)
