"""Which verdicts of several claims.yaml files stand if all their claims are taken for one table.

Each verdict keeps the level of its own file: a false verdict in a table has a chance of 5%. Over the tables of
the whole guide together it has more; here Holm's procedure runs over all their hypotheses
(claims/README.md, section 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.claims import Claim, Verdict
from workbench.claims.declaration import hypotheses_of
from workbench.claims.statistics import holm
from workbench.claims.table import DECIDED


def standing(tables: Mapping[str, Sequence[tuple[Claim, Verdict | None]]]) -> dict[tuple[str, str], bool]:
    """(file, claim) -> whether its verdict stands over all files: of measured claims that have one.

    A claim without a verdict, or with one that is inconclusive (its p may be small where the control differs from
    itself), keeps its hypotheses in the family, with p = 1; and so does of a claim with several bounds the one that
    its verdict does not go by. The strictest of the files' levels is taken; a p of one of several looks counts as
    many times, as each has its share of the error.
    """
    names: list[tuple[str, str, str] | None] = []
    values: list[float] = []
    alpha = 1.0
    for file, rows in tables.items():
        family = max((claim.family for claim, _ in rows), default=0)
        known = 0
        for claim, verdict in rows:
            alpha = min(alpha, 1 - claim.confidence)
            if claim.kind != "measured" or verdict is None or verdict.verdict not in DECIDED:
                continue
            for word, p in (("reproduced", verdict.p_reproduced), ("contradicted", verdict.p_contradicted)):
                names.append((file, claim.name, word))
                values.append(1.0 if p is None else min(1.0, p * (len(verdict.looks) or 1)))
                known += 1
        own = sum(hypotheses_of(claim) for claim, _ in rows)
        rest = max(family, own) - known
        names += [None] * rest
        values += [1.0] * rest
    rejected = {name for name, one in zip(names, holm(values, alpha).rejected, strict=True) if one}
    return {
        (file, claim.name): (file, claim.name, verdict.verdict) in rejected
        for file, rows in tables.items()
        for claim, verdict in rows
        if claim.kind == "measured" and verdict and verdict.verdict in DECIDED
    }
