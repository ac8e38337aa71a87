"""Does the loss of a batch stay the same however long the padding is, and has every real step its share?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.probes.case import ABOVE, Case, jittered
from workbench.probes.change_probes import chosen, company_is_meant
from workbench.probes.objective import Objective
from workbench.probes.padded import Padded
from workbench.probes.traced import array

_COUNTED = (
    "The loss takes padded steps in: they are summed with the others, or the sum is divided by all B x T places.",
    "Weigh steps by the mask and divide by the number of valid steps (or, in each example, by its length): with "
    "Keras, keep the mask on the output, or give reduction='sum' and divide yourself.",
)


_OF_AN_EXAMPLE = (
    "The loss has one term an example, and moves with what it is taken of: an output that padding changes.",
    "Mend what the outputs are made of, by lengths or a mask: where they stay, so does this loss.",
)


def _words(batch: Padded) -> tuple[str, str]:
    """Why a loss moves with padding, by whether it has terms of steps."""
    roles = {part.role for part in batch.label_parts}
    return _COUNTED if "sequence" in roles or not roles else _OF_AN_EXAMPLE


def loss_value(case: Case, objective: Objective, batch: Padded, *, keep_state: bool = False) -> float:
    """The loss of a batch."""
    ran = case.subject.run(batch, keep_state=keep_state)
    return float(array(objective(batch, ran.nest)))


def rounding_of(case: Case, value: Callable[[Padded], float], base: float) -> float:
    """How far one rounding of every number carries a scalar."""
    noise = case.epsilon * abs(base)
    for _ in range(2):
        case.subject.variables.restore()
        moved = jittered(case.subject, case.batch, case.epsilon, case.random)
        try:
            noise = max(noise, abs(value(moved) - base))
        except Exception:
            break
        finally:
            case.subject.variables.restore()
    return ABOVE * float(np.nan_to_num(noise))


def loss(case: Case, objective: Objective) -> None:
    """All that is asked of a loss."""
    base = loss_value(case, objective, case.batch)
    if not np.isfinite(base):
        if (case.batch.lengths > 0).all() and all(
            np.isfinite(a).all() for a in case.base.arrays if a.dtype.kind == "f"
        ):
            case.found.add(
                "loss", base, "the loss of the batch",
                "The loss is not finite, though the outputs are: a logarithm or a division by 0, or "
                "padding's label is none.",
                "Mask with tf.where before the logarithm or the division, and give padded steps a "
                "label that is a class.",
            )  # fmt: skip
        return
    allowed = rounding_of(case, lambda b: loss_value(case, objective, b, keep_state=True), base)
    if case.longer is not None:
        more = loss_value(case, objective, case.longer)
        _note(case, base, more, allowed, "the loss, with more padding behind", _words(case.longer))
    else:
        _longer_predictions(case, objective, base, allowed)
    if not objective.by_step:
        slopes(case, objective)
    _longest(case, objective, allowed)
    if objective.is_told and not case.found.kinds & {"loss"}:
        _padded_labels(case, objective, base, allowed)


def _note(case: Case, one: float, other: float, allowed: float, where: str, words: tuple[str, str]) -> bool:
    size = abs(one - other)
    if size <= allowed:
        return False
    case.found.add("loss", size, f"{where}: {one:.6g} becomes {other:.6g}", *words)
    return True


def _longer_predictions(case: Case, objective: Objective, base: float, allowed: float) -> None:
    """Where the model takes no more steps, the loss alone is given more: predictions as at the last step."""
    if objective.by_step or not case.batch.labels:
        return
    more = 3
    flat = []
    for x, layout in zip(case.base.tensors, case.layouts, strict=True):
        if layout.time_axes == (1,):
            longer = tf.concat([x, tf.repeat(x[:, -1:], more, 1)], 1)
            mask = getattr(x, "_keras_mask", None)
            if mask is not None:
                longer._keras_mask = tf.concat([mask, tf.zeros_like(tf.repeat(mask[:, -1:], more, 1))], 1)
            x = longer
        flat.append(x)
    try:
        nest = tf.nest.pack_sequence_as(case.base.nest, flat)
        other = float(array(objective(case.batch.longer(more), nest)))
    except Exception:
        case.found.note("The loss with longer padding was not tried: the model takes no more steps.")
        return
    _note(case, base, other, allowed, "the loss, with more padding behind", _words(case.batch))


def slopes(case: Case, objective: Objective) -> None:
    """The slope of the loss by every prediction: none at padding, some at every real step of every class."""
    batch = case.batch
    ran = case.subject.run(batch)
    watched = [x for x in ran.tensors if x.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        value = objective(batch, ran.nest)
    if not isinstance(value, tf.Tensor):
        return
    found = tape.gradient(value, watched)
    gradients = iter(found)
    labels = list(zip(batch.labels, batch.label_parts, strict=True))
    for x, layout in zip(ran.tensors, case.layouts, strict=True):
        slope = next(gradients) if x.dtype.is_floating else None
        if slope is None or layout.batch_axis != 0:
            continue
        size = np.abs(array(slope).astype(float))
        if 1 in layout.time_axes and layout.size == layout.steps:
            by_step = size.reshape(*size.shape[:2], -1).sum(-1)
            _padding_has_slope(case, layout.name, by_step)
            own = [(y, p) for y, p in labels if p.role == "sequence"]
            if own:
                _class_without_slope(
                    case, layout.name, by_step, own[0][0], (batch.valid, batch.counts), objective
                )
                _last_without_slope(case, layout.name, by_step, objective)
        elif not layout.time_axes:
            own = [(y, p) for y, p in labels if p.role == "fixed"]
            if own:
                _class_without_slope(
                    case,
                    layout.name,
                    size.reshape(len(size), -1).sum(-1),
                    own[0][0],
                    (batch.lengths > 0, np.asarray(batch.counts.any(1))),
                    objective,
                )


def _padding_has_slope(case: Case, name: str, slope: np.ndarray) -> None:
    padded, most = slope[~case.batch.valid], float(np.nanmax(slope, initial=0.0))
    if padded.size and np.nan_to_num(padded.max()) > ABOVE * case.epsilon * most:
        b, t = np.argwhere(~case.batch.valid & (slope == padded.max()))[0]
        case.found.add(
            "loss", float(padded.max()),
            f"the loss by {name}, example {case.batch.numbers[b]} (length {case.batch.lengths[b]}), "
            f"step {t}, past the end",
            *_COUNTED,
        )  # fmt: skip


def classes(labels: np.ndarray) -> np.ndarray:
    """The class of every place: the label itself, or where a one-hot row has its 1."""
    if (labels.ndim >= 2 and labels.shape[-1] > 1 and labels.dtype.kind == "f") or labels.ndim > 2:
        if labels.shape[-1] == 1:
            return labels[..., 0]
        if set(np.unique(labels)) <= {0, 1} and (labels.sum(-1) <= 1).all():
            return np.where(labels.sum(-1) > 0, labels.argmax(-1), -1)
    return labels


def _class_without_slope(
    case: Case,
    name: str,
    slope: np.ndarray,
    labels: np.ndarray,
    places: tuple[np.ndarray, np.ndarray],
    objective: Objective,
) -> None:
    """`places`: which are real, and which of them have a weight."""
    valid, weighed = places
    kinds = classes(labels)
    if kinds.shape != slope.shape:
        kinds = classes(labels.reshape(*slope.shape, -1))
        kinds = kinds[..., 0] if kinds.ndim > slope.ndim else kinds
    if kinds.shape != slope.shape or not np.isfinite(slope[valid]).all():
        return
    pads = {0} | {_scalar(p.fill) for p in case.batch.label_parts}
    # a label below 0 is one to be ignored, and no class
    for one in [kind for kind in pads & set(np.unique(kinds[valid]).tolist()) if kind >= 0]:
        left = kinds[valid & ~weighed]
        made_of_labels = left.size and (left == one).all() and not (kinds[weighed] == one).any()
        made_of_labels &= not _are_ends(valid & ~weighed, valid)
        seen = valid if made_of_labels else weighed
        here, others = seen & (kinds == one), seen & (kinds != one)
        if not here.any():
            continue
        ignored = others.any() and slope[here].max() == 0 and (slope[others] > 0).mean() > 0.5
        if ignored and _is_blind(case, objective, here, others):
            case.found.add(
                "class_zero", float(here.sum()), f"the loss by {name}: {int(here.sum())} real "
                f"places of class {one:g}",
                f"Class {one:g} is real here, and the loss masks it away: padding is told by the label.",
                "Make the mask of the lengths, or begin classes at 1 and keep 0 for padding.",
            )  # fmt: skip


def _are_ends(places: np.ndarray, valid: np.ndarray) -> bool:
    """Whether places [B, T] are the last real steps, as of a next word without an end sign."""
    if valid.ndim != 2:
        return False
    return np.array_equal(places, valid & ~np.pad(valid[:, 1:], [(0, 0), (0, 1)]))


def _is_blind(case: Case, objective: Objective, here: np.ndarray, others: np.ndarray) -> bool:
    """Does the loss stay the same whatever is predicted here: what is predicted elsewhere, or far from all that?"""
    ran = case.subject.run(case.batch)
    base = float(array(objective(case.batch, ran.nest)))
    there = np.argwhere(others)

    def other(new: Callable[[np.ndarray, int], Any]) -> float:
        flat = []
        for x in ran.tensors:
            values = array(x).copy()
            if x.dtype.is_floating and values.shape[: here.ndim] == here.shape:
                for n, at in enumerate(np.argwhere(here)):
                    values[tuple(at)] = new(values, n)
            made = tf.constant(values)
            mask = getattr(x, "_keras_mask", None)
            if mask is not None:
                made._keras_mask = mask
            flat.append(made)
        nest = tf.nest.pack_sequence_as(case.base.nest, flat) if len(flat) > 1 else _like(ran.nest, flat[0])
        return float(array(objective(case.batch, nest)))

    def turned(turn: int) -> float:
        return other(lambda values, n: np.roll(values[tuple(there[(n + turn) % len(there)])], turn, -1))

    if any(turned(turn) != base for turn in range(3)):
        return False
    # a loss with a margin is flat beyond it, and not only there where it is masked
    for sign in (0, 1, -1):
        value = other(lambda values, n, sign=sign: sign * (10 * np.nanmax(np.abs(values)) + 10))  # type: ignore[misc]
        if np.isfinite(value) and value != base:  # one that is not finite says nothing
            return False
    return True


def _like(nest: Any, tensor: Any) -> Any:
    return tf.nest.map_structure(lambda _: tensor, nest)


def _scalar(fill: Any) -> Any:
    values = np.asarray(fill).reshape(-1)
    return values[0].item() if values.size == 1 else 0


def _last_without_slope(case: Case, name: str, slope: np.ndarray, objective: Objective) -> None:
    rows = np.flatnonzero(case.batch.lengths >= 2)
    rows = rows[case.batch.counts[rows, case.batch.lengths[rows] - 1]]
    last = case.batch.lengths[rows] - 1
    if len(rows) < 2 or slope[rows, last].max() > 0 or not (slope[rows, last - 1] > 0).all():
        return
    # labels moved by one step, as for the next word, leave the last prediction out rightly
    changed = case.batch
    labels = [y.copy() for y in changed.labels]
    for y, part in zip(labels, changed.label_parts, strict=True):
        if part.role == "sequence":
            y[rows, last] = (
                y[rows, last - 1] if (y[rows, last] != y[rows, last - 1]).any() else y[rows[::-1], last]
            )
    moved = Padded(**{**vars(changed), "labels": labels})
    if loss_value(case, objective, moved) != loss_value(case, objective, changed):
        return
    case.found.add(
        "loss", float(len(rows)), f"the loss by {name}: every example's last step",
        "The last real step of every example has no share in the loss: the mask is one step too short.",
        "A step t is valid where t < length, with t from 0 (tf.sequence_mask(lengths, T)).",
    )  # fmt: skip


def _padded_labels(case: Case, objective: Objective, base: float, allowed: float) -> None:
    """Other labels at padded steps do not matter to a loss that is told where these are.

    One may find padding by its label beside: then other predictions count too, where padding's label is a real one.
    """
    batch = _other_labels(case)
    if batch is None:
        return
    ran = case.subject.run(case.batch)
    watched = [x for x in ran.tensors if x.dtype.is_floating]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(watched)
        one = objective(case.batch, ran.nest)
        two = objective(batch, ran.nest)
    value = float(array(two))
    if not np.isfinite(value) or abs(value - base) <= allowed or not isinstance(one, tf.Tensor):
        return
    slopes = [(tape.gradient(one, x), tape.gradient(two, x)) for x in watched]
    there = [(array(a) != 0, array(b) != 0) for a, b in slopes if a is not None and b is not None]
    there = [(_places(a), _places(b)) for a, b in there if a.ndim >= 2]
    if not there or any((b & ~a).any() for a, b in there):
        return
    case.found.add(
        "loss", abs(value - base), f"the loss, with other labels at padded steps: {base:.6g} becomes {value:.6g}",
        "The loss takes labels of padded steps in: its mask is not that of its targets.",
        "Move the mask with the labels: mask[:, 1:] goes with labels[:, 1:], since the next step's label is real "
        "where the next step is.",
    )  # fmt: skip


def _places(there: np.ndarray) -> np.ndarray:
    """By example and step: is there anything?"""
    return np.asarray(there.reshape(*there.shape[:2], -1).any(-1))


def _other_labels(case: Case) -> Padded | None:
    """The batch with labels of real steps at padded ones; None where labels do not go by the lengths."""
    batch, labels, changed = case.batch, [], False
    random, rows = np.random.default_rng(2), np.flatnonzero(batch.lengths >= 2)
    for y, part in zip(batch.labels, batch.label_parts, strict=True):
        padded = y[~batch.valid] if part.role == "sequence" else y[:0]
        if len(padded):
            fill = np.nan_to_num(padded[0])
            real = y[batch.valid]
            real = real[~_is(real, fill)]
            last = y[rows, batch.lengths[rows] - 1]
            if not _is(np.nan_to_num(padded), fill).all() or not len(real) or _is(last, fill).all():
                return None  # padding's labels are unlike, or labels end before their examples do
            y, changed = y.copy(), True
            y[~batch.valid] = real[random.integers(len(real), size=len(padded))]
        labels.append(y)
    return Padded(**{**vars(batch), "labels": labels}) if changed else None


def _is(steps: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Which steps hold nothing but this?"""
    return (steps == fill).reshape(len(steps), -1).all(-1)


def _longest(case: Case, objective: Objective, allowed: float) -> None:
    """A sum divided by the batch's longest weighs short examples less, whatever they are with."""
    batch = case.batch
    by_step = any(p.role == "sequence" for p in batch.label_parts)
    rows = chosen(case)
    if case.found.kinds & {"loss"} or not by_step or batch.weights or len(rows) < 2 or company_is_meant(case):
        return
    lengths = batch.lengths[rows].astype(float)
    if lengths.min() == lengths.max():
        return
    try:
        each = np.array(
            [loss_value(case, objective, batch.rows([r]).cut(int(batch.lengths[r]))) for r in rows]
        )
        together = loss_value(case, objective, batch.rows(rows).cut(int(lengths.max())))
    except Exception:
        case.found.note("The loss of examples alone was not tried: the model does not take them.")
        return
    sums = each * lengths
    right = (sums.sum() / lengths.sum(), each.mean(), each.sum())
    wrong = (sums.sum() / (len(rows) * lengths.max()), sums.sum() / lengths.max())
    allowed = max(allowed, 1e-4 * abs(together))
    if min(abs(together - r) for r in right) > allowed and min(abs(together - w) for w in wrong) <= allowed:
        case.found.add(
            "loss", abs(together - right[0]), f"the loss of {len(rows)} examples: {together:.6g}, "
            f"by token {right[0]:.6g}",
            "The sum is divided by the batch's longest example, so that a short one counts less beside a long one.",
            "Divide by the number of valid steps of the batch, or each example by its own length.",
        )  # fmt: skip


def additional(case: Case) -> None:
    """Losses that the model adds by itself: penalties on activities count padding too."""
    if case.longer_run is None:
        return
    for (name, one), (_, other) in zip(case.base.additional, case.longer_run.additional, strict=False):
        allowed = ABOVE * case.epsilon * abs(one) * 4
        if not abs(one - other) <= allowed:
            case.found.add(
                "loss", abs(one - other), f"the loss that {name} adds, with more padding behind: "
                f"{one:.6g} becomes {other:.6g}",
                "A penalty on activities (activity_regularizer, add_loss) takes padded steps in.",
                "Multiply by the mask before the penalty, and divide by the number of valid steps.",
            )  # fmt: skip
