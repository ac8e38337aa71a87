"""The arms of a sweep: which runs count, which parameters tell the arms apart, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from workbench.claims.runs import data_of, one_of_each_job
from workbench.record import FACTS, LARGEST

_TELLING = ("run_id", "status", "start_time", "params.", "tags.workbench.")
"""Columns that tell which run of a job counts."""


def counted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that a mean may be taken over: of every job the one that counts, if it has numbers.

    Sorted by block, so that nothing depends on the order in which the runs came.
    """
    found = of_jobs(runs)
    return found[found["counts"]].drop(columns="counts").reset_index(drop=True) if len(found) else found


def of_jobs(runs: pd.DataFrame) -> pd.DataFrame:
    """Of every job of the arms the run that counts, by the rule of the claims; `counts`: whether it has numbers.

    The throw-away block, the control again and what was superseded are none.
    """
    if runs.empty:
        return runs
    repeats = pd.to_numeric(_column(runs, "params.repeat"), errors="coerce").fillna(0)
    told = [name for name in runs if str(name).startswith(_TELLING)]
    chosen = one_of_each_job(data_of(runs.loc[repeats == 0, told]))
    numbers = {
        run.run_id: run.status == "FINISHED" and not run.diverged and not run.requeued
        for run in chosen
        if not run.repeat
    }
    kept = runs[runs["run_id"].isin(list(numbers))]
    own = pd.DataFrame({"block": blocks(kept), "counts": kept["run_id"].map(numbers).astype(bool)})
    kept = pd.concat([kept.drop(columns=list(own), errors="ignore"), own], axis=1)
    return kept.sort_values(["block", "run_id"], kind="stable").reset_index(drop=True)


def blocks(runs: pd.DataFrame) -> pd.Series:
    """The block of each run: its tag, else its seed."""
    tagged = pd.to_numeric(_column(runs, "tags.workbench.block"), errors="coerce")
    return tagged.fillna(pd.to_numeric(_column(runs, "params.seed"), errors="coerce"))


def telling(runs: pd.DataFrame, varying: Sequence[str]) -> list[str]:
    """The fewest of the varying parameters that tell the arms apart: names first, what only follows them left out.

    >>> runs = pd.DataFrame({
    ...     "params.data.mean": ["20", "", "20"], "params.data.name": ["synthetic", "code", "synthetic"],
    ...     "params.padding.name": ["batch", "batch", "global"],
    ... })
    >>> telling(runs, ["data.mean", "data.name", "padding.name"])
    ['data.name', 'padding.name']
    """
    names = [name for name in varying if f"params.{name}" in runs]
    names.sort(key=lambda name: not name.endswith((".name", ".unroll", ".mask")))  # stable
    chosen: list[str] = []
    groups = 1
    for name in names:
        told = len(runs[[f"params.{one}" for one in [*chosen, name]]].fillna("").drop_duplicates())
        if told > groups:
            chosen.append(name)
            groups = told
    return chosen


def labels(runs: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """What each run's arm is called: its values, in the order of the names.

    A value that does not say itself what it is (a number, a yes or no) brings its name along.
    """
    if not names:
        return pd.Series("all runs", index=runs.index)
    parts = [
        _column(runs, f"params.{name}").map(lambda value, name=name: _named(name, value)) for name in names
    ]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + ", " + part
    return joined


def varying_parameters(runs: pd.DataFrame) -> list[str]:
    """Parameters that differ between runs, apart from seeds, repeats and what a run finds out for itself."""
    skipped = ("params.seed", "params.repeat", "params.data.longest", *(f"params.{name}" for name in FACTS))
    columns = sorted(
        column for column in map(str, runs.columns) if column.startswith("params.") and column not in skipped
    )
    return [c.removeprefix("params.") for c in columns if runs[c].fillna("").nunique() > 1]


def values(runs: pd.DataFrame, metric: str) -> pd.Series:
    """A metric's values; what is not finite, or was recorded as infinite, is missing."""
    found = pd.to_numeric(_column(runs, f"metrics.{metric}"), errors="coerce").astype(float)
    return found.where(found.abs() < LARGEST)


def _column(runs: pd.DataFrame, name: str) -> pd.Series:
    return runs[name].astype("object") if name in runs else pd.Series(None, index=runs.index, dtype="object")


def _named(name: str, value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None or value != value else str(value)
    plain = text.lower() in ("true", "false", "none", "null", "") or not text[0].isalpha()
    return f"{name.rpartition('.')[2]}={text or 'none'}" if plain else text
