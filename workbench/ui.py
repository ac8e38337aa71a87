"""Look at what was recorded: MLflow on the store, opened on the runs of an experiment as a researcher wants them.

python -m workbench.ui                       # the last sweep's experiment
python -m workbench.ui padding_ablation      # this one's
python -m workbench.ui --uri http://mlflow.example.org:5000
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from workbench.console import command_line, on_stderr, on_stdout, say
from workbench.record import Run
from workbench.report.in_mlflow import address
from workbench.tracking import Tracker, TrackingError

_STARTS_WITHIN_S = 300.0


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start MLflow where no server is named, print and open the address, wait; 2 where there is nothing to see."""
    parser = command_line("workbench.ui", __doc__)
    parser.add_argument(
        "name",
        nargs="?",
        help="an experiment's name; without it that of the last sweep, else of the last run",
    )
    parser.add_argument("--uri", default="sqlite:///mlruns/mlflow.db", help="MLflow tracking URI")
    parser.add_argument("--port", type=_port, default=5000, help="of the server that is started here")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    given = parser.parse_args(arguments)
    console, errors = on_stdout(), on_stderr()
    try:
        tracker = Tracker(given.uri, create=False)
        last = _last(tracker, given.name)
        if not tracker.uri.startswith("http") and _answers(given.port):
            raise TrackingError(f"--port {given.port}: something answers there already; give another one")
    except TrackingError as error:
        errors.print(str(error), style="red")
        return 2
    if tracker.uri.startswith("http"):
        _open(console, address(tracker.uri, last.experiment), given.no_browser)
        return 0
    return _serve(tracker.uri, given.port, last, console, browser=not given.no_browser)


def _last(tracker: Tracker, name: str | None) -> Run:
    """The sweep, or where there is none the run, that was started last."""
    found = tracker.sweeps(experiment=name) or tracker.latest(name)
    if not found:
        where = f"experiment {name!r} has no run" if name else "there is no run"
        raise TrackingError(f"{where} at {tracker.uri}; run something first, or give the experiment's name")
    return found[0]


def _serve(uri: str, port: int, last: Run, console: Console, *, browser: bool) -> int:
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    command += ["--workers", "1"]  # one person looks; each worker takes seconds to import
    # MLflow's own jobs judge texts by language models: five processes more, and seconds until it answers
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    server = subprocess.Popen(command, start_new_session=True, env=environment)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the server would outlive us
    try:
        begun = time.monotonic()
        while not _answers(port):
            if server.poll() is not None or time.monotonic() - begun > _STARTS_WITHIN_S:
                console.print(f"MLflow did not start on port {port}", style="red")
                return 1
            time.sleep(0.2)
        _open(console, address(f"http://127.0.0.1:{port}", last.experiment), not browser)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
        with suppress(ProcessLookupError):  # MLflow's workers are processes of their own
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _open(console: Console, where: str, only_print: bool) -> None:
    say(console, where)
    if not only_print:
        webbrowser.open(where)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
