"""What is recorded of a sweep itself when it begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workbench.config import ConfigError
from workbench.record.plan import Typed
from workbench.record.tags import OWNER
from workbench.report import assemble
from workbench.sweep import own_run
from workbench.sweep.compose import Composer
from workbench.sweep.own_run import OwnRun
from workbench.sweep.planning import plan_sweep
from workbench.tracking import TrackingError


def test_a_sweep_that_goes_on_is_no_longer_of_the_launch_whose_tasks_may_still_wait(conductor) -> None:
    config, _, planned = plan_sweep(Composer(), ["seed=1,2"])
    conductor.experiment = conductor.tracker.experiment(config.name)
    run_id = OwnRun.new(config, planned, None).open(conductor, config, planned, None, Typed())
    conductor.tracker.tag(run_id, {"workbench.launch": "t"})
    run = conductor.tracker.get(run_id)
    own = OwnRun("s", config.name, run_id, planned, Typed(), dict(run.tags))
    own.open(conductor, config, planned, None, Typed())
    assert conductor.tracker.get(run_id).tags["workbench.launch"] == ""


def test_a_sweep_that_cannot_go_on_is_closed(conductor, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _, planned = plan_sweep(Composer(), ["seed=1,2"])
    _, _, more = plan_sweep(Composer(), ["seed=1,2,3"])
    conductor.experiment = conductor.tracker.experiment(config.name)
    run_id = OwnRun.new(config, planned, None).open(conductor, config, planned, None, Typed())
    own = OwnRun("s", config.name, run_id, planned, Typed(), dict(conductor.tracker.get(run_id).tags))

    def refused(*given: object) -> None:
        raise TrackingError("the artifacts cannot be kept")

    monkeypatch.setattr(conductor.tracker, "artifact", refused)
    with pytest.raises(TrackingError):
        own.open(conductor, config, more, None, Typed())
    assert conductor.tracker.get(run_id).status == "FAILED"


def test_of_two_hosts_that_resume_a_sweep_in_the_same_moment_one_goes_on(
    conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _, planned = plan_sweep(Composer(), ["seed=1,2"])
    conductor.experiment = conductor.tracker.experiment(config.name)
    run_id = OwnRun.new(config, planned, None).open(conductor, config, planned, None, Typed())
    own = OwnRun("s", config.name, run_id, planned, Typed(), dict(conductor.tracker.get(run_id).tags))
    others = iter([{}, {OWNER: "node7/boot:12:34"}])  # what another host says while this one waits
    monkeypatch.setattr(
        own_run, "time", SimpleNamespace(sleep=lambda _: conductor.tracker.tag(run_id, next(others)))
    )
    monkeypatch.setattr(conductor.tracker, "uri", "http://store:5000")
    assert own.open(conductor, config, planned, None, Typed()) == run_id
    with pytest.raises(ConfigError, match="node7 resumed this sweep in the same moment"):
        own.open(conductor, config, planned, None, Typed())
    assert conductor.tracker.get(run_id).status == "RUNNING", "it is the other's now"

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(own_run, "time", SimpleNamespace(sleep=interrupted))
    with pytest.raises(KeyboardInterrupt):
        own.open(conductor, config, planned, None, Typed())
    assert conductor.tracker.get(run_id).status == "KILLED"


def test_the_question_that_a_sweep_asks_reaches_its_report(conductor) -> None:
    """With the letters that Markdown and HTML would take for their own."""
    asked = "Does `bucket` help <my> data & me | you?"
    config, _, planned = plan_sweep(Composer(), ["seed=1,2", f'sweep.question="{asked}"'])
    own = OwnRun.new(config, planned, None)
    conductor.experiment = conductor.tracker.experiment(config.name)
    run_id = own.open(conductor, config, planned, None, Typed())
    record = conductor.tracker.get(run_id)
    assert record.params["sweep.question"] == asked
    assert assemble._facts(record, [], planned, None)["question"] == asked
    config, _, planned = plan_sweep(Composer(), ["seed=1,2"])
    own = OwnRun.new(config, planned, None)
    run_id = own.open(conductor, config, planned, None, Typed())
    assert "sweep.question" not in conductor.tracker.get(run_id).params
