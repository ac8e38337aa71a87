"""A tracked run again, from its record alone: its frozen configuration, its data by fingerprint, its way to start.

What is run again is a run of its own of kind `rerun`, which no resume counts and no verdict is made of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import yaml
from rich.console import Console

from workbench.config import Config, ConfigError, Problem, load
from workbench.console import say
from workbench.provenance import command
from workbench.record import Run
from workbench.record.plan import Job
from workbench.record.tags import COMMAND, ORDER, RERUN_OF, RERUN_RESULT, START, SWEEP
from workbench.report.comparison import Compared, compare_runs, counts, equal_runs, reasons, table
from workbench.report.elsewhere import compare_elsewhere, other_seeds
from workbench.report.recorded import what_was_deleted
from workbench.sweep.conduct import CONFIG, Conductor, Ended, new_sweep_id
from workbench.sweep.devices import require_devices
from workbench.sweep.origin import Origin
from workbench.sweep.progress import Watcher
from workbench.sweep.start import close_dead_runs, sweep_folder
from workbench.tracking import Tracker, TrackingError
from workbench.wording import counted

KIND_OF_RERUN = "rerun"


@dataclass(frozen=True)
class Recorded:
    """A run as its record has it."""

    run: Run
    job: Job
    config: Config

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.run.run_id


def rerun(tracker: Tracker, asked: str, console: Console, *, other_machine: bool = False) -> int:
    """Run a run, or each of a sweep that finished or diverged, again and compare; 0, or 1 where a number differs.

    With `other_machine` the numbers are held against what another machine may give (`report.elsewhere`).

    Raises:
        ConfigError: there is no such run, it has not finished, its configuration is one that this code does not
            take, its data is no longer what it was, or this machine has not the devices.
        PrepareError: its data cannot be had.
        TrackingError: its record is not whole.
    """
    recorded, left_out = _recorded(tracker, asked)
    origin = Origin.of(one.job.tree for one in recorded)
    experiment = tracker.experiment_name(recorded[0].run)
    folder = sweep_folder(recorded[0].config.tracking.folder, experiment, f"rerun-{new_sweep_id()}")
    earlier = _of_its_sweep(tracker.runs(experiment), recorded)
    several, bad, last_words = len(recorded) > 1, 0, []
    with Watcher(console, len(recorded)) as watcher:
        conductor = Conductor(tracker, experiment, folder, watcher, kind=KIND_OF_RERUN, origin=origin)
        close_dead_runs(conductor)
        with closing(conductor):
            require_devices((one.job for one in recorded), conductor)
            conductor.prepare([one.job for one in recorded])
            _same_data(recorded, conductor)
            for one in recorded:
                conductor.tags = {
                    SWEEP: folder.name,
                    RERUN_OF: one.run_id,
                    COMMAND: command("workbench.rerun"),
                }
                ended = conductor.run(one.job)
                try:
                    if not _is_comparable(one, ended, tracker):
                        bad += 1
                        last_words.append(f"{one.run_id}: {ended.outcome.status}: {ended.outcome.error}")
                        continue
                    again = tracker.get(ended.run_id)
                    found = (
                        _elsewhere(tracker, one, again, earlier)
                        if other_machine
                        else compare_runs(one.run, again, equal_runs(earlier, [one.run_id]))
                    )
                    tracker.tag(ended.run_id, {RERUN_RESULT: counts(found)})
                except TrackingError as error:
                    bad += 1
                    last_words.append(
                        f"{one.run_id} again as {ended.run_id}: ran, but could not be compared: {error}; its "
                        f"numbers are safe in {folder}; once tracking.uri answers again, type the same again"
                    )
                    continue
                differs = any(number.judgement == "different" for number in found)
                bad += differs
                last_words.append(f"{one.run_id} again as {ended.run_id}: {counts(found)}")
                if differs or not several:
                    console.print(table(found, f"{one.job.arm}, block {one.job.block}: what is not equal"))
                    differing = [number for number in found if number.judgement == "different"]
                    _say_why(console, found, reasons(one.run, again, differing))
    for line in last_words:
        say(console, line)
    if several:
        words = f"{len(recorded)} runs again: {bad} with a number that differs or failed"
        console.print(words, highlight=False)
    if left_out:
        console.print(
            f"left out: {counted(left_out, 'run')} of the sweep that had not finished or were set aside"
        )
    return 1 if bad else 0


def _is_comparable(one: Recorded, ended: Ended, tracker: Tracker) -> bool:
    """Whether a run again has ended as one that finished, or as the diverged one that it is of."""
    if ended.outcome.status == "finished":
        return True
    return bool(ended.run_id) and one.run.diverged and tracker.get(ended.run_id).diverged


def _elsewhere(tracker: Tracker, one: Recorded, again: Run, of_its_sweep: Sequence[Run]) -> list[Compared]:
    losses = [tracker.history(run_id, "loss/step") for run_id in (one.run_id, again.run_id)]
    seeds = other_seeds(of_its_sweep, one.job.arm, one.job.block)
    return compare_elsewhere(one.run.metrics, again.metrics, (losses[0], losses[1]), seeds)


def _recorded(tracker: Tracker, asked: str) -> tuple[list[Recorded], int]:
    """The runs that an id names, and how many of its sweep are left out."""
    if not re.fullmatch(r"[\w.-]+", asked):
        raise ConfigError([Problem("RUN_ID", asked, "is no id of a run or a sweep")])
    sweeps = tracker.sweeps(sweep=asked)
    if not sweeps:
        try:
            run = tracker.get(asked)
        except TrackingError as error:
            if deleted := what_was_deleted(tracker, sweep=asked):
                raise ConfigError([Problem("RUN_ID", asked, deleted)]) from error
            last = ", ".join(one.sweep for one in tracker.sweeps()[:3])
            remedy = f"no run and no sweep of this id at {tracker.uri}; the last sweeps: {last or 'none'}"
            raise ConfigError([Problem("RUN_ID", asked, remedy)]) from error
        if run.kind != "sweep" or run.is_deleted:
            return [_read(tracker, run)], 0
        sweeps = [run]
    jobs = tracker.jobs(tracker.experiment_name(sweeps[0]), sweeps[0].sweep)
    kept = [run for run in jobs if run.has_result and not run.requeued and not run.superseded]
    if not kept:
        raise ConfigError([Problem("RUN_ID", asked, "no run of this sweep has finished or diverged")])
    return [_read(tracker, run) for run in kept], len(jobs) - len(kept)


def _read(tracker: Tracker, run: Run) -> Recorded:
    """A run from its record; refused where it has neither finished nor diverged, or this code does not take it."""
    run_id = run.run_id
    if run.is_deleted:
        restore = tracker.mlflow(f"runs restore --run-id {run_id}")
        raise ConfigError([Problem("RUN_ID", run_id, f"was deleted in MLflow; restore it by {restore}")])
    if not run.has_result:
        remedy = f"is {run.status}: only a run that has finished, or diverged, has what can be compared"
        raise ConfigError([Problem("RUN_ID", run_id, remedy)])
    try:
        tree = yaml.safe_load(tracker.read_text(run_id, CONFIG))
    except (TrackingError, OSError) as error:
        remedy = (
            f"its {CONFIG} is not in the artifact store, and without it nothing can be run again: {error}"
        )
        raise ConfigError([Problem("RUN_ID", run_id, remedy)]) from error
    tree, wrong = load(tree)
    if wrong:
        commit = run.tags.get("git.commit", "")[:10] or "(not recorded)"
        more = Problem(
            "RUN_ID", run_id, f"was configured for other code than this: check out commit {commit}"
        )
        raise ConfigError([*wrong, more])
    tree["workbench"]["start"] = run.tags.get(START, "fork")  # as it was, and not as it was asked for
    job = Job(int(run.tags.get(ORDER) or 0), run.arm, run.block, run.repeat, tree)
    return Recorded(run, job, Config.of(tree))


def _same_data(recorded: Sequence[Recorded], conductor: Conductor) -> None:
    for one in recorded:
        now = conductor.fingerprint(one.job)
        if one.run.fingerprint and now != one.run.fingerprint:
            where = one.config.data.name
            remedy = (
                f"run {one.run_id} had {one.run.fingerprint}: the source data={where} gives other data now"
            )
            raise ConfigError([Problem("data.fingerprint", now, f"{remedy}; nothing was run")])


def _of_its_sweep(runs: Sequence[Run], recorded: Sequence[Recorded]) -> list[Run]:
    """The sweep's runs and the reruns of these."""
    sweep, run_ids = recorded[0].run.sweep, {one.run_id for one in recorded}
    return [run for run in runs if run.sweep == sweep or run.tags.get(RERUN_OF) in run_ids]


def _say_why(console: Console, found: Sequence[Compared], why: Sequence[str]) -> None:
    if not any(one.judgement == "different" for one in found):
        return
    lines = [f"why it may be: {one}" for one in why] or [
        "versions, machine, device, threads and code are the same: what differs does not repeat, or the machine "
        "was busier than when its noise was seen"
    ]
    for line in lines:
        say(console, line)
