"""How the cost of building a graph grows with the steps that batches are padded to: a line fitted in each block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from workbench.claims.statistics import interval
from workbench.report import arms

STEPS = "padding.length"
METRICS_THAT_GROW = ("speed/graph_build_s", "speed/graph_nodes")
FEWEST_LENGTHS = 3  # through two points any line fits


@dataclass(frozen=True)
class Growth:
    """A metric of an arm as `base + slope * steps`: means over blocks, and the slope's t interval."""

    arm: str
    metric: str
    base: float
    slope: float
    interval: tuple[float, float]
    explained: float
    """The share of the variance that the line explains, in the block where it is least; 1 where nothing varies."""


def growths(runs: pd.DataFrame, confidence: float = 0.95) -> list[Growth]:
    """The lines of every arm that ran with three lengths or more, else alike, in two blocks or more."""
    kept = arms.counted(runs)
    if kept.empty or f"params.{STEPS}" not in kept:
        return []
    kept = kept.assign(steps=pd.to_numeric(kept[f"params.{STEPS}"], errors="coerce")).dropna(subset="steps")
    other = [name for name in arms.varying_parameters(kept) if name != STEPS]
    else_alike = kept[[f"params.{name}" for name in other]].to_numpy()
    kept = kept.assign(key=["|".join(map(str, row)) for row in else_alike])
    enough = kept.groupby("key")["steps"].transform("nunique") >= FEWEST_LENGTHS
    kept = kept[enough].reset_index(drop=True)
    if kept.empty:
        return []
    told = arms.telling(kept, [name for name in arms.varying_parameters(kept) if name != STEPS])
    kept = kept.assign(arm=arms.labels(kept, told))
    found = []
    for arm, of_arm in kept.groupby("arm", sort=True):
        for metric in METRICS_THAT_GROW:
            points = of_arm.assign(value=arms.values(of_arm, metric)).dropna(subset="value")
            lines = [
                stats.linregress(block["steps"].to_numpy(float), block["value"].to_numpy(float))
                for _, block in points.groupby("block")
                if block["steps"].nunique() >= FEWEST_LENGTHS
            ]
            if len(lines) > 1:
                found.append(_mean_line(str(arm), metric, lines, confidence))
    return found


def _mean_line(arm: str, metric: str, lines: list[Any], confidence: float) -> Growth:
    slopes = np.array([one.slope for one in lines])
    bases = np.array([one.intercept for one in lines])
    r = np.array([one.rvalue for one in lines])
    low, high = map(float, interval(slopes, confidence))
    explained = float(np.min(np.where(np.isnan(r) | (slopes == 0), 1.0, r**2)))
    return Growth(arm, metric, float(bases.mean()), float(slopes.mean()), (low, high), explained)
