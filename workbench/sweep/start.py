"""From overrides to a run, or to a sweep and its verdicts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.config import Config, ConfigError, Problem, flatten, load
from workbench.places import IS_SHIPPED, ROOT, claims_file
from workbench.provenance import command, committed_at, provenance
from workbench.report import assemble
from workbench.report.tables import summary_of_run
from workbench.sweep.compose import Composer, split_sweeps
from workbench.sweep.conduct import Conductor, Ended, PrepareError, new_sweep_id, plan_json
from workbench.sweep.grid import Grid, Job, Plan, expand, matching_arm, plan
from workbench.sweep.journal import close_dead, owner
from workbench.sweep.progress import Watcher
from workbench.tracking import Tracker, TrackingError


def run_one(compose: Composer, overrides: Sequence[str], console: Console) -> int:
    """One run, recorded, ending in a short summary; 0, or 1 where it failed."""
    if swept := split_sweeps(overrides)[1]:
        values = next(iter(swept.values()))
        remedy = "several values make a sweep: add -m"
        raise ConfigError([Problem(next(iter(swept)), ",".join(v.partition("=")[2] for v in values), remedy)])
    tree, wrong = load(compose(overrides))
    if wrong:
        raise ConfigError(wrong)
    config = Config.of(tree)
    job = Job(0, _title(config), block=1, repeat=0, tree=tree)
    if config.workbench.dry_run:
        _list(console, Plan([job], [], 1, False), None)
        return 0
    tracker = tracker_of(config)
    sweep_id = new_sweep_id()
    with Watcher(console, 1, quiet=config.workbench.quiet) as watcher:
        conductor = Conductor(
            tracker,
            config.name,
            sweep_folder(config.tracking.folder, config.name, sweep_id),
            watcher,
            time_limit_s=config.workbench.time_limit_s,
            forks=_forks(config),
        )
        conductor.tags = {"workbench.sweep": sweep_id, "workbench.command": command()}
        _close_dead(conductor)
        with closing(conductor):
            conductor.prepare([job])
            ended = conductor.run(job)
    if ended.outcome.status != "finished":
        _say_failures(console, [ended])
        return 1
    run = tracker.get(ended.run_id)
    console.print(summary_of_run(run.data.params, run.data.metrics, ended.run_id, tracker.uri))
    if "workbench.diverged_at" in run.data.tags:
        at = run.data.tags["workbench.diverged_at"]
        console.print(
            f"diverged: the loss of step {at} was not finite; nothing was evaluated or timed", style="red"
        )
        return 1
    if dropped := run.data.tags.get("data.dropped"):
        console.print(f"of the source, not in the data set: {dropped}", highlight=False, markup=False)
    return 0


def _title(config: Config) -> str:
    return " ".join((config.data.name, config.padding.name, config.rnn.unroll, config.cell.name))


def run_sweep(compose: Composer, overrides: Sequence[str], console: Console) -> int:
    """A sweep: plan all, prepare the data, run each job, judge; 0, or 1 where a job failed.

    Nothing starts before everything was composed and checked: the grid, the claims against it, the tracking
    server, the data.
    """
    config, declared, planned = plan_sweep(compose, overrides)
    if config.workbench.dry_run:
        _list(console, planned, declared)
        return 0
    tracker = tracker_of(config)
    sweep_id = new_sweep_id()
    folder = sweep_folder(config.tracking.folder, config.name, sweep_id)
    tags = _tags(sweep_id, config, planned, declared)
    with Watcher(console, len(planned.jobs), quiet=config.workbench.quiet) as watcher:
        watcher.say(_headline(planned, declared))
        conductor = Conductor(
            tracker,
            config.name,
            folder,
            watcher,
            tags,
            time_limit_s=config.workbench.time_limit_s,
            forks=_forks(config),
        )
        _close_dead(conductor)
        with closing(conductor):
            conductor.prepare(planned.jobs)
            conductor.parent = _open_parent(conductor, config, planned, declared, tags)
            status = "KILLED"
            try:
                ended = conductor.run_blocks(
                    planned.jobs, requeue=config.sweep.requeue, fail_fast=config.workbench.fail_fast
                )
                status = "FINISHED" if all(e.outcome.status == "finished" for e in ended) else "FAILED"
            finally:
                tracker.finish(conductor.parent, status)
    failed = [one for one in ended if one.outcome.status != "finished"]
    _say_failures(console, failed)
    try:
        found = assemble.report(tracker, config.name, sweep_id, declared, folder / "report")
        found.show(console, quiet=config.workbench.quiet)
        if config.workbench.commit_results:
            found.commit_results(config.name)
    except (ValueError, ArithmeticError, TrackingError, OSError) as error:
        console.print(
            f"the runs are recorded (sweep {sweep_id}), but not judged: {error}",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return 1
    return 1 if failed else 0


def plan_sweep(compose: Composer, overrides: Sequence[str]) -> tuple[Config, list[Claim] | None, Plan]:
    """Everything that a sweep decides before it starts: its configuration, its claims, its jobs in order."""
    grid = expand(compose, overrides)
    config = Config.of(grid.base)
    declared = _claims(config)
    return config, declared, _plan(config, grid, declared)


def _forks(config: Config) -> bool:
    start = config.workbench.start
    return start == "fork" or (start == "auto" and sys.platform == "linux")


def tracker_of(config: Config) -> Tracker:
    """The store that a configuration names."""
    tracking = config.tracking
    return Tracker(tracking.uri, tracking.artifacts, wal=tracking.wal)


def sweep_folder(root: str, experiment: str, sweep_id: str) -> Path:
    """Where a sweep's runs and report lie, below `tracking.folder`."""
    folder = Path(root).resolve() / "hydra" / experiment / sweep_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrepareError(f"tracking.folder={root}: cannot make {folder}: {error}") from error
    return folder


def _close_dead(conductor: Conductor) -> None:
    for run_id in close_dead(conductor.tracker):
        conductor.watcher.say(f"run {run_id} was left running by a process that is gone: closed as KILLED")


def _claims(config: Config) -> list[Claim] | None:
    """Claims by the name of an experiment or by a path; without either, those of the experiment itself."""
    named = config.sweep.claims
    path = claims_file(named or config.name) or named
    return None if path is None else claims_room.load(path)


def _plan(config: Config, grid: Grid, declared: list[Claim] | None) -> Plan:
    blocks, throw_away, control = config.sweep.blocks or 1, bool(config.sweep.throw_away), None
    if declared:
        known = {key: value for tree in grid.arms.values() for key, value in flatten(tree).items()}
        arms = {name: flatten(tree) for name, tree in grid.arms.items()}
        wrong = claims_room.check_against(declared, known) or claims_room.check_arms(declared, arms)
        if wrong:
            raise claims_room.ClaimError("\n".join(wrong))
        blocks = config.sweep.blocks or claims_room.planned(declared, config.scale.name)
        throw_away = config.sweep.throw_away is not False
        control = _control(grid, declared) if declared[0].control_again else None
    return plan(
        grid, blocks=blocks, throw_away=throw_away, control=control, order_seed=config.sweep.order_seed
    )


def _control(grid: Grid, declared: list[Claim]) -> str | None:
    """The arm of the first control that is an arm, in its first condition."""
    for claim in declared:
        if "value" not in claim.control:
            condition = {key: values[0] for key, values in claim.over.items()}
            return matching_arm(grid, {**condition, **claim.control})
    return None


def _tags(sweep_id: str, config: Config, planned: Plan, declared: list[Claim] | None) -> dict[str, str]:
    tags = {
        "workbench.sweep": sweep_id,
        "workbench.command": command(),
        "workbench.planned_pairs": str(planned.blocks),
        "workbench.scale": config.scale.name,
    }
    if declared:
        tags["workbench.claims_sha"] = claims_room.claims_sha(declared)
        known = committed_at(Path(declared[0].file))
        tags["workbench.claims_commit"] = known[0] if known else ""
        shipped = IS_SHIPPED and Path(declared[0].file).is_relative_to(ROOT)
        committed = "shipped" if shipped else str(bool(known and known[1])).lower()
        tags["workbench.claims_committed"] = committed
    return tags


def _open_parent(
    conductor: Conductor,
    config: Config,
    planned: Plan,
    declared: list[Claim] | None,
    tags: dict[str, str],
) -> str:
    """The sweep's own run: the frozen grid and the claims' hashes are down before the first job starts."""
    tracker = conductor.tracker
    run_id = tracker.start(
        conductor.experiment,
        f"sweep {tags['workbench.sweep']}",
        params={"name": config.name, "scale.name": config.scale.name, "jobs": len(planned.jobs)},
        tags={
            **provenance(),
            **tags,
            **owner(),
            "workbench.kind": "sweep",
            "workbench.started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        },
    )
    (conductor.folder / "grid.json").write_text(plan_json(planned))
    tracker.artifact(run_id, conductor.folder / "grid.json")
    if declared:
        tracker.artifact(run_id, Path(declared[0].file))
        tracker.tag(run_id, {f"claim.{claim.name}": claim.sha for claim in declared})
    return run_id


def _headline(planned: Plan, declared: list[Claim] | None) -> str:
    throw = " after a throw-away block" if planned.throw_away else ""
    claims = f", {len(declared)} claims" if declared else ""
    skipped = "".join(f"\n  skipped: {s.arm}: {s.reason}" for s in planned.skipped)
    return f"{len(planned.jobs)} jobs in {planned.blocks} blocks{throw}{claims}{skipped}"


def _list(console: Console, planned: Plan, declared: list[Claim] | None) -> None:
    console.print(_headline(planned, declared), highlight=False, markup=False)
    for job in planned.jobs:
        where = f"block {job.block}" if job.block else "throw-away"
        again = " (control again)" if job.repeat else ""
        line = f"{job.number:4d}  {where:10s}  seed={job.tree['seed']}  {job.arm}{again}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _say_failures(console: Console, failed: Iterable[Ended]) -> None:
    for one in failed:
        last = one.outcome.trace.strip().splitlines()[-1:] if one.outcome.status == "failed" else []
        last = last or [""]
        console.print(
            f"{one.outcome.status}: {one.job.arm}, block {one.job.block} (run {one.run_id}): {one.outcome.error}",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if last[0] and last[0] not in one.outcome.error:
            console.print(f"  {last[0]}", style="red", highlight=False, markup=False, soft_wrap=True)
