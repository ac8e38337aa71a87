"""Which activations `accelerate` packs: what treats each row by itself, be it a function, an object or a layer."""

import random
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS
from workbench.rnn import PackedRNN, accelerate, acceleration_of

layers = keras.layers
RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def over_the_batch(z):
    return z / (tf.norm(z) + 1)


def by_place(z):
    return z * tf.random.stateless_uniform(tf.shape(z), [1, 2], dtype=z.dtype)


def dropped(z):
    return tf.nn.dropout(z, 0.5)


def over_the_first(z):
    return tf.nn.softmax(z, 0)


def over_units(z):
    return tf.nn.softmax(z) + 0.1 * z


class Object:
    def __call__(self, z):
        return over_the_batch(z)


class OfOnesOwn(layers.Layer):
    """Whose options are not told: it is called as it is."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, z):
        return self.function(z)


def around(layer):
    """A function that calls a layer, which it is not told of."""
    return lambda z: tf.tanh(layer(z))


LOOKS_BEYOND = [over_the_batch, by_place, dropped, over_the_first, partial(tf.nn.softmax, axis=0), Object()]
LAYERS_BEYOND = [
    lambda: layers.UnitNormalization(axis=0),
    layers.BatchNormalization,  # in training alone
    lambda: layers.Dropout(0.5),
    lambda: OfOnesOwn(over_the_batch),
    lambda: around(layers.BatchNormalization()),
    lambda: around(layers.Dropout(0.5)),
]


def of_two_layers(name, function):
    """A GRU, and an LSTM with an activation of one's own."""
    given = keras.Input([None, 2])
    plain, odd = layers.GRU(3, return_sequences=True), layers.LSTM(3, **{name: function})
    return keras.Model(given, odd(plain(layers.Masking()(given))))


@pytest.mark.parametrize("function", LOOKS_BEYOND)
@pytest.mark.parametrize("name", ["activation", "recurrent_activation"])
def test_an_activation_that_looks_beyond_its_row_has_its_layer_left(function, name):
    model = accelerate(of_two_layers(name, function))
    assert [one.packed for one in acceleration_of(model).layers] == [True, False]
    assert acceleration_of(model).layers[1].reason == (
        f"its {name} looks at the whole batch or draws; accelerate(model, sample=inputs) packs it where the "
        "numbers stay"
    )


@pytest.mark.parametrize("make", LAYERS_BEYOND)
def test_a_layer_for_an_activation_that_looks_beyond_its_row_has_its_layer_left(make):
    model = accelerate(of_two_layers("activation", make()))
    assert "its activation looks at the whole batch or draws" in acceleration_of(model).layers[1].reason


@pytest.mark.parametrize(
    "make", [layers.PReLU, layers.ReLU, lambda: OfOnesOwn(over_units), layers.LayerNormalization]
)
def test_a_layer_for_an_activation_that_looks_at_its_row_is_packed_and_draws_no_seed(make):
    model = of_two_layers("activation", make())
    before = random.getstate()
    accelerate(model)
    assert [one.packed for one in acceleration_of(model).layers] == [True, True]
    assert random.getstate() == before


@pytest.mark.slow  # quick: the one above, and samples of other numbers
@pytest.mark.parametrize("function", LOOKS_BEYOND)
@pytest.mark.parametrize("name", ["activation", "recurrent_activation"])
def test_a_sample_shows_that_its_numbers_would_not_stay(function, name):
    ragged = RANDOM.normal(size=(5, 4, 2)) * (np.arange(4) < np.array([4, 1, 2, 3, 1])[:, None])[..., None]
    with pytest.raises(ValueError, match="other numbers than Keras'"):
        accelerate(of_two_layers(name, function), sample=ragged.astype("float32"))


def test_an_activation_of_ones_own_that_looks_at_its_row_is_packed():
    given = keras.Input([None, 2])
    model = keras.Model(given, layers.LSTM(3, activation=over_units, recurrent_activation=over_units)(given))
    accelerate(model)
    assert acceleration_of(model).layers[0].packed


@pytest.mark.parametrize(
    "cell",
    [
        lambda: layers.LSTMCell(3, activation=over_the_batch),
        lambda: [layers.GRUCell(3), layers.GRUCell(3, recurrent_activation=by_place)],
        lambda: CELLS["lstm"](3, activation=over_the_first),
    ],
)
def test_a_packed_layer_refuses_what_looks_beyond_its_row(cell):
    with pytest.raises(ValueError, match=r'activation of .* looks at the whole batch, .*kernel="masked"'):
        PackedRNN(cell())
    assert PackedRNN(cell(), kernel="masked")(np.ones([2, 4, 2], "float32")).shape == (2, 3)


@pytest.mark.parametrize("function", [dropped, over_units, layers.Dropout(0.5)])
def test_a_packed_layer_takes_what_draws_or_looks_at_its_row(function):
    assert PackedRNN(layers.LSTMCell(3, activation=function))(np.ones([2, 4, 2], "float32")).shape == (2, 3)


def test_from_keras_refuses_what_looks_beyond_its_row_and_masked_gives_its_numbers():
    layer = layers.LSTM(3, activation=over_the_batch)
    layer.build((None, None, 2))
    with pytest.raises(ValueError, match="the activation of LSTMCell looks at the whole batch"):
        PackedRNN.from_keras(layer)
    inputs = RANDOM.normal(size=(5, 4, 2)).astype("float32")
    packed = PackedRNN.from_keras(layer, kernel="masked")
    np.testing.assert_allclose(packed(inputs), layer(inputs), atol=1e-6)
