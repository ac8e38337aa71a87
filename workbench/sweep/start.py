"""From overrides to a run; and what a sweep starts by as well."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from workbench.config import Config, ConfigError, Problem
from workbench.console import say
from workbench.process.child import run_child
from workbench.process.replicas import number_in_cluster
from workbench.provenance import command
from workbench.record import tags as names
from workbench.record.plan import Job, Plan
from workbench.report.summary import summary_of_run
from workbench.sweep.asked import lacking
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended, PrepareError, freeze, new_sweep_id
from workbench.sweep.devices import require_devices
from workbench.sweep.grid import checked
from workbench.sweep.honoured import PARAMS
from workbench.sweep.journal import close_dead, jobs_have_run
from workbench.sweep.launch import Launch
from workbench.sweep.listing import list_jobs
from workbench.sweep.origin import Origin
from workbench.sweep.overrides import plain, swept
from workbench.sweep.progress import Watcher
from workbench.tracking import Tracker


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
    _refuse_what_makes_a_sweep(config, composed.params, composed.typed)
    job = Job(0, _title(config), block=1, repeat=0, tree=tree)
    origin = Origin.of([tree], compose.own_places)
    if config.workbench.dry_run:
        list_jobs(console, Plan([job], [], 1, False), config=config)
        return 0
    if number := number_in_cluster(config.training):
        return _take_part(config, job, number, console)
    tracker = Tracker.of(config.tracking)
    sweep_id = new_sweep_id()
    with Watcher(console, 1, quiet=config.workbench.quiet) as watcher:
        folder = sweep_folder(config.tracking.folder, config.name, sweep_id)
        conductor = Conductor(tracker, config.name, folder, watcher, origin=origin)
        conductor.tags = {names.SWEEP: sweep_id, names.COMMAND: command()}
        close_dead_runs(conductor)
        with closing(conductor):
            require_devices([job], conductor)
            conductor.prepare([job])
            ended = conductor.run(job)
    if ended.outcome.status != "finished":
        say_failures(console, [ended])
        return 1
    then = f"It is recorded as run {ended.run_id}, to be read once tracking.uri answers again"
    with jobs_have_run(conductor.folder, then):
        run = tracker.get(ended.run_id)
    console.print(summary_of_run(run.params, run.metrics, ended.run_id, tracker.uri))
    if dropped := run.tags.get("data.dropped"):
        console.print(f"of the source, not in the data set: {dropped}", highlight=False, markup=False)
    return 0


def _refuse_what_makes_a_sweep(
    config: Config, params: Mapping[str, object], typed: Mapping[str, object]
) -> None:
    """Raise ConfigError where a single run would pass over what was asked for."""
    if config.workbench.resume is not False:
        remedy = "it is a sweep that goes on: add -m"
        raise ConfigError([Problem("workbench.resume", config.workbench.resume, remedy)])
    if config.workbench.commit_results:
        raise ConfigError([Problem("workbench.commit_results", True, "a single run has no report: add -m")])
    if params:
        values = " ".join(f"{key}={value}" for key, value in params.items())
        raise ConfigError([Problem(PARAMS, values, "axes make a sweep: add -m")])
    nothing = {
        "sweep.blocks": 1,
        "sweep.throw_away": False,
        "sweep.claims": None,
        "sweep.requeue": 0,
        "workbench.changed": "refuse",
        "workbench.take_over": False,
        "workbench.launch": "auto",
        "training.checkpoint_every": None,
    }
    for name, value in nothing.items():
        if (given := typed.get(name)) is not None and given != value:
            words = "only a sweep goes on after a kill" if name.startswith("training") else "is a sweep's"
            raise ConfigError([Problem(name, given, f"{words}: add -m")])
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
    say(console, said, style="red" if outcome.error else None)
    return 1 if outcome.error else 0


def _title(config: Config) -> str:
    return " ".join((config.data.name, config.padding.name, config.rnn.unroll, config.cell.name))


def sweep_folder(root: str, experiment: str, sweep_id: str) -> Path:
    """Where a sweep's runs and report lie, below `tracking.folder`."""
    try:
        folder = Path(root).expanduser().resolve() / "hydra" / experiment / sweep_id
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: ~nobody
        raise PrepareError(f"tracking.folder={root}: cannot make a folder there: {error}") from error
    return folder


def close_dead_runs(conductor: Conductor) -> None:
    """Close what processes of this host that are gone have left running, and say so."""
    for run_id in close_dead(conductor.tracker):
        conductor.watcher.say(f"run {run_id} was left running by a process that is gone: closed as KILLED")


def say_failures(console: Console, failed: Iterable[Ended]) -> None:
    """Each failure in a line; in another the last one of what its process printed, where that says more."""
    for one in failed:
        run = f"run {one.run_id}" if one.run_id else "no run"
        error = one.outcome.error
        lines = [f"{one.outcome.status}: {one.job.arm}, block {one.job.block} ({run}): {error}"]
        last = one.outcome.trace.strip().splitlines()[-1:] if one.outcome.status == "failed" else []
        lines += [f"  {line}" for line in last if (line.partition(": ")[2] or line) not in error]
        for line in lines:
            say(console, line, style="red")
