"""What a person sees of a sweep in a terminal, and where there is none."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from workbench.process.child import Outcome
from workbench.record.plan import Job
from workbench.sweep.conduct import Ended
from workbench.sweep.progress import Watcher
from workbench.sweep.start import say_failures

JOBS = [Job(number, "padding=batch", 1, 0, {}) for number in range(3)]
KILLED = Outcome("killed", error="ended by SIGKILL", seconds=1.0)


def seen(*, terminal: bool, quiet: bool = False) -> str:
    """Of three jobs, the first finished and the second killed."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    with Watcher(console, len(JOBS), quiet=quiet) as watcher:
        for job, outcome in zip(JOBS, [Outcome("finished", seconds=1.0), KILLED], strict=False):
            watcher.began(job)
            watcher.ended(job, outcome)
    return console.file.getvalue()


def test_a_terminal_shows_how_many_are_done_and_how_many_of_them_failed() -> None:
    last = next(line for line in reversed(seen(terminal=True).splitlines()) if "padding" in line)
    assert "2/3" in last
    assert "1 failed" in last


@pytest.mark.parametrize(
    ("trace", "more"), [("Traceback\nValueError: no such file\n", []), ("killed it\n", ["  killed it"])]
)
def test_how_the_only_job_failed_is_said_once(trace: str, more: list[str]) -> None:
    console, failed = (
        Console(file=io.StringIO(), width=120),
        Outcome("failed", error="no such file (under a limit)", trace=trace),
    )
    with Watcher(console, 1) as watcher:
        watcher.ended(JOBS[0], failed)
    say_failures(console, [Ended(JOBS[0], "r", failed)])
    lines = ["failed: padding=batch, block 1 (run r): no such file (under a limit)", *more]
    assert console.file.getvalue().splitlines() == lines


@pytest.mark.parametrize("quiet", [False, True])
def test_plain_lines_where_there_is_no_terminal_and_of_a_quiet_sweep_the_failures(quiet: bool) -> None:
    finished = [] if quiet else ["[1/3] padding=batch (block 1): 1.0 s, about 2 s left"]
    lines = [*finished, "[2/3] killed: padding=batch (block 1): ended by SIGKILL"]
    assert seen(terminal=False, quiet=quiet).splitlines() == lines


def test_a_job_that_is_run_again_counts_once_and_as_it_ended_last() -> None:
    console = Console(file=io.StringIO(), width=120)
    watcher = Watcher(console, len(JOBS))
    watcher.resumed(JOBS[2:])
    for job, outcome in [(JOBS[0], KILLED), (JOBS[0], Outcome("finished")), (JOBS[1], Outcome("finished"))]:
        watcher.ended(job, outcome)
    assert [line.partition("]")[0] for line in console.file.getvalue().splitlines()] == [
        "[2/3",
        "[2/3",
        "[3/3",
    ]
