"""What a sweep would be, before anything is run: its jobs, what is skipped and why, pairs a claim, and the time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.claims.statistics import MINIMUM_BLOCKS
from workbench.config import Config
from workbench.console import say
from workbench.record import Run
from workbench.record.plan import Job, Plan
from workbench.record.tags import OWNER
from workbench.report.arms import short_names
from workbench.sweep.ledger import Ledger, bearing
from workbench.tracking import Tracker, TrackingError, as_text
from workbench.wording import counted, lasting

ASSUMED_S = 6.0
"""Seconds a job where none was ever seen: the padding ablation's at scale=quick, on 2 cores."""


def titles(jobs: Sequence[Job]) -> dict[str, str]:
    """What the arms of a sweep are called: what tells them apart, in few words."""
    params = {job.arm: {name: as_text(value) for name, value in job.params.items()} for job in jobs}
    return short_names(params)


def headline(planned: Plan, declared: Sequence[Claim] | None) -> str:
    """How much it is, and what of the grid cannot run."""
    throw = " after a throw-away block" if planned.throw_away else ""
    claims = f", {counted(len(declared), 'claim')}" if declared else ""
    merged = "".join(f"\n  {words}" for words in planned.merged)
    skipped = "".join(f"\n  skipped: {s.arm}: {s.reason}" for s in planned.skipped)
    variables = {json.dumps(job.tree["environment"], sort_keys=True) for job in planned.jobs}
    if len(variables) > 1:
        merged += (
            "\n  hydra.job.env_set differs between arms: each set of variables has its own process in a block, "
            "so what a block's first job warms is not shared, and no claim pairs such arms"
        )
    size = f"{counted(len(planned.jobs), 'job')} in {counted(planned.blocks, 'block')}"
    return f"{size}{throw}{claims}{merged}{skipped}"


def list_jobs(
    console: Console,
    planned: Plan,
    declared: Sequence[Claim] | None = None,
    *,
    config: Config,
    known: Ledger | None = None,
    said: Sequence[str] = (),
) -> None:
    """Print the jobs in their order; of a sweep that would be resumed, also which have finished."""
    left = known.todo if known else planned.jobs
    say(console, headline(planned, declared))
    _print_grid(console, planned, known)
    looks = claims_room.looks(declared, config.scale.name, planned.blocks) if declared else ()
    lines = [_pairs(claim, looks) for claim in declared or ()]
    for line in (*lines, *said, estimate(left, *_last_runs(config))):
        say(console, line)


def _print_grid(console: Console, planned: Plan, known: Ledger | None) -> None:
    """A row an arm, a column a block; in each the number that says when the job runs, and how it ended before.

    As many columns as the terminal has room for; what is left out is said.
    """
    blocks = list(dict.fromkeys(job.block for job in planned.jobs))
    seeds = {job.block: job.tree["seed"] for job in planned.jobs}
    cells = {(job.arm, job.repeat, job.block): _cell(job, known) for job in planned.jobs}
    rows = list(dict.fromkeys((job.arm, job.repeat) for job in sorted(planned.jobs, key=lambda j: j.repeat)))
    longest = max(len(arm) + (16 if repeat else 0) for arm, repeat in rows)
    heads = {block: f"{block if block else 'thrown'}\n{seeds[block]}" for block in blocks}
    width = max(len(part) for text in (*cells.values(), *heads.values()) for part in text.split("\n"))
    room = max(1, (console.width - min(longest, 40) - 2) // (width + 2))
    shown = blocks[:room]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("block\nseed", overflow="fold", min_width=min(longest, 20))
    for block in shown:
        table.add_column(heads[block], min_width=width, justify="right")
    for arm, repeat in rows:
        of_arm = [cells.get((arm, repeat, block), "") for block in shown]
        table.add_row(Text(f"{arm} (control again)" if repeat else arm), *map(Text, of_arm))
    console.print(table)
    if len(shown) < len(blocks):
        words = (
            f"... and {counted(len(blocks) - len(shown), 'block')} more, for which the terminal has no room"
        )
        console.print(words, highlight=False, markup=False)


def _cell(job: Job, known: Ledger | None) -> str:
    run = known.finished(job) if known else None
    return f"{job.number}{'' if run is None else ' diverged' if run.diverged else ' finished'}"


def estimate(jobs: Sequence[Job], runs: Sequence[Run], source: str) -> str:
    """How long these jobs take one after another, from runs of the same configuration, whatever their seed.

    A job whose like was not run counts as the mean of all runs; what passes between runs (the start of a
    block's server) counts as the share that it had then. `source` says in words where the runs are from, or why
    there are none.
    """
    if not jobs:
        return "time: nothing is left to run"
    finished = [run for run in runs if run.finished and run.end is not None]
    if not finished:
        return (
            f"time: not known: {source}; at {ASSUMED_S:g} s a job, which is what the padding ablation's took at "
            f"scale=quick on 2 cores, {lasting(ASSUMED_S * len(jobs))}: a guess"
        )
    trees = {(job.arm, job.repeat): _as_params(job) for job in jobs}
    names = sorted({name for tree in trees.values() for name in tree})
    seen: dict[tuple[str | None, ...], list[float]] = {}
    for run in finished:
        seen.setdefault(tuple(map(run.param, names)), []).append(run.seconds)
    of_arm = {arm: seen.get(tuple(tree.get(name) for name in names)) for arm, tree in trees.items()}
    mean = fmean(run.seconds for run in finished)
    total = sum(fmean(of_arm[job.arm, job.repeat] or [mean]) for job in jobs) * _between(finished)
    unseen = len({arm for (arm, _), found in of_arm.items() if not found})
    more = ""
    if unseen:
        arms = len({arm for arm, _ in trees})
        more = f"; {unseen} of {arms} arms were not run as they are now, and count as the mean of those runs"
    return f"time: {lasting(total)} for {counted(len(jobs), 'job')} one after another, from {source}{more}"


def _as_params(job: Job) -> dict[str, str]:
    return {name: value for name, value in bearing(job.tree).items() if value is not None}


def _last_runs(config: Config) -> tuple[list[Run], str]:
    """The runs of the experiment's last sweep that had any that finished, in words which; or why there are none."""
    try:
        tracker = Tracker(
            config.tracking.uri, config.tracking.artifacts, wal=config.tracking.wal, create=False
        )
        if jobs := last_finished(tracker, config.name):
            machine = next((cpu for run in jobs if (cpu := run.tags.get("machine.cpu"))), "")
            where = f", on {machine}" if machine else ""
            return jobs, f"{counted(len(jobs), 'run')} of its last sweep {jobs[0].sweep}{where}"
        return [], f"experiment {config.name!r} has no finished sweep at {tracker.uri}"
    except TrackingError:
        return [], "nothing is tracked yet"


def last_finished(tracker: Tracker, experiment: str, most: int | None = None) -> list[Run]:
    """The jobs that finished of an experiment's last sweep that has any; of its first so many at `most`."""
    for sweep in tracker.sweeps(experiment=experiment)[:5]:
        if jobs := [run for run in tracker.jobs(experiment, sweep.sweep, most) if run.finished]:
            return jobs
    return []


def _pairs(claim: Claim, looks: Sequence[int]) -> str:
    blocks = looks[-1]
    conditions = math.prod(len(values) for values in claim.over.values())
    over = f", each over {conditions} conditions" if conditions > 1 else ""
    needed = 2 if claim.kind == "exact" else MINIMUM_BLOCKS
    few = f": too few, under {needed} it is not judged" if blocks < needed else ""
    early = f", fewer where a look at {' or '.join(map(str, looks[:-1]))} decides" if len(looks) > 1 else ""
    learnt = claim.kind == "measured" and claim.metric.startswith(
        ("loss/", "accuracy/", "f1/", "perplexity/")
    )
    blind = ""
    if learnt and claim.direction not in ("higher", "lower") and not claim.assay:
        blind = "; it is true of models that learnt nothing, too, as it declares no `assay`"
    return f"claim {claim.name}: {counted(blocks, 'pair')}{early}{over}{few}{blind}"


def _between(runs: Sequence[Run]) -> float:
    """All the time from a sitting's first run to its last one's end, over the time inside runs; at least 1."""
    sittings: dict[str, list[Run]] = {}
    for run in runs:
        sittings.setdefault(run.tags.get(OWNER, ""), []).append(run)
    whole = sum(
        max(run.start + run.seconds for run in sitting) - min(run.start for run in sitting)
        for sitting in sittings.values()
    )
    inside = sum(run.seconds for run in runs)
    return max(1.0, whole / inside) if inside else 1.0
