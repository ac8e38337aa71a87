"""Keras' layers as a runner: which layer runs a cell is told, and what they cannot do is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as private

from workbench.cells import CELLS, WRAPPERS, GRUCell, LSTMCell
from workbench.rnn import cudnn, dynamic_rnn, keras_rnn, kernels_of

INPUTS = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
LENGTHS = [4, 0, 2]
LOOP = "with the cell's weights in it, a loop of TensorFlow"


@pytest.mark.parametrize(
    ("name", "options", "layer"),
    [
        ("lstm", {}, "LSTM"),
        ("lstm", {"use_peepholes": True}, "RNN"),
        ("lstm", {"cell_clip": 1.0}, "RNN"),
        ("lstm", {"num_proj": 2}, "RNN"),
        ("gru", {}, "GRU"),
        ("gru", {"reset_after": True}, "GRU"),
        ("basic_rnn", {}, "SimpleRNN"),
        ("lstm_block", {}, "RNN"),
        ("gru_block", {}, "RNN"),
        ("ugrnn", {}, "RNN"),
    ],
)
def test_keras_own_layer_where_it_computes_the_same_and_what_ran_is_told(name, options, layer):
    cell = CELLS[name](3, **options)
    keras_rnn(cell, INPUTS, LENGTHS)
    (choice,) = kernels_of(cell)
    assert choice.kernel == f"keras.layers.{layer}"
    reason = f"around {type(cell).__name__}, a loop of TensorFlow" if layer == "RNN" else LOOP
    assert choice.reason == reason


class Doubled(LSTMCell):
    def step(self, projected, states, weights, product):
        h, new_states = super().step(projected, states, weights, product)
        return 2 * h, new_states


class Biased(GRUCell):
    def step_weights(self):
        weights = super().step_weights()
        return weights._replace(bias=weights.bias + 1)


@pytest.mark.parametrize("kind", [Doubled, Biased])
def test_a_cell_of_another_step_than_its_parents_is_not_run_as_its_parent(kind):
    cell = kind(3)
    outputs, _ = keras_rnn(cell, INPUTS, LENGTHS)
    np.testing.assert_allclose(outputs, dynamic_rnn(cell, INPUTS, LENGTHS)[0], atol=1e-6)
    assert [choice.kernel for choice in kernels_of(cell)] == ["keras.layers.RNN"]


def test_a_stack_runs_layer_by_layer():
    cell = WRAPPERS["multi"]([CELLS["gru"](3), CELLS["ugrnn"](2)])
    keras_rnn(cell, INPUTS, LENGTHS)
    assert [choice.kernel for choice in kernels_of(cell)] == ["keras.layers.GRU", "keras.layers.RNN"]


def test_it_is_keras_layer_with_a_mask():
    """Numbers of the layer itself, made with the same weights."""
    cell = CELLS["lstm"](3, forget_bias=0.5)
    outputs, (h, c) = keras_rnn(cell, INPUTS, LENGTHS)
    layer = keras.layers.LSTM(
        3, return_sequences=True, return_state=True, zero_output_for_mask=True, use_cudnn=False
    )
    layer.build((None, None, 2))
    kernel, recurrent, bias = cell.get_weights()
    layer.set_weights([kernel, recurrent, bias + np.repeat([0, 0.5, 0, 0], 3).astype("float32")])
    mask = tf.sequence_mask(LENGTHS, 4)
    for ours, theirs in zip([outputs, h, c], layer(INPUTS, mask=mask), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("time", [0, 1])
def test_steps_that_are_not_known_while_tracing_may_be_none(time):
    cell = CELLS["lstm"](3)
    run = tf.function(
        lambda x, n: keras_rnn(cell, x, n)[0],
        input_signature=[tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32)],
        autograph=False,
    )
    assert run(INPUTS[:, :time], [0, 0, time]).shape == (3, time, 3)


class Counts(keras.layers.SimpleRNNCell):
    """A cell whose state is a whole number."""

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, self.units], "int32")]


def test_what_keras_layers_cannot_do_is_refused():
    with pytest.raises(ValueError, match="inputs are nested, but Keras' RNN layers take one tensor"):
        keras_rnn(CELLS["lstm"](3), {"a": INPUTS}, LENGTHS)
    with pytest.raises(ValueError, match="Counts has states that are no floating numbers"):
        keras_rnn(Counts(3), INPUTS, LENGTHS)
    drops = WRAPPERS["dropout"](CELLS["lstm"](3), output_keep_prob=0.5, variational=True)
    with pytest.raises(ValueError, match="draws one dropout mask for all steps of a run"):
        keras_rnn(drops, INPUTS, LENGTHS, training=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ugrnn", {}, "UGRNNCell is not a cell that Keras runs on cuDNN"),
        ("basic_rnn", {}, "BasicRNNCell is not a cell"),
        ("gru", {}, "GRUCell has an option that cuDNN lacks"),
        ("lstm", {"activation": "relu"}, "LSTMCell has an option that cuDNN lacks"),
        ("lstm", {"dtype": "mixed_bfloat16"}, "LSTMCell computes in a dtype that cuDNN lacks"),
        ("lstm", {}, "LSTMCell runs where TensorFlow sees no GPU"),
    ],
)
def test_cudnn_that_cannot_be_is_refused(name, options, message, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    with pytest.raises(ValueError, match=f"use_cudnn=True, but {message}"):
        keras_rnn(CELLS[name](3, **options), INPUTS, LENGTHS, use_cudnn=True)


class TestOnCudnn:
    """Keras' layer is told to take cuDNN, and does not, as there is none: what it is given is what counts."""

    @pytest.fixture
    def masks(self, monkeypatch):
        """The masks that Keras' layers are called with, where TensorFlow seems to see a GPU."""
        found, call = [], keras.layers.LSTM.call

        def kept(self, sequences, initial_state=None, mask=None, training=False):
            found.append(mask)
            assert self.use_cudnn
            self.use_cudnn = False
            return call(self, sequences, initial_state=initial_state, mask=mask, training=training)

        monkeypatch.setattr(keras.layers.LSTM, "call", kept)
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["a GPU, so to say"])
        return found

    @pytest.mark.parametrize(("lengths", "masked"), [([4, 4, 4], False), ([3, 3, 3], True), (LENGTHS, True)])
    def test_full_lengths_are_no_mask(self, masks, lengths, masked):
        cell = CELLS["lstm"](3)
        outputs, states = keras_rnn(cell, INPUTS, lengths)
        assert [mask is not None for mask in masks] == [masked]
        expected, after = dynamic_rnn(cell, INPUTS, lengths)
        for ours, theirs in zip([outputs, *states], [expected, *after], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert kernels_of(cell)[0].reason.endswith("on cuDNN")

    def test_more_steps_than_cudnn_takes_are_refused(self, masks, monkeypatch):
        monkeypatch.setattr(cudnn, "MOST", 3)
        with pytest.raises(ValueError, match="cuDNN takes at most 3 steps in one call"):
            keras_rnn(CELLS["lstm"](3), INPUTS, LENGTHS)
        assert not masks

    def test_where_ops_are_to_be_deterministic_it_is_not_taken(self, masks, monkeypatch):
        monkeypatch.setattr(private, "is_op_determinism_enabled", lambda: True)
        with pytest.raises(ValueError, match="to be deterministic, and the gradient of CudnnRNNV3 is not"):
            keras_rnn(CELLS["lstm"](3), INPUTS, LENGTHS, use_cudnn=True)
        cell = CELLS["gru"](3, reset_after=True)
        keras_rnn(cell, INPUTS, LENGTHS)
        assert kernels_of(cell)[0].reason.endswith("a loop of TensorFlow")
