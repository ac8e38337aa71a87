"""A Keras mask of any kind, as lengths: the steps that count go to the front, and what comes out goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from workbench.cells.vectorized import inside_map
from workbench.cells.xla import inside_jit
from workbench.masking import sequence_mask


def gather_valid(inputs: Any, mask: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """Inputs [B, T, ...], nested, with the steps where `mask` [B, T] is true in front, and how many they are [B].

    Where they stand in front already nothing is moved.
    """
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)

    def gather() -> Any:
        order = tf.argsort(tf.cast(mask, tf.int32), axis=1, direction="DESCENDING", stable=True)
        return tf.nest.map_structure(lambda x: tf.gather(x, order, batch_dims=1), inputs)

    return _unless_in_front(mask, lengths, lambda: inputs, gather), lengths


def spread(
    outputs: tf.Tensor, mask: tf.Tensor, *, backwards: bool = False, repeat: bool = False
) -> tf.Tensor:
    """Outputs [B, T, O] of gathered steps at the places where `mask` [B, T] has them; elsewhere zeros.

    `repeat`: elsewhere the output of the step before, as Keras' layers have it; `backwards`: of the step after.
    """
    counts = tf.cast(mask, tf.int32)
    lengths = tf.reduce_sum(counts, axis=1)
    seen = tf.cumsum(counts, axis=1, reverse=backwards)  # steps that counted, on the way to each

    def in_place() -> tf.Tensor:
        if backwards or not repeat:
            return outputs
        last = tf.gather(outputs, tf.maximum(lengths - 1, 0), batch_dims=1, axis=1)
        return tf.where(_wide(mask | (seen == 0)), outputs, last[:, tf.newaxis])

    def moved() -> tf.Tensor:
        at = lengths[:, tf.newaxis] - seen if backwards else seen - 1
        steps = tf.maximum(tf.minimum(at, tf.shape(outputs)[1] - 1), 0)
        shown = (seen > 0) if repeat else mask
        return tf.where(_wide(shown), tf.gather(outputs, steps, batch_dims=1), tf.zeros([], outputs.dtype))

    return tf.ensure_shape(_unless_in_front(mask, lengths, in_place, moved), outputs.shape)


def _unless_in_front(
    mask: tf.Tensor, lengths: tf.Tensor, then: Callable[[], Any], otherwise: Callable[[], Any]
) -> Any:
    """`then()` where all masks are true up to a length and false after it."""
    if inside_jit() or inside_map():  # where both would be computed
        return otherwise()
    in_front = tf.reduce_all(mask == sequence_mask(lengths, tf.shape(mask)[1]))
    return tf.cond(in_front, then, otherwise)


def _wide(mask: tf.Tensor) -> tf.Tensor:
    return mask[..., tf.newaxis]
