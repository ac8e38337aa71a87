"""The statistics of a verdict: functions of arrays, without input, output or random numbers.

`y` holds effects on the scale of the statistic (logarithms for ratios), blocks along the last axis; leading axes
are data sets of their own, which is how simulation.py runs thousands at once. A region is (low, high), the
effects that a claim claims, infinite where it has no bound (claims/README.md, sections 1 and 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Region = tuple[float, float]
Floats = NDArray[np.float64]

MINIMUM_BLOCKS = 6
MOST_FLIPPED = 20  # blocks for which all sign flips are counted: a million

REGIONS: dict[str, Callable[[float], Region]] = {
    "higher": lambda s: (s, math.inf),
    "lower": lambda s: (-math.inf, -s),
    "not_lower": lambda s: (-s, math.inf),
    "not_higher": lambda s: (-math.inf, s),
    "same": lambda s: (-s, s),
}


def hypotheses(direction: str) -> int:
    """One "inside", and one "outside" for each finite bound: 2, or 3 for `same`."""
    return 1 + sum(math.isfinite(bound) for bound in REGIONS[direction](1.0))


def interval(y: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """The t interval of the mean, over the last axis.

    >>> low, high = interval([1.0, 2.0, 3.0], 0.95)
    >>> round(float(low), 4), round(float(high), 4)
    (-0.4841, 4.4841)
    """
    mean, error, freedom = _moments(y)
    half = stats.t.isf((1 - confidence) / 2, freedom) * error
    return mean - half, mean + half


def p_above(y: ArrayLike, bound: float) -> Floats:
    """One-sided p of "the mean is at most the bound"; small where it lies above. 0 for a bound of -inf."""
    return _one_sided(y, bound, stats.t.sf)


def p_below(y: ArrayLike, bound: float) -> Floats:
    """One-sided p of "the mean is at least the bound"; small where it lies below. 0 for a bound of +inf."""
    return _one_sided(y, bound, stats.t.cdf)


def p_inside(y: ArrayLike, region: Region) -> Floats:
    """p of "the mean is not inside the region": the largest over its finite bounds (intersection-union)."""
    return np.maximum(p_above(y, region[0]), p_below(y, region[1]))


def p_outside(y: ArrayLike, region: Region) -> list[Floats]:
    """p of "the mean is not below the low bound" and "not above the high bound", for each finite bound."""
    low, high = region
    below = [p_below(y, low)] if math.isfinite(low) else []
    return below + ([p_above(y, high)] if math.isfinite(high) else [])


@dataclass(frozen=True)
class Holm:
    """What Holm's procedure rejected, and the level at which it decided each hypothesis."""

    rejected: tuple[bool, ...]
    level: tuple[float, ...]


def holm(p: Sequence[float], alpha: float) -> Holm:
    """Holm's step-down procedure: chance of any false rejection at most alpha, under any dependence.

    The i-th smallest p (from 0) is held against alpha / (M - i) until one exceeds it; that one and all after it
    share its level, the stop's.

    >>> holm([0.01, 0.6, 0.02, 0.9], 0.05).rejected
    (True, False, False, False)
    """
    order = sorted(range(len(p)), key=lambda one: (p[one], one))
    rejected, level = [False] * len(p), [alpha] * len(p)
    stop: float | None = None
    for step, one in enumerate(order):
        own = alpha / (len(p) - step)
        if stop is None and p[one] > own:
            stop = own
        rejected[one], level[one] = stop is None, own if stop is None else stop
    return Holm(tuple(rejected), tuple(level))


def forgives(planned: int, agreeing: int, alpha: float) -> bool:
    """Whether the failures of a row are few enough: the exact sign test with them as contrary signs.

    >>> [most_failures for planned in (6, 8, 9, 11, 12, 14)
    ...  for most_failures in [max(f for f in range(planned) if f == 0 or forgives(planned, planned - f, 0.05))]]
    [0, 0, 1, 1, 2, 2]
    """
    return bool(stats.binom.sf(agreeing - 1, planned, 0.5) <= alpha / 2)


def exact_p(y: Sequence[float] | Floats, region: Region) -> float | None:
    """Exact sign-flip p of "not inside the region"; printed beside the verdict, never used.

    The share of all 2^n sign patterns of y - bound whose sum is at least as far inside as the one seen, the
    largest over the bounds; None for more than 20 blocks (nothing is drawn at random here).

    >>> exact_p([1.0, 2.0, 3.0], (0.0, math.inf))
    0.125
    """
    if not 0 < len(y) <= MOST_FLIPPED:
        return None
    low, high = region
    inward = [np.asarray(y) - low] if math.isfinite(low) else []
    inward += [high - np.asarray(y)] if math.isfinite(high) else []
    return max(_sign_flip(values) for values in inward)


def agreeing(y: Floats, region: Region) -> int:
    """How many blocks lie inside the region, counted at its worse bound."""
    low, high = region
    return int(min((y >= low).sum(), (y <= high).sum()))


def outliers(y: Floats, times: float = 5.0) -> NDArray[np.bool_]:
    """Where a residual from the column's median exceeds `times` the median absolute residual; y is [blocks, C]."""
    residual = np.abs(y - np.median(y, axis=0, keepdims=True))
    return residual > np.maximum(times * np.median(residual), 1e-12)


def varies(y: Floats, scale: str) -> bool:
    """Whether y [blocks, C] varies over the blocks in every column, by more than rounding."""
    rounding = 1e-12 if scale == "ratio" else 1e-12 * float(np.max(np.abs(y), initial=0.0))
    return bool(np.all(np.ptp(y, axis=0) > rounding))


def _moments(y: ArrayLike) -> tuple[Floats, Floats, int]:
    values = np.asarray(y, dtype=np.float64)
    n = values.shape[-1]
    return values.mean(-1), values.std(-1, ddof=1) / math.sqrt(n), n - 1


def _one_sided(y: ArrayLike, bound: float, tail: Callable[..., Floats]) -> Floats:
    mean, error, freedom = _moments(y)
    if not math.isfinite(bound):
        return np.zeros_like(mean)
    return np.asarray(tail((mean - bound) / error, freedom))


def _sign_flip(inward: Floats) -> float:
    sums = np.zeros(1)
    for size in np.abs(inward):
        sums = np.concatenate([sums + size, sums - size])
    rounding = 1e-12 * np.abs(inward).sum()
    return float(np.mean(sums >= inward.sum() - rounding))
