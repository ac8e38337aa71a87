"""Inside a Keras model: the layer after which padding first matters, and the one that loses the mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.probes.case import Case, difference
from workbench.probes.padded import Padded
from workbench.probes.traced import tensors


@dataclass
class Call:
    """One layer's call: what came with which mask, and what it gave."""

    layer: Any
    inputs: list[tuple[np.ndarray, np.ndarray | None]]
    outputs: list[tuple[np.ndarray, np.ndarray | None]]

    @property
    def name(self) -> str:
        """The layer in words."""
        kind = type(self.layer).__name__
        return f"{self.layer.name} ({kind})"


@dataclass(frozen=True)
class LostMask:
    """Where a mask was last seen, and what came without it: a layer, or what stands between two."""

    at: str
    layer: Any  # None where it went between layers
    unmasked: bool  # a mask came, together with something that had none


@contextmanager
def recording(model: Any) -> Iterator[list[Call]]:
    """Notes every call of a layer that stands in the model itself or in a part of the person's own."""
    calls: list[Call] = []
    active: list[Any] = []
    originals = (keras.layers.Layer.__call__, keras.Operation.__call__)

    def wrap(original: Any, only_operations: bool) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if only_operations and isinstance(self, keras.layers.Layer):
                return original(self, *args, **kwargs)
            seen = all(_is_container(x) for x in active)
            came = _flat([args, {k: v for k, v in kwargs.items() if k != "training"}]) if seen else []
            active.append(self)
            try:
                result = original(self, *args, **kwargs)
            finally:
                active.pop()
            if seen and self is not model:
                calls.append(Call(self, came, _flat(result)))
            return result

        return call

    keras.layers.Layer.__call__ = wrap(originals[0], False)
    keras.Operation.__call__ = wrap(originals[1], True)
    try:
        yield calls
    finally:
        keras.layers.Layer.__call__, keras.Operation.__call__ = originals


def _is_container(layer: Any) -> bool:
    return isinstance(layer, keras.Model) or not type(layer).__module__.startswith("keras.")


def _flat(nest: Any) -> list[tuple[np.ndarray, np.ndarray | None]]:
    found = []
    for x in tf.nest.flatten(nest):
        if isinstance(x, tf.Tensor) and hasattr(x, "numpy"):
            mask = getattr(x, "_keras_mask", None)
            found.append((x.numpy(), None if mask is None else np.asarray(mask)))
        elif isinstance(x, np.ndarray):
            found.append((x, None))
    return found


def record(case: Case, batch: Padded) -> list[Call]:
    """The calls of one run."""
    with recording(case.subject.model) as calls:
        try:
            case.subject.variables.restore()
            case.subject.call(tensors(batch.nest()), batch.lengths, batch.steps)
        except Exception:
            return []
    return calls


def first_difference(
    case: Case, one: list[Call], other: list[Call], rows: tuple[int, int], steps: tuple[int, int], length: int
) -> tuple[Call, float] | None:
    """Of two runs' calls the first whose valid part differs for an example, and by how much."""
    for a, b in zip(one, other, strict=False):
        if a.layer is not b.layer:
            return None
        for (x, _), (y, _) in zip(a.outputs, b.outputs, strict=False):
            if x.dtype.kind != "f" or x.ndim == 0 or x.ndim != y.ndim:
                continue
            left, right = (
                _valid(v, r, n, length) for v, r, n in ((x, rows[0], steps[0]), (y, rows[1], steps[1]))
            )
            if left is None or right is None or left.shape != right.shape:
                continue
            finite = np.abs(left[np.isfinite(left)].astype(float))
            allowed = 64 * case.epsilon * float(finite.max() if finite.size else 0)
            size = difference(left, right)[0]
            if not size <= allowed:
                return a, size
    return None


def _valid(array: np.ndarray, row: int, steps: int, length: int) -> np.ndarray | None:
    if row >= array.shape[0]:
        return None
    part = np.asarray(array[row])
    for axis, n in enumerate(part.shape):
        if n == steps and axis == 0:
            part = np.take(part, range(length), axis)
    return part


def lost_mask(case: Case, calls: list[Call]) -> LostMask | None:
    """The first place where a mask that tells padding apart is gone, though the steps are still there."""
    valid = case.batch.valid
    steps = case.batch.steps
    if valid.all():
        return None

    def tells(mask: np.ndarray | None) -> bool:
        """Is it false at padding?"""
        return (
            mask is not None
            and mask.shape[:2] == valid.shape
            and not mask.reshape(*valid.shape, -1)[~valid].any()
        )

    def has_steps(array: np.ndarray) -> bool:
        return array.ndim >= 2 and any(
            n in (steps, steps * valid.shape[0]) for n in array.shape[: array.ndim - 1]
        )

    last = ""
    for call in calls:
        floats = [(x, m) for x, m in call.inputs if x.ndim >= 2 and has_steps(x) and x.dtype.kind == "f"]
        told = [tells(m) for _, m in floats]
        gave = [(x, m) for x, m in call.outputs if has_steps(x)]
        explicit = any(x.dtype.kind == "b" and x.shape[:2] == valid.shape for x, _ in call.inputs)
        if any(told) and gave and not any(tells(m) for _, m in gave):
            return LostMask(f"at {call.name}", call.layer, not all(told))
        if (
            last
            and floats
            and not any(told)
            and not explicit
            and any(x.shape[:2] == valid.shape for x, _ in floats)
        ):
            return LostMask(f"between {last} and {call.name}", None, False)
        if any(tells(m) for _, m in gave):
            last = call.name
    return None
