"""A sweep on Ray whose workers, whose workers' runs and whose parents are killed at random moments ends whole.

Its jobs train for real: what stands in for them in the other fault tests does not reach Ray's workers.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from killer import ROOT

from workbench.record import Run
from workbench.record.frames import frame_of
from workbench.sweep.launch import is_there
from workbench.tracking import Tracker

pytestmark = [
    pytest.mark.command,
    pytest.mark.slow,  # quick: tests/sweep/test_launch.py
    pytest.mark.skipif(
        not is_there("hydra_plugins.hydra_ray_launcher"),
        reason="its plugin is not here: make setup LOCK=requirements-extras.txt",
    ),
]
JOBS = 8
WORDS = (
    "-m", "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2", "name=rays", "measure=off",
    "padding=global,batch", "seed=1,2,3,4", "data=synthetic", "data.examples=60", "data.longest=8", "data.mean=4",
    "data.batch_size=8", "cell.units=4", "model.embedding_size=4", "training.epochs=1", "workbench.resume=true",
)  # fmt: skip
VICTIMS = {"worker": 0.4, "run": 0.4, "parent by SIGKILL": 0.1, "parent by SIGINT": 0.1}


def test_each_job_is_once_in_the_record(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kills = max(3, request.config.getoption("--kills") // 50)
    draw, tally = random.Random(int.from_bytes(os.urandom(4))), Counter[str]()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    output, sweeps = tmp_path / "said.log", 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as behind a shell's `&`
    while sum(tally.values()) < kills:
        sweeps += 1
        words = [word.replace("rays", f"rays-{sweeps}") for word in WORDS]
        while True:
            with (
                output.open("w") as said,
                subprocess.Popen(
                    [sys.executable, "-m", "workbench", *words],
                    cwd=tmp_path,
                    env=environment,
                    stdout=said,
                    stderr=said,
                ) as sweep,
            ):
                while sweep.poll() is None and sum(tally.values()) < kills:
                    time.sleep(draw.uniform(1, 8))
                    (victim,) = draw.choices(list(VICTIMS), list(VICTIMS.values()))
                    tally.update(_killed(sweep, tmp_path, victim))
                code = sweep.wait(timeout=300)
            if code == 0:
                break
            assert tally, output.read_text()
            # the last: interrupted while Python still imported
            assert code in (1, 130, -signal.SIGKILL, -signal.SIGINT), f"{code}: {output.read_text()[-3000:]}"
        _check(tmp_path, f"rays-{sweeps}")
    print(f"{sweeps} sweeps on Ray, killed: {dict(tally)}")


def _killed(sweep: subprocess.Popen[bytes], folder: Path, victim: str) -> list[str]:
    """Kill one, where there is one at this moment; what was killed."""
    if victim.startswith("parent"):
        if sweep.poll() is not None:
            return []
        sweep.send_signal(signal.Signals[victim.split()[-1]])
        sweep.wait(timeout=120)
        return [victim]
    try:
        worker = psutil.Process(_owner(_begun(folder)[0]))
        (worker if victim == "worker" else worker.children(recursive=True)[-1]).kill()
    except (IndexError, psutil.NoSuchProcess):  # none at this moment
        return []
    return [victim]


def _begun(folder: Path) -> list[Run]:
    if not (folder / "mlruns" / "mlflow.db").exists():
        return []
    runs = Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").running()
    return [run for run in runs if run.tags.get("workbench.kind") == "run"]


def _owner(run: Run) -> int:
    return int(run.tags["workbench.owner"].split(":")[1])


def _check(folder: Path, name: str) -> None:
    runs = frame_of(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs(name))
    jobs = runs[runs["tags.workbench.kind"] == "run"]
    assert set(runs["status"]) <= {"FINISHED", "KILLED", "FAILED"}, "none is open"
    finished = jobs[jobs["status"] == "FINISHED"]
    assert len(finished) == JOBS
    assert finished["tags.workbench.identity"].nunique() == JOBS
    dead = jobs[jobs["status"] != "FINISHED"]
    assert dead.empty or dead["tags.workbench.error"].notna().all()
