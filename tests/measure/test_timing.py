from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from workbench.measure.machine_state import cpu_shares
from workbench.measure.timing import TimingError, Window, host_lock, timed_window, turn
from workbench.options.measure import Measure
from workbench.record import METRICS


def window_of(step: Callable[[Any], Any], source: Any, clock: Any, **given: Any) -> Window:
    options = {"warmup_steps": 3, "quiet_steps": 0}
    options |= {name: given.pop(name) for name in ("passes", *options, "inject_sleep") if name in given}
    arguments = {
        "traces": lambda: 1,
        "clock": clock,
        "sleep": clock.sleep,
        "calibration": lambda: 50.0,
        **given,
    }
    return timed_window(step, source, Measure(**options), **arguments)


def steps_of(clock: Any, seconds: list[float]) -> Callable[[Any], float]:
    """A step that takes the next of `seconds`, and the last of them for ever."""
    left = list(seconds)

    def step(batch: Any) -> float:
        clock.advance(left.pop(0) if len(left) > 1 else left[0])
        return 1.0

    return step


def test_the_time_is_the_sum_over_batches_of_the_median_over_passes(clock: Any, source: Any) -> None:
    warm = [9.0, 9.0, 9.0]
    passes = [[0.010, 0.020, 0.030], [0.012, 0.500, 0.028], [0.011, 0.022, 0.400]]
    window = window_of(steps_of(clock, [*warm, *np.ravel(passes)]), source, clock)
    # waits of 1, 2 and 3 ms belong to the steps; medians 11, 22 and 30 ms
    assert window.batch_seconds == pytest.approx((0.012, 0.024, 0.033))
    assert window.seconds == pytest.approx(0.069)
    assert window.window_s == pytest.approx(np.sum(passes) + 3 * 0.006)
    assert window.valid_tokens == 14
    assert window.padded_tokens == 24
    assert (window.examples, window.batches, window.passes) == (6, 3, 3)
    assert window.valid_tokens_per_s == pytest.approx(14 / 0.069)
    assert window.input_wait_s == pytest.approx(0.018)
    assert window.first_wait_s == pytest.approx(0.001)
    every = np.add(passes, [0.001, 0.002, 0.003])
    assert window.step_p50_ms == pytest.approx(np.sort(every.ravel())[4] * 1e3)
    assert window.step_p95_ms == pytest.approx(np.percentile(every, 95) * 1e3)
    assert window.warmup_steps == 3
    assert source.calls == 4


def test_metrics_bear_names_of_the_table_and_rates_are_right(clock: Any, source: Any) -> None:
    metrics = window_of(steps_of(clock, [0.010]), source, clock, passes=1).metrics()
    assert set(metrics) == {name for name, one in METRICS.items() if one.needs == "timing"}
    seconds = 0.036
    assert metrics["speed/valid_tokens_per_s"] == pytest.approx(14 / seconds)
    assert metrics["speed/padded_tokens_per_s"] == pytest.approx(24 / seconds)
    assert metrics["speed/examples_per_s"] == pytest.approx(6 / seconds)
    assert metrics["speed/input_wait_share"] == pytest.approx(0.006 / seconds)
    assert metrics["speed/calibration_before_gflops"] == 50.0


def test_warm_up_goes_on_until_no_new_graph_came_for_so_many_steps(clock: Any, source: Any) -> None:
    done = 0

    def step(batch: Any) -> float:
        nonlocal done
        done += 1
        return 0.0

    # a new graph with each of the first five steps, then with the ninth
    window = window_of(
        step,
        source,
        clock,
        traces=lambda: min(done, 5) + (done >= 9),
        warmup_steps=2,
        quiet_steps=4,
        passes=1,
    )
    assert window.warmup_steps == 13  # 6, 7, 8 were quiet, 9 was not, 10 to 13 were
    assert window.traces_in_window == 0


def test_batches_that_would_make_a_graph_are_warmed_up_too(clock: Any, source: Any) -> None:
    seen: list[int] = []

    def step(batch: Any) -> float:
        seen.append(int(batch["length"].sum()))
        return 0.0

    window = window_of(
        step,
        source,
        clock,
        traces=lambda: len(set(seen)),
        would_trace=lambda batch: int(batch["length"].sum()) not in seen,
        warmup_steps=1,
        passes=1,
    )
    assert seen == [3, 7, 4, 3, 7, 4]  # one step to warm up, the two others since they are new, then the pass
    assert window.warmup_steps == 3
    assert window.traces_in_window == 0


def test_new_graphs_inside_the_window_are_counted(clock: Any, source: Any) -> None:
    done: list[int] = []
    window = window_of(
        lambda batch: float(done.append(1) or 0), source, clock, traces=lambda: len(done) // 4, passes=1
    )
    assert window.traces_in_window == 1


def test_a_step_that_never_settles_is_an_error(clock: Any, source: Any) -> None:
    done: list[int] = []
    with pytest.raises(TimingError, match="after 2000 warm-up steps the step still makes new graphs"):
        window_of(
            lambda batch: float(done.append(1) or 0), source, clock, traces=lambda: len(done), quiet_steps=1
        )


def test_injected_sleep_is_a_share_of_the_mean_step_and_shows_as_such(clock: Any, source: Any) -> None:
    plain = window_of(steps_of(clock, [0.020]), source, clock)
    slowed = window_of(steps_of(clock, [0.020]), source, clock, inject_sleep=0.25)
    assert slowed.seconds / plain.seconds == pytest.approx(1.25)
    assert slowed.injected_sleep_s == pytest.approx(0.25 * 0.022)  # steps of 21, 22 and 23 ms
    assert len(clock.slept) == 9
    assert plain.injected_sleep_s == 0


def test_steps_of_several_replicas_are_slowed_too(clock: Any, source: Any) -> None:
    window = window_of(
        steps_of(clock, [0.010]),
        lambda: zip(source(), [None, *source()], strict=False),
        clock,
        parts=lambda batches: batches,
        passes=1,
        inject_sleep=0.5,
    )
    assert window.injected_sleep_s > 0
    assert clock.slept == [window.injected_sleep_s] * 3


def test_calibration_runs_directly_before_and_after(clock: Any, source: Any) -> None:
    order: list[str] = []

    def step(batch: Any) -> float:
        order.append("step")
        return 0.0

    def calibrate() -> float:
        order.append("calibrate")
        return float(len(order))

    window = window_of(step, source, clock, calibration=calibrate, passes=2)
    assert order == [*["step"] * 3, "calibrate", *["step"] * 6, "calibrate"]
    assert (window.calibration_before_gflops, window.calibration_after_gflops) == (4.0, 11.0)


def test_the_garbage_collector_rests_inside_and_is_put_back(clock: Any, source: Any) -> None:
    seen: list[bool] = []

    def step(batch: Any) -> float:
        seen.append(gc.isenabled())
        return 0.0

    window_of(step, source, clock, passes=1)
    assert seen == [True, True, True, False, False, False]
    assert gc.isenabled()
    failing = iter([True, True, True])
    with pytest.raises(StopIteration):
        window_of(lambda batch: float(next(failing)), source, clock)
    assert gc.isenabled()


def test_the_loss_is_read_inside_the_step(clock: Any, source: Any) -> None:
    class Loss:
        def numpy(self) -> float:
            clock.advance(0.5)  # the device was not done yet
            return 1.0

    window = window_of(lambda batch: Loss(), source, clock, passes=1)
    assert window.seconds == pytest.approx(3 * 0.5 + 0.006)


def test_passes_over_other_batches_are_refused(clock: Any, source: Any) -> None:
    def batches() -> Iterator[Any]:
        batch = {"inputs": np.zeros((1, 3)), "length": np.array([source.calls])}
        source.calls += 1
        yield batch

    with pytest.raises(TimingError, match=r"must see the same batches.*\(1, 1, 3, 3\), \(1, 1, 4, 3\)"):
        window_of(lambda batch: 0.0, batches, clock)


def test_no_batches_or_no_passes_is_an_error(clock: Any, source: Any) -> None:
    with pytest.raises(TimingError, match="got no batches"):
        window_of(lambda batch: 0.0, list, clock)
    with pytest.raises(TimingError, match="got no batches"):
        window_of(lambda batch: 0.0, list, clock, warmup_steps=0)
    with pytest.raises(ValueError, match=r"measure.passes=0: must be at least 1"):
        window_of(lambda batch: 0.0, source, clock, passes=0)


def test_with_the_real_clock_a_sleep_takes_its_time(source: Any) -> None:
    window = timed_window(
        lambda batch: time.sleep(0.02) or 0.0,
        source,
        Measure(warmup_steps=1),
        traces=lambda: 0,
        calibration=lambda: 1.0,
    )
    assert window.seconds >= 0.06
    assert window.machine.voluntary_switches is not None
    assert window.machine.foreign_cpu_share is None or 0 <= window.machine.foreign_cpu_share <= 1


def test_a_kernel_that_counts_no_switches_costs_no_window(
    clock: Any, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gVisor's, on which psutil raises."""

    def uncounted(self: psutil.Process) -> None:
        raise NotImplementedError("the lines were not found")

    monkeypatch.setattr(psutil.Process, "num_ctx_switches", uncounted)
    machine = window_of(steps_of(clock, [0.01]), source, clock).machine
    assert (machine.voluntary_switches, machine.involuntary_switches) == (None, None)


def test_cpu_shares_by_hand() -> None:
    before = {"user": 10.0, "system": 5.0, "idle": 100.0, "iowait": 1.0, "steal": 2.0, "guest": 4.0}
    after = {"user": 13.0, "system": 6.0, "idle": 104.0, "iowait": 2.0, "steal": 3.0, "guest": 6.0}
    # 10 s in all (guest is within user), 5 of them busy, 3 of those our own
    assert cpu_shares(before, after, own_s=3.0) == pytest.approx((0.2, 0.1, 0.3))
    assert cpu_shares(before, before, own_s=0.0) == (None, None, None)
    assert cpu_shares(before, after, own_s=7.0)[0] == 0.0  # the counters are coarser than the process' own


def test_one_holder_of_the_host_lock_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "timing.lock"
    events: list[str] = []
    first_in = threading.Event()

    def hold() -> None:
        with host_lock(path):
            first_in.set()
            time.sleep(0.15)
            events.append("first leaves")

    holder = threading.Thread(target=hold)
    holder.start()
    first_in.wait()
    with host_lock(path) as waited:
        events.append("second enters")
    holder.join()
    assert events == ["first leaves", "second enters"]
    assert waited >= 0.1
    with host_lock(path) as waited:
        assert waited < 0.1


def test_the_lock_is_given_back_when_its_holder_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), host_lock(tmp_path / "lock"):
        raise KeyError("failed")
    with host_lock(tmp_path / "lock") as waited:
        assert waited < 0.1


def test_a_lock_that_cannot_be_had_is_said_and_the_window_goes_on(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with turn(tmp_path / "lock") as (waited, why):
        assert waited >= 0
        assert why == ""
    with turn(tmp_path / "file" / "lock") as (waited, why):
        assert waited == 0
        assert "cannot be had" in why
    with pytest.raises(OSError, match="of the body"), turn(tmp_path / "lock"):
        raise OSError("of the body")


def test_more_warmup_than_the_limit_may_be_asked_for(clock: Any, source: Any) -> None:
    window = window_of(steps_of(clock, [0.001]), source, clock, warmup_steps=2100)
    assert window.warmup_steps >= 2100


def test_a_lock_that_another_user_made_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fs.protected_regular Linux refuses O_CREAT of a file of another user in a folder like /tmp."""
    path = tmp_path / "lock"
    path.touch()
    opened = os.open

    def refusing(file: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return opened(file, flags, *mode)

    monkeypatch.setattr(os, "open", refusing)
    with turn(path) as (_, why):
        assert why == ""
