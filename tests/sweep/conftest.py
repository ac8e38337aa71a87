"""A conductor whose children are a small script, forked from a server that imports nothing."""

from __future__ import annotations

import io
import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from workbench.config import load
from workbench.process import spawner
from workbench.record.plan import Job
from workbench.sweep import conduct, fitting
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Prepared
from workbench.sweep.progress import Watcher
from workbench.tracking import Tracker

CHILD = """
import os, signal, sys, time
from workbench.process.channel import Channel

def main(arguments):
    channel = Channel()
    mode = open(os.path.join(os.path.dirname(__file__), "mode")).read()
    if "--prepare" in arguments:
        time.sleep(60 if mode == "hang" else 0)
        channel.send("result", folder=os.path.dirname(__file__), fingerprint="made here")
        return 0
    channel.log(1, {"loss/step": 2.0})
    if mode == "kill server":
        os.kill(os.getppid(), signal.SIGKILL)
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    channel.quiet()
    if mode == "diverge":
        said = {"facts": {"device": "cpu"}, "metrics": {}, "tags": {"workbench.diverged": "true"}}
        channel.send("failure", error="diverged at step 1", trace="", **said)
        return 1
    metrics = {"data/batches": 3.0} | ({"speed/foreign_cpu_share": 0.2} if mode == "disturbed" else {})
    tags = {"digest.losses": "x", "given": os.environ.get("GIVEN", "")}
    channel.send("result", facts={"device": "cpu"}, metrics=metrics, tags=tags)
    return 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def job() -> Job:
    tree, wrong = load(Composer()([]))
    assert not wrong
    return Job(0, "arm", 1, 0, tree)


@pytest.fixture
def conductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Job):
    """A conductor whose children are the script above, forked from a server that imports nothing."""
    (tmp_path / "small_child.py").write_text(CHILD)
    (tmp_path / "mode").write_text("finish")
    paths = os.pathsep.join([str(tmp_path), str(Path(conduct.__file__).resolve().parents[2])])
    monkeypatch.setenv("PYTHONPATH", paths)

    def server(log, environment):
        return spawner.ForkServer(log, environment, module="small_child", preloaded=[])

    monkeypatch.setattr(conduct, "ForkServer", server)
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    folder = tmp_path / "runs"
    folder.mkdir()
    one = SimpleNamespace(histogram={3: 4}, longest=3, label_counts=[9, 3])
    manifest = SimpleNamespace(
        task="tag",
        labels=["a", "b"],
        longest=3,
        class_zero_in_use=True,
        shards=[SimpleNamespace(split="train")],
        parsed_bytes=lambda split: 0,
        splits={"train": one, "validation": one},
    )
    monkeypatch.setattr(fitting, "_manifest_in", lambda folder: manifest)
    made = Conductor(tracker, "x", folder, Watcher(Console(file=io.StringIO()), 1))
    made.prepared[conduct.data_key(job.tree)] = Prepared(str(tmp_path), "f")
    with closing(made):
        yield made
