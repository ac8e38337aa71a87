"""What a launcher's worker does: it reads frozen jobs from the sweep's own run, and runs each in its one run."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from workbench.places import of_this_host
from workbench.process.child import Message, Outcome
from workbench.provenance import code_version, settings
from workbench.record import Run
from workbench.record.plan import Job, Plan, plan_json, read_plan
from workbench.record.tags import ATTEMPT, LAUNCH, LAUNCHER, ORDER, OWNER
from workbench.sweep.conduct import Conductor, Ended, Prepared, PrepareError, data_key
from workbench.sweep.journal import Journal, close_as, is_dead
from workbench.sweep.ledger import Ledger
from workbench.sweep.origin import Origin
from workbench.sweep.progress import Watcher
from workbench.sweep.slurm import ended_by_slurm
from workbench.sweep.turns import Turns
from workbench.tracking import Tracker, TrackingError

_OUTCOMES: dict[str, Literal["finished", "failed", "killed"]] = {"FINISHED": "finished", "KILLED": "killed"}
_THREADS = ("OMP", "MKL", "OPENBLAS", "BLIS", "VECLIB", "NUMEXPR")
_SET_BY_LAUNCHERS = (
    "PYTHONHASHSEED",
    *(f"{name}_{'MAXIMUM' if name == 'VECLIB' else 'NUM'}_THREADS" for name in _THREADS),
)
"""Variables that launchers set for their workers, and that bear on a run's speed or rounding."""


@dataclass(frozen=True)
class Share:
    """What one task is to do: the numbers of its jobs, and what of them a resumed sweep had done before."""

    jobs: tuple[int, ...]
    attempt: int
    done: dict[str, str]

    @classmethod
    def of(cls, jobs: Sequence[Job], known: Ledger) -> Share:
        """These jobs of a block, or of all there is where each is a block of its own."""
        done = {str(job.number): run.run_id for job in jobs if (run := known.finished(job))}
        return cls(tuple(job.number for job in jobs), known.attempts.get(jobs[0].block, 1), done)

    def override(self) -> str:
        """As a launcher carries it: an override of Hydra's."""
        return f"share={json.dumps([self.jobs, self.attempt, self.done], separators=(',', ':'))}"

    @classmethod
    def read(cls, share: Sequence[Any]) -> Share:
        """As a worker gets it."""
        jobs, attempt, done = share
        return cls(tuple(jobs), int(attempt), dict(done))


@dataclass(frozen=True)
class Task:
    """What a launcher's worker does with a share of the sweep's frozen jobs. Pickled; holds no password."""

    uri: str
    artifacts: str | None
    experiment: str
    parent: str
    folder: str
    origin: Origin
    token: str
    tags: dict[str, str]
    prepared: dict[str, Prepared]
    titles: dict[str, str]
    environment: dict[str, str | None]

    @classmethod
    def of(cls, conductor: Conductor, jobs: Sequence[Job], token: str, launcher: str) -> Task:
        """The jobs of a conductor, for others to run: they find them frozen with the sweep's own run."""
        assert conductor.parent is not None
        frozen = conductor.folder / _frozen(token)
        frozen.write_text(plan_json(Plan(list(jobs), [], len({job.block for job in jobs}), False)))
        conductor.tracker.artifact(conductor.parent, frozen)
        conductor.tracker.tag(conductor.parent, {LAUNCH: token})
        return cls(
            conductor.tracker.uri,
            str(conductor.tracker.artifacts) if conductor.tracker.artifacts else None,
            conductor.experiment_name,
            conductor.parent,
            str(conductor.folder),
            conductor.origin,
            token,
            {**conductor.tags, LAUNCH: token, LAUNCHER: launcher},
            dict(conductor.prepared),
            dict(conductor.titles),
            {name: os.environ.get(name) for name in (*_SET_BY_LAUNCHERS, *settings(os.environ))},
        )

    def __call__(self, config: DictConfig) -> str:
        """Run the jobs of a share, one after another, each to its end; what of it the record does not say.

        That is why a job has no run, why its run could not be closed, and why its block was not set aside.
        """
        for name in {*self.environment, *settings(os.environ)}:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in self.environment.items() if value is not None})
        if code_version() != self.origin.common["code.sha256"]:
            raise RuntimeError(
                f"the workbench on {socket.gethostname()} is other code than the sweep was planned with; install "
                "the same on every host, and edit nothing while a sweep runs"
            )
        worker = _worker(self)
        worker.share = Share.read(config.share)
        jobs = [job for job in worker.jobs if job.number in worker.share.jobs]
        known = Ledger(attempts={jobs[0].block: worker.share.attempt})
        with ended_by_slurm():
            ended = worker.run_blocks(jobs, known=known)
        lost = [worker.not_recorded(one) for one in ended]
        return "; ".join(dict.fromkeys(why for why in lost if why))


@dataclass
class _Worker(Conductor):
    """Conducts jobs in a launcher's worker."""

    token: str = ""
    share: Share = Share((), 1, {})

    def __post_init__(self) -> None:
        super().__post_init__()
        frozen = self.folder / _frozen(self.token)
        here = frozen.is_file()
        text = frozen.read_text() if here else self.tracker.read_text(self.parent or "", frozen.name)
        self.jobs = read_plan(text)[0].jobs
        self._turns = Turns(turns_file(self.token))

    def not_recorded(self, one: Ended) -> str:
        """What of a job's end its run does not say, as far as the store answers; empty where it says all."""
        if one.unsettled or one.outcome.status == "finished":
            return one.unsettled
        with suppress(TrackingError):
            if one.run_id and self.tracker.get(one.run_id).status != "RUNNING":
                return ""
        return one.outcome.error

    def _is_wanted(self, job: Job) -> bool:
        """Whether the sweep still waits for this launch, and no job has failed where that ends it."""
        sweep = self.tracker.get(self.parent or "")
        gone = is_dead(sweep.tags[OWNER])
        if gone or sweep.status != "RUNNING" or sweep.tags.get(LAUNCH) != self.token:
            return False
        fail_fast = job.tree["workbench"]["fail_fast"]
        runs = self.tracker.find(self.experiment, {LAUNCH: self.token}) if fail_fast else []
        return all(run.status in ("RUNNING", "FINISHED") for run in runs)

    def _run(self, job: Job, attempt: int) -> Ended:
        """The job's one run: the one that there is, or a new one."""
        before = self.share.done.get(str(job.number))
        if before and attempt == self.share.attempt:
            return replace(ended_as_recorded(job, self.tracker.get(before)), is_known=True)
        which = {LAUNCH: self.token, ORDER: str(job.number), ATTEMPT: str(attempt)}
        for run in self.tracker.find(self.experiment, which):
            if run.status == "RUNNING":
                words = "its worker died, and the launcher started its task again"
                close_as(self.tracker, run.run_id, "KILLED", words, begun=run.start)
            return ended_as_recorded(job, self.tracker.get(run.run_id))
        if not self._is_wanted(job):
            return Ended(job, "", Outcome("failed", error="its sweep no longer waits for it"))
        self._have_data(job)
        with self._turns:
            return super()._run(job, attempt)

    def _hear(self, journal: Journal, message: Message) -> None:
        super()._hear(journal, message)
        if message["kind"] == "quiet":
            self._turns.alone()

    def _have_data(self, job: Job) -> None:
        """A host that does not see the prepared data makes its own, which must be the same."""
        planned = self.prepared[data_key(job.tree)]
        if Path(planned.folder).is_dir():
            return
        del self.prepared[data_key(job.tree)]
        try:
            self.prepare([job])
            found = self.prepared[data_key(job.tree)]
        except BaseException:
            self.prepared[data_key(job.tree)] = planned  # the next job of it tries again
            raise
        if found.fingerprint != planned.fingerprint:
            self.prepared[data_key(job.tree)] = planned
            raise PrepareError(
                f"data.fingerprint: the source on {socket.gethostname()} gives {found.fingerprint}, the sweep was "
                f"planned with {planned.fingerprint}; put data.cache_dir on a disk that all hosts see"
            )


_workers: dict[str, _Worker] = {}


def _worker(task: Task) -> _Worker:
    """This process' conductor of the launch, kept from task to task with its fork server.

    Launchers keep their processes too, from launch to launch: what was kept of another launch is over.
    """
    for other in set(_workers) - {task.token}:
        _workers.pop(other).close()
    if task.token not in _workers:
        folder = Path(task.folder)
        folder.mkdir(parents=True, exist_ok=True)
        worker = _Worker(
            Tracker(task.uri, task.artifacts, create=False),
            task.experiment,
            folder,
            Watcher.mute(),
            task.tags,
            parent=task.parent,
            origin=task.origin,
            titles=task.titles,
            token=task.token,
        )
        worker.prepared.update(task.prepared)
        _workers[task.token] = worker
    return _workers[task.token]


def ended_as_recorded(job: Job, run: Run) -> Ended:
    """A recorded run as the process that conducted it would tell of it."""
    error = run.error
    if run.status == "RUNNING":
        error = "the launcher has ended, but nobody has closed this run; it may still go on, on another host"
    status = _OUTCOMES.get(run.status, "failed")
    found = {"metrics": dict(run.metrics)}
    return Ended(job, run.run_id, Outcome(status, found, error, seconds=run.seconds))


def turns_file(token: str) -> Path:
    """What the jobs of a launch that run on this host take turns by."""
    return of_this_host() / f"workbench-{os.getuid()}-{token}.lock"


def _frozen(token: str) -> str:
    return f"launched-{token}.json"
