"""MLflow: what is written is read back; what cannot be used is refused with a remedy, and nothing is lost."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sqlalchemy.orm import Session

from workbench.record.frames import frame_of, runs_of
from workbench.tracking import Tracker, TrackingError, reading

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))


def test_a_run_is_read_back_as_it_was_written(tracker: Tracker, tmp_path: Path) -> None:
    experiment = tracker.experiment("x")
    assert tracker.experiment("x") == experiment
    parent = tracker.start(experiment, "sweep", params={}, tags={"workbench.sweep": "s"})
    run = tracker.start(
        experiment, "one", params={"a.b": None, "c": True}, tags={"workbench.sweep": "s"}, parent=parent
    )
    tracker.log(run, [(step, {"loss/step": 1.0 / (step + 1)}) for step in range(1500)])
    tracker.log(run, [(0, {"loss/train_objective": float("nan"), "data/batches": 3.0})])
    tracker.text(run, "hello", "note.txt")
    tracker.finish(run, "FINISHED")
    own, one = tracker.runs("x", "s")
    assert (own.run_id, one.run_id, one.tags["mlflow.parentRunId"]) == (parent, run, parent)
    assert one.params == {"c": "true"}  # what is not set is not there
    assert one.metrics == {"loss/step": 1 / 1500, "data/batches": 3.0}
    assert one.status == "FINISHED"
    assert 0 < one.start <= one.end
    recorded = tracker._client.get_run(run).data.metrics
    assert math.isnan(recorded["loss/train_objective"]), "not a number is not absence"
    assert tracker.read_text(run, "note.txt") == "hello"
    assert len(tracker._client.get_metric_history(run, "loss/step")) == 1500


def test_what_is_logged_is_there_whatever_the_shell_says_of_asynchronous_logging(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a store that refuses loses numbers without a word, and a timed window begins while they are written."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    run = tracker.start(tracker.experiment("x"), "one", params={"a": 1}, tags={"b": "2"})
    tracker.log(run, [(0, {"loss/step": 1.0})])
    assert (tracker.get(run).metrics, tracker.get(run).params) == ({"loss/step": 1.0}, {"a": "1"})

    def refuse(*given: Any, **named: Any) -> None:
        raise mlflow.MlflowException("not now")

    monkeypatch.setattr(type(tracker._client._tracking_client.store), "log_batch", refuse)
    with pytest.raises(TrackingError, match="not now"):
        tracker.log(run, [(1, {"loss/step": 2.0})])


def test_an_error_that_names_a_file_of_other_letters_is_recorded(tracker: Tracker) -> None:
    run = tracker.start(tracker.experiment("x"), "one", params={}, tags={})
    tracker.tag(run, {"workbench.error": "no such file: 'w\udcf6rter.txt'"})
    assert tracker.get(run).tags["workbench.error"] == "no such file: 'w\\udcf6rter.txt'"


def test_where_a_run_ran_stands_in_a_tag_a_section(tracker: Tracker) -> None:
    """MLflow shows few tags; whoever reads runs has each by itself, whenever it was written and however long."""
    experiment = tracker.experiment("x")
    tags = {"version.keras": "3", "version.numpy": "2", "environment.A": "1", "machine.cpu": "c" * 6000}
    run = tracker.start(experiment, "one", params={}, tags={**tags, "version": "a user's own"})
    tracker.tag(run, {"environment.B": "x" * 4000, "git.commit": "abc"})
    tracker.tag(run, {"environment.A": "2", "environment.C": "y" * 4000})  # longer than one tag may be
    expected = {**tags, "version": "a user's own", "git.commit": "abc"}
    expected |= {"environment.A": "2", "environment.B": "x" * 4000, "environment.C": "y" * 4000}
    found = tracker.get(run).tags
    assert {name: found.get(name) for name in expected} == expected
    assert {name for name in found if name.startswith(("version", "machine", "environment"))} <= set(expected)
    shown = tracker._client.get_run(run).data.tags
    assert shown["workbench.version"] == '{"keras": "3", "numpy": "2"}'
    assert "version.keras" not in shown
    [row] = runs_of(mlflow.search_runs([experiment]))
    assert {name: row.tags.get(name) for name in expected} == expected


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_ranks_behind_all_numbers(tracker: Tracker, last: float) -> None:
    experiment = tracker.experiment("x")
    runs = {name: tracker.start(experiment, name, params={}, tags={}) for name in ("low", "high", "diverged")}
    for name, curve in (("low", [2.0, 1.0]), ("high", [2.0, 3.0]), ("diverged", [0.5, last])):
        tracker.log(runs[name], [(step, {"loss/step": loss}) for step, loss in enumerate(curve)])
    for way, expected in (("ASC", ["low", "high", "diverged"]), ("DESC", ["high", "low", "diverged"])):
        found = tracker._client.search_runs([experiment], order_by=[f"metrics.`loss/step` {way}"])
        assert [run.info.run_name for run in found] == expected
    below = tracker._client.search_runs([experiment], "metrics.`loss/step` < 100")
    assert {run.info.run_name for run in below} == {"low", "high"}
    assert tracker.history(runs["diverged"], "loss/step")[0] == (0, 0.5), "the curve stays"


def test_a_run_that_died_while_it_was_opened_is_of_no_kind(tracker: Tracker, monkeypatch) -> None:
    experiment = tracker.experiment("x")

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as fault:
        fault.setattr(tracker, "params", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tracker.start(experiment, "one", params={"a": 1}, tags={"workbench.kind": "run", "t": "x"})
    assert tracker.running() == []
    tracker.start(experiment, "two", params={"a": 1}, tags={"workbench.kind": "run", "t": "x"})
    runs = frame_of(tracker.runs("x")).set_index("tags.mlflow.runName")
    assert runs["tags.t"].to_dict() == {"one": "x", "two": "x"}
    assert runs["tags.workbench.kind"].fillna("").to_dict() == {"one": "", "two": "run"}
    assert runs["status"].to_dict() == {"one": "KILLED", "two": "RUNNING"}


@pytest.mark.parametrize("part", ["params", "tag"])
def test_a_run_that_could_not_be_opened_whole_is_closed_as_failed(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    experiment, whole = tracker.experiment("x"), getattr(tracker, part)
    calls = []

    def broken_once(*given: object) -> None:
        calls.append(given)
        if len(calls) == 1:
            raise TrackingError("the server took no more")
        whole(*given)

    with monkeypatch.context() as fault:
        fault.setattr(tracker, part, broken_once)
        with pytest.raises(TrackingError, match="took no more"):
            tracker.start(experiment, "one", params={"a": 1}, tags={"workbench.kind": "run"})
    (run,) = tracker.find(experiment, {})
    assert run.status == "FAILED"
    assert run.tags["workbench.error"] == "could not be opened: the server took no more"


def test_two_runs_that_read_the_same_data_may_say_so_in_the_same_moment(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's store looks whether the data set is known, and then adds it; here another adds it between."""
    experiment = tracker.experiment("x")
    first, second = (tracker.start(experiment, name, params={}, tags={}) for name in ("first", "second"))
    said = ("treebank", "d" * 40, {"train": {"examples": 3}, "test": {"examples": 1}})
    add, others = Session.add_all, [second]

    def add_later(self: Session, rows: list[Any]) -> None:
        if others:
            tracker.inputs(others.pop(), *said)
        add(self, rows)

    monkeypatch.setattr(Session, "add_all", add_later)
    tracker.inputs(first, *said)
    assert others == []
    for run_id in (first, second):
        found = MlflowClient(tracker.uri).get_run(run_id).inputs.dataset_inputs
        assert sorted(one.dataset.name for one in found) == ["treebank test", "treebank train"]


def test_two_processes_may_describe_a_new_experiment_in_the_same_moment(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two sweeps do that end together."""
    experiment = tracker.experiment("x")
    merge, others = Session.merge, ["theirs"]

    def merge_later(self: Session, row: Any) -> Any:
        found = merge(self, row)  # it has looked, and found none
        if others:
            tracker.experiment_tags(experiment, {"mlflow.note.content": others.pop()})
        return found

    monkeypatch.setattr(Session, "merge", merge_later)
    tracker.experiment_tags(experiment, {"mlflow.note.content": "ours"})
    assert others == []
    assert tracker.tags_of_experiment(experiment)["mlflow.note.content"] == "ours"


def test_searches_go_on_to_the_last_page(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"workbench.kind": "sweep", "workbench.sweep": "s"}
    opened = [tracker.start(tracker.experiment(name), name, params={}, tags=tags) for name in "aabbb"]
    monkeypatch.setattr(reading, "_PAGE", 2)
    assert {run.run_id for run in tracker.running()} == set(opened)
    assert {run.run_id for run in tracker.sweeps(sweep="s")} == set(opened)
    assert [run.run_id for run in tracker.find(tracker.experiment("b"), tags)] == opened[2:]
    assert [run.run_id for run in tracker.runs("b", "s", most=1)] == opened[2:3]
    monkeypatch.setattr(reading, "_PAGE", 1)  # experiments come in pages too
    assert {run.run_id for run in tracker.running()} == set(opened)


@pytest.mark.parametrize("of_database", [True, False])
def test_the_histories_of_many_runs_are_those_of_each(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, of_database: bool
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 2)
    store = tracker._client._tracking_client.store
    if not of_database:  # a server has no such question
        monkeypatch.setattr(type(store), "get_metric_history_bulk", None)
    experiment = tracker.experiment("x")
    runs = [tracker.start(experiment, f"run {n}", params={}, tags={}) for n in range(4)]
    for number, run in enumerate(runs[:3], 1):
        tracker.log(
            run, [(step, {"loss/step": number / step, "other": 1.0}) for step in range(number, 0, -1)]
        )
    tracker.log(runs[0], [(9, {"loss/step": float("nan")})])
    found = tracker.histories(runs, "loss/step")
    assert set(found) == set(runs[:3])
    for run in runs[:3]:
        np.testing.assert_array_equal(found[run], tracker.history(run, "loss/step"))
    assert tracker.histories([], "loss/step") == tracker.histories(runs, "nothing") == {}


def test_what_runs_have_in_common_is_held_once(tracker: Tracker) -> None:
    """Of thousands of runs most params and tags are the same."""
    experiment = tracker.experiment("x")
    for name in ("one", "two"):
        tags = {"workbench.sweep": "s", "version.keras": "3.15.1", "git.commit": "abcdef"}
        tracker.start(experiment, name, params={"a.b": "value", "own": name}, tags=tags)
    one, two = tracker.runs("x")
    for mine, its in ((one.params, two.params), (one.tags, two.tags)):
        its_names = {name: name for name in its}
        assert all(name is its_names[name] for name in mine)
        assert all(value is its[name] for name, value in mine.items() if value == its[name])
    assert (one.params["own"], two.params["own"]) == ("one", "two")


def test_an_experiment_that_is_not_there_has_no_runs(tracker: Tracker) -> None:
    assert frame_of(tracker.runs("nowhere")).empty


def test_write_ahead_log_is_a_setting(tmp_path: Path) -> None:
    for wal, mode in ((True, "wal"), (False, "delete")):
        Tracker(f"sqlite:///{tmp_path}/{mode}.db", wal=wal)
        with closing(sqlite3.connect(tmp_path / f"{mode}.db")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_a_server_that_is_not_there_is_named_with_the_remedy() -> None:
    with pytest.raises(TrackingError, match=r"127.0.0.1:9: nothing answers there.*mlflow server"):
        Tracker("http://127.0.0.1:9")


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/x", "ftp://x"])
def test_an_address_of_no_known_kind_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match="must be sqlite:///FILE"):
        Tracker(uri)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///x.db?timeout=30", r"\? and %.*without options"),
        ("sqlite:///a%20b/x.db", r"\? and %"),
        ("sqlite:///folder", "is a folder; name a file in it"),
    ],
)
def test_a_sqlite_address_that_names_no_file_as_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrackingError, match=words):
        Tracker(uri)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_mlflow_cannot_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "100%").mkdir()
    monkeypatch.chdir(tmp_path / "100%")
    with pytest.raises(TrackingError, match=r"100%.*whose name has neither"):
        Tracker("sqlite:///mlflow.db")


@pytest.mark.parametrize("artifacts", ["s3://bucket/x", "file:///x", "gs://x"])
def test_a_place_for_artifacts_is_a_folder(tmp_path: Path, artifacts: str) -> None:
    with pytest.raises(TrackingError, match=r"must be a folder.*tracking=server"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", artifacts)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(TrackingError, match="whole SQLite file"):
        Tracker(f"sqlite:///{path}")
    assert path.read_bytes() == b"x" * 5000


@pytest.mark.slow  # quick: a file that is no database
def test_a_database_of_another_mlflow_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    Tracker(f"sqlite:///{path}", wal=False)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update alembic_version set version_num = '0123456789ab'")
    before = path.read_bytes()
    code = f"from workbench.tracking import Tracker; Tracker('sqlite:///{path}', wal=False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "written by another MLflow version" in done.stderr
    assert path.read_bytes() == before


def test_a_database_that_takes_no_more_is_explained_without_mlflows_tracebacks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", wal=False)
    experiment = tracker.experiment("x")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute(
            "create trigger full before insert on runs begin select raise(abort, 'database or disk is full'); end"
        )
    with pytest.raises(
        TrackingError, match=r"mlflow.db: .*disk is full.*; make room where it lies$"
    ) as refused:
        tracker.start(experiment, "one", params={}, tags={})
    assert "sqlalche.me" not in str(refused.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow  # quick: tests/tracking/test_file_lock.py
def test_two_processes_may_make_the_same_new_database_at_once(tmp_path: Path) -> None:
    code = (
        f"from workbench.tracking import Tracker; t = Tracker('sqlite:///{tmp_path}/new/mlflow.db'); "
        "print(t.experiment('x'))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in "ab"
    ]
    first, second = (process.communicate()[0] for process in both)
    assert first == second != ""
