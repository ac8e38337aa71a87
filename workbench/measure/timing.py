"""The timed window: training steps over the same batches, several passes, as claims/README.md says."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench import file_lock
from workbench.measure.calibration import calibrate
from workbench.measure.machine_state import MachineState, machine_state
from workbench.options.measure import Measure

Batch = Mapping[str, Any]
Step = Callable[[Batch], Any]

WARMUP_LIMIT = 2000
"""Steps after which a step that still makes new graphs is called what it is: one that never settles."""

NO_BATCHES = "the timed window got no batches: is the data set (or its training split) empty?"


class TimingError(RuntimeError):
    """A window that cannot be timed as asked; the message says what to change."""


@dataclass(frozen=True)
class Window:
    """A timed window. `seconds` is what a rate divides by: per batch the median of the passes, then the sum."""

    seconds: float
    window_s: float
    """All passes from the first step's start to the last one's end."""
    batch_seconds: tuple[float, ...]
    """Median over the passes for each batch of a pass, input wait included."""
    passes: int
    batches: int
    valid_tokens: int
    padded_tokens: int
    examples: int
    step_p50_ms: float
    step_p95_ms: float
    input_wait_s: float
    """Time of all passes spent waiting for a batch."""
    first_wait_s: float
    """Median wait for the first batch of a pass, the start of the input pipeline included."""
    warmup_steps: int
    traces_in_window: int
    calibration_before_gflops: float
    calibration_after_gflops: float
    machine: MachineState
    injected_sleep_s: float = 0.0
    """Seconds slept in every step: the positive control, 0 in any real measurement."""
    not_finite: int = 0
    """Steps of all passes whose loss was no number."""

    @property
    def valid_tokens_per_s(self) -> float:
        """Valid tokens of a pass over `seconds`."""
        return self.valid_tokens / self.seconds

    def metrics(self) -> dict[str, float]:
        """The window by the names of METRICS; what this system cannot say is left out."""
        found: dict[str, float | None] = {
            "speed/valid_tokens_per_s": self.valid_tokens_per_s,
            "speed/padded_tokens_per_s": self.padded_tokens / self.seconds,
            "speed/examples_per_s": self.examples / self.seconds,
            "speed/step_p50_ms": self.step_p50_ms,
            "speed/step_p95_ms": self.step_p95_ms,
            "speed/valid_tokens": self.valid_tokens,
            "speed/batches": self.batches,
            "speed/passes": self.passes,
            "speed/window_s": self.window_s,
            "speed/warmup_steps": self.warmup_steps,
            "speed/traces_in_window": self.traces_in_window,
            "speed/input_wait_share": self.input_wait_s / self.window_s,
            "speed/calibration_before_gflops": self.calibration_before_gflops,
            "speed/calibration_after_gflops": self.calibration_after_gflops,
            "speed/foreign_cpu_share": self.machine.foreign_cpu_share,
        }
        return {name: float(value) for name, value in found.items() if value is not None}


def timed_window(
    step: Step,
    batches: Callable[[], Iterable[Batch]],
    measure: Measure,
    *,
    traces: Callable[[], int],
    would_trace: Callable[[Batch], bool] | None = None,
    parts: Callable[[Any], Sequence[Batch | None]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    calibration: Callable[[], float] = calibrate,
) -> Window:
    """Time `measure.passes` passes of `step` over the same batches.

        warm up: at least `warmup_steps` steps, and until `quiet_steps` in a row made no new graph
        warm up each batch of a pass for which `would_trace` still says yes
        calibrate
        for each pass, for each batch: wait for the batch, step, read the loss
        calibrate

    `batches()` gives an iterable of the SAME batches in the same order each time it is called; a pass that
    differs in its batches or tokens is refused. A step's time runs from asking for its batch until its loss
    can be read in the host's memory, so input wait and device are both inside; the start of a pass' pipeline
    counts to its first batch (and is told apart as `first_wait_s`). Nothing is logged and Python's garbage
    collector does not run inside. New graphs inside the window are counted, not hidden: the caller must not
    use the time of a window whose `traces_in_window` is not 0.

    `traces()` is the number of graphs traced so far. `would_trace(batch)` is for steps that make a graph for
    each padded length. `parts(batch)` are the batches that count where a step takes several at once, one for each
    replica of this process, None for one that has none left. `inject_sleep` is the positive control: 0.25 sleeps
    a quarter of the mean step of one untimed pass in each step, and must come out 1.25 times slower. Raises
    TimingError for an empty pass, passes that differ, or a step that never stops making graphs. Source:
    claims/README.md, section 3.
    """
    warmed = _warm_up(step, batches, measure.warmup_steps, measure.quiet_steps, traces, would_trace)
    pause = measure.inject_sleep * _mean_step(step, batches, clock, parts) if measure.inject_sleep else 0.0

    before = calibration()
    with machine_state() as machine, _no_garbage_collection():
        traces_before = traces()
        timed = [_one_pass(step, batches(), pause, clock, sleep, parts) for _ in range(measure.passes)]
        traces_after = traces()
    after = calibration()

    counts = [_count(one.seen) for one in timed]
    if any(other != counts[0] for other in counts):
        raise TimingError(
            "the passes of a timed window must see the same batches; (batches, examples, valid tokens, padded "
            f"tokens) were {counts}. Give a function that makes the same data set each time (same epoch and seed)"
        )
    number, examples, valid, padded = counts[0]
    if not number:
        raise TimingError(NO_BATCHES)
    seconds = np.array([one.seconds for one in timed])  # [passes, batches]
    waits = np.array([one.waits for one in timed])
    medians = np.median(seconds, axis=0)
    p50, p95 = np.percentile(seconds, [50, 95])
    return Window(
        seconds=float(medians.sum()),
        window_s=float(sum(one.total for one in timed)),
        batch_seconds=tuple(float(value) for value in medians),
        passes=measure.passes,
        batches=number,
        valid_tokens=valid,
        padded_tokens=padded,
        examples=examples,
        step_p50_ms=float(p50 * 1e3),
        step_p95_ms=float(p95 * 1e3),
        input_wait_s=float(waits.sum()),
        first_wait_s=float(np.median(waits[:, 0])),
        warmup_steps=warmed,
        traces_in_window=traces_after - traces_before,
        calibration_before_gflops=before,
        calibration_after_gflops=after,
        machine=machine.state(),
        injected_sleep_s=pause,
        not_finite=sum(not math.isfinite(loss) for one in timed for loss in one.losses),
    )


@contextmanager
def host_lock(path: Path | str) -> Iterator[float]:
    """Hold a lock that one process of this host can hold at a time; wait for it; yield the seconds waited.

    The kernel gives the lock back when its holder ends, however it ends: a killed run blocks nobody.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    descriptor = _opened(path)
    with suppress(PermissionError):  # made by another user, who opened it to all
        os.fchmod(descriptor, 0o666)
    try:
        file_lock.take(descriptor, path)
        yield time.perf_counter() - start
    finally:
        os.close(descriptor)  # closing gives the lock back


def _opened(path: Path) -> int:
    """A descriptor of the file, made where it is not there.

    Asked to make one Linux refuses a file that another user made (fs.protected_regular), so it is asked last.
    """
    try:
        return os.open(path, os.O_RDWR)
    except FileNotFoundError:
        pass
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user has made it meanwhile, and opens it to all at once
        time.sleep(0.1)
        return os.open(path, os.O_RDWR)


@contextmanager
def turn(path: Path | str) -> Iterator[tuple[float, str]]:
    """Hold the host's lock where it can be had; yield the seconds waited, and why there is none, else nothing.

    A window without it may have been timed beside another: it must be marked, and no claim on time rests on it.
    """
    with ExitStack() as stack:
        try:
            taken = stack.enter_context(host_lock(path)), ""
        except OSError as error:
            taken = 0.0, f"the host's timing lock {path} cannot be had: {error.strerror or error}"
        yield taken


def _read(loss: Any) -> float:
    """The loss in the host's memory: only then has the device finished the step."""
    return float(loss.numpy()) if hasattr(loss, "numpy") else float(loss)


def _warm_up(
    step: Step,
    batches: Callable[[], Iterable[Batch]],
    steps: int,
    quiet: int,
    traces: Callable[[], int],
    would_trace: Callable[[Batch], bool] | None,
) -> int:
    done, still = 0, 0
    known = traces()
    while done < steps or still < quiet:
        at_start = done
        for batch in batches():
            _read(step(batch))
            done += 1
            now = traces()
            still = still + 1 if now == known else 0
            known = now
            if done >= steps and still >= quiet:
                break
            if done >= max(WARMUP_LIMIT, steps + quiet):
                raise TimingError(
                    f"after {done} warm-up steps the step still makes new graphs ({known} so far): pad to a "
                    "few lengths (padding bucket or global), or use a runner that takes any length"
                )
        if done == at_start:
            raise TimingError(NO_BATCHES)
    if would_trace is not None:
        for batch in batches():
            if would_trace(batch):
                _read(step(batch))
                done += 1
    return done


def _mean_step(
    step: Step,
    batches: Callable[[], Iterable[Batch]],
    clock: Callable[[], float],
    parts: Callable[[Any], Sequence[Batch | None]] | None,
) -> float:
    one = _one_pass(step, batches(), 0.0, clock, time.sleep, parts)
    return float(np.mean(one.seconds))


@dataclass(frozen=True)
class _Pass:
    seconds: list[float]
    waits: list[float]
    seen: list[list[Batch]]
    """The batches of each step: one, or one for each replica that had one."""
    losses: list[float]
    total: float


def _one_pass(
    step: Step,
    batches: Iterable[Batch],
    pause: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    parts: Callable[[Any], Sequence[Batch | None]] | None = None,
) -> _Pass:
    seconds: list[float] = []
    waits: list[float] = []
    seen: list[list[Batch]] = []
    losses: list[float] = []
    begin = start = clock()
    for batch in batches:
        got = clock()
        loss = _read(step(batch))
        if pause:
            sleep(pause)
        end = clock()
        losses.append(loss)
        waits.append(got - start)
        seconds.append(end - start)
        given = [batch] if parts is None else parts(batch)
        seen.append([{"inputs": one["inputs"].shape[:2], "length": one["length"]} for one in given if one])
        start = clock()
    return _Pass(seconds, waits, seen, losses, (begin if not seconds else end) - begin)


def _count(seen: list[list[Batch]]) -> tuple[int, int, int, int]:
    """(batches, examples, valid tokens, padded tokens) of a pass."""
    parts = [batch for step in seen for batch in step]
    examples = sum(int(batch["inputs"][0]) for batch in parts)
    padded = sum(int(batch["inputs"][0]) * int(batch["inputs"][1]) for batch in parts)
    valid = sum(int(np.sum(np.asarray(batch["length"], np.int64))) for batch in parts)
    return len(seen), examples, valid, padded


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
