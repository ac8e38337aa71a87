"""Where what is traced will run: in an outer `jit_compile`, on a GPU; and what is kept out of XLA's clusters."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import tensorflow as tf

_P = ParamSpec("_P")
_R = TypeVar("_R")


def inside_jit() -> bool:
    """Whether what is traced now lies inside a `tf.function(jit_compile=True)`.

    TensorFlow tells by a private function only; where that is gone the answer is no, and what XLA does not have
    then fails in XLA's own words. tests/rnn/test_jit.py notices.
    """
    try:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
    except ImportError:
        return False
    if tf.executing_eagerly():
        return False
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def on_gpu() -> bool:
    """Whether what is made now runs on a GPU: TensorFlow sees one, and no `tf.device` says otherwise.

    One inside a `tf.function` counts, and else one around it, which TensorFlow keeps out of its graph.
    """
    if not tf.config.list_logical_devices("GPU"):
        return False
    place = _place()
    if place is None:
        with tf.init_scope():
            place = _place()
    return place != "CPU"


def _place() -> str | None:
    """The kind of device on which a floating number is made here; None where nothing says."""
    return tf.DeviceSpec.from_string(tf.zeros([]).device).device_type


def unrecorded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Keeps what a function makes out of all tapes, for whoever has a gradient of its own and opens no tape inside.

    Inside a `tf.function` a persistent tape (of a model with two losses) would have TensorFlow make the gradients
    of every loop at once, and call forms of what is compiled that XLA cannot compile. What stops the tapes is
    private; where it is gone such a tape fails in XLA's words. tests/rnn/test_tapes.py notices.
    """

    @wraps(function)
    def untaped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            from tensorflow.python.eager.record import stop_recording
        except ImportError:
            return function(*args, **kwargs)
        with stop_recording():
            return function(*args, **kwargs)

    return untaped


def never_clustered(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Keeps the ops that a function makes out of auto-clustering, of which TF_XLA_FLAGS may ask XLA.

    A cluster is compiled for shapes that are known, and again for each value that a shape comes from; sizes that
    lengths decide are such values, and some XLA cannot find at all. What is compiled by itself inside stays so.
    A loop's body is a graph of its own, so it is marked by itself.
    """

    @wraps(function)
    def marked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if tf.executing_eagerly() or inside_jit():
            return function(*args, **kwargs)
        with tf.xla.experimental.jit_scope(compile_ops=False):
            return function(*args, **kwargs)

    return marked
