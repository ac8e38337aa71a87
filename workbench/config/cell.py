"""conf/cell: the recurrent cell. One schema a cell, the same name as in `workbench.cells.CELLS`."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.config.schema import option


@dataclass(frozen=True)
class Cell:
    """What every cell has."""

    name: str = option(help="a name in workbench.cells.CELLS")
    units: int = option(64, "units of the cell", low=1)


@dataclass(frozen=True)
class BasicRNN(Cell):
    """h' = tanh(W x + U h + b)."""

    activation: str = option("tanh", "", choices=["tanh", "relu", "sigmoid"])


@dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit."""

    reset_after: bool = option(
        False, "reset gate after the product, as in cuDNN and Keras; false: as in TF 1"
    )


@dataclass(frozen=True)
class LSTM(Cell):
    """Without its options, the guide's basic LSTM."""

    use_peepholes: bool = option(False, "gates see the cell state")
    cell_clip: float | None = option(None, "bound of the cell state", above=0)
    num_proj: int | None = option(None, "units of the projected output", low=1)
    proj_clip: float | None = option(None, "bound of the projected output", above=0)
    forget_bias: float = option(1.0, "added to the forget gate")


SCHEMAS: dict[str, type[Cell]] = {"basic_rnn": BasicRNN, "gru": GRU, "lstm": LSTM}
