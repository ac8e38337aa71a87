"""Epochs of training steps: the loss of every step, and what was fed, counted exactly."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.options.training import Training
from workbench.seeds import seed_for
from workbench.training.checkpoint import Checkpoints
from workbench.training.distribution import Distribution
from workbench.training.objective import Batch
from workbench.training.replicas import ReplicatedStep
from workbench.training.step import Done, TrainStep
from workbench.training.validation import Log, Validate, Watch


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
    """Over the `index` of every batch in order (int64, little-endian); of nothing if batches carry none. Of several
    replicas: over the digests of each, in their order."""
    objective_last_epoch: float | None = None
    """sum of losses x denominators / sum of denominators over the last epoch begun; None where nothing counted."""
    valid_tokens: int = 0
    padded_tokens: int = 0
    examples: int = 0
    batches: int = 0
    largest_batch_bytes: int = 0
    traces: int = 0
    first_step_s: float = math.nan
    """The first step, its tracing included unless the step was traced before."""
    seconds: float = 0.0
    """Wall time, calls of log() and validate() left out."""
    input_wait_s: float = 0.0
    """Of these, spent waiting for a batch, the start of each epoch's input included."""
    diverged_at: int | None = None
    """The step (from 1) whose loss was not finite, after which training stopped; or the last, where what it left
    was not."""
    not_finite: str = ""
    """What was not, in words."""
    logged: set[int] = field(default_factory=set)
    """The steps whose losses went to log()."""
    best_epoch: int | None = None
    """The epoch (from 1) whose weights were best on the validation split; None where that was not looked at."""
    validation: dict[str, float] = field(default_factory=dict)
    """What the last evaluation on the way gave; empty where there was none."""
    ended_early: str = ""
    """Why it ended before its epochs were over, in words; empty where it did not."""

    @property
    def diverged(self) -> bool:
        """Whether a loss, a weight or a number of the optimizer's was not finite."""
        return self.diverged_at is not None


def train(
    step: TrainStep | ReplicatedStep,
    batches_of_epoch: Callable[[int], Any],
    training: Training,
    *,
    log: Log | None = None,
    validate: Validate | None = None,
    checkpoints: Checkpoints | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train for `epochs`, or until `max_steps` or a loss that is not finite; then look at what the steps left.

        for epoch:
            for batch in batches_of_epoch(epoch): loss = step(batch)
            every validate_every epochs: validate()

    `log(step, values)` is called every `log_every` steps and at the last one, outside any timed section, with
    `loss/step` (this step's), `data/valid_tokens` (so far) and `epoch` (from 1); and with what `validate()` gives,
    after an epoch (`training.validation`). The weights are in the end those of the last step, or of the best epoch
    (`keep=best`). With a step over several replicas, `batches_of_epoch` gives a list, for each replica of this
    process its batches, every process must call this, and the result is of all replicas but for its times.
    With `checkpoints` (of one replica) it goes on from the last one; its times are then of what was not known.
    """
    take: Any = step
    model, distribution = take.model, take.distribution
    max_steps = training.max_steps
    distribution.require_equal(weights_digest(model), "the first weights")
    result = TrainResult()
    orders, bits = [hashlib.sha256() for _ in range(distribution.local)], hashlib.sha256()
    watch = Watch(model, training, checkpoints.validate(validate) if checkpoints else validate, log, clock)
    if checkpoints:
        take = checkpoints.begin(take, watch)
    begin, apart = clock(), 0.0
    total, weight, at = 0.0, 0.0, 0
    for epoch in range(training.epochs):
        if result.diverged or result.batches == max_steps or watch.ended_early:
            break
        total, weight = 0.0, 0.0
        left = None if max_steps is None else max_steps - result.batches
        asked = clock()
        for batch in take.feed(batches_of_epoch(epoch), left):
            start = clock()
            result.input_wait_s += start - asked
            done = take.run(batch)
            if not done.examples:  # no replica had any
                break
            at = epoch
            if math.isnan(result.first_step_s) and not (checkpoints and checkpoints.is_known):
                result.first_step_s = clock() - start
            _count(result, done, take.parts(batch), orders)
            bits.update(np.float64(done.loss).astype("<f8").tobytes())
            result.losses.append(done.loss)
            if not math.isfinite(done.loss):
                result.diverged_at = result.batches
                result.not_finite = f"its loss is {done.loss:g}"
                break
            total, weight = total + done.loss * done.denominator, weight + done.denominator
            if log is not None and result.batches % training.log_every == 0:
                apart += _log(log, result, epoch, clock)
            if checkpoints:
                apart += checkpoints.after_step()
            asked = clock()
        if result.batches and not result.diverged:
            apart += watch.after(epoch, result.batches)
            if checkpoints:
                apart += checkpoints.after_epoch(epoch)
    if log is not None and result.batches not in result.logged:
        apart += _log(log, result, at, clock)
    if not result.batches:
        raise ValueError("training got no batches: the training split is empty, or max_steps is 0")
    result.seconds = clock() - begin - apart
    result.objective_last_epoch = total / weight if weight else None
    result.losses_sha256, result.traces = bits.hexdigest(), take.traces
    result.order_sha256 = _order(distribution, orders)
    result.largest_batch_bytes = int(distribution.gather([result.largest_batch_bytes]).max())
    if not result.diverged and (found := first_not_finite(take)):
        result.diverged_at, result.not_finite = result.batches, f"after its update {found}"
    result.best_epoch, result.validation = watch.best_epoch, watch.found
    result.ended_early = watch.ended_early
    if not result.diverged:
        watch.restore()
        # not where it diverged: one NaN need not have the bits of another
        distribution.require_equal(weights_digest(model), "the last weights")
    return result


def first_not_finite(step: TrainStep | ReplicatedStep) -> str:
    """Which weight, or number that the optimizer keeps, has a value that is not finite; empty where none has.

    All processes of a run must call it, and come to the same end.
    """
    variables = [one for one in step.variables if tf.as_dtype(one.dtype).is_floating]
    bad = [~tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(one))) for one in variables]
    if not step.distribution.gather(np.any(bad, keepdims=True)).any():
        return ""
    named = [one.path for one, is_bad in zip(variables, bad, strict=True) if is_bad]
    return f"{', '.join(named[:1]) or 'a weight of another process'} is not finite" + (
        f", nor are {len(named) - 1} others" if len(named) > 1 else ""
    )


def _count(result: TrainResult, done: Done, batches: Sequence[Batch | None], orders: Sequence[Any]) -> None:
    result.batches += 1
    result.examples += done.examples
    result.padded_tokens += done.padded_tokens
    result.valid_tokens += done.valid_tokens
    for batch, order in zip(batches, orders, strict=True):
        if batch is None:
            continue
        held = sum(np.dtype(_numpy_type(value)).itemsize * math.prod(value.shape) for value in batch.values())
        result.largest_batch_bytes = max(result.largest_batch_bytes, int(held))
        if "index" in batch:
            order.update(np.asarray(batch["index"]).astype("<i8").tobytes())


def _order(distribution: Distribution, orders: Sequence[Any]) -> str:
    """The digest of the order; of several replicas, that of their digests, in the order of replicas."""
    if distribution.replicas == 1:
        return str(orders[0].hexdigest())
    own = b"".join(order.digest() for order in orders)
    return hashlib.sha256(distribution.gather(list(own)).astype(np.uint8).tobytes()).hexdigest()


def _numpy_type(value: Any) -> Any:
    return value.dtype.as_numpy_dtype if tf.is_tensor(value) else value.dtype


def _log(log: Log, result: TrainResult, epoch: int, clock: Callable[[], float]) -> float:
    start = clock()
    result.logged.add(result.batches)
    values = {"loss/step": result.losses[-1], "data/valid_tokens": float(result.valid_tokens)}
    log(result.batches, values | {"epoch": float(epoch + 1)})
    return clock() - start


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights: names' order, shapes, dtypes and bits."""
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.ascontiguousarray(variable.numpy() if hasattr(variable, "numpy") else variable)
        digest.update(f"{values.shape}{values.dtype.str}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
