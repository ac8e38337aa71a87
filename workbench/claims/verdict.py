"""Pairs -> effect, interval, verdict: what one row of a verdict table says, and how a measured row is decided.

One rule (claims/README.md, section 2.3): the interval is held against the claimed region. Wholly inside:
reproduced; wholly outside: contradicted; else inconclusive. `test` gives a row's p-values, Holm (table.py) decides
which stand, `decide` words the verdict and asserts that the interval at the level of the decision says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from workbench.claims import statistics, words
from workbench.claims.declaration import Claim
from workbench.claims.pairing import Pairs
from workbench.claims.statistics import MINIMUM_BLOCKS, REGIONS, Floats, Region

Interval = tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """One row of the table. Effects and intervals are in the claim's own scale: ratios, or the metric's unit.

    `verdict` is reproduced, contradicted or inconclusive; for the A/A row (kind `instrument`) instrument ok,
    watch, instrument failed or inconclusive. `interval` is the row's own (95% by default), `decision_interval`
    the one at the confidence `decided_at` at which Holm decided the row: it agrees with the verdict unless
    `reasons` say why a verdict does not stand. `p_reproduced` and `p_contradicted` are not corrected; `exact_p`
    (sign flips) and `agree` (blocks inside the region) stand beside the verdict and are not used for it.
    """

    claim: str
    sha: str
    verdict: str
    finding: str
    kind: str
    metric: str
    unit: str
    scale: str
    direction: str
    smallest: float
    treatment: str
    control: str
    effect: float | None = None
    interval: Interval | None = None
    decision_interval: Interval | None = None
    confidence: float = 0.95
    decided_at: float | None = None
    p_reproduced: float | None = None
    p_contradicted: float | None = None
    pairs: int = 0
    planned: int = 0
    agree: int = 0
    exact_p: float | None = None
    failed: tuple[dict[str, Any], ...] = ()
    unused: int = 0
    by_block: tuple[dict[str, Any], ...] = ()
    by_condition: tuple[dict[str, Any], ...] = ()
    flags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    exploratory: bool = False
    statement: str = ""

    @property
    def label(self) -> str:
        """The verdict column: `exploratory` in front where the claim was not declared before the runs."""
        return f"exploratory {self.verdict}" if self.exploratory else self.verdict

    def block_values(self) -> list[float]:
        """The effect of each complete block on the scale of the statistic: logarithms of ratios, or differences."""
        effects = [one["effect"] for one in self.by_block if one["effect"] is not None]
        return [math.log(one) for one in effects if one > 0] if self.scale == "ratio" else effects

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Verdict:
        """A verdict as `to_json` gave it."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: _tupled(value) for name, value in values.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, text and floats as computed (nothing is rounded; not a number becomes None).

        `json.dumps(verdict.to_json(), sort_keys=True)` is byte-identical for the same runs in any order.
        """
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)} | {"label": self.label}


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
    worst: int  # the least favourable column
    inside: float
    outside: tuple[float, ...]
    reasons: tuple[str, ...]

    @property
    def y(self) -> Floats:
        """The block values that the row shows."""
        return self.columns[:, self.worst]


def test(row: Row) -> Tested:
    """The p-values of a measured row (claims/README.md, sections 2.4 and 2.5)."""
    effects = row.pairs.effects()
    columns = effects if row.claim.scope == "every" else effects.mean(axis=1, keepdims=True)
    reasons = _undecidable(row, columns)
    if reasons:
        return Tested(row, columns, 0, 1.0, (1.0,) * (statistics.hypotheses(row.direction) - 1), reasons)
    inside = statistics.p_inside(columns.T, row.region)
    count = columns.shape[1]
    outside = tuple(min(1.0, count * float(p.min())) for p in statistics.p_outside(columns.T, row.region))
    worst = int(inside.argmax())
    return Tested(row, columns, worst, float(inside[worst]), outside, ())


def decide(tested: Tested, rejected: Sequence[bool], levels: Sequence[float]) -> Verdict:
    """The verdict of a measured row, given what Holm rejected of (inside, *outside) and at which levels."""
    row, y = tested.row, tested.y
    verdict = "reproduced" if rejected[0] else "contradicted" if any(rejected) else "inconclusive"
    level = next((level for level, one in zip(levels, rejected, strict=True) if one), levels[0])
    if verdict != "reproduced":
        level /= tested.columns.shape[1]
    thin = None
    if not tested.reasons:
        thin = _interval(y, 1 - 2 * level)
        assert _agree(verdict, thin, row.region), f"{row.name}: {verdict}, but {thin} against {row.region}"
    reasons = tested.reasons
    if verdict != "inconclusive" and (lacking := _not_forgiven(row, y, verdict, rejected)):
        verdict, reasons = "inconclusive", (lacking,)
    return replace(
        describe(row, y),
        verdict=verdict,
        decision_interval=thin and _natural(row.claim, thin),
        decided_at=None if thin is None else 1 - 2 * level,
        p_reproduced=tested.inside,
        p_contradicted=min(tested.outside),
        reasons=reasons,
    )


def describe(row: Row, y: Floats) -> Verdict:
    """All of a row that does not depend on a decision: effect, interval, counts, flags, finding."""
    claim, pairs = row.claim, row.pairs
    measured = claim.kind == "measured"
    thick = _interval(y, claim.confidence) if measured and len(y) > 1 else None
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
        effect=_natural(claim, (_mean(y),) * 2)[0] if len(y) else None,
        interval=thick and _natural(claim, thick),
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
    )
    return replace(made, finding=words.finding(made, thick, claim))


def _undecidable(row: Row, columns: Floats) -> tuple[str, ...]:
    if row.pairs.missing:
        return (row.pairs.missing,)
    if len(columns) < MINIMUM_BLOCKS:
        return (
            f"{len(columns)} complete blocks of {row.pairs.planned}; nothing is decided below {MINIMUM_BLOCKS}",
        )
    if not statistics.varies(columns, row.claim.scale):
        return ("no variation at all between blocks; declare it exact",)
    return ()


def _not_forgiven(row: Row, y: Floats, verdict: str, rejected: Sequence[bool]) -> str:
    """Why the failed blocks forbid the verdict; empty where there are none, or few enough."""
    planned, low, high = row.pairs.planned, *row.region
    if len(y) >= planned:
        return ""
    if verdict == "reproduced":
        beyond = statistics.agreeing(y, row.region)
    else:
        below = math.isfinite(low) and rejected[1]
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
        {"block": block, "effect": _natural(row.claim, (float(value),) * 2)[0]}
        for block, value in zip(row.pairs.complete, y, strict=bool(row.pairs.conditions))
    )


def _by_condition(row: Row) -> tuple[dict[str, Any], ...]:
    effects = row.pairs.effects()
    if len(row.pairs.conditions) < 2 or len(effects) < 2:
        return ()
    return tuple(
        {
            "condition": dict(condition),
            "effect": _natural(row.claim, (float(column.mean()),) * 2)[0],
            "interval": _natural(row.claim, _interval(column, row.claim.confidence)),
            "pairs": len(column),
            "judged": row.claim.scope == "every",
        }
        for condition, column in zip(row.pairs.conditions, effects.T, strict=True)
    )


def _interval(y: Floats, confidence: float) -> Interval:
    low, high = statistics.interval(y, confidence)
    return float(low), float(high)


def _natural(claim: Claim, values: Interval) -> Interval:
    return (_exp(values[0]), _exp(values[1])) if claim.scale == "ratio" else values


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _mean(y: Floats) -> float:
    with np.errstate(invalid="ignore"):  # an exact claim may meet an infinite ratio
        return float(y.mean())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
