"""Jobs x records -> done, to do, changed; and in what two plans differ."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from workbench.identity import identity
from workbench.record import Run
from workbench.record import tags as names
from workbench.record.frames import frame_of, runs_of
from workbench.record.plan import Job, Plan, Typed, plan_json, read_plan
from workbench.sweep import resume
from workbench.sweep.compose import Composer
from workbench.sweep.grid import expand, plan
from workbench.sweep.ledger import Ledger, differences, ledger
from workbench.sweep.typed import as_typed

NOW = {"code.sha256": "c"}


@pytest.fixture(scope="module")
def planned() -> Plan:
    grid = expand(Composer(), ["cell=gru,lstm"])
    return plan(grid, blocks=2, throw_away=True, control="cell=gru")


def run(job: Job, run_id: str = "r", *, status: str = "FINISHED", code: str = "c", **more) -> Run:
    fingerprint = more.pop("fingerprint", "f")
    tags = {
        names.KIND: "run",
        names.ARM: job.arm,
        names.BLOCK: str(job.block),
        names.REPEAT: str(job.repeat),
        names.ATTEMPT: str(more.pop("attempt", 1)),
        names.IDENTITY: identity(job.tree, fingerprint, {"code.sha256": code}),
        "code.sha256": code,
    }
    return Run(run_id, status, {"data.fingerprint": fingerprint}, tags=tags | more)


def stock(planned: Plan, *runs: Run) -> Ledger:
    return ledger(planned.jobs, runs, {job.number: "f" for job in planned.jobs}, lambda tree: NOW)


def test_only_what_finished_as_the_same_is_done(planned: Plan) -> None:
    jobs = planned.jobs
    found = stock(
        planned,
        run(jobs[0]),
        run(jobs[1], status="KILLED"),
        run(jobs[2], status="FAILED"),
        run(jobs[3], status="RUNNING"),
        run(jobs[4], code="other"),
        run(jobs[5], fingerprint="other"),
    )
    assert found.todo == jobs[1:]
    assert [(one.job, one.why) for one in found.changed] == [
        (jobs[4], "the workbench's code"),
        (jobs[5], "the data"),
    ]
    assert [one.job for one in found.open] == [jobs[3].key]
    assert found.finished(jobs[0])
    assert not found.finished(jobs[1])


def test_kept_runs_that_were_made_otherwise_stay_only_in_blocks_that_are_whole(planned: Plan) -> None:
    """Of a block that is half done the rest would be made otherwise, and judging refuses such pairs."""
    first, second = ([job for job in planned.jobs if job.block == block] for block in (1, 2))
    runs = [run(job, job.arm, code="old") for job in [*first, second[0]]]
    with_claims, without = stock(planned, *runs), stock(planned, *runs)
    said = resume.decide(with_claims, None, "keep", pairs=True)
    assert [one.job for one in with_claims.again] == [second[0]]
    assert {job.block for job in with_claims.todo} == {0, 2}
    assert [job for job in with_claims.todo if job.block == 2] == second
    assert said[0] == "4 finished jobs: the workbench's code changed; kept"
    assert said[1].startswith("1 of them are run again, as block 2 was half done")
    resume.decide(without, None, "keep", pairs=False)
    assert without.again == []
    assert [job for job in without.todo if job.block == 2] == second[1:]


def test_the_first_finished_attempt_counts_and_a_superseded_one_never(planned: Plan) -> None:
    job = planned.jobs[0]
    found = stock(
        planned, run(job, "old", **{names.SUPERSEDED: "why"}), run(job, "first"), run(job, "second")
    )
    assert found.finished(job).run_id == "first"


def test_a_diverged_run_is_a_result_that_is_not_run_again_unless_what_it_ran_has_changed(
    planned: Plan,
) -> None:
    same, other = planned.jobs[:2]
    diverged = {"status": "FAILED", names.DIVERGED: "true", names.ERROR: "diverged at step 3"}
    found = stock(planned, run(same, **diverged), run(other, code="other", **diverged))
    assert found.todo == planned.jobs[1:]
    assert found.finished(same).error == "diverged at step 3"
    assert [(one.job, one.why) for one in found.changed] == [(other, "the workbench's code")]


def test_a_block_that_was_set_aside_goes_on_with_its_next_attempt_as_a_whole(planned: Plan) -> None:
    first, second, third = (job for job in planned.jobs if job.block == 1)
    found = stock(
        planned,
        run(first, "a", **{names.REQUEUED: "true"}),
        run(second, "b"),  # ended between two tags: this one was to be set aside too
        run(third, "c", **{names.REQUEUED: "true"}),
        run(first, "d", attempt=2),
    )
    assert found.attempts[1] == 2
    assert found.unsettled == ["b"]
    assert found.finished(first).run_id == "d"
    assert [job for job in found.todo if job.block == 1] == [second, third]


def test_a_frozen_grid_is_read_back_as_it_was(planned: Plan) -> None:
    typed = as_typed(["cell=gru,lstm", "tracking.uri=x", "+workbench.resume=true"], ["mine"])
    assert read_plan(plan_json(planned, typed)) == (
        planned,
        Typed(("cell=gru,lstm",), (str(Path("mine").resolve()),)),
    )


def test_equal_plans_do_not_differ_and_others_say_in_what(planned: Plan) -> None:
    def other(*overrides: str, blocks: int = 2) -> list[str]:
        grid = expand(Composer(), list(overrides))
        return differences(planned, plan(grid, blocks=blocks, throw_away=True, control="cell=gru"))

    assert other("cell=gru,lstm", "data.cache_dir=/x", "training.log_every=3", "workbench.quiet=true") == []
    assert set(other("cell=gru,lstm", "training.epochs=7")) == {
        f"{arm}: training.epochs was 1, is 7" for arm in ("cell=lstm", "cell=gru (control again)", "cell=gru")
    }
    assert other("cell=gru,basic_rnn") == [
        "cell=lstm: no longer in the grid",
        "cell=basic_rnn: new in the grid",
    ]
    assert other("cell=gru,lstm", blocks=3) == ["blocks: planned with seeds 1, 2, now 1, 2, 3"]


def test_runs_are_read_from_what_mlflow_returns_and_given_back_as_they_were() -> None:
    row = {
        "run_id": "r",
        "status": "FINISHED",
        "start_time": 2,
        "tags.workbench.kind": "run",
        "tags.workbench.block": "3",
        "tags.workbench.arm": "cell=gru",
        "tags.workbench.repeat": "1",
        "tags.workbench.attempt": "2",
        "tags.workbench.identity": "i",
        "tags.workbench.requeued": "true",
        "tags.workbench.superseded": None,
        "tags.code.sha256": "c",
        "params.data.fingerprint": "f",
        "metrics.speed/foreign_cpu_share": 0.25,
        "tags.workbench.diverged": "false",
        "tags.workbench.error": None,
    }
    diverged = {
        **row,
        "run_id": "d",
        "status": "FAILED",
        "start_time": 3,
        "tags.workbench.arm": "(set aside) cell=gru",
        "tags.workbench.diverged": "true",
        "tags.workbench.error": "diverged at step 3",
    }
    parent = {"run_id": "p", "status": "RUNNING", "start_time": 1, "tags.workbench.kind": "sweep"}
    own, first, second = runs_of(pd.DataFrame([parent, row, diverged]))
    assert [run.is_job for run in (own, first, second)] == [False, True, True]
    assert (first.job, second.job, first.attempt) == ((3, "cell=gru", 1), (3, "cell=gru", 1), 2)
    assert (first.identity, first.fingerprint, first.made_by) == ("i", "f", {"code.sha256": "c"})
    assert (first.requeued, first.superseded, first.has_result) == (True, False, True)
    assert (second.diverged, second.has_result, second.error) == (True, True, "diverged at step 3")
    assert runs_of(frame_of([own, first, second])) == [own, first, second]
