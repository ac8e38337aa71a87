"""The judged ratios of a sweep with their pairs: from what a report says beside the verdicts."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import pandas as pd

from workbench.claims import Claim, Verdict
from workbench.claims.blocks import planned_pairs
from workbench.claims.pairing import Pairs, pair
from workbench.claims.runs import read_runs


def judged_ratios(
    claims: Sequence[Claim], runs: pd.DataFrame, verdicts: Sequence[Verdict], metrics: Container[str]
) -> Iterator[tuple[Claim, float, Pairs]]:
    """Each measured ratio of one of these metrics whose verdict has an effect, with that effect and its pairs.

    A claim that must hold in every condition is left out: its row shows the least favourable one, not their mean.
    """
    if runs.empty or not claims:
        return
    data = read_runs(runs)
    planned = planned_pairs(claims, data)
    effects = {one.claim: one.effect for one in verdicts if one.effect}
    for claim in claims:
        is_mean_ratio = (claim.kind, claim.scale, claim.scope) == ("measured", "ratio", "average")
        if is_mean_ratio and claim.metric in metrics and claim.name in effects:
            yield claim, effects[claim.name], pair(claim, data, planned)[0]
