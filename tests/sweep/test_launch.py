"""A launcher's worker makes one run of a job; a launcher's options are the plugin's."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from workbench.__main__ import main
from workbench.config import Config, ConfigError
from workbench.places import CONF
from workbench.record import Run
from workbench.record.gate import REQUEUE_SPREAD, disturbance
from workbench.record.plan import Job
from workbench.sweep import launch, task
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended, PrepareError, forks
from workbench.sweep.journal import OWNER, RecordLostError, owner
from workbench.sweep.launch import Launch
from workbench.sweep.ledger import ledger
from workbench.sweep.task import Share, Task
from workbench.tracking import Tracker, TrackingError

README = (CONF.parent / "workbench" / "sweep" / "README.md").read_text()
LAUNCHERS = ("joblib", "ray", "submitit_local", "submitit_slurm")
NOT_THE_PLUGINS = {"batch_size", "object_store_memory"}


@pytest.fixture
def parent(conductor: Conductor) -> str:
    """The sweep's own run."""
    conductor.parent = conductor.tracker.start(conductor.experiment, "sweep", params={}, tags=owner())
    return conductor.parent


@pytest.fixture
def work(conductor: Conductor, job: Job, parent: str) -> Callable[[], str]:
    """What a worker of a launcher does that got job 0."""
    made = Task.of(conductor, [job], "t", "joblib")
    return lambda: made(OmegaConf.create({"share": [[0], 1, {}]}))


def runs(conductor: Conductor) -> list:
    return conductor.tracker.find(conductor.experiment, {"workbench.launch": "t", "workbench.kind": "run"})


def test_a_task_that_is_started_again_makes_no_second_run(conductor: Conductor, work) -> None:
    work()
    work()
    (run,) = runs(conductor)
    assert run.status == "FINISHED"
    assert run.tags["workbench.launcher"] == "joblib"


def test_a_run_that_died_with_its_worker_is_closed_and_not_begun_again(conductor: Conductor, work) -> None:
    which = {"workbench.launch": "t", "workbench.order": "0", "workbench.attempt": "1"}
    dead = conductor.tracker.start(
        conductor.experiment, "0", params={}, tags={"workbench.kind": "run", **which}
    )
    work()
    (run,) = runs(conductor)
    assert (run.run_id, run.status) == (dead, "KILLED")
    assert "its worker died" in run.tags["workbench.error"]


def test_a_run_that_a_host_ahead_of_this_one_began_does_not_end_before_it(conductor: Conductor, work) -> None:
    which = {"workbench.launch": "t", "workbench.order": "0", "workbench.attempt": "1"}
    begun = round((time.time() + 600) * 1000)
    conductor.tracker._client.create_run(
        conductor.experiment, start_time=begun, tags={"workbench.kind": "run", **which}
    )
    work()
    (run,) = runs(conductor)
    assert run.status == "KILLED"
    assert run.end >= run.start


@pytest.mark.parametrize("change", ["ended", "resumed", "its process is gone"])
def test_a_task_that_nobody_waits_for_any_more_runs_nothing(
    conductor: Conductor, parent: str, work, change: str
) -> None:
    if change == "ended":
        conductor.tracker.finish(parent, "KILLED")
    elif change == "resumed":
        conductor.tracker.tag(parent, {"workbench.launch": "a later one"})
    else:
        pid_and_birth = re.compile(r":\d+:\d+$")
        conductor.tracker.tag(parent, {OWNER: pid_and_birth.sub(":1:0", owner()[OWNER])})
    assert work() == "its sweep no longer waits for it"
    assert runs(conductor) == []


def test_a_sweep_that_ends_while_a_block_is_run_ends_the_block(
    conductor: Conductor, parent: str, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Task.of(conductor, [job, replace(job, number=1)], "t", "joblib")

    def ends(self: Tracker, run_id: str, status: str, finish=Tracker.finish) -> None:
        finish(self, run_id, status)
        finish(self, parent, "KILLED")

    monkeypatch.setattr(Tracker, "finish", ends)
    assert made(OmegaConf.create({"share": [[0, 1], 1, {}]})) == "its sweep no longer waits for it"
    assert len(runs(conductor)) == 1


def test_after_a_failure_the_others_are_not_begun_where_the_first_ends_all(
    conductor: Conductor, parent: str, job: Job
) -> None:
    tree = {**job.tree, "workbench": {**job.tree["workbench"], "fail_fast": True}}
    jobs = [replace(job, tree=tree), replace(job, number=1, tree=tree)]
    (conductor.folder.parent / "mode").write_text("kill")
    made = Task.of(conductor, jobs, "t", "joblib")
    made(OmegaConf.create({"share": [[0], 1, {}]}))
    assert made(OmegaConf.create({"share": [[1], 1, {}]})) == "its sweep no longer waits for it"
    assert [run.status for run in runs(conductor)] == ["KILLED"]


def test_a_host_with_other_data_is_refused(
    conductor: Conductor, parent: str, job: Job, tmp_path: Path
) -> None:
    """A host that does not see the planned folder prepares the data itself, and gets another fingerprint."""
    (key,) = conductor.prepared
    conductor.prepared[key].folder = str(tmp_path / "on another host")
    with pytest.raises(PrepareError, match=r"made here.*planned with f;"):
        Task.of(conductor, [job], "t", "joblib")(OmegaConf.create({"share": [[0], 1, {}]}))
    assert runs(conductor) == []


def test_data_that_could_not_be_made_is_tried_again_by_the_next_job(
    conductor: Conductor, work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = conductor.prepared
    conductor.prepared[key].folder = str(tmp_path / "on another host")
    (conductor.folder.parent / "mode").write_text("")
    prepare, full = task._Worker.prepare, ["once"]

    def on_a_full_disk(self: task._Worker, jobs: list[Job]) -> None:
        if full:
            full.clear()
            raise PrepareError("the disk is full")
        prepare(self, jobs)

    monkeypatch.setattr(task._Worker, "prepare", on_a_full_disk)
    with pytest.raises(PrepareError, match="the disk is full"):
        work()
    with pytest.raises(PrepareError, match=r"made here.*planned with f;"):
        work()


def test_a_worker_that_is_kept_drops_what_was_of_another_launch(
    conductor: Conductor, job: Job, parent: str
) -> None:
    for token in ("t", "u"):
        Task.of(conductor, [job], token, "joblib")(OmegaConf.create({"share": [[0], 1, {}]}))
    assert list(task._workers) == ["u"]


def test_a_launched_job_starts_as_it_was_asked_to(
    conductor: Conductor, job: Job, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(task._Worker, "_run", lambda self, job, _: seen.append(forks(job)) or 1 / 0)
    for start in ("fresh", "fork"):
        tree = {**job.tree, "workbench": {**job.tree["workbench"], "start": start}}
        made = Task.of(conductor, [replace(job, tree=tree)], start, "joblib")
        with pytest.raises(ZeroDivisionError):
            made(OmegaConf.create({"share": [[0], 1, {}]}))
    assert seen == [False, True]


def test_what_a_resumed_sweep_had_done_is_not_run_again(conductor: Conductor, parent: str, job: Job) -> None:
    done = conductor.run(job)
    made = Task.of(conductor, [job], "t", "joblib")
    assert made(OmegaConf.create({"share": [[0], 1, {"0": done.run_id}]})) == ""
    assert runs(conductor) == []


def test_why_a_job_could_not_be_begun_comes_back(
    conductor: Conductor, work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object, **named: object) -> str:
        raise TrackingError("the server is gone")

    monkeypatch.setattr(Tracker, "start", broken)
    assert work() == "could not be started or recorded: the server is gone"


@pytest.fixture
def launched(
    conductor: Conductor, job: Job, parent: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """A sweep of one job through a launcher that carries each share out here, and how the job ended."""
    conductor.tags = {"workbench.sweep": "s"}
    tree = {**job.tree, "sweep": {**job.tree["sweep"], "requeue": 1}}
    jobs = [replace(job, tree=tree)]

    def carried_out(self: Launch, task: Task, shares: list[Share], folder: Path) -> dict[int, str]:
        done = [
            task(OmegaConf.create({"share": [share.jobs, share.attempt, share.done]})) for share in shares
        ]
        said = [launch._Returned(words) for words in done]
        return {number: words for share, words in zip(shares, said, strict=True) for number in share.jobs}

    def launch_it() -> Ended:
        known = ledger(jobs, conductor.tracker.runs("x", "s"), {0: "f"}, conductor.origin.made_by)
        (ended,) = Launch("joblib", OmegaConf.create({})).run(
            conductor, jobs, Config.of(tree), known, by_block=True
        )
        return ended

    monkeypatch.setattr(Launch, "_launch", carried_out)
    return launch_it


def test_a_launched_block_that_could_not_be_set_aside_has_not_finished_and_is_settled_by_a_resume(
    conductor: Conductor, launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*given: object) -> None:
        raise TrackingError("the database is gone")

    (conductor.folder.parent / "mode").write_text("disturbed")
    with monkeypatch.context() as fault:
        fault.setattr(Conductor, "tag_aside", lost)
        ended = launched()
    assert ended.outcome.status == "failed"
    assert (
        "disturbed, but could not be set aside: the database is gone; workbench.resume" in ended.outcome.error
    )
    again = launched()
    first, second = conductor.tracker.find(conductor.experiment, {"workbench.kind": "run"})
    assert (ended.run_id, again.run_id) == (first.run_id, second.run_id)
    assert again.outcome.status == "finished"
    assert first.tags["workbench.requeued"] == "true"


@pytest.mark.parametrize("has_words", [True, False])
def test_a_run_that_its_launched_worker_could_not_close_is_closed_with_its_words(
    conductor: Conductor, launched, monkeypatch: pytest.MonkeyPatch, has_words: bool
) -> None:
    finish, lost = Tracker.finish, ["when it is recorded", "and when it is then closed"]

    def finish_later(self: Tracker, run_id: str, status: str, **more: float) -> None:
        if lost:
            lost.pop()
            raise TrackingError("the server is gone")
        finish(self, run_id, status, **more)

    monkeypatch.setattr(Tracker, "finish", finish_later)
    if not has_words:
        monkeypatch.setattr(task._Worker, "not_recorded", lambda self, one: "")
    ended = launched()
    words = "the server is gone" if has_words else "its worker ended without closing it"
    assert ended.outcome.status == "failed"
    assert words in ended.outcome.error
    run = conductor.tracker.get(ended.run_id)
    assert (run.status, run.error) == ("FAILED", ended.outcome.error)
    assert launched().run_id != ended.run_id, "a resume runs it again"


def test_a_database_that_is_gone_when_launched_jobs_have_run_is_told_with_what_is_safe(
    conductor: Conductor, launched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def moved_then(*given: object, carry_out=Launch._launch) -> dict[int, str]:
        said = carry_out(*given)
        (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
        return said

    monkeypatch.setattr(Launch, "_launch", moved_then)
    with pytest.raises(RecordLostError) as lost:
        launched()
    for words in (
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        "no longer the file",
        "workbench.resume=true",
    ):
        assert words in str(lost.value)
    assert f"safe in {conductor.folder}" in str(lost.value)
    assert (conductor.folder / "0000-1" / "result.json").is_file()


def test_a_database_that_is_gone_before_any_launched_job_was_run_is_not_told_as_after(
    launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*given: object) -> None:
        raise TrackingError("the database is gone")

    monkeypatch.setattr(Tracker, "find", gone)
    with pytest.raises(TrackingError, match=r"^the database is gone$") as lost:
        launched()
    assert not isinstance(lost.value, RecordLostError)


@pytest.mark.slow  # quick: the other launchers' ends
def test_joblib_workers_are_ended_without_a_word() -> None:
    code = (
        "import time, joblib; from workbench.sweep.launch import _end_workers; "
        "joblib.Parallel(2)(joblib.delayed(time.sleep)(0) for _ in 'ab'); _end_workers()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=CONF.parent, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["joblib", "ray", "submitit_slurm", "submitit"])
def test_a_launcher_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find = importlib.util.find_spec
    gone = f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher"
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == gone else find(module))
    with pytest.raises(ConfigError, match=f"pip install hydra-{name.partition('_')[0]}-launcher"):
        Launch.chosen(Composer(), [f"hydra/launcher={name}"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launchers_file_shows_every_option_of_the_plugin(name: str) -> None:
    extra = name.partition("_")[0]
    if not launch.is_there(f"hydra_plugins.hydra_{extra}_launcher"):
        pytest.skip("its plugin is not here: make setup LOCK=requirements-extras.txt")
    Plugins.instance()
    node = ConfigStore.instance().load(f"hydra/launcher/{name}.yaml").node
    plugins = OmegaConf.to_container(node)
    shown = yaml.safe_load((CONF / "hydra" / "launcher" / f"{name}.yaml").read_text())
    assert isinstance(plugins, dict)
    assert set(shown) == set(plugins)
    same = {key for key in shown if key not in NOT_THE_PLUGINS and not isinstance(shown[key], dict)}
    assert {key: shown[key] for key in same} == {key: plugins[key] for key in same}


def test_the_readme_lists_the_launchers() -> None:
    files = {path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml")}
    assert files == {*LAUNCHERS, "submitit"}
    assert all(f"`{name}`" in README for name in files)


REFUSED = [
    (["hydra/launcher=rya", "-m"], "did you mean ray?"),
    (["hydra/launcher=joblib"], "add -m"),
    (["hydra/launcher=joblib,ray", "-m"], "give one value"),
    (["hydra/launcher=joblib", "hydra.launcher.jobs=2", "-m"], "+hydra.launcher.jobs=2 adds it"),
    pytest.param(
        ["hydra/launcher=joblib", "+experiment=padding_ablation", "workbench.launch=job", "-m"],
        "compares what is measured",
        marks=pytest.mark.slow,
    ),
    (["hydra/launcher=joblib", "sweep.requeue=1", "workbench.launch=job", "-m"], "judges blocks"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_bad_use_of_a_launcher_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "is_there", lambda module: True)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mlruns").exists()


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    for worker in task._workers.values():
        worker.close()
    task._workers.clear()


def test_a_launched_block_is_held_to_the_gate_that_its_worker_held_it_to(
    conductor: Conductor, launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrations 15% apart are the page's to tell, and nothing that sends a block back."""
    near = {"speed/calibration_before_gflops": 100.0, "speed/calibration_after_gflops": 115.0}
    assert disturbance(near)
    assert not disturbance(near, REQUEUE_SPREAD)
    find = Tracker.find

    def calibrated(self: Tracker, *given: Any, **more: Any) -> list[Run]:
        return [replace(run, metrics={**run.metrics, **near}) for run in find(self, *given, **more)]

    (conductor.folder.parent / "mode").write_text("")
    monkeypatch.setattr(Tracker, "find", calibrated)
    ended = launched()
    assert (ended.outcome.status, ended.unsettled) == ("finished", "")
