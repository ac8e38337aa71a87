"""What TensorFlow 1 called its cells' classes and variables, from its first release to 1.15: two tables.

A variable's path ends in the scope of the cell's class and the variable's own name: rnn/basic_lstm_cell/kernel in
1.15, rnn/basic_lstm_cell/weights in 1.0, RNN/BasicLSTMCell/Linear/Matrix before. `tf1_layouts.py` has the names of
1.15 only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SPELLINGS: tuple[Mapping[str, str], ...] = (
    {},  # 1.2 to 1.15
    {"kernel": "weights", "bias": "biases", "recurrent_kernel": "recurrent_weights"},  # 1.0, 1.1
    {  # before 1.0
        "kernel": "Linear/Matrix",
        "bias": "Linear/Bias",
        "gates": "Gates",
        "candidate": "Candidate",
        "attention": "Attention",
        "attn_w": "AttnW",
        "attn_v": "AttnV",
        "attn_output_projection": "AttnOutputProjection",
    },
    {  # LSTMCell's before 1.0
        "projection/kernel": "W_P_0",
        "kernel": "W_0",
        "bias": "B",
        **{f"w_{gate}_diag": f"W_{gate.upper()}_diag" for gate in "ifo"},
    },
    {
        "kernel": "W",
        "bias": "b",
        **{f"w_{gate}_diag": f"wc{gate}" for gate in "ifo"},
    },  # LSTMBlockCell's before 1.2
    {  # GRUBlockCell's; GRUBlockCellV2 has GRUCell's names
        "gates/kernel": "w_ru",
        "gates/bias": "b_ru",
        "candidate/kernel": "w_c",
        "candidate/bias": "b_c",
    },
)
"""What parts of a variable's name were called, in other releases and by classes with the same weights."""

_LSTM = "CELLS['lstm'] or CELLS['lstm_block']"
CLASSES: dict[str, str | None] = {
    "BasicRNNCell": "CELLS['basic_rnn']",
    "BasicLSTMCell": _LSTM,
    "LSTMCell": _LSTM,
    "LSTMBlockCell": _LSTM,
    "LSTMBlockFusedCell": _LSTM,
    "CudnnCompatibleLSTMCell": _LSTM,
    "GRUCell": "CELLS['gru'] or CELLS['gru_block'], with reset_after=False",
    "GRUBlockCell": "CELLS['gru'] or CELLS['gru_block'], with reset_after=False",
    "GRUBlockCellV2": "CELLS['gru'] or CELLS['gru_block'], with reset_after=False",
    "CudnnCompatibleGRUCell": "CELLS['gru'] with reset_after=True",
    "CoupledInputForgetGateLSTMCell": "CELLS['coupled_lstm']",
    "LayerNormBasicLSTMCell": "CELLS['layer_norm_lstm']",
    "TimeFreqLSTMCell": "CELLS['time_freq_lstm']",
    "GridLSTMCell": "CELLS['grid_lstm']",
    "BidirectionalGridLSTMCell": "CELLS['bidirectional_grid_lstm']",
    "NASCell": "CELLS['nas']",
    "UGRNNCell": "CELLS['ugrnn']",
    "AttentionCellWrapper": "AttentionWrapper",
    **dict.fromkeys(
        (
            "CFNCell",
            "Conv1DLSTMCell",
            "Conv2DLSTMCell",
            "Conv3DLSTMCell",
            "ConvLSTMCell",
            "EmbeddingWrapper",
            "GLSTMCell",
            "HighwayWrapper",
            "IndRNNCell",
            "IndyGRUCell",
            "IndyLSTMCell",
            "InputProjectionWrapper",
            "IntersectionRNNCell",
            "LayerNormBasicGRUCell",
            "LayerNormLSTMCell",
            "MinimalRNNCell",
            "OutputProjectionWrapper",
            "PhasedLSTMCell",
            "SRUCell",
            "WeightNormLSTMCell",
        )
    ),
}
"""TensorFlow 1's classes and what has their weights here; None: nothing."""


def _snake(name: str) -> str:
    """As TensorFlow 1 made a scope of a class's name."""
    parted = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", parted).lower()


_SCOPES = {
    **{spelling(name): name for name in CLASSES for spelling in (str, _snake)},
    **{f"conv_{n}d_lstm_cell": f"Conv{n}DLSTMCell" for n in (1, 2, 3)},
    "lstm_fused_cell": "LSTMBlockFusedCell",
    "lstm_block_wrapper": "LSTMBlockFusedCell",
    "nas_rnn": "NASCell",
}


def class_of(scope: str) -> str | None:
    """The class that a cell's scope is named after, by its last part; None where that is somebody's own name.

    >>> class_of("rnn/multi_rnn_cell/cell_0/basic_lstm_cell/"), class_of("RNN/GRUCell/"), class_of("rnn/mine/")
    ('BasicLSTMCell', 'GRUCell', None)
    """
    last = scope.rstrip("/").rpartition("/")[2]
    return _SCOPES.get(last) or _SCOPES.get(re.sub(r"_\d+$", "", last))  # a second of its kind: lstm_cell_1


def layer_scope(part: str) -> str:
    """A MultiRNNCell's scope of a layer as TF 1.15 calls it.

    >>> layer_scope("Cell0"), layer_scope("cell_0")
    ('cell_0', 'cell_0')
    """
    return re.sub(r"^Cell(\d+)$", r"cell_\1", part)


def names_of(name: str) -> list[str]:
    """What a variable was called, in the order of SPELLINGS.

    >>> names_of("gates/kernel")[:3]
    ['gates/kernel', 'gates/weights', 'Gates/Linear/Matrix']
    """
    return [_renamed(name, spelling) for spelling in SPELLINGS]


def _renamed(name: str, spelling: Mapping[str, str]) -> str:
    whole = spelling.get(name)
    return whole or "/".join(spelling.get(part, part) for part in name.split("/"))
