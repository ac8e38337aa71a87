"""The passes of the packed RNN inside XLA: traced once, whichever model asks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import workbench
from workbench.cells import CELLS
from workbench.rnn import PackedRNN, acceleration, packed_rnn
from workbench.rnn.packing import compiled, saved_step

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
    monkeypatch.setattr(saved_step, "_ALIKE", {})  # what other tests left
    found: list[Any] = []
    trace = compiled._traced

    def watched(function: Any, *like: Any) -> Any:
        found.append(trace(function, *like))
        return found[-1]

    monkeypatch.setattr(compiled, "_traced", watched)
    return found


def test_models_and_shapes_share_what_is_traced(traced: list[Any]) -> None:
    step = step_of(cell_of(U))
    for examples, steps in [(32, 4), (32, 7)]:
        step(*batch(examples, steps))
    other = step_of(cell_of(U))
    relaxed = other.get_concrete_function(
        tf.TensorSpec([None, None, D], tf.float32), tf.TensorSpec([None], tf.int32)
    )
    relaxed(*batch(7, 5))
    assert step.experimental_get_tracing_count() == 2
    assert len(traced) == 2  # there and back


@pytest.mark.slow  # quick: models and shapes share what is traced
def test_more_sizes_than_a_few_share_what_is_traced_for_any(
    traced: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a function that is traced anew for each size: XLA would compile for each, and never forget it."""
    monkeypatch.setattr(compiled, "_SIZES", 1)
    step = step_of(cell := cell_of(U))
    for examples in (20, 24, 28, 26):
        inputs, lengths = batch(examples, 4)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.sin(packed_rnn(cell, inputs, lengths, kernel="plain")[0]))
        expected = tape.gradient(total, cell.trainable_variables)
        for one, other in zip(step(inputs, lengths), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(traced) == 4  # there and back: for 20, and for any


@pytest.mark.slow  # quick: what models and shapes share
def test_another_direction_or_size_is_traced_for_itself(traced: list[Any]) -> None:
    cell = cell_of(U + 1)
    for options in ({}, {"go_backwards": True}, {"batch_size": 48}, {"chains": 1}):
        tf.function(lambda x, n, given: packed_rnn(cell, x, n, kernel="xla", **given)[0], autograph=False)(
            *batch(32, 4), options
        )
    assert len(traced) == 4


@pytest.mark.slow  # quick: what models and shapes share
def test_equal_layers_whose_inputs_are_unlike_are_told_apart(traced: list[Any]) -> None:
    step_of(cell_of(U))(*batch(32, 4))
    other = CELLS["gru"](U)
    other.build((None, D + 4))
    inputs, lengths = batch(32, 4)
    with pytest.raises(ValueError, match="inputs have 3 features, but the cell was built for 7"):
        step_of(other)(inputs, lengths)
    assert len(traced) == 2


@pytest.mark.slow  # quick: a step with functions of its own
def test_a_step_with_a_gradient_of_its_own_leaves_nothing_for_the_process(traced: list[Any]) -> None:
    """TensorFlow gives such a gradient another name each time, by which no other cell would find what is kept."""
    for _ in range(2):
        cell = CELLS["gru"](U, activation="silu")
        cell.build((None, D))
        step_of(cell)(*batch(32, 4))
    assert not saved_step._ALIKE


def test_both_ways_from_keras_take_a_chain_each() -> None:
    both = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    both.build((None, None, D))
    for options, chains in [({}, 1), ({"chains": 2}, 2)]:
        made = PackedRNN.from_keras(both, **options)
        assert [one.options["chains"] for one in (made.forward_layer, made.backward_layer)] == [chains] * 2


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


@pytest.mark.slow  # quick: the cells of tests/conformance, whose weights are lists
def test_a_cell_may_give_its_weights_as_tuples() -> None:
    class Tupled(CELLS["gru"]):  # type: ignore[misc, name-defined]
        def step_weights(self) -> Any:
            weights = super().step_weights()
            return weights._replace(recurrent=tuple(weights.recurrent), small=tuple(weights.small))

    plain, tupled = cell_of(U), Tupled(U)
    tupled.build((None, D))
    for mine, its in zip(tupled.variables, plain.variables, strict=True):
        mine.assign(its)
    for one, other in zip(step_of(tupled)(*batch(6, 7)), step_of(plain)(*batch(6, 7)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow  # quick: what models share, above
def test_a_step_with_functions_of_its_own_is_kept_by_its_cell_alone() -> None:
    """Their names are never the same again, so that what was kept for them would be found by none."""
    known = set(saved_step._ALIKE)
    for _ in range(2):
        cell = CELLS["basic_rnn"](
            U, activation=lambda z: tf.cond(tf.reduce_sum(z) > 0, lambda: z, lambda: tf.tanh(z))
        )
        cell.build((None, D))
        step_of(cell)(*batch(6, 7))
    assert set(saved_step._ALIKE) == known


@pytest.mark.slow  # quick: tests/cells/test_closed_over.py
@pytest.mark.parametrize("kernel", ["xla", "tiles"])
def test_what_is_set_at_a_cell_counts_at_the_next_trace(kernel: str) -> None:
    slope = 1.0

    def scaled(z: tf.Tensor) -> tf.Tensor:
        return tf.tanh(slope * z)

    cell = CELLS["lstm"](U, activation=scaled)
    cell.build((None, D))
    inputs, lengths = batch(6, 7)
    options: Any = {"kernel": kernel} | ({"unroll_steps": 1} if kernel == "tiles" else {})

    def agree() -> np.ndarray:
        found = tf.function(lambda x: packed_rnn(cell, x, lengths, **options)[0], autograph=False)(inputs)
        np.testing.assert_allclose(found, packed_rnn(cell, inputs, lengths, kernel="plain")[0], atol=1e-5)
        return np.array(found)

    first = agree()
    slope = 3.0
    second = agree()
    cell.cell_clip = 0.01
    third = agree()
    cell.activation = tf.nn.relu
    fourth = agree()
    assert min(np.abs(a - b).max() for a, b in [(first, second), (second, third), (third, fourth)]) > 1e-3
