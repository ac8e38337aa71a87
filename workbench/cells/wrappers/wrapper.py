"""What the wrappers of one cell share: states, dtype, building and serialising are the wrapped cell's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf

from workbench.cells.base import (
    Cell,
    build,
    check_dtype_of,
    check_is_cell,
    freeze_inside,
    initial_states,
    output_size,
    state_sizes,
)


class Around(NamedTuple):
    """A wrapper that acts on inputs and outputs alone, so that a runner may act for all steps at once."""

    cell: Any
    before: Callable[[Any], Any]  # inputs [..., n] -> what the cell reads
    after: Callable[[Any, Any], Any]  # (inputs, the cell's outputs) -> outputs


class WrapperCell(Cell):
    """A cell around another, `cell`, which may be Keras'. A subclass writes `stepper`."""

    def __init__(self, cell: Any, **kwargs: Any) -> None:
        check_is_cell(type(self).__name__, cell)
        super().__init__(**{"dtype": getattr(cell, "dtype_policy", None), **kwargs})
        check_dtype_of(self, cell)
        self.cell = cell
        freeze_inside(self)

    @property
    def state_size(self) -> list[Any]:
        """The wrapped cell's."""
        return state_sizes(self.cell)

    @property
    def output_size(self) -> Any:
        """The wrapped cell's."""
        return output_size(self.cell)

    def draws_once(self, training: bool) -> bool:
        """Whether the wrapped cell does."""
        return isinstance(self.cell, Cell) and self.cell.draws_once(training)

    def around(self, training: bool) -> Around | None:
        """What it does around the wrapped cell in one run; None where it does anything between two steps."""
        return None

    def build(self, input_shape: Any) -> None:
        """Builds the wrapped cell for the same inputs."""
        build(self.cell, input_shape)

    def get_initial_state(self, batch_size: Any = None) -> Any:
        """The wrapped cell's."""
        return initial_states(self.cell, batch_size)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the wrapped cell first."""
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


def droppable(cell: Any) -> list[bool]:
    """Of each of a cell's states, flat, whether state dropout acts on it: on all but an LSTM's memory.

    Inside a wrapper or a stack each cell's own memory counts; Keras' LSTM does not say which state that is.
    """
    if hasattr(cell, "cells"):
        return [drops for one in cell.cells for drops in droppable(one)]
    if isinstance(cell, WrapperCell):  # states that a wrapper adds stand behind the wrapped cell's
        inner = droppable(cell.cell)
        return inner + [True] * (len(tf.nest.flatten(state_sizes(cell))) - len(inner))
    memory = (1,) if isinstance(cell, keras.layers.LSTMCell) else getattr(cell, "memory_states", ())
    return [i not in memory for i, size in enumerate(state_sizes(cell)) for _ in tf.nest.flatten(size)]
