"""What git says of the workbench and of a person's own files, and all that it does not have, as patches.

A patch has the changes since the commit and the files that git does not know, so that the commit and the patch give
back what ran. A person's files that lie in no repository are files that git does not know.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.places import IS_SHIPPED, ROOT

LARGEST = 1 << 20
LARGEST_TOGETHER = 4 << 20
"""Bytes of a file that git does not know, and of all of them, up to which they are in the patch."""
_MOST = 300
_AS_IT_IS = ("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false")
_DIFF = ("diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color")


@dataclass
class Repositories:
    """The state of the repositories of a sweep, taken at one moment."""

    tags: dict[str, str] = field(default_factory=dict)
    """`git.commit`, `git.branch`, `git.dirty`; `git.own.` for a person's own; `.left_out` where a patch is cut."""
    patches: dict[str, bytes] = field(default_factory=dict)
    """File name -> what the commit lacks; a repository is dirty where it has a patch."""

    @classmethod
    def now(cls, own: Iterable[Path] = (), passed_over: Iterable[Path] = ()) -> Repositories:
        """The workbench's, where this is a checkout, and those in which `own` files and folders lie.

        What lies under `passed_over` (where runs are recorded) is in no patch.
        """
        found = cls()
        by_top: dict[Path, list[Path]] = {}
        nowhere: list[Path] = []
        if not IS_SHIPPED and (top := _top(ROOT)):
            by_top[top] = []
        ours = len(by_top)
        tops: dict[Path, Path | None] = {}
        for path in (Path(os.path.realpath(path.parent), path.name) for path in own):
            folder = path if path.is_dir() else path.parent
            if folder not in tops:
                tops[folder] = _top(folder)
            top = tops[folder]
            (by_top.setdefault(top, []) if top else nowhere).append(path)
        if nowhere:
            by_top[Path(os.path.commonpath([path.parent for path in nowhere]))] = nowhere
        for number, (top, files) in enumerate(by_top.items()):
            mine = number - ours + 1
            prefix, name = "git.", "changes.patch"
            if mine > 0:
                more = "" if mine == 1 else str(mine)
                prefix, name = f"git.own{more}.", f"own{more}-changes.patch"
            found._add(prefix, name, top, files, [path.resolve() for path in passed_over])
        return found

    def write(self, folder: Path) -> list[Path]:
        """Write the patches into a folder; their files."""
        for name, patch in self.patches.items():
            (folder / name).write_bytes(patch)
        return [folder / name for name in self.patches]

    def _add(
        self, prefix: str, name: str, top: Path, own: Sequence[Path], passed_over: Sequence[Path]
    ) -> None:
        commit = _git("rev-parse", "HEAD", folder=top)
        patch, left_out = _patch(top, commit is not None, own, passed_over)
        if commit is None and not patch:
            return
        self.tags |= {
            f"{prefix}commit": commit or "",
            f"{prefix}branch": _git("rev-parse", "--abbrev-ref", "HEAD", folder=top) or "",
            f"{prefix}dirty": str(bool(patch)).lower(),
        }
        if left_out:
            self.tags[f"{prefix}left_out"] = "; ".join(left_out)[:4000]
        if patch:
            self.patches[name] = patch


def git() -> dict[str, str]:
    """Commit, branch and whether anything is not committed; empty where there is no git or no checkout."""
    return Repositories.now().tags


def committed_at(path: Path) -> tuple[str, bool] | None:
    """The last commit of a file and whether the file is as committed; None where git does not know it."""
    commit = _git("log", "-n", "1", "--format=%H", "--", str(path), folder=path.parent)
    if not commit:
        return None
    return commit, not _git("status", "--porcelain", "--", str(path), folder=path.parent)


def _patch(
    top: Path, has_commit: bool, own: Sequence[Path], passed_over: Sequence[Path]
) -> tuple[bytes, list[str]]:
    """What the commit lacks, as `git apply` takes it, and what was left out; that is said at its head too."""
    tracked = (_git_bytes([*_DIFF, "HEAD"], top) or b"") if has_commit else b""
    pieces, left_out, size = [tracked], [], 0
    for number, path in enumerate(_unknown(top, has_commit, own, passed_over)):
        file = top / path
        bytes_of = file.lstat().st_size
        if bytes_of > LARGEST or size + bytes_of > LARGEST_TOGETHER or number >= _MOST:
            left_out.append(f"{path} ({bytes_of} bytes)")
            continue
        size += bytes_of
        pieces.append(_git_bytes([*_DIFF, "--no-index", "--", os.devnull, path], top, differs=True) or b"")
    head = "".join(f"# left out, as git does not know it and it is large: {one}\n" for one in left_out)
    return head.encode() + b"".join(pieces), left_out


def _unknown(top: Path, has_commit: bool, own: Sequence[Path], passed_over: Sequence[Path]) -> list[str]:
    """Files that the commit lacks whole, below `top`; first a person's own, be they ignored, then by size."""
    mine = [path for one in own for path in ([one] if one.is_file() else sorted(one.rglob("*.yaml")))]
    known = set(_listed(top, "ls-files", "-z"))
    others = _listed(top, "ls-files", "--others", "--exclude-standard", "-z")
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
    return list(dict.fromkeys([*first, *sorted(others, key=lambda name: (top / name).lstat().st_size)]))


def _listed(top: Path, *arguments: str) -> list[str]:
    found = _git_bytes(arguments, top)
    return [os.fsdecode(name) for name in (found or b"").split(b"\0") if name]


def _top(folder: Path) -> Path | None:
    found = _git("rev-parse", "--show-toplevel", folder=folder)
    return Path(found) if found else None


def _git(*arguments: str, folder: Path = ROOT) -> str | None:
    found = _git_bytes(arguments, folder)
    return None if found is None else found.decode(errors="replace").strip()


def _git_bytes(arguments: Sequence[str], folder: Path, *, differs: bool = False) -> bytes | None:
    """What git prints; None where there is no git. `differs`: exit code 1 says that two files differ."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *_AS_IT_IS, *arguments], capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode in ((0, 1) if differs else (0,)) else None
