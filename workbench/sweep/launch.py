"""A sweep through a launcher of Hydra's: joblib, Slurm by submitit, Ray, or anybody's plugin.

The parent plans, freezes and prepares as ever. What the launcher carries are numbers of frozen jobs; its worker
(task.py) reads those jobs from the sweep's own run, runs each as a process of its own, and owns their MLflow runs.
How they ended the parent reads from MLflow, so that the workers need reach no more than the tracking server.

A job has one run however often a launcher starts it: what has ended stays, and what died with its worker is
closed as killed.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import groupby
from pathlib import Path

import psutil
from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from workbench.config import Config, ConfigError, Problem
from workbench.process.child import Outcome
from workbench.process.spawner import python_path
from workbench.record.gate import REQUEUE_SPREAD, disturbance
from workbench.record.plan import Job
from workbench.record.tags import ERROR, LAUNCH, ORDER, SWEEP
from workbench.sweep import gpus
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended, still_counted
from workbench.sweep.devices import is_here, require_workers
from workbench.sweep.journal import close_as, close_dead, jobs_have_run
from workbench.sweep.ledger import Ledger
from workbench.sweep.slurm import CANCELLED, EndedTask, cancel, each_to_its_end
from workbench.sweep.task import Share, Task, ended_as_recorded, turns_file
from workbench.sweep.turns import Turns
from workbench.tracking import TrackingError

_RESULTS = "[0-9]*/result.json"
_SUBMITIT = "hydra_submitit_launcher"
_UNTOLD = "its worker did not say why"
_UNCLOSED = "its worker ended without closing it"


class _Returned(str):
    """What a task said that came to its end: nothing of it runs any more."""


class Launch:
    """A sweep's launcher, as a person chose and configured it."""

    def __init__(self, name: str, hydra: DictConfig) -> None:
        self.name, self._hydra = name, hydra

    @property
    def is_here(self) -> bool:
        """Whether its workers are known to run on this machine."""
        return is_here(self.name, self._hydra)

    @classmethod
    def chosen(cls, compose: Composer, overrides: Sequence[str]) -> Launch | None:
        """What `hydra/launcher=` names; None for Hydra's basic one, in whose place the sweep's own loop runs.

        Raises:
            ConfigError: its package is not installed, or its workers are none or too many.
        """
        hydra = compose.hydra(overrides)
        name = hydra.runtime.choices["hydra/launcher"]
        if name == "basic":
            return None
        plugin = ".".join(hydra.launcher._target_.split(".")[:2])
        ours = re.fullmatch(r"hydra_plugins\.hydra_(joblib|submitit|ray)_launcher", plugin)
        for module in (plugin, *(ours.groups() if ours else ())):
            if not is_there(module):
                remedy = f"pip install hydra-{ours[1]}-launcher" if ours else "install its plugin"
                raise ConfigError([Problem("hydra/launcher", name, f"{module} is not installed: {remedy}")])
        require_workers(name, hydra)
        return cls(name, hydra)

    def run(
        self,
        conductor: Conductor,
        jobs: Sequence[Job],
        config: Config,
        known: Ledger | None = None,
        *,
        by_block: bool,
    ) -> list[Ended]:
        """Every job to its end, in the order of `jobs`; a task of the launcher is a block or a job.

        What `known` has as done is not run again. A launcher that gives up (joblib's does when a worker is
        killed) starts what is left once more, as long as each time some job has ended.
        """
        known = known or Ledger()
        task = Task.of(conductor, jobs, secrets.token_hex(4), self.name)
        left = [
            Share.of(list(share), known)
            for _, share in groupby(jobs, key=lambda job: job.block if by_block else job.number)
        ]
        said: dict[int, str] = {}
        stopped = False
        conductor.watcher.launched(self.name)
        if words := self._turns(jobs, len(left)):
            conductor.watcher.say(words)

        def look() -> tuple[dict[int, Ended], set[int]]:
            with jobs_have_run(conductor.folder) if said or known.done else nullcontext():
                _close_ended(conductor, task.token, said)
                ended = _ends(conductor, task.token, jobs, known, jobs[0].tree["sweep"]["requeue"])
            return ended, {number for number, one in ended.items() if not one.unsettled}

        with _watching(conductor, jobs):
            try:
                ended, settled = look()
                while left := [one for one in left if not settled >= set(one.jobs)]:
                    before = len(settled)
                    said |= self._launch(task, left, conductor.folder)
                    left = [one for one in left if CANCELLED not in said[one.jobs[0]]]
                    ended, settled = look()
                    stopped = config.workbench.fail_fast and any(one.went_wrong for one in ended.values())
                    if stopped or len(settled) == before:
                        break
            except BaseException:
                with suppress(TrackingError):
                    close_dead(conductor.tracker)
                raise
            finally:
                Turns(turns_file(task.token)).forget()
        for number, one in ended.items():
            if one.unsettled:
                ended[number] = still_counted(one, said.get(number) or one.unsettled)
        for job in () if stopped else jobs:
            why = said.get(job.number) or f"hydra/launcher={self.name} gave no reason"
            lost = Outcome("failed", error=f"no worker began it: {why}")
            ended.setdefault(job.number, Ended(job, "", lost))
        return [ended[job.number] for job in jobs if job.number in ended]

    def _turns(self, jobs: Sequence[Job], tasks: int) -> str:
        """What to say where more tasks run at once on this host, as far as the launcher says, than have a GPU."""
        if not gpus.gpus() or not self.is_here:
            return ""
        asked = int(self._hydra.launcher.get("n_jobs") or tasks)
        at_once = min(tasks, asked if asked > 0 else len(os.sched_getaffinity(0)))
        return gpus.turns_of([job.tree for job in jobs], at_once)

    def _launch(self, task: Task, shares: Sequence[Share], folder: Path) -> dict[int, str]:
        """Have the plugin carry the shares to their end; what it or a worker says of the jobs that went wrong."""
        os.environ.update(python_path())
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        master = OmegaConf.create({"hydra": copy.deepcopy(self._hydra)})
        quiet = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}
        with open_dict(master):
            master.hydra.job.env_set = {}  # the jobs have it, and give it to their processes alone
            master.hydra.sweep.dir, master.hydra.sweep.subdir = str(folder / "launcher"), "${hydra.job.num}"
            master.hydra.hydra_logging, master.hydra.job_logging, master.hydra.output_subdir = (
                quiet,
                quiet,
                None,
            )
        JobRuntime.instance().set("name", "workbench")
        context = HydraContext(_Frozen(), Callbacks())
        ids: list[str] = []
        try:
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=task, config=master
            )
            ours = _SUBMITIT in type(launcher).__module__
            with each_to_its_end(ids) if ours else nullcontext():
                returned = launcher.launch([[share.override()] for share in shares], initial_job_idx=0)
        except BaseException as error:
            cancel(ids)
            _end_workers()
            if not isinstance(error, Exception):
                raise
            said = [f"{type(error).__name__}: {' '.join(str(error).split())}"] * len(shares)
        else:
            said = [one._return_value for one in returned]
            said = [one if isinstance(one, EndedTask) else _Returned(one) for one in said]
        return {number: words for share, words in zip(shares, said, strict=True) for number in share.jobs}


class _Frozen:
    """Stands where a launcher expects Hydra's config loader: a task's config is its share, nothing is composed."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        config = copy.deepcopy(master_config)
        with open_dict(config):
            config.share = json.loads(sweep_overrides[0].partition("=")[2])
            config.hydra.overrides.task = list(sweep_overrides)
        return config


def _ends(
    conductor: Conductor, token: str, jobs: Sequence[Job], known: Ledger, requeue: int
) -> dict[int, Ended]:
    """How jobs have ended, by number, in this launch or before. Runs whose worker on this host died are closed.

    Those of a block that is to run again, since it was disturbed, are unsettled until it has: what set it aside
    may have failed, or died half way.
    """
    tracker = conductor.tracker
    close_dead(tracker)
    by_number = {job.number: job for job in jobs}
    before = {run.run_id: job for job in jobs if (run := known.finished(job))}
    ended: dict[int, Ended] = {}
    attempts: dict[int, int] = {}
    for run in tracker.find(conductor.experiment, {SWEEP: conductor.tags[SWEEP]}):
        job = before.get(run.run_id)
        if run.tags.get(LAUNCH) == token:
            job = by_number.get(int(run.tags.get(ORDER, -1)))
        if job is not None:
            ended[job.number] = ended_as_recorded(job, run)
            ended[job.number].is_known = run.run_id in before
            ended[job.number].unsettled = _UNTOLD if run.requeued else ""
            attempts[job.number] = run.attempt
    for block, of_block in groupby(jobs, key=lambda job: job.block):
        members = [job.number for job in of_block]
        if block and all(attempts.get(number, 0) in range(1, requeue + 1) for number in members):
            found = [ended[number] for number in members]
            if any(disturbance(one.outcome.result["metrics"], REQUEUE_SPREAD) for one in found):
                for one in found:
                    one.unsettled = _UNTOLD
    return ended


def _close_ended(conductor: Conductor, token: str, said: Mapping[int, str]) -> None:
    """Close runs of tasks that are known to have ended, on any host, and have those that died say what of."""
    tracker = conductor.tracker
    ended = {str(number): words for number, words in said.items() if isinstance(words, EndedTask | _Returned)}
    for run in tracker.find(conductor.experiment, {LAUNCH: token}) if ended else ():
        words = ended.get(run.tags.get(ORDER, ""))
        if isinstance(words, _Returned):
            if run.status == "RUNNING":
                close_as(tracker, run.run_id, "FAILED", words or _UNCLOSED, begun=run.start)
        elif words and run.status in ("RUNNING", "KILLED") and words not in run.error:
            tracker.tag(run.run_id, {ERROR: f"{run.error}; {words}" if run.error else words})
            if run.status == "RUNNING":
                tracker.finish(run.run_id, "KILLED", begun=run.start)


@contextmanager
def _watching(conductor: Conductor, jobs: Sequence[Job]) -> Iterator[None]:
    """Show jobs as they end, by the files that they leave: as far as this host sees their folder."""
    by_number, over = {job.number: job for job in jobs}, threading.Event()
    seen = set(conductor.folder.glob(_RESULTS))  # of a sweep that is resumed

    def look() -> None:
        for path in set(conductor.folder.glob(_RESULTS)) - seen:
            job = by_number.get(int(path.parent.name.partition("-")[0]))
            try:
                result = json.loads(path.read_text())
            except (ValueError, OSError):  # half written, or not to be read now
                continue
            seen.add(path)
            if job is not None:
                outcome = Outcome(result["status"], error=result["error"], seconds=result["seconds"])
                conductor.watcher.ended(job, outcome)

    def watch() -> None:
        while not over.wait(1.0):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


def _end_workers() -> None:
    """End every process that a launcher has started from here, but what clears up after them: it ends with us."""
    children = [one for one in psutil.Process().children(recursive=True) if not _clears_up(one)]
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=10)


def _clears_up(process: psutil.Process) -> bool:
    """Whether this is the resource tracker of joblib's loky: without it this process' end is full of tracebacks."""
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:
        return False


def is_there(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
