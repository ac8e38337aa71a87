"""Sequence losses: which positions count, and how what counts is averaged.

A loss is `sum / denominator`; both are given, so that several batches can be averaged rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.masking import sequence_mask


class LossParts(NamedTuple):
    """A loss as `sum / denominator`, and how many positions counted."""

    sum: tf.Tensor
    denominator: tf.Tensor  # at least 1 where nothing counts, so that the loss is then 0
    valid_tokens: tf.Tensor  # int64


def cross_entropy(logits: Any, targets: Any) -> tf.Tensor:
    """Cross entropy of each position in nats: logits [B, T, C], targets int [B, T] -> [B, T]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


# ------------------------------------------------------------ masks: (targets, sequence_length) -> [B, T]
def length_mask(targets: Any, sequence_length: Any) -> tf.Tensor:
    """1 where t < sequence_length; right whatever the classes are.

    >>> length_mask([[0, 3, 0]], [2]).numpy().tolist()
    [[1.0, 1.0, 0.0]]
    """
    return tf.cast(sequence_mask(sequence_length, tf.shape(targets)[1]), tf.float32)


def sign_mask(targets: Any, sequence_length: Any = None) -> tf.Tensor:
    """The guide's sign(y): 1 where the target is not 0, so right only where class 0 is not a class.

    >>> sign_mask([[0, 3, 0]]).numpy().tolist()
    [[0.0, 1.0, 0.0]]
    """
    return tf.sign(tf.cast(targets, tf.float32))


def no_mask(targets: Any, sequence_length: Any = None) -> tf.Tensor:
    """1 everywhere: padding counts, as in plain `sequence_loss`.

    >>> no_mask([[0, 3, 0]]).numpy().tolist()
    [[1.0, 1.0, 1.0]]
    """
    return tf.ones(tf.shape(targets), tf.float32)


# ------------------------------------------------------------ averages: (logits, targets, mask) -> parts
def per_token(logits: Any, targets: Any, mask: Any) -> LossParts:
    """Mean over all tokens that count: each weighs the same, so long examples weigh more."""
    losses, mask = _masked(logits, targets, mask)
    return LossParts(tf.reduce_sum(losses), _or_one(tf.reduce_sum(mask)), _count(mask))


def per_example(logits: Any, targets: Any, mask: Any) -> LossParts:
    """The guide's mean: within each example by what counts in it, then over the examples."""
    losses, mask = _masked(logits, targets, mask)
    weight = tf.reduce_sum(mask, 1)
    means = tf.reduce_sum(losses, 1) / _or_one(weight)
    return LossParts(tf.reduce_sum(means), _or_one(tf.reduce_sum(_ones_where_counted(weight))), _count(mask))


def _masked(logits: Any, targets: Any, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Losses times mask, [B, T] each. What does not count is replaced first, so NaN there goes nowhere.

    In float32 at least: a half cannot count past 2,048 tokens.
    """
    logits, targets = tf.convert_to_tensor(logits), tf.convert_to_tensor(targets)
    logits = logits if logits.dtype.size > 2 else tf.cast(logits, tf.float32)
    mask = tf.cast(mask, logits.dtype)
    counts = mask != 0
    logits = tf.where(counts[..., tf.newaxis], logits, tf.zeros([], logits.dtype))
    targets = tf.where(counts, targets, tf.zeros([], targets.dtype))
    return cross_entropy(logits, targets) * mask, mask


def _or_one(denominator: tf.Tensor) -> tf.Tensor:
    return tf.where(denominator == 0, tf.ones([], denominator.dtype), denominator)


def _ones_where_counted(weight: tf.Tensor) -> tf.Tensor:
    return tf.cast(weight != 0, weight.dtype)


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(mask)


MASKS: dict[str, Callable[..., tf.Tensor]] = {"length": length_mask, "sign": sign_mask, "none": no_mask}
LOSSES: dict[str, Callable[..., LossParts]] = {"token": per_token, "example": per_example}
