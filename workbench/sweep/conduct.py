"""Runs the jobs of a plan one after another, each in a process of its own, and keeps a record of each."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import yaml

from workbench.data.errors import DataError
from workbench.data.lengths import histogram_text, profile
from workbench.data.manifest import Manifest, load_manifest
from workbench.identity import identity
from workbench.options.data import HOW_READ
from workbench.places import parts_of_checkpoint
from workbench.process.child import PADDING, Message, Outcome, random_environment, run_child
from workbench.process.spawner import ForkServer, Fresh, Spawner
from workbench.record import Run, arm_tag
from workbench.record import tags as names
from workbench.record.gate import REQUEUE_SPREAD, disturbance
from workbench.record.plan import Job, Tree, publishable
from workbench.record.tags import AGAIN, ASIDE, RERUN, THROW_AWAY
from workbench.sweep import gpus
from workbench.sweep.fitting import require_fitting
from workbench.sweep.journal import InterruptedByError, Journal, close_as, close_by, owner
from workbench.sweep.ledger import ANOTHER, Ledger
from workbench.sweep.origin import Origin
from workbench.sweep.progress import Watcher
from workbench.tracking import Tracker, TrackingError
from workbench.tracking.addresses import require_answer

CONFIG = "config.yaml"
_TRIES = 3


class PrepareError(RuntimeError):
    """The data set could not be made or opened; nothing was run."""


@dataclass
class Prepared:
    """A data set that is ready: where it lies and what it is."""

    folder: str
    fingerprint: str


@dataclass
class Ended:
    """A job, its run, and how it ended."""

    job: Job
    run_id: str
    outcome: Outcome
    unsettled: str = ""
    """Why its block, which was disturbed and is to run again, could not be set aside; empty where it was."""
    is_known: bool = False
    """Whether it had ended before this command."""

    @property
    def went_wrong(self) -> bool:
        """Whether it failed now; what had failed before ends no sweep."""
        return self.outcome.status != "finished" and not self.is_known


@dataclass
class Conductor:
    """Runs jobs. `tags` go to every run; `parent` is the run of the sweep, where there is one.

    `kind` is what its runs are: of kind `run` a sweep counts and judges them, of any other it does not.
    """

    tracker: Tracker
    experiment_name: str
    folder: Path
    watcher: Watcher
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    kind: str = "run"
    prepared: dict[str, Prepared] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    titles: Mapping[str, str] = field(default_factory=dict)
    """What arms are called in MLflow and on the terminal, where that is not their own name."""
    experiment: str = field(init=False)
    _server: ForkServer | None = None
    _server_of: tuple[int, Mapping[str, str]] | None = None
    _environment: dict[str, str] = field(default_factory=dict)
    _gpus: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.experiment = self.tracker.experiment(self.experiment_name)

    def prepare(self, jobs: list[Job]) -> None:
        """Make or open each data set that the jobs need, once, before the first of them.

        Raises:
            PrepareError: with the reason, which names the file and the remedy.
            ConfigError: a job cannot be on its data set, as the manifest says.
        """
        for words in self.origin.repositories.failures:
            self.watcher.say(f"what is not committed is recorded as unknown: {words}")
        for job in jobs:
            key = data_key(job.tree)
            if key in self.prepared:
                continue
            self.watcher.say(f"preparing data={job.tree['data']['name']}")
            # of its own: workers on other hosts may prepare theirs in the same folder
            try:
                frozen = freeze(job.tree, _new_folder(self.folder / f"prepare-{len(self.prepared)}"))
            except OSError as error:
                raise PrepareError(f"tracking.folder: {self.folder} cannot be written: {error}") from error
            for _ in range(_TRIES):
                outcome = run_child(
                    ["--prepare", str(frozen)],
                    output=frozen.with_name("output.log"),
                    on_message=self._say,
                    environment=variables(job),
                    time_limit_s=job.tree["workbench"].get("prepare_limit_s"),
                    spawner=self.spawner(job, jobs[0].block),
                )
                if outcome.status != "killed":
                    break
                self.close()  # nobody's fault but the machine's: try again
            if outcome.status == "timed_out":
                raise PrepareError(_hung(job.tree, frozen.parent))
            if outcome.status != "finished":
                raise PrepareError(outcome.error)
            self.prepared[key] = Prepared(outcome.result["folder"], outcome.result["fingerprint"])
        require_fitting(jobs, lambda job: self.prepared[data_key(job.tree)].folder)

    def fingerprint(self, job: Job) -> str:
        """What the data of a job is; it must have been prepared."""
        return self.prepared[data_key(job.tree)].fingerprint

    def run_blocks(self, jobs: list[Job], *, known: Ledger | None = None) -> list[Ended]:
        """Every block to its end; one that the calibration gate finds disturbed is run again as a whole.

        What `known` has as done is not run again, but stands in its block, also before the gate.
        """
        known = known or Ledger()
        ended: list[Ended] = []
        for block, of_block in groupby(jobs, key=lambda job: job.block):
            members = list(of_block)
            last = (members[0].tree["sweep"]["requeue"] if block else 0) + 1
            attempt = known.attempts.get(block, 1)
            while True:
                done: list[Ended] = []
                for job in members:
                    before = known.done.get((job.number, attempt))
                    done.append(_known(job, before) if before else self.run(job, attempt=attempt))
                    fail_fast = job.tree["workbench"]["fail_fast"]
                    if done[-1].went_wrong and (fail_fast or self._store_is_gone()):
                        return ended + done
                try:
                    again = attempt < last and self.set_aside(done)
                except TrackingError as error:
                    done, again = [still_counted(one, str(error)) for one in done], False
                if not again:
                    break
                attempt += 1
            ended += done
        return ended

    def _store_is_gone(self) -> bool:
        """Whether a server no longer answers: each job that is left would wait for it anew."""
        try:
            require_answer(self.tracker.uri)
        except TrackingError as error:
            self.watcher.say(f"{error}. What is left was not begun; workbench.resume=true begins it")
            return True
        return False

    def run(self, job: Job, *, attempt: int = 1) -> Ended:
        """One job to its end, recorded whatever the end.

        All that the child says is written to the run's folder first, so that a tracking server that fails
        loses nothing: the job then counts as failed, and the error names the folder. Nothing that goes wrong
        with the disk or the database while a job is run ends the sweep.
        """
        try:
            with gpus.held(job.tree, variables(job), self.watcher.say) as self._gpus:
                ended = self._run(job, attempt)
        except (OSError, TrackingError) as error:
            where = f"{self.folder}: " if isinstance(error, OSError) and not error.filename else ""
            why = f"could not be started or recorded: {where}{error}"
            ended = Ended(job, "", Outcome("failed", error=why))
        if ended.outcome.status == "killed":
            self.close()  # the server may have died with its child
        self.watcher.ended(job, ended.outcome)
        return ended

    def _run(self, job: Job, attempt: int) -> Ended:
        folder = _new_folder(self.folder / f"{job.number:04d}-{attempt}")
        freeze(job.tree, folder)
        fingerprint, made_by = self.fingerprint(job), self.origin.made_by(job.tree)
        spawner = self.spawner(job, job.block)
        padding = {} if forks(job) else random_environment()
        environment = {**padding, **variables(job), **self._gpus}
        run_id = self.tracker.start(
            self.experiment,
            run_name(job, self.titles),
            params={**job.params, "data.fingerprint": fingerprint},
            tags={
                **self.origin.tags(job.tree),
                **self.tags,
                **owner(),
                names.KIND: self.kind,
                names.ARM: arm_tag(job.arm, self._beside(job)),
                names.TITLE: arm_tag(self.titles.get(job.arm, job.arm), self._beside(job)),
                names.BLOCK: str(job.block),
                names.REPEAT: str(job.repeat),
                names.ORDER: str(job.number),
                names.ATTEMPT: str(attempt),
                names.IDENTITY: identity(job.tree, fingerprint, made_by),
                names.START: spawner.name,
                **({names.VISIBLE: self._gpus[gpus.VISIBLE]} if self._gpus else {}),
                "environment.padding_bytes": str(len({**self._environment, **environment}.get(PADDING, ""))),
            },
            parent=self.parent,
        )
        self.watcher.began(job)
        try:
            outcome = self._conduct(job, run_id, folder, spawner, environment)
        except (OSError, TrackingError, DataError) as error:
            # the disk is full, its folder was taken away, the store does not take what it reads, or that is damaged
            outcome = Outcome("failed", error=f"{_what_failed(error, folder)}: {error}")
            close_as(self.tracker, run_id, "FAILED", outcome.error)
        except BaseException as error:
            with suppress(TrackingError):
                if self.tracker.get(run_id).status == "RUNNING":
                    close_by(self.tracker, run_id, error)
            raise
        return Ended(job, run_id, outcome)

    def _conduct(
        self, job: Job, run_id: str, folder: Path, spawner: Spawner, environment: Mapping[str, str]
    ) -> Outcome:
        prepared = self.prepared[data_key(job.tree)]
        if (manifest := Path(prepared.folder) / "manifest.json").is_file():
            shutil.copy(manifest, folder / "data_manifest.json")
            self._say_inputs(run_id, load_manifest(prepared.folder))
        made_by = self.origin.write(job.tree, folder)
        with Journal(folder, self.tracker, run_id, self.watcher, job) as journal:
            # beside the run's folder: a run of the same job after a kill has another one
            own = folder.with_name(f"checkpoint-{_place_of(job)}.npz")
            place = ["--data", prepared.folder, "--made-by", str(made_by), "--checkpoint", str(own)]
            try:
                outcome = run_child(
                    [str(folder / CONFIG), *place],
                    output=folder / "output.log",
                    on_message=lambda message: self._hear(journal, message),
                    environment=environment,
                    time_limit_s=job.tree["workbench"]["time_limit_s"],
                    spawner=spawner,
                )
            except OSError:
                raise
            except BaseException as error:
                journal.interrupted(str(error) if isinstance(error, InterruptedByError) else "interrupted")
                raise
            limit = job.tree["workbench"]["memory_limit_mb"]
            if (
                limit and not outcome.result and outcome.status in ("failed", "killed")
            ):  # what runs over it raises or aborts anyhow
                outcome.error += f" (under workbench.memory_limit_mb={limit})"
            if outcome.status == "timed_out":
                outcome.error += "; workbench.time_limit_s gives more"
            self.origin.meet(job.tree, outcome.result.get("tags", {}))
            ended = journal.close_with(outcome)
        if ended.status == "finished":  # and is recorded: until then it is what a resume goes on from
            for file in parts_of_checkpoint(own):
                with suppress(OSError):  # what cannot be removed is of no use, and of no harm
                    file.unlink(missing_ok=True)
        return ended

    def _say_inputs(self, run_id: str, manifest: Manifest) -> None:
        """Which data a run reads, as MLflow shows it, and the lengths that it trains on, as reports draw them."""
        splits = {name: profile(split.histogram) for name, split in manifest.splits.items() if split.examples}
        self.tracker.inputs(run_id, manifest.name, manifest.fingerprint, splits)
        self.tracker.tag(run_id, {names.LENGTHS: histogram_text(manifest.splits["train"].histogram)})

    def set_aside(self, block: list[Ended]) -> bool:
        """Tag the runs of a block as not to be judged where one of them was disturbed; whether it was.

        Nothing is deleted. Only the calibration and other processes' CPU time are looked at, never a speed.
        """
        reasons = {e.run_id: disturbance(e.outcome.result.get("metrics", {}), REQUEUE_SPREAD) for e in block}
        found = [reason for reason in reasons.values() if reason]
        if not found:
            return False
        self.watcher.say(f"block {block[0].job.block} is run again: {found[0]}")
        for run_id, reason in reasons.items():
            if run_id:
                self.tag_aside(run_id, reason or ANOTHER)
        return True

    def tag_aside(self, run_id: str, why: str = ANOTHER) -> None:
        """Say of a run that it is not to be judged, since its block is run again."""
        run = self.tracker.get(run_id)
        title = names.arm_of(run.tags.get(names.TITLE, run.arm))
        self.tracker.tag(
            run_id,
            {
                names.REQUEUED: "true",
                names.DISTURBED: why,
                names.ARM: arm_tag(run.arm, ASIDE),
                names.TITLE: arm_tag(title, ASIDE),
            },
        )

    def _beside(self, job: Job) -> str:
        """What a run of a job is, where it is none that its arm is judged by; empty where it is one."""
        if self.kind != "run":
            return RERUN
        return THROW_AWAY if job.block == 0 else AGAIN if job.repeat else ""

    def close(self) -> None:
        """End the fork server, where there is one."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def spawner(self, job: Job, block: int) -> Spawner:
        """A new fork server for each block: the memory layout belongs to the block, as the seed does.

        One also for other variables of a job: what TensorFlow reads when it is imported, the server has read.
        """
        if not forks(job):
            return Fresh()
        given = variables(job)
        if self._server is None or self._server.is_gone or self._server_of != (block, given):
            self.close()
            self._environment = {**random_environment(), **given}
            self._server = ForkServer(self.folder / "server.log", self._environment)
            self._server_of = (block, given)
        return self._server

    def _hear(self, journal: Journal, message: Message) -> None:
        journal.take(message)

    def _say(self, message: Message) -> None:
        if message["kind"] == "note":
            self.watcher.say(f"  {message['text']}")


def forks(job: Job) -> bool:
    """Whether a job is forked from a server, as `workbench.start` says."""
    start = job.tree["workbench"]["start"]
    return start == "fork" or (start == "auto" and sys.platform == "linux")


def new_sweep_id() -> str:
    """An id that sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def _known(job: Job, run: Run) -> Ended:
    """A job that had a result before the sweep was resumed."""
    status: Literal["finished", "failed"] = "failed" if run.diverged else "finished"
    error = (run.error or "diverged") if run.diverged else ""
    return Ended(job, run.run_id, Outcome(status, {"metrics": dict(run.metrics)}, error), is_known=True)


def still_counted(one: Ended, why: str) -> Ended:
    """A job of a disturbed block whose runs could not all be marked: named as failed, for a resume to settle."""
    if one.outcome.status != "finished":
        return one
    words = f"its block was disturbed, but could not be set aside: {why}; workbench.resume=true runs it again"
    return Ended(one.job, one.run_id, Outcome("failed", error=words, seconds=one.outcome.seconds), why)


def _new_folder(wanted: Path) -> Path:
    """A folder of this one alone: one that died may have left its own under the wanted name, which is kept."""
    names = itertools.chain([wanted.name], (f"{wanted.name}.{n}" for n in itertools.count(2)))
    for name in names:
        try:
            folder = wanted.with_name(name)
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def freeze(tree: Tree, folder: Path) -> Path:
    """Write a job's configuration into a folder, as a child reads it; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG
    path.write_text(yaml.safe_dump(publishable(tree), sort_keys=False))
    return path


def _hung(tree: Tree, folder: Path) -> str:
    limit, name = tree["workbench"]["prepare_limit_s"], tree["data"]["name"]
    return (
        f"workbench.prepare_limit_s={limit:g}: data={name} was not ready by then, and its process was ended. "
        f"It hangs ({folder / 'output.log'} ends in where; another process may hold the lock of "
        "data.cache_dir), or needs longer: then give it more"
    )


def variables(job: Job) -> dict[str, str]:
    """What `hydra.job.env_set` gives a job's process."""
    return dict(job.tree.get("environment") or {})


def _what_failed(error: OSError | TrackingError | DataError, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"its folder {folder} could not be written"
    return "could not be read" if isinstance(error, DataError) else "could not be recorded"


def _place_of(job: Job) -> str:
    """What stands for a job in a file's name, whatever its number in a plan that has grown."""
    return hashlib.sha256(repr(job.key).encode()).hexdigest()[:12]


def data_key(tree: Tree) -> str:
    """What tells one prepared data set from another."""
    kept = {key: value for key, value in tree["data"].items() if key not in HOW_READ}
    return json.dumps(kept, sort_keys=True)


def run_name(job: Job, titles: Mapping[str, str]) -> str:
    """A run's name, which begins with what it is a run of: "bucket · block 5"."""
    block = "throw-away" if job.block == 0 else f"block {job.block}"
    again = " · again" if job.repeat else ""
    return f"{titles.get(job.arm, job.arm)[:220]} · {block}{again}"
