"""Where padding ends: every use of `sequence_length` outside a loop is made of these functions.

A batch holds examples of different lengths, filled up to one length T. Only `sequence_length` tells what is
padding: its content may be zero, noise, or NaN. Shapes are [B, T, ...] with the valid part in front.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def sequence_mask(sequence_length: Any, time_steps: Any) -> tf.Tensor:
    """Says which positions are valid: bool [B, T], true at [b, t] where t < sequence_length[b].

    >>> sequence_mask([0, 2], 3).numpy().astype(int).tolist()
    [[0, 0, 0], [1, 1, 0]]
    """
    return tf.sequence_mask(sequence_length, time_steps)


def zero_past_end(outputs: Any, sequence_length: Any) -> Any:
    """Sets every position past an example's end to zero, whatever was there (NaN too); [B, T, ...], nested.

    Its gradient is zero past the end, whatever comes in, so nothing behind it sees padding.

    >>> zero_past_end(tf.constant([[1.0, 2.0, float("nan")]]), [2]).numpy().tolist()
    [[1.0, 2.0, 0.0]]
    """

    def zero(tensor: Any) -> tf.Tensor:
        tensor = tf.convert_to_tensor(tensor)
        mask = sequence_mask(sequence_length, tf.shape(tensor)[1])
        return tf.where(_as_rank(mask, tensor.shape.rank), tensor, tf.zeros([], tensor.dtype))

    return tf.nest.map_structure(zero, outputs)


def copy_state(running: Any, new: Any, old: Any) -> Any:
    """Takes the new state of the examples that still run and the old one of the others.

    `running` is bool [B]; `new` and `old` are tensors [B, ...], nested alike. The result is nested as `old`,
    so that a loop's state keeps its structure even where a cell returns a tuple for a list.

    >>> copy_state([True, False], [tf.constant([1, 2])], [tf.constant([8, 9])])[0].numpy().tolist()
    [1, 9]
    """
    pairs = zip(tf.nest.flatten(new), tf.nest.flatten(old), strict=True)
    kept = [tf.where(_as_rank(tf.convert_to_tensor(running), n.shape.rank), n, o) for n, o in pairs]
    return tf.nest.pack_sequence_as(old, kept)


def reverse_valid(inputs: Any, sequence_length: Any | None) -> Any:
    """Reverses the valid part of each example and leaves its padding in place; its own inverse.

    `inputs` is [B, T, ...] or a nest of such. Without lengths (None) all T steps are valid.

    >>> reverse_valid(tf.constant([[1, 2, 3, 0], [4, 5, 6, 7]]), [3, 4]).numpy().tolist()
    [[3, 2, 1, 0], [7, 6, 5, 4]]
    """

    def reverse(tensor: Any) -> tf.Tensor:
        if sequence_length is None:
            return tf.reverse(tensor, [1])
        return tf.reverse_sequence(tensor, tf.cast(sequence_length, tf.int32), seq_axis=1, batch_axis=0)

    return tf.nest.map_structure(reverse, inputs)


def last_valid(outputs: Any, sequence_length: Any) -> tf.Tensor:
    """Picks each example's last valid output: [B, T, ...] -> [B, ...]; zeros where the length is 0.

    >>> last_valid([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0], [9.0, 9.0, 9.0]], [2, 1, 0]).numpy().tolist()
    [2.0, 3.0, 0.0]
    """
    outputs = tf.convert_to_tensor(outputs)
    length = tf.cast(sequence_length, tf.int32)
    if outputs.shape[1] == 0:
        return tf.zeros(tf.concat([tf.shape(outputs)[:1], tf.shape(outputs)[2:]], 0), outputs.dtype)
    picked = tf.gather(outputs, tf.maximum(length - 1, 0), batch_dims=1, axis=1)
    return tf.where(_as_rank(length > 0, picked.shape.rank), picked, tf.zeros([], outputs.dtype))


def valid_tokens(sequence_length: Any) -> int:
    """Counts the tokens of a batch, padding apart.

    >>> valid_tokens([0, 2, 3])
    5
    """
    return int(tf.reduce_sum(tf.cast(sequence_length, tf.int64)))


def _as_rank(mask: tf.Tensor, rank: int) -> tf.Tensor:
    """Adds axes of size 1 behind a mask's, so that it broadcasts against a tensor of that rank."""
    return mask[(..., *[tf.newaxis] * (rank - mask.shape.rank))]
