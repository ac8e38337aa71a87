"""The statistics of a verdict: functions of arrays, without input, output or random numbers.

`y` holds effects on the scale of the statistic (logarithms for ratios), blocks along the last axis; leading axes
are data sets of their own, which is how simulation.py runs thousands at once. A region is (low, high), the
effects that a claim claims, infinite where it has no bound (README.md, sections 1 and 2).
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

ROUNDING = 1e-12
"""Relative: what differs by less does not differ."""
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


def prediction_interval(
    y: ArrayLike, count: int, confidence: float, least_spread: float = 0.0
) -> tuple[Floats, Floats]:
    """Where the mean of `count` new values of the same population lies, over the last axis.

    mean ± t s sqrt(1/n + 1/count), with n - 1 degrees of freedom; s is at least `least_spread`.

    >>> low, high = prediction_interval([1.0, 2.0, 3.0], 3, 0.95)
    >>> round(float(low), 4), round(float(high), 4)
    (-1.5131, 5.5131)
    """
    mean, error, freedom = _moments(y)
    error = np.maximum(error, least_spread / math.sqrt(freedom + 1))
    reach = stats.t.isf((1 - confidence) / 2, freedom) * error * math.sqrt(1 + (freedom + 1) / count)
    return mean - reach, mean + reach


def spread_of(interval: tuple[float, float], count: int, confidence: float) -> float:
    """The standard deviation of which the t interval of the mean of `count` values is this one.

    >>> round(spread_of((-0.4841, 4.4841), 3, 0.95), 3)
    1.0
    """
    return float(
        (interval[1] - interval[0]) / 2 * math.sqrt(count) / stats.t.isf((1 - confidence) / 2, count - 1)
    )


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


def holm_after(p: Sequence[float], alpha: float, before: Sequence[bool | None]) -> Holm:
    """Holm's procedure at one of several looks, whose shares of the error sum to that of the table.

    `before` says of each hypothesis whether an earlier look rejected it (True: it is done with, and leaves its part
    to the others), whether it stands in a claim that was decided otherwise (False: it can be rejected no more, and
    keeps its part), or neither (None). All true hypotheses are thus in the family until the first false rejection,
    which has a chance of at most `alpha` at each look, under any dependence.

    >>> holm_after([0.3, 0.3, 0.02, 0.9], 0.05, [True, False, None, None]).rejected
    (True, False, False, False)
    """
    return holm([one if was is None else 1.0 - was for one, was in zip(p, before, strict=True)], alpha)


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


def constant(y: Floats, scale: str, largest: float = 0.0) -> NDArray[np.bool_]:
    """Which columns of y [blocks, C] do not vary over the blocks by more than rounding.

    `largest`: the largest number that a difference was taken of.
    """
    return np.ptp(y, axis=0) <= _rounding(y, scale, largest)


def certain(
    value: float, direction: str, margin: float, scale: str, largest: float = 0.0
) -> tuple[float, bool, list[bool]]:
    """An effect that does not vary: no chance is in it, and it is held against the claimed region itself.

    Gives the effect (the bound, where it is that up to rounding), whether it is inside, and for each finite bound
    whether it is outside. At a bound it is neither; but where the margin is 0, no difference at all is `same`,
    `not_lower` and `not_higher`, and is neither `higher` nor `lower`.

    >>> certain(0.0, "same", 0.1, "ratio"), certain(0.0, "same", 0.0, "ratio")
    ((0.0, True, [False, False]), (0.0, True, [False, False]))
    >>> certain(0.0, "higher", 0.1, "ratio"), certain(0.0, "higher", 0.0, "ratio")
    ((0.0, False, [True]), (0.0, False, [True]))
    >>> certain(0.2, "higher", 0.1, "ratio"), certain(0.1 + 1e-15, "higher", 0.1, "ratio")
    ((0.2, True, [False]), (0.1, False, [False]))
    """
    low, high = REGIONS[direction](margin)
    rounding = _rounding(np.array([value, margin]), scale, largest if value else 0.0)  # 0: of what is equal
    value = next((bound for bound in (low, high) if abs(value - bound) <= rounding), value) + 0.0  # no -0
    below, above = value < low, value > high
    if margin == 0 and value in (low, high):
        below, above = direction == "higher", direction == "lower"
        inside = not (below or above)
    else:
        inside = low < value < high
    outside = [below] if math.isfinite(low) else []
    return value, inside, outside + ([above] if math.isfinite(high) else [])


def _rounding(y: Floats, scale: str, largest: float = 0.0) -> float:
    return ROUNDING if scale == "ratio" else ROUNDING * float(np.max(np.abs(y), initial=largest))


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
