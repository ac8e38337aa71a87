"""Artifacts lie where is configured: a copied or moved project is noticed, and nothing is written elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench.tracking import Tracker, TrackingError


def project(folder: Path, artifacts: str | None = "artifacts", **given: bool) -> Tracker:
    place = str(folder / artifacts) if artifacts else None
    return Tracker(f"sqlite:///{folder}/mlflow.db", place, **given)


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
    with pytest.raises(TrackingError, match="1 of its runs have theirs there and not here; copy them"):
        project(folder, "big disk").experiment("m")
    shutil.copytree(folder / "artifacts", folder / "big disk")
    tracker = project(folder, "big disk")
    tracker.experiment("m")
    assert Path(tracker._look(run).removeprefix("file://").replace("%20", " ")).is_relative_to(
        folder / "big disk"
    )


def test_another_place_for_an_experiment_without_runs_is_taken(tmp_path: Path) -> None:
    project(tmp_path).experiment("m")
    tracker = project(tmp_path, "other")
    run = tracker.start(tracker.experiment("m"), "one", params={}, tags={})
    tracker.text(run, "hello", "note.txt")
    assert written(tmp_path / "other") == [run]


def test_artifacts_that_are_nowhere_now_are_asked_for(first: tuple[Path, str]) -> None:
    folder, _ = first
    (folder / "artifacts").rename(folder / "gone")
    with pytest.raises(TrackingError, match=r"not there now; bring .* back"):
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
    with pytest.raises(TrackingError, match=f"restore it by `mlflow runs restore --run-id {run}`"):
        tracker.finish(run, "FINISHED")
    tracker._client.delete_experiment("1")
    assert [one.run_id for one in tracker.sweeps(sweep="s", deleted=True)] == [run]
    with pytest.raises(TrackingError, match="mlflow experiments restore --experiment-id 1"):
        tracker.experiment("m")
