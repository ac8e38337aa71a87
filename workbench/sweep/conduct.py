"""Runs the jobs of a plan one after another, each in a process of its own, and keeps a record of each."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from workbench.config import EXPERIMENT_GROUPS, flatten
from workbench.provenance import code_version, git_diff, provenance
from workbench.record import identity
from workbench.sweep.grid import Job, Plan, Tree
from workbench.sweep.progress import Watcher
from workbench.sweep.spawner import ForkServer, Fresh, Spawner
from workbench.sweep.worker import PADDING, Message, Outcome, random_environment, run_child
from workbench.tracking import Tracker

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "timed_out": "FAILED"}
_NOT_PARAMS = ("sweep.", "workbench.", "tracking.")
_ROWS = 500


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


@dataclass
class Conductor:
    """Runs jobs. `tags` go to every run; `parent` is the run of the sweep, where there is one."""

    tracker: Tracker
    experiment: str
    folder: Path
    watcher: Watcher
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    time_limit_s: float | None = None
    forks: bool = True
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _server: ForkServer | None = None
    _server_block: int = -1
    _environment: dict[str, str] = field(default_factory=dict)

    def prepare(self, jobs: list[Job]) -> None:
        """Make or open each data set that the jobs need, once, before the first of them.

        Raises:
            PrepareError: with the reason, which names the file and the remedy.
        """
        for job in jobs:
            key = _data_key(job.tree)
            if key in self._prepared:
                continue
            self.watcher.say(f"preparing data={job.tree['data']['name']}")
            frozen = _freeze(job.tree, self.folder / f"prepare-{len(self._prepared)}")
            outcome = run_child(
                ["--prepare", str(frozen)],
                output=frozen.with_name("output.log"),
                on_message=self._say,
                spawner=self._spawner(0),
            )
            if outcome.status != "finished":
                raise PrepareError(outcome.error)
            self._prepared[key] = Prepared(outcome.result["folder"], outcome.result["fingerprint"])

    def run(self, job: Job, *, attempt: int = 1) -> Ended:
        """One job to its end, recorded whatever the end."""
        folder = self.folder / f"{job.number:04d}"
        frozen = _freeze(job.tree, folder)
        spawner = self._spawner(job.block)
        environment = {} if self.forks else random_environment()
        prepared = self._prepared[_data_key(job.tree)]
        run_id = self.tracker.start(
            self.experiment,
            _run_name(job),
            params={**_params(job.tree), "data.fingerprint": prepared.fingerprint},
            tags={
                **provenance(),
                **self.tags,
                "workbench.kind": "run",
                "workbench.arm": job.arm,
                "workbench.block": str(job.block),
                "workbench.repeat": str(job.repeat),
                "workbench.order": str(job.number),
                "workbench.attempt": str(attempt),
                "workbench.identity": identity(
                    job.tree, EXPERIMENT_GROUPS, prepared.fingerprint, code_version()
                ),
                "workbench.start": spawner.name,
                "environment.padding_bytes": str(len({**self._environment, **environment}.get(PADDING, ""))),
            },
            parent=self.parent,
        )
        self.watcher.began(job)
        writer = _Writer(self.tracker, run_id, self.watcher, job)
        try:
            outcome = run_child(
                [str(frozen)],
                output=folder / "output.log",
                on_message=writer.take,
                environment=environment,
                time_limit_s=self.time_limit_s,
                spawner=spawner,
            )
        except BaseException:
            writer.flush()
            self.tracker.tag(run_id, {"workbench.error": "interrupted"})
            self.tracker.finish(run_id, "KILLED")
            raise
        self._close(run_id, folder, writer, outcome)
        self.watcher.ended(job, outcome)
        return Ended(job, run_id, outcome)

    def close(self) -> None:
        """End the fork server, where there is one."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _spawner(self, block: int) -> Spawner:
        """A new fork server for each block: the memory layout belongs to the block, as the seed does."""
        if not self.forks:
            return Fresh()
        if self._server is None or block != self._server_block:
            self.close()
            self._environment = random_environment()
            self._server, self._server_block = (
                ForkServer(self.folder / "server.log", self._environment),
                block,
            )
        return self._server

    def _close(self, run_id: str, folder: Path, writer: _Writer, outcome: Outcome) -> None:
        writer.flush()
        if outcome.status == "finished":
            result = outcome.result
            self.tracker.params(run_id, result["facts"])
            self.tracker.log(run_id, [(0, result["metrics"])])
            self.tracker.tag(run_id, result["tags"])
        else:
            self.tracker.tag(run_id, {"workbench.error": outcome.error[:5000]})
            (folder / "traceback.txt").write_text(outcome.trace or outcome.error)
        if diff := git_diff():
            (folder / "changes.patch").write_text(diff)
        self.tracker.artifact(run_id, folder)
        self.tracker.finish(run_id, _STATUS[outcome.status])

    def _say(self, message: Message) -> None:
        if message["kind"] == "note":
            self.watcher.say(f"  {message['text']}")


class _Writer:
    """Collects what a run logs and writes it in batches; all is down before a quiet time is granted."""

    def __init__(self, tracker: Tracker, run_id: str, watcher: Watcher, job: Job) -> None:
        self._tracker, self._run_id, self._watcher, self._job = tracker, run_id, watcher, job
        self._rows: list[tuple[int, Mapping[str, float]]] = []

    def take(self, message: Message) -> None:
        if message["kind"] == "log":
            self._rows.append((message["step"], message["values"]))
        self._watcher.heard(self._job, message)
        if message["kind"] == "quiet":
            self.flush()
            self._watcher.silent()
        elif len(self._rows) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._tracker.log(self._run_id, self._rows)
            self._rows = []


def new_sweep_id() -> str:
    """An id that sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def plan_json(plan: Plan) -> str:
    """The frozen grid: every job with its whole config, and what was skipped and why."""
    jobs = [
        {"number": j.number, "arm": j.arm, "block": j.block, "repeat": j.repeat, "config": j.tree}
        for j in plan.jobs
    ]
    skipped = [{"arm": s.arm, "reason": s.reason} for s in plan.skipped]
    return json.dumps({"jobs": jobs, "skipped": skipped}, indent=1, sort_keys=True)


def _freeze(tree: Tree, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def _data_key(tree: Tree) -> str:
    kept = {key: value for key, value in tree["data"].items() if key not in ("batch_size", "parse")}
    return json.dumps(kept, sort_keys=True)


def _params(tree: Tree) -> dict[str, Any]:
    flat = flatten({k: v for k, v in tree.items() if f"{k}." not in _NOT_PARAMS})
    return {key: value for key, value in flat.items() if key != "data.cache_dir"}


def _run_name(job: Job) -> str:
    again = " again" if job.repeat else ""
    return f"{job.block:02d} {job.arm}{again}"[:250]
