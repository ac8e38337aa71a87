"""The runs of one sweep as claims take them: typed runs, or a table of pandas as mlflow.search_runs() gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.record.run import Run, data_of

if TYPE_CHECKING:
    import pandas as pd


class PairingError(ValueError):
    """Runs that cannot be compared as the claim asks; never turned into a verdict."""


def read_runs(runs: pd.DataFrame | Sequence[Run]) -> list[Run]:
    """The data of one sweep.

    Raises:
        PairingError: runs of two sweeps; a table without a column that is needed, or with a run twice.
    """
    data = data_of(as_runs(runs))
    sweeps = sorted({run.sweep or "(none)" for run in data})
    if len(sweeps) > 1:
        raise PairingError(
            f"runs of {len(sweeps)} sweeps are mixed: {', '.join(sweeps)}; "
            'keep one, for instance runs[runs["tags.workbench.sweep"] == ' + f'"{sweeps[-1]}"]'
        )
    return data


def as_runs(runs: pd.DataFrame | Sequence[Run]) -> Sequence[Run]:
    """Runs as they are, or those of a table."""
    if isinstance(runs, Sequence):
        return runs
    from workbench.record.frames import runs_of  # who has a table has pandas

    try:
        return runs_of(runs)
    except (KeyError, ValueError) as error:
        raise PairingError(str(error.args[0])) from error
