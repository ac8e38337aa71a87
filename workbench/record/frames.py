"""Runs as a table of pandas, with the columns of mlflow.search_runs(), and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.record.run import Run
from workbench.record.sections import unfolded
from workbench.record.values import is_missing

_PARTS = ("params", "metrics", "tags")
_FIRST = ("run_id", "status", "start_time", "end_time")


def runs_of(frame: pd.DataFrame) -> list[Run]:
    """The runs of a table, in its order.

    Raises:
        KeyError: it has no column `run_id` or `status`; the message says what to pass.
        ValueError: a run stands in it twice.
    """
    for name in ("run_id", "status"):
        if name not in frame.columns:
            raise KeyError(f"the runs have no column {name}; pass what mlflow.search_runs() returns")
    runs = [_run(row) for row in frame.to_dict("records")]
    if len({run.run_id for run in runs}) < len(runs):
        raise ValueError("a run_id stands twice in the runs; drop the duplicate rows")
    return runs


def read_csv(path: Path) -> list[Run]:
    """The runs of a file that `frame_of` was written to, as its runs.csv is."""
    # as text: null and None are values of params, and a column with gaps would make 12.0 of 12
    return runs_of(pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""]))


def frame_of(runs: Sequence[Run]) -> pd.DataFrame:
    """A table with a row a run, and the columns that any of them has beside the first four."""
    rows = [
        {
            "run_id": run.run_id,
            "status": run.status,
            "start_time": _moment(run.start),
            "end_time": _moment(run.end),
            **{f"{part}.{name}": value for part in _PARTS for name, value in getattr(run, part).items()},
            **{f"metrics.{name}": "NaN" for name in run.no_numbers if run.key_without is not None},
        }
        for run in runs
    ]
    return pd.DataFrame(rows, columns=None if rows else [*_FIRST])


def _moment(seconds: float | None) -> Any:
    return pd.NaT if seconds is None else pd.Timestamp(round(seconds * 1000), unit="ms", tz="UTC")


def _run(row: Mapping[Any, Any]) -> Run:
    parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    no_numbers = set()
    for column, value in row.items():
        part, _, name = str(column).partition(".")
        if part in parts and not is_missing(value):
            if part == "metrics" and math.isnan(float(value)):  # a text that says so
                no_numbers.add(name)
            else:
                parts[part][name] = float(value) if part == "metrics" else str(value)
    start, end = (_seconds(row.get(name)) for name in ("start_time", "end_time"))
    params, metrics, tags = parts.values()
    experiment = row.get("experiment_id")
    return Run(
        str(row["run_id"]), str(row["status"]), params, metrics, unfolded(tags), start=start or 0.0, end=end,
        experiment="" if experiment is None or pd.isna(experiment) else str(experiment),
        no_numbers=frozenset(no_numbers),
    )  # fmt: skip


def _seconds(value: Any) -> float | None:
    moment = pd.to_datetime(pd.Series([value]), utc=True)[0]
    return None if pd.isna(moment) else float(moment.timestamp())
