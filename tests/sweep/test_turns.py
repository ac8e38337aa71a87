"""Timed alone, and in turns."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.sweep.turns import Turns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "sweep.lock"


def done(what: Callable[[], object]) -> threading.Event:
    """Is set when a call in another thread has returned."""
    event = threading.Event()
    threading.Thread(target=lambda: (what(), event.set()), daemon=True).start()
    return event


def test_who_asks_to_be_alone_waits_for_who_runs_and_keeps_out_who_begins(place: Path) -> None:
    late = Turns(place)
    with Turns(place) as asks:
        with Turns(place):
            alone = done(asks.alone)
            assert not alone.wait(0.2)
            began = done(late.__enter__)
            assert not began.wait(0.2)
        assert alone.wait(10)
        assert not began.wait(0.2)
    assert began.wait(10)
    late.__exit__(None, None, None)


def test_two_that_ask_at_once_do_not_wait_for_each_other(place: Path) -> None:
    with Turns(place) as one, Turns(place) as other:
        first, second = done(one.alone), done(other.alone)
        while not (first.wait(0.1) or second.wait(0.1)):
            pass
        assert not (first.wait(0.1) and second.wait(0.1))
        (one if first.is_set() else other).__exit__(None, None, None)
        assert first.wait(10)
        assert second.wait(10)


def test_the_turn_of_a_process_that_is_killed_is_given_back(place: Path) -> None:
    code = (
        "import pathlib, time; from workbench.sweep.turns import Turns; "
        f"turn = Turns(pathlib.Path({str(place)!r})).__enter__(); turn.alone(); print('alone', flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"alone\n"
        process.kill()
    with Turns(place) as turn:
        turn.alone()
