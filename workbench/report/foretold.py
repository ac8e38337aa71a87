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

from workbench.claims import Claim, Judged
from workbench.claims.pairing import Pair
from workbench.report.ratios import judged_ratios

SPEED, PREDICTED = "speed/valid_tokens_per_s", "data/predicted_padding_share"
LEAST_IDEAL = math.log(1.02)  # of less than that, no share is told


@dataclass(frozen=True)
class Foretold:
    """A claim's ideal gain, a ratio, and the share of it that was realised (on the log scale); None: too small."""

    claim: str
    ideal: float
    realised: float | None


def foretold(claims: Sequence[Claim], judged: Judged) -> list[Foretold]:
    """A row for each judged ratio of speeds whose arms are paddings, and whose runs know what was predicted.

    Claims that must hold in every condition are left out.
    """
    found = []
    for claim, effect, pairs in judged_ratios(claims, judged, (SPEED,)):
        if {name.split(".")[0] for name in (*claim.treatment, *claim.control)} != {"padding"}:
            continue
        ideals = [_ideal(one) for one in pairs.pairs if one.block in pairs.complete]
        if ideals and all(map(math.isfinite, ideals)):
            ideal = float(np.mean(ideals))
            realised = math.log(effect) / ideal if abs(ideal) >= LEAST_IDEAL else None
            found.append(Foretold(claim.name, math.exp(ideal), realised))
    return found


def _ideal(one: Pair) -> float:
    """log of the treatment's share of valid positions over the control's."""
    shares = [
        1 - run.metrics.get(PREDICTED, math.nan) if run else math.nan for run in (one.treatment, one.control)
    ]
    return math.log(shares[0] / shares[1]) if min(shares) > 0 else math.nan
