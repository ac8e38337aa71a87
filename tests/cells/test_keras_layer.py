"""A cell's weights in Keras' own layers: the same numbers, the forget bias folded in."""

import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, keras_layer
from workbench.rnn import dynamic_rnn

RANDOM = np.random.default_rng(0)
INPUTS, LENGTHS = RANDOM.normal(size=(3, 5, 3)), [5, 0, 3]


def drawn(cell):
    cell.build((None, 3))
    cell.set_weights([RANDOM.normal(size=w.shape) for w in cell.get_weights()])
    return cell


def largest_difference(cell, layer):
    found = layer(tf.constant(INPUTS, cell.compute_dtype), mask=tf.sequence_mask(LENGTHS, 5))
    return np.abs(np.asarray(found, "float64") - np.asarray(dynamic_rnn(cell, INPUTS, LENGTHS)[0])).max()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {"dtype": "float64"}),
        ("lstm", {"dtype": "float64", "forget_bias": 2.5, "activation": "relu"}),
        ("lstm_block", {}),
        ("gru", {"dtype": "float64"}),
        ("gru", {"dtype": "float64", "reset_after": True}),
        ("gru_block", {}),
        ("basic_rnn", {"dtype": "float64"}),
    ],
)
def test_the_same_numbers_from_keras_layer(name, options):
    cell = drawn(CELLS[name](4, **options))
    layer = keras_layer(cell, return_sequences=True)
    assert type(layer) in (tf.keras.layers.LSTM, tf.keras.layers.GRU, tf.keras.layers.SimpleRNN)
    assert largest_difference(cell, layer) < (1e-12 if options else 1e-6)


def test_a_stack_is_a_layer_of_kerass_cells():
    stack = drawn(WRAPPERS["multi"]([CELLS["lstm"](4, dtype="float64"), CELLS["gru"](2, dtype="float64")]))
    layer = keras_layer(stack, return_sequences=True)
    assert [type(cell) for cell in layer.cell.cells] == [tf.keras.layers.LSTMCell, tf.keras.layers.GRUCell]
    assert largest_difference(stack, layer) < 1e-12


@pytest.mark.parametrize("stacked", [False, True])
def test_the_last_output_is_that_of_the_last_valid_step(stacked):
    """With `zero_output_for_mask` Keras would give the zero of the last step."""
    cells = [CELLS[name](4, dtype="float64") for name in ("gru", "lstm")]
    cell = drawn(WRAPPERS["multi"](cells) if stacked else cells[0])
    outputs = np.asarray(dynamic_rnn(cell, INPUTS, LENGTHS)[0])
    last = np.stack(
        [one[length - 1] if length else 0 * one[0] for one, length in zip(outputs, LENGTHS, strict=True)]
    )
    found = keras_layer(cell)(tf.constant(INPUTS), mask=tf.sequence_mask(LENGTHS, 5))
    np.testing.assert_allclose(found, last, atol=1e-12)


def test_variables_keep_their_width_and_what_is_frozen_stays_frozen():
    cell = drawn(CELLS["lstm"](4, dtype="mixed_bfloat16"))
    cell.trainable = False
    layer = keras_layer(cell)
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
    assert not layer.trainable_weights
    np.testing.assert_array_equal(
        layer.get_weights()[2], cell.get_weights()[2] + np.repeat(np.float32([0, 1, 0, 0]), 4)
    )
    assert keras_layer(cell, trainable=True).trainable_weights


@pytest.mark.parametrize(
    "cell",
    [
        CELLS["lstm"](4, num_proj=2),
        CELLS["lstm_block"](4, cell_clip=1.0),
        CELLS["nas"](4),
        WRAPPERS["residual"](CELLS["gru"](3)),
        WRAPPERS["multi"]([CELLS["ugrnn"](4)]),
    ],
)
def test_what_keras_has_no_layer_for_is_refused(cell):
    with pytest.raises(ValueError, match=r"Keras has no layer .* keras.layers.RNN\(cell\) runs the cell"):
        keras_layer(drawn(cell))


def test_a_cell_without_weights_is_refused():
    with pytest.raises(ValueError, match="LSTMCell has no weights yet: call build"):
        keras_layer(CELLS["lstm"](4))


def test_a_cell_of_kerass_own_is_told_apart():
    with pytest.raises(ValueError, match=r"LSTMCell is no cell of workbench\.cells: keras\.layers\.RNN"):
        keras_layer(tf.keras.layers.LSTMCell(4))
