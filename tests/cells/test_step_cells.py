"""The cells of Keras and ours give the same numbers from the same weights; options are checked; steps by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, StepCell
from workbench.rnn import dynamic_rnn

INPUTS = np.random.default_rng(0).normal(size=(3, 5, 4))
PAIRS = {
    "basic_rnn": (lambda: keras.layers.SimpleRNNCell(6, dtype="float64"), {}),
    "gru": (lambda: keras.layers.GRUCell(6, reset_after=False, dtype="float64"), {}),
    "gru, reset after": (lambda: keras.layers.GRUCell(6, dtype="float64"), {"reset_after": True}),
    "lstm": (lambda: keras.layers.LSTMCell(6, dtype="float64"), {"forget_bias": 0.0}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_weights_of_keras_cells_go_into_ours_and_back(name):
    make, options = PAIRS[name]
    theirs = make()
    theirs.build((None, 4))
    ours = CELLS[name.partition(",")[0]](6, dtype="float64", **options)
    ours.build((None, 4))
    random = np.random.default_rng(1)
    theirs.set_weights([random.normal(size=w.shape) for w in theirs.get_weights()])
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    ours.set_weights(theirs.get_weights())
    expected = keras.layers.RNN(theirs, return_sequences=True, dtype="float64")(INPUTS)
    np.testing.assert_allclose(dynamic_rnn(ours, INPUTS)[0], expected, rtol=1e-9, atol=1e-9)
    back = make()
    back.build((None, 4))
    back.set_weights(ours.get_weights())
    np.testing.assert_array_equal(back.get_weights()[0], theirs.get_weights()[0])


def test_our_lstm_starts_as_keras_lstm_does():
    """Our forget_bias is added at run time; Keras' one stands in the bias. New cells compute the same."""
    initial = {"kernel_initializer": "ones", "recurrent_initializer": "ones", "dtype": "float64"}
    ours, _ = dynamic_rnn(CELLS["lstm"](2, **initial), INPUTS)
    theirs = keras.layers.RNN(keras.layers.LSTMCell(2, **initial), return_sequences=True, dtype="float64")(
        INPUTS
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_constant_weights_by_hand():
    """One unit, one input, all weights a half: the numbers of the equations, worked out."""
    half = {"kernel_initializer": keras.initializers.Constant(0.5), "dtype": "float64"}
    half["recurrent_initializer"] = half["kernel_initializer"]
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    x, h, c = 0.2, 0.4, -0.6
    as_batch = lambda v: tf.constant([[v]], "float64")  # noqa: E731
    call = lambda cell, *states: cell(as_batch(x), [*map(as_batch, states)])  # noqa: E731
    z = 0.5 * x + 0.5 * h
    output, _ = call(CELLS["basic_rnn"](1, **half), h)
    assert float(output[0, 0]) == pytest.approx(np.tanh(z), rel=1e-12)
    output, _ = call(CELLS["gru"](1, gate_bias=0.0, **half), h)
    gate, candidate = sigmoid(z), np.tanh(0.5 * x + 0.5 * sigmoid(z) * h)
    assert float(output[0, 0]) == pytest.approx(gate * h + (1 - gate) * candidate, rel=1e-12)
    output, (h_new, c_new) = call(CELLS["lstm"](1, **half), h, c)
    memory = sigmoid(z + 1) * c + sigmoid(z) * np.tanh(z)
    assert float(c_new[0, 0]) == pytest.approx(memory, rel=1e-12)
    assert float(output[0, 0]) == float(h_new[0, 0]) == pytest.approx(sigmoid(z) * np.tanh(memory), rel=1e-12)


def test_gru_gates_start_at_one_as_in_tf1():
    cell = CELLS["gru"](2)
    cell.build((None, 3))
    np.testing.assert_array_equal(cell.bias, [1, 1, 1, 1, 0, 0])
    cell = CELLS["gru"](2, reset_after=True)
    cell.build((None, 3))
    np.testing.assert_array_equal(cell.bias, [[1, 1, 1, 1, 0, 0], [0] * 6])


@pytest.mark.parametrize("name", CELLS)
def test_seeded_initialisers_seed_every_matrix(name):
    def weights(seed):
        keras.utils.set_random_seed(5)
        cell = CELLS[name](
            4,
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            recurrent_initializer=keras.initializers.Orthogonal(seed + 1),
        )
        cell.build((None, 4))
        return cell.get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not np.array_equal(weights(1)[0], weights(2)[0])


class Scaled(keras.initializers.Initializer):
    """Without `get_config`, which Keras asks for only to save."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, shape, dtype=None):
        return self.scale * tf.ones(shape, dtype)


@pytest.mark.parametrize(
    "make", [lambda: Scaled(0.1), lambda: keras.initializers.GlorotUniform(keras.random.SeedGenerator(1))]
)
def test_an_initialiser_for_two_cells_gives_them_what_it_gives_keras_cells(make):
    kernels = []
    for kind in (keras.layers.LSTMCell, CELLS["lstm"]):
        shared = make()
        for _ in range(2):
            cell = kind(3, kernel_initializer=shared)
            cell.build((None, 2))
            kernels.append(cell.get_weights()[0])
    np.testing.assert_array_equal(kernels[:2], kernels[2:])


def test_a_cell_with_an_activation_in_no_step_form_drops_in_training_alone():
    one = np.ones([], "float32")
    plain, own = (
        CELLS["layer_norm_lstm"](4, dropout_keep_prob=0.5, activation=activation)
        for activation in ("tanh", lambda z: tf.tanh(z * one))
    )
    for cell in (plain, own):
        cell.build((None, 4))
    own.set_weights(plain.get_weights())
    expected = dynamic_rnn(plain, INPUTS.astype("float32"))[0]
    np.testing.assert_allclose(dynamic_rnn(own, INPUTS.astype("float32"))[0], expected, atol=1e-6)
    trained = dynamic_rnn(own, INPUTS.astype("float32"), training=True)[0]
    assert np.abs(trained - expected).max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units must be a positive integer, not 0"),
        ({"units": 2.5}, "units must be a positive integer, not 2.5"),
        ({"units": True}, "units must be a positive integer, not True"),
        ({"units": 2, "cell_clip": -1.0}, "cell_clip must be a positive number or None, not -1.0"),
        ({"units": 2, "num_proj": 0}, "num_proj must be a positive integer or None, not 0"),
        ({"units": 2, "proj_clip": 0.1}, "proj_clip=0.1 clips a projection, but num_proj is None"),
    ],
)
def test_lstm_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        CELLS["lstm"](**options)


@pytest.mark.parametrize(
    "name",
    [n for n, kind in CELLS.items() if issubclass(kind, StepCell) and kind(2).has_step(training=False)],
)
def test_a_step_makes_no_product_but_through_the_runner(name):
    """The packed engine saves every product of a step: one made behind its back would have no gradient."""
    cell = CELLS[name](4)
    cell.build((None, 3))
    weights = cell.step_weights()
    with tf.Graph().as_default() as graph:
        hold = lambda shape: tf.compat.v1.placeholder("float32", shape)  # noqa: E731
        sizes = tf.nest.flatten(cell.state_size)
        cell.step(
            hold([2, cell.projection_width]),
            [hold([2, n]) for n in sizes],
            [hold(w.shape) for w in weights.small],
            lambda i, operand, plus=None: (
                hold([2, weights.recurrent[i].shape[1]]) + (0 if plus is None else plus)
            ),
        )
    assert not [op.name for op in graph.get_operations() if "MatMul" in op.type or "VariableOp" in op.type]
