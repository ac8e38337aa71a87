"""A frame of mlflow.search_runs() -> runs that may be compared: values normalised, attempts and repeats told apart.

What is a run's own: `status`, `params.*`, `metrics.*`, and the tags workbench.kind (`sweep` is the parent and never
data), .sweep, .block (0 is the throw-away block), .attempt, .repeat (the A/A arm, 1 or more), .diverged, .requeued
(set aside by the calibration gate before its metric was read), .superseded (what it ran has changed since, and its
job was run again: no data), .planned_pairs, .claims_sha, .claims_committed.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from workbench.record import DIVERGED, LARGEST, METRICS, NOT_ALONE

GROUPS = ("data", "padding", "rnn", "cell", "loss", "model", "optimizer", "training", "measure")
"""The config groups that describe the experiment; all else (tracking, hydra, sweep, name) is how it is run."""

NEVER_KEY = ("data.cache_dir", "data.path", "data.fingerprint", "data.longest", "data.task")
"""Where the data lay does not matter, and what a run finds out about it only a finished run records; what the
data was is held equal by `equal`, which names it in its refusal."""

WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
}  # as Python writes them; `none` is a name (loss=none)


class PairingError(ValueError):
    """Runs that cannot be compared as the claim asks; never turned into a verdict."""


def normalise(value: Any) -> str | None:
    """A value as text that is equal where the values are: the one rule by which params are compared.

    MLflow keeps params as text, claims.yaml has numbers and truth values. Numbers compare as numbers, True with
    true, None with null, lists item by item; all else as stripped text, case kept. None stands for "not there".

    >>> [normalise(value) for value in (1, "1.0", "1e0", True, "True", None, "None", " b ")]
    ['1', '1', '1', 'true', 'true', None, 'null', 'b']
    >>> normalise([1.0, "a"]) == normalise("['1', 'a']") == normalise("[1, a]")
    True
    """
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple):
        return json.dumps([normalise("None" if one is None else one) for one in value])
    text = str(value).strip()
    if re.fullmatch(r"[-+]?\d+", text):
        return str(int(text))
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
        number = float(text)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    if text in WORDS:
        return WORDS[text]
    if text[:1] == "[" and text[-1:] == "]":
        try:
            return normalise(list(ast.literal_eval(text)))
        except (ValueError, SyntaxError):  # [lstm, gru]: a list without quotes
            return json.dumps([normalise(one) for one in text[1:-1].split(",") if one.strip()])
    return text


@dataclass(frozen=True)
class Run:
    """One row: params normalised, metrics as numbers (absent where NaN), tags as text."""

    run_id: str
    status: str
    start: float
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @cached_property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What the run is a run of: every param of the describing groups, the seed, and the label."""
        return tuple(
            (name, value)
            for name, value in sorted(self.params.items())
            if name in ("seed", "label") or (name.split(".")[0] in GROUPS and name not in NEVER_KEY)
        )

    @property
    def repeated(self) -> tuple[object, ...]:
        """What a repeat of the run is one of: its key, and the data (task, content) that a key leaves out."""
        return self.key, self.params.get("data.task"), self.params.get("data.fingerprint")

    @property
    def repeat(self) -> int:
        """0 for the run itself, 1 or more for the A/A arm's."""
        return int(float(self.tags.get("workbench.repeat") or 0))

    @property
    def order(self) -> tuple[float, float, str]:
        """By attempt, then by start; the id only breaks ties."""
        return float(self.tags.get("workbench.attempt") or 0), self.start, self.run_id

    @property
    def diverged(self) -> bool:
        """Whether the run was tagged so."""
        return self.tags.get(DIVERGED, "").lower() == "true"

    @property
    def requeued(self) -> bool:
        """Whether the calibration gate set the run aside, before its metric was read."""
        return self.tags.get("workbench.requeued", "").lower() == "true"

    def value(self, name: str) -> str | None:
        """A param, a metric (a name with a slash) or a tag, normalised; None where it is not recorded."""
        if "/" in name:
            return normalise(self.metrics.get(name))
        for table, key in ((self.params, name), (self.tags, name), (self.tags, f"workbench.{name}")):
            if key in table:
                return normalise(table[key])
        return None

    def failure(self, metric: str) -> str:
        """Why the run gives a pair no number for the metric; empty where it does.

        A run that was set aside gives none, though it has one: where the gate set all attempts of a key aside,
        the pair has failed.
        """
        return self.lacking(metric) or ("set aside by the calibration gate" if self.requeued else "")

    def lacking(self, metric: str) -> str:
        """Why the run has no number for the metric; empty where it has."""
        if self.diverged:
            return "diverged"
        if self.status != "FINISHED":
            return f"status {self.status}"
        if metric not in self.metrics:
            return f"no {metric}"
        is_timed = metric.startswith("speed/") and metric in METRICS and METRICS[metric].noisy
        if is_timed and NOT_ALONE in self.tags:
            return "perhaps timed beside another run"
        return "" if abs(self.metrics[metric]) < LARGEST else f"{metric} is not finite"


def read_runs(frame: pd.DataFrame) -> list[Run]:
    """`data_of` one sweep; PairingError for runs of two."""
    data = data_of(frame)
    sweeps = sorted({run.tags.get("workbench.sweep") or "(none)" for run in data})
    if len(sweeps) > 1:
        raise PairingError(
            f"runs of {len(sweeps)} sweeps are mixed: {', '.join(sweeps)}; "
            'keep one, for instance runs[runs["tags.workbench.sweep"] == ' + f'"{sweeps[-1]}"]'
        )
    return data


def data_of(frame: pd.DataFrame) -> list[Run]:
    """The runs that are data, in an order that does not depend on the rows' order.

    A sweep's parent, the throw-away block, reruns and superseded runs are left out.
    """
    missing = [name for name in ("run_id", "status") if name not in frame.columns]
    if missing:
        raise PairingError(f"the runs have no column {missing[0]}; pass what mlflow.search_runs() returns")
    runs = [_run(row) for row in frame.to_dict("records")]
    if len({run.run_id for run in runs}) < len(runs):
        raise PairingError("a run_id stands twice in the runs; drop the duplicate rows")
    return [
        run
        for run in sorted(runs, key=lambda run: run.order)
        if run.tags.get("workbench.kind") not in ("sweep", "rerun")
        and normalise(run.tags.get("workbench.block")) != "0"
        and "workbench.superseded" not in run.tags
    ]


def counted(attempts: Sequence[Run], metric: str | None = None) -> Run | None:
    """The attempt of a key that counts: the first that finished, whatever came after it; `metric`: with this one.

    A diverged attempt, or one whose metric is not finite, is a result and counts too (as a failure), so that no
    re-run can replace it; one that died, lacks the metric or was set aside by the calibration gate does not.
    Where none counts, the first attempt stands for the failure, be it only that all were set aside.
    """
    kept = [run for run in attempts if not run.requeued]
    for run in kept:
        if run.diverged or (run.status == "FINISHED" and (metric is None or metric in run.metrics)):
            return run
    return next(iter(kept or attempts), None)


def one_of_each_job(runs: Sequence[Run]) -> list[Run]:
    """Of every job the attempt that counts, be it one that failed; `runs` as data_of gives them."""
    jobs: dict[object, list[Run]] = {}
    for run in runs:
        jobs.setdefault((run.tags.get("workbench.sweep"), run.repeat, run.key), []).append(run)
    return [one for attempts in jobs.values() if (one := counted(attempts))]


def _run(row: Mapping[Any, Any]) -> Run:
    start = pd.to_datetime(pd.Series([row.get("start_time")]), utc=True)[0]
    columns: dict[str, dict[str, Any]] = {"params": {}, "metrics": {}, "tags": {}}
    for column, value in row.items():
        kind, _, name = str(column).partition(".")
        if kind in columns and (text := normalise(value)) is not None:
            columns[kind][name] = {"params": text, "tags": str(value)}.get(kind, value)
    return Run(
        run_id=str(row["run_id"]),
        status=str(row["status"]),
        start=0.0 if pd.isna(start) else start.timestamp(),
        params=columns["params"],
        metrics={name: float(value) for name, value in columns["metrics"].items()},
        tags=columns["tags"],
    )
