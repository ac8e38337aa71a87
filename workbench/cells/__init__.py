"""Recurrent cells, one file a family; CELLS names them all."""

from workbench.cells.base import Cell, StepCell, StepWeights
from workbench.cells.basic_rnn import BasicRNNCell
from workbench.cells.gru import GRUCell
from workbench.cells.lstm import LSTMCell
from workbench.cells.tf1_weights import load_tf1_weights, tf1_states, tf1_variables, weight_paths

CELLS: dict[str, type[Cell]] = {
    "basic_rnn": BasicRNNCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}

__all__ = [
    "CELLS",
    "Cell",
    "StepCell",
    "StepWeights",
    "load_tf1_weights",
    "tf1_states",
    "tf1_variables",
    "weight_paths",
]
