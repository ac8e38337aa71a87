"""What a sweep can decide before it runs: the pairs that each claim needs at the noise last seen, and the time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from workbench import claims as claims_room
from workbench.claims import Claim, Verdict
from workbench.report.power import plan_line

ASSUMED = (0.03, 0.10, 0.20)
"""Noises of a run for which a claim is planned where none was seen yet."""


def plan_lines(claims: Sequence[Claim], runs: pd.DataFrame | None, pairs: int) -> Iterator[str]:
    """A line a claim (three where no noise was seen): pairs needed and planned, and the power of these.

    `runs` are those of an earlier sweep, of whatever scale; the noise is that of the claim's own pairs in it, else
    of the control against itself where the metric is the same.
    """
    verdicts = claims_room.judge_table(claims, runs) if runs is not None and len(runs) else []
    seen = {one.claim: one for one in verdicts}
    again = next((one for one in verdicts if one.kind == "instrument"), None)
    for claim in claims:
        found = noise(seen.get(claim.name))
        if found is None and again and again.metric == claim.metric:
            found = noise(again)
        if found is not None or claim.kind == "exact":
            yield plan_line(claim, found or 0.0, pairs)
        elif claim.scale == "difference":
            yield f"{claim.name}: no earlier run says how much {claim.metric} varies; run one sweep first"
        else:
            yield from (f"if a run varies by {one:.0%}: {plan_line(claim, one, pairs)}" for one in ASSUMED)


def noise(verdict: Verdict | None) -> float | None:
    """The spread of one run about what its pair shares, from a verdict's blocks; None for fewer than 3.

    A pair's difference varies by sqrt(2) times that.
    """
    values = verdict.block_values() if verdict else []
    return float(np.std(values, ddof=1) / math.sqrt(2)) if len(values) >= 3 else None


def time_line(runs: pd.DataFrame | None, pairs: int) -> str:
    """How long the sweep will take, from the last one's runs."""
    if runs is None or runs.empty:
        return "time: not known before a first sweep; `workbench.dry_run=true` lists the jobs"
    spent = pd.to_datetime(runs["end_time"]) - pd.to_datetime(runs["start_time"])
    blocks = pd.to_numeric(runs["tags.workbench.block"], errors="coerce")
    each = spent.dt.total_seconds().groupby(blocks).sum()
    minutes = (each.get(0, 0.0) + each[each.index != 0].mean() * pairs) / 60
    size = blocks[blocks != 0].value_counts().max()
    return f"time: about {minutes:.1f} minutes for {pairs} blocks of {size} runs"
