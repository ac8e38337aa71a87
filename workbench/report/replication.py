"""Two results of one experiment, from two machines or two days: are the verdicts the same (level V3)?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.claims import Verdict
from workbench.claims.statistics import prediction_interval


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


def replicated(first: Sequence[Verdict], second: Sequence[Verdict]) -> list[Replicate]:
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
        predicted = prediction(one, len(other.by_block))
        within = None
        if predicted and other.effect is not None:
            room = 1e-9 * max(map(abs, predicted))  # what logarithm and exponential round away
            within = predicted[0] - room <= other.effect <= predicted[1] + room
        found.append(Replicate(one.claim, _answer(one, other), one.verdict, other.verdict, predicted, within))
    found += [
        Replicate(one.claim, OTHER_CLAIM, "", one.verdict, None, None)
        for one in others.values()
        if one.kind != "instrument"
    ]
    return found


def prediction(verdict: Verdict, blocks: int) -> tuple[float, float] | None:
    """Where, with 95%, the mean of `blocks` new blocks lies, were they of one population with the old.

    None where each of several conditions is judged: the blocks are then of one, which may be another next time.
    """
    values = verdict.block_values()
    of_one = any(part.get("judged") for part in verdict.by_condition)
    if len(values) < 3 or not blocks or of_one:
        return None
    low, high = map(float, prediction_interval(values, blocks, 0.95, verdict.spread()))
    return (math.exp(low), math.exp(high)) if verdict.scale == "ratio" else (low, high)


def _answer(one: Verdict, other: Verdict) -> str:
    if one.verdict == other.verdict:
        return SAME
    return OPPOSITE if {one.verdict, other.verdict} == {"reproduced", "contradicted"} else ONE_SIDE
