"""Whose data it is decides what its reader is told to do: `restore` is the one place that says so.

What `prepare` made lies in a cache and is made again from its source, so it may be removed. Anything else may be
the only copy there is, and nobody is told to remove it.
"""

from __future__ import annotations

import re
from pathlib import Path

from workbench.wording import did_you_mean

MANIFEST = "manifest.json"
LOCKS = ".locks"  # in a cache, beside the data sets: a file of each one's name
_CACHED = re.compile(r".+-[0-9a-f]{16}")
INDEX = "workbench.data.shards.index_shards"
WRITE = "workbench.data.shards.write_dataset"


def cached_at(path: Path) -> Path | None:
    """The data set in a cache to which `path` belongs, or None: it is somebody's own."""
    for folder in (path, *path.parents):
        if _CACHED.fullmatch(folder.name) and (folder.parent / LOCKS / folder.name).exists():
            return folder
    return None


def restore(path: Path, *, changed: bool = False) -> str:
    """What to do where `path`, a data set or a file of it, is damaged or gone, or may have been `changed`."""
    folder = cached_at(path)
    if folder is not None:
        return f"prepare the data set again (remove the folder first, {folder}: it is made from its source)"
    copy = "copy it again from where it came or from a backup, and check the copy by its SHA-256"
    return f"{copy}; if the change is meant, index the shards again with {INDEX}" if changed else copy


def unopened(path: Path, error: Exception) -> str:
    """What to do where `path` cannot be opened as a file."""
    if path.is_dir():
        files = sorted(one.name for one in path.iterdir())[:3]
        return f"is a folder; name the files in it{' (' + ', '.join(files) + ')' if files else ''}"
    if isinstance(error, PermissionError):
        return "may not be read: ask for the permission, or check it (ls -l)"
    return f"unreadable: {restore(path)}"


def without_manifest(folder: Path) -> tuple[str, str]:
    """What lies at `folder` in place of a data set, and what to do: value and remedy of a DataError."""
    if cached_at(folder) is not None:
        return "missing", restore(folder)
    if folder.is_file():
        if folder.name == MANIFEST:
            return "a file", f"give the folder that it lies in, {folder.parent}"
        return "a file", f"give the folder that holds it and {MANIFEST}, which {INDEX} writes for such shards"
    try:
        names = sorted(one.name for one in folder.iterdir())
    except FileNotFoundError:
        beside = [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []
        return "missing", f"there is no such folder{did_you_mean(folder.name, beside)}"
    except OSError as error:
        return str(error), f"give a folder that can be read, with {MANIFEST}"
    inside = [name for name in names if (folder / name / MANIFEST).is_file()]
    if inside:
        return "missing", f"there is one in {', '.join(inside[:3])}: give that folder"
    found = (
        f"the folder has {', '.join(names[:3])}{' and more' if names[3:] else ''}" if names else "it is empty"
    )
    return "missing", f"{found}; where there are shards, {INDEX} reads them and writes {MANIFEST}"
