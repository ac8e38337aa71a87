"""How the cost of building a graph grows with the steps that batches are padded to: a line fitted in each block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from workbench.claims.statistics import interval
from workbench.record import Run
from workbench.report import arms

STEPS = "padding.length"
METRICS_THAT_GROW = ("speed/graph_build_s", "speed/graph_nodes")
FEWEST_LENGTHS = 3  # through two points any line fits


@dataclass(frozen=True)
class Growth:
    """A metric of an arm as `base + slope * steps`: means over blocks, and the slope's t interval of 95%."""

    arm: str
    metric: str
    base: float
    slope: float
    interval: tuple[float, float]
    explained: float
    """The share of the variance that the line explains, in the block where it is least; 1 where nothing varies."""


def growths(runs: Sequence[Run]) -> list[Growth]:
    """The lines of every arm that ran with three lengths or more, else alike, in two blocks or more."""
    kept = [run for run in arms.counted(runs) if steps(run) is not None]
    other = [name for name in arms.varying_parameters(kept) if name != STEPS]
    alike: dict[tuple[str, ...], list[Run]] = {}
    for run in kept:
        alike.setdefault(tuple(run.params.get(name, "") for name in other), []).append(run)
    kept = [run for group in alike.values() if len(set(map(steps, group))) >= FEWEST_LENGTHS for run in group]
    told = arms.telling(kept, [name for name in arms.varying_parameters(kept) if name != STEPS])
    found = []
    for arm, of_arm in arms.by_arm(kept, told).items():
        for metric in METRICS_THAT_GROW:
            measured = [run for run in of_arm if arms.value(run, metric) is not None]
            lines = [
                stats.linregress(list(map(steps, block)), arms.values(block, metric))
                for block in arms.by_block(measured).values()
                if len(set(map(steps, block))) >= FEWEST_LENGTHS
            ]
            if len(lines) > 1:
                found.append(_mean_line(arm, metric, lines))
    return found


def steps(run: Run) -> float | None:
    """What every batch of a run is padded to; None where that is not one number."""
    try:
        return float(run.params[STEPS])
    except (KeyError, ValueError):
        return None


def _mean_line(arm: str, metric: str, lines: list[Any]) -> Growth:
    slopes = np.array([one.slope for one in lines])
    bases = np.array([one.intercept for one in lines])
    r = np.array([one.rvalue for one in lines])
    low, high = map(float, interval(slopes, 0.95))
    explained = float(np.min(np.where(np.isnan(r) | (slopes == 0), 1.0, r**2)))
    return Growth(arm, metric, float(bases.mean()), float(slopes.mean()), (low, high), explained)
