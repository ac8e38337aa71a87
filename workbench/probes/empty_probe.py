"""An example of length 0: is all that comes of it finite?"""

from __future__ import annotations

import numpy as np

from workbench.probes.case import Case
from workbench.probes.gradient_probe import empty_gradient, slopes_of
from workbench.probes.objective import Objective
from workbench.probes.padded import Padded, Part
from workbench.probes.traced import array

_WORDS = (
    "An example of length 0 is divided by its length, or has no step that a softmax or a maximum could take.",
    "Divide by tf.maximum(length, 1) (or tf.math.divide_no_nan), and give an empty example zeros by tf.where.",
)


def with_empty(batch: Padded) -> Padded:
    """The batch with one more example, of length 0."""
    last = batch.rows([*range(batch.size), 0])
    lengths = last.lengths.copy()
    lengths[-1] = 0

    def empty(values: np.ndarray, part: Part) -> np.ndarray:
        if part.role == "sequence" or part.role == "mask":
            values = values.copy()
            values[-1] = part.fill
        return values

    return last.every(empty).with_lengths(lengths)


def empty_example(case: Case, objective: Objective | None) -> None:
    """What an empty example makes not finite: a fault where the data have one, or where only slopes are."""
    given = [int(r) for r in case.many if case.batch.lengths[r] == 0]
    if given:
        for layout, values in zip(case.layouts, case.base.arrays, strict=True):
            if layout.batch_axis is None or layout.time_axes or values.dtype.kind != "f":
                continue
            for row in given:
                part = layout.valid(values, row, 0)
                if not np.isfinite(part).all():
                    case.found.add(
                        "empty_sequence",
                        float("nan"),
                        f"{layout.name}, example {case.batch.numbers[row]} (length 0)",
                        *_WORDS,
                    )
        if objective is not None:
            value = float(array(objective(case.batch, case.base.nest)))
            full = [int(r) for r in case.many if case.batch.lengths[r] > 0]
            if not np.isfinite(value) and full:
                fewer = case.batch.rows(full)
                if np.isfinite(float(array(objective(fewer, case.subject.run(fewer).nest)))):
                    case.found.add(
                        "empty_sequence", value, "the loss, with an empty example in the batch", *_WORDS
                    )
        return
    batch = with_empty(case.batch)
    ran = case.subject.longest_run(batch)
    if ran is None:
        case.found.note("An example of length 0 was not tried: the model refuses one (none is in the data).")
        return
    finite = all(
        np.isfinite(values).all()
        for layout, values in zip(case.layouts, ran.arrays, strict=False)
        if values.dtype.kind == "f" and not layout.time_axes
    )
    if not finite:
        case.found.note("An example of length 0 would give numbers that are not finite; none is in the data.")
        return
    try:
        value = float(array(objective(batch, ran.nest))) if objective is not None else 0.0
        if not np.isfinite(value):
            case.found.note("An example of length 0 would make the loss not finite; none is in the data.")
            return
        slopes = slopes_of(case, batch, objective)
        if slopes is not None and not slopes.finite:
            base = slopes_of(case, case.batch, objective)
            if base is not None and base.finite:
                name = next(n for n, g, _ in slopes.weights if not np.isfinite(g).all())
                empty_gradient(case, name)
    except Exception:
        case.found.note("The gradient with an example of length 0 was not tried: the model refuses it.")
