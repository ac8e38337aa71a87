from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.measure import memory as room
from workbench.measure.memory import RESET, WHOLE_LIFE, peak_memory
from workbench.record import METRICS


def _touch(megabytes: int) -> None:
    np.ones(megabytes * 10**6, np.uint8)


def test_a_section_is_charged_with_its_own_peak_and_no_earlier_one() -> None:
    _touch(300)
    with peak_memory() as memory:
        _touch(80)
    if memory.method != RESET:
        pytest.skip(f"this system cannot reset the peak: {memory.method}")
    assert memory.rss_growth_mb == pytest.approx(80, abs=20)
    assert memory.peak_rss_mb == pytest.approx(memory.before_rss_mb + memory.rss_growth_mb)
    assert set(memory.metrics()) <= set(METRICS)


def test_a_section_that_fails_is_measured_too() -> None:
    with pytest.raises(KeyError), peak_memory() as memory:
        raise KeyError("failed")
    assert memory.peak_rss_mb is not None


def test_where_the_peak_cannot_be_reset_the_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([50_000_000_000, 50_000_000_000, 50_000_000_000, 90_000_000_000])
    monkeypatch.setattr(room, "_peak_of_life", lambda: next(peaks))
    with peak_memory(proc=tmp_path / "missing") as memory:
        pass
    assert memory.method == WHOLE_LIFE
    assert memory.peak_rss_mb == 50_000
    assert memory.rss_growth_mb is None  # the peak may be an earlier section's
    with peak_memory(proc=tmp_path / "missing") as memory:
        pass
    assert memory.peak_rss_mb == 90_000
    assert memory.rss_growth_mb == pytest.approx(90_000 - memory.before_rss_mb)


def test_the_gpus_peak_is_its_allocators(monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        name = "/device:GPU:0"

    done: list[str] = []
    experimental: Any = room.tf.config.experimental
    monkeypatch.setattr(room.tf.config, "list_logical_devices", lambda kind: [Device()])
    monkeypatch.setattr(experimental, "reset_memory_stats", done.append)
    monkeypatch.setattr(experimental, "get_memory_info", lambda name: {"peak": 123_000_000, "current": 1})
    with peak_memory() as memory:
        assert done == ["/device:GPU:0"]
    assert memory.peak_device_mb == 123
    assert memory.metrics()["memory/peak_device_mb"] == 123


def test_without_a_gpu_there_is_no_device_peak() -> None:
    with peak_memory() as memory:
        pass
    if not room.tf.config.list_logical_devices("GPU"):
        assert memory.peak_device_mb is None
        assert "memory/peak_device_mb" not in memory.metrics()
