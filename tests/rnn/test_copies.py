"""Layers of Keras' and packed ones made of one another: what goes along beside the weights, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench import accelerate, acceleration_of
from workbench.cells import CELLS
from workbench.rnn import PackedRNN

layers = keras.layers
INPUTS = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("float32")
MASK = np.arange(5) < np.array([5, 3, 1, 0])[:, None]


class Centred(keras.layers.Layer):
    """A cell that looks at the whole batch."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = self.state_size = units

    def build(self, shape) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x, states):
        h = tf.tanh(x @ self.kernel + states[0])
        h -= tf.reduce_mean(h, 0, keepdims=True)
        return h, [h]

    def get_config(self):
        return {"units": self.units}


class Dropping(keras.layers.Layer):
    """A cell that draws by itself, at a rate of the name that Keras' cells have."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = self.state_size = units
        self.dropout = 0.3

    def build(self, shape) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x, states, training=False):
        if training:
            x = keras.random.dropout(x, self.dropout, seed=7)
        h = tf.tanh(x @ self.kernel + states[0])
        return h, [h]


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_a_clone_begins_as_keras_layer_does(kind) -> None:
    """A fold's fresh model: forget biases of 1, and the initializers that were asked for."""
    layer = kind(3, kernel_initializer=keras.initializers.Constant(0.25), bias_initializer="zeros")
    layer.build((None, None, 2))
    packed = PackedRNN.from_keras(layer)
    model = keras.Sequential([keras.Input([None, 2]), packed])
    fresh = keras.models.clone_model(model)
    expected = kind.from_config(layer.get_config())
    expected.build((None, None, 2))
    theirs = dict(zip([one.name for one in expected.weights], expected.get_weights(), strict=True))
    ours = dict(zip([one.name for one in fresh.weights], fresh.get_weights(), strict=True))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert packed.to_keras().cell.kernel_initializer.get_config() == {"value": 0.25}


@pytest.mark.parametrize("name", ["ugrnn", "lstm"])
def test_a_stack_of_cells_that_keras_does_not_have_goes_there_and_back(name: str) -> None:
    """Each cell is copied as it is: Keras has no UGRNN, and its LSTM has no forget bias beside its bias."""
    layer = layers.RNN([CELLS[name](4), CELLS[name](4)], return_sequences=True)
    expected = np.asarray(layer(INPUTS))
    packed = PackedRNN.from_keras(layer)
    assert [type(one) for one in packed.cell.cells] == [type(CELLS[name](4))] * 2
    for one in (packed(INPUTS), packed.to_keras()(INPUTS)):
        np.testing.assert_allclose(one, expected, atol=1e-6)


@pytest.mark.parametrize("stateful", [False, True])
def test_a_penalty_of_what_is_put_out_goes_there_and_back(stateful: bool) -> None:
    layer = layers.LSTM(4, activity_regularizer="l2", stateful=stateful)
    layer.build((4, None, 2))
    packed = PackedRNN.from_keras(layer)
    packed.build((4, None, 2))
    losses = []
    for one in (layer, packed, packed.to_keras()):
        one(INPUTS)
        losses.append(float(sum(one.losses)))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    assert losses[0] > 0


@pytest.mark.parametrize("stateful", [False, True])
def test_a_mask_a_gate_goes_there_and_back(stateful: bool) -> None:
    layer = layers.LSTM(4, dropout=0.5, implementation=1, stateful=stateful)
    layer.build((4, None, 3))
    packed = PackedRNN.from_keras(layer)
    packed.build((4, None, 3))
    assert packed.to_keras().cell.implementation == 1


def test_a_stack_of_cells_of_both_kinds_becomes_keras(tmp_path) -> None:
    packed = PackedRNN([CELLS["lstm"](3), layers.GRUCell(2)], return_sequences=True)
    expected = packed(INPUTS, mask=tf.constant(MASK))
    np.testing.assert_allclose(packed.to_keras()(INPUTS, mask=tf.constant(MASK)), expected, atol=1e-6)


def test_a_cell_that_looks_at_others_is_refused_with_what_takes_it() -> None:
    layer, inputs = layers.RNN(Centred(3), return_sequences=True), INPUTS * MASK[..., None]
    expected = layer(inputs, mask=tf.constant(MASK))
    with pytest.raises(ValueError, match=r'a step of Centred gives .* from_keras\(layer, kernel="masked"\)'):
        PackedRNN.from_keras(layer)
    packed = PackedRNN.from_keras(layer, kernel="masked")
    np.testing.assert_allclose(packed(inputs, mask=tf.constant(MASK))[MASK], expected[MASK], atol=1e-6)


def test_a_cell_that_draws_at_a_rate_called_dropout_is_refused_with_a_sample() -> None:
    model = keras.Sequential([keras.Input([None, 2]), layers.Masking(), layers.RNN(Dropping(3))])
    with pytest.raises(ValueError, match="a step of its Dropping gives an example other numbers"):
        accelerate(model, sample=INPUTS)


@pytest.mark.filterwarnings("ignore:`build..` was called on layer")  # Keras', of the part that is not run
def test_a_layer_that_the_sample_does_not_run_is_left() -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.other = layers.LSTM(3), layers.RNN(Centred(3))

        def call(self, x):
            return self.used(x)

    model = accelerate(Two(), sample=INPUTS)
    assert [one.packed for one in acceleration_of(model).layers] == [True, False]


def test_a_model_that_runs_eagerly_is_tried_eagerly() -> None:
    class Looks(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = layers.LSTM(3)

        def call(self, x):
            return self.rnn(x) * float(x.numpy().shape[0])

    model = Looks()
    model.compile("adam", "mse", run_eagerly=True)
    accelerate(model, sample=INPUTS)
    assert acceleration_of(model).comparison.alike


@pytest.mark.parametrize("mask", [MASK[..., None], MASK[1:2]], ids=["B, T, 1", "one for all"])
def test_masks_that_keras_takes(mask) -> None:
    layer = layers.GRU(3, return_sequences=True)
    whole = np.broadcast_to(mask[..., 0] if mask.ndim == 3 else mask, MASK.shape)
    expected = layer(INPUTS, mask=tf.constant(whole))
    packed = PackedRNN.from_keras(layer)(INPUTS, mask=tf.constant(mask))
    np.testing.assert_allclose(packed[whole], expected[whole], atol=1e-6)


def test_states_are_reset_by_keras_older_name() -> None:
    packed = PackedRNN(CELLS["gru"](3), stateful=True)
    first = packed(INPUTS)
    assert np.abs(packed(INPUTS) - first).max() > 1e-3
    packed.reset_states()
    np.testing.assert_array_equal(packed(INPUTS), first)


def test_a_cell_that_is_no_layer_has_no_copy() -> None:
    class Plain:
        state_size = output_size = 2
        compute_dtype = "float32"

        def __call__(self, x, states):
            return x + states[0], [x + states[0]]

        call = __call__

    layer = layers.RNN(Plain())
    layer(INPUTS)
    with pytest.raises(ValueError, match=r"Plain is no layer of Keras'.*PackedRNN\(layer.cell\)"):
        PackedRNN.from_keras(layer)


def test_another_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax: packed layers are TensorFlow's"):
        accelerate(keras.Sequential())
