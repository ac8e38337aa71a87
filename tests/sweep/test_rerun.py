"""A run again whose record is lost on the way; tests/faults/test_rerun.py has what is compared."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from workbench.record import Run
from workbench.record.plan import Job
from workbench.record.tags import RERUN_RESULT as RESULT
from workbench.sweep.conduct import Conductor
from workbench.sweep.rerun import rerun
from workbench.tracking import Tracker, TrackingError


def prepare(conductor: Conductor, job: Job) -> None:
    """As the conductor of a sweep, which has prepared the job's data."""
    conductor.tags = {"workbench.sweep": "s"}
    conductor.prepared.clear()
    conductor.prepare([job])


def test_a_rerun_that_could_not_be_compared_has_failed_and_says_where_its_numbers_are(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lost(self: Tracker, run_id: str, tags: dict[str, str], tag=Tracker.tag) -> None:
        if RESULT in tags:
            raise TrackingError("the database is gone")
        tag(self, run_id, tags)

    prepare(conductor, job)
    run_id = conductor.run(job).run_id
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Tracker, "tag", lost)
    said = io.StringIO()
    assert rerun(conductor.tracker, run_id, Console(file=said, width=1000)) == 1
    assert "ran, but could not be compared: the database is gone; its numbers are safe in" in said.getvalue()
    assert len(list(tmp_path.glob("mlruns/hydra/x/rerun-*/0000-1/result.json"))) == 1
    (again,) = conductor.tracker.find(conductor.experiment, {"workbench.rerun_of": run_id})
    assert again.tags["workbench.command"].startswith("python -m workbench.rerun")


@pytest.mark.slow  # quick: the reruns beside it
def test_a_diverged_run_again_is_equal_where_it_diverges_again(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepare(conductor, job)
    run_id = conductor.run(job).run_id
    (tmp_path / "mode").write_text("diverge")
    lost = conductor.run(job).run_id
    conductor.close()
    monkeypatch.chdir(tmp_path)

    def again(one: str, **given: bool) -> tuple[int, str]:
        said = io.StringIO()
        return rerun(conductor.tracker, one, Console(file=said, width=1000), **given), said.getvalue()

    code, said = again(lost)
    assert code == 0, said
    assert f"{lost} again as " in said
    assert "1 numbers: 1 equal" in said
    assert again(lost, other_machine=True)[0] == 0
    code, said = again(run_id)
    assert code == 1
    assert f"{run_id}: failed: diverged at step 1" in said
    (tmp_path / "mode").write_text("finish")
    code, said = again(lost)
    assert code == 1
    assert "only one of the two has it" in said


def test_a_diverged_run_again_whose_record_is_lost_was_run_again(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepare(conductor, job)
    (tmp_path / "mode").write_text("diverge")
    run_id = conductor.run(job).run_id
    conductor.close()

    def lost(self: Tracker, one: str, get=Tracker.get) -> Run:
        if one != run_id:
            raise TrackingError("the database is gone")
        return get(self, one)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Tracker, "get", lost)
    said = io.StringIO()
    assert rerun(conductor.tracker, run_id, Console(file=said, width=1000)) == 1
    assert "ran, but could not be compared: the database is gone" in said.getvalue()
