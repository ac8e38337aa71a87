"""Sweeps on a Slurm cluster of two nodes, started here from Debian's packages: whatever it does to a job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from workbench.places import claims_file
from workbench.record.frames import frame_of
from workbench.sweep.launch import is_there
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SETTINGS = """
ClusterName=tried
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=5
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=30
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobRequeue=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
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
        reason="its plugin is not here: pip install 'rnn-workbench[submitit]'",
    ),
]


@dataclass
class Cluster:
    """Two nodes, the second with a host name of its own where that can be had, and no accounting."""

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen] = field(default_factory=list)

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def node(self, name: str) -> None:
        """Start a node's daemon."""
        words = [str(shutil.which("slurmd")), "-D", "-N", name]
        if name == "n2" and subprocess.run(["unshare", "--uts", "true"], check=False).returncode == 0:
            words = ["unshare", "--uts", "sh", "-c", f"hostname {name}; exec {' '.join(words)}"]
        self.start(*words)

    def start(self, *words: str) -> subprocess.Popen:
        with open(self.folder / "daemons.log", "ab") as log:
            one = subprocess.Popen(
                words, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.started.append(one)
        return one

    def idle(self) -> bool:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N=%T"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return sorted(done.stdout.split()) == ["n1=idle", "n2=idle"]

    def tasks(self) -> dict[str, str]:
        """Those that run, by the node that has them."""
        said = self.ask("squeue", "-h", "-r", "-t", "running", "-o", "%N|%i")
        return dict(line.split("|") for line in said.split())

    def processes(self, task: str) -> list[psutil.Process]:
        """Every process that has a task's number in its environment: its steps, and all that these started."""
        number = self.ask("squeue", "-h", "-j", task, "-o", "%A").strip()
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                given = one.environ()
                if given.get("SLURM_JOB_ID") == number and given.get("SLURM_CONF") == str(
                    self.folder / "slurm.conf"
                ):
                    found.append(one)
        return found

    def waiting(self) -> list[str]:
        return self.ask("squeue", "-h", "-r", "-t", "pending", "-o", "%i").split()

    def begin_what_waits(self) -> bool:
        """Slurm lets what it queued again wait for two minutes."""
        for task in self.waiting():
            with suppress(AssertionError):  # begun since
                self.ask("scontrol", "update", f"jobid={task}", "starttime=now")
        return not self.waiting()

    def lose(self, name: str, task: str) -> None:
        """A node goes down with all that runs on it."""
        found = self.processes(task)
        daemons = [
            one
            for one in psutil.process_iter(["cmdline", "environ"])
            if "slurmd" in " ".join(one.info["cmdline"] or ())
            and one.info["cmdline"][-1:] == [name]
            and (one.info["environ"] or {}).get("SLURM_CONF") == self.environment["SLURM_CONF"]
        ]
        assert len(daemons) == 1, daemons
        daemons[0].kill()
        self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=lost")
        # the last: what watches them would tell of a task that failed on a node that is there
        for one in found:
            with suppress(psutil.Error):
                one.kill()

    def end(self) -> None:
        for one in reversed(self.started):
            with suppress(ProcessLookupError):
                one.terminate()
        for one in self.started:
            try:
                one.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait(20)


def until(true, what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"Slurm's {', '.join(missing)} are not here: apt-get install slurmctld slurmd slurm-client munge"
        )
    if os.getuid() != 0:
        pytest.skip("Slurm's daemons are started by root only")
    folder = Path(tempfile.mkdtemp(prefix="workbench-slurm-"))
    folder.chmod(0o755)
    (folder / "state").mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = SETTINGS.format(host=os.uname().nodename, folder=folder, ports=free_ports(3))
        (folder / "slurm.conf").write_text(settings)
        made = Cluster(folder, os.environ | {"SLURM_CONF": str(folder / "slurm.conf")})
        stack.callback(made.end)
        made.ask("mungekey", "--create", f"--keyfile={folder}/munge.key")
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
        made.start("munged", "--foreground", "--force", f"--key-file={folder}/munge.key", *munge)
        until((folder / "munge.socket").exists, "munged does not begin", 20)
        made.start("slurmctld", "-D", "-i")
        made.node("n1")
        made.node("n2")
        try:
            until(made.idle, "", 40)
        except AssertionError:
            logs = "\n".join(path.read_text()[-800:] for path in sorted(folder.glob("*.log")))
            pytest.skip(f"Slurm could not be started here: {logs}")
        yield made


def free_ports(count: int) -> list[int]:
    import socket

    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


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

    def ended(self) -> str:
        said, _ = self.process.communicate(timeout=200)
        assert self.process.returncode == 1, said
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
