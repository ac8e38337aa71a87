"""How many pairs a claim needs before it can be decided: asked before a sweep, from the noise of the last.

`noise` is the spread of one run about what its pair shares: a coefficient of variation for ratios (0.05 is
5%), a standard deviation in the metric's unit for differences. A pair's difference has sqrt(2) times that.
Failures, and conditions that average noise out, are left aside: the first make it worse, the second better.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from scipy import stats

from workbench.claims import Verdict
from workbench.claims.declaration import Claim
from workbench.claims.statistics import MINIMUM_BLOCKS, REGIONS, Region, hypotheses
from workbench.report.numbers import spaced_unit

MOST_PAIRS = 400
POWER = 0.9
# Mid-points of the chance mass: the sample's spread is averaged over these (exact to some 1e-4 of power).
_MASS = (np.arange(2000) + 0.5) / 2000


def chance_of_showing(region: Region, truth: float, noise: float, pairs: int, level: float = 0.025) -> float:
    """The chance that the t interval of `pairs` pairs lies wholly inside `region` when the effect is `truth`.

    The interval's bounds are one-sided at `level` each; `truth` is on the region's scale. For a region with
    one bound this is the power of the paired t test (noncentral t), for two that of two one-sided tests.

    >>> round(chance_of_showing((0.0, math.inf), math.log(1.10), 0.05, 8), 2)
    0.9
    """
    if pairs < 2:
        return 0.0
    if noise == 0:
        return float(region[0] < truth < region[1])
    low, high = region
    error = math.sqrt(2 / pairs) * noise  # standard error of the mean
    spread = np.sqrt(stats.chi2.ppf(_MASS, pairs - 1) / (pairs - 1))
    reach = stats.t.isf(level, pairs - 1) * spread
    below = stats.norm.cdf((high - truth) / error - reach)
    above = stats.norm.cdf((low - truth) / error + reach)
    return float(np.mean(np.clip(below - above, 0, None)))


def pairs_needed(region: Region, truth: float, noise: float, *, level: float = 0.025) -> int | None:
    """The fewest pairs that show `region` with chance POWER when the effect is `truth`; None above MOST_PAIRS.

    Never below 6, under which no verdict is given. The table of claims/README.md, section 2.8, is made by this.

    >>> pairs_needed((math.log(1.05), math.inf), math.log(1.25), noise=0.10)
    10
    """

    def enough(pairs: int) -> bool:
        return chance_of_showing(region, truth, noise, pairs, level) >= POWER

    if not region[0] < truth < region[1] or not enough(MOST_PAIRS):
        return None
    return bisect_left(range(MOST_PAIRS + 1), True, MINIMUM_BLOCKS, key=enough)


def pairs_that_decide(verdict: Verdict) -> int | None:
    """How many pairs would decide an open claim 9 times in 10, were its effect and its spread as measured.

    At the level at which Holm's procedure left it open; None above MOST_PAIRS.
    """
    values = verdict.block_values()
    if len(values) < 3 or verdict.decided_at is None:
        return None
    margin = math.log(verdict.smallest) if verdict.scale == "ratio" else verdict.smallest
    low, high = REGIONS[verdict.direction](margin)
    truth, noise = float(np.mean(values)), verdict.spread() / math.sqrt(2)
    level = (1 - verdict.decided_at) / 2
    sides = ((low, high), (-math.inf, low), (high, math.inf))
    found = (pairs_needed(side, truth, noise, level=level) for side in sides if side[0] < truth < side[1])
    return next(found, None)


def plan_line(claim: Claim, noise: float, pairs: int, looks: int = 1) -> str:
    """One line on what `pairs` pairs can decide about a claim at a noise, and how many it needs at 90% power.

    Twice: for the claim alone, and at Holm's first step over the hypotheses of its table (`claim.family`), which
    is the most that can be asked of it; where the table has several `looks`, with the share of the error of one.
    A claim that needs a gain (`higher`, `lower`) is planned for a true effect twice its bound (on the log
    scale for ratios; where the bound is no effect: 10%, or one noise), any other for no effect at all.

    >>> claim = Claim(
    ...     "batch_is_faster", "", "", "speed/valid_tokens_per_s", {}, {}, "higher", 1.2, "why not"
    ... )
    >>> print(plan_line(claim, 0.05, 10))
    batch_is_faster: at 5% noise, to show "higher" beyond 1.20x when the truth is 1.44x takes 6 pairs; \
10 are planned: 100% power: enough
    """
    if claim.kind == "exact":
        return f"{claim.name}: exact: every pair must hold, at least 2 blocks; {pairs} planned"
    if not (math.isfinite(noise) and noise >= 0):
        return (
            f"{claim.name}: no plan: the noise is {noise}; it must be a finite number from an earlier sweep"
        )
    region = claim.region
    truth = _planned_truth(claim, noise)
    own = hypotheses(claim.direction)
    family = max(claim.family, own)
    alone, first = ((1 - claim.confidence) / looks / number for number in (own, family))
    spread = (
        f"{noise:.3g}{spaced_unit(claim.metric)}" if claim.scale == "difference" else f"{100 * noise:.3g}%"
    )
    line = (
        f'{claim.name}: at {spread} noise, to show "{claim.direction.replace("_", " ")}" '
        f"{'within' if claim.direction == 'same' else 'beyond'} {_shown(_bound(claim), claim)} "
        f"when the truth is {_shown(truth, claim)} "
    )
    needed = [pairs_needed(region, truth, noise, level=level) for level in (alone, first)]
    powers = [chance_of_showing(region, truth, noise, pairs, level) for level in (alone, first)]
    line += f"takes {_count(needed[0])} pairs"
    if family > own:
        line += f" ({_count(needed[1])} at Holm's first step of {family})"
    last = f" at the last of {looks} looks" if looks > 1 else ""
    line += f"; {pairs} are planned{last}: {powers[0]:.0%} power"
    if family > own:
        line += f" ({powers[1]:.0%})"
    if pairs < MINIMUM_BLOCKS:
        return f"{line}: too few, under {MINIMUM_BLOCKS} pairs nothing is judged"
    if powers[0] < POWER:
        return f"{line}: too few"
    return f"{line}: {'enough' if powers[1] >= POWER else 'enough if other claims of the table are decided'}"


def _planned_truth(claim: Claim, noise: float) -> float:
    if claim.direction not in ("higher", "lower"):
        return 0.0
    any_gain = math.log(1.10) if claim.scale == "ratio" else noise
    return 2 * _bound(claim) or _sign(claim) * any_gain


def _bound(claim: Claim) -> float:
    return _sign(claim) * claim.margin


def _sign(claim: Claim) -> int:
    return -1 if claim.direction in ("lower", "not_lower") else 1


def _shown(value: float, claim: Claim) -> str:
    return f"{math.exp(value):.2f}x" if claim.scale == "ratio" else f"{value:.3g}{spaced_unit(claim.metric)}"


def _count(pairs: int | None) -> str:
    return f"over {MOST_PAIRS}" if pairs is None else str(pairs)
