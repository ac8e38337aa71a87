"""Recurrent cells, one file a family; CELLS names them all."""

from workbench.cells.base import Cell, StepCell, StepWeights
from workbench.cells.basic_rnn import BasicRNNCell
from workbench.cells.coupled_lstm import CoupledLSTMCell
from workbench.cells.grid_lstm import BidirectionalGridLSTMCell, GridLSTMCell
from workbench.cells.gru import GRUCell
from workbench.cells.gru_block import GRUBlockCell
from workbench.cells.keras_layer import keras_layer
from workbench.cells.layer_norm_lstm import LayerNormLSTMCell
from workbench.cells.lstm import LSTMCell
from workbench.cells.lstm_block import LSTMBlockCell
from workbench.cells.nas import NASCell
from workbench.cells.tf1_layouts import tf1_states
from workbench.cells.tf1_weights import load_tf1_weights, tf1_variables, weight_paths
from workbench.cells.time_freq_lstm import TimeFreqLSTMCell
from workbench.cells.ugrnn import UGRNNCell
from workbench.cells.wrappers import WRAPPERS
from workbench.former_names import former_name


class _Table(dict[str, type[Cell]]):
    """Names that are not there are explained."""

    def __missing__(self, name: str) -> type[Cell]:
        known = former_name("cell", name, self)
        raise KeyError(f"no cell {name!r}; there are {', '.join(self)}" + (f"; {known}" if known else ""))


CELLS = _Table(
    {
        "basic_rnn": BasicRNNCell,
        "gru": GRUCell,
        "lstm": LSTMCell,
        "lstm_block": LSTMBlockCell,
        "gru_block": GRUBlockCell,
        "coupled_lstm": CoupledLSTMCell,
        "layer_norm_lstm": LayerNormLSTMCell,
        "time_freq_lstm": TimeFreqLSTMCell,
        "grid_lstm": GridLSTMCell,
        "bidirectional_grid_lstm": BidirectionalGridLSTMCell,
        "nas": NASCell,
        "ugrnn": UGRNNCell,
    }
)

__all__ = [
    "CELLS",
    "WRAPPERS",
    "BasicRNNCell",
    "BidirectionalGridLSTMCell",
    "Cell",
    "CoupledLSTMCell",
    "GRUBlockCell",
    "GRUCell",
    "GridLSTMCell",
    "LSTMBlockCell",
    "LSTMCell",
    "LayerNormLSTMCell",
    "NASCell",
    "StepCell",
    "StepWeights",
    "TimeFreqLSTMCell",
    "UGRNNCell",
    "keras_layer",
    "load_tf1_weights",
    "tf1_states",
    "tf1_variables",
    "weight_paths",
]
