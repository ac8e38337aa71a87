"""The workers of one run: what TF_CONFIG says, and what is said of those that end too early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.config import ConfigError
from workbench.options.training import Training
from workbench.process.replicas import (
    TF_CONFIG,
    Replicas,
    number_in_cluster,
    number_on_this_host,
    refuse_cluster,
    tf_config,
)

TWO = Training(strategy="multi_worker", workers=2)
WORKER = """
import json, sys
print(json.dumps({"kind": "note", "text": "training"}))
print("a line of its log")
if "fail" in sys.argv:
    print(json.dumps({"kind": "failure", "error": "no such file"}))
    sys.exit(1)
"""


def test_the_number_is_that_of_tf_config_with_the_chief_first(monkeypatch) -> None:
    assert number_in_cluster(TWO) is None
    assert number_on_this_host(TWO) == 0
    monkeypatch.setenv(TF_CONFIG, tf_config(["a:1", "b:1"], 1))
    assert number_in_cluster(TWO) == 1
    assert number_on_this_host(TWO) == 0, "another host's, whose own GPUs begin at 0"
    monkeypatch.setenv("WORKBENCH_MEETING", "/nowhere")
    assert number_on_this_host(TWO) == 1
    monkeypatch.delenv("WORKBENCH_MEETING")
    assert number_in_cluster(Training()) is None
    cluster = {"chief": ["a:1"], "worker": ["b:1"]}
    for kind, number in (("chief", 0), ("worker", 1)):
        monkeypatch.setenv(TF_CONFIG, json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}}))
        assert number_in_cluster(TWO) == number


@pytest.mark.parametrize(
    ("text", "training", "words"),
    [
        ("", TWO, "must be JSON as"),
        ('{"cluster": {"worker": ["a:1"]}}', TWO, "on each machine with its own index"),
        (tf_config(["a:1", "b:1"], 2), TWO, "on each machine with its own index"),
        (tf_config(["a:1", "b:1", "c:1"], 0), TWO, "training.workers=2: TF_CONFIG names 3: set training.workers=3"),
        (tf_config(["a:1", "b:1"], 0), Training(strategy="mirrored", workers=2), "is of one process, but"),
    ],
)  # fmt: skip
def test_a_cluster_that_does_not_fit_is_refused_in_words(monkeypatch, text, training, words) -> None:
    monkeypatch.setenv(TF_CONFIG, text)
    with pytest.raises(ConfigError, match=words):
        number_in_cluster(training)


def test_a_sweep_does_not_conduct_a_cluster(monkeypatch) -> None:
    trees = [
        {"training": {"strategy": "none", "workers": 1}},
        {"training": {"strategy": "mirrored", "workers": 2}},
    ]
    refuse_cluster(trees)
    monkeypatch.setenv(TF_CONFIG, tf_config(["a:1", "b:1"], 0))
    refuse_cluster(trees[:1])
    with pytest.raises(ConfigError, match="unset it, or make single runs"):
        refuse_cluster(trees)


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> str:
    (tmp_path / "a_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return "a_worker"


def test_workers_have_the_cluster_and_end_with_the_context(module) -> None:
    failures: list[str] = []
    with Replicas([], 3, timeout_s=30, fail=lambda said, trace: failures.append(said), module=module):
        told = json.loads(os.environ[TF_CONFIG])
        assert len(set(told["cluster"]["worker"])) == 3
        assert told["task"] == {"type": "worker", "index": 0}
    assert TF_CONFIG not in os.environ
    assert not failures


def test_a_worker_that_fails_is_named_with_its_reason_and_log(module) -> None:
    with Replicas(["fail"], 2, timeout_s=30, fail=lambda said, trace: None, module=module) as workers:
        said, trace = workers.lost(wait_s=30)
    assert said == "worker 1 of 2 ended with exit code 1: no such file"
    assert trace == "--- worker 1\na line of its log"


ENDED = """
import threading
from types import SimpleNamespace
from workbench import entry
from workbench.process.channel import Channel

training = SimpleNamespace(strategy="multi_worker", workers=2, worker_timeout_s=30.0)
with entry._workers(SimpleNamespace(training=training), ["no-such-file.yaml"], Channel()):
    threading.Event().wait()  # as one that waits for its worker
"""


@pytest.mark.slow  # a worker's grace is 5 s; quick: the above
def test_a_run_that_a_lost_worker_ends_leaves_no_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", ENDED], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, "no-such-file.yaml" in done.stdout) == (1, True), done.stderr[-2000:]
    assert not list(tmp_path.glob("workbench-workers-*"))
