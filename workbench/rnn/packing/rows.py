"""Arrays of packed rows: written a step or a window at a time, read back, and joined in the end."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def row_array(dtype: tf.DType, size: Any, width: int) -> tf.TensorArray:
    """`size` elements [rows, width], each with rows of its own number."""
    return tf.TensorArray(dtype, size, clear_after_read=False, infer_shape=False, element_shape=[None, width])


def read_rows(flow: tf.Tensor, k: Any, dtype: tf.DType, width: int) -> tf.Tensor:
    """Element k [rows, width] of a `row_array` of which the tensor list is left, its `flow`.

    A function takes and gives the list; an array made of one does not know the shape of its elements.
    """
    shape = tf.constant([-1, width])
    rows = tf.raw_ops.TensorListGetItem(input_handle=flow, index=k, element_shape=shape, element_dtype=dtype)
    return tf.ensure_shape(rows, [None, width])


class ListedRows:
    """A `row_array` of tensors that Python holds, for a loop that it unrolls.

    In a map over gradients (pfor, of `tape.jacobian`) a TensorArray's elements are all of one shape.
    """

    def __init__(self, size: int) -> None:
        self.rows: list[Any] = [None] * size

    def write(self, k: int, rows: tf.Tensor) -> ListedRows:
        """Set element k [rows, width]."""
        self.rows[k] = rows
        return self

    def read(self, k: int) -> tf.Tensor:
        """Element k [rows, width]."""
        return self.rows[k]


def join_rows(array: tf.TensorArray | ListedRows, width: int) -> tf.Tensor:
    """All rows [N, width]; none, where the array has no element (which `concat` refuses outside a graph)."""
    if isinstance(array, ListedRows):
        return tf.ensure_shape(tf.concat(array.rows, 0), [None, width])
    if tf.get_static_value(array.size()) == 0:
        return tf.zeros([0, width], array.dtype)
    return tf.ensure_shape(array.concat(), [None, width])
