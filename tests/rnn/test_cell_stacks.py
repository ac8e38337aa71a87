"""Lists of cells in `RNN` and `PackedRNN`: states as Keras takes and gives them, cells of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.rnn import PackedRNN, accelerate

layers = keras.layers
INPUTS = np.random.default_rng(0).normal(size=(4, 6, 2))
MASK = tf.constant(np.arange(6) < np.array([6, 3, 0, 1])[:, None])
H3, C3, H2 = (np.random.default_rng(n).normal(size=(4, n % 2 + 2)) for n in (1, 3, 2))

pytestmark = pytest.mark.usefixtures("in_float64")


class Minimal(layers.Layer):
    """The cell of Keras' documentation of `RNN`: a number as its state's size, no `get_initial_state`."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units))

    def call(self, inputs, states):
        output = tf.matmul(inputs, self.kernel) + tf.matmul(states[0], self.recurrent_kernel)
        return output, [output]


CASES = {
    "own cells": (lambda: [Minimal(3), Minimal(2)], None),
    "own cells, from states": (lambda: [Minimal(3), Minimal(2)], [H3, H2]),
    "a state alone": (lambda: [layers.LSTMCell(3), layers.GRUCell(2)], [[H3, C3], H2]),
    "a state in a list": (lambda: [layers.LSTMCell(3), layers.GRUCell(2)], [[H3, C3], [H2]]),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "own cells" else name for name in CASES],
)
def test_outputs_and_states_are_those_of_keras(name):
    make, states = CASES[name]
    layer = layers.RNN(make(), return_state=True)
    options = {"mask": MASK}
    if states is not None:
        options["initial_state"] = tf.nest.map_structure(tf.constant, states)
    expected = layer(INPUTS, **options)
    if "own" in name:  # a foreign cell is packed where a sample shows that its numbers stay
        accelerate(layer, sample=INPUTS)
    found = accelerate(layer)(INPUTS, **options)
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "cell",
    [
        layers.GRUCell,
        pytest.param(layers.SimpleRNNCell, marks=pytest.mark.slow),
        pytest.param(Minimal, marks=pytest.mark.slow),
    ],
)
def test_a_stateful_stack_goes_on_where_it_ended(cell):
    """Two calls of three steps are one of six; states may be given flat, as they are returned."""
    cells = [cell(3), cell(2)]
    whole, *states = PackedRNN(cells, return_sequences=True, return_state=True)(INPUTS)
    layer = PackedRNN(cells, return_sequences=True, stateful=True)
    halves = [layer(tf.constant(half)) for half in np.split(INPUTS, 2, axis=1)]
    np.testing.assert_allclose(tf.concat(halves, 1), whole, rtol=1e-9)
    after = PackedRNN(cells)(INPUTS, initial_state=states)
    layer = PackedRNN(cells, stateful=True)
    np.testing.assert_allclose([layer(INPUTS), layer(INPUTS)][1], after, rtol=1e-9)
