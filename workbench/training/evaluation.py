"""A split evaluated: sums that do not depend on batching."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from workbench.losses import cross_entropy
from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.training.objective import Batch, aligned, batch_loss, counted
from workbench.training.scores import ClassCounts
from workbench.training.step import PerLength

_LARGEST_LOSS = 690.0


@dataclass(frozen=True)
class Evaluation:
    """A split evaluated. None where there is nothing to take a mean of (no non-empty example); never for NaN."""

    loss_per_token: float | None
    loss_per_example: float | None
    objective: float | None
    """The loss as training had it, by its mask and average: what a report by that mask would say."""
    accuracy_per_token: float | None
    """Of what is right: the largest of scores that are all numbers, which belongs to the label."""
    accuracy_per_example: float | None
    valid_tokens: int
    examples: int
    """All, empty ones included."""
    counted_examples: int
    """The non-empty ones, over which per-example means are taken."""
    classes: ClassCounts | None
    """Of the valid tokens' labels; None for the task next, which has a class a word."""
    perplexity: float | None = None
    """Of the task next: the exponential of the loss per token; None where that is no number to compare."""

    def metrics(self, split: str) -> dict[str, float | None]:
        """By the names of METRICS for a split, train or validation."""
        return {
            f"loss/{split}_per_token": self.loss_per_token,
            f"loss/{split}_per_example": self.loss_per_example,
            f"loss/{split}_objective": self.objective,
            f"accuracy/{split}_per_token": self.accuracy_per_token,
            f"accuracy/{split}_per_example": self.accuracy_per_example,
            f"f1/{split}_macro": self.classes.macro_f1() if self.classes else None,
            f"perplexity/{split}": self.perplexity,
        }


class Evaluator:
    """True loss and accuracy per token and per example (by the lengths), and the objective as configured.

    Per token: the mean over all valid tokens of the split. Per example: the mean within each example by its
    true length, then over the non-empty examples. The objective is by `loss`, which may count padding. For a model
    that classifies, an example's one label is its only token. The graph is kept from one call to the next.
    """

    def __init__(self, model: SequenceModel, loss: Loss):
        def forward(batch: Batch) -> tuple[tf.Tensor, ...]:
            logits = model(batch, training=False)
            parts = batch_loss(model, batch, logits, loss)
            scores, targets, lengths = aligned(logits, batch, model.task)
            guesses = tf.argmax(scores, axis=-1, output_type=targets.dtype)
            numbers = tf.reduce_all(tf.math.is_finite(scores), axis=-1)
            guesses = tf.where(numbers, guesses, -1)  # the argmax of NaN is class 0
            return cross_entropy(scores, targets), guesses, targets, lengths, parts.sum, counted(parts)

        self._run, self._task, self._classes = PerLength(model, forward), model.task, model.classes

    def __call__(self, batches: Iterable[Batch]) -> Evaluation:
        """Sum over the batches in float64, exactly, so that how the examples are batched does not matter."""
        loss_sums, loss_means, right_means = [], [], []
        objective_sums, denominators = [], []
        right, tokens, examples = 0, 0, 0
        classes = None if self._task == "next" else ClassCounts.none(self._classes)
        for batch in batches:
            entropy, guesses, targets, lengths, total, denominator = (
                value.numpy() for value in self._run(batch)
            )
            if classes is not None:
                classes += ClassCounts.of(guesses, targets, lengths, classes=self._classes)
            objective_sums.append(float(total))
            denominators.append(float(denominator))
            valid = np.arange(entropy.shape[1]) < lengths[:, np.newaxis]
            sums = np.where(valid, entropy.astype(np.float64), 0.0).sum(axis=1)
            hits = ((guesses == targets) & valid).sum(axis=1)
            kept = lengths > 0
            loss_sums += sums.tolist()
            loss_means += (sums[kept] / lengths[kept]).tolist()
            right_means += (hits[kept] / lengths[kept]).tolist()
            right += int(hits.sum())
            tokens += int(lengths.sum())
            examples += len(lengths)
        loss = _share(_sum(loss_sums), tokens)
        return Evaluation(
            loss_per_token=loss,
            loss_per_example=_share(_sum(loss_means), len(loss_means)),
            objective=_share(_sum(objective_sums), _sum(denominators)),
            accuracy_per_token=_share(right, tokens),
            accuracy_per_example=_share(_sum(right_means), len(right_means)),
            valid_tokens=tokens,
            examples=examples,
            counted_examples=len(loss_means),
            classes=classes,
            perplexity=_exponential(loss) if self._task == "next" else None,
        )


def _sum(values: Iterable[float]) -> float:
    """The exact sum; NaN where it is beyond all numbers."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return math.nan


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _exponential(loss: float | None) -> float | None:
    """None beyond what compares as a number."""
    return math.exp(loss) if loss is not None and loss < _LARGEST_LOSS else None
