"""Jobs side by side get a GPU each, or take turns; tried with GPUs that are names only."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.alone import run_alone
from workbench.process.spawner import PRELOADED
from workbench.record.plan import Job
from workbench.sweep import gpus, launch
from workbench.sweep.conduct import Conductor
from workbench.sweep.gpus import VISIBLE, held, turns_of
from workbench.sweep.launch import Launch

TREE = {"training": {"device": "auto", "strategy": "none", "workers": 1}}


def tree(**training: object) -> dict:
    return {"training": TREE["training"] | training}


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, and locks of this test alone."""
    monkeypatch.setenv(VISIBLE, "GPU-a,GPU-b")
    monkeypatch.setattr(gpus, "of_this_host", lambda: tmp_path)


def quiet(words: str) -> None:
    raise AssertionError(words)


def test_each_has_one_of_its_own_and_gives_it_back() -> None:
    with held(TREE, {}, quiet) as first, held(TREE, {}, quiet) as second:
        assert first == {VISIBLE: "GPU-a"}
        assert second == {VISIBLE: "GPU-b"}
    with held(TREE, {}, quiet) as again:
        assert again == first


def test_with_fewer_than_jobs_they_take_turns_and_say_so() -> None:
    said: list[str] = []
    got: list[dict[str, str]] = []
    told, free = threading.Event(), threading.Event()

    def third() -> None:
        with held(TREE, {}, lambda words: (said.append(words), told.set())) as mine:
            got.append(mine)
            free.set()

    with held(TREE, {}, quiet):
        with held(TREE, {}, quiet):
            threading.Thread(target=third, daemon=True).start()
            assert told.wait(10)
            assert not got
        assert free.wait(10)
    assert said == ["waiting for 1 GPU: other jobs hold those of this machine (2)"]
    assert got == [{VISIBLE: "GPU-b"}]


@pytest.mark.parametrize(
    ("training", "given", "taken"),
    [
        ({"device": "cpu"}, {}, {}),
        ({"device": "gpu"}, {}, {VISIBLE: "GPU-a"}),
        ({"strategy": "mirrored", "workers": 2}, {}, {VISIBLE: "GPU-a,GPU-b"}),
        ({"strategy": "mirrored", "workers": 3}, {}, {}),
        ({"strategy": "multi_worker", "workers": 2}, {}, {}),
        ({}, {VISIBLE: "7"}, {VISIBLE: "7"}),
        ({"strategy": "mirrored", "workers": 2}, {VISIBLE: "7,7"}, {}),  # it is one, and its child says so
        ({}, {VISIBLE: "-1"}, {}),
        ({}, {VISIBLE: "3,-1,4"}, {VISIBLE: "3"}),
        ({}, {VISIBLE: "3,none,4"}, {VISIBLE: "3"}),
        *(({}, {VISIBLE: hidden}, {}) for hidden in ("NoDevFiles", "void", "-2")),
    ],
)
def test_a_job_takes_as_many_as_it_uses(training: dict, given: dict, taken: dict) -> None:
    with held(tree(**training), given, quiet) as mine:
        assert mine == taken


def test_two_that_need_both_do_not_hold_one_each() -> None:
    both = tree(strategy="mirrored", workers=2)
    said: list[str] = []
    done = threading.Event()

    def pair() -> None:
        with held(both, {}, said.append):
            done.set()

    with held(TREE, {}, quiet):
        threading.Thread(target=pair, daemon=True).start()
        assert not done.wait(0.5)
        with held(TREE, {}, quiet) as mine:  # what the pair could have had of the two is still free
            assert mine == {VISIBLE: "GPU-b"}
    assert done.wait(10)
    assert said == ["waiting for 2 GPUs: other jobs hold those of this machine (2)"]


def test_the_gpu_of_a_process_that_is_killed_is_given_back(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from workbench.sweep import gpus; "
        "gpus.of_this_host = lambda: pathlib.Path(sys.argv[1]); "
        f"mine = gpus.held({TREE!r}, {{}}, print); mine.__enter__(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with held(TREE, {}, quiet) as mine:
            assert mine == {VISIBLE: "GPU-b"}
        process.kill()
    with held(TREE, {}, quiet) as mine:
        assert mine == {VISIBLE: "GPU-a"}


def test_before_jobs_start_side_by_side_it_is_said_that_they_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trees = [TREE] * 4
    assert turns_of(trees, 2) == ""
    assert (
        turns_of(trees, 3) == "3 jobs side by side would need 3 GPUs, and this machine has 2: they take turns"
    )
    assert turns_of([tree(device="cpu")] * 4, 3) == ""
    monkeypatch.setenv(VISIBLE, "")
    assert turns_of(trees, 3) == ""


def test_where_nothing_hides_them_nvidia_smi_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VISIBLE)
    program = tmp_path / "nvidia-smi"
    for text, found in (("echo 0, GPU-1a; echo 1, GPU-2a", ("GPU-1a", "GPU-2a")), ("exit 9", ()), (None, ())):
        gpus._listed.cache_clear()
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if text else str(tmp_path / "nowhere"))
        if text:
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        assert gpus.gpus() == found
        if found:
            first, second, *its = map(gpus._lock_of, ("0", "1", "GPU-2a", "GPU-2"))
            assert first != second
            assert its == [second, second], "by its UUID, whole or the beginning that CUDA takes too"
    gpus._listed.cache_clear()


def test_what_a_job_had_is_recorded_and_given_to_its_child(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert conductor.tracker.get(conductor.run(job).run_id).tags["device.visible"] == "GPU-a"
    assert conductor._gpus == {VISIBLE: "GPU-a"}
    monkeypatch.setenv(VISIBLE, "")
    assert "device.visible" not in conductor.tracker.get(conductor.run(job, attempt=2).run_id).tags


@pytest.mark.slow  # imports TensorFlow in a process; quick: tests/process
def test_what_a_fork_server_imports_touches_no_device() -> None:
    code = (
        f"import importlib; [importlib.import_module(name) for name in {PRELOADED!r}]; "
        "from tensorflow.python.eager import context; c = context.context(); "
        "assert not c._initialized and c._physical_devices is None"
    )
    run_alone(code)


@pytest.mark.parametrize(
    ("launcher", "workers", "said"),
    [("joblib", -1, True), ("joblib", 3, True), ("joblib", 2, False), ("submitit_slurm", None, False)],
)
def test_a_launcher_s_workers_on_this_host_are_counted(
    job: Job, monkeypatch: pytest.MonkeyPatch, launcher: str, workers: int | None, said: bool
) -> None:
    monkeypatch.setattr(launch.os, "sched_getaffinity", lambda _: range(8))
    hydra = OmegaConf.create({"launcher": {"n_jobs": workers}})
    assert bool(Launch(launcher, hydra)._turns([job] * 5, 5)) == said
