"""The runners by name; all share `(cell, inputs, sequence_length, *, initial_state, training,
time_major)`."""

from collections.abc import Callable
from typing import Any

from workbench.rnn.cudnn import cudnn_both_ways, cudnn_rnn
from workbench.rnn.dynamic import dynamic_rnn
from workbench.rnn.keras_rnn import keras_rnn
from workbench.rnn.packed import BESIDE_ANOTHER, packed_rnn
from workbench.rnn.static import static_rnn

Runner = Callable[..., tuple[Any, Any]]

# On any device, with any cell of workbench.cells.
EVERYWHERE: dict[str, Runner] = {
    "static": static_rnn,
    "dynamic": dynamic_rnn,
    "packed": packed_rnn,
    "keras": keras_rnn,
}
RNNS: dict[str, Runner] = {**EVERYWHERE, "cudnn": cudnn_rnn}

# Runners that can go backwards by themselves (`go_backwards`), and their options where two run side by side.
TURNING: dict[str, dict[str, Any]] = {"packed": BESIDE_ANOTHER, "cudnn": {}}
# Runners that take layers of both directions in one call, as `stacked_bidirectional_rnn` does.
TOGETHER: dict[str, Runner] = {"cudnn": cudnn_both_ways}
