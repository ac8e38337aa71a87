"""The processes of one run under training.strategy=multi_worker: those that TF_CONFIG names, or started here.

The first is the chief: it alone reports. Where TF_CONFIG is not set, the chief starts the others on loopback, and
when one of them ends before its time, says which and why, and ends the run.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workbench.config import ConfigError, Problem
from workbench.options.training import Training
from workbench.process.child import signal_name

TF_CONFIG = "TF_CONFIG"
WORKER = "--worker"
_MEETING = "WORKBENCH_MEETING"
_SENT = '{"kind": '
_GRACE_S = 5.0
"""So long one's own error may come after a worker's: both then have the same cause, and one's own says more."""


def number_in_cluster(training: Training) -> int | None:
    """This process' number among the workers that TF_CONFIG names, 0 the chief's.

    None where it is not set, or where the run has no strategy.

    Raises:
        ConfigError: where TF_CONFIG cannot be read, names more or fewer than `training.workers`, or the strategy
            is not one of several processes.
    """
    text, workers = os.environ.get(TF_CONFIG), training.workers
    if text is None or training.strategy == "none":
        return None
    if training.strategy != "multi_worker":
        remedy = f"is of one process, but {TF_CONFIG} names several: unset it, or take multi_worker"
        raise ConfigError([Problem("training.strategy", training.strategy, remedy)])
    try:
        told = json.loads(text)
        named = told["cluster"]
        order = [("chief", i) for i in range(len(named.get("chief", [])))]
        order += [("worker", i) for i in range(len(named.get("worker", [])))]
        number = order.index((told["task"]["type"], int(told["task"]["index"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = (
            'must be JSON as {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}, '
            f"on each machine with its own index ({type(error).__name__}: {error}); unset it to start workers here"
        )
        raise ConfigError([Problem(f"environment.{TF_CONFIG}", text, remedy)]) from error
    if len(order) != workers:
        remedy = f"{TF_CONFIG} names {len(order)}: set training.workers={len(order)}, or unset {TF_CONFIG}"
        raise ConfigError([Problem("training.workers", workers, remedy)])
    return number


def number_on_this_host(training: Training) -> int:
    """Which of the workers on this machine this process is: its number where `Replicas` started them, else 0."""
    return (number_in_cluster(training) or 0) if _MEETING in os.environ else 0


def meet(workers: int, number: int, timeout_s: float) -> None:
    """Wait until all workers that `Replicas` started are about to join; returns at once where it started none.

    TensorFlow's own waiting stops all Python, and with it whoever would notice that a worker has ended.
    """
    if _MEETING not in os.environ:
        return
    folder = Path(os.environ[_MEETING])
    (folder / f"came-{number}").touch()
    deadline = time.monotonic() + timeout_s
    while missing := [str(one) for one in range(workers) if not (folder / f"came-{one}").exists()]:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"worker {', '.join(missing)} of {workers} has not come within {timeout_s:g} s"
            )
        time.sleep(0.05)


def refuse_cluster(trees: Iterable[Mapping[str, Any]]) -> None:
    """Raise ConfigError where the runs of a sweep have a strategy and TF_CONFIG names workers elsewhere."""
    strategy = next((one["training"]["strategy"] for one in trees if one["training"]["workers"] > 1), None)
    if TF_CONFIG in os.environ and strategy:
        remedy = (
            "a sweep starts the workers of each of its runs on its own machine, and cannot conduct those that "
            f"{TF_CONFIG} names: unset it, or make single runs, without -m"
        )
        raise ConfigError([Problem("training.strategy", strategy, remedy)])


class Replicas:
    """Worker processes 1, 2, ... on loopback around this process, which is 0; a context.

    Each is `python -m MODULE ARGUMENTS --worker` with a TF_CONFIG of its own. `fail(message, trace)` is called from
    another thread when one has ended too early and this process has not noticed by itself; it must not return.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        count: int,
        *,
        timeout_s: float,
        fail: Callable[[str, str], None],
        module: str = "workbench.entry",
    ) -> None:
        self._command = [sys.executable, "-m", module, *arguments, WORKER]
        self._count, self._timeout_s, self._fail = count, timeout_s, fail
        self._processes: dict[int, subprocess.Popen] = {}
        self._closing = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="workbench-workers-")

    def __enter__(self) -> Self:
        addresses = free_addresses(self._count)
        os.environ[_MEETING] = self._folder.name
        for number in range(1, self._count):
            with self._log(number).open("wb") as log:
                self._processes[number] = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, TF_CONFIG: tf_config(addresses, number)},
                )
        os.environ[TF_CONFIG] = tf_config(addresses, 0)
        for number in self._processes:
            threading.Thread(target=self._watch, args=(number,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        deadline = time.monotonic() + (self._timeout_s if error is None else 0)
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        del os.environ[TF_CONFIG], os.environ[_MEETING]
        self._folder.cleanup()

    def forget(self) -> None:
        """Remove what was kept for them: this process ends at once, and they with it."""
        self._folder.cleanup()

    def lost(self, wait_s: float = _GRACE_S) -> tuple[str, str]:
        """Which workers ended by an error, or have not ended within `wait_s`; and the end of their logs."""
        deadline = time.monotonic() + wait_s
        while True:
            codes = {number: process.poll() for number, process in self._processes.items()}
            if ended := {number: code for number, code in codes.items() if code}:
                return self._described(ended)
            if time.monotonic() >= deadline:
                return self._described({number: code for number, code in codes.items() if code is None})
            time.sleep(0.1)

    def _watch(self, number: int) -> None:
        code = self._processes[number].wait()
        if code == 0 or self._closing.wait(_GRACE_S):
            return
        self._fail(*self._described({number: code}))

    def _described(self, codes: Mapping[int, int | None]) -> tuple[str, str]:
        ends, traces = [], []
        for number, code in codes.items():
            lines = self._log(number).read_text(errors="replace").splitlines()
            said = "\n".join(line for line in lines if not line.startswith(_SENT))
            traces.append(f"--- worker {number}\n{said[-4000:]}")
            how, reason = "runs still, but does not answer", ""
            if code is not None and code < 0:
                how = f"was ended by {signal_name(-code)}"
            elif code is not None:
                how, reason = f"ended with exit code {code}", _failure(lines)
            ends.append(f"worker {number} of {self._count} {how}{reason and ': '}{reason}")
        return "; ".join(ends), "\n".join(traces)

    def _log(self, number: int) -> Path:
        return Path(self._folder.name) / f"worker-{number}.log"


def _failure(lines: Sequence[str]) -> str:
    """What a worker said of its failure: it prints what it would send, one JSON object a line."""
    for line in reversed(lines):
        if line.startswith(_SENT) and (message := json.loads(line))["kind"] in ("failure", "result"):
            return str(message.get("error", ""))
    return ""


def tf_config(addresses: Sequence[str], number: int) -> str:
    """What TF_CONFIG says to worker `number` of a cluster without a chief apart."""
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": number}})


def free_addresses(count: int) -> list[str]:
    """Loopback addresses with ports that are free now; all held at once, so that none comes twice."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
