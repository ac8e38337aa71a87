"""Tasks that submitit started, each to its end: one that Slurm ended costs no other, and is known by Slurm's word.

Slurm is asked by squeue, which needs no accounting: where there is none, submitit itself, which asks sacct, would
wait for ever for a task that was cancelled. In a task, what Slurm sends before it ends it is taken as its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from workbench.sweep.journal import InterruptedByError

_OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)
_FORGOTTEN = "FORGOTTEN"
"""What a task's state is called that is in no queue any more: its end is certain, its reason is not."""
_SECONDS = 30
CANCELLED = "(CANCELLED)"
"""In the words on a task that a person took away: it is not started again."""


class EndedTask(str):
    """What is said of a task that ended before its work did: nothing of it runs any more."""


@contextmanager
def each_to_its_end(ids: list[str]) -> Iterator[None]:
    """Inside, submitit's tasks are waited for one by one, and none that was ended raises.

    `ids` gets those of Slurm's tasks."""
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core import core, utils
    from submitit.slurm import slurm

    kind: Any = core.Job
    slurm_kind: Any = slurm.SlurmJob

    class Queue(slurm.SlurmInfoWatcher):
        """States by squeue; what is not known to be over goes on."""

        def update(self) -> None:
            self._last_status_check = time.time()
            found = self.queue()
            if found is None or not self._registered:  # the controller does not answer: nothing is known
                return
            for task in self._registered:
                state = found.get(task, _FORGOTTEN)
                self._info_dict[task] = {"State": state if state in (*_OVER, _FORGOTTEN) else "RUNNING"}

        def queue(self) -> dict[str, str] | None:
            return _queue()

        def register_job(self, job_id: str) -> None:
            super().register_job(job_id)
            ids.append(job_id)

    results, watcher = kind.results, slurm_kind.watcher

    def kept(job: Any) -> list[Any]:
        try:
            return results(job)
        except (utils.UncompletedJobError, utils.FailedJobError):
            one = JobReturn(status=JobStatus.COMPLETED)
            one.return_value = _words(job)
            return [one]

    kind.results = kept
    slurm_kind.watcher = Queue(delay_s=_SECONDS)
    try:
        yield
    finally:
        kind.results, slurm_kind.watcher = results, watcher


def _words(job: Any) -> EndedTask:
    where = "Slurm" if hasattr(job.watcher, "queue") else "submitit"
    if job.paths.result_pickle.exists():
        why = str(job._get_outcome_and_result()[1]).strip().splitlines()[-1]
    elif (state := str(job.state).upper()) == _FORGOTTEN:
        why = "it is in no queue any more"
    else:
        why = f"it ended before its work did ({state})"
    return EndedTask(f"{where}'s job {job.job_id}: {why}; its words are in {job.paths.stderr}")


def _queue() -> dict[str, str] | None:
    """The state of every task of this user's that Slurm still knows; None where it does not answer."""
    words = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.strip().split("|", 1) for line in said.splitlines() if "|" in line)


def cancel(ids: list[str]) -> None:
    """Take tasks of Slurm's away, as far as there still are any."""
    numbered = sorted({one for one in ids if one[:1].isdigit()})
    if numbered:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", *numbered], capture_output=True, check=False, timeout=60)


@contextmanager
def ended_by_slurm() -> Iterator[None]:
    """In a task of Slurm's: what it sends before it ends the task closes the run at hand, and no other is begun.

    Then goes on what submitit has for it: with a time limit near, to give up or to queue the task once more.
    """
    if "SLURM_JOB_ID" not in os.environ or threading.current_thread() is not threading.main_thread():
        yield
        return
    job = f"Slurm's job {os.environ['SLURM_JOB_ID']} on {os.uname().nodename}"
    words = {
        signal.SIGTERM: f"{job} was ended: cancelled, taken back, or out of time",
        signal.SIGUSR2: f"{job} was near its time limit (hydra.launcher.timeout_min), or was taken back",
    }
    before = {number: signal.getsignal(number) for number in words}
    got: list[tuple[int, Any]] = []

    def end(number: int, frame: Any) -> None:
        if not got:
            got.append((number, frame))
            raise InterruptedByError(words[signal.Signals(number)])

    for sent in words:
        signal.signal(sent, end)
    try:
        yield
    except InterruptedByError as error:
        number, frame = got[0]
        theirs = before[signal.SIGUSR2]
        if number == signal.SIGUSR2 and callable(theirs):
            theirs(number, frame)
        raise SystemExit(str(error)) from None  # no result is written: Slurm may start the task again
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)
