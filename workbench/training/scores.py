"""Precision, recall and F1 of tags: of each class and their mean, over valid steps, however examples are batched.

    hits[c]       labels of class c that were predicted
    predicted[c]  predictions of c,  actual[c]  labels of c, both at valid steps only
    F1[c] = 2 hits / (predicted + actual)

Counts are summed over all batches before anything is divided, so neither padding nor the batch size has a say; a
mean of batches' F1 is another number. What is meant by macro F1 is scikit-learn's: the mean over the classes that
occur, as a label or as a prediction.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class ClassCounts:
    """How often each of C classes was right, predicted, and the label: [C] each, weighed where weights are given.

    >>> counts = ClassCounts.of([[0, 2, 2]], [[0, 1, 0]], [2], classes=3)  # the third step is padding
    >>> counts.f1().tolist(), counts.macro_f1()
    ([1.0, 0.0, 0.0], 0.3333333333333333)
    """

    hits: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray

    @classmethod
    def none(cls, classes: int) -> ClassCounts:
        """Of nothing."""
        return cls(*(np.zeros(classes) for _ in range(3)))

    @classmethod
    def of(
        cls, predictions: Any, labels: Any, sequence_length: Any, *, classes: int, weights: Any = None
    ) -> ClassCounts:
        """Of a padded batch: predictions and labels int [B, T], lengths [B]; weights [B] or [B, T].

        A prediction that is no class (-1, where the scores were no numbers) counts as none of them.
        """
        predictions, labels = np.asarray(predictions), np.asarray(labels)
        counts = np.arange(labels.shape[1]) < np.asarray(sequence_length)[:, np.newaxis]
        weigh = np.ones(labels.shape) if weights is None else np.asarray(weights, np.float64)
        weigh = np.broadcast_to(weigh[:, np.newaxis] if weigh.ndim == 1 else weigh, labels.shape)
        predictions, labels, weigh = predictions[counts], labels[counts], weigh[counts]
        is_class = (predictions >= 0) & (predictions < classes)

        def sums(values: np.ndarray, where: np.ndarray) -> np.ndarray:
            return np.bincount(values[where], weigh[where], minlength=classes)

        everywhere = np.ones(labels.shape, bool)
        return cls(sums(labels, predictions == labels), sums(predictions, is_class), sums(labels, everywhere))

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(
            self.hits + other.hits, self.predicted + other.predicted, self.actual + other.actual
        )

    def precision(self) -> np.ndarray:
        """[C]; 0 for a class that was never predicted."""
        return _share(self.hits, self.predicted)

    def recall(self) -> np.ndarray:
        """[C]; 0 for a class that is never the label."""
        return _share(self.hits, self.actual)

    def f1(self) -> np.ndarray:
        """[C]; 0 for a class that does not occur."""
        return _share(2 * self.hits, self.predicted + self.actual)

    def macro_f1(self) -> float | None:
        """The mean over the classes that occur as a label or a prediction; None where none does."""
        occurs = self.predicted + self.actual > 0
        return float(self.f1()[occurs].mean()) if occurs.any() else None

    def write(self, path: Path, names: Sequence[str] = ()) -> None:
        """A CSV of a line a class that occurs: class, precision, recall, f1, labels, predictions."""
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["class", "precision", "recall", "f1", "labels", "predictions"])
            columns = zip(
                self.precision(), self.recall(), self.f1(), self.actual, self.predicted, strict=True
            )
            for number, (precision, recall, f1, actual, predicted) in enumerate(columns):
                if actual or predicted:
                    name = names[number] if number < len(names) else number
                    shares = [f"{value:.6f}" for value in (precision, recall, f1)]
                    table.writerow([name, *shares, f"{actual:.15g}", f"{predicted:.15g}"])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


@keras.saving.register_keras_serializable("workbench")
class F1(keras.metrics.Metric):
    """F1 of padded tags, for `model.compile(metrics=[F1(classes)])`.

    Takes labels [B, T] (or [B]) and scores [B, T, C] (or [B, C]). Steps count by the mask that Keras keeps with
    the scores, which its own F1Score does not look at, and by `sample_weight`, [B], [B, T] or [B, T, 1], which
    `weighted_metrics` hands on. `average="macro"` is the mean over the classes that occur, as scikit-learn has
    it; None gives all, [C]. Counts go on over batches until `reset_state()`, so the batch size has no say. Scores
    that are not numbers predict no class; a step whose label is below 0 does not count.
    """

    def __init__(self, classes: int, average: str | None = "macro", name: str = "f1", **others: Any):
        if classes < 1:
            raise ValueError(f"classes is {classes}: must be at least 1")
        if average not in ("macro", None):
            raise ValueError(f'average is {average!r}: must be "macro", or None for each class')
        super().__init__(name=name, **others)
        self.classes, self.average = classes, average
        self._counts = self.add_variable((3, classes), initializer="zeros", dtype="float64", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        scores = tf.convert_to_tensor(y_pred)
        if scores.shape[-1] not in (None, self.classes):
            raise ValueError(f"scores are of {scores.shape[-1]} classes, F1 of {self.classes}")
        labels = tf.cast(tf.convert_to_tensor(y_true), tf.int32)
        if labels.shape.rank == scores.shape.rank:
            labels = tf.squeeze(labels, -1)
        weights = tf.ones(tf.shape(labels), tf.float64)
        mask = getattr(y_pred, "_keras_mask", None)
        if mask is not None:
            weights *= tf.cast(mask, tf.float64)
        if sample_weight is not None:
            given = tf.cast(sample_weight, tf.float64)
            if given.shape.rank == labels.shape.rank + 1:
                given = tf.squeeze(given, -1)
            elif given.shape.rank < labels.shape.rank:
                given = given[:, tf.newaxis]
            weights *= given
        # one score of -inf is a class that is ruled out
        numbers = ~tf.reduce_any(tf.math.is_nan(scores), -1) & tf.reduce_any(scores > float("-inf"), -1)
        guesses = tf.where(numbers, tf.argmax(scores, -1, output_type=tf.int32), -1)
        # the label of a step that does not count may be anything; one below 0 is none (Keras' ignore_class)
        counted = (weights != 0) & (labels >= 0)
        rows = [
            tf.math.unsorted_segment_sum(
                weights, tf.where(counted & where, labels_or_guesses, -1), self.classes
            )
            for labels_or_guesses, where in (
                (labels, guesses == labels),
                (guesses, guesses >= 0),
                (labels, tf.ones_like(counted)),
            )
        ]
        self._counts.assign_add(tf.stack(rows))

    def result(self) -> tf.Tensor:
        """The mean, or F1 of each class."""
        hits, guesses, labels = tf.unstack(tf.convert_to_tensor(self._counts))
        each = tf.math.divide_no_nan(2 * hits, guesses + labels)
        if self.average is None:
            return each
        return tf.math.divide_no_nan(
            tf.reduce_sum(each), tf.cast(tf.math.count_nonzero(guesses + labels), tf.float64)
        )

    def get_config(self) -> dict[str, Any]:
        """Classes and average."""
        return {**super().get_config(), "classes": self.classes, "average": self.average}
