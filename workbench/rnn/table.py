"""The runners by name; all share `(cell, inputs, sequence_length, *, initial_state, training,
time_major)`."""

from collections.abc import Callable
from typing import Any

from workbench.rnn.dynamic import dynamic_rnn
from workbench.rnn.packed import packed_rnn
from workbench.rnn.static import static_rnn

RNNS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "static": static_rnn,
    "dynamic": dynamic_rnn,
    "packed": packed_rnn,
}

# Runners that can go backwards by themselves (`go_backwards`), and their options where two run side by side.
TURNING: dict[str, dict[str, Any]] = {"packed": {"chains": 1}}
