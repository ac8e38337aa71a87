"""Learning curves: what training logged step by step, thinned, kept beside a report as curves.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench.record import Run
from workbench.record.thinning import thinned
from workbench.report import arms
from workbench.tracking import Reader

METRICS_SHOWN = ("loss/step", "loss/validation_epoch")
NAME = "curves.csv"


@dataclass(frozen=True)
class Curve:
    """A metric of one run over its training steps."""

    run_id: str
    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def recorded_curves(tracker: Reader, runs: Sequence[Run]) -> list[Curve]:
    """The curves of the runs that count, at most 100 points each."""
    found, counted = [], arms.counted(runs)
    of_runs = {
        metric: tracker.histories([run.run_id for run in counted if metric in run.metrics], metric)
        for metric in METRICS_SHOWN
    }
    for run in counted:
        for metric in METRICS_SHOWN:
            points = thinned(of_runs[metric].get(run.run_id, []))
            if len(points) > 1:
                steps, values = zip(*points, strict=True)
                found.append(Curve(run.run_id, metric, steps, values))
    return found


def to_csv(curves: Iterable[Curve]) -> str:
    """A line a point: run_id, metric, step, value."""
    rows = [
        (one.run_id, one.metric, step, value)
        for one in curves
        for step, value in zip(one.steps, one.values, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["run_id", "metric", "step", "value"])
    return str(frame.to_csv(index=False, lineterminator="\n"))


def read_curves(folder: Path) -> list[Curve]:
    """The curves that lie beside a report; none where they were not recorded."""
    path = folder / NAME
    if not path.is_file():
        return []
    groups = pd.read_csv(path).groupby(["run_id", "metric"], sort=False)
    return [
        Curve(str(run_id), str(metric), tuple(map(int, group["step"])), tuple(map(float, group["value"])))
        for (run_id, metric), group in groups
    ]
