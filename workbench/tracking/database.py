"""MLflow's database: a SQLite file's lock and journal, and where it says that artifacts lie.

Nothing here closes a handle of its own on the file: by POSIX that gives back every lock that this process has on
it, those of MLflow's open connections too. The next process to close the file would then take itself for the last,
remove the log, and what this one writes from there on would be lost. SQLite's own connections know of each other.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text

from workbench import file_lock

_HEADERS: dict[tuple[int, int], int] = {}
"""Files whose header was read, by device and inode: handles that stay open as long as the process."""
_NEXT = "put tracking.uri on a local disk, or run a server there (tracking=server)"


class TrackingError(RuntimeError):
    """The tracking server or database cannot be used; the message says what to do."""


@contextmanager
def lock(database: Path) -> Iterator[None]:
    """Be the only process that makes the database or changes it as a whole."""
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock.held(database.with_name(f"{database.name}.lock")))
        except file_lock.NoLocksError as error:
            raise TrackingError(
                f"tracking.uri: {error}; without locks two processes would destroy {database}: {_NEXT}"
            ) from error
        except OSError as error:
            raise TrackingError(
                f"tracking.uri: cannot write beside {database} ({error.strerror}); give a place that can be written"
            ) from error
        yield


def is_wal(database: Path) -> bool:
    """Whether the file keeps a write-ahead log: bytes 18 and 19 of its header, read without SQLite."""
    try:
        found = database.stat()
        if (which := (found.st_dev, found.st_ino)) not in _HEADERS:
            _HEADERS[which] = os.open(database, os.O_RDONLY)
        return os.pread(_HEADERS[which], 20, 0)[18:] == b"\x02\x02"
    except OSError:
        return False


def try_wal(database: Path) -> str:
    """Set a new file's write-ahead log and try it; where it does not work the file is without: why.

    It needs memory that processes share, which many network drives do not have.
    """
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            return f"SQLite answers {mode}"
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            with connection:
                connection.execute("CREATE TABLE tried (it)")
            with connection:
                connection.execute("DROP TABLE tried")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        leave_wal(database)
        return str(error)
    return ""


def leave_wal(database: Path) -> None:
    """Switch a file back to a rollback journal, also where there is no shared memory.

    Raises:
        TrackingError: another program has it open, or it cannot be written.
    """
    why = ""
    try:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # then SQLite does without shared memory
            (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            if mode != "delete":
                why = f"SQLite answers {mode}"
    except sqlite3.Error as error:
        why = str(error)
    if why:
        raise TrackingError(
            f"tracking.wal=false: {database} has a write-ahead log and cannot be switched back ({why}); end what "
            "has it open (a sweep, `mlflow ui`), or copy it to a local disk and switch it there"
        )


def explain_wal(database: Path) -> str:
    """What to say beside an error of a file that has a write-ahead log; empty where it has none."""
    return (
        f"{database.name} has a write-ahead log, which needs shared memory that this file system may not have: "
        "tracking.wal=false switches it back"
        if is_wal(database)
        else ""
    )


def require_writable(database: Path) -> None:
    """Raise TrackingError where the file may not be written."""
    if not os.access(database, os.W_OK):
        raise TrackingError(
            f"tracking.uri: {database} cannot be written (permission denied, or a read-only file system); make it "
            "writable, or copy its folder to where it can be"
        )


def rewrite_location(uri: str, experiment: str, old: str, new: str) -> None:
    """Say of an experiment, by its id, and of its runs that their artifacts lie at another URI; all or nothing."""
    engine = create_engine(uri, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE experiments SET artifact_location = :new WHERE experiment_id = :id"),
            {"new": new, "id": int(experiment)},
        )
        runs = connection.execute(
            text("SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = :id"), {"id": int(experiment)}
        )
        moved = [
            {"run": run, "uri": new + place.removeprefix(old)}
            for run, place in runs
            if place.startswith(f"{old}/")
        ]
        if moved:
            connection.execute(text("UPDATE runs SET artifact_uri = :uri WHERE run_uuid = :run"), moved)
