"""python -m workbench.ui: what it says where there is nothing to see; MLflow itself is slow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from workbench import ui
from workbench.tracking import Tracker


def store(folder: Path, *, runs: bool = True) -> str:
    uri = f"sqlite:///{folder / 'm.db'}"
    tracker = Tracker(uri)
    experiment = tracker.experiment("padding")
    if runs:
        tags = {"workbench.kind": "sweep", "workbench.sweep": "s1"}
        tracker.finish(tracker.start(experiment, "s", params={}, tags=tags), "FINISHED")
    return uri


def test_nothing_to_see_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ui.main(["--uri", f"sqlite:///{tmp_path / 'none.db'}"]) == 2
    assert "there is no database" in capsys.readouterr().err
    uri = store(tmp_path, runs=False)
    assert ui.main(["--uri", uri]) == 2
    assert "there is no run at" in capsys.readouterr().err
    assert ui.main(["padding", "--uri", uri]) == 2
    assert "experiment 'padding' has no run" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ui.main(["--uri", store(tmp_path), "--port", str(port)]) == 2
    assert f"--port {port}: something answers there already" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["70000", "0", "http"])
def test_what_is_no_port_is_refused(capsys: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        ui.main(["--port", port])
    assert f"'{port}' is no port: a number from 1 to 65535" in capsys.readouterr().err


@pytest.mark.slow  # the above say what is refused; that MLflow answers at the address, it must be started for
def test_the_address_answers_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "workbench.ui",
        "--uri",
        store(tmp_path),
        "--port",
        str(port),
        "--no-browser",
    ]
    shown = tmp_path / "shown"
    with shown.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
    try:
        begun = time.monotonic()
        while "#/experiments/" not in shown.read_text():
            assert process.poll() is None
            assert time.monotonic() - begun < 300
            time.sleep(0.5)
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType" in shown.read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert answer.status == 200
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
