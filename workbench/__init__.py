"""A research workbench for recurrent networks on variable-length sequences in TensorFlow 2.

    import workbench

    model = workbench.accelerate(model)  # Keras' recurrent layers compute no masked step any more
    workbench.check(model, inputs, lengths)  # what padding changes, and what to mend

What is named here is imported when it is first used: importing workbench starts no TensorFlow.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing's own takes longer to import than all else here
if TYPE_CHECKING:  # their types, for whoever uses them
    from typing import Any

    from workbench.cells import load_tf1_weights as load_tf1_weights
    from workbench.claims import judge_table as judge_table
    from workbench.probes import assert_padding_invariant as assert_padding_invariant
    from workbench.probes import check as check
    from workbench.probes.cell_checks import check_cell as check_cell
    from workbench.rnn import PackedRNN as PackedRNN
    from workbench.rnn import accelerate as accelerate
    from workbench.rnn import acceleration_of as acceleration_of
    from workbench.rnn import restore as restore

__version__ = "0.2.0"

_HOMES = {  # as above
    "PackedRNN": "workbench.rnn",
    "accelerate": "workbench.rnn",
    "acceleration_of": "workbench.rnn",
    "assert_padding_invariant": "workbench.probes",
    "check_cell": "workbench.probes.cell_checks",
    "judge_table": "workbench.claims",
    "load_tf1_weights": "workbench.cells",
    "restore": "workbench.rnn",
}
_ROOMS = ("cells", "claims", "losses", "masking", "probes", "rnn")
"""What is written by its whole name, as workbench.rnn.PackedRNN, after `import workbench` alone."""
__all__ = [*_HOMES, "check"]  # the names that __getattr__ gives


def __getattr__(name: str) -> Any:
    if (
        name == "check"
    ):  # the command's module, which is called too, lest importing it hides a function of its name
        return import_module("workbench.check")
    if name in _ROOMS:
        return import_module(f"workbench.{name}")
    if name not in _HOMES:
        raise AttributeError(
            f"module 'workbench' has no attribute {name!r}; it has {', '.join(sorted(__all__))}"
        )
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
