"""A research workbench for recurrent networks on variable-length sequences in TensorFlow 2.

    import workbench

    model = workbench.accelerate(model)  # Keras' recurrent layers compute no masked step any more
    workbench.check(model, inputs, lengths)  # what padding changes, and what to mend

What is named here is imported when it is first used: importing workbench starts no TensorFlow.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing's own takes longer to import than all else here
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "PackedRNN": "workbench.rnn",
    "accelerate": "workbench.rnn",
    "acceleration_of": "workbench.rnn",
    "assert_padding_invariant": "workbench.probes",
    "check_cell": "workbench.probes.cell_checks",
    "judge_table": "workbench.claims",
    "load_tf1_weights": "workbench.cells",
    "restore": "workbench.rnn",
}
__all__ = [*_HOMES, "check"]  # the names that __getattr__ gives


def __getattr__(name: str) -> Any:
    if (
        name == "check"
    ):  # the command's module, which is called too, lest importing it hides a function of its name
        return import_module("workbench.check")
    if name not in _HOMES:
        raise AttributeError(
            f"module 'workbench' has no attribute {name!r}; it has {', '.join(sorted(__all__))}"
        )
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
