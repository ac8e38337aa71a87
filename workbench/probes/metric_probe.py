"""Do metrics count valid steps, each once, however a data set is cut into batches?"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from workbench.probes.case import ABOVE, Case
from workbench.probes.loss_probe import classes
from workbench.probes.objective import Metrics
from workbench.probes.padded import Padded
from workbench.probes.traced import Ran

_MOST_CLASSES = 8  # that are tried
_COUNTED = (
    "The metric counts padded steps.",
    "Give it the mask: weighted_metrics with sample_weight, or a mask on the output that its layers keep.",
)


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
                    *_COUNTED,
                )  # fmt: skip
    if metrics.sums and case.batch.size >= 2:
        _unlike(case, metrics)
    by_hand = _ByHand(case, metrics)
    if by_hand.known:
        _class_left_out(case, by_hand, base)
        _counted_if_predicted(case, by_hand)


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


class _ByHand:
    """A metric's values for predictions made by hand, for one output [B, T, C] with labels of classes."""

    def __init__(self, case: Case, metrics: Metrics) -> None:
        self.case, self.metrics = case, metrics
        batch = case.batch
        self.known = False
        if len(batch.labels) != 1 or batch.label_parts[0].role != "sequence" or len(case.base.tensors) != 1:
            return
        self.kinds, predictions = classes(batch.labels[0]), case.base.arrays[0]
        if predictions.ndim != 3 or predictions.shape[:2] != self.kinds.shape or predictions.shape[-1] < 2:
            return
        self.count, self.dtype = predictions.shape[-1], predictions.dtype
        real = self.kinds[batch.valid]
        self.known = bool(real.size and (real == np.round(real)).all())
        self.real = [int(k) for k in np.unique(real) if 0 <= k < self.count] if self.known else []

    def over(self, batch: Padded, said: np.ndarray) -> dict[str, float]:
        """The metrics where class `said` [B, T] is predicted for sure."""
        made = tf.one_hot(np.clip(said.astype(int), 0, self.count - 1), self.count, dtype=self.dtype.name)
        mask = getattr(self.case.base.tensors[0], "_keras_mask", None)
        if mask is not None:
            made._keras_mask = tf.pad(mask, [[0, 0], [0, batch.steps - self.case.batch.steps]])
        nest = tf.nest.pack_sequence_as(self.case.base.nest, [made])
        return self.metrics.over([(batch, Ran(nest, [made], [made.numpy()], []))])


def _counted_if_predicted(case: Case, by_hand: _ByHand) -> None:
    """Does a metric count padding where every class is predicted there? The model at hand may never say one."""
    batch = case.batch
    if any(f.cause == _COUNTED[0] for f in case.found):
        return
    if not np.nan_to_num(case.base.arrays[0][~batch.valid]).any() and not batch.valid.all():
        return  # the model says nothing there, which a metric may know padding by
    longer = batch.longer(max(3, batch.steps // 2))
    named = by_hand.real + [k for k in range(by_hand.count) if k not in by_hand.real]
    turns = np.add.outer(np.arange(batch.size), batch.size * np.arange(longer.steps)[::-1])
    said = np.asarray(named)[turns % len(named)]
    said[:, : batch.steps][batch.valid] = by_hand.kinds[batch.valid]
    try:
        one, two = by_hand.over(batch, said[:, : batch.steps]), by_hand.over(longer, said)
    except Exception:
        case.found.note(
            "Metrics of other predictions were not tried with more padding: they take no more steps."
        )
        return
    for name, value in one.items():
        if np.isfinite([value, two.get(name, np.nan)]).all() and _differs(case, value, two[name]):
            case.found.add(
                "metric", abs(value - two[name]),
                f"metric {name!r}, with more padding behind, each class being predicted there: {value:.6g} becomes "
                f"{two[name]:.6g}",
                *_COUNTED,
            )  # fmt: skip


def _class_left_out(case: Case, by_hand: _ByHand, base: dict[str, float]) -> None:
    """Does a metric see predictions at real steps of class 0, as it does at those of every other class?"""
    if 0 not in by_hand.real or len(by_hand.real) < 2:
        return
    kinds, valid, real = by_hand.kinds, case.batch.counts, by_hand.real[:_MOST_CLASSES]
    if not (valid & (kinds == 0)).any():
        return
    none = by_hand.over(case.batch, kinds)

    def blind(names: list[str], kind: int) -> list[str]:
        """Those that stay the same whatever is predicted at this class's steps."""
        for wrong in [*real[1:], (kind + 1) % by_hand.count, 0]:
            if wrong != kind and names:
                other = by_hand.over(case.batch, np.where(valid & (kinds == kind), wrong, kinds))
                names = [name for name in names if other[name] == none[name]]
        return names

    of_others = ["recall", "sensitivity"]  # which are blind to class 0 rightly
    if len(by_hand.real) == 2:
        of_others += ["f1", "precision"]
    names = blind([name for name in base if not any(word in name.lower() for word in of_others)], 0)
    for kind in real[1:] if names else ():
        unseen = blind(names, kind)
        names = [name for name in names if name not in unseen]
    for name in names:
        count = int((valid & (kinds == 0)).sum())
        case.found.add(
            "class_zero", float(count),
            f"metric {name!r}: predictions at the {count} real steps of class 0",
            "Class 0 is real here, and the metric masks it away: padding is told by the label.",
            "Make the mask of the lengths, or begin classes at 1 and keep 0 for padding.",
        )  # fmt: skip
