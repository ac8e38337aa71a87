"""The same sweep through each launcher, on real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from workbench.record.frames import frame_of
from workbench.sweep.launch import is_there
from workbench.tracking import Tracker

# quick: tests/sweep/test_launch.py
pytestmark = [pytest.mark.command, pytest.mark.slow]


def needs(extra: str) -> pytest.MarkDecorator:
    is_here = is_there(f"hydra_plugins.hydra_{extra}_launcher")
    return pytest.mark.skipif(
        not is_here, reason="its plugin is not here: make setup LOCK=requirements-extras.txt"
    )


def children(folder: Path, name: str) -> pd.DataFrame:
    runs = frame_of(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs(name))
    return runs[runs["tags.workbench.kind"] == "run"]


@needs("joblib")
def test_jobs_at_once_are_timed_in_turns_and_lose_no_metric(tmp_path: Path, type_in, small) -> None:
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "name=jobs", "padding=global,batch"]
    done = type_in(tmp_path, "-m", *small, *words, "seed=1,2", "training.log_every=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[4/4]" in done.stdout
    runs = children(tmp_path, "jobs")
    assert list(runs["status"]) == ["FINISHED"] * 4
    assert set(runs["tags.workbench.launcher"]) == {"joblib"}
    assert runs["tags.workbench.owner"].nunique() == 4
    assert runs["metrics.speed/valid_tokens_per_s"].notna().all()
    assert "tags.environment.OMP_NUM_THREADS" not in runs or "OMP_NUM_THREADS" in os.environ
    tracker = Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    for run in runs.to_dict("records"):
        (log,) = tmp_path.glob(f"mlruns/hydra/jobs/*/{int(run['tags.workbench.order']):04d}-1/log.jsonl")
        said = [json.loads(line) for line in log.read_text().splitlines()]
        logged = [one for one in said if one["kind"] == "log" and "loss/step" in one["values"]]
        losses = [(one["step"], one["values"]["loss/step"]) for one in logged]
        for one in said:
            if one["kind"] == "curve" and one["metric"] == "loss/step":
                losses += [(step, value) for step, value in one["points"]]
        assert len(losses) > 1
        assert tracker.history(run["run_id"], "loss/step") == sorted(losses)


@needs("submitit")
def test_submitit_runs_a_sweep_and_a_failing_job_costs_no_other(tmp_path: Path, type_in, small) -> None:
    words = ["hydra/launcher=submitit_local", "name=jobs", "measure=off"]
    done = type_in(tmp_path, "-m", *small, *words, "cell=time_freq_lstm", "cell.feature_size=8,9")
    assert done.returncode == 1
    runs = children(tmp_path, "jobs").set_index("params.cell.feature_size")
    assert dict(runs["status"]) == {"8": "FINISHED", "9": "FAILED"}
    assert runs.loc["9", "run_id"] in done.stdout
    assert "feature_size=9 is over" in done.stdout


@needs("ray")
def test_a_ray_worker_that_is_killed_is_one_killed_run_the_retry_makes_no_second_and_resume_does(
    tmp_path: Path, cache: Path, type_in, small
) -> None:
    words = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2", "name=jobs", "measure=off"]
    words += ["padding=global,batch"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(
        [sys.executable, "-m", "workbench", "-m", *small, *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as sweep:
        victim, worker = _running(tmp_path)
        os.kill(worker, signal.SIGKILL)
        said, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    runs = children(tmp_path, "jobs").set_index("run_id")
    assert sorted(runs["status"]) == ["FINISHED", "KILLED"]
    assert runs.loc[victim, "tags.workbench.error"].endswith("the launcher started its task again")
    assert victim in said
    resumed = type_in(tmp_path, "-m", *small, *words, "workbench.resume=true")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    runs = children(tmp_path, "jobs")
    assert sorted(runs["status"]) == ["FINISHED", "FINISHED", "KILLED"]
    assert runs[runs["status"] == "FINISHED"]["params.padding.name"].nunique() == 2


def _running(folder: Path) -> tuple[str, int]:
    """A run that a worker has begun, and that worker's process."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if not (folder / "mlruns" / "mlflow.db").exists():
            continue
        runs = Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").running()
        begun = [run for run in runs if run.tags.get("workbench.kind") == "run"]
        if begun:
            return begun[0].run_id, int(begun[0].tags["workbench.owner"].split(":")[1])
    raise AssertionError("no worker began a run")


CELL = """
import keras
from helper import FACTOR

@keras.saving.register_keras_serializable("mine")
class Cell(keras.layers.SimpleRNNCell):
    def call(self, inputs, states, training=False):
        return super().call(FACTOR * inputs, states, training=training)
"""


@needs("joblib")
def test_a_cell_of_ones_own_and_set_variables_under_a_launcher(tmp_path: Path, type_in, small) -> None:
    """Both reach the workers and the record; an edit between two commands is named, and mixes into no sweep."""
    (tmp_path / "mine.py").write_text(CELL)
    (tmp_path / "helper.py").write_text("FACTOR = 1.0\n")
    words = ["-m", *small, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "name=own", "measure=off"]
    words += [
        "cell=custom",
        "cell.target=mine:Cell",
        "+hydra.job.env_set.TF_ENABLE_ONEDNN_OPTS='0'",
        "seed=1,2",
    ]
    done = type_in(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = children(tmp_path, "own")
    assert list(runs["status"]) == ["FINISHED"] * 2
    assert set(runs["tags.environment.TF_ENABLE_ONEDNN_OPTS"]) == {"0"}
    assert set(runs["tags.device.onednn"]) == {"0"}, "the process that computed had it"
    before = set(runs["tags.source.helper.py"])
    assert len(before) == 1
    (tmp_path / "helper.py").write_text("FACTOR = 2.0\n")
    refused = type_in(tmp_path, *words, "workbench.resume=true")
    assert refused.returncode == 2
    assert "helper.py (was " in refused.stderr
    again = type_in(tmp_path, *words, "workbench.resume=true", "workbench.changed=rerun")
    assert again.returncode == 0, again.stdout + again.stderr
    runs = children(tmp_path, "own")
    assert list(runs["status"]) == ["FINISHED"] * 4
    set_aside = runs["tags.workbench.superseded"].notna()
    assert list(set_aside).count(True) == 2
    for tag in ("tags.source.helper.py", "tags.digest.losses"):
        assert set(runs.loc[set_aside, tag]).isdisjoint(runs.loc[~set_aside, tag])
