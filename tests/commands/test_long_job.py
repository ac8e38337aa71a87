"""A job that is killed while it writes a checkpoint goes on from the one before, as one that nobody killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.record import Run
from workbench.record.tags import RESUMED_FROM
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
DIES = """
import os, signal
replace, written = os.replace, []

def counted(source, target):
    if os.path.basename(target).startswith("checkpoint-"):
        written.append(target)
        if len(written) == 3 and os.path.exists(os.path.join(os.path.dirname(__file__), "now")):
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = counted
"""
LONG = ("-m", "seed=3", "measure=off", "training.epochs=5", "model.dropout=0.3", "training.keep=best")
DIGESTS = ("digest.losses", "digest.order", "digest.weights", "training.best_epoch")


@pytest.mark.slow  # quick: tests/training/test_checkpoint.py, in one process
@pytest.mark.command
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
def test_a_killed_job_goes_on_to_the_numbers_of_one_that_nobody_killed(small, cache, tmp_path: Path) -> None:
    dies, cut, whole = (tmp_path / name for name in ("dies", "cut", "whole"))
    for folder in (dies, cut, whole):
        folder.mkdir()
    (dies / "sitecustomize.py").write_text(
        DIES
    )  # one of the files that the numbers follow from: there throughout
    now, every = dies / "now", "training.checkpoint_every=1"
    now.touch()
    paths = os.pathsep.join([str(dies), str(ROOT)])

    def type_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "workbench", *small, *LONG, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(cache)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    died = type_in(cut, every)
    assert died.returncode == 1, died.stderr
    left = [path.name for path in cut.rglob("checkpoint-*")]
    assert sorted(Path(one).suffix for one in left) == [".npz", ".part"]
    assert len({Path(one).stem for one in left}) == 1
    now.unlink()
    went_on = type_in(cut, every, "workbench.resume=true")
    assert went_on.returncode == 0, went_on.stderr
    said = re.search(r"goes on after step (\d+), from ", went_on.stdout)
    assert said, went_on.stdout
    assert not list(cut.rglob("checkpoint-*"))
    assert type_in(whole).returncode == 0

    def finished(folder: Path) -> tuple[Run, list[tuple[int, float]]]:
        tracker = Tracker(f"sqlite:///{folder}/mlruns/mlflow.db", create=False)
        (run,) = (run for run in tracker.matching("attributes.status = 'FINISHED'") if run.is_job)
        return run, tracker.history(run.run_id, "loss/validation_epoch")

    (again, curve), (plain, plain_curve) = finished(cut), finished(whole)
    assert again.tags[RESUMED_FROM] == said[1]
    assert (
        int(said[1]) * 5 == plain.metrics["data/batches"] * 2
    )  # two of five epochs: the third was being written
    assert RESUMED_FROM not in plain.tags
    assert {name: again.tags[name] for name in DIGESTS} == {name: plain.tags[name] for name in DIGESTS}
    assert curve == plain_curve
    assert again.metrics["loss/validation_per_token"] == plain.metrics["loss/validation_per_token"]
    assert again.identity == plain.identity
