"""The conformance suite for a cell, public: `check_cell(cell)` says whether anyone's own cell can be trusted.

A cell is run over a padded batch by every runner, and compared with a plain Python loop that takes each example
alone, without its padding. Whatever the padding holds and however long it is, nothing may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras

from workbench.probes import cell_run_checks as runs
from workbench.probes import cell_step_checks as steps
from workbench.probes.cell_batch import Batch, CellError, told
from workbench.rnn.table import EVERYWHERE

__all__ = ["CHECKS", "RUNNER_CHECKS", "Batch", "CellError", "check_cell"]


CHECKS: dict[str, Callable[[Batch], None]] = {
    "contract": steps.check_contract,
    "repeat": steps.check_repeat,
    "rows": steps.check_rows,
    "memory": steps.check_memory,
    "trace": steps.check_trace,
    "config": steps.check_config,
    "dtype": steps.check_dtype,
    "saving": steps.check_saving,
    "gradients": steps.check_gradients,
    "derivative": steps.check_derivative,
    "training": runs.check_training,
}
RUNNER_CHECKS: dict[str, Callable[[Batch, str, Callable[..., Any]], None]] = {
    "alone": runs.check_alone,
    "padding": runs.check_padding,
    "order": runs.check_order,
    "graph": runs.check_graph,
}


def check_cell(
    cell: Any,
    *,
    input_size: Any = 6,
    rnns: Mapping[str, Callable[..., Any]] = EVERYWHERE,
    seed: int = 0,
    without_gradient: Collection[str] = (),
    skip: Collection[str] = (),
    custom_objects: Mapping[str, Any] | None = None,
) -> None:
    """Runs every check of CHECKS on a cell, and of RUNNER_CHECKS with every runner; raises CellError at the first.

    `cell` follows Keras' cell contract; `input_size` is the size D of its inputs [B, D], or a nest of sizes.
    The cell is built if it was not, and its weights are drawn anew by `seed`, so hand in one for the purpose.
    Tolerances follow its dtype: float64 shows most.

        check_cell(MyCell(5, dtype="float64"))

    A cell that has only `call` is as good as one in one-step form (`workbench.cells.StepCell`): both must give the
    same by every runner. The first runs packed by TensorFlow's own gradient; of the second, the packed runner's
    loops, made from `step`, are checked too, in a graph as XLA compiles them.

    What is meant is told: `without_gradient` names what has none ("inputs", "states", or a weight, as
    "kernel" or "*/kernel"), `skip` names checks to leave out ("derivative" for a gradient that is a surrogate,
    "memory" for a cell without any). `custom_objects` are Keras', for a class that is not registered with it.
    """
    unknown = sorted(set(skip) - {*CHECKS, *RUNNER_CHECKS})
    if unknown:
        raise ValueError(f"skip={unknown}: the checks are {', '.join([*CHECKS, *RUNNER_CHECKS])}.")
    with keras.saving.custom_object_scope(dict(custom_objects or {})):
        batch = Batch(cell, input_size, seed, tuple(without_gradient))
        for name, check in CHECKS.items():
            if name not in skip:
                told(batch, name, check)
        for runner, rnn in rnns.items():
            for name, check_in in RUNNER_CHECKS.items():
                if name not in skip:
                    told(batch, f"{runner}, {name}", check_in, runner, rnn)
