"""What must not matter to outputs and states: padding, its content, the company in the batch, the call before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from workbench.probes.case import Case, difference, is_training_norm, matters
from workbench.probes.causes import Cause
from workbench.probes.padded import Padded, is_ids
from workbench.probes.subject import Subject, largest
from workbench.probes.traced import Ran

_MOST_ALONE = 6


def differing(
    case: Case,
    one: Ran,
    other: Ran,
    rows: Iterable[tuple[int, int]],
    lengths: np.ndarray,
    *,
    whole: bool = False,
) -> list[tuple[int, int, float, tuple[int, ...]]]:
    """Where two runs differ: (output, example of the first, size, position), the largest of each output first."""
    found = []
    rows = list(rows)
    for i, layout in enumerate(case.layouts):
        if i >= len(other.arrays):
            continue
        if layout.batch_axis is None:
            if whole and not layout.time_axes:
                size, at = difference(one.arrays[i], other.arrays[i])
                if matters(size, case.allowed[i]):
                    found.append((i, -1, size, at))
            continue
        worst: tuple[int, int, float, tuple[int, ...]] | None = None
        for a, b in rows:
            length = int(lengths[a])
            left, right = layout.valid(one.arrays[i], a, length), layout.valid(other.arrays[i], b, length)
            if layout.time_axes and layout.size != layout.steps:  # strided: as many steps as both have
                axis = layout.time_axes[0] - (layout.time_axes[0] > layout.batch_axis)
                both = min(left.shape[axis], right.shape[axis])
                if not both:  # with fewer steps than its window, what a kernel gives depends on the CPU
                    continue
                left, right = (np.take(x, range(both), axis) for x in (left, right))
            size, at = difference(left, right)
            if matters(size, case.allowed[i]) and (worst is None or not size <= worst[2]):
                worst = (i, a, size, at)
        if worst:
            found.append(worst)
    return found


def place(case: Case, i: int, row: int, at: tuple[int, ...]) -> str:
    """An output, an example and a step in words."""
    layout = case.layouts[i]
    words = [layout.name]
    if row >= 0:
        words.append(f"example {case.batch.numbers[row]} (length {int(case.batch.lengths[row])})")
    if layout.time_axes and at:
        axis = layout.time_axes[0] - (
            layout.batch_axis is not None and layout.time_axes[0] > layout.batch_axis
        )
        words.append(f"step {at[axis]}")
    return ", ".join(words)


def kept_state(subject: Subject, batch: Padded) -> bool:
    """Does the same call, made again right after the first, give something else?"""
    first = subject.run(batch)  # the last call there was
    second = subject.run(batch, keep_state=True)
    return not near(first, second)


def draws(subject: Subject, batch: Padded) -> bool:
    """Does the model give other numbers under other seeds, and the same ones under the same?"""
    other = subject.other_numbers(batch)
    return not near(subject.run(batch), other)


def near(one: Ran, two: Ran) -> bool:
    """Are two runs over the same arrays equal, but for what kernels may do in another order?"""
    return all(
        not matters(difference(a, b)[0], 1e-6 * largest(a))
        for a, b in zip(one.arrays, two.arrays, strict=False)
    )


def twice(case: Case, locate: Callable[..., Cause]) -> bool:
    """Notes what the same call gives when it is made again; False where that cannot be undone."""
    cause = locate("kept")
    case.subject.forget()
    first = case.subject.run(case.batch)
    second = case.subject.run(case.batch, keep_state=True)
    for i, (a, b) in enumerate(zip(first.arrays, second.arrays, strict=False)):
        size, _ = difference(a, b)
        if matters(size, 1e-6 * largest(a)):
            case.found.add("state", size, f"{case.layouts[i].name}, called again", cause.cause, cause.remedy)
    if "state" not in case.found.kinds:  # it was seen before: what is kept may have come to rest since
        case.found.add("state", float("nan"), "the outputs, called again", cause.cause, cause.remedy)
    case.subject.forget()
    if near(first, case.subject.run(case.batch)):
        return True
    case.found.note("What the model keeps cannot be put back, so nothing else was tried.")
    return False


def compare(
    case: Case, other: Ran | None, pairs: Iterable[tuple[int, int]], change: str, locate: Callable[..., Cause]
) -> bool:
    """Notes what differs of outputs and states under a change; was there any?"""
    if other is None:
        return False
    hits = differing(case, case.base, other, pairs, case.batch.lengths, whole=change == "longer")
    for i, row, size, at in hits:
        cause = locate(change, i, row)
        where = f"{place(case, i, row, at)}, {cause.change}"
        case.found.add(case.layouts[i].kind, size, where + cause.layer, cause.cause, cause.remedy)
    return bool(hits)


def company_is_meant(case: Case) -> bool:
    """Are batch statistics asked for: BatchNormalization that trains?"""
    if not (case.subject.training and case.keras_model is not None):
        return False
    return any(is_training_norm(layer) for layer in case.keras_model._flatten_layers())


def order(case: Case, locate: Callable[..., Cause]) -> bool:
    """The examples in another order, and each in other company at the same number of steps."""
    changed = False
    by_length = np.argsort(case.batch.lengths, kind="stable")
    turns = {tuple(turn) for turn in (np.roll(np.arange(case.batch.size), 1), by_length, by_length[::-1])}
    for turned in sorted(turns - {tuple(case.many)}):
        other = case.subject.longest_run(case.batch.rows([int(n) for n in turned]))
        if other is not None:
            hits = differing(
                case, case.base, other, [(int(a), b) for b, a in enumerate(turned)], case.batch.lengths
            )
            for i, row, size, at in hits:
                cause = locate("order", i, row)
                case.found.add(
                    "order", size, f"{place(case, i, row, at)}, {cause.change}", cause.cause, cause.remedy
                )
            changed = changed or bool(hits)
    if company_is_meant(case):
        return changed
    for row in chosen(case)[:2]:
        other = alone(case, row, case.batch.steps)
        if other is None:
            continue
        for i, a, size, at in differing(case, case.base, other, [(row, 0)], case.batch.lengths):
            cause = locate("company", i, a)
            case.found.add(
                "order", size, f"{place(case, i, a, at)}, {cause.change}", cause.cause, cause.remedy
            )
            changed = True
    return changed


def chosen(case: Case) -> list[int]:
    """A few examples of unlike lengths, none empty, the shorter before the longer."""
    rows = [int(r) for r in np.argsort(case.batch.lengths, kind="stable") if case.batch.lengths[r] > 0]
    if len(rows) > _MOST_ALONE:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, _MOST_ALONE).astype(int)]
    return rows


def alone(case: Case, row: int, steps: int) -> Ran | None:
    """One example by itself in so many steps; where the model's batch is of fixed size, as often as it holds."""
    one = case.batch.rows([row]).cut(steps)
    ran = case.subject.longest_run(one)
    if ran is None:
        ran = case.subject.longest_run(case.batch.rows([row] * case.batch.size).cut(steps))
    return ran


def each_alone(case: Case, locate: Callable[..., Cause]) -> bool:
    """Every example by itself, without its padding."""
    if company_is_meant(case):
        case.found.note(
            "Examples alone were not tried: BatchNormalization in training takes its means from the batch."
        )
        return False
    changed, refused = False, 0
    for row in chosen(case):
        other = alone(case, row, int(case.batch.lengths[row]))
        if other is None:
            refused += 1
            continue
        changed = compare(case, other, [(row, 0)], "alone", locate) or changed
    if refused:
        case.found.note(f"{refused} examples alone were not tried: the model does not take so few steps.")
    return changed


def content(case: Case, locate: Callable[..., Cause]) -> bool:
    """Other numbers at padded steps, where the model is told the lengths and need not read them from there."""
    batch = case.batch
    if not batch.knows_length or batch.valid.all() or _reads_masks(case):
        if not batch.knows_length:
            case.found.note(
                "The padding's content was not changed: the model is told no lengths, so it may read them there."
            )
        return False
    features = [not is_ids(x) for x, p in zip(batch.inputs, batch.parts, strict=True) if p.role == "sequence"]
    if not any(features):
        return False  # padding has an id of its own, which a model may know
    other = case.subject.longest_run(_only_features(batch, batch.other_padding(case.random)))
    return compare(case, other, [(b, b) for b in case.many], "content", locate)


def _only_features(batch: Padded, changed: Padded) -> Padded:
    inputs = [a if is_ids(a) else b for a, b in zip(batch.inputs, changed.inputs, strict=True)]
    return Padded(**{**vars(batch), "inputs": inputs})


def _reads_masks(case: Case) -> bool:
    """Has it layers that find padding by its content?"""
    if case.keras_model is None:
        return False
    import keras

    return any(
        isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)
        for layer in case.keras_model._flatten_layers()
    )


def longer(case: Case, locate: Callable[..., Cause]) -> bool:
    """More padding behind."""
    return compare(case, case.longer_run, [(b, b) for b in case.many], "longer", locate)
