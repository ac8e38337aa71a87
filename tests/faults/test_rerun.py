"""`python -m workbench.rerun`: a run or a sweep again from its record alone; its children need no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from killer import Sweeper

from workbench.record.frames import frame_of
from workbench.tracking import Tracker

pytestmark = pytest.mark.command
GRID = ("-m", "padding=global,batch", "seed=1,2,3,4,5,6", "measure=off", "data=synthetic")


@pytest.fixture(scope="module")
def sweeper(tmp_path_factory: pytest.TempPathFactory):
    """A sweep with verdicts, its tracker and its finished runs."""
    made = Sweeper(tmp_path_factory.mktemp("rerun"))
    code, said = made.type_in(*GRID, "name=again", "sweep.throw_away=false")
    assert code == 0, said
    yield made
    made.close()


@pytest.fixture
def tracker(sweeper: Sweeper) -> Tracker:
    return Tracker(f"sqlite:///{sweeper.folder}/mlruns/mlflow.db")


def runs_of(tracker: Tracker, name: str, kind: str = "run") -> pd.DataFrame:
    runs = frame_of(tracker.runs(name))
    return runs[runs["tags.workbench.kind"] == kind]


@pytest.mark.slow  # quick: tests/sweep/test_rerun.py
def test_a_sweep_again_is_equal_and_enters_nothing(sweeper: Sweeper, tracker: Tracker) -> None:
    before = runs_of(tracker, "again")
    sweep = before["tags.workbench.sweep"].iloc[0]
    code, said = sweeper.type_in("rerun", sweep)
    assert code == 0, said
    assert "12 runs again: 0 with a number that differs or failed" in said
    again = runs_of(tracker, "again", "rerun")
    assert sorted(again["tags.workbench.rerun_of"]) == sorted(before["run_id"])
    assert set(again["status"]) == {"FINISHED"}
    assert again["tags.workbench.rerun_result"].str.contains(r"^\d+ numbers: \d+ equal$").all()
    code, said = sweeper.type_in(*GRID, "name=again", "sweep.throw_away=false", "workbench.resume=true")
    assert code == 0
    assert "is complete: 12 jobs" in said
    assert len(runs_of(tracker, "again")) == 12


@pytest.mark.slow  # quick: tests/sweep/test_rerun.py
def test_a_number_that_differs_is_named_with_why_it_may_be(sweeper: Sweeper, tracker: Tracker) -> None:
    code, said = sweeper.type_in("seed=9", "measure=off", "data=synthetic", "name=single")
    assert code == 0, said
    (run_id,) = runs_of(tracker, "single")["run_id"]
    code, said = sweeper.type_in("rerun", run_id)
    assert code == 0, said
    tracker.log(run_id, [(1, {"loss/validation_per_token": 9.0, "speed/valid_tokens_per_s": 50.0})])
    tracker.tag(run_id, {"version.tensorflow": "2.20.0", "digest.weights": "other"})
    code, said = sweeper.type_in("rerun", run_id)
    said = " ".join(said.split())
    assert code == 1
    assert "1 not judged, 2 different" in said, "of a single run no noise is known"
    assert "must be equal" in said
    assert "why it may be: version.tensorflow was 2.20.0, is " in said
    code, said = sweeper.type_in("rerun", run_id, "--other-machine")
    assert code == 0, said
    assert "2 not judged" in said, (
        "of a single run no spread of seeds is known, and no clock of another machine"
    )


@pytest.mark.slow  # quick: tests/sweep/test_origin.py
def test_a_cell_of_ones_own_that_changed_is_named_by_resume_and_rerun(
    sweeper: Sweeper, tracker: Tracker
) -> None:
    cell, words = Path(sweeper.folder, "mycell.py"), ("cell=custom", "cell.target=mycell:MyCell", "name=own")
    grid = ("-m", "seed=1,2", "measure=off", "data=synthetic", *words)
    cell.write_text("class MyCell: pass  # tanh")
    code, said = sweeper.type_in(*grid)
    assert code == 0, said
    cell.write_text("class MyCell: pass  # relu")
    code, said = sweeper.type_in(*grid, "workbench.resume=true")
    assert code == 2
    assert "2 finished jobs: mycell.py (was " in said
    run_id = runs_of(tracker, "own")["run_id"].iloc[0]
    tracker.tag(run_id, {"digest.weights": "other"})
    code, said = sweeper.type_in("rerun", run_id)
    assert code == 1
    assert "why it may be: source.mycell.py was " in said
    assert "padding_bytes" not in said
    code, said = sweeper.type_in(*grid, "workbench.resume=true", "workbench.changed=keep")
    assert code == 0, said
    assert "is complete: 2 jobs had finished" in said
    cell.write_text("class MyCell")
    for words in (grid, ("rerun", run_id)):
        code, said = sweeper.type_in(*words)
        assert code == 2
        assert "mycell.py, line 1: expected ':'" in said
    assert len(runs_of(tracker, "own")) == 2


@pytest.mark.slow  # quick: tests/sweep/test_rerun.py
def test_what_cannot_be_run_again_is_refused_with_the_reason(sweeper: Sweeper, tracker: Tracker) -> None:
    code, said = sweeper.type_in("rerun", "nothing")
    assert code == 2
    assert "RUN_ID=nothing: no run and no sweep of this id" in said

    experiment = tracker.experiment("open")
    run_id = tracker.start(experiment, "open", params={}, tags={"workbench.kind": "run"})
    assert "is RUNNING: only a run that has finished" in sweeper.type_in("rerun", run_id)[1]
    tracker.finish(run_id, "FINISHED")
    code, said = sweeper.type_in("rerun", run_id)
    assert code == 2
    assert "config.yaml is not in the artifact store" in said

    run_id = runs_of(tracker, "again")["run_id"].iloc[0]
    source = Path(sweeper.folder, "source")
    source.write_text("e" * 16)
    code, said = sweeper.type_in("rerun", run_id)
    source.unlink()
    assert code == 2
    assert f"data.fingerprint={'e' * 16}: run {run_id} had {'f' * 16}" in said
