"""A model on its batch: what it gives, which axes are examples and steps, how far rounding carries its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from workbench.probes.findings import Findings
from workbench.probes.padded import Padded, is_ids
from workbench.probes.subject import Subject, is_put_in, largest
from workbench.probes.traced import Ran, quiet

ABOVE = 16  # a difference counts that is so many times what rounding may do
_STATE_WORDS = ("state", "hidden", "carry", "memory", "final_h", "final_c")


@dataclass(frozen=True)
class Layout:
    """One output: which axis is the examples', which are the steps', and what it is called."""

    name: str
    kind: str  # outputs or state
    batch_axis: int | None
    time_axes: tuple[int, ...]
    size: int  # of the first time axis, where the batch has `steps`
    steps: int

    def valid(self, array: np.ndarray, row: int, length: int) -> np.ndarray:
        """An example's valid part, without the axis of examples."""
        if self.batch_axis is None:
            return array
        taken = np.take(array, row, self.batch_axis)
        for axis in self.time_axes:
            at = axis - (axis > self.batch_axis)
            if self.size == self.steps:
                kept = length
            else:  # a stride, a window without padding
                kept = max(0, min(length * self.size // self.steps, self.size - (self.steps - length)))
            taken = np.take(taken, range(min(kept, taken.shape[at])), at)
        return taken


@dataclass
class Case:
    """What every probe needs."""

    subject: Subject
    batch: Padded
    base: Ran
    longer: Padded | None  # the batch with more padding, where the model takes it
    longer_run: Ran | None
    layouts: list[Layout]
    found: Findings
    epsilon: float
    allowed: list[float]  # for each output, the difference that may be rounding
    random: np.random.Generator

    @property
    def many(self) -> range:
        """The examples."""
        return range(self.batch.size)

    @property
    def keras_model(self) -> Any:
        """The model where it is Keras'."""
        return self.subject.model if self.subject.is_keras else None


def make_case(
    subject: Subject, batch: Padded, base: Ran, found: Findings, random: np.random.Generator
) -> Case:
    """Runs the batch longer and shorter to learn the axes, and with jittered numbers to learn the rounding."""
    longer, longer_run = None, None
    for more in dict.fromkeys((max(3, batch.steps // 2), 1)):
        longer = batch.longer(more)
        longer_run = subject.longest_run(longer)
        if longer_run is not None:
            break
    else:
        longer = None
        found.note(f"Longer padding was not tried: the model takes {batch.steps} steps and no more.")
    longest = int(np.argmax(batch.lengths))  # that of one step would not tell a step from an example
    fewer = subject.longest_run(batch.rows([longest, *range(batch.size)]))
    layouts = [
        _layout(i, name, subject, base, longer_run, fewer, batch)
        for i, name in enumerate(output_names(subject.model, base))
    ]
    for layout, values in zip(layouts, base.arrays, strict=True):
        if layout.batch_axis is None and values.ndim:
            found.note(
                f"Not compared: {layout.name} of shape {values.shape}, which has no axis of the examples."
            )
    epsilon = _epsilon(subject, batch, base)
    allowed = _allowed(subject, batch, base, layouts, epsilon, random)
    return Case(subject, batch, base, longer, longer_run, layouts, found, epsilon, allowed, random)


def output_names(model: Any, ran: Ran) -> list[str]:
    """What each output is called."""
    if isinstance(ran.nest, dict):
        names = [str(key) for key in sorted(ran.nest)]
        if len(names) == len(ran.tensors):
            return [f"output {name!r}" for name in names]
    if hasattr(ran.nest, "_fields") and len(ran.nest._fields) == len(ran.tensors):
        return [f"output {name!r}" for name in ran.nest._fields]
    names = list(getattr(model, "output_names", None) or ())
    if isinstance(model, keras.Model) and len(names) == len(ran.tensors):
        return [f"output {name!r}" for name in names]
    return ["the output"] if len(ran.tensors) == 1 else [f"output {i}" for i in range(len(ran.tensors))]


def _layout(
    i: int, name: str, subject: Subject, base: Ran, longer: Ran | None, more_rows: Ran | None, batch: Padded
) -> Layout:
    shape = base.arrays[i].shape
    batch_axis: int | None
    if more_rows is not None and len(more_rows.arrays) > i and more_rows.arrays[i].ndim == len(shape):
        # one more for one example more: where more come, a row is a step and no example
        differing = [a for a, n in enumerate(more_rows.arrays[i].shape) if n == shape[a] + 1]
        batch_axis = differing[0] if differing else None
    else:
        batch_axis = 0 if shape and shape[0] == batch.size else None
    if longer is not None and len(longer.arrays) > i and longer.arrays[i].ndim == len(shape):
        axes = [a for a, n in enumerate(longer.arrays[i].shape) if n != shape[a]]
    else:
        axes = [a for a in (1,) if len(shape) > 1 and shape[1] == batch.steps]
    axes = [a for a in axes if a != batch_axis]
    size = shape[axes[0]] if axes else 0
    kind = "state" if _is_state(i, name, axes, subject, base, batch) else "outputs"
    return Layout(name, kind, batch_axis, tuple(axes), size, batch.steps)


def _is_state(i: int, name: str, axes: list[int], subject: Subject, base: Ran, batch: Padded) -> bool:
    """By its name, by the layer that it comes from, or by the order (outputs, state, ...)."""
    if axes:
        return False
    if any(word in name.lower() for word in _STATE_WORDS):
        return True
    outputs = getattr(subject.model, "outputs", None)
    if outputs and len(outputs) == len(base.tensors):
        history = getattr(outputs[i], "_keras_history", None)
        operation = getattr(history, "operation", None)
        if isinstance(operation, keras.layers.RNN | keras.layers.Bidirectional):
            return bool(getattr(history, "tensor_index", 0) > 0) or getattr(operation, "return_state", False)
        return False
    if isinstance(base.nest, tuple | list) and i > 0:
        before = base.arrays[:i]
        return any(
            a.ndim >= 3 and a.shape[1] == batch.steps and a.shape[-1] == base.arrays[i].shape[-1]
            for a in before
        )
    return False


def _epsilon(subject: Subject, batch: Padded, base: Ran) -> float:
    """The rounding of the coarsest numbers that the model computes in, as far as one can see."""
    dtypes = {str(x.dtype) for x in [*base.arrays, *batch.inputs] if "float" in str(x.dtype)}
    dtypes |= {str(getattr(v.dtype, "name", v.dtype)) for v in subject.variables.floats()}
    if subject.is_keras:
        dtypes |= {layer.compute_dtype for layer in subject.model._flatten_layers() if layer.weights}
    for values in base.arrays:
        if values.dtype.kind == "f" and values.size > 3:
            dtypes |= _came_from(values)
    known = [_eps(name) for name in dtypes]
    return max((e for e in known if e), default=_eps("float32"))


def _came_from(values: np.ndarray) -> set[str]:
    """The coarser type that all these numbers could have been computed in and cast from."""
    finite = values[np.isfinite(values) & (values != np.round(values))]
    if finite.size < 4 or np.array_equal(64 * finite, np.round(64 * finite)):
        return set()  # too few to tell, or round ones: halves, eighths
    for name in ("bfloat16", "float16", "float32"):
        dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
        with np.errstate(over="ignore"):
            if np.array_equal(finite.astype(dtype).astype(finite.dtype), finite):
                return {name}
    return set()


def _eps(dtype: str) -> float:
    try:
        return float(ml_dtypes.finfo(dtype).eps)
    except (TypeError, ValueError):
        return 0.0


def jittered(subject: Subject, batch: Padded, epsilon: float, random: np.random.Generator) -> Padded:
    """The batch, and the model's weights, each number moved by about one rounding; `restore` undoes it."""

    def moved(values: np.ndarray) -> np.ndarray:
        return (values * (1 + epsilon * random.choice([-1.0, 1.0], values.shape))).astype(values.dtype)

    for variable, value in subject.variables.tried:
        if "float" in str(value.dtype):
            variable.assign(moved(value))
    return batch.with_steps(lambda x, part: x if is_ids(x) else moved(x))


def _allowed(
    subject: Subject,
    batch: Padded,
    base: Ran,
    layouts: list[Layout],
    epsilon: float,
    random: np.random.Generator,
) -> list[float]:
    """For each output: some roundings of its largest valid number, or what moving every number by one does."""
    noise = np.zeros(len(layouts))
    for _ in range(2):
        subject.variables.restore()
        moved = jittered(subject, batch, epsilon, random)
        try:
            with quiet():
                other = subject.run(moved, keep_state=True)
        except Exception:
            break
        finally:
            subject.variables.restore()
        for i, layout in enumerate(layouts):
            if i < len(other.arrays) and other.arrays[i].shape == base.arrays[i].shape:
                for row, length in enumerate(batch.lengths):
                    a, b = (layout.valid(r.arrays[i], row, int(length)) for r in (base, other))
                    noise[i] = max(noise[i], difference(a, b)[0] if a.dtype.kind == "f" else 0)
    allowed = []
    for i, values in enumerate(base.arrays):
        scale = _largest_valid(values, layouts[i], batch) if _is_float(values) else 0.0
        allowed.append(
            ABOVE * max(epsilon * scale, float(np.nan_to_num(noise[i]))) if _is_float(values) else 0.0
        )
    return allowed


def _largest_valid(values: np.ndarray, layout: Layout, batch: Padded) -> float:
    """The largest magnitude at valid steps; behind them may be -1e9, as of scores that are masked."""
    rows = (layout.valid(values, row, int(length)) for row, length in enumerate(batch.lengths))
    return max((largest(row) for row in rows), default=0.0)


def _is_float(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" or values.dtype.name == "bfloat16"


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The largest difference and where it is; NaN where one is finite and the other is not. Alike NaN are equal."""
    if one.shape != other.shape:
        return float("inf"), ()
    if not one.size:
        return 0.0, ()
    a, b = one.astype(float), other.astype(float)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b)
        rounded = (is_put_in(a) & is_put_in(b)) & (apart <= 1e-5 * np.abs(a))
    apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)) | rounded, 0.0, apart)
    if np.isnan(apart).any():
        return float("nan"), tuple(int(n) for n in np.argwhere(np.isnan(apart))[0])
    at = np.unravel_index(int(np.argmax(apart)), apart.shape)
    return float(apart[at]), tuple(int(n) for n in at)


def matters(size: float, allowed: float) -> bool:
    """Is a difference more than rounding? NaN is."""
    return not size <= allowed


def is_training_norm(layer: Any) -> bool:
    """Does this layer take means over the batch, in training?"""
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


__all__ = ["Case", "Layout", "difference", "make_case", "matters", "tf"]
