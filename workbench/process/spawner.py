"""How a child starts: as a fresh interpreter, or forked from a server that imported TensorFlow but never ran it.

A fresh interpreter imports TensorFlow for some seconds; a fork does not. A TensorFlow that has run an operation
must not be forked, so the server only imports. Forked children share the server's memory layout, so a sweep starts
a new server for each block: the layout then belongs to the block, as the seed does.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from workbench.places import IS_SHIPPED, PACKAGE
from workbench.process.channel import CHANNEL, die_with_parent

MODULE = "workbench.entry"
IMPORTS_S = 300.0
"""What a fork server may take for its imports, whatever the limit of the job that waits for them."""
PRELOADED = (
    "workbench.run",
    "workbench.measured",
    "workbench.data.pipeline",
    "workbench.data.shards",
    "workbench.training",
    "workbench.model",
    "workbench.measure.timing",
    "workbench.measure.device",
    "workbench.measure.graph",
    "workbench.measure.memory",
    "workbench.probes.invariance",
)
CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "PGPASSWORD",
)
"""What a child does not get: it does not talk to the tracking server."""
_REQUEST = 1 << 20


class SpawnerGoneError(ChildProcessError):
    """What starts the children has died; a new one can be made."""


class Child(Protocol):
    """A started child."""

    pid: int

    def wait(self) -> int:
        """Its exit code, negative where a signal ended it; waits for it."""

    def kill(self) -> None:
        """End it and its children at once, and wait until it is gone."""


class Spawner(Protocol):
    """Starts children one after another; `reads` and `writes` are the child's ends of its channel."""

    name: str

    def start(
        self,
        arguments: Sequence[str],
        log: int,
        reads: int,
        writes: int,
        environment: Mapping[str, str],
        limit_s: float | None = None,
    ) -> Child:
        """Start `python -m workbench.entry ARGUMENTS` with stdout and stderr going to the descriptor `log`.

        Raises:
            SpawnerGoneError: it could not, or not within `limit_s` and the time that imports may take.
        """

    def close(self) -> None:
        """Give back what it holds."""


class Fresh:
    """A fresh interpreter for every child."""

    name = "fresh"

    def __init__(self, module: str = MODULE) -> None:
        self._module = module

    def start(
        self,
        arguments: Sequence[str],
        log: int,
        reads: int,
        writes: int,
        environment: Mapping[str, str],
        limit_s: float | None = None,
    ) -> Child:
        """See `Spawner`."""
        return _Fresh(
            [sys.executable, "-m", self._module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(reads, writes),
            start_new_session=True,
            env={**_environment(environment), CHANNEL: f"{reads},{writes}"},
        )

    def close(self) -> None:
        """Nothing to give back."""


class _Fresh(subprocess.Popen[bytes]):
    def kill(self) -> None:
        _kill_group(self.pid)
        self.wait()


class ForkServer:
    """Children forked from one server process; use it as a context, or close it."""

    name = "fork"

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        module: str = MODULE,
        preloaded: Sequence[str] = PRELOADED,
    ) -> None:
        self._log, self._module = log, module
        self._hung_up = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workbench.process.spawner", str(theirs.fileno()), *preloaded],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=_environment(environment or {}),
            )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(
        self,
        arguments: Sequence[str],
        log: int,
        reads: int,
        writes: int,
        environment: Mapping[str, str],
        limit_s: float | None = None,
    ) -> Child:
        """See `Spawner`."""
        request = json.dumps(
            {"module": self._module, "arguments": list(arguments), "environment": dict(environment)}
        ).encode()
        with contextlib.suppress(BrokenPipeError):
            socket.send_fds(self._socket, [request], [log, reads, writes])
        self._socket.settimeout(limit_s and max(limit_s, IMPORTS_S))
        try:
            answer = self._answer()
        except TimeoutError:
            raise SpawnerGoneError(
                f"the fork server had started no process within {max(limit_s or 0, IMPORTS_S):g} s: what it "
                f"imports hangs ({self._log})"
            ) from None
        finally:
            self._socket.settimeout(None)
        return _Forked(int(answer["pid"]), self._answer)

    @property
    def is_gone(self) -> bool:
        """Whether the server has ended by itself, and starts nothing any more."""
        return self._hung_up or self._process.poll() is not None

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        _kill_group(self._process.pid)
        self._process.wait()

    def _answer(self) -> dict[str, int]:
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self._socket.recv(_REQUEST)
        if not data:
            self._hung_up = True  # its sockets close a moment before its end can be waited for
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SpawnerGoneError(
                f"the fork server is gone: {''.join(last) or 'it said nothing'} ({self._log}); "
                "workbench.start=fresh starts jobs without it"
            )
        return dict(json.loads(data))


class _Forked:
    def __init__(self, pid: int, answer: Callable[[], dict[str, int]]) -> None:
        self.pid, self._answer = pid, answer
        self._code: int | None = None

    def wait(self) -> int:
        if self._code is None:
            self._code = int(self._answer()["code"])
        return self._code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # just forked, it may not lead a group yet
        _kill_group(self.pid)
        with contextlib.suppress(SpawnerGoneError):
            self.wait()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process' environment and more; a checkout's children find its package wherever they are started."""
    kept = {key: value for key, value in os.environ.items() if key not in CREDENTIALS}
    return {**kept, **python_path(), **more}


def python_path() -> dict[str, str]:
    """What a process must have in its environment to find a checkout's package."""
    if IS_SHIPPED:
        return {}
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    ours = str(PACKAGE.parent)
    return {"PYTHONPATH": os.pathsep.join([ours, *(path for path in known if path != ours)])}


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def serve(listening: socket.socket, preloaded: Sequence[str]) -> None:
    """The server: import, then fork a child for each request, one at a time, and say how it ended."""
    die_with_parent()
    for name in preloaded:
        importlib.import_module(name)
    while True:
        request, fds, _, _ = socket.recv_fds(listening, _REQUEST, 3)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            os.setsid()
            listening.close()
            _become(json.loads(request), *fds)
        for fd in fds:
            os.close(fd)
        listening.send(json.dumps({"pid": pid}).encode())
        _, status = os.waitpid(pid, 0)
        listening.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())


def _become(request: dict, log: int, reads: int, writes: int) -> None:
    """Turn this fork into the child; never returns."""
    code = 70
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(request["environment"])
        os.environ[CHANNEL] = f"{reads},{writes}"
        code = importlib.import_module(request["module"]).main(request["arguments"])
        atexit._run_exitfuncs()  # as a fresh process would at its end: autograph removes its files there
    except BaseException:
        traceback.print_exc()  # as a fresh process would at its end
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
