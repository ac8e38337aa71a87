"""Tapes that ask for more than one gradient: a persistent one, and a model that is computed again for its own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import LSTMCell
from workbench.rnn import accelerate, packed_rnn

X = tf.constant(np.random.default_rng(0).normal(size=(5, 6, 3)), tf.float32)
LENGTHS = tf.constant([6, 2, 0, 4, 1])
LAYERS = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)


def two_losses(outputs):
    return tf.reduce_sum(tf.sin(outputs)), tf.reduce_sum(tf.cos(outputs) * outputs)


@pytest.mark.slow  # quick: the jacobian below, which asks a packed layer for more than one gradient too
@pytest.mark.parametrize("inside", [False, True], ids=["after", "inside"])
@pytest.mark.parametrize("kernel", ["xla", "plain"])
def test_a_persistent_tape_in_a_graph_gives_two_losses_their_gradients(kernel, inside):
    """As one tape for each gives them; `inside`: asked for while the tape still records."""
    cell = LSTMCell(4)
    packed_rnn(cell, X, LENGTHS)

    @tf.function
    def at_once():
        with tf.GradientTape(persistent=True) as tape:
            a, b = two_losses(packed_rnn(cell, X, LENGTHS, kernel=kernel)[0])
            if inside:
                return [tape.gradient(loss, cell.trainable_weights) for loss in (a, b)]
        return [tape.gradient(loss, cell.trainable_weights) for loss in (a, b)]

    def one_by_one(which):
        with tf.GradientTape() as tape:
            loss = two_losses(packed_rnn(cell, X, LENGTHS)[0])[which]
        return tape.gradient(loss, cell.trainable_weights)

    for found, right in zip(at_once(), (one_by_one(0), one_by_one(1)), strict=True):
        assert any(np.abs(one).max() > 0.1 for one in right)
        for one, other in zip(found, right, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class TwoLosses(keras.Model):
    """A training step of one's own."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape(persistent=True) as tape:
            made = self(x, training=True)
            far, large = tf.reduce_mean((made - y) ** 2), tf.reduce_mean(tf.abs(made))
        slopes = [tape.gradient(loss, self.trainable_variables) for loss in (far, large)]
        summed = [one + 0.1 * other for one, other in zip(*slopes, strict=True)]
        self.optimizer.apply_gradients(zip(summed, self.trainable_variables, strict=True))
        return {"loss": far}


@pytest.mark.slow  # quick: the kernel above
@pytest.mark.parametrize("kind", LAYERS)
def test_an_accelerated_model_of_two_losses_learns_as_keras_does(kind):
    learnt = []
    for is_packed in (False, True):
        keras.utils.set_random_seed(0)
        given = keras.Input([None, 3])
        model = TwoLosses(given, kind(4)(keras.layers.Masking()(given)))
        model.compile(keras.optimizers.SGD(0.5))
        before = model.get_weights()
        if is_packed:
            accelerate(model)
        for _ in range(3):
            model.fit(X, np.ones((5, 4)), verbose=0)
        learnt.append(model.get_weights())
        assert any(np.abs(one - other).max() > 0.01 for one, other in zip(before, learnt[-1], strict=True))
    for one, other in zip(*learnt, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def gradients(model):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(model(X)))
    return tape.gradient(loss, model.trainable_variables)


@pytest.mark.parametrize(
    "in_graph", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eager", "graph"]
)
def test_a_layer_that_is_first_run_inside_recompute_grad_has_its_gradient(in_graph):
    """TensorFlow stops all tapes there, and what a cell's gradient reads is found out at its first run."""
    found = []
    for is_again in (False, True):
        keras.utils.set_random_seed(0)
        given = keras.Input([None, 3])
        model = accelerate(keras.Model(given, keras.layers.LSTM(4)(given)))

        def slopes(model=model, is_again=is_again):
            called = tf.recompute_grad(model) if is_again else model
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.sin(called(X)))
            return tape.gradient(loss, model.trainable_variables)

        found.append(tf.function(slopes)() if in_graph else slopes())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow  # quick: the one above
def test_keras_remat_scope_in_eager_mode():
    found = []
    for is_packed in (False, True):
        keras.utils.set_random_seed(0)
        given = keras.Input([None, 3])
        with keras.RematScope(mode="full"):
            model = keras.Model(given, keras.layers.LSTM(4)(given))
        found.append(gradients(accelerate(model) if is_packed else model))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "lengths",
    [pytest.param([6] * 5, id="full", marks=pytest.mark.slow), pytest.param([6, 2, 4, 1, 5], id="ragged")],
)
@pytest.mark.parametrize("of", ["inputs", pytest.param("weights", marks=pytest.mark.slow)])
def test_a_jacobian_of_what_was_run_outside_a_graph(of, lengths):
    """TensorFlow makes all its rows at once in a graph, which finds what the steps kept."""
    inputs = X * tf.sequence_mask(lengths, 6, X.dtype)[..., tf.newaxis]
    given = keras.Input([None, 3])
    model = keras.Model(given, keras.layers.Dense(2)(keras.layers.LSTM(4)(keras.layers.Masking()(given))))

    def jacobian():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs)
        if of == "weights":
            return tape.jacobian(outputs, model.trainable_variables[0].value)
        return tape.batch_jacobian(outputs, inputs)

    right = jacobian()
    accelerate(model)
    np.testing.assert_allclose(jacobian(), right, rtol=1e-4, atol=1e-6)


class ScaledByAnother(keras.Model):
    """An activation that reads what the call has computed."""

    def __init__(self, kind):
        super().__init__()
        self.scale, self.now = keras.layers.Dense(1), None
        self.rnn = kind(4, activation=lambda z: keras.ops.tanh(z * self.now))

    def call(self, inputs):
        self.now = tf.reduce_mean(self.scale(inputs))
        return self.rnn(inputs)


@pytest.mark.parametrize(
    "kind", [one if one is LAYERS[0] else pytest.param(one, marks=pytest.mark.slow) for one in LAYERS]
)
def test_a_tensor_that_an_activation_reads_has_its_gradient(kind):
    keras.utils.set_random_seed(1)  # some weights leave a gradient too small to be seen
    model = ScaledByAnother(kind)
    right = gradients(model)
    assert np.abs(right[0]).max() > 1e-3
    accelerate(model)
    for found in (gradients(model), tf.function(gradients)(model)):
        for one, other in zip(found, right, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow  # quick: tests/cells/test_closed_over.py
@pytest.mark.parametrize("in_a_list", [False, True])
def test_a_number_that_an_activation_reads_is_that_of_the_last_trace(in_a_list):
    slope, slopes = 1.0, [1.0]
    of_own = {
        False: lambda z: keras.ops.tanh(slope * z),
        True: lambda z: keras.ops.tanh(slopes[0] * z),
    }[in_a_list]
    given = keras.Input([None, 3])
    model = keras.Model(given, keras.layers.LSTM(4, activation=of_own)(keras.layers.Masking()(given)))
    right = []
    for slope in (1.0, 3.0):
        slopes[0] = slope
        right.append(np.array(model(X)))
    assert np.abs(right[0] - right[1]).max() > 0.1
    accelerate(model)
    for slope, expected in zip((1.0, 3.0), right, strict=True):
        slopes[0] = slope
        model.compile("sgd", "mse")  # Keras traces anew
        np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-6)
