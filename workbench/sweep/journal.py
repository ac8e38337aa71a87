"""The book of one run: first in its folder, then in MLflow. What is in the folder is not lost with the server."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from workbench.places import KEPT_MODEL
from workbench.process.child import Message, Outcome
from workbench.record.plan import Job
from workbench.record.sections import by_section
from workbench.record.tags import ERROR, OWNER
from workbench.sweep.progress import Watcher
from workbench.tracking import Tracker, TrackingError
from workbench.tracking.writing import BATCH

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "timed_out": "FAILED"}
_SECONDS = 5.0
ENVIRONMENT = "environment.json"
_OF_ENVIRONMENT = ("version", "machine", "device", "environment", "git")
_RESUMES = (
    "Once tracking.uri answers again, the same command with workbench.resume=true counts what was recorded as "
    "finished and runs the rest"
)


class InterruptedByError(BaseException):
    """What ended this process' work is known, and says so."""


class RecordLostError(TrackingError):
    """The tracking server or database was lost when jobs had been run: no fault of what was typed."""


@contextmanager
def jobs_have_run(folder: Path, then: str = _RESUMES) -> Iterator[None]:
    """Say of a tracking error inside, which comes after jobs were run, what is safe and where, and what to do.

    Raises:
        RecordLostError: in its place.
    """
    try:
        yield
    except TrackingError as error:
        raise RecordLostError(
            f"{error}\njobs had been run before that: what each has said and found is safe in {folder} (a folder a "
            f"job: config.yaml, log.jsonl, result.json, output.log). {then}"
        ) from error


class Journal:
    """Writes down what a run says; everything is in MLflow before a quiet time is granted."""

    def __init__(self, folder: Path, tracker: Tracker, run_id: str, watcher: Watcher, job: Job) -> None:
        self._folder, self._tracker, self._run_id = folder, tracker, run_id
        self._watcher, self._job = watcher, job
        self._rows: list[tuple[int, Mapping[str, float]]] = []
        self._flushed = time.monotonic()
        self._lines = open(folder / "log.jsonl", "a", buffering=1)  # noqa: SIM115 closed on exit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def take(self, message: Message) -> None:
        """A message of the child."""
        if message["kind"] == "log":
            self._lines.write(json.dumps(message) + "\n")
            self._rows.append((message["step"], message["values"]))
        if message["kind"] == "curve":
            self._lines.write(json.dumps(message) + "\n")
            self._rows += [(step, {message["metric"]: value}) for step, value in message["points"]]
        self._watcher.heard(self._job, message)
        quiet = message["kind"] == "quiet"
        if quiet or time.monotonic() - self._flushed > _SECONDS:
            with suppress(TrackingError):  # kept, and tried again at the end
                self._flush()
        if quiet:
            self._watcher.silent()

    def interrupted(self, why: str) -> None:
        """The person or the system ended the sweep: the run is closed as killed, with what it had logged."""
        try:
            self._flush()
        except TrackingError as error:
            self._watcher.say(f"not recorded: {error}; what was logged lies in {self._folder}")
        close_as(self._tracker, self._run_id, "KILLED", why)

    def close_with(self, outcome: Outcome) -> Outcome:
        """Write down how the run ended and close it; the outcome, or a failure if MLflow did not take it."""
        (self._folder / "result.json").write_text(
            json.dumps(
                {
                    "status": outcome.status,
                    "error": outcome.error,
                    "seconds": outcome.seconds,
                    **outcome.result,
                },
                indent=1,
            )
        )
        if outcome.status != "finished":
            trace = outcome.trace or outcome.error
            (self._folder / "traceback.txt").write_text(trace, encoding="utf-8", errors="backslashreplace")
        try:
            self._record(outcome)
        except (TrackingError, OSError) as error:
            reason = f"ran, but was not recorded: {error}; its numbers lie in {self._folder / 'result.json'}"
            close_as(self._tracker, self._run_id, "FAILED", reason)
            return Outcome("failed", error=reason, seconds=outcome.seconds)
        return outcome

    def _record(self, outcome: Outcome) -> None:
        self._flush()
        if found := outcome.result:
            self._tracker.params(self._run_id, found["facts"])
            self._tracker.log(self._run_id, [(0, found["metrics"])])
            self._tracker.tag(self._run_id, found["tags"])
        if outcome.status != "finished":
            self._tracker.tag(self._run_id, {ERROR: outcome.error[:5000]})
        where = self._folder / ENVIRONMENT
        where.write_text(environment_json(self._tracker.get(self._run_id).tags))
        self._tracker.artifact(self._run_id, self._folder)
        if outcome.status == "finished" and (self._folder / KEPT_MODEL).exists():
            self._tracker.model(self._run_id, self._folder)
        self._tracker.finish(self._run_id, _STATUS[outcome.status])

    def _flush(self) -> None:
        """Send the rows in batches; what the store took is dropped at once, and never sent again."""
        self._flushed = time.monotonic()
        while self._rows:
            values = itertools.accumulate(len(values) for _, values in self._rows)
            some = max(1, sum(1 for _ in itertools.takewhile(lambda count: count <= BATCH, values)))
            self._tracker.log(self._run_id, self._rows[:some])
            del self._rows[:some]


def environment_json(tags: Mapping[str, str]) -> str:
    """What a run ran in, of its tags: versions, machine, devices, variables, repositories, as one JSON text.

    >>> print(environment_json({"version.keras": "3.15", "machine.cores": "2", "workbench.block": "1"}))
    {
     "machine": {
      "cores": "2"
     },
     "version": {
      "keras": "3.15"
     }
    }
    """
    return json.dumps(by_section(tags, _OF_ENVIRONMENT), indent=1, sort_keys=True)


def owner() -> dict[str, str]:
    """Which process owns a run: if it is gone and the run still RUNNING, the run is dead."""
    return {OWNER: f"{_place()}:{os.getpid()}:{_born(os.getpid())}"}


def close_dead(tracker: Tracker) -> list[str]:
    """Close as KILLED the runs of this host, of any experiment, whose process is gone; their ids."""
    owners = {run.run_id: run.tags.get(OWNER) for run in tracker.running()}
    closed = []
    for run_id in [run_id for run_id, tag in owners.items() if tag and is_dead(tag)]:
        with suppress(TrackingError):  # another person's, on a server that lets nobody else close it
            if tracker.get(run_id).status != "RUNNING":
                continue  # it had ended before its process was looked for
            tracker.tag(run_id, {ERROR: "its process was gone"})
            tracker.finish(run_id, "KILLED")
            closed.append(run_id)
    return closed


def close_as(tracker: Tracker, run_id: str, status: str, error: str, *, begun: float = 0.0) -> None:
    """Close a run that did not come to its end, and say why, as far as the tracking server takes either."""
    with suppress(TrackingError):
        tracker.tag(run_id, {ERROR: error[:5000]})
    with suppress(TrackingError):
        tracker.finish(run_id, status, begun=begun)


def close_by(tracker: Tracker, run_id: str, error: BaseException) -> None:
    """Close a run that an error ended, or a person."""
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    close_as(tracker, run_id, status, str(error) or "interrupted")


def is_dead(tag: str) -> bool:
    """Whether an owner of this host is gone; of another host nothing is known."""
    place, pid, born = tag.rsplit(":", 2)
    if is_of_another_host(tag):
        return False
    if _Place.read(place).boot != _place().boot:
        return True
    found = _born(int(pid))
    return found is not None and found != born


def pid_of(tag: str) -> str:
    """The number of the process that an owner's tag names, on its host."""
    return tag.rsplit(":", 2)[1] if tag.count(":") > 1 else "unknown"


def is_of_another_host(tag: str) -> bool:
    """Whether an owner's tag names another host than this, or none, or a container of its own.

    Two hosts of one name are told apart by their machine's id. Of a process from before this host's last boot,
    where a container is involved and an id is missing, nobody can tell whose it was: it counts as another host's.
    """
    theirs, ours = _Place.read(tag.rsplit(":", 2)[0]), _place()
    if theirs.host != ours.host or _differ(theirs.machine, ours.machine):
        return True
    if theirs.boot != ours.boot:
        nameless = not (theirs.machine and ours.machine)
        return nameless and any(_is_container(one) for one in (theirs, ours))
    return _differ(theirs.processes, ours.processes)


def _is_container(place: _Place) -> bool:
    """Whether it has a PID namespace of its own; 4026531836 is the host's."""
    return place.processes not in ("", "4026531836")


def _born(pid: int) -> str | None:
    """When a process of this host began, in what no setting of the clock changes.

    Empty where it is gone; None where it is there and hidden, as of another user where /proc is mounted so.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()  # its name, in brackets, may have anything in it
        state, *rest = text.rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        if Path("/proc/self/stat").exists():
            return None if _is_there(pid) else ""
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""


def _is_there(pid: int) -> bool:
    """Whether a process of this number lives, whoever's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True)
class _Place:
    """Where a process lives: a host in one of its lives, and there the processes that see each other.

    >>> str(_Place("one", "b-1", "4026531836", "1a2b"))
    'one/b-1 4026531836 1a2b'
    >>> _Place.read("one/b-1 4026531836 1a2b") == _Place("one", "b-1", "4026531836", "1a2b")
    True
    >>> _Place.read("one/b-1")
    _Place(host='one', boot='b-1', processes='', machine='')
    """

    host: str
    boot: str
    processes: str
    """The number of the PID namespace; empty where it is not known."""
    machine: str
    """The beginning of /etc/machine-id; empty where it is not known."""

    def __str__(self) -> str:
        return f"{self.host}/{self.boot} {self.processes or '-'} {self.machine or '-'}"

    @classmethod
    def read(cls, text: str) -> _Place:
        """As it was written, now or by a version that did not know all of it."""
        host, _, life = text.partition("/")
        boot, processes, machine, *_ = [*life.split(" "), "", ""]
        return cls(host, boot, processes.replace("-", ""), machine.replace("-", ""))


def _place() -> _Place:
    """Where this process lives."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = str(int(psutil.boot_time()))
    try:
        processes = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    except OSError:
        processes = ""
    try:
        machine = Path("/etc/machine-id").read_text().strip()[:8]
    except OSError:
        machine = ""
    return _Place(os.uname().nodename, boot, processes, machine)


def _differ(one: str, other: str) -> bool:
    """Whether both are known, and not the same."""
    return bool(one and other) and one != other
