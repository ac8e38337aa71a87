"""A job -> a child process -> its outcome. The child computes; this process waits without spinning, and listens.

The child sends JSON lines through a pipe. A line of kind `quiet` asks for silence: it is answered once all that
was said before it has been written down, so that nothing is logged while the child is timed.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.process.channel import WHERE
from workbench.process.spawner import Child, Fresh, Spawner, SpawnerGoneError

Message = dict[str, Any]
PADDING = "WORKBENCH_PADDING"
_LONGEST_PADDING = 4096
_ANSWER_S = 2.0
_HELD = "held"


@dataclass
class Outcome:
    """How a child ended: `finished` with a result, or why not, with what it told of itself all the same."""

    status: Literal["finished", "failed", "killed", "timed_out"]
    result: Message = field(default_factory=dict)
    error: str = ""
    trace: str = ""
    seconds: float = 0.0


def run_child(
    arguments: Sequence[str],
    *,
    output: Path,
    on_message: Callable[[Message], None],
    environment: Mapping[str, str] | None = None,
    time_limit_s: float | None = None,
    spawner: Spawner | None = None,
) -> Outcome:
    """Run `python -m workbench.entry ARGUMENTS` to its end and say how it ended; never raises for the child.

    Its stdout and stderr go to `output`. A child that takes longer than the limit, less the time that `on_message`
    takes, is asked where it is, and killed with its children; processes that it leaves behind are killed too, where
    they hold its channel.
    """
    started = time.monotonic()
    from_child, child_writes = os.pipe()
    child_reads, to_child = os.pipe()
    result: Message = {}
    timed_out = False
    child = None
    try:
        with open(output, "ab") as log:
            child = (spawner or Fresh()).start(
                arguments, log.fileno(), child_reads, child_writes, environment or {}, time_limit_s
            )
        child_reads, child_writes = _close(child_reads, child_writes)
        waited, closed = 0.0, False

        def left() -> float | None:
            return time_limit_s and max(0.0, started + time_limit_s + waited - time.monotonic())

        for message in _messages(from_child, child.pid, left):
            if message is None:
                timed_out = True
                break
            if (
                message["kind"] == _HELD
            ):  # it has ended, and a process that it started holds its end of the pipe
                closed = True
                break
            if message["kind"] in ("result", "failure"):
                result = message if len(message) > 1 else {}  # an empty one takes back what was said
                continue
            asked = time.monotonic()
            on_message(message)
            waited += (
                time.monotonic() - asked
            )  # for others of its sweep, or for the store: no fault of this child
            if message["kind"] == "quiet":
                with suppress(BrokenPipeError):
                    os.write(to_child, b"\n")
        if timed_out:
            _ask_where(child, output)
        if timed_out or closed:
            child.kill()
        code = child.wait()
    except SpawnerGoneError as error:
        if result.get("kind") == "result":  # all of it is there
            return Outcome("finished", result=result, seconds=time.monotonic() - started)
        return Outcome("killed", error=str(error), trace=_tail(output), seconds=time.monotonic() - started)
    except BaseException:
        if child is not None:
            child.kill()
        raise
    finally:
        _close(from_child, to_child, child_reads, child_writes)
    return _outcome(code, result, timed_out, time_limit_s, time.monotonic() - started, output)


def _close(*descriptors: int) -> tuple[int, int]:
    """Close those that are open; -1 is none."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
    return -1, -1


def random_environment() -> dict[str, str]:
    """A random amount of environment, since its size moves the stack; and hashing fixed."""
    return {PADDING: "x" * secrets.randbelow(_LONGEST_PADDING), "PYTHONHASHSEED": "0"}


def _messages(pipe: int, pid: int, left: Callable[[], float | None]) -> Iterator[Message | None]:
    """Whole lines as they come, until the other end closes; None once no time is left.

    The last is of kind _HELD where the child has ended and another process holds the other end open.
    """
    rest, end = b"", _end_of(pid)
    try:
        while True:
            ready, _, _ = select.select([pipe, *([end] if end is not None else [])], [], [], left())
            if not ready:
                yield None
                return
            if (
                pipe not in ready and not select.select([pipe], [], [], 0)[0]
            ):  # all that it said has been read
                yield {"kind": _HELD}
                return
            piece = os.read(pipe, 1 << 16)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)
    finally:
        if end is not None:
            os.close(end)


def _end_of(pid: int) -> int | None:
    """A descriptor that is ready to be read once a process has ended; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # no Linux, an old one, or it has ended and is gone
        return None


def _outcome(
    code: int, result: Message, timed_out: bool, limit: float | None, seconds: float, output: Path
) -> Outcome:
    if result.get("kind") == "result":  # all of it is there, however the process then came to its end
        return Outcome("finished", result=result, seconds=seconds)
    if timed_out:
        error = f"was still running after its limit of {limit:g} s, and was ended"
        return Outcome("timed_out", error=error, trace=_tail(output), seconds=seconds)
    if result.get("kind") == "failure":
        found: Message = {part: result[part] for part in ("facts", "metrics", "tags") if part in result}
        return Outcome("failed", found, result["error"], result["trace"], seconds)
    if code < 0:
        name = signal_name(-code)
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return Outcome("killed", error=f"ended by {name}{hint}", trace=_tail(output), seconds=seconds)
    error = f"ended with exit code {code} and without a result"
    return Outcome("failed", error=error, trace=_tail(output), seconds=seconds)


def signal_name(number: int) -> str:
    """A signal's name; the real-time ones have none.

    >>> signal_name(9), signal_name(40)
    ('SIGKILL', 'signal 40')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ask_where(child: Child, output: Path) -> None:
    """Have the child write down where it is; wait until it has begun to, but not for one that does not answer."""
    before, deadline = output.stat().st_size, time.monotonic() + _ANSWER_S
    with suppress(ProcessLookupError):
        os.kill(child.pid, WHERE)
    while output.stat().st_size == before and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.05)


def _tail(output: Path, characters: int = 4000) -> str:
    return output.read_text(errors="replace")[-characters:]
