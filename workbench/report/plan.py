"""What a sweep can decide before it runs: the pairs that each claim needs at the noise last seen, and the time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from workbench import claims as claims_room
from workbench.claims import Claim, Verdict
from workbench.record import Run
from workbench.report.power import plan_line

ASSUMED = (0.03, 0.10, 0.20)
"""Noises of a run for which a claim is planned where none was seen yet."""


def plan_lines(claims: Sequence[Claim], runs: Sequence[Run], pairs: int, looks: int = 1) -> Iterator[str]:
    """A line a claim (three where no noise was seen): pairs needed and planned, and the power of these.

    `runs` are those of an earlier sweep, of whatever scale; the noise is that of the claim's own pairs in it, else
    of the control against itself where the metric is the same.
    """
    verdicts = claims_room.judge_table(claims, runs) if runs else []
    seen = {one.claim: one for one in verdicts}
    again = next((one for one in verdicts if one.kind == "instrument"), None)
    for claim in claims:
        found = noise(seen.get(claim.name))
        if found is None and again and (again.metric, again.scale) == (claim.metric, claim.scale):
            found = noise(again)
        if found is not None or claim.kind == "exact":
            yield plan_line(claim, found or 0.0, pairs, looks)
        elif claim.scale == "difference":
            yield f"{claim.name}: no earlier run says how much {claim.metric} varies; run one sweep first"
        else:
            yield from (
                f"if a run varies by {one:.0%}: {plan_line(claim, one, pairs, looks)}" for one in ASSUMED
            )


def noise(verdict: Verdict | None) -> float | None:
    """The spread of one run about what its pair shares, from a verdict's blocks; None for fewer than 3.

    A pair's difference varies by sqrt(2) times that; of a share of few examples by its grain at least, as judged.
    """
    if verdict is None or len(verdict.block_values()) < 3:
        return None
    return verdict.spread() / math.sqrt(2)


def time_line(runs: Sequence[Run], pairs: int) -> str:
    """How long the sweep will take, from the last one's runs."""
    if not runs:
        return "time: not known before a first sweep; `workbench.dry_run=true` lists the jobs"
    thrown_away = sum(run.seconds for run in runs if run.is_thrown_away)
    each: dict[int, list[float]] = {}
    for run in runs:
        if run.block:
            each.setdefault(run.block, []).append(run.seconds)
    if not each:
        return "time: not known: no block of the last sweep was run"
    minutes = (thrown_away + np.mean([sum(block) for block in each.values()]) * pairs) / 60
    size = max(map(len, each.values()))
    return f"time: about {minutes:.1f} minutes for {pairs} blocks of {size} runs"
