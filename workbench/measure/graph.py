"""How large a graph is, and how long TensorFlow took to build it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def count_nodes(concrete: Any) -> int:
    """Nodes of a `ConcreteFunction`: its own, and those of every function in its library, once each.

    The bodies and conditions of loops, the branches of conditionals and functions called from functions lie
    flat in the library, so that a body is counted once however deep it is nested and however often it runs.
    That is the sense in which an unrolled graph is large and a loop is small.
    """
    definition = concrete.graph.as_graph_def()
    return len(definition.node) + sum(len(function.node_def) for function in definition.library.function)


@dataclass(frozen=True)
class GraphBuild:
    """Seconds it took to trace a step, and the nodes that came out."""

    seconds: float
    nodes: int


def build_graph(
    trace: Callable[..., Any], *arguments: Any, clock: Callable[[], float] = time.perf_counter
) -> GraphBuild:
    """Time `trace(*arguments)`, which returns a `ConcreteFunction`, and count its nodes.

    Pass a step that has not been traced yet (`TrainStep.trace`, or `get_concrete_function` of a fresh
    `tf.function`): a second call finds the graph ready made and measures nothing.
    """
    start = clock()
    concrete = trace(*arguments)
    seconds = clock() - start
    return GraphBuild(seconds, count_nodes(concrete))
