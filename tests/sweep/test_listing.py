"""What a dry run says of the time: from runs of the same configuration, else that it guesses, and from what."""

from __future__ import annotations

import pytest

from workbench.config import flatten, load
from workbench.record import Run
from workbench.record.plan import Job
from workbench.record.tags import OWNER
from workbench.sweep.compose import Composer
from workbench.sweep.listing import estimate


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    compose = Composer()
    found = []
    for number, units in enumerate((8, 16, 32)):
        tree, wrong = load(compose([f"cell.units={units}", f"seed={number + 1}"]))
        assert not wrong
        found.append(Job(number, f"cell.units={units}", 1, 0, tree))
    return found


def recorded(jobs: list[Job], seconds: list[float], gap: float = 0.0, status: str = "FINISHED") -> list[Run]:
    """Runs of these jobs one after another, as MLflow gives them back: params are text, or missing where null."""
    runs, at = [], 1e9
    for job, lasted in zip(jobs, seconds, strict=True):
        end = at + lasted
        params = {name: "null" if v is None else str(v) for name, v in flatten(job.tree).items()}
        runs.append(Run("", status, params, tags={OWNER: "o"}, start=at, end=end))
        at = end + gap
    return runs


def test_each_job_counts_as_its_like_took_and_what_lies_between_runs_as_its_share(jobs) -> None:
    runs = recorded(jobs, [10.0, 20.0, 60.0])
    assert estimate(jobs[:2], runs, "3 runs") == "time: about 30 s for 2 jobs one after another, from 3 runs"
    with_gaps = recorded(jobs, [10.0, 20.0, 60.0], gap=22.5)
    assert estimate(jobs[:2], with_gaps, "3 runs").startswith("time: about 45 s")


def test_what_was_not_run_counts_as_the_mean_and_is_said(jobs) -> None:
    said = estimate(jobs, recorded(jobs[:2], [10.0, 20.0]), "2 runs")
    assert said.startswith("time: about 45 s for 3 jobs")
    assert "1 of 3 arms were not run as they are now, and count as the mean of those runs" in said


def test_without_a_run_it_is_a_guess_and_says_from_what(jobs) -> None:
    for runs in ([], recorded(jobs, [1.0, 1.0, 1.0], status="FAILED")):
        said = estimate(jobs, runs, "nothing is tracked yet")
        assert said.startswith("time: not known: nothing is tracked yet; at 6 s a job")
        assert said.endswith("about 18 s: a guess")
    assert estimate([], [], "") == "time: nothing is left to run"
