"""Whether an activation of somebody's own gives the same at each call, as it must in a compiled step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from workbench.cells.closed_over import closed_over
from workbench.cells.keras_state import called
from workbench.seeds import initialisation

_KNOWN: WeakKeyDictionary[Any, dict[Any, bool]] = WeakKeyDictionary()


def is_pure(function: Any, width: int, dtype: Any) -> bool:
    """Whether its argument [B, width] alone decides what a function gives, and nothing else is done.

    Not where it reads what may be another thing at the next call (`closed_over`) or a variable, nor where it draws,
    since its backward step would draw other numbers, or prints, or asserts. Traced once for what it reads.
    """
    read = closed_over(function)
    if read is None:
        return False
    if is_known(function):
        return True
    known = _KNOWN.setdefault(function, {})
    key = (width, dtype, read)
    if key not in known:
        known[key] = _traced_is_pure(function, tf.TensorSpec([None, width], dtype))
    return known[key]


def is_of_each_row(function: Any, width: int, dtype: Any, *, may_draw: bool = False) -> bool:
    """Whether a function of [B, width] gives each row what it gives that row alone, as far as five rows show.

    Not where it looks at other rows or at the shape, nor where it draws, if it may not; a Keras layer in training
    and out of it. One that reads a tensor of another graph cannot be tried.
    """
    if is_known(function):
        return True
    if not isinstance(function, keras.layers.Layer) and _assigns_in_training(function, width, dtype):
        return False  # as a layer's statistics of the batch do; they would move
    with initialisation(0, "a copy"), _put_back(function, width, dtype):
        return all(_gives_each_row(way, width, dtype, may_draw) for way in _ways_to_call(function))


def beyond_its_row(cell: Any, *, may_draw: bool = False) -> str | None:
    """The option of a cell whose activation does not give each row what it gives that row alone, or None."""
    for name in ("activation", "recurrent_activation"):
        one, units = getattr(cell, name, None), getattr(cell, "units", None)
        if not callable(one) or not isinstance(units, int):  # of a class of one's own it may be anything
            continue
        if not is_of_each_row(one, units, cell.compute_dtype, may_draw=may_draw):
            return name
    return None


def _ways_to_call(function: Any) -> list[Any]:
    """Out of training and in it; a Keras layer by a copy, whose variables and statistics are its own."""
    if isinstance(function, keras.layers.Layer):
        with suppress(TypeError, ValueError, NotImplementedError):  # of a class whose options are not told
            copy = type(function).from_config(function.get_config())
            return [partial(copy, training=training) for training in (False, True)]
    return [partial(called, function, training=training) for training in (False, True)]


def _assigns_in_training(function: Any, width: int, dtype: Any) -> bool:
    """Whether a function sets a variable of floats where Keras is training; of what fails nothing is known.

    What draws moves a generator's state, which is of whole numbers.
    """
    try:
        traced = tf.function(partial(called, function, training=True), autograph=False).get_concrete_function(
            tf.TensorSpec([None, width], dtype)
        )
    except Exception:
        return False
    assigned = (op.inputs[1] for op in traced.graph.get_operations() if op.type.startswith("Assign"))
    return any(value.dtype.is_floating for value in assigned)


@contextmanager
def _put_back(function: Any, width: int, dtype: Any) -> Iterator[None]:
    """Puts back the variables (a count, a seed) that somebody's function reads or sets.

    Not a layer's: a copy of that is tried.
    """
    if isinstance(function, keras.layers.Layer):
        yield
        return
    variables: dict[int, Any] = {}
    for training in (False, True):
        with suppress(Exception):  # of what fails nothing is known
            traced = tf.function(
                partial(called, function, training=training), autograph=False
            ).get_concrete_function(tf.TensorSpec([None, width], dtype))
            variables |= {id(one.handle): one for one in traced.graph.variables}
    with tf.init_scope():
        before = [(one, tf.identity(one)) for one in variables.values()]
    try:
        yield
    finally:
        with tf.init_scope():
            for one, value in before:
                one.assign(value)


def _gives_each_row(function: Any, width: int, dtype: Any, may_draw: bool) -> bool:
    rows = np.random.default_rng(0).normal(size=(5, width))
    try:
        with tf.init_scope():
            together, again = (function(tf.cast(rows, dtype)) for _ in range(2))
            if may_draw and not alike(together, again):
                return True
            return alike(
                together, tf.concat([function(tf.cast(row, dtype)) for row in rows[:, np.newaxis]], 0)
            )
    except Exception as error:  # somebody's own: of what fails on five rows it is not shown
        return "out of scope" in str(error)


def alike(some: Any, others: Any) -> bool:
    """Whether two tensors of normal numbers are finite in the same places, and equal but for rounding."""
    near = 0.02 if tf.convert_to_tensor(some).dtype.size < 4 else 1e-4
    some, others = tf.cast(some, tf.float32), tf.cast(others, tf.float32)
    finite, both = tf.math.is_finite(some), tf.math.is_finite(others)
    apart = tf.where(finite & both, tf.abs(some - others), tf.where(finite == both, 0.0, 1.0))
    size = tf.reduce_max(tf.where(finite, tf.abs(some), 0.0), keepdims=False) if tf.size(some) else 0.0
    return bool(tf.reduce_max(apart) <= near * tf.maximum(size, 1.0))


def is_known(function: Any) -> bool:
    """Whether it is an activation of Keras', all of which are pure, with a finite slope everywhere."""
    module = getattr(function, "__module__", None) or ""
    return function is tf.sigmoid or module.startswith("keras.src.activations")


def _traced_is_pure(function: Any, like: tf.TensorSpec) -> bool:
    traced = tf.function(function, autograph=False).get_concrete_function(like)
    reads = any(one.dtype == tf.resource for one in traced.captured_inputs)
    return not reads and not any(op.op_def.is_stateful for op in traced.graph.get_operations())
