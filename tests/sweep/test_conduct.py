"""What is recorded when things go wrong: a tracking server that fails, a server process that dies, dead runs."""

from __future__ import annotations

import errno
import io
import json
import os
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow.exceptions import MlflowException

from workbench.config import ConfigError
from workbench.console import Lasting
from workbench.process import spawner
from workbench.record import unfinished
from workbench.record.gate import WATCHED, disturbance
from workbench.record.plan import Job
from workbench.report import arms
from workbench.sweep import conduct, journal
from workbench.sweep.conduct import Conductor, PrepareError
from workbench.sweep.journal import OWNER, Journal, close_dead, is_dead, owner
from workbench.sweep.ledger import Ledger
from workbench.sweep.progress import Watcher
from workbench.tracking import TrackingError


def test_a_job_is_recorded(conductor: Conductor, job: Job) -> None:
    ended = conductor.run(job)
    run = conductor.tracker.get(ended.run_id)
    assert run.status == "FINISHED"
    assert run.metrics == {"loss/step": 2.0, "data/batches": 3.0}
    assert run.params["data.fingerprint"] == "f"
    assert run.tags["digest.losses"] == "x"


def test_a_tracking_fault_loses_nothing_and_costs_no_other_job(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run_id: str, rows: object) -> None:
        raise TrackingError("the server is gone")

    with monkeypatch.context() as fault:
        fault.setattr(conductor.tracker, "log", broken)
        ended = conductor.run(job)
    assert ended.outcome.status == "failed"
    assert "the server is gone" in ended.outcome.error
    folder = conductor.folder / "0000-1"
    assert json.loads((folder / "result.json").read_text())["metrics"] == {"data/batches": 3.0}
    assert json.loads((folder / "log.jsonl").read_text())["values"] == {"loss/step": 2.0}
    assert conductor.run(job, attempt=2).outcome.status == "finished"


def test_a_run_whose_data_the_store_does_not_take_is_closed_and_says_why(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise TrackingError("400: bad request")

    monkeypatch.setattr(conductor, "_say_inputs", refused)
    monkeypatch.setattr(conduct, "load_manifest", lambda folder: None)
    Path(conductor.prepared[conduct.data_key(job.tree)].folder, "manifest.json").write_text("{}")
    ended = conductor.run(job)
    assert (ended.outcome.status, ended.outcome.error) == (
        "failed",
        "could not be recorded: 400: bad request",
    )
    run = conductor.tracker.get(ended.run_id)
    assert (run.status, run.error) == ("FAILED", ended.outcome.error)


def test_a_full_disk_and_a_lost_database_cost_a_job_each(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = conduct._new_folder

    def on_a_full_disk(wanted: Path) -> Path:
        folder = made(wanted)
        (folder / "log.jsonl").symlink_to("/dev/full")
        return folder

    with monkeypatch.context() as fault:
        fault.setattr(conduct, "_new_folder", on_a_full_disk)
        full = conductor.run(job)
    database, elsewhere = tmp_path / "mlflow.db", tmp_path / "moved.db"
    database.rename(elsewhere)  # SQLite itself would go on writing into the file where it now lies
    unrecorded = conductor.run(job)
    database.write_bytes(elsewhere.read_bytes())  # a copy is another file: what SQLite holds open is not it
    replaced = conductor.run(job)
    elsewhere.rename(database)
    assert full.outcome.status == unrecorded.outcome.status == "failed"
    run = conductor.tracker.get(full.run_id)
    assert run.status == "FAILED"
    assert "No space left on device" in run.tags["workbench.error"]
    for one in (unrecorded, replaced):
        assert "mlflow.db is no longer the file that was opened" in one.outcome.error
    assert not conductor.set_aside([full, unrecorded])
    assert conductor.run(job).outcome.status == "finished"


def test_two_that_prepare_in_one_folder_have_a_configuration_each(conductor: Conductor, job: Job) -> None:
    """As workers on several hosts do, or two runs with one id: the second's was read by the child of the first."""
    others = replace(job, tree={**job.tree, "data": {**job.tree["data"], "max_examples": 9}})
    for one in (job, others):
        conductor.prepared.clear()
        conductor.prepare([one])
    found = [
        yaml.safe_load(path.read_text()) for path in sorted(conductor.folder.glob("prepare-*/config.yaml"))
    ]
    assert [one["data"] for one in found] == [job.tree["data"], others.tree["data"]]


def test_data_that_is_never_ready_ends_the_command_and_is_named_a_hang(
    conductor: Conductor, job: Job
) -> None:
    (conductor.folder.parent / "mode").write_text("hang")
    job.tree["workbench"]["prepare_limit_s"] = 0.5
    conductor.prepared.clear()
    with pytest.raises(
        PrepareError, match=r"workbench.prepare_limit_s=0.5: data=python_source was not .* It hangs"
    ):
        conductor.prepare([job])


def test_a_run_never_writes_into_the_folder_of_one_that_died(conductor: Conductor, job: Job) -> None:
    conductor.run(job)
    conductor.run(job)
    folders = [conductor.folder / name for name in ("0000-1", "0000-1.2")]
    assert [len((one / "log.jsonl").read_text().splitlines()) for one in folders] == [1, 1]


@pytest.mark.parametrize("mode", ["kill", "kill server"])
def test_a_killed_child_or_server_is_one_killed_run_and_the_next_job_runs(
    conductor: Conductor, job: Job, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "mode").write_text(mode)
    ended = conductor.run(job)
    run = conductor.tracker.get(ended.run_id)
    assert ended.outcome.status == "killed"
    assert run.status == "KILLED"
    assert run.metrics["loss/step"] == 2.0
    (tmp_path / "mode").write_text("finish")
    assert conductor.run(job, attempt=2).outcome.status == "finished"


def test_runs_of_a_process_that_is_gone_are_closed_and_others_are_left(
    conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, experiment = conductor.tracker, conductor.experiment
    here = journal._Place("one", "boot", "4026531836", "1a2b3c4d")  # no container
    monkeypatch.setattr(journal, "_place", lambda: here)
    mine = owner()[OWNER]
    boot = mine.rsplit(":", 2)[0]
    gone = tracker.start(experiment, "gone", params={}, tags={OWNER: f"{boot}:999999:1.00"})
    reused = tracker.start(experiment, "reused", params={}, tags={OWNER: f"{boot}:{os.getpid()}:1.00"})
    before = tracker.start(experiment, "before", params={}, tags={OWNER: f"{boot.split('/')[0]}/1:1:1.00"})
    alive = tracker.start(experiment, "alive", params={}, tags={OWNER: mine})
    elsewhere = tracker.start(experiment, "elsewhere", params={}, tags={OWNER: "another/1:1:1.00"})
    assert set(close_dead(tracker)) == {gone, reused, before}
    assert tracker.get(gone).status == "KILLED"
    assert {tracker.get(run).status for run in (alive, elsewhere)} == {"RUNNING"}
    assert tracker.get(gone).tags["workbench.error"] == "its process was gone"
    tracker.reopen(gone, {OWNER: mine})
    assert "workbench.error" not in tracker.get(gone).tags, "a sweep that goes on has not failed"


def test_a_run_that_is_reopened_is_never_seen_running_for_a_process_that_is_gone(
    conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = conductor.tracker
    place = owner()[OWNER].rsplit(":", 2)[0]
    tags = {OWNER: f"{place}:999999:1.00", "workbench.error": "its process was gone"}
    run_id = tracker.start(conductor.experiment, "x", params={}, tags=tags)
    tracker.finish(run_id, "KILLED")
    closed = []
    for name in ("log_batch", "update_run", "delete_tag"):
        asked = getattr(tracker._client, name)

        def and_then(*given, asked=asked, **named):
            asked(*given, **named)
            closed.extend(close_dead(tracker))

        monkeypatch.setattr(tracker._client, name, and_then)
    tracker.reopen(run_id, owner())
    assert closed == []
    found = tracker.get(run_id)
    assert (found.status, "workbench.error" in found.tags) == ("RUNNING", False)


def test_what_the_store_took_is_not_said_again_where_it_refuses_the_next(
    conductor: Conductor, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = conductor.tracker
    run_id = tracker.start(conductor.experiment, "x", params={}, tags={})
    points = [[step, 1.0 / (step + 1)] for step in range(2000)]
    said, log = 0, tracker._client.log_batch

    def refuses_the_second(*given, **named) -> None:
        nonlocal said
        said += 1
        if said == 2:
            raise MlflowException("not now")
        log(*given, **named)

    monkeypatch.setattr(tracker._client, "log_batch", refuses_the_second)
    with Journal(tmp_path, tracker, run_id, conductor.watcher, job) as book:
        book.take({"kind": "curve", "metric": "loss/step", "points": points})
        book.take({"kind": "quiet"})
        book.take({"kind": "quiet"})
    assert len(tracker._client.get_metric_history(run_id, "loss/step")) == 2000


def test_a_run_that_ends_while_it_is_looked_at_has_ended(
    conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = conductor.tracker
    run_id = tracker.start(conductor.experiment, "x", params={}, tags=owner())

    def ends_and_is_gone(tag: str) -> bool:
        tracker.finish(run_id, "FINISHED")
        return True

    monkeypatch.setattr(journal, "is_dead", ends_and_is_gone)
    assert close_dead(tracker) == []
    assert tracker.get(run_id).status == "FINISHED"


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({}, False),
        ({"boot": "earlier"}, False),
        ({"boot": "earlier", "processes": "1"}, False),
        ({"processes": ""}, False),
        ({"processes": "1"}, True),
        ({"machine": "1"}, True),
        ({"machine": ""}, False),
        ({"boot": "earlier", "machine": ""}, False),
        ({"boot": "earlier", "machine": "", "processes": "1"}, True),
        ({"host": "another"}, True),
    ],
)
def test_containers_and_machines_of_one_name_are_told_apart(
    change: dict[str, str], is_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = journal._Place("one", "boot", "4026531836", "1a2b3c4d")
    monkeypatch.setattr(journal, "_place", lambda: here)
    tag = f"{replace(here, **change)}:1:2"
    assert journal.is_of_another_host(tag) is is_another
    assert not is_another or not journal.is_dead(tag)


def test_a_run_that_the_store_refuses_once_is_closed_all_the_same(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise TrackingError("the artifacts cannot be kept")

    monkeypatch.setattr(conductor.tracker, "artifact", refused)
    ended = conductor.run(job)
    run = conductor.tracker.get(ended.run_id)
    assert (run.status, run.error) == ("FAILED", ended.outcome.error)
    assert "the artifacts cannot be kept" in run.error


def test_data_that_is_damaged_meanwhile_costs_its_job(conductor: Conductor, job: Job) -> None:
    folder = Path(conductor.prepared[conduct.data_key(job.tree)].folder)
    (folder / "manifest.json").write_text("{")
    ended = conductor.run(job)
    assert ended.outcome.error.startswith("could not be read: ")
    assert conductor.tracker.get(ended.run_id).status == "FAILED"


def test_ctrl_c_while_a_run_is_begun_closes_it(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conductor.origin, "write", pressed)
    with pytest.raises(KeyboardInterrupt):
        conductor.run(job)
    (run,) = conductor.tracker.runs("x")
    assert (run.status, run.error) == ("KILLED", "interrupted")


def test_a_full_disk_under_the_terminals_output_costs_no_job(conductor: Conductor, job: Job) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    conductor.watcher = Watcher(Lasting(file=Full()), 2)
    assert conductor.run(job).outcome.status == "finished"


def test_a_disturbed_block_is_set_aside_as_a_whole(conductor: Conductor, job: Job) -> None:
    quiet, loud = conductor.run(job), conductor.run(job, attempt=2)
    assert not conductor.set_aside([quiet, loud])
    quiet.outcome.result["metrics"] |= dict(zip(WATCHED[:2], (100.0, 83.0), strict=True))
    assert disturbance(quiet.outcome.result["metrics"]), "which a page says"
    assert not conductor.set_aside([quiet, loud]), "but a quiet machine's calibrations lie as far apart"
    quiet.outcome.result["metrics"][WATCHED[1]] = 82.0
    assert conductor.set_aside([quiet, loud])
    quiet.outcome.result["metrics"][WATCHED[1]] = 100.0
    loud.outcome.result["metrics"]["speed/foreign_cpu_share"] = 0.2
    assert conductor.set_aside([quiet, loud])
    tags = [conductor.tracker.get(one.run_id).tags for one in (quiet, loud)]
    assert [tag["workbench.requeued"] for tag in tags] == ["true", "true"]
    assert tags[1]["workbench.disturbed"] == "other processes took 20% of the CPU"


def test_runs_grouped_by_the_tag_of_their_arm_are_those_that_a_report_counts(
    conductor: Conductor, job: Job
) -> None:
    """MLflow's UI then gives the report's mean: the throw-away block and its like have names of their own."""
    job = replace(job, arm="cell=gru")
    conductor.run(replace(job, block=0))
    aside = conductor.run(job)
    conductor.tag_aside(aside.run_id)
    counted = conductor.run(job, attempt=2)
    conductor.run(replace(job, repeat=1))
    conductor.kind = "rerun"
    again = conductor.run(job)
    assert counted.outcome.status == again.outcome.status == "finished"
    runs = conductor.tracker.runs("x")
    assert [run.tags["workbench.arm"] for run in runs] == [
        "(throw-away) cell=gru",
        "(set aside) cell=gru",
        "cell=gru",
        "(control again) cell=gru",
        "(rerun) cell=gru",
    ]
    jobs = [run for run in runs if run.is_job]
    assert [run.run_id for run in arms.counted(jobs)] == [counted.run_id]
    assert [run.job for run in jobs] == [
        (block, "cell=gru", n) for block, n in ((0, 0), (1, 0), (1, 0), (1, 1))
    ]
    assert unfinished(jobs) == []


def test_a_child_that_fails_may_tell_of_itself_and_is_recorded_with_it(
    conductor: Conductor, job: Job
) -> None:
    (conductor.folder.parent / "mode").write_text("diverge")
    ended = conductor.run(job)
    assert (ended.outcome.status, ended.outcome.error) == ("failed", "diverged at step 1")
    run = conductor.tracker.get(ended.run_id)
    assert run.status == "FAILED"
    assert (run.tags["workbench.diverged"], run.params["device"]) == ("true", "cpu")
    assert run.tags["workbench.error"] == "diverged at step 1"
    known = Ledger(done={(job.number, 1): conductor.tracker.runs("x")[0]})
    job = replace(job, tree={**job.tree, "workbench": {**job.tree["workbench"], "fail_fast": True}})
    again = conductor.run_blocks([job, replace(job, number=1, block=2)], known=known)
    assert [(one.run_id == ended.run_id, one.outcome.error) for one in again] == [
        (True, "diverged at step 1"),
        (False, "diverged at step 1"),
    ], "what had failed before is not what ends a sweep now"


@pytest.mark.parametrize("answers", [False, True])
def test_a_store_that_no_longer_answers_ends_the_sweep_before_another_job_waits_for_it(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    def asked(uri: str) -> None:
        if not answers:
            raise TrackingError(f"{uri}: nothing answers there")

    def away(*given: object, **more: object) -> None:
        raise TrackingError("the request came to nothing")

    monkeypatch.setattr(conductor.tracker, "start", away)
    monkeypatch.setattr(conduct, "require_answer", asked)
    ended = conductor.run_blocks([job, replace(job, number=1, block=2)])
    assert [one.run_id for one in ended] == ["", ""] if answers else [""]
    assert "came to nothing" in ended[0].outcome.error


def test_a_disturbed_block_that_cannot_be_set_aside_is_named_and_the_next_block_runs(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*given: object) -> None:
        raise TrackingError("the database is gone")

    (conductor.folder.parent / "mode").write_text("disturbed")
    monkeypatch.setattr(conductor, "tag_aside", lost)
    job = replace(job, tree={**job.tree, "sweep": {**job.tree["sweep"], "requeue": 1}})
    first, second = conductor.run_blocks([job, replace(job, number=1, block=2)])
    assert [first.outcome.status, second.outcome.status] == ["failed", "failed"]
    assert "could not be set aside: the database is gone" in first.outcome.error
    assert first.run_id != second.run_id


@pytest.mark.parametrize(
    ("metrics", "disturbed"),
    [
        ({}, False),
        ({"speed/calibration_before_gflops": 100.0, "speed/calibration_after_gflops": 91.0}, False),
        ({"speed/calibration_before_gflops": 100.0, "speed/calibration_after_gflops": 90.5}, True),
        ({"speed/calibration_before_gflops": 100.0, "speed/calibration_after_gflops": 89.0}, True),
        ({"speed/calibration_before_gflops": 89.0, "speed/calibration_after_gflops": 100.0}, True),
        ({"speed/foreign_cpu_share": 0.05}, False),
        ({"speed/foreign_cpu_share": 0.06}, True),
    ],
)
def test_the_gate(metrics: dict[str, float], disturbed: bool) -> None:
    assert bool(disturbance(metrics)) is disturbed


@pytest.mark.parametrize("forks", [True, False])
def test_variables_of_a_job_reach_its_process_from_its_start_and_are_recorded(
    conductor: Conductor, job: Job, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    if not forks:
        monkeypatch.setattr(conduct, "Fresh", lambda: spawner.Fresh("small_child"))
    servers, tags, params = [], [], []
    asked = {**job.tree, "workbench": {**job.tree["workbench"], "start": "fork" if forks else "fresh"}}
    for number, given in enumerate(({"GIVEN": "1"}, {"GIVEN": "1"}, {"GIVEN": "2"}, {})):
        ended = conductor.run(replace(job, number=number, tree={**asked, "environment": given}))
        run = conductor.tracker.get(ended.run_id)
        tags.append(run.tags)
        params.append(run.params.get("environment.GIVEN"))
        servers.append(conductor._server)
    assert [one["given"] for one in tags] == ["1", "1", "2", ""]
    assert [one.get("environment.GIVEN") for one in tags] == params == ["1", "1", "2", None]
    same = [[one is other for other in servers] for one in servers]
    assert not forks or same[0] == [True, True, False, False], (
        "what the server has read at import is the job's"
    )
    identities = [one["workbench.identity"] for one in tags]
    assert identities[0] == identities[1]
    assert len(set(identities)) == 3


def test_passwords_are_in_no_frozen_file(conductor: Conductor, job: Job) -> None:
    password = uuid.uuid4().hex
    job.tree["tracking"]["uri"] = f"postgresql://me:{password}@host/db"
    conductor.run(job)
    written = [path for path in conductor.folder.rglob("*") if path.is_file()]
    assert written
    assert not any(password.encode() in path.read_bytes() for path in written)


def test_what_cannot_be_on_its_data_is_refused_once_that_is_there(conductor: Conductor, job: Job) -> None:
    tree = {**job.tree, "training": {**job.tree["training"], "workers": 3}}
    with pytest.raises(ConfigError, match=r"^training\.workers=3: .* has 1; take fewer"):
        conductor.prepare([job, replace(job, tree=tree)])


def test_a_dead_run_that_another_person_may_not_close_is_left(
    conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = conductor.tracker
    experiment = tracker.experiment("x")
    boot = owner()[OWNER].rsplit(":", 2)[0]
    theirs, mine = (
        tracker.start(experiment, name, params={}, tags={OWNER: f"{boot}:{2**22 + 1}:1"})
        for name in ("theirs", "mine")
    )
    tag = tracker.tag

    def refused(run_id: str, tags: object) -> None:
        if run_id == theirs:
            raise TrackingError("403: permission denied")
        tag(run_id, tags)  # type: ignore[arg-type]

    monkeypatch.setattr(tracker, "tag", refused)
    assert close_dead(tracker) == [mine]
    assert tracker.get(theirs).status == "RUNNING"


def test_a_process_that_is_hidden_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's where /proc is mounted with hidepid=2."""
    mine, read = owner()[OWNER], Path.read_text

    def hidden(path: Path, *given: object, **options: object) -> str:
        if str(path) == f"/proc/{os.getpid()}/stat":
            raise FileNotFoundError(path)
        return read(path, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", hidden)
    assert not is_dead(mine)
    assert is_dead(f"{mine.rsplit(':', 2)[0]}:{2**22 + 1}:1")
