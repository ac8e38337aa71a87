"""Gradients of our own that live and die with the graph in which they were traced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue

NOT_SAVED = "a gradient of the workbench's own, which no SavedModel holds"


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """`tf.custom_gradient`, which in a graph leaves nothing behind.

    TensorFlow puts the gradient of each traced call into a table of the process, for ever: with it stay the graph,
    what was compiled for it, and the model. And whoever exports the graph must save that gradient too, which
    TensorFlow cannot where it reads what loops have kept. Here the op itself holds its gradient, and the table has
    no entry: a SavedModel holds the numbers alone, and its gradient is refused (LookupError, with NOT_SAVED).
    """

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> Any:
        # the gradient of a gather comes as slices, of which a graph makes no tensor by itself
        tensors = tuple(tf.convert_to_tensor(x) if isinstance(x, tf.IndexedSlices) else x for x in tensors)
        results = tf.custom_gradient(function)(*tensors)
        if not tf.executing_eagerly():
            _hand_over(tf.nest.flatten(results)[0].op)
        return results

    return call


def _hand_over(op: Any) -> None:
    """Moves a gradient from TensorFlow's table to its op, as TensorFlow does with the gradients of its loops.

    The table and the op's attribute are private; where they are gone all stays as TensorFlow has it: numbers are
    the same, but memory is not freed. tests/cells/test_custom_gradient.py notices.
    """
    try:
        from tensorflow.python.framework.ops import gradient_registry

        table = gradient_registry._registry
    except (ImportError, AttributeError):
        return
    name = op.get_attr("_gradient_op_type").decode()
    op._gradient_function = gradient_registry.lookup(name)
    del table[name]
    op._set_attr("_gradient_op_type", AttrValue(s=NOT_SAVED.encode()))
