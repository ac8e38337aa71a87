"""Training and evaluation: one graph for a step, the loss of every step, sums that do not depend on batching."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.losses import LOSSES, MASKS, cross_entropy
from workbench.model import SequenceModel
from workbench.seeds import seed_for

Batch = Mapping[str, Any]
Log = Callable[[int, dict[str, float]], None]

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda momentum=0.9, **options: keras.optimizers.SGD(momentum=momentum, **options),
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def make_optimizer(name: str, learning_rate: float, **options: Any) -> keras.optimizers.Optimizer:
    """A Keras optimizer by its name in OPTIMIZERS; `options` are its own (momentum, weight_decay, ...).

    Clipping is the training step's (`clip_norm`), not the optimizer's.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}: must be one of {', '.join(sorted(OPTIMIZERS))}")
    return OPTIMIZERS[name](learning_rate=learning_rate, **options)


def set_determinism(seed: int, on: bool) -> None:
    """Seed what draws without a seed of its own, and make TensorFlow's ops deterministic if `on`.

    Everything of ours draws by purpose and needs no global seed; this one is for what users bring. Op
    determinism cannot be taken back in a process, so call this once, at the start of a run.
    """
    keras.utils.set_random_seed(seed_for(seed, "global"))
    if on:
        tf.config.experimental.enable_op_determinism()


def label_lengths(batch: Batch, task: str) -> tf.Tensor:
    """How many labels of each example are real: its length, or where the whole is classified 1 (0 if empty)."""
    length = tf.cast(batch["length"], tf.int32)
    return tf.minimum(length, 1) if task == "classify" else length


def aligned(logits: tf.Tensor, batch: Batch, task: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Logits [B, L, C], targets [B, L] and label lengths [B], where L is T, or 1 if the whole is classified."""
    targets, lengths = batch["labels"], label_lengths(batch, task)
    if task == "classify":
        return logits[:, tf.newaxis], targets[:, tf.newaxis], lengths
    return logits, targets, lengths


def batch_loss(model: SequenceModel, batch: Batch, logits: tf.Tensor, *, loss: str, mask: str) -> Any:
    """The LossParts (sum, denominator, valid_tokens) of a batch by the names of a loss and a mask."""
    logits, targets, lengths = aligned(logits, batch, model.task)
    return LOSSES[loss](logits, targets, MASKS[mask](targets, lengths))


def counted(parts: Any) -> tf.Tensor:
    """The denominator by which a batch weighs among others: 0 where nothing counts (LossParts has 1 there)."""
    return tf.where(parts.valid_tokens > 0, parts.denominator, tf.zeros([], parts.denominator.dtype))


def dense_gradients(tape: tf.GradientTape, value: tf.Tensor, variables: Sequence[Any]) -> list[tf.Tensor]:
    """The gradient of each variable, of the variable's shape; zeros where `value` does not depend on it.

    An embedding's gradient comes as rows, one for each token (IndexedSlices). Made dense, a token that is there
    twice counts by its sum, as it must in the norm that clipping takes, and in the optimizers of Keras, which
    square each row on its own.
    """
    slopes = tape.gradient(value, variables)
    return [
        tf.zeros(variable.shape, variable.dtype) if slope is None else tf.convert_to_tensor(slope)
        for slope, variable in zip(slopes, variables, strict=True)
    ]


class PerLength:
    """A function of a batch as a `tf.function` whose graph serves batches of any size.

    One graph for any padded length, too; or one for each padded length, where the model unrolls while tracing
    (`needs_static_length`). `traces` counts the graphs; nothing is ever traced again for another batch size.
    """

    def __init__(self, model: SequenceModel, function: Callable[[Batch], Any]):
        self._model, self._function = model, function
        self._concrete: dict[int | None, Any] = {}
        self.traces = 0

    def __call__(self, batch: Batch) -> Any:
        """Run on a batch; traces first if this padded length is new and needs a graph of its own."""
        return self.trace(batch)(_fields(batch))

    def trace(self, batch: Batch) -> Any:
        """The `ConcreteFunction` that serves this batch."""
        key = self._key(batch)
        if key not in self._concrete:
            # counted inside the function, that is while tracing: what counts is what TensorFlow did
            def counted(fields: Batch) -> Any:
                self.traces += 1
                return self._function(fields)

            traced = tf.function(counted, input_signature=[self._model.batch_signature(key)], autograph=False)
            self._concrete[key] = traced.get_concrete_function()
        return self._concrete[key]

    def would_trace(self, batch: Batch) -> bool:
        """Whether this batch would make a new graph."""
        return self._key(batch) not in self._concrete

    def _key(self, batch: Batch) -> int | None:
        return int(batch["inputs"].shape[1]) if self._model.needs_static_length else None


def _fields(batch: Batch) -> dict[str, tf.Tensor]:
    """Only what a graph takes: a batch may hold more (its examples' numbers)."""
    return {name: tf.convert_to_tensor(batch[name]) for name in ("inputs", "labels", "length")}


class TrainStep:
    """One training step: forward, loss, gradients, clipping, update.

    Calling it gives the batch's loss before the update, a scalar on the device.
    """

    def __init__(
        self,
        model: SequenceModel,
        optimizer: keras.optimizers.Optimizer,
        loss: str,
        mask: str,
        clip_norm: float | None,
    ):
        variables = model.trainable_variables
        optimizer.build(variables)

        def step(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                logits = model(batch, training=True)
                parts = batch_loss(model, batch, logits, loss=loss, mask=mask)
                value = parts.sum / parts.denominator
            gradients = dense_gradients(tape, value, variables)
            if clip_norm is not None:
                gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
            optimizer.apply(gradients, variables)
            return value, counted(parts)

        self._run = PerLength(model, step)

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Train on the batch; its loss before the update."""
        return self._run(batch)[0]

    def with_denominator(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on the batch; its loss and what that was divided by (valid tokens, or examples)."""
        return self._run(batch)

    def trace(self, batch: Batch) -> Any:
        """The `ConcreteFunction` that serves this batch, traced if it is not yet."""
        return self._run.trace(batch)

    def would_trace(self, batch: Batch) -> bool:
        """Whether this batch would make a new graph."""
        return self._run.would_trace(batch)

    @property
    def traces(self) -> int:
        """Graphs traced so far."""
        return self._run.traces


def make_train_step(
    model: SequenceModel,
    optimizer: keras.optimizers.Optimizer,
    loss: str = "token",
    mask: str = "length",
    clip_norm: float | None = None,
) -> TrainStep:
    """A `TrainStep` by the names of a loss in LOSSES and a mask in MASKS."""
    _check("loss", loss, LOSSES)
    _check("mask", mask, MASKS)
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is {clip_norm}: must be above 0, or None for no clipping")
    return TrainStep(model, optimizer, loss, mask, clip_norm)


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
    begin, logging = time.perf_counter(), 0.0
    total, weight = 0.0, 0.0
    for epoch in range(epochs):
        if result.diverged or result.batches == max_steps:
            break
        total, weight = 0.0, 0.0
        for batch in batches_of_epoch(epoch):
            start = time.perf_counter()
            value, denominator = step.with_denominator(batch)
            number, share = float(value), float(denominator)
            if result.batches == 0:
                result.first_step_s = time.perf_counter() - start
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
                logging += _log(log, result, epoch)
            if result.batches == max_steps:
                break
    if log is not None and result.batches % log_every and result.batches:
        logging += _log(log, result, epoch)
    if not result.batches:
        raise ValueError("training got no batches: the training split is empty, or max_steps is 0")
    result.seconds = time.perf_counter() - begin - logging
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


def _log(log: Log, result: TrainResult, epoch: int) -> float:
    start = time.perf_counter()
    values = {"loss/step": result.losses[-1], "data/valid_tokens": float(result.valid_tokens)}
    log(result.batches, values | {"epoch": float(epoch)})
    return time.perf_counter() - start


@dataclass(frozen=True)
class Evaluation:
    """A split evaluated. NaN where there is nothing to take a mean of (no non-empty example)."""

    loss_per_token: float
    loss_per_example: float
    objective: float
    """The loss as training had it, by its mask and average: what a report by that mask would say."""
    accuracy_per_token: float
    accuracy_per_example: float
    valid_tokens: int
    examples: int
    """All, empty ones included."""
    counted_examples: int
    """The non-empty ones, over which per-example means are taken."""

    def metrics(self, split: str) -> dict[str, float]:
        """By the names of METRICS for a split, train or validation."""
        return {
            f"loss/{split}_per_token": self.loss_per_token,
            f"loss/{split}_per_example": self.loss_per_example,
            f"loss/{split}_objective": self.objective,
            f"accuracy/{split}_per_token": self.accuracy_per_token,
            f"accuracy/{split}_per_example": self.accuracy_per_example,
        }


class Evaluator:
    """Evaluates batches of a model; keeps its graph from one call to the next."""

    def __init__(self, model: SequenceModel, *, loss: str = "token", mask: str = "length"):
        _check("loss", loss, LOSSES)
        _check("mask", mask, MASKS)

        def forward(batch: Batch) -> tuple[tf.Tensor, ...]:
            logits = model(batch, training=False)
            parts = batch_loss(model, batch, logits, loss=loss, mask=mask)
            scores, targets, lengths = aligned(logits, batch, model.task)
            right = tf.equal(tf.argmax(scores, axis=-1, output_type=targets.dtype), targets)
            return cross_entropy(scores, targets), right, lengths, parts.sum, counted(parts)

        self._run = PerLength(model, forward)

    def __call__(self, batches: Iterable[Batch]) -> Evaluation:
        """Sum over the batches in float64, exactly, so that how the examples are batched does not matter."""
        loss_sums, loss_means, right_means = [], [], []
        objective_sums, denominators = [], []
        right, tokens, examples = 0, 0, 0
        for batch in batches:
            entropy, correct, lengths, total, denominator = (value.numpy() for value in self._run(batch))
            objective_sums.append(float(total))
            denominators.append(float(denominator))
            valid = np.arange(entropy.shape[1]) < lengths[:, np.newaxis]
            sums = np.where(valid, entropy.astype(np.float64), 0.0).sum(axis=1)
            hits = (correct & valid).sum(axis=1)
            kept = lengths > 0
            loss_sums += sums.tolist()
            loss_means += (sums[kept] / lengths[kept]).tolist()
            right_means += (hits[kept] / lengths[kept]).tolist()
            right += int(hits.sum())
            tokens += int(lengths.sum())
            examples += len(lengths)
        return Evaluation(
            loss_per_token=_share(math.fsum(loss_sums), tokens),
            loss_per_example=_share(math.fsum(loss_means), len(loss_means)),
            objective=_share(math.fsum(objective_sums), math.fsum(denominators)),
            accuracy_per_token=_share(right, tokens),
            accuracy_per_example=_share(math.fsum(right_means), len(right_means)),
            valid_tokens=tokens,
            examples=examples,
            counted_examples=len(loss_means),
        )


def evaluate(
    model: SequenceModel, batches: Iterable[Batch], *, loss: str = "token", mask: str = "length"
) -> Evaluation:
    """True loss and accuracy per token and per example (by the lengths), and the objective as configured.

    Per token: the mean over all valid tokens of the split. Per example: the mean within each example by its
    true length, then over the non-empty examples. The objective uses `loss` and `mask`, which may count
    padding. For a model that classifies, an example's one label is its only token.
    """
    return Evaluator(model, loss=loss, mask=mask)(batches)


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all weights: names' order, shapes, dtypes and bits."""
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.ascontiguousarray(variable.numpy() if hasattr(variable, "numpy") else variable)
        digest.update(f"{values.shape}{values.dtype.str}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _check(field_name: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise ValueError(f"{field_name} is {name!r}: must be one of {', '.join(sorted(table))}")
