"""Epochs of training steps: the loss of every step, and what was fed, counted exactly."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.seeds import seed_for
from workbench.training.objective import Batch
from workbench.training.step import TrainStep, make_train_step

Log = Callable[[int, dict[str, float]], None]


def set_determinism(seed: int, on: bool) -> None:
    """Seed what draws without a seed of its own, and make TensorFlow's ops deterministic if `on`.

    Everything of ours draws by purpose and needs no global seed; this one is for what users bring. Op
    determinism cannot be taken back in a process, so call this once, at the start of a run.
    """
    keras.utils.set_random_seed(seed_for(seed, "global"))
    if on:
        tf.config.experimental.enable_op_determinism()


@dataclass
class TrainResult:
    """What a training run did, counted over all its epochs."""

    losses: list[float] = field(default_factory=list)
    """Of every step, before its update, exactly as computed."""
    losses_sha256: str = ""
    """Over the losses' bits (float64, little-endian)."""
    order_sha256: str = ""
    """Over the `index` of every batch in order (int64, little-endian); of nothing if batches carry none."""
    objective_last_epoch: float = math.nan
    """sum of losses x denominators / sum of denominators over the last epoch begun."""
    valid_tokens: int = 0
    padded_tokens: int = 0
    examples: int = 0
    batches: int = 0
    largest_batch_bytes: int = 0
    traces: int = 0
    first_step_s: float = math.nan
    """The first step, its tracing included unless the step was traced before."""
    seconds: float = 0.0
    """Wall time, calls of log() left out."""
    input_wait_s: float = 0.0
    """Of these, spent waiting for a batch, the start of each epoch's input included."""
    diverged_at: int | None = None
    """The step (from 1) whose loss was not finite, after which training stopped."""

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return self.diverged_at is not None


def train(
    model: SequenceModel,
    batches_of_epoch: Callable[[int], Iterable[Batch]],
    *,
    optimizer: keras.optimizers.Optimizer,
    loss: str = "token",
    mask: str = "length",
    epochs: int,
    max_steps: int | None = None,
    clip_norm: float | None = None,
    log: Log | None = None,
    log_every: int = 20,
    step: TrainStep | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train for `epochs`, or until `max_steps` or a loss that is not finite.

        for epoch: for batch in batches_of_epoch(epoch): loss = step(batch)

    `log(step, values)` is called every `log_every` steps and at the last one, outside any timed section, with
    `loss/step` (this step's), `data/valid_tokens` (so far) and `epoch`. `step` is one that was made before
    (make_train_step with the same model, optimizer, loss, mask and clipping), so that measuring its graph
    costs no second one.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}: must be at least 1")
    step = step or make_train_step(model, optimizer, loss, mask, clip_norm)
    result = TrainResult()
    order, bits = hashlib.sha256(), hashlib.sha256()
    begin, logging = clock(), 0.0
    total, weight = 0.0, 0.0
    for epoch in range(epochs):
        if result.diverged or result.batches == max_steps:
            break
        total, weight = 0.0, 0.0
        asked = clock()
        for batch in batches_of_epoch(epoch):
            start = clock()
            result.input_wait_s += start - asked
            value, denominator = step.with_denominator(batch)
            number, share = float(value), float(denominator)
            if result.batches == 0:
                result.first_step_s = clock() - start
            _count(result, batch)
            if "index" in batch:
                order.update(np.asarray(batch["index"]).astype("<i8").tobytes())
            bits.update(np.float64(number).astype("<f8").tobytes())
            result.losses.append(number)
            if not math.isfinite(number):
                result.diverged_at = result.batches
                break
            total, weight = total + number * share, weight + share
            if log is not None and result.batches % log_every == 0:
                logging += _log(log, result, epoch, clock)
            if result.batches == max_steps:
                break
            asked = clock()
    if log is not None and result.batches % log_every and result.batches:
        logging += _log(log, result, epoch, clock)
    if not result.batches:
        raise ValueError("training got no batches: the training split is empty, or max_steps is 0")
    result.seconds = clock() - begin - logging
    result.objective_last_epoch = total / weight if weight else math.nan
    result.losses_sha256, result.order_sha256 = bits.hexdigest(), order.hexdigest()
    result.traces = step.traces
    return result


def _count(result: TrainResult, batch: Batch) -> None:
    size, longest = (int(n) for n in batch["inputs"].shape[:2])
    result.batches += 1
    result.examples += size
    result.padded_tokens += size * longest
    result.valid_tokens += int(np.sum(np.asarray(batch["length"], np.int64)))
    held = sum(np.dtype(_numpy_type(value)).itemsize * math.prod(value.shape) for value in batch.values())
    result.largest_batch_bytes = max(result.largest_batch_bytes, int(held))


def _numpy_type(value: Any) -> Any:
    return value.dtype.as_numpy_dtype if tf.is_tensor(value) else value.dtype


def _log(log: Log, result: TrainResult, epoch: int, clock: Callable[[], float]) -> float:
    start = clock()
    values = {"loss/step": result.losses[-1], "data/valid_tokens": float(result.valid_tokens)}
    log(result.batches, values | {"epoch": float(epoch)})
    return clock() - start


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights: names' order, shapes, dtypes and bits."""
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.ascontiguousarray(variable.numpy() if hasattr(variable, "numpy") else variable)
        digest.update(f"{values.shape}{values.dtype.str}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
