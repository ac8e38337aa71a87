from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from workbench.measure import calibration
from workbench.measure.calibration import calibrate
from workbench.measure.graph import build_graph, count_nodes


def _concrete(function: Any) -> Any:
    return tf.function(
        function, input_signature=[tf.TensorSpec([], tf.float32)], autograph=False
    ).get_concrete_function()


def test_a_plain_graph_is_counted_node_by_node() -> None:
    # x, x * x, + x, the identity that returns it
    assert count_nodes(_concrete(lambda x: x * x + x)) == 4


def test_a_function_that_is_called_twice_counts_its_body_once() -> None:
    inner = tf.function(lambda x: tf.sin(tf.cos(x)), autograph=False)
    once, twice = _concrete(lambda x: inner(x)), _concrete(lambda x: inner(inner(x)))
    body = 3  # cos, sin, identity: arguments are no nodes of a library function
    calls = [
        sum(node.op.endswith("PartitionedCall") for node in c.graph.as_graph_def().node)
        for c in (once, twice)
    ]
    assert calls == [1, 2]
    assert count_nodes(once) == len(once.graph.as_graph_def().node) + body
    assert count_nodes(twice) == len(twice.graph.as_graph_def().node) + body


def test_bodies_of_nested_loops_count_once_each_and_runs_do_not() -> None:
    def loops(x: Any, runs: int) -> Any:
        def inner(i: Any, y: Any) -> Any:
            return tf.while_loop(lambda j, _: j < 3, lambda j, z: (j + 1, tf.sin(z)), (0, y))[1]

        return tf.while_loop(lambda i, _: i < runs, lambda i, y: (i + 1, inner(i, y)), (0, x))[1]

    few, many = _concrete(lambda x: loops(x, 2)), _concrete(lambda x: loops(x, 2000))
    assert count_nodes(few) == count_nodes(many)
    library = few.graph.as_graph_def().library.function
    assert len(library) == 4  # two bodies, two conditions
    assert count_nodes(few) > len(few.graph.as_graph_def().node) + 4
    assert sum(node.op == "Sin" for function in library for node in function.node_def) == 1


def test_unrolling_grows_with_the_number_of_steps() -> None:
    def unrolled(steps: int) -> int:
        def run(x: Any) -> Any:
            for _ in range(steps):
                x = tf.sin(x)
            return x

        return count_nodes(_concrete(run))

    assert unrolled(50) - unrolled(10) == 40


def test_building_is_timed_by_the_clock_and_only_building(clock: Any) -> None:
    function = _concrete(lambda x: x * x + x)

    def trace(argument: str) -> Any:
        assert argument == "batch"
        clock.advance(1.5)
        return function

    build = build_graph(trace, "batch", clock=clock)
    assert build.seconds == pytest.approx(1.5)
    assert build.nodes == 4


def test_the_best_product_counts(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 0.02, 0.01, 0.04])  # the first call traces and does not count
    monkeypatch.setattr(calibration, "_product", lambda size: lambda: clock.advance(next(times)))
    assert calibrate(seconds=0.05, least=3, size=100, clock=clock) == pytest.approx(2 * 100**3 / 0.01 / 1e9)


def test_a_real_product_has_a_real_speed() -> None:
    assert 0.1 < calibrate(seconds=0.0, size=256) < 1e6
