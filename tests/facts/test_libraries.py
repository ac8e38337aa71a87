"""Facts about libraries that the house leans on; where one changes, what leans on it must."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # quick: tests/commands, that the parent imports no TensorFlow
def test_importing_tensorflow_starts_no_runtime(tmp_path: Path) -> None:
    """A TensorFlow that has run must not be forked: the fork server only imports what a child needs."""
    code = (
        "import importlib\nfrom workbench.process.spawner import PRELOADED\n"
        "for name in PRELOADED: importlib.import_module(name)\n"
        "from tensorflow.python.eager import context\nprint(context.context()._initialized)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_mlflow_stores_infinity_as_a_huge_number(tmp_path: Path) -> None:
    """Why the tracker logs what is not finite as NaN."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.create_run(client.create_experiment("x"))
    client.log_metric(run.info.run_id, "loss", float("inf"))
    assert 1e300 < client.get_run(run.info.run_id).data.metrics["loss"] < float("inf")


def test_the_kernel_gives_a_lock_back_when_its_holder_is_killed(tmp_path: Path) -> None:
    """Why a killed run blocks no other's timed window."""
    path = tmp_path / "lock"
    code = (
        f"import fcntl, time\nhandle = open({str(path)!r}, 'w')\nfcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\ntime.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with open(path, "w") as mine:
        with pytest.raises(BlockingIOError):
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.stdout.close()


def test_hydra_takes_an_unknown_key_of_an_experiment_file_in_silence(tmp_path: Path) -> None:
    """Why every composed tree is checked against the schemas."""
    from workbench.sweep.compose import Composer

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "odd.yaml").write_text("# @package _global_\nnobody: {knows: this}\n")
    assert Composer([str(tmp_path)])(["+experiment=odd"])["nobody"] == {"knows": "this"}
