"""What git says of the workbench and of a person's own files, and all that it does not have, as patches.

A patch has the changes since the commit and the files that git does not know, so that the commit and the patch give
back what ran. A person's files that lie in no repository are files that git does not know. What looks like a
credential is in no patch. Where git fails, what it did not say is unknown, never taken for nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.credentials import is_credential
from workbench.places import IS_SHIPPED, ROOT

LARGEST = 1 << 20
LARGEST_TOGETHER = 4 << 20
"""Bytes of a file that git does not know, and of all of them, up to which they are in the patch."""
_MOST = 300
_SLOW_S = 60.0
_SECRET = "looks like a credential"
_AS_IT_IS = ("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false")
_DIFF = ("diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")


class GitError(RuntimeError):
    """git has failed, or takes too long; in its own words."""


@dataclass
class Repositories:
    """The state of the repositories of a sweep, taken at one moment."""

    tags: dict[str, str] = field(default_factory=dict)
    """`git.commit`, `git.branch`, `git.dirty`; `git.own.` for a person's own; `.left_out` where a patch is cut.

    `git.dirty` is unknown where git has failed, and `.failed` has its words.
    """
    patches: dict[str, bytes] = field(default_factory=dict)
    """File name -> what the commit lacks; a repository is dirty where it has a patch."""

    @classmethod
    def now(cls, own: Iterable[Path] = (), passed_over: Iterable[Path] = ()) -> Repositories:
        """The workbench's, where this is a checkout, and those in which `own` files and folders lie.

        What lies under `passed_over` (where runs are recorded) is in no patch.
        """
        found = cls()
        places: dict[Path | None, _Place] = {}
        tops: dict[Path, Path | None] = {}
        nowhere = _Place(Path(), is_repository=False)
        if not IS_SHIPPED and (top := _top(ROOT, nowhere.failed)):
            places[top] = _Place(top)
        if nowhere.failed:
            found._add("git.", "changes.patch", replace(nowhere, top=ROOT))
            nowhere.failed = []
        ours = len(places)
        for path in (Path(os.path.realpath(path.parent), path.name) for path in own):
            folder = path if path.is_dir() else path.parent
            if folder not in tops:
                tops[folder] = _top(folder, nowhere.failed)
            top = tops[folder]
            (places.setdefault(top, _Place(top)) if top else nowhere).files.append(path)
        if nowhere.files:
            nowhere.top = Path(os.path.commonpath([path.parent for path in nowhere.files]))
            places[None] = nowhere
        for number, place in enumerate(places.values()):
            mine = number - ours + 1
            prefix, name = "git.", "changes.patch"
            if mine > 0:
                more = "" if mine == 1 else str(mine)
                prefix, name = f"git.own{more}.", f"own{more}-changes.patch"
            found._add(prefix, name, place, [path.resolve() for path in passed_over])
        return found

    @property
    def failures(self) -> list[str]:
        """What git could not say, in its own words."""
        return [words for name, words in self.tags.items() if name.endswith(".failed")]

    def write(self, folder: Path) -> list[Path]:
        """Write the patches into a folder; their files."""
        for name, patch in self.patches.items():
            (folder / name).write_bytes(patch)
        return [folder / name for name in self.patches]

    def _add(self, prefix: str, name: str, place: _Place, passed_over: Sequence[Path] = ()) -> None:
        commit = place.git("rev-parse", "--verify", "--quiet", "HEAD", fine=(0, 1)).decode().strip()
        patch, left_out = _patch(place, bool(commit), passed_over)
        if not commit and not patch and not place.failed:
            return
        branch = place.git("rev-parse", "--abbrev-ref", "HEAD") if commit else b""
        self.tags |= {
            f"{prefix}commit": commit,
            f"{prefix}branch": branch.decode(errors="replace").strip(),
            f"{prefix}dirty": "unknown" if place.failed else str(bool(patch)).lower(),
        }
        if place.failed:
            self.tags[f"{prefix}failed"] = "; ".join(dict.fromkeys(place.failed))[:4000]
        if left_out:
            self.tags[f"{prefix}left_out"] = "; ".join(left_out)[:4000]
        if patch:
            self.patches[name] = patch


@dataclass
class _Place:
    """A repository, or a folder in none, with a person's files in it; `failed` is what git could not say of it."""

    top: Path
    files: list[Path] = field(default_factory=list)
    is_repository: bool = True
    failed: list[str] = field(default_factory=list)

    def git(self, *arguments: str, fine: Sequence[int] = (0,)) -> bytes:
        """What git prints of the repository; nothing where it fails, which is then noted."""
        try:
            return _git(arguments, self.top, fine=fine) if self.is_repository else b""
        except GitError as error:
            self.failed.append(str(error))
            return b""

    def listed(self, *arguments: str) -> list[str]:
        """Names that git lists."""
        return [os.fsdecode(name) for name in self.git(*arguments).split(b"\0") if name]


def git() -> dict[str, str]:
    """Commit, branch and whether anything is not committed; empty where there is no git or no checkout."""
    return Repositories.now().tags


def committed_at(path: Path) -> tuple[str, bool] | None:
    """The last commit of a file and whether the file is surely as committed; None where git does not know it."""
    try:
        commit = _git(["log", "-n", "1", "--format=%H", "--", str(path)], path.parent).decode().strip()
    except GitError:
        return None
    if not commit:
        return None
    try:
        return commit, not _git(["status", "--porcelain", "--", str(path)], path.parent)
    except GitError:
        return commit, False


def _patch(place: _Place, has_commit: bool, passed_over: Sequence[Path]) -> tuple[bytes, list[str]]:
    """What the commit lacks, as `git apply` takes it, and what was left out; that is said at its head too."""
    pieces, left_out, size = [], [], 0
    for path, piece in _of_each(place.git(*_DIFF, "HEAD") if has_commit else b""):
        if is_credential(path, piece):
            left_out.append(f"{path} ({_SECRET})")
        else:
            pieces.append(piece)
    for number, path in enumerate(_unknown(place, has_commit, passed_over)):
        bytes_of = _size(place.top / path)
        if bytes_of < 0:  # gone since git listed it
            continue
        if bytes_of > LARGEST or size + bytes_of > LARGEST_TOGETHER or number >= _MOST:
            left_out.append(f"{path} ({bytes_of} bytes)")
            continue
        try:
            piece = _git([*_DIFF, "--no-index", "--", os.devnull, path], place.top, fine=(0, 1))
        except GitError as error:
            left_out.append(f"{path} ({error})")
            continue
        if is_credential(path, piece):
            left_out.append(f"{path} ({_SECRET})")
            continue
        size += bytes_of
        pieces.append(piece)
    head = [f"# git has failed, and this is not all: {one}\n" for one in place.failed]
    head += [f"# left out: {one}\n" for one in left_out]
    return "".join(head).encode() + b"".join(pieces), left_out


def _of_each(diff: bytes) -> Iterator[tuple[str, bytes]]:
    """A diff file by file, each with its name; no line of a file's own begins as a file's first does."""
    starts = [found.start() for found in re.finditer(rb"^diff --git ", diff, re.MULTILINE)]
    for start, end in itertools.pairwise([*starts, len(diff)]):
        both = diff[start:end].partition(b"\n")[0].removeprefix(b"diff --git ")
        name = both[: len(both) // 2].strip(b'"').removeprefix(b"a/")  # once with a/, once with b/, as long
        yield os.fsdecode(name), diff[start:end]


def _unknown(place: _Place, has_commit: bool, passed_over: Sequence[Path]) -> list[str]:
    """Files that the commit lacks whole, below `top`; first a person's own, be they ignored, then by size."""
    top = place.top
    mine = [path for one in place.files for path in ([one] if one.is_file() else sorted(one.rglob("*.yaml")))]
    known = set(place.listed("ls-files", "-z"))
    others = place.listed("ls-files", "--others", "--exclude-standard", "-z")
    if not has_commit:
        others, known = [*others, *known], set()
    others = [
        name
        for name in others
        if (top / name).is_file()
        and "__pycache__" not in name
        and not any((top / name).resolve().is_relative_to(path) for path in passed_over)
    ]
    first = [name for path in mine if (name := os.path.relpath(path, top)) not in known]
    return list(dict.fromkeys([*first, *sorted(others, key=lambda name: _size(top / name))]))


def _size(path: Path) -> int:
    """Of a file in bytes; -1 where another program has removed it."""
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def _top(folder: Path, failed: list[str]) -> Path | None:
    """The repository that a folder lies in; None where it lies in none, or git cannot say, which is then noted."""
    try:
        return Path(os.fsdecode(_git(["rev-parse", "--show-toplevel"], folder)).rstrip("\n"))
    except GitError as error:
        if not isinstance(error.__cause__, FileNotFoundError) and "not a git repository" not in str(error):
            failed.append(str(error))
        return None


def _git(arguments: Sequence[str], folder: Path, *, fine: Sequence[int] = (0,)) -> bytes:
    """What git prints, without a write into the repository; `fine`: the exit codes that are no failure."""
    words = ["git", "-C", str(folder), *_AS_IT_IS, *arguments]
    settings = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(words, capture_output=True, timeout=_SLOW_S, check=False, env=settings)
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} in {folder} took longer than {_SLOW_S:g} s") from error
    except OSError as error:
        raise GitError(f"git {arguments[0]} in {folder}: {error}") from error
    if done.returncode not in fine or (done.returncode and done.stderr):
        said = " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"
        raise GitError(f"git {arguments[0]} in {folder}: {said[:500]}")
    return done.stdout
