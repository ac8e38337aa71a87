"""Runs a sweep from look to look: what a look decides is not run on, and what it left open is written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.record import Run
from workbench.record.plan import Job
from workbench.record.tags import LOOK
from workbench.sweep.conduct import Conductor, Ended
from workbench.sweep.journal import jobs_have_run
from workbench.wording import counted


def run_stages(
    conductor: Conductor,
    jobs: Sequence[Job],
    claims: Sequence[Claim],
    looks: Sequence[int],
    *,
    sweep: str,
    run: Callable[[list[Job]], list[Ended]],
) -> tuple[list[Ended], int]:
    """Run all jobs up to the first look, then from look to look those of the claims that are open.

    How each ended, and how many were left out as nothing is open that they are for; no stage is run after
    one in which a job failed that was to end all (`workbench.fail_fast`).
    """
    ended: list[Ended] = []
    begun: list[Job] = []
    tracker = conductor.tracker

    def runs() -> list[Run]:
        with jobs_have_run(conductor.folder):
            return tracker.jobs(conductor.experiment_name, sweep)

    def look(pairs: int, still: list[Claim]) -> None:
        words = ", ".join(claim.name for claim in still) or "none"
        conductor.watcher.say(
            f"look at {pairs} pairs: {len(still)} of {counted(len(claims), 'claim')} open: {words}"
        )
        with jobs_have_run(conductor.folder):
            tracker.tag(str(conductor.parent), {f"{LOOK}{pairs}": words[:4000]})

    try:
        for stage in claims_room.stages(jobs, claims, looks, runs, look):
            begun += stage
            left_out = sum(job.block <= begun[-1].block for job in jobs) - len(begun)
            conductor.watcher.planned(len(jobs) - left_out)
            ended += run(stage)
            if any(one.went_wrong and one.job.tree["workbench"]["fail_fast"] for one in ended):
                return ended, left_out
    except claims_room.PairingError as error:
        conductor.watcher.say(f"no more blocks are run, as the runs cannot be judged: {error}")
    return ended, len(jobs) - len(begun)
