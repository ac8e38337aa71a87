"""What a person sees while jobs run: a live bar where there is a terminal, plain lines where not."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from workbench.console import say
from workbench.process.child import Message, Outcome
from workbench.record.plan import Job
from workbench.report.summary import in_brief
from workbench.wording import lasting


class Watcher:
    """Shows the jobs of one command. `quiet` shows nothing but failures."""

    def __init__(self, console: Console, jobs: int, *, quiet: bool = False) -> None:
        self._console, self._jobs, self._quiet = console, jobs, quiet
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            refresh_per_second=1,
        )
        self._task = self._bar.add_task("preparing", total=jobs, failed="")
        self._ends: dict[int, str] = {}  # job number -> how it ended last: a disturbed block is run again
        self._started = time.monotonic()
        self.titles: Mapping[str, str] = {}
        """What arms are called here, where that is not their own name."""
        self.seconds_each: float | None = None
        """How long a job took in the last sweep, until some of this one's have ended."""
        self._took: list[float] = []

    @classmethod
    def mute(cls) -> Self:
        """One that shows nothing: nobody looks at a launcher's worker."""
        return cls(Console(file=io.StringIO()), 1, quiet=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def resumed(self, done: Iterable[Job]) -> None:
        """These jobs had finished before."""
        self._ends = {job.number: "finished" for job in done}
        self._bar.update(self._task, completed=len(self._ends))

    def planned(self, jobs: int) -> None:
        """So many jobs they are at the most: fewer, where claims were decided early."""
        self._jobs = jobs
        self._bar.update(self._task, total=self._jobs)

    def say(self, text: str) -> None:
        """A line for the person."""
        if not self._quiet:
            say(self._console, text)

    def launched(self, launcher: str) -> None:
        """The jobs are carried out elsewhere, several at once: what is seen of them here is their ends."""
        self._bar.update(self._task, description=f"hydra/launcher={launcher}")

    def began(self, job: Job) -> None:
        """A job starts."""
        self._bar.update(self._task, description=self._title(job))

    def heard(self, job: Job, message: Message) -> None:
        """A job says something."""
        self._awake()
        if message["kind"] == "note":
            self._bar.update(self._task, description=f"{self._title(job)}: {message['text']}")
        elif message["kind"] == "say":
            self.say(f"{self._title(job)}: {message['text']}")
        elif message["kind"] == "log" and math.isfinite(message["values"].get("loss/step", math.nan)):
            text = f"step {message['step']}, loss {message['values']['loss/step']:.3f}"
            self._bar.update(self._task, description=f"{self._title(job)}: {text}")
            if self._jobs == 1 and not self._console.is_terminal:
                self.say(text)

    def silent(self) -> None:
        """A job is about to be timed: draw nothing until it says something or ends."""
        self._bar.stop()

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job has ended. Of several a failure is always shown; how the only one failed the command's end says."""
        self._awake()
        self._ends[job.number] = outcome.status
        done, failed = len(self._ends), sum(status != "finished" for status in self._ends.values())
        self._bar.update(self._task, completed=done, failed=f"{failed} failed" if failed else "")
        if outcome.status != "finished" and self._jobs > 1:
            say(
                self._console,
                f"[{done}/{self._jobs}] {outcome.status}: {self._title(job)}: {outcome.error}",
                style="red",
            )
            return
        if early := outcome.result.get("tags", {}).get("training.ended_early"):
            self.say(f"{self._title(job)}: {early}")
        if self._jobs > 1 and outcome.status == "finished":
            found = in_brief(outcome.result.get("metrics", {}))
            words = "".join(f", {text}" for text in (*found, *self._left(outcome, self._jobs - done)))
            self.say(f"[{done}/{self._jobs}] {self._title(job)}: {outcome.seconds:.1f} s{words}")

    def _left(self, outcome: Outcome, jobs: int) -> list[str]:
        """How long so many jobs take, by this command's pace; before three have ended, by the last sweep's."""
        self._took.append(outcome.seconds)
        each = self.seconds_each or fmean(self._took)
        if len(self._took) > 2:  # several may run at once
            each = (time.monotonic() - self._started) / len(self._took)
        return [f"{lasting(each * jobs)} left"] if jobs else []

    def _title(self, job: Job) -> str:
        where = "throw-away block" if job.block == 0 else f"block {job.block}"
        again = ", control again" if job.repeat else ""
        return f"{self.titles.get(job.arm, job.arm)} ({where}{again})"

    def _awake(self) -> None:
        if not self._bar.live.is_started:
            self._bar.start()
