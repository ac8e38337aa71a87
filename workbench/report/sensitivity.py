"""What a timing claim's effect would be had the machine been in one state: said beside the verdict, never judged.

Each run has a calibration product directly before and after its timed window. A regression of the blocks' effects
on the difference of the arms' calibrations gives the effect at equal calibration. It is not used for a verdict:
it costs precision where the machine is steady (claims/README.md, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from workbench.claims import Claim, Judged
from workbench.claims.pairing import Pairs
from workbench.claims.statistics import MINIMUM_BLOCKS, Floats
from workbench.record import Run
from workbench.report.ratios import judged_ratios

OF_THE_WINDOW = (
    "speed/valid_tokens_per_s",
    "speed/padded_tokens_per_s",
    "speed/examples_per_s",
    "speed/step_p50_ms",
    "speed/step_p95_ms",
)
"""What is timed between the two calibrations."""
CALIBRATIONS = ("speed/calibration_before_gflops", "speed/calibration_after_gflops")


@dataclass(frozen=True)
class Adjusted:
    """A claim's effect at equal calibration, in the claim's scale, and how much of the calibration it follows."""

    claim: str
    effect: float
    interval: tuple[float, float]
    slope: float
    """By how many % the ratio grows where the treatment was calibrated 1% faster than its control."""


def adjusted(claims: Sequence[Claim], judged: Judged) -> list[Adjusted]:
    """A row for each measured ratio of what the window times that was judged and whose runs were calibrated.

    Claims with fewer than 6 complete blocks, whose arms were always calibrated alike, or that must hold in every
    condition, are left out.
    """
    found = []
    for claim, _, pairs in judged_ratios(claims, judged, OF_THE_WINDOW):
        y, x = pairs.effects().mean(axis=1), _calibrations(pairs)
        if len(y) < MINIMUM_BLOCKS or not np.isfinite(x).all() or np.ptp(x) == 0:
            continue
        effect, low, high, slope = at_equal_calibration(y, x, claim.confidence)
        found.append(Adjusted(claim.name, math.exp(effect), (math.exp(low), math.exp(high)), slope))
    return found


def at_equal_calibration(y: Floats, x: Floats, confidence: float) -> tuple[float, float, float, float]:
    """(effect, low, high, slope) of the least-squares line of y on x, at x = 0; t with n - 2 degrees of freedom.

    >>> [round(one, 3) for one in at_equal_calibration(np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0]), 0.5)]
    [0.833, 0.461, 1.206, 1.5]
    """
    line = stats.linregress(x, y)
    reach = float(stats.t.isf((1 - confidence) / 2, len(y) - 2) * line.intercept_stderr)
    at = float(line.intercept)
    return at, at - reach, at + reach, float(line.slope)


def _calibrations(pairs: Pairs) -> Floats:
    """For each complete block the mean over its conditions of log(treatment's calibration / control's)."""
    at = {(one.block, one.condition): _ratio(one.treatment, one.control) for one in pairs.pairs}
    return np.array([
        np.mean([at[block, condition] for condition in pairs.conditions]) for block in pairs.complete
    ])  # fmt: skip


def _ratio(treatment: Run | None, control: Run | None) -> float:
    sides = [
        [run.metrics.get(name, math.nan) for name in CALIBRATIONS] if run else [math.nan]
        for run in (treatment, control)
    ]
    first, second = (float(np.mean(side)) for side in sides)
    return math.log(first / second) if first > 0 and second > 0 else math.nan
