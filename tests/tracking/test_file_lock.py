"""Where a file system has no locks, whoever needs one says which file, which file system, and what to do."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import file_lock
from workbench.config import ConfigError
from workbench.sweep.resume import sole
from workbench.sweep.turns import Turns
from workbench.tracking import database
from workbench.tracking.database import TrackingError


def in_the_database(folder: Path) -> None:
    with database.lock(folder / "mlflow.db"):
        raise AssertionError


def in_a_sweep(folder: Path) -> None:
    with sole(folder):
        raise AssertionError


def in_turns(folder: Path) -> None:
    with Turns(folder / "turns.lock"):
        raise AssertionError


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize(
    ("use", "error"), [(in_the_database, TrackingError), (in_a_sweep, ConfigError), (in_turns, OSError)]
)
def test_a_file_system_without_locks_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Path], None],
    error: type[Exception],
    number: int,
) -> None:
    def flock(*given: object) -> None:
        raise OSError(number, "not here")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(
        file_lock, "_mounts", lambda: {"/": "ext4", str(tmp_path): "nfs4", f"{tmp_path}/x": "tmpfs"}
    )
    where = rf"{tmp_path}/\S* cannot be locked: its file system \(nfs4 at {tmp_path}\)"
    with pytest.raises(error, match=rf"{where} has no file locks \(not here\); .*local disk"):
        use(tmp_path)


def test_a_lock_is_held_by_one_and_given_back_when_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        f"from pathlib import Path; from workbench import file_lock\nwith file_lock.held(Path({str(path)!r})):\n"
        "    print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), file_lock.held(path, wait=False):
            raise AssertionError
        other.kill()
        with file_lock.held(path):
            pass
