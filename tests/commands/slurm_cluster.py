"""A Slurm cluster of two nodes on this machine, of Debian's programs: munge, a controller and two daemons."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from workbench.process.replicas import free_addresses

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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10
"""


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
        return sorted(set(done.stdout.split())) == ["n1=idle", "n2=idle"]  # told for each partition

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


@contextmanager
def started() -> Iterator[Cluster]:
    """The cluster, to its end; skipped where it cannot be had."""
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
        ports = [address.rpartition(":")[2] for address in free_addresses(3)]
        settings = SETTINGS.format(host=os.uname().nodename, folder=folder, ports=ports)
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
