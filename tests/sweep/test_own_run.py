"""What is recorded of a sweep itself when it begins."""

from __future__ import annotations

from workbench.record.plan import Typed
from workbench.report import assemble
from workbench.sweep.compose import Composer
from workbench.sweep.own_run import OwnRun
from workbench.sweep.planning import plan_sweep


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
