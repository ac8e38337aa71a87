"""The passes of the packed RNN inside XLA: traced once, whichever model asks, and bound to none."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import workbench
from workbench.cells import CELLS
from workbench.rnn import acceleration, packed_rnn
from workbench.rnn.packing import compiled

D, U = 3, 5


def step_of(cell: Any) -> Any:
    """Gradients of a cell's weights, traced anew for each kind of shape."""

    def step(inputs: tf.Tensor, lengths: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            outputs, _ = packed_rnn(cell, inputs, lengths, kernel="xla")
            total = tf.reduce_sum(tf.sin(outputs))
        return tape.gradient(total, cell.trainable_variables)

    return tf.function(step, autograph=False)


def cell_of(units: int) -> Any:
    cell = CELLS["gru"](units)
    cell.build((None, D))
    return cell


def batch(examples: int, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
    draw = np.random.default_rng(examples)
    lengths = draw.integers(0, steps + 1, examples)
    return tf.constant(draw.normal(size=(examples, steps, D)), tf.float32), tf.constant(lengths, tf.int32)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is traced from now on."""
    found: list[Any] = []
    trace = compiled._traced

    def watched(function: Any, *like: Any) -> Any:
        found.append(trace(function, *like))
        return found[-1]

    monkeypatch.setattr(compiled, "_traced", watched)
    return found


def test_models_and_shapes_share_what_is_traced(traced: list[Any]) -> None:
    for cell in (cell_of(U), cell_of(U)):
        step = step_of(cell)
        for examples, steps in [(32, 4), (32, 7)]:
            step(*batch(examples, steps))
        relaxed = step.get_concrete_function(
            tf.TensorSpec([None, None, D], tf.float32), tf.TensorSpec([None], tf.int32)
        )
        relaxed(*batch(7, 5))
        assert step.experimental_get_tracing_count() == 3
    assert len(traced) == 2  # there and back


def test_another_direction_or_size_is_traced_for_itself(traced: list[Any]) -> None:
    cell = cell_of(U + 1)
    for options in ({}, {"go_backwards": True}, {"batch_size": 48}, {"chains": 1}):
        tf.function(lambda x, n, given: packed_rnn(cell, x, n, kernel="xla", **given)[0], autograph=False)(
            *batch(32, 4), options
        )
    assert len(traced) == 4


def test_what_is_traced_keeps_no_graph_and_no_device_of_who_asked_first(traced: list[Any]) -> None:
    cell = cell_of(U + 2)

    @tf.function(autograph=False)
    def placed(inputs: tf.Tensor, lengths: tf.Tensor) -> Any:
        with tf.device("CPU:0"), tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(packed_rnn(cell, inputs, lengths, kernel="xla")[0])
        return tape.gradient(total, inputs)

    placed(*batch(32, 4))
    assert len(traced) == 2
    for function in traced:
        assert not isinstance(function.graph.outer_graph, type(function.graph))
        assert {op.device for op in function.graph.get_operations()} == {""}


def test_both_directions_of_an_accelerated_model_take_a_chain_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def watched(cell: Any, *given: Any, **options: Any) -> Any:
        asked.append((cell.units, options.get("chains")))
        return packed_rnn(cell, *given, **options)

    monkeypatch.setattr(acceleration, "packed_rnn", watched)
    both = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    model = workbench.accelerate(keras.Sequential([keras.Input([None, D]), both, keras.layers.LSTM(2)]))
    model(tf.zeros([2, 3, D]))
    assert sorted(asked, key=str) == [(2, None), (4, 1), (4, 1)]
