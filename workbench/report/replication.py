"""Two results of one experiment, from two machines or two days: are the verdicts the same (level V3)?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from workbench.claims import Verdict


@dataclass(frozen=True)
class Replicate:
    """One claim in two results.

    `answer`: same verdict; one side inconclusive; opposite verdicts (the only failure); not comparable.
    """

    claim: str
    answer: str
    first: str
    second: str
    predicted: tuple[float, float] | None
    """Where the second effect must lie by the first one's blocks (95%); None where there are too few."""
    within: bool | None

    @property
    def failed(self) -> bool:
        """Whether the verdicts contradict each other."""
        return self.answer == OPPOSITE


SAME, ONE_SIDE, OPPOSITE, OTHER_CLAIM = (
    "same verdict",
    "inconclusive on one side",
    "opposite verdicts",
    "not comparable: the claim was another (its hash differs), or is in one result only",
)


def replicated(
    first: Sequence[Verdict], second: Sequence[Verdict], confidence: float = 0.95
) -> list[Replicate]:
    """Hold the verdicts of a second result against those of a first (claims/README.md, section 4, V3)."""
    others = {one.claim: one for one in second}
    found = []
    for one in first:
        if one.kind == "instrument":
            continue
        other = others.pop(one.claim, None)
        if other is None or other.sha != one.sha:
            found.append(
                Replicate(one.claim, OTHER_CLAIM, one.verdict, other.verdict if other else "", None, None)
            )
            continue
        predicted = prediction(one, len(other.by_block), confidence)
        within = None
        if predicted and other.effect is not None:
            within = predicted[0] <= other.effect <= predicted[1]
        found.append(Replicate(one.claim, _answer(one, other), one.verdict, other.verdict, predicted, within))
    return found


def prediction(verdict: Verdict, blocks: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """mean ± t sqrt(1/n + 1/n') s: where the mean of `blocks` new blocks lies, of one population with the old."""
    values = verdict.block_values()
    if len(values) < 3 or not blocks:
        return None
    n, mean, spread = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(stats.t.isf((1 - confidence) / 2, n - 1)) * spread * math.sqrt(1 / n + 1 / blocks)
    ends = mean - reach, mean + reach
    return (math.exp(ends[0]), math.exp(ends[1])) if verdict.scale == "ratio" else ends


def _answer(one: Verdict, other: Verdict) -> str:
    if one.verdict == other.verdict:
        return SAME
    return OPPOSITE if {one.verdict, other.verdict} == {"reproduced", "contradicted"} else ONE_SIDE
