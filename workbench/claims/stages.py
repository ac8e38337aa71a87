"""The jobs of a sweep in stages, one before each look: from look to look only the arms of open claims go on.

Which those are follows from the runs of the looks before, so a sweep that was ended and resumed, within a stage or
between two, has the stages of one that was not (README.md, section 2.7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from workbench.claims.checks import as_run
from workbench.claims.declaration import Claim
from workbench.claims.pairing import concerns
from workbench.claims.runs import PairingError
from workbench.claims.table import undecided
from workbench.record import Run

if TYPE_CHECKING:
    from workbench.record.plan import Job


def stages(
    jobs: Sequence[Job],
    claims: Sequence[Claim],
    looks: Sequence[int],
    runs: Callable[[], Sequence[Run]],
    look: Callable[[int, list[Claim]], object] = lambda pairs, still: None,
) -> Iterator[list[Job]]:
    """The jobs up to each look, those of a later one when it is asked for: `runs` must then have what went before.

    `look` hears of each look but the last which claims are still open. One look is one stage, of all jobs.

    Raises:
        PairingError: the runs cannot be compared; more of them would not help.
    """
    yield [job for job in jobs if len(looks) < 2 or job.block <= looks[0]]
    for number, (before, until) in enumerate(pairwise(looks), 1):
        still = undecided(claims, runs(), looks, number)
        look(before, still)
        if not still:
            return
        yield _going_on([job for job in jobs if before < job.block <= until], still)


def still_planned(
    jobs: Sequence[Job], claims: Sequence[Claim], looks: Sequence[int], runs: Sequence[Run]
) -> list[Job]:
    """The jobs that were run or may still have to be, as far as the looks say of which all jobs were begun."""
    begun = {run.job for run in runs if not run.superseded}
    kept: list[Job] = []
    with suppress(PairingError):
        for until, stage in zip(looks, stages(jobs, claims, looks, lambda: runs), strict=False):
            kept += stage
            if any(job.key not in begun for job in stage):
                return [*kept, *(job for job in jobs if job.block > until)]
    return kept


def _going_on(jobs: Sequence[Job], still: Sequence[Claim]) -> list[Job]:
    """Of these the jobs of the claims that are open, and the control that is run again in every block."""
    repeated = {job.arm for job in jobs if job.repeat}
    arms = {job.arm: as_run(job.arm, job.params) for job in jobs}
    wanted = {arm for arm, run in arms.items() if arm in repeated or any(concerns(one, run) for one in still)}
    return [job for job in jobs if job.arm in wanted]
