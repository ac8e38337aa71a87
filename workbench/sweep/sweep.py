"""From overrides to a sweep and its verdicts: one road, for a new sweep as for one that goes on.

A new sweep is one of which nothing is recorded: nothing is then to reconcile, nothing done, nothing to settle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from rich.console import Console

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.config import Config, ConfigError, Problem
from workbench.console import say
from workbench.places import claims_file
from workbench.process.replicas import refuse_cluster
from workbench.record import METRICS
from workbench.record import tags as names
from workbench.record.plan import Job, Plan, Typed
from workbench.report import assemble, recorded
from workbench.sweep import resume
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended, PrepareError
from workbench.sweep.devices import require_devices
from workbench.sweep.launch import Launch
from workbench.sweep.ledger import Ledger
from workbench.sweep.listing import headline, last_finished, list_jobs, titles
from workbench.sweep.origin import Origin
from workbench.sweep.outline import Outline
from workbench.sweep.overrides import first
from workbench.sweep.own_run import OwnRun
from workbench.sweep.planning import plan_again, plan_sweep
from workbench.sweep.progress import Watcher
from workbench.sweep.resume import sole
from workbench.sweep.staged import run_stages
from workbench.sweep.start import close_dead_runs, say_failures, sweep_folder
from workbench.sweep.typed import as_typed, is_how
from workbench.tracking import Tracker, TrackingError
from workbench.wording import counted

_TO_TELL_THE_TIME = 100
"""Runs of the sweep before, from which it is told how long this one has still to go."""


@dataclass
class Asked:
    """What a sweep is to do, all composed and checked, and what is recorded of it."""

    config: Config
    declared: list[Claim] | None
    planned: Plan
    typed: Typed
    launch: Launch | None
    by_block: bool
    own: OwnRun
    origin: Origin
    tracker: Tracker | None
    """None as long as nothing is recorded and nothing was started."""
    said: list[str] = field(default_factory=list)
    left_out: int = 0
    """Jobs that were not run, as the claims that they are for were decided before."""

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of blocks at which the sweep is judged."""
        blocks = self.planned.blocks
        if not self.declared:
            return (blocks,)
        return claims_room.looks(self.declared, self.own.tags.get(names.SCALE, ""), blocks)

    def runner(self, conductor: Conductor, known: Ledger) -> Callable[[list[Job]], list[Ended]]:
        """What runs jobs to their end: the launcher that was chosen, or the sweep's own loop."""
        config, launch = self.config, self.launch

        def run(jobs: list[Job]) -> list[Ended]:
            if launch:
                conductor.close()
                return launch.run(conductor, jobs, config, known, by_block=self.by_block)
            return conductor.run_blocks(jobs, known=known)

        return run

    def stock(self, conductor: Conductor | None = None) -> tuple[Ledger, list[str]]:
        """What is done and what is to do, as decided, and all that is to be said of it.

        Raises:
            ConfigError: what has finished would be something else now, and nobody said what is to be done.
        """
        runs = []
        if self.tracker and self.own.is_begun:
            runs = self.tracker.jobs(self.own.experiment, self.own.sweep)
        found = resume.take_stock(runs, self.planned.jobs, self.origin, conductor)
        changed, pairs = self.config.workbench.changed, bool(self.declared)
        said = resume.decide(found, self.own, changed, pairs=pairs)
        if runs and self.declared and len(self.looks) > 1:
            kept = claims_room.still_planned(self.planned.jobs, self.declared, self.looks, runs)
            numbers = {job.number for job in kept}
            found.todo = [job for job in found.todo if job.number in numbers]
        return found, [*self.said, *said]

    @property
    def warnings(self) -> list[str]:
        """What its verdicts will be, where that can still be changed."""
        if self.own.is_begun or self.own.tags.get(names.CLAIMS_COMMITTED) != "false":
            return []
        file = self.declared[0].file if self.declared else "claims.yaml"
        words = "verdicts will be called exploratory; commit it first to have them count"
        return [f"{file} has changes that are not committed: {words}"]


@dataclass(frozen=True)
class Swept:
    """How a sweep ended: the exit code, 0, or 1 where a job failed; its id."""

    code: int
    sweep: str


def run_sweep(compose: Composer, overrides: Sequence[str], console: Console) -> Swept:
    """A sweep: plan all, prepare the data, run each job, judge.

    Nothing starts before everything was composed and checked: the grid, the claims against it, the tracking
    server, the data; and, of a sweep that is resumed, what has finished and what has changed since.
    """
    asked = ask(compose, overrides)
    if asked.config.workbench.dry_run:
        known, said = asked.stock()
        said = [*said, *asked.warnings]
        list_jobs(console, asked.planned, asked.declared, config=asked.config, known=known, said=said)
        return Swept(0, asked.own.sweep)
    folder = sweep_folder(asked.config.tracking.folder, asked.config.name, asked.own.sweep)
    ended = _conduct(asked, folder, console)
    failed = [one for one in ended if one.outcome.status != "finished"]
    say_failures(console, failed)
    if not_begun := len(asked.planned.jobs) - len(ended) - asked.left_out:
        some, them = ("1 job was", "it") if not_begun == 1 else (f"{not_begun} jobs were", "them")
        words = f"stopped at the first failure: {some} not run; workbench.resume=true runs {them}"
        say(console, words, style="red")
    return Swept(1 if not _judge(asked, folder, console) or failed else 0, asked.own.sweep)


def ask(compose: Composer, overrides: Sequence[str]) -> Asked:
    """Compose and check everything, and hold it against what is recorded; nothing is written.

    Raises:
        ConfigError, ClaimError: with every problem of it.
    """
    own = _recorded(Outline.of(compose, compose.read(overrides)))
    if own and all(is_how(text) or text.startswith("name=") for text in overrides):
        compose = _composer_of(own, compose)
        config, planned = plan_again(compose, own, overrides)
        declared = _declared(Tracker.of(config.tracking, create=False), own)
        overrides = [*own.typed.overrides, *overrides]
    else:
        config, declared, planned = plan_sweep(compose, overrides)
    launch = Launch.chosen(compose, first(compose.read(overrides)))
    refuse_cluster(job.tree for job in planned.jobs)
    if own and own.experiment != config.name:
        remedy = (
            f"this sweep is one of experiment {own.experiment!r}, not of {config.name!r}: type "
            f"name={own.experiment}, or no more than the id"
        )
        raise ConfigError([Problem("workbench.resume", own.sweep, remedy)])
    tracker = Tracker.of(config.tracking, create=False) if own else None
    own = own or OwnRun.new(config, planned, declared)
    planned, declared, said = resume.reconcile(own, planned, declared, config.workbench.changed, tracker)
    by_block = launch is not None and _by_block(config, declared, planned)
    origin = Origin.of((job.tree for job in planned.jobs), compose.own_places)
    typed = as_typed(overrides, compose.folders)
    return Asked(config, declared, planned, typed, launch, by_block, own, origin, tracker, said)


def _conduct(asked: Asked, folder: Path, console: Console) -> list[Ended]:
    """Prepare the data and run what is to do, in the sweep's own run; how each job ended."""
    config, own, planned, launch = asked.config, asked.own, asked.planned, asked.launch
    asked.tracker = Tracker.of(config.tracking)
    with sole(folder), Watcher(console, len(planned.jobs), quiet=config.workbench.quiet) as watcher:
        if config.workbench.resume and not own.is_begun:
            watcher.say(f"experiment {config.name!r} has no sweep to resume: a new one")
        watcher.say("\n".join([headline(planned, asked.declared), *asked.warnings]))
        conductor = Conductor(asked.tracker, config.name, folder, watcher, origin=asked.origin)
        conductor.tags = {**own.of_its_runs, names.LAUNCHER: launch.name if launch else "basic"}
        conductor.titles = watcher.titles = titles(planned.jobs)
        if earlier := last_finished(asked.tracker, config.name, most=_TO_TELL_THE_TIME):
            watcher.seconds_each = fmean(run.seconds for run in earlier)
        close_dead_runs(conductor)
        with closing(conductor):
            if not launch or launch.is_here:
                _require_devices(asked, conductor)
            conductor.prepare(planned.jobs)
            known, said = asked.stock(conductor)
            resume.settle(
                known,
                own,
                conductor,
                changed=config.workbench.changed,
                take_over=config.workbench.take_over,
                said=said,
            )
            if own.is_begun:
                watcher.resumed(job for job in planned.jobs if known.finished(job))
                watcher.say("\n".join([_resumed(own, known, planned), *said]))
            try:
                conductor.parent = own.open(conductor, config, planned, asked.declared, asked.typed)
            except OSError as error:
                raise PrepareError(f"tracking.folder: {folder} cannot be written: {error}") from error
            status = "KILLED"
            try:
                ended, asked.left_out = run_stages(
                    conductor,
                    planned.jobs,
                    asked.declared or (),
                    asked.looks,
                    sweep=own.sweep,
                    run=asked.runner(conductor, known),
                )
                status = "FINISHED" if all(e.outcome.status == "finished" for e in ended) else "FAILED"
            finally:
                _finish(conductor, status)
    return ended


def _require_devices(asked: Asked, conductor: Conductor) -> None:
    """Of the jobs that are to do; which those are need not be read where this machine has what all of them need."""
    try:
        require_devices(asked.planned.jobs, conductor)
    except ConfigError:
        require_devices(asked.stock()[0].todo, conductor)


def _judge(asked: Asked, folder: Path, console: Console) -> bool:
    """Judge the sweep from its record and show it; whether that could be done."""
    config, sweep = asked.config, asked.own.sweep
    assert asked.tracker is not None
    try:
        found = assemble.report(asked.tracker, config.name, sweep, asked.declared, folder / "report")
        found.show(console, quiet=config.workbench.quiet)
        if config.workbench.commit_results:
            found.commit_results(config.name)
    except (ValueError, ArithmeticError, TrackingError, OSError) as error:
        state = "the jobs were run" if isinstance(error, TrackingError) else "the runs are recorded"
        where = f"{folder / 'report'}: " if isinstance(error, OSError) and not error.filename else ""
        say(
            console,
            f"{state} (sweep {sweep}), but not judged: {where}{error}; once that is put right, "
            f"`{_judging(config, sweep, asked.declared)}` judges them from the record and runs nothing",
            style="red",
        )
        return False
    return True


def _judging(config: Config, sweep_id: str, declared: list[Claim] | None) -> str:
    """The command that judges this sweep from its record."""
    words = ["python -m workbench.report", config.name, "--sweep", sweep_id, "--uri", config.tracking.uri]
    claims = Path(declared[0].file) if declared else None
    if claims and claims.is_file() and claims != claims_file(config.name):
        words += ["--claims", str(claims)]
    return " ".join(words)


def _declared(tracker: Tracker, own: OwnRun) -> list[Claim] | None:
    """The claims that a recorded sweep was declared with, whatever their file says today."""
    try:
        return recorded.declared(tracker, own.experiment, tracker.get(own.run_id))
    except recorded.ReportError as error:
        raise ConfigError([Problem("workbench.resume", own.sweep, str(error))]) from error


def _recorded(outline: Outline) -> OwnRun | None:
    """The sweep that is to be resumed; None where none is, or where the experiment has none yet."""
    asked = outline.workbench.resume
    if asked is False:
        return None
    try:
        tracker = Tracker.of(outline.tracking, create=False)
    except TrackingError:
        if asked is True:
            return None  # a database that cannot be used at all is refused when the sweep starts
        raise
    return resume.find(tracker, outline.name, asked)


def _composer_of(own: OwnRun, typed: Composer) -> Composer:
    """A composer on the folders that were typed now, else on those that the sweep was started with."""
    try:
        return typed if typed.folders else Composer(own.typed.config_folders)
    except ConfigError as error:
        folder = error.problems[0].value
        remedy = (
            f"it was started with --config-dir {folder}, which is no folder (seen from {Path.cwd()}); type "
            "--config-dir with where it is now"
        )
        raise ConfigError([Problem("workbench.resume", own.sweep, remedy)]) from error


def _resumed(own: OwnRun, known: Ledger, planned: Plan) -> str:
    done = [run for job in planned.jobs if (run := known.finished(job))]
    diverged = sum(bool(run.diverged) for run in done)
    more = f", {diverged} diverged, which would only come again" if diverged else ""
    count = len(done) - diverged
    if not known.todo:
        return (
            f"sweep {own.sweep} is complete: {counted(count, 'job')} had finished{more}; it is judged again"
        )
    return f"sweep {own.sweep} goes on: {count} of {len(planned.jobs)} jobs had finished{more}"


def _finish(conductor: Conductor, status: str) -> None:
    """Close the sweep's own run; a server that is gone by now does not hide how the jobs ended."""
    assert conductor.parent is not None
    try:
        conductor.tracker.finish(
            conductor.parent, status, begun=conductor.tracker.get(conductor.parent).start
        )
    except TrackingError as error:
        conductor.watcher.say(f"the sweep's own run could not be closed: {error}")


def _by_block(config: Config, declared: list[Claim] | None, planned: Plan) -> bool:
    """Whether a launcher's task is a whole block: its arms then share a host and keep their order."""
    asked, requeue = config.workbench.launch, planned.jobs[0].tree["sweep"]["requeue"]
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
