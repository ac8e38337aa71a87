"""One job, or one arm's memory, in a process of its own. What comes back is plain, so that it can be sent."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.peers.check import TOLERANCE, TOLERANCE_TF32, DisagreementError, Result, require_equal
from experiments.peers.settings import TORCH, Job, Setting
from experiments.peers.work import Batch, batch_of, cut, lengths_of
from experiments.timing import rounds

CHECKED = 2**23
"""Batch x time x units of the largest batch that is checked in float64; longer ones are cut for the check."""
RECOMPILED = 0.5
"""Seconds over its usual time from which a batch's first call counts as another compilation."""


@dataclass(frozen=True)
class Machine:
    """What the processes are to use."""

    threads: int
    gpu: bool = False
    seconds: float = 5.0  # of a job's rounds, at least


@dataclass
class Measured:
    """What was measured of an arm, and what was not, with the reason."""

    arm: str
    taken: np.ndarray | None = None  # seconds, [turns, batches]
    first_call_s: float | None = None  # tracing and compiling
    compiles: int | None = None
    error: float | None = None
    refused: str | None = None
    memory_mb: float | None = None


@dataclass
class Outcome:
    """A job's arms, and the sizes of its batches."""

    setting: Setting
    arms: dict[str, Measured] = field(default_factory=dict)
    valid: list[int] = field(default_factory=list)
    padded: list[int] = field(default_factory=list)
    checked_longest: int = 0
    alone: dict[str, Measured] = field(default_factory=dict)


def has_torch() -> bool:
    """Whether PyTorch is there: the `bench` extra."""
    return importlib.util.find_spec("torch") is not None


def run_job(job: Job, machine: Machine) -> Outcome:
    """Builds every arm, holds its numbers against float64, then times all in interleaved rounds."""
    from experiments.peers import arms

    _configure(machine, job.setting.tf32)
    setting = job.setting
    lengths = lengths_of(setting)
    ours = arms.reference(setting)
    batches = [batch_of(setting, one, ours.outputs, number) for number, one in enumerate(lengths)]
    outcome = Outcome(setting, valid=[b.valid for b in batches], padded=[b.padded for b in batches])
    checks = _Checks(setting, lengths[0], ours.outputs)
    outcome.checked_longest = int(checks.batch.lengths.max())
    longest = max(int(one.max()) for one in lengths)
    calls: dict[str, Callable[[int], object]] = {}
    for name in job.arms:
        measured = outcome.arms[name] = Measured(name)
        try:
            calls[name] = _prepared(name, setting, batches, longest, machine, checks, measured)
        except Exception as error:  # an arm that fails is told; the others are timed
            measured.refused = f"{type(error).__name__}: {error}"
    checks.forget()
    for name, taken in rounds(calls, len(batches), seconds=machine.seconds).items():
        outcome.arms[name].taken = taken
    return outcome


def run_alone(name: str, setting: Setting, machine: Machine) -> Measured:
    """One of PyTorch's arms where TensorFlow was never imported."""
    from experiments.peers import torch_arms

    torch_arms.configure(machine.threads, setting.tf32)
    arm = torch_arms.make_arm(name, setting, gpu=machine.gpu)
    batches = [batch_of(setting, one, arm.outputs, k) for k, one in enumerate(lengths_of(setting))]
    given = [arm.prepare(batch) for batch in batches]
    for one in given:
        arm.step(one)
    taken = rounds({name: lambda k: arm.step(given[k])}, len(given), seconds=machine.seconds)
    return Measured(name, taken=taken[name])


def run_memory(name: str, setting: Setting, machine: Machine) -> Measured:
    """Peak growth of the process' memory in one training step, after one on a short batch; MB of 10^6 bytes."""
    from workbench.measure.memory import peak_memory

    _configure(machine, setting.tf32)
    lengths = lengths_of(setting)[0]
    arm = _make(name, setting, int(lengths.max()), machine)
    short = batch_of(setting, cut(lengths, 8), arm.outputs)
    arm.step(arm.prepare(short))
    given = arm.prepare(batch_of(setting, lengths, arm.outputs))
    _trim()
    if machine.gpu and name in TORCH:  # TensorFlow's allocator knows nothing of it
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        done = arm.step(given)
        torch.cuda.synchronize()
        del done
        return Measured(name, memory_mb=(torch.cuda.max_memory_allocated() - held) / 1e6)
    held_mb = _held_on_gpu_mb() if machine.gpu else 0.0
    with peak_memory() as memory:
        done = arm.step(given)
    del done
    measured = memory.rss_growth_mb
    if machine.gpu:
        measured = None if memory.peak_device_mb is None else memory.peak_device_mb - held_mb
    return Measured(name, memory_mb=measured)


def _held_on_gpu_mb() -> float:
    import tensorflow as tf

    return float(tf.config.experimental.get_memory_info("GPU:0")["current"]) / 1e6


def _configure(machine: Machine, tf32: bool) -> None:
    from workbench.measure.device import configure
    from workbench.options.training import Training

    logging.getLogger("tensorflow").setLevel(
        logging.ERROR
    )  # that TensorFlow 1's runners are deprecated is known
    configure(Training(device="gpu" if machine.gpu else "cpu", tf32=tf32, threads=machine.threads))
    if has_torch():
        from experiments.peers import torch_arms

        torch_arms.configure(machine.threads, tf32)


def _make(name: str, setting: Setting, longest: int, machine: Machine) -> Any:
    if name in TORCH:
        if not has_torch():
            raise ModuleNotFoundError("PyTorch is not installed: pip install torch")
        from experiments.peers import torch_arms

        return torch_arms.make_arm(name, setting, gpu=machine.gpu)
    from experiments.peers import arms

    return arms.make_arm(name, setting, longest=longest)


class _Checks:
    """The reference's numbers on the batch that every arm is checked on."""

    def __init__(self, setting: Setting, lengths: np.ndarray, outputs: int) -> None:
        most = max(1, CHECKED // (setting.batch * setting.units))
        self.batch = batch_of(setting, cut(lengths, most), outputs)
        self.tolerance = TOLERANCE_TF32 if setting.tf32 else TOLERANCE
        self._expected: dict[Setting, Result] = {}

    def error(self, name: str, arm: Any, setting: Setting, batch: Batch) -> float:
        """The arm's error on the batch; DisagreementError where it is too large."""
        from experiments.peers import arms

        if setting not in self._expected:
            loop = arms.reference(setting)
            assert loop.result is not None
            self._expected[setting] = loop.result(loop.step(loop.prepare(batch)))
        found = _without_more_padding(arm.result(arm.step(arm.prepare(batch))), batch.inputs.shape[1])
        return require_equal(name, found, self._expected[setting], batch, self.tolerance)

    def forget(self) -> None:
        """Gives the memory back."""
        self._expected.clear()


def _without_more_padding(result: Result, time: int) -> Result:
    """A static graph's batch is padded to what the graph was built for; nothing of it may be more than zero."""
    more = result.outputs[:, time:], result.gradients["inputs"][:, time:]
    if any(np.any(value) for value in more):
        raise DisagreementError(
            "outputs or gradients of inputs past the batch's longest example are not zero"
        )
    gradients = {**result.gradients, "inputs": result.gradients["inputs"][:, :time]}
    return Result(result.outputs[:, :time], result.state, gradients)


def _prepared(
    name: str,
    setting: Setting,
    batches: list[Batch],
    longest: int,
    machine: Machine,
    checks: _Checks,
    measured: Measured,
) -> Callable[[int], object]:
    """The arm as a function of the batch's number, called once on each; fills in what the first calls tell."""
    checked = checks.batch
    if name == "packed_one_way" and setting.both:
        setting, batches, checked = setting.one_way, [b.one_way() for b in batches], checked.one_way()
    start = time.perf_counter()
    arm = _make(name, setting, longest, machine)
    built = time.perf_counter() - start
    given = [arm.prepare(batch) for batch in batches]
    start = time.perf_counter()
    arm.step(given[0])
    measured.first_call_s = built + time.perf_counter() - start
    if arm.result is not None:
        measured.error = checks.error(name, arm, setting, checked)
    slow = 0
    for one in given[1:]:
        start = time.perf_counter()
        arm.step(one)
        first = time.perf_counter() - start
        if first > RECOMPILED:
            start = time.perf_counter()
            arm.step(one)
            slow += first - (time.perf_counter() - start) > RECOMPILED
    graphs = arm.graphs()
    measured.compiles = None if graphs is None else graphs + slow
    return lambda k: arm.step(given[k])


def _trim() -> None:
    """Gives freed memory back to the system, so that the step's growth is seen; glibc only."""
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
