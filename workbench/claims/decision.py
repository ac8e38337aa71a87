"""Pairs -> effect, interval, verdict: how a measured row of a verdict table is decided.

One rule (README.md, section 2.3): the interval is held against the claimed region. Wholly inside: reproduced;
wholly outside: contradicted; else inconclusive. `test` gives a row's p-values, Holm (table.py) decides which
stand, `decide` words the verdict and asserts that the interval at the level of the decision says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench.claims import statistics, words
from workbench.claims.declaration import Claim
from workbench.claims.pairing import Pair, Pairs
from workbench.claims.statistics import MINIMUM_BLOCKS, REGIONS, Floats, Region
from workbench.claims.verdict import Interval, Verdict
from workbench.record.metrics import may_be_coarse
from workbench.record.tags import DIGEST_OF_LOSSES

_COARSE = (
    "all runs have the same value and are not equal to the bit: how much chance is in it cannot be told; take a "
    "finer metric, or declare it `kind: exact`"
)


@dataclass(frozen=True)
class Row:
    """One side of a claim: itself, or what it says `elsewhere`."""

    claim: Claim
    name: str
    direction: str
    pairs: Pairs

    @property
    def region(self) -> Region:
        """The claimed effects, on the scale of the statistic."""
        return REGIONS[self.direction](self.claim.margin)


@dataclass(frozen=True)
class Tested:
    """A row's p-values: `inside`, and `outside` for each finite bound; 1 where nothing may be decided."""

    row: Row
    columns: Floats  # [blocks, 1], or [blocks, conditions] where every condition must hold
    judged: Floats  # the same, as it is decided by: of a share of few examples spread by its grain at least
    inside: float
    outside: tuple[float, ...]
    reasons: tuple[str, ...]
    deciding: tuple[int, ...]  # for `inside` and each of `outside` the column whose p it is
    certain: Mapping[int, float]  # the effects of the columns that do not vary


def test(row: Row) -> Tested:
    """The p-values of a measured row (README.md, sections 2.4 and 2.5)."""
    effects = row.pairs.effects()
    columns = effects if row.claim.scope == "every" else effects.mean(axis=1, keepdims=True)
    reasons = _undecidable(row, columns)
    if reasons:
        return _not_decided(row, columns, reasons)
    judged = columns if _has_no_chance(row) else _with_a_grain(row, columns)
    if judged is None:
        return _not_decided(row, columns, (_COARSE,))
    with np.errstate(divide="ignore", invalid="ignore"):  # in columns that do not vary, which have no t
        inside = statistics.p_inside(judged.T, row.region)
        outside = statistics.p_outside(judged.T, row.region)
    certain = _certain(row, judged, inside, outside)
    worst = int(inside.argmax())
    least = tuple(min(1.0, columns.shape[1] * float(p.min())) for p in outside)
    at_bound = certain.get(worst) in row.region and min(inside[worst], *least) == 1
    reasons = ("the effect is the bound itself in every block",) if at_bound else ()
    deciding = (worst, *(int(p.argmin()) for p in outside))
    return Tested(row, columns, judged, float(inside[worst]), least, reasons, deciding, certain)


def _not_decided(row: Row, columns: Floats, reasons: tuple[str, ...]) -> Tested:
    bounds = statistics.hypotheses(row.direction) - 1
    return Tested(row, columns, columns, 1.0, (1.0,) * bounds, reasons, (0,) * (1 + bounds), {})


def _has_no_chance(row: Row) -> bool:
    """Whether an effect that does not vary is one that cannot.

    A share of few examples may be the same in every block by chance. That it is coarse shows where blocks of an arm
    have one value; and where the runs of each pair are equal to the bit, there is no chance all the same.
    """
    complete = set(row.pairs.complete)
    pairs = [one for one in row.pairs.pairs if one.block in complete]
    return not (may_be_coarse(row.claim.metric) and _has_ties(row, pairs)) or all(map(_are_equal, pairs))


def _has_ties(row: Row, pairs: Sequence[Pair]) -> bool:
    """Whether blocks of an arm have the same value of the metric, under one condition."""
    values = [
        (arm, one.condition, run.metrics[row.claim.metric])
        for one in pairs
        for arm, run in enumerate((one.treatment, one.control))
        if run
    ]
    return len(set(values)) < len(values)


def _with_a_grain(row: Row, columns: Floats) -> Floats | None:
    """The effects, those that vary by less than the metric's grain spread to it; None where it is not known."""
    still = statistics.constant(columns, row.claim.scale, _largest(row))
    grain = _grain(row)
    if grain is None:
        return None if still.any() else columns
    spread = np.linspace(-1, 1, len(columns))[:, None]
    about = np.where(still, spread, columns - columns.mean(axis=0))
    sizes = np.std(about, axis=0, ddof=1)
    spread_to_it = columns.mean(axis=0) + about * grain / sizes
    return np.where(still | (sizes < grain), spread_to_it, columns)


def _grain(row: Row) -> float | None:
    """The step in which a share of few examples moves, as far as the runs show it: None where all are equal.

    Runs of one pair were measured on the same examples, so that the least by which those of a pair differ is a
    step. Blocks may have other numbers of examples (folds of 17 and of 18), whose shares lie closer together than
    any step: among all runs it is the median of the gaps.
    """
    metric = row.claim.metric
    pairs = [one for one in row.pairs.pairs if not one.failure]
    values = np.array([[run.metrics[metric] for run in one.runs] for one in pairs], np.float64)
    if row.claim.scale == "ratio":
        values = np.log(values[(values > 0).all(axis=1)])
    rounding = statistics.ROUNDING * float(np.abs(values).max(initial=1.0))
    inside, gaps = np.abs(np.diff(values, axis=1)), np.diff(np.unique(values))
    inside, gaps = inside[inside > rounding], gaps[gaps > rounding]
    return min([*inside, *([float(np.median(gaps))] if gaps.size else [])], default=None)


def _largest(row: Row) -> float:
    """The largest number that an effect was taken of, by which its rounding goes."""
    metric = row.claim.metric
    values = (abs(run.metrics[metric]) for one in row.pairs.pairs if not one.failure for run in one.runs)
    return max(values, default=0.0)


def _are_equal(pair: Pair) -> bool:
    if pair.treatment is None or pair.control is None:
        return False
    one, other = (run.tags.get(DIGEST_OF_LOSSES) for run in (pair.treatment, pair.control))
    return bool(one) and one == other


def _certain(row: Row, columns: Floats, inside: Floats, outside: Sequence[Floats]) -> dict[int, float]:
    """The effects of the columns that do not vary; their p-values, which have no chance in them, become 0 or 1."""
    found = {}
    largest = _largest(row)
    for one in map(int, np.flatnonzero(statistics.constant(columns, row.claim.scale, largest))):
        value = float(columns[0, one])
        found[one], is_inside, is_outside = statistics.certain(
            value, row.direction, row.claim.margin, row.claim.scale, largest
        )
        for p, is_sure in zip((inside, *outside), (is_inside, *is_outside), strict=True):
            p[one] = 0.0 if is_sure else 1.0
    return found


def decide(tested: Tested, rejected: Sequence[bool], levels: Sequence[float]) -> Verdict:
    """The verdict of a measured row, given what Holm rejected of (inside, *outside) and at which levels."""
    row, all_p = tested.row, (tested.inside, *tested.outside)
    verdict = "reproduced" if rejected[0] else "contradicted" if any(rejected) else "inconclusive"
    decided = min((one for one, is_out in enumerate(rejected) if is_out), key=all_p.__getitem__, default=0)
    column, level = tested.deciding[decided], levels[decided]
    y = tested.columns[:, column]
    if verdict != "reproduced":
        level /= tested.columns.shape[1]
    thin = None
    if not tested.reasons:
        effect = tested.certain.get(column)
        thin = _interval(tested.judged[:, column], 1 - 2 * level) if effect is None else (effect,) * 2
        assert _agree(verdict, thin, row.region), f"{row.name}: {verdict}, but {thin} against {row.region}"
    reasons = tested.reasons
    if verdict != "inconclusive" and (lacking := _not_forgiven(row, y, verdict, decided)):
        verdict, reasons = "inconclusive", (lacking,)
    return replace(
        describe(row, y, tested.judged[:, column]),
        verdict=verdict,
        decision_interval=thin and natural(row.claim, thin),
        decided_at=None if thin is None else 1 - 2 * level,
        p_reproduced=tested.inside,
        p_contradicted=min(tested.outside),
        reasons=reasons,
    )


def describe(row: Row, y: Floats, judged: Floats | None = None) -> Verdict:
    """All of a row that does not depend on a decision: effect, interval, counts, flags, finding.

    `judged`: the effects as they are decided by, which the interval is of.
    """
    claim, pairs = row.claim, row.pairs
    measured = claim.kind == "measured"
    thick = _interval(y if judged is None else judged, claim.confidence) if measured and len(y) > 1 else None
    made = Verdict(
        claim=row.name,
        sha=claim.sha,
        verdict="inconclusive",
        finding="",
        kind=claim.kind,
        metric=claim.metric,
        unit=words.unit(claim),
        scale=claim.scale,
        direction=row.direction,
        smallest=float(claim.smallest),
        treatment=words.arm(claim.treatment),
        control=words.arm(claim.control),
        effect=natural(claim, (_mean(y),) * 2)[0] if len(y) else None,
        interval=thick and natural(claim, thick),
        confidence=claim.confidence,
        pairs=len(y),
        planned=pairs.planned,
        agree=statistics.agreeing(y, row.region),
        exact_p=statistics.exact_p(y, row.region) if measured else None,
        failed=tuple(words.failure(one) for one in pairs.pairs if one.failure),
        unused=sum(pairs.unused.values()),
        by_block=_by_block(row, y),
        by_condition=_by_condition(row) if measured else (),
        flags=tuple(words.flags(claim, pairs)),
        statement=claim.statement,
        tolerance=float(claim.tolerance),
    )
    return replace(made, finding=words.finding(made, thick, claim))


def _undecidable(row: Row, columns: Floats) -> tuple[str, ...]:
    if row.pairs.missing:
        return (row.pairs.missing,)
    if len(columns) < MINIMUM_BLOCKS:
        return (
            f"{len(columns)} complete blocks of {row.pairs.planned}; nothing is decided below {MINIMUM_BLOCKS}",
        )
    return ()


def _not_forgiven(row: Row, y: Floats, verdict: str, decided: int) -> str:
    """Why the failed blocks forbid the verdict; empty where there are none, or few enough."""
    planned, low, high = row.pairs.planned, *row.region
    if len(y) >= planned:
        return ""
    if verdict == "reproduced":
        beyond = statistics.agreeing(y, row.region)
    else:
        below = math.isfinite(low) and decided == 1
        beyond = int((y < low).sum() if below else (y > high).sum())
    if statistics.forgives(planned, beyond, 1 - row.claim.confidence):
        return ""
    return (
        f"{len(y)} of {planned} planned blocks are complete and {beyond} speak for `{verdict}`: too few, "
        "if the failed ones are counted against it (sign test)"
    )


def _agree(verdict: str, thin: Interval, region: Region) -> bool:
    """Whether the interval says what the verdict says, up to rounding."""
    rounding = 1e-7 * (thin[1] - thin[0]) + 1e-15 * (abs(thin[0]) + abs(thin[1]))
    inside = region[0] <= thin[0] + rounding and thin[1] - rounding <= region[1]
    outside = thin[1] - rounding <= region[0] or region[1] <= thin[0] + rounding
    strictly = region[0] + rounding < thin[0] and thin[1] < region[1] - rounding
    strictly_out = thin[1] + rounding < region[0] or region[1] < thin[0] - rounding
    return {"reproduced": inside, "contradicted": outside}.get(verdict, not strictly and not strictly_out)


def _by_block(row: Row, y: Floats) -> tuple[dict[str, Any], ...]:
    """The effect in each complete block, in the claim's own scale."""
    return tuple(
        {"block": block, "effect": natural(row.claim, (float(value),) * 2)[0]}
        for block, value in zip(row.pairs.complete, y, strict=bool(row.pairs.conditions))
    )


def _by_condition(row: Row) -> tuple[dict[str, Any], ...]:
    effects = row.pairs.effects()
    if len(row.pairs.conditions) < 2 or len(effects) < 2:
        return ()
    return tuple(
        {
            "condition": dict(condition),
            "effect": natural(row.claim, (float(column.mean()),) * 2)[0],
            "interval": natural(row.claim, _interval(column, row.claim.confidence)),
            "pairs": len(column),
            "judged": row.claim.scope == "every",
        }
        for condition, column in zip(row.pairs.conditions, effects.T, strict=True)
    )


def _interval(y: Floats, confidence: float) -> Interval:
    low, high = statistics.interval(y, confidence)
    return float(low), float(high)


def natural(claim: Claim, values: Interval) -> Interval:
    """Values on the scale of the statistic as the claim's own: ratios, or differences."""
    return (_exp(values[0]), _exp(values[1])) if claim.scale == "ratio" else values


def _exp(value: float) -> float:
    return math.inf if value >= 700 else math.exp(value)


def _mean(y: Floats) -> float:
    with np.errstate(invalid="ignore"):  # an exact claim may meet an infinite ratio
        return float(y.mean())
