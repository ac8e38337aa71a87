"""The child's end of the pipe to the process that waits for it."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHANNEL = "WORKBENCH_CHANNEL"
WHERE = signal.SIGUSR1
"""Has a child write to its stderr where each of its threads is."""
_PR_SET_PDEATHSIG = 1


class Channel:
    """Sends what a run logs; without a listener it prints, so that a run can be started by hand."""

    def __init__(self) -> None:
        self._whole_lines = threading.Lock()
        fds = os.environ.pop(CHANNEL, None)
        self._reads: int | None = None
        self._writes: int | None = None
        if fds:
            self._reads, self._writes = map(int, fds.split(","))
            die_with_parent()
            die_before_parent()
            faulthandler.register(WHERE, all_threads=True)

    def send(self, kind: str, **values: Any) -> None:
        """Send one message."""
        line = json.dumps({"kind": kind, **values}) + "\n"
        if self._writes is None:
            sys.stdout.write(line)
            return
        data = line.encode()
        with self._whole_lines:
            while data:
                data = data[os.write(self._writes, data) :]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send metrics of one step."""
        self.send("log", step=step, values=dict(values))

    def curve(self, metric: str, points: Sequence[tuple[int, float]]) -> None:
        """Send what a metric was at these steps: for the record, not for who watches."""
        self.send("curve", metric=metric, points=list(points))

    def note(self, text: str) -> None:
        """Say what is being done, for whoever watches."""
        self.send("note", text=text)

    def say(self, text: str) -> None:
        """Say what is to stay on the terminal."""
        self.send("say", text=text)

    @contextmanager
    def last_words(self, error: str) -> Iterator[None]:
        """What is to be said of this process should it end inside the block without a word."""
        self.send("failure", error=error, trace="")
        yield
        self.send("result")  # taken back: an empty result is none

    def quiet(self) -> None:
        """Return once all that was sent is written down: nobody logs from here until the next message."""
        self.send("quiet")
        if self._reads is not None and not os.read(self._reads, 1):
            raise ConnectionError("the process that waited for this run is gone")


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent, so that a killed sweep leaves no child behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_before_parent() -> None:
    """Have Linux end this process first where memory runs out: it costs a job, and the sweep goes on."""
    with suppress(OSError):  # another system, or a container that forbids it
        Path("/proc/self/oom_score_adj").write_text("1000")
