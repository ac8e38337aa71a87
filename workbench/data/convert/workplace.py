"""Where a data set is made, and by whom: a folder that appears as a whole, processes that end with ours."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from workbench import file_lock
from workbench.data.errors import DataError

T = TypeVar("T")
_UNFINISHED = ".converting"
_LOCK = "lock"


@contextmanager
def building(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A folder to write in, renamed to `folder` at the end, and one for what lies between the passes."""
    beside = folder.parent / f".{folder.name}{_UNFINISHED}"
    try:
        with ExitStack() as stack:
            if folder.exists():
                raise DataError(folder, "folder", "exists", "nothing is written over: name another")
            folder.parent.mkdir(parents=True, exist_ok=True)
            beside.mkdir(exist_ok=True)
            try:
                stack.enter_context(file_lock.held(beside / _LOCK, wait=False))
            except BlockingIOError:
                raise DataError(
                    folder, "folder", "is being written", "by another conversion: name another"
                ) from None
            stack.callback(shutil.rmtree, beside, ignore_errors=True)
            for left in beside.iterdir():
                if left.name != _LOCK:
                    shutil.rmtree(left)
            work, spool = beside / "data", beside / "spool"
            work.mkdir()
            spool.mkdir()
            yield work, spool
            sync(work / "manifest.json")
            sync(work)
            os.rename(work, folder)
            sync(folder.parent)
    except OSError as error:
        if isinstance(error, file_lock.NoLocksError):
            raise DataError(folder, "lock", "none", str(error)) from None
        place, remedy = (
            error.filename or folder.parent,
            "nothing is written: mend that, or name another folder",
        )
        if error.errno in (errno.ENOSPC, errno.EDQUOT, None):  # NumPy says of a short write no number
            place, remedy = folder.parent, (
                "cannot be written: free space there (twice what the data set takes), or name another folder; "
                "nothing is left"
            )  # fmt: skip
        raise DataError(str(place), "file", error.strerror or str(error), remedy) from error


def sync(path: Path) -> None:
    """Have the disk confirm a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


Run = Callable[[Callable[[Any], T], Iterable[Any], int], Iterator[T]]
"""Of a function its results for many tasks, in order; so many tasks are given out ahead."""


def in_this_process(function: Callable[[Any], T], tasks: Iterable[Any], ahead: int) -> Iterator[T]:
    """One result after the other, as they are asked for."""
    return map(function, tasks)


@contextmanager
def in_processes(number: int) -> Iterator[Run]:
    """So many processes that run what they are given; of one, this."""
    if number == 1:
        yield in_this_process
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(number, mp_context=context, initializer=_end_with_parent)

    def run(function: Callable[[Any], T], tasks: Iterable[Any], ahead: int) -> Iterator[T]:
        waiting: deque[Future[T]] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield run
    except BrokenProcessPool:
        raise DataError(
            "processes", "one of them", "ended", "out of memory, or killed: fewer (--processes 1) take less"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """In a process of the pool: end when the one that started it does, however it does; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
