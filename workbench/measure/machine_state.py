"""What else the machine did while something was timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class MachineState:
    """What else the machine did during the window. None: not readable on this system."""

    foreign_cpu_share: float | None
    """CPU time of other processes and steal, over all CPU time there was (cores x window)."""
    steal_share: float | None
    own_cpu_share: float | None
    load_before: float | None
    load_after: float | None
    voluntary_switches: int | None
    involuntary_switches: int | None
    frequency_before_mhz: float | None
    frequency_after_mhz: float | None


class MachineWatch:
    """Counters of the system and of this process, with those that it started, at the two ends of the window."""

    def __init__(self) -> None:
        self.before = self._read()
        self.after: dict[str, Any] = {}

    def finish(self) -> None:
        """Read the counters at the second end."""
        self.after = self._read()

    @staticmethod
    def _read() -> dict[str, Any]:
        process = psutil.Process()
        system = psutil.cpu_times()._asdict()
        own = [one.cpu_times() for one in (process, *_started_by(process))]
        try:
            switches = process.num_ctx_switches()
        except (OSError, NotImplementedError):  # a kernel that does not count them, as gVisor's
            switches = None
        try:
            frequency = psutil.cpu_freq()
        except (OSError, NotImplementedError):
            frequency = None
        return {
            "system": system,
            "own": sum(times.user + times.system for times in own),
            "load": psutil.getloadavg()[0],
            "voluntary": None if switches is None else switches.voluntary,
            "involuntary": None if switches is None else switches.involuntary,
            "frequency": frequency.current if frequency is not None else None,
        }

    def state(self) -> MachineState:
        """What was between the two ends."""
        before, after = self.before, self.after
        foreign, steal, own = cpu_shares(before["system"], after["system"], after["own"] - before["own"])
        return MachineState(
            foreign_cpu_share=foreign,
            steal_share=steal,
            own_cpu_share=own,
            load_before=before["load"],
            load_after=after["load"],
            voluntary_switches=_more(before["voluntary"], after["voluntary"]),
            involuntary_switches=_more(before["involuntary"], after["involuntary"]),
            frequency_before_mhz=before["frequency"],
            frequency_after_mhz=after["frequency"],
        )


def _started_by(process: psutil.Process) -> list[psutil.Process]:
    """The other workers of a distributed run on this machine, which are no foreign load."""
    return [child for child in process.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def cpu_shares(
    before: Mapping[str, float], after: Mapping[str, float], own_s: float
) -> tuple[float | None, float | None, float | None]:
    """Shares (foreign, steal, own) of all the CPU time between two readings of the system's counters.

    `before` and `after` are seconds by kind, as `psutil.cpu_times()` names them; guest time is within user
    time and not counted twice. Foreign is whatever was busy, steal included, and not this process. All are
    None where the window is too short for the system's counters (they tick every 10 ms).

    >>> cpu_shares({"user": 0, "idle": 0, "steal": 0}, {"user": 3, "idle": 5, "steal": 2}, own_s=2.5)
    (0.25, 0.2, 0.25)
    """
    spent = {kind: after[kind] - before[kind] for kind in after if kind not in ("guest", "guest_nice")}
    total = sum(spent.values())
    if total <= 0:
        return None, None, None
    busy = total - spent.get("idle", 0.0) - spent.get("iowait", 0.0)
    return max(0.0, busy - own_s) / total, spent.get("steal", 0.0) / total, own_s / total


@contextmanager
def machine_state() -> Iterator[MachineWatch]:
    """Watch the machine while the block runs; ask the watch for its `state()` afterwards."""
    watch = MachineWatch()
    try:
        yield watch
    finally:
        watch.finish()


def _more(before: int | None, after: int | None) -> int | None:
    """By how much a counter has grown; None where it is not counted."""
    return None if before is None or after is None else after - before
