"""What git says and the patch beside it: together they give back what ran, and never contradict each other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from workbench import repositories
from workbench.repositories import Repositories, committed_at


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
    assert found.patches["own-changes.patch"].startswith(b"# left out: data.bin (101 bytes)")
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


@pytest.mark.parametrize("fails", ["rev-parse", "diff", "ls-files"])
@pytest.mark.parametrize("how", ["code", "slow", "locked"])
def test_where_git_fails_the_state_is_unknown_in_its_words_and_never_clean(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, how: str
) -> None:
    """A git in front of the real one, which fails in one command."""
    (mine / "cell.py").write_text("x = 2\n")
    real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    end = {"code": "exit 128", "slow": "exec sleep 60", "locked": "echo index.lock: exists >&2; exit 1"}[how]
    script = f'#!/bin/sh\ncase "$*" in *\' {fails} \'*) {end};; esac\nexec {real} "$@"\n'
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(script)
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(repositories, "_SLOW_S", 0.5)
    found = now(mine)
    (prefix,) = {name.rpartition(".")[0] for name in found.tags}
    assert found.tags[f"{prefix}.dirty"] == "unknown"
    words = {"code": "exit code 128", "slow": "took longer than 0.5 s", "locked": "index.lock: exists"}[how]
    assert f"git {fails} in " in found.tags[f"{prefix}.failed"]
    assert words in found.tags[f"{prefix}.failed"]
    assert found.failures == [found.tags[f"{prefix}.failed"]]
    assert all(patch.startswith(b"# git has failed") for patch in found.patches.values())


def test_a_repository_that_git_will_not_read_is_unknown(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / ".git/config").write_text("[core")
    found = now(mine)
    assert found.tags["git.own.dirty"] == "unknown"
    assert "bad config" in found.tags["git.own.failed"]
    monkeypatch.setattr(repositories, "IS_SHIPPED", False)
    monkeypatch.setattr(repositories, "ROOT", mine)
    assert Repositories.now().tags["git.dirty"] == "unknown"


def test_claims_are_not_called_committed_where_git_cannot_say(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = repositories._git

    def without_status(arguments, folder, **given):
        if arguments[0] == "status":
            raise repositories.GitError("too slow")
        return real(arguments, folder, **given)

    assert committed_at(mine / "cell.py") == (git(mine, "rev-parse", "HEAD").strip(), True)
    monkeypatch.setattr(repositories, "_git", without_status)
    assert committed_at(mine / "cell.py") == (git(mine, "rev-parse", "HEAD").strip(), False)


def test_what_looks_like_a_credential_is_in_no_patch_and_named(mine: Path) -> None:
    (mine / "settings.yaml").write_text("url: x\n")
    (mine / "old.pem").write_text("old\n")
    git(mine, "add", "-A")
    git(mine, "commit", "-qm", "two")
    secret = "hunter2hunter2"
    (mine / "settings.yaml").write_text(f"password: {secret}\n")
    (mine / "old.pem").write_text(secret)
    for name in (".env", "server.key", "id_rsa", "my-key.json", "a b token.txt"):
        (mine / name).write_text(secret)
    (mine / "helper.py").write_text(f"API_KEY = '{secret}'\n")
    (mine / "tokens.py").write_text("tokens = 1\n")
    (mine / "cell.py").write_text("x = 2\n")
    found = now(mine)
    left_out = found.tags["git.own.left_out"].split("; ")
    names = [".env", "a b token.txt", "helper.py", "id_rsa", "my-key.json", "old.pem", "server.key"]
    assert sorted(left_out) == [f"{name} (looks like a credential)" for name in [*names, "settings.yaml"]]
    patch = found.patches["own-changes.patch"]
    assert secret.encode() not in patch
    assert b"+tokens = 1" in patch
    assert b"+x = 2" in patch


def test_a_file_that_cannot_be_read_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / "new.py").write_text("y = 1\n")
    real = repositories._git

    def denied(arguments, folder, **given):
        if "--no-index" in arguments:
            raise repositories.GitError("Permission denied")
        return real(arguments, folder, **given)

    monkeypatch.setattr(repositories, "_git", denied)
    found = now(mine)
    assert found.tags["git.own.left_out"] == "new.py (Permission denied)"
    assert found.tags["git.own.dirty"] == "true"


def test_a_file_that_another_program_removes_meanwhile_is_left_out(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine / "a.txt").write_text("kept")
    (mine / "b.txt").write_text("for a moment")
    whole = repositories._git

    def beside(words: list, folder: Path, **given: object) -> bytes:
        found = whole(words, folder, **given)
        if "--no-index" in words:
            (mine / "b.txt").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(repositories, "_git", beside)
    patch = now(mine).patches["own-changes.patch"]
    assert b"+kept" in patch
    assert b"b.txt" not in patch
