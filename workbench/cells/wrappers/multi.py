"""Several cells as one: each reads the output of the one below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras

from workbench.cells.base import (
    Cell,
    Stepper,
    build,
    check_dtype_of,
    check_is_cell,
    freeze_inside,
    initial_states,
    innermost,
    output_size,
    register,
    state_sizes,
    stepper,
)


@register
class MultiRNNCell(Cell):
    """A stack of cells, from the inputs up.

        for cell in cells:
            inputs, new_states[cell] = cell(inputs, states[cell])
        output = inputs

    States: one list for each cell. One cell put in twice, as in the guide's `[cell] * 4`, would share its weights
    between layers, which hardly anyone means: it is refused unless `share_weights=True`.

        MultiRNNCell([LSTMCell(64) for _ in range(4)])

    Source: the guide, "RNN cells, wrappers and multi-layer RNNs"; TF 1.15's MultiRNNCell.
    """

    def __init__(self, cells: Sequence[Any], *, share_weights: bool = False, **kwargs: Any) -> None:
        if not isinstance(cells, Iterable) or isinstance(cells, str):
            raise TypeError(f"cells must be a list of cells, not {cells!r}.")
        cells = list(cells)
        for cell in cells:
            check_is_cell("MultiRNNCell", cell)
        if not cells:
            raise ValueError("cells is empty: a stack needs at least one cell.")
        within = [cell for outer in cells for cell in innermost(outer)]
        if not share_weights and len({id(cell) for cell in within}) < len(within):
            raise ValueError(
                f"cells holds one cell more than once ({len(within)} layers, "
                f"{len({id(cell) for cell in within})} cells), as [cell] * 4 does, so layers would share its "
                "weights: make one for each layer, "
                "[make_cell() for _ in range(4)], or pass share_weights=True to have it so."
            )
        super().__init__(**{"dtype": getattr(cells[0], "dtype_policy", None), **kwargs})
        for cell in cells:
            check_dtype_of(self, cell)
        self.cells, self.share_weights = cells, share_weights
        freeze_inside(self)

    @property
    def state_size(self) -> list[Any]:
        """One list for each cell."""
        return [state_sizes(cell) for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The uppermost cell's."""
        return output_size(self.cells[-1])

    def draws_once(self, training: bool) -> bool:
        """Whether any cell does."""
        return any(isinstance(cell, Cell) and cell.draws_once(training) for cell in self.cells)

    def build(self, input_shape: Any) -> None:
        """Builds each cell for the outputs of the one below."""
        sizes: dict[int, Any] = {}
        for cell in self.cells:
            if sizes.setdefault(id(cell), input_shape[-1]) != input_shape[-1]:
                raise ValueError(
                    "layers that share one cell need inputs of one size, but one gets "
                    f"{sizes[id(cell)]} and another {input_shape[-1]}: let the cell put out as many as come in."
                )
            build(cell, input_shape)
            input_shape = (input_shape[0], output_size(cell))

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Each cell's."""
        return [initial_states(cell, batch_size) for cell in self.cells]

    def stepper(self, training: bool = False) -> Stepper:
        """Each cell's stepper in turn."""
        steppers = [stepper(cell, training) for cell in self.cells]

        def run(inputs: Any, states: Any) -> tuple[Any, list[Any]]:
            new_states = []
            for step, state in zip(steppers, states, strict=True):
                inputs, new = step(inputs, state)
                new_states.append(new)
            return inputs, new_states

        return run

    def get_config(self) -> dict[str, Any]:
        """A cell that is shared is given once, and `order` says where it stands."""
        config = super().get_config()
        first = {id(cell): i for i, cell in reversed(list(enumerate(self.cells)))}
        return {**config, "order": [first[id(cell)] for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the cells first, a shared one once."""
        config = dict(config)
        order = config.pop("order")
        made = [keras.saving.deserialize_keras_object(cell) for cell in config["cells"]]
        return cls(**{**config, "cells": [made[i] for i in order]})
