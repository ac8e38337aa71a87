"""The write-ahead log: on a new database only, tried, and switched back; file systems that lack what it needs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from workbench.tracking import Tracker, TrackingError, database
from workbench.tracking.database import is_wal


def set_mode(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")


@pytest.mark.slow  # quick: the others here
def test_a_database_that_is_not_new_keeps_its_mode_and_false_switches_back(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    Tracker(f"sqlite:///{path}", wal=False).experiment("x")
    Tracker(f"sqlite:///{path}")
    assert not is_wal(path)
    set_mode(path, "WAL")
    assert is_wal(path)
    Tracker(f"sqlite:///{path}")
    assert is_wal(path)
    copy = tmp_path / "copy.db"  # which MLflow has not opened here
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    set_mode(copy, "WAL")
    database.leave_wal(copy)
    assert not is_wal(copy)
    set_mode(copy, "WAL")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("SELECT * FROM runs").fetchall()
        with pytest.raises(TrackingError, match=r"tracking.wal=false: .*locked.*end what has it open"):
            database.leave_wal(copy)
    assert is_wal(copy)


class NoSharedMemory(sqlite3.Connection):
    """What SQLite says where -shm cannot be mapped, from the first use of a file that has a write-ahead log."""

    def execute(self, sql: str, *given: object) -> sqlite3.Cursor:
        if sql.startswith("CREATE TABLE tried"):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *given)


def test_where_no_write_ahead_log_works_a_new_database_is_made_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect = sqlite3.connect
    with monkeypatch.context() as fault:
        fault.setattr(
            database.sqlite3,
            "connect",
            lambda *given, **named: connect(*given, **{"factory": NoSharedMemory, **named}),
        )
        tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db")
    assert tracker.experiment("x") == "1"
    assert not is_wal(tmp_path / "mlflow.db")
    assert "(disk I/O error); it is made without, as by tracking.wal=false" in capsys.readouterr().err


OTHERS = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=0.2) as connection:
    print(connection.execute("PRAGMA journal_mode=DELETE").fetchone())
"""


def test_a_second_look_at_a_database_gives_back_no_lock_of_the_first(tmp_path: Path) -> None:
    """By POSIX, closing any handle of a file gives back all that the process has: another then ends the log."""
    path = tmp_path / "mlflow.db"
    first = Tracker(f"sqlite:///{path}")
    first.experiment("x")
    Tracker(f"sqlite:///{path}", create=False)
    assert is_wal(path)
    other = subprocess.run([sys.executable, "-c", OTHERS, path], capture_output=True, text=True)
    assert "database is locked" in other.stderr, other.stdout
    assert is_wal(path)
