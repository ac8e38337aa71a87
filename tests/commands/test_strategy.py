"""One run of several workers, as a person starts it: one record, and a worker that is killed is named."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from workbench.record.frames import frame_of
from workbench.tracking import Tracker

# quick: tests/process/test_replicas.py, tests/training/test_distribution.py
pytestmark = [pytest.mark.command, pytest.mark.slow]
WORKERS = ("training.strategy=multi_worker", "training.workers=2")


def test_workers_on_this_machine_make_one_run(tmp_path, type_in, small) -> None:
    done = type_in(tmp_path, *small, *WORKERS, "training.epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = frame_of(Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db").runs("runs"))
    [run] = runs.to_dict("records")
    assert run["status"] == "FINISHED"
    assert (run["tags.device.replicas"], run["tags.device.processes"]) == ("2", "2")
    assert run["metrics.data/examples"] == 2 * 54  # each of the training split, once an epoch
    assert run["metrics.speed/valid_tokens"] == run["metrics.data/valid_tokens"] / 2  # the window is an epoch
    assert run["metrics.loss/validation_per_token"] > 0


def test_a_worker_that_is_killed_is_named_and_the_run_has_failed(tmp_path, cache, small) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CACHE_HOME": str(cache)}
    words = [*small, *WORKERS, "training.epochs=1000000", "training.log_every=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        worker = wait_for_training(process, tmp_path)
        worker.kill()
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, said
    assert "worker 1 of 2 was ended by SIGKILL" in said
    [run] = frame_of(Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db").runs("runs")).to_dict("records")
    assert run["status"] == "FAILED"
    assert "worker 1 of 2 was ended by SIGKILL" in run["tags.workbench.error"]


def wait_for_training(process: subprocess.Popen[str], folder: Path, limit_s: float = 240) -> psutil.Process:
    """The worker of the run, once the run has logged its first steps."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        if any(log.stat().st_size for log in folder.glob("mlruns/hydra/*/*/*/log.jsonl")):
            for child in psutil.Process(process.pid).children(recursive=True):
                if "--worker" in child.cmdline():
                    return child
        time.sleep(0.1)
    raise AssertionError(f"no worker trains; the run's exit code is {process.poll()}")
