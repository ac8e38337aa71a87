"""What one row of a verdict table says, and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from workbench.claims import statistics

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
    tolerance: float = 0.0
    """By how much an exact claim may miss; the claim's own, to be said. The record has it by the claim's hash."""
    looks: tuple[int, ...] = ()
    """The numbers of pairs of the declared looks; empty where there is one number."""
    look: int = 0
    """At which of the looks, from 1, the row was decided; 0 where at none."""

    @property
    def label(self) -> str:
        """The verdict column: `exploratory` in front where the claim was not declared before the runs."""
        return f"exploratory {self.verdict}" if self.exploratory else self.verdict

    def block_values(self) -> list[float]:
        """The effect of each complete block on the scale of the statistic: logarithms of ratios, or differences."""
        effects = [one["effect"] for one in self.by_block if one["effect"] is not None]
        return [math.log(one) for one in effects if one > 0] if self.scale == "ratio" else effects

    def spread(self) -> float:
        """The standard deviation of the blocks' effects; of a share of few examples its grain at least.

        On the scale of the statistic; not a number of fewer than two blocks.
        """
        values, (low, high) = self.block_values(), self.interval or (None, None)
        seen = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        if low is None or high is None or (self.scale == "ratio" and low <= 0):
            return seen
        ends = (math.log(low), math.log(high)) if self.scale == "ratio" else (low, high)
        judged = statistics.spread_of(ends, len(values), self.confidence)
        return judged if judged > seen * (1 + 1e-6) else seen

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Verdict:
        """A verdict as `to_json` gave it."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: _tupled(value) for name, value in values.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, text and floats as computed (nothing is rounded; not a number becomes None).

        `json.dumps(verdict.to_json(), sort_keys=True)` is byte-identical for the same runs in any order.
        """
        left_out = ("tolerance",) if self.looks else ("tolerance", "looks", "look")
        recorded = (one.name for one in fields(self) if one.name not in left_out)
        return {name: _plain(getattr(self, name)) for name in recorded} | {"label": self.label}


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
