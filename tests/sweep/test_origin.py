"""A source that is edited before, between and during jobs; jobs are real children that need no TensorFlow."""

from __future__ import annotations

import io
import os
import py_compile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from workbench.config import ConfigError
from workbench.process import spawner
from workbench.record import Run
from workbench.record.plan import Job
from workbench.sweep import conduct
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import Conductor, Ended, Prepared
from workbench.sweep.ledger import Ledger, ledger
from workbench.sweep.origin import NAME, Origin
from workbench.sweep.progress import Watcher
from workbench.tracking import Tracker

CHILD = """
import importlib
from pathlib import Path
from workbench import entry, run
from workbench.record import Findings

def small(config, channel, folder, made_by, loading, *_):
    here = Path(__file__).parent
    if (here / "edit").is_file():  # between the first look at the files and their import
        name, text = (here / "edit").read_text().split("|")
        (here / name).write_text(text)
    cell = importlib.import_module(config.cell.target.partition(":")[0])
    loading.loaded()
    channel.log(1, {"loss/step": cell.number()})
    return Findings(metrics={"data/batches": cell.number()})

run._run = small
main = entry.main
"""
CELLS = """
from lab.steps import one
import importlib
class Cell: pass
def number():
    from lab import late
    plugin = importlib.import_module("_".join(["plug", "in"]))
    return float(one() + late.x + plugin.x)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's folder: a cell, a helper, a module imported inside a function, and one that nobody can foresee."""
    (tmp_path / "lab").mkdir()
    for name, text in {
        "lab/__init__": "",
        "lab/cells": CELLS,
        "lab/steps": "def one(): return 1",
        "lab/late": "x = 0",
        "plug_in": "x = 0",
        "reading_child": CHILD,
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(conduct.__file__).parents[2])]))
    return tmp_path


@pytest.fixture
def job(job: Job) -> Job:
    return replace(job, tree=Composer()(["cell=custom", "cell.target=lab.cells:Cell"]))


@pytest.fixture
def conductor(lab: Path, job: Job, monkeypatch: pytest.MonkeyPatch):
    def server(log, environment):
        return spawner.ForkServer(log, environment, module="reading_child", preloaded=["workbench.run"])

    monkeypatch.setattr(conduct, "ForkServer", server)
    tracker = Tracker(f"sqlite:///{lab}/mlflow.db", str(lab / "artifacts"))
    (lab / "runs").mkdir()
    watcher, origin = Watcher(Console(file=io.StringIO()), 1), Origin.of([job.tree])
    made = Conductor(tracker, "x", lab / "runs", watcher, {"workbench.sweep": "s"}, origin=origin)
    made.prepared[conduct.data_key(job.tree)] = Prepared(str(lab), "f")
    with closing(made):
        yield made


def number(ended: Ended) -> float:
    assert ended.outcome.status == "finished", ended.outcome.error
    return ended.outcome.result["metrics"]["data/batches"]


def refused(ended: Ended, *names: str) -> None:
    assert ended.outcome.status == "failed"
    assert "changed since this sweep was planned" in ended.outcome.error
    assert all(name in ended.outcome.error for name in names), ended.outcome.error
    assert "metrics" not in ended.outcome.result


def stock(conductor: Conductor, job: Job, origin: Origin) -> Ledger:
    return ledger([job], conductor.tracker.runs("x", "s"), {job.number: "f"}, origin.made_by)


@pytest.mark.parametrize(
    "name",
    ["lab/cells.py", *(pytest.param(f"lab/{one}.py", marks=pytest.mark.slow) for one in ("steps", "late"))],
)
def test_an_edit_before_between_and_during_jobs_fails_the_next_one_by_name(
    conductor: Conductor, job: Job, lab: Path, name: str
) -> None:
    before = (lab / name).read_text()
    other = (
        before.replace("return 1", "return 2").replace("x = 0", "x = 1").replace("class Cell", "class  Cell")
    )
    assert other != before
    (lab / name).write_text(other)
    refused(conductor.run(job), name)
    (lab / name).write_text(before)
    assert number(conductor.run(job, attempt=2)) == 1
    (lab / name).write_text(other)
    refused(conductor.run(replace(job, block=2)), name)  # in a new server
    (lab / name).write_text(before)
    (lab / "edit").write_text(f"{name}|{other}")  # the child edits it itself, when its first look is over
    refused(conductor.run(replace(job, block=2)), name, str(lab / name))


def test_a_source_that_nobody_could_foresee_is_held_to_what_the_first_job_has_met(
    conductor: Conductor, job: Job, lab: Path
) -> None:
    ended = conductor.run(job)
    tags = conductor.tracker.get(ended.run_id).tags
    assert {"source.lab/cells.py", "source.lab/steps.py", "source.plug_in.py"} <= set(tags)
    assert stock(conductor, job, Origin.of([job.tree])).finished(job)
    (lab / "plug_in.py").write_text("x = 5")
    refused(conductor.run(job, attempt=2), "plug_in.py")
    (changed,) = stock(conductor, job, Origin.of([job.tree])).changed
    assert changed.why.startswith("plug_in.py (was ")
    assert changed.is_unlike


def test_what_runs_is_the_source_and_no_stale_bytecode(conductor: Conductor, job: Job, lab: Path) -> None:
    """A .pyc is valid for a source of the same second and length: `return 1` and `return 2` are."""
    steps = lab / "lab/steps.py"
    py_compile.compile(str(steps))
    times = steps.stat()
    steps.write_text("def one(): return 2")
    os.utime(steps, ns=(times.st_atime_ns, times.st_mtime_ns))
    refused(conductor.run(job), "lab/steps.py")
    conductor.origin = Origin.of([job.tree])
    assert number(conductor.run(job, attempt=2)) == 2


def test_another_library_or_setting_than_planned_is_refused_by_name(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "TF_ENABLE_ONEDNN_OPTS", "0"
    )  # as a command that runs between planning and a block may
    conductor.origin.common["version.numpy"] = "9.9.9"
    refused(conductor.run(job), "TF_ENABLE_ONEDNN_OPTS (was not set, is 0)", "numpy (was 9.9.9, is ")


def test_a_resume_names_the_file_the_library_and_the_variable(
    conductor: Conductor, job: Job, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number(conductor.run(job))
    (lab / "lab/steps.py").write_text("from lab.more import one")
    (lab / "lab/more.py").write_text("def one(): return 2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_x")
    now = Origin.of([job.tree])
    now.common["version.keras"] = "9.9.9"
    (changed,) = stock(conductor, job, now).changed
    for words in (
        "lab/steps.py (was ",
        "lab/more.py (was not there, is ",
        "keras (was ",
        "XLA_FLAGS (was not set, is ",
    ):
        assert words in changed.why
    assert "padding" not in changed.why


def test_what_was_planned_lies_with_the_run_and_passwords_and_noise_do_not_count(
    conductor: Conductor, job: Job, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_TOKEN_app_terraform_io", "secret")  # Terraform's, not TensorFlow's
    ended = conductor.run(job)
    run = conductor.tracker.get(ended.run_id)
    assert "source.lab/late.py" in conductor.tracker.read_text(ended.run_id, NAME)
    assert "class Cell" in conductor.tracker.read_text(ended.run_id, "own-changes.patch")
    assert run.tags["git.own.dirty"] == "true"
    assert "secret" not in str(run.tags)
    assert {**Origin.of([job.tree]).made_by(job.tree)} == conductor.origin.made_by(job.tree)


def test_a_cell_that_is_not_there_is_refused_before_anything(lab: Path, job: Job) -> None:
    job.tree["cell"]["target"] = "lab.cells:Gell"
    with pytest.raises(ConfigError, match=r"cell.target=lab.cells:Gell: .*/lab/cells.py has no Gell"):
        Origin.of([job.tree])


def test_runs_of_before_are_read_as_they_are() -> None:
    tags = {"workbench.kind": "run", "environment.padding_bytes": "7", "version.mlflow": "3"}
    assert Run("r", "FINISHED", tags=tags).made_by == {}
