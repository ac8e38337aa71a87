"""Does padding stay out of the gradient: of the weights, of what is fed in, of the embedding of the padding id?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.probes.case import ABOVE, Case, jittered
from workbench.probes.objective import Objective
from workbench.probes.padded import Padded, is_ids
from workbench.probes.raised import said
from workbench.probes.traced import array, quiet, tensors

_REMEDY = "Mask before the step that mixes positions, and take the loss over valid steps only."


@dataclass
class Slopes:
    """Gradients of one scalar: of each weight (with the rows that were looked up), of each input."""

    weights: list[tuple[str, np.ndarray, np.ndarray | None]]
    inputs: list[np.ndarray | None]

    @property
    def finite(self) -> bool:
        """Are those of the weights?"""
        return all(np.isfinite(g).all() for _, g, _ in self.weights)


def slopes_of(
    case: Case, batch: Padded, objective: Objective | None, *, keep_state: bool = False
) -> Slopes | None:
    """Gradients of the loss, or where there is none of the valid outputs, each weighed by its place."""
    subject = case.subject
    if not keep_state:
        subject.variables.restore()
    subject.seed()
    fed = tensors(batch.nest())
    watched = [x for x in tf.nest.flatten(fed) if x.dtype.is_floating]
    variables = subject.variables.trainable()
    with tf.GradientTape() as tape, quiet():
        tape.watch(watched)
        nest = subject.fed(fed, batch)
        if objective is not None:
            total = objective(batch, nest)
        else:
            total = _weighed(case, batch, [x for x in tf.nest.flatten(nest) if x is not None])
        if not variables:
            variables = list(tape.watched_variables())
    if total is None or not isinstance(total, tf.Tensor):
        return None
    of_weights, of_inputs = tape.gradient(total, (variables, watched))
    weights = []
    for variable, slope in zip(variables, of_weights, strict=True):
        if slope is not None:
            rows = array(slope.indices).reshape(-1) if isinstance(slope, tf.IndexedSlices) else None
            weights.append((str(getattr(variable, "path", variable.name)), array(slope).astype(float), rows))
    inputs: list[np.ndarray | None] = []
    found = iter(of_inputs)
    for x in tf.nest.flatten(fed):
        slope = next(found) if x.dtype.is_floating else None
        inputs.append(None if slope is None else array(slope).astype(float))
    return Slopes(weights, inputs)


def _weighed(case: Case, batch: Padded, outputs: list[Any]) -> Any:
    total = None
    for i, (x, layout) in enumerate(zip(outputs, case.layouts, strict=False)):
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating or layout.batch_axis is None:
            continue
        weight = np.zeros(x.shape, float)
        for row, number in enumerate(batch.numbers):
            length = int(batch.lengths[row])
            index: list[Any] = [slice(None)] * x.shape.rank
            index[layout.batch_axis] = row
            for axis in layout.time_axes:
                index[axis] = slice(
                    0, length if layout.size == layout.steps else length * layout.size // layout.steps
                )
            places = np.indices(weight[tuple(index)].shape)
            phase = sum(
                ((1.3 + k) * axis for k, axis in enumerate(places)), np.zeros(weight[tuple(index)].shape)
            )
            weight[tuple(index)] = np.cos(phase + 0.7 * number + i)
        chosen = tf.where(weight != 0, x, tf.zeros([], x.dtype))  # what is past the end may be NaN
        part = tf.reduce_sum(chosen * tf.constant(weight, x.dtype))
        total = part if total is None else total + tf.cast(part, total.dtype)
    return total


def gradient(case: Case, objective: Objective | None) -> None:
    """All that is asked of gradients."""
    batch = case.batch
    try:
        base = slopes_of(case, batch, objective)
    except Exception as error:
        case.found.note(f"Gradients were not tried: {said(error)[:160]}")
        return
    if base is None or not (base.weights or any(g is not None for g in base.inputs)):
        case.found.note("Gradients were not tried: nothing that the model gives has one.")
        return
    if not base.finite:
        _not_finite(case, base, objective)
        return
    _padded_inputs(case, base)
    _padded_row(case, base)
    if case.longer is None:
        return
    longer = slopes_of(case, case.longer, objective)
    if longer is None:
        return
    allowed = [ABOVE * case.epsilon * float(np.abs(g).max(initial=0)) for _, g, _ in base.weights]
    pairs = list(zip(base.weights, longer.weights, strict=False))
    sizes = [float(np.nan_to_num(np.abs(a - b), nan=np.inf).max(initial=0)) if a.shape == b.shape else np.inf
             for (_, a, _), (_, b, _) in pairs]  # fmt: skip
    if all(size <= most for size, most in zip(sizes, allowed, strict=True)):
        return
    for _ in range(2):
        case.subject.variables.restore()
        moved = jittered(case.subject, batch, case.epsilon, case.random)
        other = slopes_of(case, moved, objective, keep_state=True)
        case.subject.variables.restore()
        for i, ((_, a, _), (_, b, _)) in enumerate(
            zip(base.weights, other.weights if other else [], strict=False)
        ):
            allowed[i] = max(allowed[i], ABOVE * float(np.abs(a - b).max(initial=0)))
    for ((name, _, _), _), size, most in zip(pairs, sizes, allowed, strict=True):
        if not size <= most:
            case.found.add(
                "gradient", size, f"the gradient of {name}, with more padding behind",
                "Padded steps add to the gradient of the weights, or thin it out.", _REMEDY,
            )  # fmt: skip


def _not_finite(case: Case, base: Slopes, objective: Objective | None) -> None:
    name, _, _ = next(w for w in base.weights if not np.isfinite(w[1]).all())
    if (case.batch.lengths == 0).any():
        rows = [int(r) for r in case.many if case.batch.lengths[r] > 0]
        without = slopes_of(case, case.batch.rows(rows), objective) if rows else None
        if without is not None and without.finite:
            empty_gradient(case, name)
            return
    finite = all(np.isfinite(a).all() for a in case.base.arrays if a.dtype.kind == "f")
    case.found.add(
        "gradient", float("nan"), f"the gradient of {name}",
        "The gradient is not finite"
        + (", though the outputs are: tf.where hides a value that its gradient goes through." if finite else "."),
        "Make the argument safe before the operation: tf.where(valid, x, 1.0) inside the logarithm, "
        "root or division, "
        "and again outside.",
    )  # fmt: skip


def empty_gradient(case: Case, name: str) -> None:
    """Note gradients that an empty example spoils."""
    words = (
        "An example of length 0 makes the gradient NaN: tf.where hides the division by 0, its "
        "gradient goes through it.",
        "Divide by tf.maximum(length, 1), or use tf.math.divide_no_nan; tf.where outside is not enough.",
    )
    case.found.add(
        "empty_sequence", float("nan"), f"the gradient of {name}, with an empty example in the batch", *words
    )
    case.found.add(
        "gradient", float("nan"), f"the gradient of {name}, with an empty example in the batch", *words
    )


def _padded_inputs(case: Case, base: Slopes) -> None:
    """What stands at padded steps gets no slope, where the model is told the lengths."""
    batch = case.batch
    if not batch.knows_length or batch.valid.all():
        return
    for x, part, slope in zip(batch.inputs, batch.parts, base.inputs, strict=True):
        if part.role != "sequence" or slope is None or is_ids(x):
            continue
        there, most = np.abs(slope[~batch.valid]), float(np.abs(slope).max(initial=0))
        if np.nan_to_num(there.max(initial=0)) > ABOVE * case.epsilon * most:
            b, t = np.argwhere(
                ~batch.valid & (np.abs(slope).reshape(*batch.valid.shape, -1).max(-1) == there.max())
            )[0]
            case.found.add(
                "gradient", float(there.max()),
                f"the gradient of input {part.name}, example {batch.numbers[b]} (length "
                f"{batch.lengths[b]}), step {t}, "
                "past the end",
                "Padded steps get gradient, though the lengths are given.", _REMEDY,
            )  # fmt: skip


def _padded_row(case: Case, base: Slopes) -> None:
    """The embedding of the padding id gets no slope, where no real step has that id."""
    batch = case.batch
    ids = [
        (x, p) for x, p in zip(batch.inputs, batch.parts, strict=True) if p.role == "sequence" and is_ids(x)
    ]
    if batch.valid.all() or len(ids) != 1:
        return
    array_, part = ids[0]
    pad = np.asarray(part.fill).reshape(-1)
    if pad.size != 1 or (array_[batch.valid] == pad[0]).any() or not (array_[~batch.valid] == pad[0]).all():
        return
    ids_there = set(array_.reshape(-1).tolist())
    for name, slope, rows in base.weights:
        if rows is None or slope.ndim != 2 or not 0 <= pad[0] < len(slope):
            continue
        # a table of these ids, not of positions or users
        if set(rows.tolist()) >= ids_there and (rows == pad[0]).sum() >= (array_ == pad[0]).sum():
            size = float(np.abs(slope[int(pad[0])]).max(initial=0))
            if size > ABOVE * case.epsilon * float(np.abs(slope).max(initial=0)):
                case.found.add(
                    "gradient", size, f"the gradient of {name}, row {int(pad[0])}, which only padding has",
                    "The embedding of the padding id is trained: padded steps get gradient.", _REMEDY,
                )  # fmt: skip
