"""Sweeps whose processes are killed at random moments end as sweeps do that nobody touches.

Short in the suite; `pytest tests/faults --kills 1000` is the long form (some 25 minutes).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from killer import ROOT, Sweeper, check, verdicts

from workbench.record.frames import frame_of
from workbench.sweep.resume import sole
from workbench.tracking import Tracker

pytestmark = pytest.mark.command
A_SWEEP = 50
"""Kills in one sweep, at most."""

WRITERS = """
import os, sys
from pathlib import Path
from workbench.tracking import Tracker

folder, databases, processes, steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
for number in range(databases):
    children = []
    for one in range(processes):
        if pid := os.fork():
            children.append(pid)
            continue
        try:
            tracker = Tracker(f"sqlite:///{folder}/{number}/mlflow.db")
            run = tracker.start(tracker.experiment("x"), str(one), params={"one": one}, tags={})
            for start in range(0, steps, 100):
                tracker.log(run, [(step, {"loss/step": step + one}) for step in range(start, start + 100)])
            tracker.finish(run, "FINISHED")
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * processes
"""


@pytest.mark.slow  # quick: tests/sweep/test_conduct.py kills a child and a server, test_ledger.py resumes
def test_sweeps_that_are_killed_end_as_one_does_that_is_not(tmp_path: Path, request) -> None:
    """And two sweeps may start at the same moment where there is no database yet."""
    kills, failed = request.config.getoption("--kills"), []
    plain, killed = Sweeper(tmp_path), Sweeper(tmp_path, seed=int.from_bytes(os.urandom(4)))

    def run_plain() -> None:
        try:
            plain.sweep("plain")
        except BaseException as error:
            failed.append(error)

    beside = threading.Thread(target=run_plain)
    beside.start()
    names = []
    while (left := kills - sum(killed.tally.kills.values())) > 0 or not names:
        names.append(f"faults-{len(names)}")
        killed.sweep(names[-1], kills=min(left, A_SWEEP))
    beside.join()
    plain.close()
    killed.close()
    assert not failed
    expected = verdicts(tmp_path, "plain")
    assert [one["verdict"] for one in expected] == ["reproduced", "reproduced", "instrument ok"]
    for name in ["plain", *names]:
        check(tmp_path, name)
        assert verdicts(tmp_path, name) == expected
    print(killed.tally)


@pytest.mark.slow  # quick: two processes in tests/tracking
def test_fresh_databases_opened_by_several_processes_at_once_are_all_whole(tmp_path: Path, request) -> None:
    databases = 10 if request.config.getoption("--kills") > 100 else 2
    write(tmp_path, databases=databases, processes=4, steps=100)
    for number in range(databases):
        runs = frame_of(Tracker(f"sqlite:///{tmp_path}/{number}/mlflow.db").runs("x"))
        assert runs["status"].tolist() == ["FINISHED"] * 4


@pytest.mark.slow  # quick: the one above
def test_eight_writers_at_once_lose_no_metric(tmp_path: Path) -> None:
    write(tmp_path, databases=1, processes=8, steps=500)
    tracker = Tracker(f"sqlite:///{tmp_path}/0/mlflow.db")
    runs = frame_of(tracker.runs("x"))
    assert len(runs) == 8
    for run_id, one in zip(runs["run_id"], runs["params.one"].astype(int), strict=True):
        expected = [(step, float(step + one)) for step in range(500)]
        assert tracker.history(run_id, "loss/step") == expected


def write(folder: Path, *, databases: int, processes: int, steps: int) -> None:
    """Have so many processes at once write into each of so many new databases."""
    words = [str(one) for one in (folder, databases, processes, steps)]
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def sweeper(tmp_path_factory: pytest.TempPathFactory):
    made = Sweeper(tmp_path_factory.mktemp("resume"))
    yield made
    made.close()


@pytest.mark.slow  # quick: tests/sweep/test_origin.py, test_ledger.py
def test_what_changed_since_is_named_and_a_person_decides(sweeper: Sweeper) -> None:
    grid = ["-m", "padding=global,batch", "seed=1,2", "measure=off", "name=changing"]
    code, said = sweeper.type_in(*grid, "workbench.resume=true")
    assert code == 0, said
    assert "has no sweep to resume: a new one" in said
    (folder,) = (sweeper.folder / "mlruns/hydra/changing").iterdir()

    code, said = sweeper.type_in("-m", f"workbench.resume={folder.name}", "name=changing")
    assert code == 0, said
    assert "is complete: 4 jobs had finished; it is judged again" in said

    longer = [*grid, "training.epochs=3", "workbench.resume=true"]
    code, said = sweeper.type_in(*longer)
    assert code == 2
    assert "padding=global: training.epochs was 1, is 3" in said
    code, said = sweeper.type_in(*longer, "workbench.changed=keep")
    assert code == 0, said
    assert "is complete" in said
    code, said = sweeper.type_in(*longer, "workbench.changed=rerun", "workbench.dry_run=true")
    assert code == 0
    assert "finished" not in said.replace("finished jobs", "")
    code, said = sweeper.type_in(*longer, "workbench.changed=rerun")
    assert code == 0, said
    assert "4 finished jobs: the configuration changed; run again" in said
    code, said = sweeper.type_in(*longer)
    assert "is complete: 4 jobs" in said

    runs = frame_of(Tracker(f"sqlite:///{sweeper.folder}/mlruns/mlflow.db").runs("changing"))
    jobs = runs[runs["tags.workbench.kind"] == "run"]
    superseded = jobs["tags.workbench.superseded"].notna()
    assert jobs.groupby(superseded)["params.training.epochs"].agg(set).to_dict() == {
        False: {"3"},
        True: {"1"},
    }
    assert set(jobs["status"]) == {"FINISHED"}

    code, said = sweeper.type_in(*longer, "seed=1,2,3", "workbench.changed=rerun")
    assert code == 2
    assert "it is another sweep" in said


@pytest.mark.slow  # quick: tests/sweep/test_start.py, test_ledger.py
def test_a_sweep_is_not_run_by_two_and_a_wrong_id_is_named(sweeper: Sweeper) -> None:
    grid = ["-m", "seed=1,2", "measure=off", "name=sole"]
    assert sweeper.type_in(*grid)[0] == 0
    (folder,) = (sweeper.folder / "mlruns/hydra/sole").iterdir()
    with sole(folder):
        code, said = sweeper.type_in(*grid, "workbench.resume=true")
    assert code == 2
    assert "another process on this host is running this sweep" in said
    (frozen,) = (sweeper.folder / "mlruns/artifacts/sole").rglob("grid.json")
    frozen.rename(frozen.with_name("elsewhere.json"))
    code, said = sweeper.type_in(*grid, "workbench.resume=true")
    assert code == 2
    assert "2 runs of this sweep are recorded, but grid.json of its run" in said
    code, said = sweeper.type_in("-m", "workbench.resume=nothing")
    assert code == 2
    assert f"no sweep of this id at sqlite:///{sweeper.folder}/mlruns/mlflow.db" in said
