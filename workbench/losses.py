"""Sequence losses: which positions count, and how what counts is averaged.

A loss is `sum / denominator`; both are given, so that several batches can be averaged rightly. A mask may hold
weights in place of ones: of steps, of classes (`class_weighted`). The sum is then divided by the weights that
counted, so neither padding nor the batch size has a say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=_classes(targets), logits=logits)


def _classes(targets: Any) -> tf.Tensor:
    """Targets of any integer type in one that TensorFlow's ops take."""
    targets = tf.convert_to_tensor(targets)
    is_taken = targets.dtype in (tf.int32, tf.int64) or not targets.dtype.is_integer
    return targets if is_taken else tf.cast(targets, tf.int64)


# ------------------------------------------------------------ masks: (targets, sequence_length) -> [B, T]
def length_mask(targets: Any, sequence_length: Any) -> tf.Tensor:
    """1 where t < sequence_length; right whatever the classes are.

    >>> length_mask([[0, 3, 0]], [2]).numpy().tolist()
    [[1.0, 1.0, 0.0]]
    """
    sequence_length = tf.convert_to_tensor(sequence_length)
    if sequence_length.shape.rank not in (None, 1):
        raise ValueError(
            f"sequence_length is of shape {sequence_length.shape}: must be [B], one for each example"
        )
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


def class_weighted(mask: Any, targets: Any, weights: Sequence[float]) -> tf.Tensor:
    """A mask [B, T] times the weight of each target's class; targets that do not count may be no class.

    >>> class_weighted([[1.0, 1.0, 0.0]], [[0, 2, -1]], [1.0, 1.0, 5.0]).numpy().tolist()
    [[1.0, 5.0, 0.0]]
    """
    mask, targets = _floating(mask), _classes(targets)
    classes = tf.where(mask != 0, targets, tf.zeros([], targets.dtype))
    return mask * tf.gather(tf.constant(weights, mask.dtype), classes)


# ------------------------------------------- averages: (logits, targets, mask, weights of examples [B]) -> parts
def per_token(logits: Any, targets: Any, mask: Any, sample_weight: Any = None) -> LossParts:
    """Mean over all tokens that count: each weighs the same, so long examples weigh more."""
    if sample_weight is not None:
        mask = _floating(mask)
        mask *= _of_examples(sample_weight, mask.dtype)[:, tf.newaxis]
    losses, mask = _masked(logits, targets, mask)
    return LossParts(tf.reduce_sum(losses), _or_one(tf.reduce_sum(mask)), _count(mask))


def per_example(logits: Any, targets: Any, mask: Any, sample_weight: Any = None) -> LossParts:
    """The guide's mean: within each example by what counts in it, then over the examples."""
    losses, mask = _masked(logits, targets, mask)
    weight = tf.reduce_sum(mask, 1)
    means, each = tf.reduce_sum(losses, 1) / _or_one(weight), _ones_where_counted(weight)
    if sample_weight is not None:
        each *= _of_examples(sample_weight, each.dtype)
    counts = tf.where(each[:, tf.newaxis] != 0, mask, tf.zeros([], mask.dtype))
    return LossParts(tf.reduce_sum(means * each), _or_one(tf.reduce_sum(each)), _count(counts))


def _floating(mask: Any) -> tf.Tensor:
    """A mask of numbers that weights multiply, be it given as yes and no or as whole numbers."""
    mask = tf.convert_to_tensor(mask)
    return mask if mask.dtype.is_floating else tf.cast(mask, tf.float32)


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


def _of_examples(weights: Any, dtype: Any) -> tf.Tensor:
    weights = tf.cast(weights, dtype)
    if weights.shape.rank not in (None, 1):
        raise ValueError(f"sample_weight is of shape {weights.shape}: must be [B], one for each example")
    return weights


def _or_one(denominator: tf.Tensor) -> tf.Tensor:
    return tf.where(denominator == 0, tf.ones([], denominator.dtype), denominator)


def _ones_where_counted(weight: tf.Tensor) -> tf.Tensor:
    return tf.cast(weight != 0, weight.dtype)


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(mask)


MASKS: dict[str, Callable[..., tf.Tensor]] = {"length": length_mask, "sign": sign_mask, "none": no_mask}
LOSSES: dict[str, Callable[..., LossParts]] = {"token": per_token, "example": per_example}
