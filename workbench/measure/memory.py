"""Peak memory of a section of the program: the process', and the GPU allocator's."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import tensorflow as tf

MB = 1e6
RESET = "VmHWM, reset before the section"
WHOLE_LIFE = "ru_maxrss of the whole process (the system's peak could not be reset)"


@dataclass
class Memory:
    """Peak memory of a section, in MB of 10^6 bytes; filled in when the section ends.

    `method` says how the peak was found. `RESET`: the kernel's own high-water mark, set back when the section
    began, so that nothing is missed between samples (none are taken) and nothing earlier is counted.
    `WHOLE_LIFE`: where the mark cannot be set back (not Linux, or a container that forbids it) the peak is
    that of the process' whole life, an upper bound, and `rss_growth_mb` is None unless the section itself
    raised it.
    """

    method: str
    before_rss_mb: float
    peak_rss_mb: float | None = None
    rss_growth_mb: float | None = None
    peak_device_mb: float | None = None

    def metrics(self) -> dict[str, float]:
        """What was measured, by its name in METRICS; what could not be measured is left out.

        On a GPU so is the process' growth: batches are not in it, but what the driver loads in the first step is.
        """
        found = {
            "memory/peak_rss_mb": self.peak_rss_mb,
            "memory/rss_growth_mb": self.rss_growth_mb if self.peak_device_mb is None else None,
            "memory/peak_device_mb": self.peak_device_mb,
        }
        return {name: value for name, value in found.items() if value is not None}


@contextmanager
def peak_memory(*, proc: Path = Path("/proc/self")) -> Iterator[Memory]:
    """Measure the peak memory of what runs inside.

    Yields a `Memory` whose peaks are known once the section has ended, whether it raised or not. Peak device
    memory is that of the first GPU's allocator, and None where TensorFlow sees no GPU.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        tf.config.experimental.reset_memory_stats(gpus[0].name)
    method = RESET if _reset_high_water_mark(proc) else WHOLE_LIFE
    life_before = _peak_of_life()
    memory = Memory(method, psutil.Process().memory_info().rss / MB)
    try:
        yield memory
    finally:
        if method == RESET:
            peak = _high_water_mark(proc)
            memory.peak_rss_mb = peak / MB
            memory.rss_growth_mb = max(0.0, peak / MB - memory.before_rss_mb)
        else:
            peak = _peak_of_life()
            memory.peak_rss_mb = peak / MB
            if peak > life_before:
                memory.rss_growth_mb = max(0.0, peak / MB - memory.before_rss_mb)
        if gpus:
            memory.peak_device_mb = tf.config.experimental.get_memory_info(gpus[0].name)["peak"] / MB


def _reset_high_water_mark(proc: Path) -> bool:
    """Set VmHWM to what is held now; False where the system does not allow it."""
    try:
        (proc / "clear_refs").write_text("5")
        _high_water_mark(proc)
    except (OSError, ValueError):
        return False
    return True


def _high_water_mark(proc: Path) -> int:
    for line in (proc / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{proc / 'status'} has no VmHWM line")


def _peak_of_life() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
