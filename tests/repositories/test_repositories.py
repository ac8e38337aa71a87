"""What git says and the patch beside it: together they give back what ran, and never contradict each other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from workbench import repositories
from workbench.repositories import Repositories


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's repository with a cell; the workbench's own is none here."""
    monkeypatch.setattr(repositories, "IS_SHIPPED", True)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "cell.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("hidden.py\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    return folder


def now(folder: Path) -> Repositories:
    return Repositories.now([folder / "cell.py"], [folder / "mlruns"])


def test_a_clean_repository_has_no_patch(mine: Path) -> None:
    (mine / "mlruns").mkdir()
    (mine / "mlruns/mlflow.db").touch()
    (mine / "__pycache__").mkdir()
    (mine / "__pycache__/cell.pyc").touch()
    found = now(mine)
    assert found.patches == {}
    assert found.tags["git.own.dirty"] == "false"
    assert found.tags["git.own.commit"] == git(mine, "rev-parse", "HEAD").strip()


def test_commit_and_patch_give_back_what_ran_files_that_git_does_not_know_included(
    mine: Path, tmp_path: Path
) -> None:
    (mine / "cell.py").write_text("x = 2\n")
    (mine / "hidden.py").write_text("an ignored source\n")
    (mine / "new").mkdir()
    (mine / "new/helper.py").write_text("y = 1\n")
    (mine / "added.py").write_bytes(b"\0binary")
    git(mine, "add", "added.py")
    status = git(mine, "status", "--porcelain")
    found = Repositories.now([mine / "cell.py", mine / "hidden.py"])
    assert found.tags["git.own.dirty"] == "true"
    assert git(mine, "status", "--porcelain") == status, "nothing is written into a person's repository"
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(mine), str(clone))
    (patch,) = found.write(tmp_path)
    git(clone, "apply", str(patch))
    for name in ("cell.py", "hidden.py", "new/helper.py", "added.py"):
        assert (clone / name).read_bytes() == (mine / name).read_bytes()


def test_what_is_too_large_is_left_out_and_said(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories, "LARGEST", 100)
    (mine / "data.bin").write_bytes(b"x" * 101)
    (mine / "note.txt").write_text("small")
    found = now(mine)
    assert found.tags["git.own.left_out"] == "data.bin (101 bytes)"
    assert found.patches["own-changes.patch"].startswith(
        b"# left out, as git does not know it and it is large: data.bin"
    )
    assert b"+small" in found.patches["own-changes.patch"]
    assert found.tags["git.own.dirty"] == "true"


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_folder_without_a_commit_is_all_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_begun: bool
) -> None:
    monkeypatch.setattr(repositories, "IS_SHIPPED", True)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/cell.py").write_text("x = 1\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/mine.yaml").write_text("name: mine\n")
    if is_begun:
        git(tmp_path, "init", "-q")
    found = Repositories.now([tmp_path / "lab/cell.py", tmp_path / "conf"])
    patch = found.patches["own-changes.patch"]
    assert b"+x = 1" in patch
    assert b"+name: mine" in patch
    assert (found.tags["git.own.commit"], found.tags["git.own.dirty"]) == ("", "true")


def test_the_workbench_and_a_person_have_a_state_each_and_one_where_they_are_one() -> None:
    here = repositories.ROOT
    both = Repositories.now([here / "workbench/run.py"])
    assert {name for name in both.tags if name.startswith("git.own")} == set()
    assert ("changes.patch" in both.patches) == (both.tags["git.dirty"] == "true")
