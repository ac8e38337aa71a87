"""The judged ratios of a sweep with their pairs: from what a report says beside the verdicts."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from workbench.claims import Claim, Judged
from workbench.claims.pairing import Pairs


def judged_ratios(
    claims: Sequence[Claim], judged: Judged, metrics: Container[str]
) -> Iterator[tuple[Claim, float, Pairs]]:
    """Each measured ratio of one of these metrics whose verdict has an effect, with that effect and its pairs.

    A claim that must hold in every condition is left out: its row shows the least favourable one, not their mean.
    """
    effects = {one.claim: one.effect for one in judged.verdicts if one.effect}
    for claim in claims:
        is_mean_ratio = (claim.kind, claim.scale, claim.scope) == ("measured", "ratio", "average")
        if is_mean_ratio and claim.metric in metrics and claim.name in effects:
            yield claim, effects[claim.name], judged.pairs[claim.name]
