"""Sweeps on a Slurm cluster of two nodes, started here from Debian's packages: whatever it does to a job."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from workbench.places import claims_file
from workbench.record.frames import frame_of
from workbench.sweep.launch import is_there
from workbench.tracking import Tracker

sys.path.insert(0, str(Path(__file__).parent))
from slurm_cluster import Cluster, started, until

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=main", "hydra.launcher.cpus_per_task=1")
EXACT = "P2_one_outlier_costs_its_own_batch_only"
GRID = (
    "sweep.grids=[{data:synthetic,data.lengths:one_outlier,data.mean:20,data.longest:100,data.max_length:null,"
    "data.examples:70,data.batch_size:16,padding:[global,batch],rnn:dynamic,rnn.pass_lengths:false,"
    "measure.timing:false,measure.correctness_batches:0}]"
)

pytestmark = [
    pytest.mark.command,
    pytest.mark.slow,  # quick: tests/sweep/test_launch.py
    pytest.mark.skipif(
        not is_there("hydra_plugins.hydra_submitit_launcher"),
        reason="its plugin is not here: make setup LOCK=requirements-extras.txt",
    ),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started() as one:
        yield one


def children(folder: Path, name: str) -> pd.DataFrame:
    runs = frame_of(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs(name))
    return runs[runs["tags.workbench.kind"] == "run"]


CELL = """
import os
import time
from pathlib import Path

import keras

@keras.saving.register_keras_serializable("mine")
class Cell(keras.layers.SimpleRNNCell):
    def build(self, shape):
        while "SLURM_JOB_ID" in os.environ and Path(__file__).with_name("hold").exists():
            time.sleep(0.1)
        super().build(shape)
"""
"""Training does not begin while there is a file `hold`."""


class Sweep:
    """A sweep through the cluster in the background, whose jobs wait; and what is recorded of it."""

    def __init__(self, cluster: Cluster, folder: Path, cache: Path, words: list[str]) -> None:
        launcher = [word for word in words if word.startswith("hydra.")]
        words = [word for word in words if word not in launcher]
        self.cluster, self.folder, self.words = cluster, folder, ["-m", *words, "name=jobs", "measure=off"]
        (folder / "mine.py").write_text(CELL)
        self.hold = folder / "hold"
        self.hold.touch()
        self.words += ["cell=custom", "cell.target=mine:Cell"]
        environment = {**cluster.environment, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *self.words, *WORDS, *launcher],
            cwd=folder,
            env=environment | {"COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def begun(self, but: tuple[str, ...] = ()) -> dict[str, str]:
        """The runs that are open, by the host of their worker."""
        if not (self.folder / "mlruns" / "mlflow.db").exists():
            return {}
        runs = Tracker(f"sqlite:///{self.folder}/mlruns/mlflow.db").running()
        return {
            run.tags["workbench.owner"].partition("/")[0]: run.run_id
            for run in runs
            if run.tags.get("workbench.kind") == "run" and run.run_id not in but
        }

    def two_begun(self, but: tuple[str, ...] = ()) -> tuple[dict[str, str], dict[str, str]]:
        """The two that run now: a run's id and a task's, by node."""
        self.until(lambda: len(self.begun(but)) == 2 and len(self.cluster.tasks()) == 2, "no two jobs began")
        runs = self.begun(but)
        return {("n2" if host == "n2" else "n1"): run for host, run in runs.items()}, self.cluster.tasks()

    def until(self, true, what: str) -> None:
        def over() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return true()

        until(over, what)

    def ended(self, code: int = 1) -> str:
        said, _ = self.process.communicate(timeout=200)
        assert self.process.returncode == code, said
        assert "sacct" not in said
        assert "Traceback" not in said
        return said


@pytest.fixture
def sweep(cluster: Cluster, tmp_path: Path, cache: Path, small) -> Iterator[Callable[..., Sweep]]:
    made: list[Sweep] = []

    def start(*words: str) -> Sweep:
        made.append(Sweep(cluster, tmp_path, cache, [*small, *words]))
        return made[0]

    try:
        yield start
    finally:
        for one in made:
            one.hold.unlink(missing_ok=True)
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
        cluster.ask("scancel", "--user=root")
        until(lambda: not cluster.ask("squeue", "-h"), "Slurm has tasks left", 60)


@pytest.fixture(autouse=True)
def is_ours(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])


def test_the_padding_ablation_on_two_nodes_ends_in_verdicts(
    cluster: Cluster, tmp_path: Path, type_in
) -> None:
    """Its own grid of the guide's numbers, two blocks, and what its claims file says exactly of them."""
    declared = yaml.safe_load(claims_file("padding_ablation").read_text())
    kept = [one for one in declared["claims"] if one["name"] == EXACT]
    declared |= {"pairs": 2, "equal": ["data.fingerprint"], "control_again": False, "claims": kept}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(declared))
    small = ["sweep.claims=claims.yaml", "sweep.throw_away=false", "training.epochs=1", GRID]
    done = type_in(tmp_path, "-m", "+experiment=padding_ablation", *WORDS, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sacct" not in done.stdout + done.stderr
    runs = children(tmp_path, "padding_ablation")
    assert set(runs["status"]) == {"FINISHED"}
    assert not runs.duplicated("tags.workbench.order").any()
    (verdicts,) = tmp_path.glob("mlruns/hydra/padding_ablation/*/**/verdicts.json")
    found = {one["claim"]: one["verdict"] for one in json.loads(verdicts.read_text())}
    assert found == {EXACT: "reproduced"}


def test_a_cancel_a_requeue_and_a_lost_node_cost_the_jobs_that_they_met_and_resume_ends_it(
    cluster: Cluster, tmp_path: Path, type_in, sweep
) -> None:
    swept = sweep("seed=1,2,3,4")
    first, tasks = swept.two_begun()
    cluster.ask("scancel", tasks["n1"])
    cluster.ask("scontrol", "requeue", tasks["n2"])
    cluster.ask("scontrol", "update", f"jobid={tasks['n2']}", "priority=1")  # behind the others
    second, tasks = swept.two_begun(tuple(first.values()))
    cluster.lose("n2", tasks["n2"])
    swept.hold.unlink()
    swept.until(lambda: cluster.tasks().get("n1") != tasks["n1"], "what was not met goes on")
    cluster.begin_what_waits()
    swept.until(lambda: not cluster.waiting() or cluster.begin_what_waits(), "tasks wait")
    said = swept.ended()
    cluster.node("n2")
    cluster.ask("scontrol", "update", "nodename=n2", "state=resume")
    runs = children(tmp_path, "jobs").set_index("run_id")
    assert dict(runs["status"]) == {
        first["n1"]: "KILLED",
        first["n2"]: "KILLED",
        second["n1"]: "FINISHED",
        second["n2"]: "KILLED",
    }
    errors = runs["tags.workbench.error"]
    assert "(CANCELLED)" in errors[first["n1"]]
    assert "was ended: cancelled, taken back, or out of time" in errors[first["n2"]]
    assert "its worker died, and the launcher started its task again" in errors[second["n2"]]
    for run in (first["n1"], first["n2"], second["n2"]):
        assert run in said
    until(cluster.idle, "the node comes back")
    resumed = type_in(tmp_path, *swept.words, *WORDS, "workbench.resume=true")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    runs = children(tmp_path, "jobs")
    assert sorted(runs[runs["status"] == "FINISHED"]["params.seed"]) == ["1", "2", "3", "4"]
    assert len(runs) == 7


def test_a_time_limit_and_a_worker_that_dies_on_another_host_end_their_runs_and_resume_runs_them(
    cluster: Cluster, tmp_path: Path, type_in, sweep
) -> None:
    swept = sweep("seed=1,2", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=10")
    runs, tasks = swept.two_begun()
    for one in cluster.processes(tasks["n2"]):
        with suppress(psutil.Error):
            one.kill()
    said = swept.ended()
    found = children(tmp_path, "jobs").set_index("run_id")
    assert dict(found["status"]) == {runs["n1"]: "KILLED", runs["n2"]: "KILLED"}
    errors = found["tags.workbench.error"]
    assert "near its time limit (hydra.launcher.timeout_min)" in errors[runs["n1"]]
    assert "ended before its work did (" in errors[runs["n2"]]
    assert set(runs.values()) <= set(re.findall(r"[0-9a-f]{32}", said))
    swept.hold.unlink()
    resumed = type_in(tmp_path, *swept.words, "workbench.resume=true")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    found = children(tmp_path, "jobs")
    assert sorted(found[found["status"] == "FINISHED"]["params.seed"]) == ["1", "2"]


def test_an_urgent_job_and_ctrl_c_end_the_runs_that_they_met_and_resume_runs_them(
    cluster: Cluster, tmp_path: Path, type_in, sweep
) -> None:
    """Slurm takes a node back for a higher partition; the end of the command takes all its tasks away."""
    swept = sweep("seed=1,2,3,4")
    first, _ = swept.two_begun()
    words = ["--partition=urgent", "--nodelist=n2", "--output=/dev/null", "--wrap=sleep 3600"]
    urgent = cluster.ask("sbatch", "--parsable", *words).strip()
    swept.until(lambda: cluster.tasks().get("n2") == urgent, "the urgent job does not begin")
    cluster.ask("scancel", urgent)
    second, _ = swept.two_begun((first["n2"],))
    assert second["n1"] == first["n1"], "the other task goes on, and the node takes the next"
    swept.process.send_signal(signal.SIGINT)
    said = swept.ended(130)
    assert "workbench.resume=true" in said
    until(lambda: not cluster.tasks() and not cluster.waiting(), "Slurm has tasks left", 60)
    runs = children(tmp_path, "jobs").set_index("run_id")
    assert dict(runs["status"]) == dict.fromkeys((first["n1"], first["n2"], second["n2"]), "KILLED")
    assert "taken back" in runs["tags.workbench.error"][first["n2"]]
    swept.hold.unlink()
    resumed = type_in(tmp_path, *swept.words, *WORDS, "workbench.resume=true")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    runs = children(tmp_path, "jobs")
    assert sorted(runs[runs["status"] == "FINISHED"]["params.seed"]) == ["1", "2", "3", "4"]
    assert len(runs) == 7
