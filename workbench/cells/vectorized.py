"""Whether `tf.vectorized_map` is around: many calls in one, in ops written anew without gradients of our own."""

from __future__ import annotations

import re

import tensorflow as tf


def inside_map() -> bool:
    """Whether what is traced now is the body of `tf.vectorized_map`.

    It writes the ops anew, many calls in one, and an op that has a gradient of its own loses it in silence. It
    tells of itself by the name of its scope only, also of the graph around a function's. What was traced before,
    outside, is not seen.
    tests/rnn/test_vectorized_map.py notices.
    """
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        if any(re.fullmatch(r"loop_body(_\d+)?", scope) for scope in graph.get_name_scope().split("/")):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False
