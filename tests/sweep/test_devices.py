"""What a job needs and this machine has not is refused before the first job, by name, wherever jobs are started."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from workbench.__main__ import main
from workbench.config import ConfigError
from workbench.process.child import Outcome
from workbench.process.replicas import TF_CONFIG, tf_config
from workbench.record.plan import Job
from workbench.sweep import devices, launch, resume
from workbench.sweep.conduct import Conductor
from workbench.sweep.devices import is_here, require_devices
from workbench.sweep.launch import Launch
from workbench.sweep.ledger import Changed, Ledger
from workbench.sweep.own_run import OwnRun

NONE = "training.device=gpu: TensorFlow sees no GPU; take training.device=cpu"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where a person types, on a machine without a GPU; the list has what was asked of it. Nothing can be run."""
    found: list[str] = []

    def child(arguments: list[str], **_: object) -> Outcome:
        found.append(arguments[0])
        return Outcome("failed", error=NONE)

    def ran(*_: object, **__: object) -> None:
        raise AssertionError("something was run")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "run_child", child)
    monkeypatch.setattr(devices, "_answers", {})
    monkeypatch.setattr(devices, "machine", lambda: {"machine.cores": "2"})
    for name in ("prepare", "run", "spawner"):
        monkeypatch.setattr(Conductor, name, ran if name != "spawner" else lambda self, block, given: None)
    return found


def changed(job: Job, **training: object) -> Job:
    return Job(0, "arm", 1, 0, {**job.tree, "training": {**job.tree["training"], **training}})


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["training.device=gpu"], marks=pytest.mark.slow),
        ["-m", "training.device=gpu", "seed=1,2,3"],
        pytest.param(["-m", "rnn=cudnn,packed"], marks=pytest.mark.slow),
        pytest.param(
            ["-m", "sweep.experiments=[controls,tagger]", "training.device=gpu"], marks=pytest.mark.slow
        ),
        ["training.strategy=mirrored", "training.workers=2", "data.batch_size=32", "data.shards=2"],
    ],
)
def test_a_device_that_is_not_there_is_refused_once_and_before_anything_runs(
    asked: list[str], capsys: pytest.CaptureFixture, words: list[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(NONE)
    assert asked == ["--devices"], "one question, however many jobs"


def test_it_says_which_of_the_jobs_cannot_run(asked: list[str], capsys: pytest.CaptureFixture) -> None:
    main(["-m", "rnn=cudnn,packed", "seed=1,2"])
    assert capsys.readouterr().err.rstrip().endswith("(2 of 4 jobs: rnn=cudnn)")


def test_jobs_that_take_what_there_is_ask_nobody(asked: list[str], job: Job) -> None:
    require_devices(
        [job, changed(job, device="cpu"), changed(job, device="cpu", strategy="mirrored", workers=2)]
    )
    assert asked == []


def test_a_worker_of_a_cluster_is_refused_on_its_own_machine(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["training.strategy=multi_worker", "training.workers=2", "data.batch_size=32", "data.shards=2"]
    for number in (0, 1):
        monkeypatch.setenv(TF_CONFIG, tf_config(["a:1", "b:1"], number))
        assert main([*words, "training.device=gpu"]) == 2
        assert NONE in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"), [("training.threads", 129), ("training.workers", 17), ("hydra.launcher.n_jobs", 17)]
)
def test_more_than_can_be_meant_is_a_slip(asked: list[str], job: Job, key: str, value: int) -> None:
    for right in (value - 1, value):
        refused = pytest.raises(
            ConfigError, match=rf"^{key}={value}: this machine has 2 cores; take 2\. More than"
        )
        with refused if right == value else nullcontext():
            if key.startswith("training"):
                require_devices([changed(job, **{key.partition(".")[2]: right})])
            else:
                devices.require_workers("joblib", OmegaConf.create({"launcher": {"n_jobs": right}}))


def test_no_worker_at_all_is_refused_and_one_a_core_is_not() -> None:
    for right in (-1, None, 1):
        devices.require_workers("joblib", OmegaConf.create({"launcher": {"n_jobs": right}}))
    with pytest.raises(ConfigError, match="must be at least 1, or -1"):
        devices.require_workers("joblib", OmegaConf.create({"launcher": {"n_jobs": 0}}))


@pytest.mark.parametrize("here", [True, False])
def test_a_launcher_whose_workers_are_elsewhere_is_not_judged_by_this_machine(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    chosen = SimpleNamespace(name="x", is_here=here)
    monkeypatch.setattr(launch.Launch, "chosen", lambda *_: chosen)
    if here:
        assert main(["-m", "training.device=gpu"]) == 2
    else:
        with pytest.raises(AssertionError, match="something was run"):
            main(["-m", "training.device=gpu"])
        assert asked == []


def test_a_task_of_ray_that_would_wait_for_ever_is_refused(asked: list[str]) -> None:
    def require(cpus: int | None, gpus: int | None, address: str | None = None, **remote: int) -> None:
        init = {"num_cpus": cpus, "num_gpus": gpus, "address": address}
        devices.require_workers(
            "ray", OmegaConf.create({"launcher": {"ray": {"init": init, "remote": remote}}})
        )

    require(None, None, num_cpus=2, num_gpus=1)
    require(None, 0, num_cpus=3, num_gpus=1, address="auto")
    with pytest.raises(
        ConfigError, match=r"ray.remote.num_cpus=3: is what one task takes, .* it has 2; take no more"
    ):
        require(None, None, num_cpus=3)
    with pytest.raises(ConfigError, match=r"ray.remote.num_gpus=1: .* it has 0"):
        require(4, 0, num_cpus=3, num_gpus=1)


def test_where_a_launchers_workers_are() -> None:
    for address, right in ((None, True), ("auto", False)):
        assert (
            is_here("ray", OmegaConf.create({"launcher": {"ray": {"init": {"address": address}}}})) == right
        )
    empty = OmegaConf.create({"launcher": {}})
    assert [is_here(name, empty) for name in ("joblib", "submitit_local", "submitit_slurm", "mine")] == [
        True,
        True,
        False,
        False,
    ]
    assert Launch("joblib", empty).is_here


@pytest.mark.parametrize(("changed", "numbers"), [("keep", [2]), ("rerun", [1, 2])])
def test_a_resumed_sweep_needs_the_devices_of_what_is_left_of_it(
    job: Job, changed: str, numbers: list[int]
) -> None:
    jobs = [replace(job, number=number) for number in range(3)]
    run = SimpleNamespace(attempt=1)
    stock = Ledger(todo=jobs[1:], changed=[Changed(jobs[1], run, "its data", is_unlike=False)])
    resume.decide(stock, OwnRun("s", "x"), changed, pairs=True)
    assert [one.number for one in stock.todo] == numbers
