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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

import psutil
from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from workbench.config import Config, ConfigError, Problem
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended
from workbench.sweep.grid import Job
from workbench.sweep.journal import close_dead
from workbench.sweep.ledger import REQUEUED, Ledger
from workbench.sweep.spawner import python_path
from workbench.sweep.task import LAUNCH, Share, Task, ended_as_recorded, turns_file
from workbench.sweep.turns import Turns
from workbench.sweep.worker import Outcome

_SWEEP = "workbench.sweep"
_RESULTS = "[0-9]*/result.json"


class Launch:
    """A sweep's launcher, as a person chose and configured it."""

    def __init__(self, name: str, hydra: DictConfig) -> None:
        self.name, self._hydra = name, hydra

    @classmethod
    def chosen(cls, compose: Composer, overrides: Sequence[str]) -> Launch | None:
        """What `hydra/launcher=` names; None for Hydra's basic one, in whose place the sweep's own loop runs.

        Raises:
            ConfigError: its package is not installed.
        """
        hydra = compose.hydra(overrides)
        name = hydra.runtime.choices["hydra/launcher"]
        if name == "basic":
            return None
        plugin = ".".join(hydra.launcher._target_.split(".")[:2])
        ours = re.fullmatch(r"hydra_plugins\.hydra_(joblib|submitit|ray)_launcher", plugin)
        for module in (plugin, *(ours.groups() if ours else ())):
            if not is_there(module):
                remedy = f"pip install 'rnn-workbench[{ours[1]}]'" if ours else "install its plugin"
                raise ConfigError([Problem("hydra/launcher", name, f"{module} is not installed: {remedy}")])
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
        conductor.watcher.launched(self.name)
        with _watching(conductor, jobs):
            try:
                ended = _ends(conductor, task.token, jobs, known)
                while left := [one for one in left if not ended.keys() >= set(one.jobs)]:
                    before = len(ended)
                    said = self._launch(task, left, conductor.folder)
                    ended = _ends(conductor, task.token, jobs, known)
                    failed = any(one.outcome.status != "finished" for one in ended.values())
                    if config.workbench.fail_fast and failed:
                        return [ended[job.number] for job in jobs if job.number in ended]
                    if len(ended) == before:
                        break
            except BaseException:
                close_dead(conductor.tracker)
                raise
            finally:
                Turns(turns_file(task.token)).forget()
        if left:
            error = f"no worker began it: {said or 'hydra/launcher=' + self.name + ' gave no reason'}"
            lost = Outcome("failed", error=error)
            ended = {job.number: Ended(job, "", lost) for job in jobs} | ended
        return [ended[job.number] for job in jobs]

    def _launch(self, task: Task, shares: Sequence[Share], folder: Path) -> str:
        """Have the plugin carry the shares to their end; what it or a worker says where something went wrong."""
        os.environ.update(python_path())
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        master = OmegaConf.create({"hydra": copy.deepcopy(self._hydra)})
        quiet = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}
        with open_dict(master):
            master.hydra.sweep.dir, master.hydra.sweep.subdir = str(folder / "launcher"), "${hydra.job.num}"
            master.hydra.hydra_logging, master.hydra.job_logging, master.hydra.output_subdir = (
                quiet,
                quiet,
                None,
            )
        JobRuntime.instance().set("name", "workbench")
        context = HydraContext(_Frozen(), Callbacks())
        try:
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=task, config=master
            )
            returned = launcher.launch([[share.override()] for share in shares], initial_job_idx=0)
        except BaseException as error:
            _end_workers()
            if not isinstance(error, Exception):
                raise
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return "; ".join({str(one._return_value) for one in returned} - {""})


class _Frozen:
    """Stands where a launcher expects Hydra's config loader: a task's config is its share, nothing is composed."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        config = copy.deepcopy(master_config)
        with open_dict(config):
            config.share = json.loads(sweep_overrides[0].partition("=")[2])
            config.hydra.overrides.task = list(sweep_overrides)
        return config


def _ends(conductor: Conductor, token: str, jobs: Sequence[Job], known: Ledger) -> dict[int, Ended]:
    """How jobs have ended, by number, in this launch or before. Runs whose worker on this host died are closed.

    A run that was set aside has an end of its own, but is not its job's: its block is to run again.
    """
    tracker = conductor.tracker
    close_dead(tracker)
    by_number = {job.number: job for job in jobs}
    before = {run.run_id: job for job in jobs if (run := known.finished(job))}
    ended = {}
    for run in tracker.find(conductor.experiment, {_SWEEP: conductor.tags[_SWEEP]}):
        tags, job = run.data.tags, before.get(run.info.run_id)
        if tags.get(LAUNCH) == token:
            job = by_number.get(int(tags.get("workbench.order", -1)))
        if job is not None and tags.get(REQUEUED) != "true":
            ended[job.number] = ended_as_recorded(job, run)
    return ended


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
            except ValueError:  # half written
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
    """End every process that a launcher has started from here."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=10)


def is_there(module: str) -> bool:
    """Whether a module is installed; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
