"""What lives as long as a cell: the graphs in which it was traced, which TensorFlow would keep for ever.

A training step sums its gradients over replicas (`ReplicaContext.all_reduce`, in Keras' `fit` and wherever an
optimizer of Keras' steps), and TensorFlow puts the gradient of that sum into a table of the process. The entry
keeps the step's whole graph, with what was compiled for it. A `keras.layers.LSTM` leaves the same behind.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_TRACED: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
_OF_THE_SUM = "tensorflow.python.distribute.distribute_lib"


def held(cell: Any) -> Any:
    """The cell, for its gradient: weakly in a graph, which must not keep it alive.

    Outside a graph only the gradient itself may still hold a cell.
    """
    return cell if tf.executing_eagerly() else weakref.proxy(cell)


def free_with(cell: Any) -> None:
    """Lets go of the graph that is traced now, with all around it, once the cell is gone."""
    if tf.executing_eagerly():
        return
    if cell not in _TRACED:
        _TRACED[cell] = weakref.WeakSet()
        weakref.finalize(cell, _free, _TRACED[cell]).atexit = False
    _TRACED[cell].update(_with_those_around(tf.compat.v1.get_default_graph()))


def _with_those_around(graph: Any) -> Iterator[Any]:
    """A function's graph, and those in which it was traced, so far as they are still there."""
    while hasattr(graph, "outer_graph"):  # all lie in TensorFlow's default graph, which has none
        yield graph
        graph = graph.outer_graph


def _free(graphs: weakref.WeakSet[Any]) -> None:
    """Drops the gradients of sums over replicas in these graphs from TensorFlow's table.

    The table is private, and so is what an entry is made of; where they are other than here nothing is freed.
    tests/rnn/test_lifetime.py notices.
    """
    try:
        from tensorflow.python.framework.ops import gradient_registry

        table = gradient_registry._registry
    except (ImportError, AttributeError):
        return
    for name in [name for name in list(table) if name.startswith("CustomGradient-")]:
        if any(graph in graphs for graph in _with_those_around(_graph_of_a_sum(table[name]))):
            del table[name]


def _graph_of_a_sum(entry: Any) -> Any:
    """The graph of an entry that is the gradient of a sum over replicas; else None."""
    try:
        made = inspect.getclosurevars(entry["type"]).nonlocals["tape_grad_fn"]
        inside = inspect.getclosurevars(made).nonlocals
        if inside["grad_fn"].__module__ == _OF_THE_SUM:
            return tf.nest.flatten(inside["result"])[0].graph
    except (AttributeError, KeyError, TypeError):
        pass
    return None
