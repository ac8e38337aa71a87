"""Artifacts lie where is configured: a copied or moved project is noticed, and nothing is written elsewhere."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from workbench.tracking import Tracker, TrackingError
from workbench.tracking.artifacts import Artifacts
from workbench.tracking.places import FILES, PLACE, Configured, as_tag, files_in, way


@cache
def empty_database() -> bytes:
    """MLflow takes seconds to make one."""
    with tempfile.TemporaryDirectory() as folder:
        Tracker(f"sqlite:///{folder}/mlflow.db", wal=False)
        return (Path(folder) / "mlflow.db").read_bytes()


def project(folder: Path, artifacts: str | None = "artifacts", **given: bool) -> Tracker:
    place = str(folder / artifacts) if artifacts else None
    folder.mkdir(exist_ok=True)
    if not (folder / "mlflow.db").exists():
        (folder / "mlflow.db").write_bytes(empty_database())
    return Tracker(f"sqlite:///{folder}/mlflow.db", place, **given)


def said(folder: Path) -> list[str]:
    """The places that a record names."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        places = connection.execute("SELECT artifact_location FROM experiments WHERE name = 'm'").fetchall()
        return [one for (one,) in places + connection.execute("SELECT artifact_uri FROM runs").fetchall()]


@pytest.fixture
def first(tmp_path: Path) -> tuple[Path, str]:
    """A project with a run that has an artifact."""
    folder = tmp_path / "a project"
    tracker = project(folder)
    run = tracker.start(tracker.experiment("m"), "one", params={}, tags={})
    tracker.text(run, "hello", "note.txt")
    tracker.finish(run, "FINISHED")
    return folder, run


def written(folder: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in folder.rglob("note.txt"))


@pytest.mark.parametrize(
    ("uri", "artifacts", "words"),
    [
        ("http://127.0.0.1:50O0", None, "tracking.uri=http://127.0.0.1:50O0: .* give a port by its number"),
        ("sqlite:///~no-such-user-9/m.db", None, "tracking.uri=sqlite:///~no-such.* give the path in full"),
        ("sqlite:///m.db", "~no-such-user-9/a", "tracking.artifacts=~no-such.* give the path in full"),
    ],
)
def test_a_mistyped_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, artifacts: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(TrackingError, match=words):
        Tracker(uri, artifacts)


class OfAServer(ArtifactRepository):
    """As MLflow's of HTTP has it, files are downloaded by the base class."""

    def log_artifact(self, *given: str) -> None: ...

    def log_artifacts(self, *given: str) -> None: ...

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        return [] if path else [FileInfo("note.txt", False, 5)]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        Path(local_path).write_text("hello")


def test_what_is_read_from_a_server_is_left_in_no_folder(
    first: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = first
    tracker = project(folder)
    served = OfAServer("http://127.0.0.1/artifacts"), "a server"
    monkeypatch.setattr(Artifacts, "reading", lambda self, run_id: served)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert tracker.read_text(run, "note.txt") == "hello"
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_a_project_that_was_copied_or_moved_writes_into_its_own_place(
    first: tuple[Path, str], tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = first
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    if way == "moved":
        shutil.rmtree(folder)
    tracker = project(other)
    new = tracker.start(tracker.experiment("m"), "two", params={}, tags={})
    tracker.text(new, "hello", "note.txt")
    assert written(other) == sorted([run, new])
    assert folder.exists() == (way == "copied"), "no ghost folder"
    assert way == "moved" or written(folder) == [run]
    assert f"its artifacts lie in {other}/artifacts/m" in capsys.readouterr().err
    assert tracker.read_text(run, "note.txt") == "hello"


def test_what_only_reads_finds_the_artifacts_of_a_moved_project_too(
    first: tuple[Path, str], tmp_path: Path
) -> None:
    folder, run = first
    folder.rename(tmp_path / "other")
    tracker = project(tmp_path / "other", None, create=False)
    assert tracker.files(run) == ["note.txt"]
    assert tracker.read_text(run, "note.txt") == "hello"
    assert not folder.exists()


def test_a_link_to_the_place_is_the_place(
    first: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = first
    (tmp_path / "link").symlink_to(folder)
    assert project(tmp_path / "link").experiment("m") == "1"
    assert capsys.readouterr().err == ""


def test_another_place_for_an_experiment_with_artifacts_is_refused_until_they_are_there(
    first: tuple[Path, str], tmp_path: Path
) -> None:
    folder, run = first
    with pytest.raises(TrackingError, match=r"1 file of 1 run lacking .*note.txt.*; copy them"):
        project(folder, "big disk").experiment("m")
    shutil.copytree(folder / "artifacts", folder / "big disk")
    project(folder, "big disk").experiment("m")
    assert said(folder) == [
        uri := (folder / "big disk/m").as_uri(),
        f"{uri}/{run}/artifacts",
    ]


def test_another_place_for_an_experiment_without_runs_is_taken(tmp_path: Path) -> None:
    project(tmp_path).experiment("m")
    tracker = project(tmp_path, "other")
    run = tracker.start(tracker.experiment("m"), "one", params={}, tags={})
    tracker.text(run, "hello", "note.txt")
    assert written(tmp_path / "other") == [run]


def test_artifacts_that_are_nowhere_now_are_asked_for(first: tuple[Path, str]) -> None:
    folder, _ = first
    (folder / "artifacts").rename(folder / "gone")
    with pytest.raises(TrackingError, match=r"not there now: bring it back .*mounted"):
        project(folder, "other").experiment("m")


@pytest.mark.parametrize("known", [False, True])
def test_a_place_that_cannot_be_made_is_refused(first: tuple[Path, str], known: bool) -> None:
    folder, _ = first
    (folder / "file").touch()
    with pytest.raises(TrackingError, match=r"tracking.artifacts=.*file"):
        project(folder, "file").experiment("m" if known else "new")


@pytest.mark.parametrize("name", ["../out", "/out", ".", "a/../.."])
def test_a_name_that_leads_out_of_the_place_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrackingError, match=r"outside of tracking.artifacts"):
        project(tmp_path).experiment(name)


def test_an_experiment_of_ones_own_code_elsewhere_is_refused_or_left_alone(tmp_path: Path) -> None:
    tracker = project(tmp_path)
    tracker._client.create_experiment("theirs", artifact_location="s3://bucket/theirs")
    with pytest.raises(TrackingError, match=r"at s3://bucket/theirs; tracking.artifacts=null"):
        tracker.experiment("theirs")
    assert project(tmp_path, None).experiment("theirs") == "1"


def test_an_artifact_that_is_not_there_is_named_with_its_place(first: tuple[Path, str]) -> None:
    folder, run = first
    with pytest.raises(TrackingError, match=f"grid.json of run {run}, looked for in {folder}/artifacts/m"):
        project(folder).read_text(run, "grid.json")


def test_a_place_that_is_lost_on_the_way_is_an_error_of_the_store(first: tuple[Path, str]) -> None:
    folder, run = first
    tracker = project(folder)
    tracker.experiment("m")
    shutil.rmtree(folder / "artifacts")
    (folder / "artifacts").touch()
    with pytest.raises(TrackingError, match="cannot be kept"):
        tracker.text(run, "more", "more.txt")


def test_what_was_deleted_is_said_with_how_it_is_restored(tmp_path: Path) -> None:
    tracker = project(tmp_path)
    tags = {"workbench.kind": "sweep", "workbench.sweep": "s"}
    run = tracker.start(tracker.experiment("m"), "one", params={}, tags=tags)
    tracker._client.delete_run(run)
    assert tracker.sweeps(experiment="m") == []
    assert [one.run_id for one in tracker.sweeps(sweep="s", deleted=True)] == [run]
    with pytest.raises(
        TrackingError, match=f"by `MLFLOW_TRACKING_URI={tracker.uri} mlflow runs restore --run-id {run}`"
    ):
        tracker.finish(run, "FINISHED")
    tracker._client.delete_experiment("1")
    assert [one.run_id for one in tracker.sweeps(sweep="s", deleted=True)] == [run]
    with pytest.raises(TrackingError, match="mlflow experiments restore --experiment-id 1"):
        tracker.experiment("m")


def cut_short(folder: Path) -> None:
    next(folder.rglob("note.txt")).write_text("hel")


def emptied(folder: Path) -> None:
    next(folder.rglob("note.txt")).unlink()


@pytest.mark.parametrize("fault", [cut_short, emptied])
@pytest.mark.parametrize("way_there", ["copied", "moved"])
def test_a_place_that_has_not_every_file_whole_is_refused_and_the_record_is_left(
    first: tuple[Path, str], tmp_path: Path, fault: Callable[[Path], None], way_there: str
) -> None:
    folder, run = first
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    if way_there == "moved":
        shutil.rmtree(folder / "artifacts")
        (other / "artifacts/m/stray").mkdir()
    fault(other / "artifacts")
    before = said(other)
    with pytest.raises(TrackingError, match=f"1 file of 1 run .*{run}/artifacts/note.txt"):
        project(other).experiment("m")
    assert said(other) == before
    assert (folder / "artifacts").exists() == (way_there == "copied"), "no ghost folder"


def test_the_advice_to_copy_brings_a_place_that_was_half_copied(
    first: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = first
    shutil.copytree(folder, tmp_path / "other")
    cut_short(tmp_path / "other")
    with pytest.raises(TrackingError, match=r"cp -r '") as refused:
        project(tmp_path / "other").experiment("m")
    subprocess.run(str(refused.value).split("`")[1], shell=True, check=True)
    assert project(tmp_path / "other").experiment("m") == "1"


def test_what_the_old_place_has_beyond_the_record_is_not_left_behind(
    first: tuple[Path, str], tmp_path: Path
) -> None:
    folder, run = first
    shutil.copytree(folder / "artifacts", folder / "big")
    (folder / f"artifacts/m/{run}/artifacts/model.bin").write_bytes(b"one's own code wrote it")
    with pytest.raises(TrackingError, match=r"model\.bin"):
        project(folder, "big").experiment("m")


def test_an_old_copy_is_no_place_for_what_was_written_since(first: tuple[Path, str]) -> None:
    folder, run = first
    shutil.copytree(folder / "artifacts", folder / "big")
    project(folder).text(run, "[]", "verdicts.json")
    (folder / "artifacts").rename(folder / "not mounted")
    with pytest.raises(TrackingError, match=r"verdicts\.json"):
        project(folder, "big").experiment("m")


def test_what_only_reads_takes_the_copys_own_place_and_changes_no_record(
    first: tuple[Path, str], tmp_path: Path
) -> None:
    folder, run = first
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    before = said(other)
    tracker = project(other, None, create=False)
    tracker.text(run, "[]", "verdicts.json")
    new = tracker.start(tracker.experiment("m"), "again", params={}, tags={})
    tracker.text(new, "hello", "note.txt")
    assert tracker.files(run) == ["note.txt", "verdicts.json"]
    assert written(folder) == [run], "the project that was copied is left alone"
    assert not list(folder.rglob("verdicts.json"))
    assert written(other) == sorted([run, new])
    assert said(other)[:2] == before
    project(other).experiment("m")
    assert {Path(uri.removeprefix("file://")).is_relative_to(other) for uri in said(other)} == {True}
    assert project(other, None, create=False).read_text(new, "note.txt") == "hello"


def test_what_only_reads_stays_with_the_place_that_was_typed(first: tuple[Path, str]) -> None:
    folder, run = first
    shutil.copytree(folder / "artifacts", folder / "big")
    project(folder, "big").experiment("m")
    before = said(folder)
    project(folder, None, create=False).text(run, "[]", "verdicts.json")
    assert [path.is_relative_to(folder / "big") for path in folder.rglob("verdicts.json")] == [True]
    assert said(folder) == before


def test_a_moved_project_without_a_configured_place_has_its_artifacts_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = tmp_path / "project", tmp_path / "other"
    folder.mkdir()
    monkeypatch.chdir(folder)
    tracker = project(folder, None)
    run = tracker.start(tracker.experiment("m"), "one", params={}, tags={})
    tracker.text(run, "hello", "note.txt")
    folder.rename(other)
    monkeypatch.chdir(other)
    tracker = project(other, None)
    new = tracker.start(tracker.experiment("m"), "two", params={}, tags={})
    tracker.text(new, "hello", "note.txt")
    assert written(other) == sorted([run, new])
    assert not folder.exists()


@pytest.mark.parametrize("artifacts", ["artifacts", None])
def test_a_place_that_is_gone_is_asked_for_before_anything_is_written(
    first: tuple[Path, str], artifacts: str | None
) -> None:
    folder, _ = first
    (folder / "artifacts").rename(folder / "gone")
    with pytest.raises(TrackingError, match=r"not there now: bring it back.*mkdir -p '"):
        project(folder, artifacts).experiment("m")
    assert not (folder / "artifacts").exists()
    (folder / "artifacts/m").mkdir(parents=True)
    assert project(folder, artifacts).experiment("m") == "1"


@pytest.mark.parametrize("artifacts", ["artifacts", None])
def test_a_place_that_nothing_was_written_to_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifacts: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = project(tmp_path, artifacts)
    tracker.start(tracker.experiment("m"), "one", params={}, tags={})
    shutil.rmtree(tmp_path / "artifacts", ignore_errors=True)
    assert project(tmp_path, artifacts).experiment("m") == "1"


def test_runs_that_were_deleted_hold_no_place(first: tuple[Path, str], tmp_path: Path) -> None:
    folder, run = first
    (folder / "artifacts").rename(folder / "gone")
    folder.rename(tmp_path / "other")
    with pytest.raises(TrackingError, match=f"mlflow runs delete --run-id {run}"):
        project(tmp_path / "other").experiment("m")
    project(tmp_path / "other")._client.delete_run(run)
    assert project(tmp_path / "other").experiment("m") == "1"


@pytest.mark.parametrize("gone", [False, True])
def test_a_record_of_before_there_were_lists_is_held_to_what_is_there(
    first: tuple[Path, str], tmp_path: Path, gone: bool
) -> None:
    folder, run = first
    client = project(folder)._client
    client.delete_tag(run, FILES)
    client._tracking_client.store.delete_experiment_tag("1", PLACE)
    shutil.copytree(folder, tmp_path / "other")
    if gone:
        folder.rename(tmp_path / "gone")
    emptied(tmp_path / "other")
    with pytest.raises(TrackingError, match=f"{run}/artifacts"):
        project(tmp_path / "other").experiment("m")
    (tmp_path / f"other/artifacts/m/{run}/artifacts/note.txt").write_text("hello")
    assert project(tmp_path / "other", None, create=False).read_text(run, "note.txt") == "hello"
    assert project(tmp_path / "other").experiment("m") == "1"


def experiment(location: Path | str, **tags: str) -> SimpleNamespace:
    return SimpleNamespace(name="m", artifact_location=str(location), tags=tags, experiment_id="1")


def test_a_database_of_another_kind_is_held_to_the_configured_place_too(tmp_path: Path) -> None:
    asked = Configured("postgresql://host/db", tmp_path / "new", None)
    old, runs = tmp_path / "old/m", {"r": {"a.txt": 1}}
    assert "a.txt" in asked.place(experiment(old), lambda: runs).refusal
    (tmp_path / "new/m/r/artifacts").mkdir(parents=True)
    (tmp_path / "new/m/r/artifacts/a.txt").write_text("x")
    place = asked.place(experiment(old), lambda: runs)
    assert (place.folder, place.moves, place.refusal) == (tmp_path / "new/m", True, "")


@pytest.mark.parametrize("uri", ["http://host:5000", "https://host"])
def test_a_servers_artifacts_are_the_servers(tmp_path: Path, uri: str) -> None:
    place = Configured(uri, tmp_path / "new", None).place(experiment("mlflow-artifacts:/1"), dict)
    assert (place.folder, place.refusal) == (None, "")
    assert "the server keeps the artifacts of experiment 'm' at mlflow-artifacts:/1" in place.says


def test_the_runs_are_not_read_where_the_place_is_as_configured(tmp_path: Path) -> None:
    (tmp_path / "artifacts/m").mkdir(parents=True)
    asked = Configured("sqlite:///x.db", tmp_path / "artifacts", tmp_path / "x.db")
    place = asked.place(
        experiment((tmp_path / "artifacts/m").as_uri()), lambda: pytest.fail("they were read")
    )
    assert place.refusal == ""


def test_a_list_that_is_too_long_for_a_tag_keeps_its_first_files(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}").write_text("x" * number)
    assert json.loads(as_tag(files_in(tmp_path))) == {"0": 0, "1": 1, "2": 2}
    many = {f"file {number:05d}": number for number in range(9999)}
    text = as_tag(many)
    assert 4900 < len(text) <= 5000
    assert list(json.loads(text).items()) == list(many.items())[: len(json.loads(text))]


def test_the_way_from_the_database_is_found_through_links(tmp_path: Path) -> None:
    (tmp_path / "disk/artifacts/m").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert way((tmp_path / "link/artifacts/m").as_uri(), tmp_path / "disk/mlflow.db") == "artifacts/m"
