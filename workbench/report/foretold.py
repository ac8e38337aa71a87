"""What the histogram of lengths foretold of a claim on padding, beside what was found; never judged.

Where a step's time goes by its positions (B x T), half the positions take half the time: the ratio of the valid
shares is the ideal gain. A step that waits for latency gains less; one that stops at its batch's longest example
has gained before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.claims import Claim, Verdict
from workbench.claims.blocks import planned_pairs
from workbench.claims.pairing import Pair, pair
from workbench.claims.runs import read_runs

SPEED, PREDICTED = "speed/valid_tokens_per_s", "data/predicted_padding_share"
LEAST_IDEAL = math.log(1.02)  # of less than that, no share is told


@dataclass(frozen=True)
class Foretold:
    """A claim's ideal gain, a ratio, and the share of it that was realised (on the log scale); None: too small."""

    claim: str
    ideal: float
    realised: float | None


def foretold(claims: Sequence[Claim], runs: pd.DataFrame, verdicts: Sequence[Verdict]) -> list[Foretold]:
    """A row for each measured ratio of speeds whose arms are paddings, and whose runs know what was predicted."""
    if runs.empty or not claims:
        return []
    data = read_runs(runs)
    planned = planned_pairs(claims, data)
    effects = {one.claim: one.effect for one in verdicts if one.effect}
    found = []
    for claim in claims:
        named = {name.split(".")[0] for name in (*claim.treatment, *claim.control)}
        if (
            claim.kind != "measured"
            or claim.metric != SPEED
            or claim.scale != "ratio"
            or named != {"padding"}
        ):
            continue
        pairs = pair(claim, data, planned)[0]
        ideals = [_ideal(one) for one in pairs.pairs if one.block in pairs.complete]
        if claim.name not in effects or not ideals or not all(map(math.isfinite, ideals)):
            continue
        ideal = float(np.mean(ideals))
        realised = math.log(effects[claim.name]) / ideal if abs(ideal) >= LEAST_IDEAL else None
        found.append(Foretold(claim.name, math.exp(ideal), realised))
    return found


def _ideal(one: Pair) -> float:
    """log of the treatment's share of valid positions over the control's."""
    shares = [
        1 - run.metrics.get(PREDICTED, math.nan) if run else math.nan for run in (one.treatment, one.control)
    ]
    return math.log(shares[0] / shares[1]) if min(shares) > 0 else math.nan
