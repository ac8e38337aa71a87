"""conf/cell: the recurrent cell. One schema a cell, the same name as in `workbench.cells.CELLS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Cell(Options):
    """What every cell has."""

    name: str = option(help="a name in workbench.cells.CELLS")
    units: int = option(64, "units of the cell", low=1)
    layers: int = option(1, "such cells on top of each other, all in one loop (MultiRNN)", low=1)
    input_keep_prob: float = option(1.0, "dropout: share of the inputs kept in training", above=0, high=1)
    state_keep_prob: float = option(1.0, "dropout: share of the state kept in training", above=0, high=1)
    output_keep_prob: float = option(1.0, "dropout: share of the outputs kept in training", above=0, high=1)
    variational: bool = option(False, "dropout: one mask for all steps of a sequence")
    residual: bool = option(False, "add each layer's inputs to its outputs; both of one size")
    attention_length: int | None = option(None, "attend to so many last states; null: no attention", low=1)
    attention_size: int | None = option(None, "size of an attention vector; null: the output's", low=1)
    attention_vector_size: int | None = option(
        None, "size of the attention's hidden layer; null: as above", low=1
    )

    @property
    def drops(self) -> bool:
        """Whether anything is dropped around the cell in training."""
        return min(self.input_keep_prob, self.state_keep_prob, self.output_keep_prob) < 1


@dataclass(frozen=True)
class BasicRNN(Cell):
    """h' = tanh(W x + U h + b)."""

    name: str = "basic_rnn"
    activation: str = option("tanh", "", choices=["tanh", "relu", "sigmoid"])


@dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit."""

    name: str = "gru"
    reset_after: bool = option(
        False, "reset gate after the product, as in cuDNN and Keras; false: as in TF 1"
    )
    gate_bias: float = option(1.0, "first value of the gates' bias: TF 1's; Keras begins at 0")


@dataclass(frozen=True)
class LSTM(Cell):
    """Without its options, the guide's basic LSTM."""

    name: str = "lstm"
    use_peepholes: bool = option(False, "gates see the cell state")
    cell_clip: float | None = option(None, "bound of the cell state", above=0)
    num_proj: int | None = option(None, "units of the projected output", low=1)
    proj_clip: float | None = option(None, "bound of the projected output", above=0)
    forget_bias: float = option(1.0, "added to the forget gate")


@dataclass(frozen=True)
class LSTMBlock(Cell):
    """The LSTM step as one fused op."""

    name: str = "lstm_block"
    use_peepholes: bool = option(False, "gates see the cell state")
    cell_clip: float | None = option(None, "bound of the cell state", above=0)
    forget_bias: float = option(1.0, "added to the forget gate")


@dataclass(frozen=True)
class GRUBlock(Cell):
    """The GRU step as one fused op."""

    name: str = "gru_block"
    gate_bias: float = option(1.0, "first value of the gates' bias: TF 1's; Keras begins at 0")


@dataclass(frozen=True)
class CoupledLSTM(Cell):
    """LSTM whose input gate is one minus its forget gate."""

    name: str = "coupled_lstm"
    use_peepholes: bool = option(False, "gates see the cell state")
    num_proj: int | None = option(None, "units of the projected output", low=1)
    proj_clip: float | None = option(None, "bound of the projected output", above=0)
    forget_bias: float = option(1.0, "added to the forget gate")


@dataclass(frozen=True)
class LayerNormLSTM(Cell):
    """LSTM with layer normalisation of its gates and its cell state."""

    name: str = "layer_norm_lstm"
    forget_bias: float = option(1.0, "added to the forget gate")
    norm_gain: float = option(1.0, "first value of the normalisation's gain")
    norm_shift: float = option(0.0, "first value of the normalisation's shift")
    epsilon: float = option(1e-12, "added to the variance; TF 1.15's value", above=0)
    dropout_keep_prob: float = option(1.0, "share of the candidate kept in training", above=0, high=1)


@dataclass(frozen=True)
class FrequencyCell(Cell):
    """What a cell over frequency blocks of its inputs has."""

    feature_size: int | None = option(None, "inputs a frequency block has; null: all", low=1)
    frequency_skip: int | None = option(None, "inputs from one block to the next; null: feature_size", low=1)
    allow_unseen: bool = option(False, "accept inputs that lie in no block, as TF 1 does without a word")
    use_peepholes: bool = option(False, "gates see the cell states")
    cell_clip: float | None = option(None, "bound of the cell states", above=0)
    forget_bias: float = option(1.0, "added to the forget gates")


@dataclass(frozen=True)
class TimeFreqLSTM(FrequencyCell):
    """LSTM over time and, within a step, over frequency blocks."""

    name: str = "time_freq_lstm"


@dataclass(frozen=True)
class GridLSTM(FrequencyCell):
    """Grid LSTM: an LSTM in time and one in frequency for each block."""

    name: str = "grid_lstm"
    groups: list[list[int]] | None = option(
        None, "parts of the inputs with weights of their own, as [[0, 32], [32, 64]]; null: one", low=0
    )
    share_weights: bool = option(False, "time and frequency share their weights")
    couple_gates: bool = option(False, "input gate is one minus forget gate")


@dataclass(frozen=True)
class BidirectionalGridLSTM(GridLSTM):
    """Grid LSTM that walks the frequency blocks both ways."""

    name: str = "bidirectional_grid_lstm"
    backward_slice_offset: int = option(0, "shift of the blocks on the way back")


@dataclass(frozen=True)
class NAS(Cell):
    """The cell that neural architecture search found."""

    name: str = "nas"
    num_proj: int | None = option(None, "units of the projected output", low=1)
    use_bias: bool = option(False, "")


@dataclass(frozen=True)
class UGRNN(Cell):
    """Update gate RNN."""

    name: str = "ugrnn"
    forget_bias: float = option(1.0, "added to the gate")


@dataclass(frozen=True)
class Custom(Cell):
    """Anyone's class with Keras' cell contract: `Class(units, **options, dtype=..., name=...)`."""

    name: str = "custom"
    target: str | None = option(None, "module:Class")
    options: dict[str, Any] = option({}, "passed to the class: +cell.options.NAME=VALUE")


SCHEMAS: dict[str, type[Cell]] = {
    "basic_rnn": BasicRNN,
    "gru": GRU,
    "lstm": LSTM,
    "lstm_block": LSTMBlock,
    "gru_block": GRUBlock,
    "coupled_lstm": CoupledLSTM,
    "layer_norm_lstm": LayerNormLSTM,
    "time_freq_lstm": TimeFreqLSTM,
    "grid_lstm": GridLSTM,
    "bidirectional_grid_lstm": BidirectionalGridLSTM,
    "nas": NAS,
    "ugrnn": UGRNN,
    "custom": Custom,
}
