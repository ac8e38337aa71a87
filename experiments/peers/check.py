"""That all arms do the same work: loss and gradients against a float64 loop, before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.peers.work import Batch

TOLERANCE = 5e-5
"""Largest error of loss, outputs or a gradient in float32, relative to the largest magnitude in it (or 1)."""
TOLERANCE_TF32 = 5e-2
"""The same where products are in TF32, which keeps ten bits."""


@dataclass(frozen=True)
class Result:
    """What one training step of an arm gave."""

    outputs: np.ndarray  # [B, T, outputs]
    state: np.ndarray  # [B, outputs], the last output
    gradients: Mapping[str, np.ndarray]  # of `inputs`, each initial state `state_0` ..., and each weight


class DisagreementError(AssertionError):
    """An arm computes something else than the reference; it is not timed."""


def loss(result: Result, batch: Batch) -> float:
    """The scalar whose gradients the arms compute."""
    outputs = np.where(batch.mask[..., None], np.asarray(result.outputs, "float64"), 0.0)
    return float(
        np.sum(outputs * batch.d_outputs) + np.sum(np.asarray(result.state, "float64") * batch.d_state)
    )


def error(found: Result, expected: Result, batch: Batch) -> tuple[float, str]:
    """The largest error of the loss, the outputs and the gradients, and whose it is; NaN where one is not finite.

    Gradients of inputs count where there is a token: what an arm leaves in the padding is nobody's.
    """
    valid = batch.mask[..., None]
    pairs = {
        "the loss": (np.asarray(loss(found, batch)), np.asarray(loss(expected, batch))),
        "outputs": (np.where(valid, found.outputs, 0), np.where(valid, expected.outputs, 0)),
        "the last output": (found.state, expected.state),
    }
    for name, gradient in expected.gradients.items():
        ours, theirs = found.gradients[name], gradient
        if name == "inputs":
            ours, theirs = np.where(valid, ours, 0), np.where(valid, theirs, 0)
        pairs[f"the gradient of {name}"] = (ours, theirs)
    sizes = {name: _relative(*pair) for name, pair in pairs.items()}
    worst = max(sizes, key=lambda name: np.inf if np.isnan(sizes[name]) else sizes[name])
    return sizes[worst], worst


def require_equal(name: str, found: Result, expected: Result, batch: Batch, tolerance: float) -> float:
    """The error of an arm; DisagreementError where it exceeds the tolerance or a gradient is missing."""
    missing = sorted(set(expected.gradients) - set(found.gradients))
    if missing:
        raise DisagreementError(f"{name} has no gradient of {', '.join(missing)}")
    for what, own, theirs in (
        ("outputs", found.outputs, expected.outputs),
        ("the last output", found.state, expected.state),
        *((f"the gradient of {n}", found.gradients[n], g) for n, g in expected.gradients.items()),
    ):
        if own.shape != theirs.shape:
            raise DisagreementError(f"{name}: {what} has shape {own.shape}, the reference {theirs.shape}")
    size, worst = error(found, expected, batch)
    if not size <= tolerance:
        raise DisagreementError(f"{name}: {worst} is off by {size:.2g}, allowed {tolerance:.0e}")
    return size


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    expected = np.asarray(expected, "float64")
    if not expected.size:
        return 0.0
    largest = max(1.0, float(np.max(np.abs(expected))))
    return float(np.max(np.abs(np.asarray(found, "float64") - expected))) / largest
