"""What `accelerate` finds out by trying: what looks beyond an example, and how far numbers may differ."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import workbench
from workbench.rnn.compared import _furthest

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


class OfAll(keras.layers.Layer):
    """A cell that adds a hundredth of the mean over its batch; of BatchNormalization only in training."""

    def __init__(self, normalises: bool, **options: Any) -> None:
        super().__init__(**options)
        self.state_size = self.output_size = 3
        self.normalises = normalises
        self.head, self.norm = keras.layers.Dense(3), keras.layers.BatchNormalization()

    def build(self, shape: Any) -> None:
        self.head.build((None, shape[-1] + 3))
        self.norm.build((None, 3))

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        made = self.head(keras.ops.concatenate([inputs, states[0]], -1))
        if self.normalises:
            made = self.norm(made, training=training)
        else:
            made += 0.004 * keras.ops.mean(keras.ops.sum(made, -1))
        return made, [made]


class NotTold(OfAll):
    """Keras hands `training` on to the layer inside by itself."""

    def call(self, inputs: Any, states: Any) -> Any:
        made = self.norm(self.head(keras.ops.concatenate([inputs, states[0]], -1)))
        return made, [made]


class WithDropout(OfAll):
    """Has a rate, or a layer, of the name that Keras' cells have."""

    def __init__(self, normalises: bool, dropout: Any) -> None:
        super().__init__(normalises)
        self.dropout = dropout

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        if self.normalises:
            return super().call(inputs, states, training=training)
        made = self.dropout(self.head(keras.ops.concatenate([inputs, states[0]], -1)), training=training)
        return made, [made]


CELLS = {
    "a little": lambda: OfAll(False),
    "normalised": lambda: OfAll(True),
    "normalised, training not told": lambda: NotTold(True),
    "normalised, a rate of dropout": lambda: WithDropout(True, 0.5),
    "draws by a layer called dropout": lambda: WithDropout(False, keras.layers.Dropout(0.5)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "normalised" in name else name for name in CELLS]
)
@pytest.mark.parametrize("as_a_decoder", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cell_that_looks_at_its_batch_is_found_by_five_rows(name: str, as_a_decoder: bool) -> None:
    """By little, in training alone, or in a layer that was built by a call with its first states."""
    layer = keras.layers.RNN(CELLS[name](), return_sequences=True)
    inputs = keras.Input((None, 2))
    begin = keras.ops.zeros_like(inputs[:, 0, :1]) * keras.ops.ones((1, 3))
    outputs = layer(inputs, initial_state=[begin]) if as_a_decoder else layer(inputs)
    model = keras.Model(inputs, outputs)
    with pytest.raises(
        ValueError, match=r"gives an example other numbers beside others than alone|other numbers than Keras"
    ):
        workbench.accelerate(model, np.ones([4, 3, 2], "float32"))


def test_a_small_output_beside_a_large_one_is_held_to_its_own_size() -> None:
    one = [("output 0", np.array([1.7e9])), ("output 1", np.array([0.5]))]
    other = [("output 0", np.array([1.7e9])), ("output 1", np.array([0.6]))]
    assert _furthest(one, other, 1.0)[0] == "output 1"
    alike = [("output 0", np.array([np.nan, -np.inf, 1.0]))]
    assert _furthest(alike, alike) == ("output 0", 0.0)


@pytest.mark.parametrize("outer", ["RNN", pytest.param("TimeDistributed", marks=pytest.mark.slow)])
def test_a_cell_of_float32_in_a_layer_of_halves_keeps_its_digits(outer: str) -> None:
    """Keras' cell reads its weights in its own type; a half rounds 1 + 2**-12 to 1."""
    x = np.zeros([1, 600, 1], "float32")
    x[0, 0, 0] = 1
    options = {"activation": None, "use_bias": False, "dtype": "float32"}
    if outer == "RNN":
        layer = keras.layers.RNN(keras.layers.SimpleRNNCell(1, **options), dtype="mixed_float16")
    else:
        layer = keras.layers.TimeDistributed(keras.layers.SimpleRNN(1, **options), dtype="mixed_float16")
        x = x[:, np.newaxis]
    layer(x)
    layer.set_weights([np.ones([1, 1], "float32"), np.full([1, 1], 1 + 2.0**-12, "float32")])
    expected = np.array(layer(x))
    np.testing.assert_allclose(np.array(workbench.accelerate(layer)(x)), expected, atol=2e-3)


def test_an_activation_that_cannot_be_tried_is_left_alone() -> None:
    """With a gain for each example of the batch it is no function of a row."""
    gain = tf.constant(np.linspace(0.5, 2, 7)[:, np.newaxis], tf.float32)
    model = keras.Sequential(
        [keras.Input((None, 2)), keras.layers.LSTM(3, activation=lambda z: tf.tanh(z * gain))]
    )
    workbench.accelerate(model)
    assert not workbench.acceleration_of(model).layers[0].packed
