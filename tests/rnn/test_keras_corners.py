"""What Keras' layers take and seldom get: the same of packed ones, or a refusal in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from workbench.cells import CELLS
from workbench.rnn import PackedRNN, accelerate, acceleration_of
from workbench.rnn.compared import measure_with_rounding

layers = keras.layers
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(4, 5, 2)).astype("float32")
MASK = np.arange(5) < np.array([5, 2, 0, 3])[:, np.newaxis]
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


class Own(layers.Layer):
    """h' = tanh(x W + h), less the batch's mean where asked; `activation` is no function of its units."""

    def __init__(self, size, *, around=False, begin=0.0, counts=False, **kwargs):
        super().__init__(**kwargs)
        self.size, self.around, self.begin, self.counts = size, around, begin, counts
        self.state_size = [size, 1] if counts else [size]
        self.output_size = size
        self.activation = self.squashed

    def squashed(self, z, scale=1.0):
        return scale * tf.tanh(z)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.size), name="kernel")

    def get_initial_state(self, batch_size=None):
        begin = [tf.fill([batch_size, self.size], tf.constant(self.begin, self.compute_dtype))]
        return [*begin, tf.zeros([batch_size, 1], tf.int32)] if self.counts else begin

    def call(self, inputs, states):
        z = tf.matmul(inputs, self.kernel) + states[0]
        if self.around:
            z -= tf.reduce_mean(z, 0, keepdims=True)
        h = self.activation(z)
        return h, [h, *(one + 1 for one in states[1:])]


def test_a_cell_of_ones_own_need_have_no_units():
    layer = layers.RNN(Own(3))
    layer.build((None, None, 2))
    packed = PackedRNN.from_keras(layer)
    np.testing.assert_allclose(packed(INPUTS), layer(INPUTS), atol=1e-6)


@pytest.mark.slow  # quick: tests/rnn/test_tried.py
def test_a_sample_without_padding_does_not_let_a_cell_pass_that_looks_around():
    model = keras.Sequential([keras.Input([None, 2]), layers.Masking(), layers.RNN(Own(3, around=True))])
    with pytest.raises(
        ValueError, match="gives other numbers than Keras' on batches of unlike lengths: a step of"
    ):
        accelerate(model, sample=INPUTS)
    assert not acceleration_of(model).layers[0].packed
    same = keras.Sequential([keras.Input([None, 2]), layers.Masking(), layers.RNN(Own(3))])
    assert acceleration_of(accelerate(same, sample=INPUTS)).layers[0].packed


def test_whole_numbers_are_compared_where_there_are_no_others(monkeypatch):
    monkeypatch.setattr("workbench.rnn.acceleration.step_is_of_each_row", lambda cell: True)
    given = keras.Input([None, 2])
    hidden = layers.RNN(Own(3, around=True))(layers.Masking()(given))
    model = keras.Model(given, keras.ops.argmax(hidden, -1))
    sample = INPUTS * MASK[..., None]
    kernel = np.array([[1.0, -1.0, 2.0], [-2.0, 1.0, 1.0]])
    # packed, the longest example is alone in the end, less its own mean 0, so that its argmax is 0: Keras' is not
    model.set_weights([kernel])
    model.set_weights([kernel if int(model(sample)[0]) else -kernel])
    assert int(model(sample)[0])
    with pytest.raises(ValueError, match=r"of the whole numbers or texts differ"):
        accelerate(model, sample=sample)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_a_layer_in_halves_in_a_model_that_is_not(dtype):
    model = keras.Sequential([keras.Input([None, 2]), layers.LSTM(3, dtype=dtype), layers.Dense(1)])
    accelerate(model, sample=INPUTS)
    assert acceleration_of(model).layers[0].packed
    assert model.layers[0].compute_dtype == dtype.removeprefix("mixed_"), "its policy is put back"


@pytest.mark.slow  # quick: a layer in halves, above
def test_halves_have_the_room_of_their_own_rounding(monkeypatch):
    """Keras' bfloat16 lies 7% of a gradient from its own float32; packed sums in float32, nearer to that."""
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [keras.Input([None, 2]), layers.LSTM(3, dtype="mixed_bfloat16"), layers.Dense(1)]
    )
    near = measure_with_rounding(model, INPUTS).near
    assert 0.05 < near < 0.3
    comparison = acceleration_of(accelerate(model, sample=INPUTS)).comparison
    assert 0 < max(comparison.outputs, comparison.gradients) <= near
    monkeypatch.setattr("workbench.rnn.acceleration.step_is_of_each_row", lambda cell: True)
    wrong = keras.Sequential(
        [keras.Input([None, 2]), layers.Masking(), layers.RNN(Own(3, around=True, dtype="mixed_bfloat16"))]
    )
    with pytest.raises(ValueError, match="packed layers give other numbers"):
        accelerate(wrong, sample=INPUTS * MASK[..., None])


def test_backwards_in_keras_order_in_a_functional_model():
    """Its mask is turned over, too: Keras gives it none at all."""
    ids = keras.Input([None], dtype="int32")
    vectors = layers.Embedding(9, 2, mask_zero=True)(ids)
    layer = PackedRNN(layers.LSTMCell(3), go_backwards=True, return_sequences=True, output_order="steps")
    both = keras.Model(ids, [layer(vectors), layers.GlobalAveragePooling1D()(layer(vectors))])
    outputs, mean = both(np.where(MASK, 3, 0))
    valid = MASK[:, ::-1]
    expected = (np.asarray(outputs) * valid[..., None]).sum(1) / np.maximum(valid.sum(1), 1)[:, None]
    np.testing.assert_allclose(np.asarray(mean)[[0, 1, 3]], expected[[0, 1, 3]], atol=1e-6)


@pytest.mark.parametrize("counts", [False, True])
def test_stateful_begins_from_what_the_cell_begins_from(counts):
    packed = PackedRNN(Own(3, begin=0.5, counts=counts), stateful=True)
    plain = PackedRNN(packed.cell)
    first = plain(INPUTS)
    np.testing.assert_allclose(packed(INPUTS), first, atol=1e-6)
    assert np.abs(np.asarray(packed(INPUTS)) - first).max() > 1e-3, "it goes on"
    if counts:
        assert packed.states[1].numpy().tolist() == [[10]] * 4


def test_a_state_of_whole_numbers_in_an_accelerated_model():
    model = keras.Sequential([keras.Input([5, 2]), layers.RNN(Own(3, counts=True))])
    expected = model(INPUTS)
    accelerate(model, sample=INPUTS)
    np.testing.assert_allclose(model(INPUTS), expected, atol=1e-6)


def test_to_keras_takes_options_that_the_cell_has_too():
    packed = PackedRNN(layers.LSTMCell(3, dropout=0.5, kernel_regularizer="l2"))
    expected = packed(INPUTS)
    layer = packed.to_keras(dropout=0.0, kernel_regularizer=None, dtype="float32")
    assert (layer.dropout, layer.kernel_regularizer) == (0.0, None)
    np.testing.assert_allclose(layer(INPUTS), expected, atol=1e-6)


def test_a_list_of_keras_cells_becomes_a_stack_of_keras():
    options = {"dtype": "float64"}
    packed = PackedRNN([layers.LSTMCell(3, activation=tf.nn.relu, **options), layers.GRUCell(2, **options)])
    expected = packed(INPUTS)
    layer = packed.to_keras()
    assert isinstance(layer.cell, layers.StackedRNNCells)
    np.testing.assert_allclose(layer(INPUTS), expected, atol=1e-12)
    assert {type(one) for one in layer.cell.cells} == {layers.LSTMCell, layers.GRUCell}


def test_both_ways_that_were_built_by_a_call_with_states():
    both = layers.Bidirectional(layers.LSTM(3))
    states = [tf.ones([4, 3])] * 4
    expected = both(INPUTS, initial_state=states)
    packed = PackedRNN.from_keras(both)
    np.testing.assert_allclose(packed(INPUTS, initial_state=states), expected, atol=1e-6)


def test_a_copy_draws_masks_as_its_layer_does():
    """By `implementation`, which no configuration of Keras' tells."""
    layer = layers.LSTM(3, dropout=0.5, implementation=1)
    layer.build((None, None, 2))
    assert PackedRNN.from_keras(layer).cell.implementation == 1


def test_unrolled_and_backwards_is_left_as_it_is():
    """Keras zeroes its outputs by the mask of the other end, which accelerate would not."""
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True, unroll=True))
    model = keras.Sequential([keras.Input([5, 2]), layers.Masking(), both])
    before = model(INPUTS * MASK[..., None])
    accelerate(model)
    reasons = {one.packed: one.reason for one in acceleration_of(model).layers}
    assert "unroll=False does not" in reasons[False]
    assert set(reasons) == {True, False}
    np.testing.assert_allclose(model(INPUTS * MASK[..., None]), before, atol=1e-6)


def test_cells_of_here_with_an_activation_that_looks_around_are_left():
    model = keras.Sequential(
        [keras.Input([None, 2]), layers.RNN(CELLS["gru"](3, activation=lambda z: z - tf.reduce_mean(z, 0)))]
    )
    accelerate(model)
    assert "its activation looks at the whole batch" in acceleration_of(model).layers[0].reason


def test_lengths_are_carried_on_as_a_mask_is():
    """What pools, and Keras' own loss, would count padding."""
    inputs, length = keras.Input([None, 2]), keras.Input([], dtype="int32")
    layer = PackedRNN(layers.GRUCell(3), return_sequences=True)
    by_length = keras.Model(
        [inputs, length], layers.GlobalAveragePooling1D()(layer(inputs, sequence_length=length))
    )
    by_mask = keras.Model(inputs, layers.GlobalAveragePooling1D()(layer(layers.Masking()(inputs))))
    padded, lengths = INPUTS * MASK[..., None], MASK.sum(1)
    rows = [0, 1, 3]  # the mean of no step is no number
    np.testing.assert_allclose(
        np.asarray(by_length([padded, lengths]))[rows], np.asarray(by_mask(padded))[rows], atol=1e-6
    )
    tagger = keras.Model([inputs, length], layers.Dense(1)(layer(inputs, sequence_length=length)))
    tagger.compile(loss="mse")
    targets = np.where(MASK[..., None], 1.0, 100.0)
    loss = tagger.evaluate([padded, lengths], targets, verbose=0)
    right = np.asarray(tagger([padded, lengths]))
    assert loss == pytest.approx(((right - 1) ** 2)[MASK].mean(), rel=1e-4)


@pytest.mark.parametrize("return_state", [False, True])
def test_lengths_go_before_the_mask_of_the_inputs_in_a_functional_model(return_state):
    """The layers behind kept the mask that the inputs had while the model was made: means of padding too."""
    ids, length = keras.Input([None], dtype="int32"), keras.Input([], dtype="int32")
    layer = PackedRNN(layers.GRUCell(3), return_sequences=True, return_state=return_state)
    made = layer(layers.Embedding(9, 2, mask_zero=True)(ids), sequence_length=length)
    outputs = made[0] if return_state else made
    pooled, steps = (
        keras.Model([ids, length], layers.GlobalAveragePooling1D()(outputs)),
        keras.Model([ids, length], outputs),
    )
    batch = [np.array([[3, 1, 4, 1, 5], [2, 7, 1, 8, 0]], "int32"), np.array([5, 2], "int32")]
    every = np.asarray(steps(batch))
    np.testing.assert_allclose(pooled(batch), [every[0].mean(0), every[1, :2].mean(0)], atol=1e-6)


class Counted(Own):
    """Counts its steps in a variable of its own, which is in none of its numbers."""

    def build(self, shape):
        super().build(shape)
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")

    def call(self, inputs, states):
        self.steps.assign_add(1.0)
        return super().call(inputs, states)


def test_a_step_that_is_tried_leaves_no_trace_in_the_cell():
    model = keras.Sequential([keras.Input([None, 2]), layers.RNN(Counted(3))])
    before = float(model.layers[0].cell.steps)
    accelerate(model, sample=INPUTS)
    assert float(model.layers[0].cell.steps) == before


class Clipped(layers.SimpleRNNCell):
    """Keras' own step, which asks for its masks out of training too."""

    def call(self, sequence, states, training=False):
        h, _ = super().call(sequence, states, training=training)
        h = keras.ops.clip(h, -0.9, 0.9)
        return h, [h]


def test_a_step_that_is_tried_leaves_no_mask_of_five_rows():
    inputs = np.concatenate([INPUTS, INPUTS])
    model = keras.Sequential([keras.Input([None, 2]), layers.RNN(Clipped(3, dropout=0.5))])
    accelerate(model, sample=inputs)
    assert acceleration_of(model).layers[0].packed
    train = tf.function(lambda: model(inputs, training=True), autograph=False)
    drawn = [np.asarray(train()) for _ in range(4)]
    assert any(np.abs(one - drawn[0]).max() > 1e-3 for one in drawn[1:])


class OneWeight(layers.Layer, DropoutRNNCell):
    """Draws as Keras' cells do, whose weights it has by no name of theirs."""

    def __init__(self, units):
        super().__init__()
        self.state_size = self.output_size = units
        self.dropout, self.recurrent_dropout = 0.5, 0.0
        self.seed_generator = keras.random.SeedGenerator(1)

    def build(self, shape):
        self.weight = self.add_weight(shape=(shape[-1] + self.state_size, self.state_size))

    def call(self, inputs, states, training=False):
        if training:
            inputs = inputs * self.get_dropout_mask(inputs)
        h = tf.tanh(tf.matmul(tf.concat([inputs, states[0]], -1), self.weight))
        return h, [h]


def test_a_cell_that_draws_without_the_kernels_of_keras_cells_is_left():
    model = keras.Sequential([keras.Input([None, 2]), layers.RNN(OneWeight(3))])
    accelerate(model, sample=INPUTS)
    (report,) = acceleration_of(model).layers
    assert report.reason == "OneWeight draws masks as Keras' cells do, and has not their two kernels"
    assert model(INPUTS, training=True).shape == (4, 3)
