"""Locks on files: the kernel gives them back when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

Handle = IO | int


class NoLocksError(OSError):
    """A file cannot be locked where it lies; the message names the file, its file system and the remedy."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def held(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Be the only process that holds this file.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        NoLocksError: its file system has no locks.
        OSError: the file cannot be made.
    """
    with open(path, "w") as handle:
        take(handle, path, wait=wait)
        yield


def take(handle: Handle, path: Path, *, shared: bool = False, wait: bool = True) -> None:
    """Lock a file that is open; a `shared` lock is one of many.

    Raises:
        BlockingIOError, NoLocksError: as `held` does.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise NoLocksError(
            error.errno,
            f"{path} cannot be locked: {_file_system(path)} has no file locks ({error.strerror}); put it on a "
            "local disk, or mount that with locks",
        ) from error


def give_back(handle: Handle) -> None:
    """Unlock a file that stays open."""
    fcntl.flock(handle, fcntl.LOCK_UN)


def _file_system(path: Path) -> str:
    """A path's file system in words."""
    mounts, real = _mounts(), os.path.realpath(path)
    over = [one for one in mounts if os.path.commonpath((one, real)) == one]
    mount = max(over, key=len, default="")
    return f"its file system ({mounts[mount]} at {mount})" if mount else "its file system"


def _mounts() -> dict[str, str]:
    """The kinds of the file systems that are mounted, by where."""
    try:
        return {one.mountpoint: one.fstype for one in psutil.disk_partitions(all=True)}
    except OSError:
        return {}
