"""Assay sensitivity: "no difference" counts only where the comparison could have shown one (README.md, 2.9).

A claim of `same`, `not_lower` or `not_higher` on something learnt is also true of models that learnt nothing.
Where it declares an `assay`, both arms must beat the commonest label by its margin, and a planted difference (the
control with a value that must make it worse) must lie beyond the claim's own margin by its own metric. Else the
claim is not reproduced but not assessable. The two are further conditions for `reproduced` (intersection-union):
they can make no verdict false, and need no share of the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workbench.claims import statistics, words
from workbench.claims.decision import Row, natural
from workbench.claims.pairing import pair
from workbench.claims.verdict import Interval, Verdict
from workbench.record import Run

NOT_ASSESSABLE = "not assessable"
LEARNT = "accuracy/validation_over_commonest"
"""The metric by which models are shown to have learnt."""


def assayed(row: Row, verdict: Verdict, runs: Sequence[Run], planned: int) -> Verdict:
    """The verdict, with what its assay showed beside it; or `not assessable`, with the reasons."""
    if not row.claim.assay or verdict.verdict != "reproduced":
        return verdict
    checks = (_learnt(row, float(row.claim.assay["learnt"])), _seen(row, runs, planned))
    lacking = tuple(words for is_shown, words in checks if not is_shown)
    if lacking:
        return replace(verdict, verdict=NOT_ASSESSABLE, reasons=(*verdict.reasons, *lacking))
    return replace(verdict, flags=(*verdict.flags, *(f"assay: {words}" for _, words in checks)))


def _learnt(row: Row, margin: float) -> tuple[bool, str]:
    """Whether every arm beats the commonest label by the margin, in every condition; and the words."""
    found: list[tuple[float, float, str]] = []
    for condition in row.pairs.conditions:
        pairs = [one for one in row.pairs.pairs if one.condition == condition and not one.failure]
        for arm, of_arm in (
            ("treatment", [one.treatment for one in pairs]),
            ("control", [one.control for one in pairs]),
        ):
            where = ", ".join((arm, *(f"{name}={value}" for name, value in condition)))
            values = [run.metrics[LEARNT] for run in of_arm if run and LEARNT in run.metrics]
            if len(values) < len(of_arm):
                return (
                    False,
                    f"the models are not shown to have learnt: runs of the {where} record no {LEARNT}",
                )
            found.append(
                (float(statistics.interval(values, row.claim.confidence)[0]), float(np.mean(values)), where)
            )
    low, mean, where = min(found)
    by = f"by {mean:.3g} (at least {low:.3g}, asked {margin:g})"
    if low > margin:
        return True, f"the models learnt: least of all arms the {where} beats the commonest label, {by}"
    return False, f"the models are not shown to have learnt: the {where} beats the commonest label {by}"


def _seen(row: Row, runs: Sequence[Run], planned: int) -> tuple[bool, str]:
    """Whether the planted difference lies wholly beyond what is claimed, in every column; and the words."""
    claim = row.claim.as_planted
    found, _ = pair(claim, runs, planned)
    effects = found.effects()
    what = f"the planted difference ({words.arm(claim.treatment)})"
    if found.missing or len(effects) < statistics.MINIMUM_BLOCKS:
        return (
            False,
            f"{what} was not measured: {found.missing or f'{len(effects)} complete blocks of {planned}'}",
        )
    columns = effects if claim.scope == "every" else effects.mean(axis=1, keepdims=True)
    region_low, region_high = row.region

    def beyond(ends: Interval) -> float:
        return max(ends[0] - region_high, region_low - ends[1])

    lows, highs = statistics.interval(columns.T, claim.confidence)
    least = min(zip(map(float, lows), map(float, highs), strict=True), key=beyond)
    low, high = natural(claim, least)
    unit = f" {words.unit(claim)}".rstrip(" 1")
    size = f"{what} makes {low:.4g} to {high:.4g}{unit} of {claim.metric}"
    if beyond(least) > 0:
        return True, f"{size}, and is seen"
    return False, f"{size}, not beyond the {claim.smallest:g} claimed: a difference could not have been seen"
