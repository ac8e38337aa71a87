"""Do metrics count valid steps, each once, however a data set is cut into batches?"""

from __future__ import annotations

import numpy as np

from workbench.probes.case import ABOVE, Case
from workbench.probes.loss_probe import classes
from workbench.probes.objective import Metrics


def metric(case: Case, metrics: Metrics) -> None:
    """Metrics with more padding, and over two batches of unlike size against one."""
    base = metrics.over([(case.batch, case.subject.run(case.batch))])
    if case.longer is not None and case.longer_run is not None:
        other = metrics.over([(case.longer, case.longer_run)])
        for name, value in base.items():
            if _differs(case, value, other.get(name, np.nan)):
                case.found.add(
                    "metric", abs(value - other[name]),
                    f"metric {name!r}, with more padding behind: {value:.6g} becomes {other[name]:.6g}",
                    "The metric counts padded steps.",
                    "Give it the mask: weighted_metrics with sample_weight, or a mask on the output "
                    "that its layers keep.",
                )  # fmt: skip
    if metrics.sums and case.batch.size >= 2:
        _unlike(case, metrics)
    _class_left_out(case, metrics, base)


def _unlike(case: Case, metrics: Metrics) -> None:
    rows = [int(r) for r in np.argsort(case.batch.lengths, kind="stable") if case.batch.lengths[r] > 0]
    if len(rows) < 2:
        return
    short, rest = rows[:1], rows[1:]
    try:
        runs = [(b, case.subject.run(b)) for b in (case.batch.rows(r) for r in (rows, short, rest))]
    except Exception:
        case.found.note("Metrics over two batches were not tried: the model's batch is of fixed size.")
        return
    one, two = metrics.over(runs[:1]), metrics.over(runs[1:])
    for name, value in one.items():
        if name in two and _differs(case, value, two[name], 16):
            case.found.add(
                "metric", abs(value - two[name]),
                f"metric {name!r}, over batches of {len(short)} and {len(rest)} examples: "
                f"{two[name]:.6g}, over one of "
                f"all: {value:.6g}",
                "The metric averages the means of batches, so that a step counts more in a batch of few.",
                "Add up sums and counts over batches (a keras.metrics.Metric with both), and divide once.",
            )  # fmt: skip


def _differs(case: Case, one: float, other: float, more: float = 1) -> bool:
    if np.isnan(one) and np.isnan(other):
        return False
    allowed = 4 * more * ABOVE * max(case.epsilon, 1.2e-7) * max(abs(one), 1e-3)
    return not abs(one - other) <= allowed


def _class_left_out(case: Case, metrics: Metrics, base: dict[str, float]) -> None:
    """Does a metric see predictions at real steps of class 0?"""
    batch = case.batch
    if len(batch.labels) != 1 or batch.label_parts[0].role != "sequence" or len(case.base.tensors) != 1:
        return
    kinds, valid = classes(batch.labels[0]), batch.valid
    predictions = case.base.arrays[0]
    if (
        kinds.ndim != 2
        or predictions.ndim != 3
        or predictions.shape[-1] < 2
        or not (valid & (kinds == 0)).any()
    ):
        return
    if not (valid & (kinds != 0)).any():
        return
    import tensorflow as tf

    from workbench.probes.subject import Ran

    def turned(where: np.ndarray) -> dict[str, float]:
        best = np.zeros_like(predictions)
        right = np.clip(kinds.astype(int), 0, predictions.shape[-1] - 1)
        np.put_along_axis(best, right[..., None], 1, -1)
        wrong = np.roll(best, 1, -1)
        made = tf.constant(np.where(where[..., None], wrong, best).astype(predictions.dtype))
        mask = getattr(case.base.tensors[0], "_keras_mask", None)
        if mask is not None:
            made._keras_mask = mask
        nest = tf.nest.pack_sequence_as(case.base.nest, [made])
        return metrics.over([(batch, Ran(nest, [made], [predictions], []))])

    none = turned(np.zeros_like(valid))
    zeros, others = turned(valid & (kinds == 0)), turned(valid & (kinds != 0))
    for name in base:
        about_others = any(word in name.lower() for word in ("recall", "f1", "precision", "sensitivity"))
        if not about_others and zeros[name] == none[name] != others[name]:
            case.found.add(
                "class_zero", float((valid & (kinds == 0)).sum()),
                f"metric {name!r}: predictions at the {int((valid & (kinds == 0)).sum())} real steps of class 0",
                "Class 0 is real here, and the metric masks it away: padding is told by the label.",
                "Make the mask of the lengths, or begin classes at 1 and keep 0 for padding.",
            )  # fmt: skip
