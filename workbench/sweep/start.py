"""From overrides to a run, or to a sweep and its verdicts."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from rich.console import Console

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.config import Config, ConfigError, Problem
from workbench.places import IS_SHIPPED, ROOT, claims_file
from workbench.provenance import command
from workbench.record import METRICS
from workbench.report import assemble, recorded
from workbench.report.summary import summary_of_run
from workbench.repositories import committed_at
from workbench.sweep import resume
from workbench.sweep.asked import lacking
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended, PrepareError, freeze, new_sweep_id
from workbench.sweep.devices import require_devices
from workbench.sweep.frozen import NAME, Typed, is_how, plan_json
from workbench.sweep.grid import Job, Plan, checked
from workbench.sweep.honoured import PARAMS
from workbench.sweep.journal import close_dead, jobs_have_run, owner
from workbench.sweep.launch import Launch
from workbench.sweep.ledger import Ledger, differences
from workbench.sweep.listing import headline, list_jobs
from workbench.sweep.origin import Origin
from workbench.sweep.outline import Outline
from workbench.sweep.overrides import first, plain, swept
from workbench.sweep.planning import plan_again, plan_sweep
from workbench.sweep.progress import Watcher
from workbench.sweep.resume import RESUMED, Earlier, sole
from workbench.sweep.worker import run_child
from workbench.sweep.workers import number_in_cluster, refuse_cluster
from workbench.tracking import Tracker, TrackingError


def run_one(compose: Composer, overrides: Sequence[str], console: Console) -> int:
    """One run, recorded, ending in a short summary; 0, or 1 where it failed."""
    given = compose.read(overrides)
    if several := swept(given):
        remedy = "several values make a sweep: add -m"
        raise ConfigError([Problem(one.key, one.values, remedy) for one in several])
    if launch := Launch.chosen(compose, plain(given)):
        raise ConfigError(
            [Problem("hydra/launcher", launch.name, "a launcher runs the jobs of a sweep: add -m")]
        )
    tree, wrong, composed = checked(compose, plain(given))
    if wrong := wrong or lacking(composed.asked, tree, "the run"):
        raise ConfigError(wrong)
    config = Config.of(tree)
    _refuse_what_makes_a_sweep(config, composed.params)
    job = Job(0, _title(config), block=1, repeat=0, tree=tree)
    origin = Origin.of([tree], compose.own_places)
    if config.workbench.dry_run:
        list_jobs(console, Plan([job], [], 1, False), config=config)
        return 0
    if number := number_in_cluster(config.training):
        return _take_part(config, job, number, console)
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
            origin=origin,
        )
        conductor.tags = {"workbench.sweep": sweep_id, "workbench.command": command()}
        close_dead_runs(conductor)
        with closing(conductor):
            require_devices([job], conductor)
            conductor.prepare([job])
            ended = conductor.run(job)
    if ended.outcome.status != "finished":
        _say_failures(console, [ended])
        return 1
    then = f"It is recorded as run {ended.run_id}, to be read once tracking.uri answers again"
    with jobs_have_run(conductor.folder, then):
        run = tracker.get(ended.run_id)
    console.print(summary_of_run(run.data.params, run.data.metrics, ended.run_id, tracker.uri))
    if dropped := run.data.tags.get("data.dropped"):
        console.print(f"of the source, not in the data set: {dropped}", highlight=False, markup=False)
    return 0


def _refuse_what_makes_a_sweep(config: Config, params: Mapping[str, object]) -> None:
    """Raise ConfigError where a single run would pass over what was asked for."""
    if config.workbench.resume is not False:
        remedy = "it is a sweep that goes on: add -m"
        raise ConfigError([Problem("workbench.resume", config.workbench.resume, remedy)])
    if config.workbench.commit_results:
        raise ConfigError([Problem("workbench.commit_results", True, "a single run has no report: add -m")])
    if params:
        values = " ".join(f"{key}={value}" for key, value in params.items())
        raise ConfigError([Problem(PARAMS, values, "axes make a sweep: add -m")])
    if grids := config.sweep.grids:
        remedy = (
            f"experiment {config.name!r} is a sweep: add -m, or take sweep.grids=[] for one run of its base"
        )
        raise ConfigError([Problem("sweep.grids", f"({len(grids)} of them)", remedy)])


def _take_part(config: Config, job: Job, number: int, console: Console) -> int:
    """Be a worker of a run that the chief, on another machine, records; 0, or 1 where this one's part failed."""
    require_devices([job])
    with tempfile.TemporaryDirectory(prefix="workbench-worker-") as folder:
        frozen = freeze(job.tree, Path(folder))
        outcome = run_child(
            [str(frozen)],
            output=frozen.with_name("output.log"),
            on_message=lambda message: None,
            environment=config.environment,
            time_limit_s=config.workbench.time_limit_s,
        )
    where = f"worker {number} of {config.training.workers}"
    said = f"{where} has done its part; worker 0 has the record" if outcome.status == "finished" else ""
    said = said or f"{outcome.status}: {where}: {outcome.error}"
    console.print(said, style="red" if outcome.error else None, highlight=False, markup=False, soft_wrap=True)
    return 1 if outcome.error else 0


def _title(config: Config) -> str:
    return " ".join((config.data.name, config.padding.name, config.rnn.unroll, config.cell.name))


def run_sweep(compose: Composer, overrides: Sequence[str], console: Console) -> int:
    """A sweep: plan all, prepare the data, run each job, judge; 0, or 1 where a job failed.

    Nothing starts before everything was composed and checked: the grid, the claims against it, the tracking
    server, the data; and, of a sweep that is resumed, what has finished and what has changed since.
    """
    earlier = _earlier(Outline.of(compose, compose.read(overrides)))
    if earlier and all(is_how(text) or text.startswith("name=") for text in overrides):
        compose = _composer_of(earlier, compose)
        config, planned = plan_again(compose, earlier, overrides)
        declared = _declared(tracker_of(config), earlier)
        overrides = [*earlier.typed.overrides, *overrides]
    else:
        config, declared, planned = plan_sweep(compose, overrides)
    launch = Launch.chosen(compose, first(compose.read(overrides)))
    by_block = launch is not None and _by_block(config, declared)
    refuse_cluster(job.tree for job in planned.jobs)
    typed = Typed.of(overrides, compose.folders)
    said: list[str] = []
    if earlier:
        if earlier.experiment != config.name:
            remedy = (
                f"this sweep is one of experiment {earlier.experiment!r}, not of {config.name!r}: type "
                f"name={earlier.experiment}, or no more than the id"
            )
            raise ConfigError([Problem("workbench.resume", earlier.sweep, remedy)])
        changed, tracker = config.workbench.changed, tracker_of(config)
        planned, declared, said = resume.reconcile(earlier, planned, declared, changed, tracker)
    origin = Origin.of((job.tree for job in planned.jobs), compose.own_places)
    if config.workbench.dry_run:
        left = None
        if earlier:
            left = resume.take_stock(earlier, planned.jobs, tracker, origin)
            said += resume.decide(left, earlier, changed, pairs=bool(declared))
        list_jobs(console, planned, declared, config=config, known=left, said=said)
        return 0
    tracker = tracker_of(config)
    sweep_id = earlier.sweep if earlier else new_sweep_id()
    folder = sweep_folder(config.tracking.folder, config.name, sweep_id)
    tags = earlier.own_tags if earlier else _tags(sweep_id, config, planned, declared)
    tags["workbench.launcher"] = launch.name if launch else "basic"
    with sole(folder), Watcher(console, len(planned.jobs), quiet=config.workbench.quiet) as watcher:
        if config.workbench.resume and not earlier:
            watcher.say(f"experiment {config.name!r} has no sweep to resume: a new one")
        watcher.say(headline(planned, declared))
        conductor = Conductor(
            tracker,
            config.name,
            folder,
            watcher,
            tags,
            time_limit_s=config.workbench.time_limit_s,
            forks=_forks(config),
            origin=origin,
        )
        close_dead_runs(conductor)
        with closing(conductor):
            if not launch or launch.is_here:
                jobs = planned.jobs
                if earlier:
                    jobs = resume.left(earlier, jobs, tracker, origin, changed, pairs=bool(declared))
                require_devices(jobs, conductor)
            conductor.prepare(planned.jobs)
            known = Ledger(todo=planned.jobs)
            if earlier:
                known = resume.take_stock(earlier, planned.jobs, tracker, origin, conductor)
                said += resume.decide(known, earlier, changed, pairs=bool(declared))
                take_over = config.workbench.take_over
                resume.settle(known, earlier, conductor, changed=changed, take_over=take_over, said=said)
                watcher.resumed(job for job in planned.jobs if known.finished(job))
                watcher.say("\n".join([_resumed(earlier, known, planned), *said]))
            conductor.parent = _open_parent(conductor, config, planned, declared, tags, typed, earlier)
            status = "KILLED"
            try:
                if launch:
                    conductor.close()
                    ended = launch.run(conductor, planned.jobs, config, known, by_block=by_block)
                else:
                    ended = conductor.run_blocks(
                        planned.jobs,
                        requeue=config.sweep.requeue,
                        fail_fast=config.workbench.fail_fast,
                        known=known,
                    )
                status = "FINISHED" if all(e.outcome.status == "finished" for e in ended) else "FAILED"
            finally:
                _finish(conductor, status)
    failed = [one for one in ended if one.outcome.status != "finished"]
    _say_failures(console, failed)
    if not_begun := len(planned.jobs) - len(ended):
        some, them = ("1 job was", "it") if not_begun == 1 else (f"{not_begun} jobs were", "them")
        words = f"stopped at the first failure: {some} not run; workbench.resume=true runs {them}"
        console.print(words, style="red", highlight=False, markup=False, soft_wrap=True)
    try:
        found = assemble.report(tracker, config.name, sweep_id, declared, folder / "report")
        found.show(console, quiet=config.workbench.quiet)
        if config.workbench.commit_results:
            found.commit_results(config.name)
    except (ValueError, ArithmeticError, TrackingError, OSError) as error:
        state = "the jobs were run" if isinstance(error, TrackingError) else "the runs are recorded"
        where = f"{folder / 'report'}: " if isinstance(error, OSError) and not error.filename else ""
        console.print(
            f"{state} (sweep {sweep_id}), but not judged: {where}{error}; once that "
            f"is put right, `{_judging(config, sweep_id, declared)}` judges them from the record and runs nothing",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return 1
    return 1 if failed else 0


def _judging(config: Config, sweep_id: str, declared: list[Claim] | None) -> str:
    """The command that judges this sweep from its record."""
    words = ["python -m workbench.report", config.name, "--sweep", sweep_id, "--uri", config.tracking.uri]
    claims = Path(declared[0].file) if declared else None
    if claims and claims.is_file() and claims != claims_file(config.name):
        words += ["--claims", str(claims)]
    return " ".join(words)


def _declared(tracker: Tracker, earlier: Earlier) -> list[Claim] | None:
    """The claims that a recorded sweep was declared with, whatever their file says today."""
    try:
        return recorded.declared(tracker, earlier.experiment, tracker.get(earlier.run_id))
    except recorded.ReportError as error:
        raise ConfigError([Problem("workbench.resume", earlier.sweep, str(error))]) from error


def _earlier(outline: Outline) -> Earlier | None:
    """The sweep that is to be resumed; None where none is, or where the experiment has none yet."""
    asked = outline.workbench.resume
    if asked is False:
        return None
    try:
        tracking = outline.tracking
        tracker = Tracker(tracking.uri, tracking.artifacts, wal=tracking.wal, create=False)
    except TrackingError:
        if asked is True:
            return None  # a database that cannot be used at all is refused when the sweep starts
        raise
    return resume.find(tracker, outline.name, asked)


def _composer_of(earlier: Earlier, typed: Composer) -> Composer:
    """A composer on the folders that were typed now, else on those that the sweep was started with."""
    try:
        return typed if typed.folders else Composer(earlier.typed.config_folders)
    except ConfigError as error:
        folder = error.problems[0].value
        remedy = (
            f"it was started with --config-dir {folder}, which is no folder (seen from {Path.cwd()}); type "
            "--config-dir with where it is now"
        )
        raise ConfigError([Problem("workbench.resume", earlier.sweep, remedy)]) from error


def _resumed(earlier: Earlier, known: Ledger, planned: Plan) -> str:
    done = [run for job in planned.jobs if (run := known.finished(job))]
    diverged = sum(bool(run.diverged) for run in done)
    more = f", {diverged} diverged, which would only come again" if diverged else ""
    count = len(done) - diverged
    if not known.todo:
        plural = "" if count == 1 else "s"
        return (
            f"sweep {earlier.sweep} is complete: {count} job{plural} had finished{more}; it is judged again"
        )
    return f"sweep {earlier.sweep} goes on: {count} of {len(planned.jobs)} jobs had finished{more}"


def _finish(conductor: Conductor, status: str) -> None:
    """Close the sweep's own run; a server that is gone by now does not hide how the jobs ended."""
    assert conductor.parent is not None
    try:
        conductor.tracker.finish(conductor.parent, status)
    except TrackingError as error:
        conductor.watcher.say(f"the sweep's own run could not be closed: {error}")


def _by_block(config: Config, declared: list[Claim] | None) -> bool:
    """Whether a launcher's task is a whole block: its arms then share a host and keep their order."""
    asked, requeue = config.workbench.launch, config.sweep.requeue
    timed = [claim.name for claim in declared or () if METRICS[claim.metric].noisy]
    if asked == "job" and (timed or requeue):
        why = (
            f"claim {timed[0]} compares what is measured"
            if timed
            else f"sweep.requeue={requeue} judges blocks"
        )
        remedy = (
            f"{why}, and the arms of a block must then run on one host, in their order; take block or auto"
        )
        raise ConfigError([Problem("workbench.launch", "job", remedy)])
    return asked == "block" or (asked == "auto" and bool(declared or requeue))


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


def close_dead_runs(conductor: Conductor) -> None:
    """Close what processes of this host that are gone have left running, and say so."""
    for run_id in close_dead(conductor.tracker):
        conductor.watcher.say(f"run {run_id} was left running by a process that is gone: closed as KILLED")


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
    typed: Typed,
    earlier: Earlier | None,
) -> str:
    """The sweep's own run: the frozen grid and the claims' hashes are down before the first job starts."""
    tracker, grid = conductor.tracker, conductor.folder / NAME
    if not earlier or differences(earlier.plan, planned):
        grid.write_text(plan_json(planned, typed))
    if earlier:
        times = int(earlier.tags.get(RESUMED, 0)) + 1
        tracker.reopen(earlier.run_id, {**owner(), RESUMED: str(times)})
        if differences(earlier.plan, planned):
            tracker.text(earlier.run_id, plan_json(earlier.plan, earlier.typed), f"grid-before-{times}.json")
            tracker.artifact(earlier.run_id, grid)
        return earlier.run_id
    if declared:
        _require_unchanged(declared, tags)
    run_id = tracker.start(
        conductor.experiment,
        f"sweep {tags['workbench.sweep']}",
        params={"name": config.name, "scale.name": config.scale.name, "jobs": len(planned.jobs)},
        tags={
            **conductor.origin.common,
            **conductor.origin.repositories.tags,
            **tags,
            **owner(),
            "workbench.kind": "sweep",
            "workbench.started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        },
    )
    try:
        if declared:
            tracker.text(run_id, Path(declared[0].file).read_text(encoding="utf-8"), recorded.CLAIMS)
            tracker.tag(run_id, {f"claim.{claim.name}": claim.sha for claim in declared})
        for path in conductor.origin.repositories.write(conductor.folder):
            tracker.artifact(run_id, path)
        tracker.artifact(run_id, grid)  # the last: from here the sweep can be resumed
    except (TrackingError, OSError):
        with suppress(TrackingError):
            tracker.finish(run_id, "FAILED")
        raise
    return run_id


def _require_unchanged(declared: list[Claim], tags: dict[str, str]) -> None:
    """Raise ClaimError where the file no longer holds the claims that were read from it."""
    now = claims_room.load(declared[0].file)
    if claims_room.claims_sha(now) != tags[recorded.SHA]:
        raise claims_room.ClaimError(
            f"{declared[0].file}: was changed while the sweep was prepared; nothing was run: type the same again"
        )


def _say_failures(console: Console, failed: Iterable[Ended]) -> None:
    """Each failure in a line; in another the last one of what its process printed, where that says more."""
    for one in failed:
        run = f"run {one.run_id}" if one.run_id else "no run"
        error = one.outcome.error
        lines = [f"{one.outcome.status}: {one.job.arm}, block {one.job.block} ({run}): {error}"]
        last = one.outcome.trace.strip().splitlines()[-1:] if one.outcome.status == "failed" else []
        lines += [f"  {line}" for line in last if (line.partition(": ")[2] or line) not in error]
        for line in lines:
            console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
