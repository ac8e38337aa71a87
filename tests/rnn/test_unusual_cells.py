"""Cells, activations and outputs put together as few people do: Keras' numbers, a copy, or the reason why not."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import workbench
from tests.alone import run_alone
from workbench.cells import CELLS
from workbench.rnn import PackedRNN, accelerate, acceleration_of, packed_rnn, restore

layers = keras.layers
INPUTS = np.random.default_rng(0).normal(size=(5, 6, 3)).astype("float32")
INPUTS[1, 3:] = 0
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


class Plain:
    """No layer: Keras hands `training` to layers alone."""

    state_size = output_size = 3
    compute_dtype = "float32"

    def call(self, inputs, states, training=False):
        h = tf.tanh(inputs + states[0]) * (2.0 if training else 1.0)
        return h, [h]

    __call__ = call


class NotTold(Plain):
    def __call__(self, inputs, states):
        return self.call(inputs, states)


@pytest.mark.parametrize("cell", [Plain, NotTold])
def test_a_cell_that_is_no_layer_is_not_told_of_training(cell):
    model = keras.Sequential([keras.Input([None, 3]), layers.Masking(), layers.RNN(cell())])
    before = np.asarray(model(INPUTS, training=True))
    accelerate(model, INPUTS)
    assert acceleration_of(model).layers[0].packed
    np.testing.assert_allclose(model(INPUTS, training=True), before, atol=1e-6)


@dataclasses.dataclass
class Unhashable(Plain):
    units: int = 3


def test_a_cell_that_cannot_be_told_from_others_is_refused():
    with pytest.raises(TypeError, match=r"Unhashable has __eq__ without __hash__.*eq=False"):
        packed_rnn(Unhashable(), tf.constant(INPUTS))


def _around(*given):
    return keras.Sequential([keras.Input([None, 3]), layers.RNN(*given)])


def _same_cell_twice():
    cell = layers.SimpleRNNCell(3, dropout=0.5)
    return _around([cell, cell])


def _patched(name):
    model = _around(layers.LSTMCell(3))
    layer = model.layers[0]
    loop, call = layer.inner_loop, layer.cell.call
    if name == "inner_loop":
        layer.inner_loop = lambda sequences, **named: loop(2 * sequences, **named)
    else:
        layer.cell.call = lambda inputs, *others, **named: call(2 * inputs, *others, **named)
    return model


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            lambda: _around(layers.LSTMCell(3, activity_regularizer="l2")),
            "activity_regularizer of its LSTMCell",
        ),
        (_same_cell_twice, "more than once"),
        (lambda: _patched("call"), "the call of its LSTMCell was replaced"),
        (lambda: _patched("inner_loop"), "its inner_loop was replaced"),
    ],
    ids=["loss of each step", "one cell twice", "another call", "another loop"],
)
def test_what_a_packed_loop_would_change_is_left(make, why):
    model = make()
    before = np.asarray(model(INPUTS))
    accelerate(model)
    (report,) = acceleration_of(model).layers
    assert not report.packed
    assert why in report.reason
    np.testing.assert_array_equal(model(INPUTS), before)
    restore(model)
    np.testing.assert_array_equal(model(INPUTS), before)


class Begins(layers.Layer):
    """Begins from numbers that it draws."""

    state_size = output_size = 3

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def get_initial_state(self, batch_size=None):
        return [keras.random.normal((batch_size, 3), seed=self.seeds)]

    def call(self, inputs, states):
        h = keras.ops.tanh(inputs + states[0])
        return h, [h]


def test_a_cell_that_begins_from_what_it_draws_is_refused():
    model = _around(Begins())
    state = np.asarray(model.layers[0].cell.seeds.state)
    with pytest.raises(ValueError, match="draws"):
        accelerate(model, INPUTS)
    np.testing.assert_array_equal(model.layers[0].cell.seeds.state, state)


class Ends(keras.Model):
    """An LSTM and what is put out of it."""

    def __init__(self, end):
        super().__init__()
        self.rnn, self.end = layers.LSTM(4, return_sequences=True), end

    def call(self, inputs):
        return self.end(self.rnn(inputs))


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(tf.signal.rfft, id="complex", marks=pytest.mark.slow),
        pytest.param(tf.sparse.from_dense, id="sparse"),
        pytest.param(
            lambda outputs: tf.RaggedTensor.from_tensor(outputs, lengths=[6, 3, 6, 6, 6]),
            id="ragged",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda outputs: {"one": outputs, "none": None}, id="nothing beside", marks=pytest.mark.slow
        ),
        pytest.param(
            lambda outputs: tf.as_string(tf.cast(outputs[:, -1] > 0, tf.int32)),
            id="texts",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_put_out_is_compared_whatever_its_kind(end, monkeypatch):
    model = Ends(end)
    model(INPUTS)
    accelerate(model, INPUTS)
    assert acceleration_of(model).layers[0].packed
    loop = workbench.rnn.acceleration.packed_loop
    monkeypatch.setattr(
        "workbench.rnn.acceleration.packed_loop",
        lambda *given: tf.nest.map_structure(lambda one: -one, loop(*given)),
    )
    restore(model)
    with pytest.raises(ValueError, match="give other numbers"):
        accelerate(model, INPUTS)


def test_a_sample_is_no_data_set():
    with pytest.raises(TypeError, match=r"not a Dataset: next\(iter\(dataset\)\)"):
        accelerate(_around(layers.LSTMCell(3)), tf.data.Dataset.from_tensors(INPUTS))


class Noise(layers.Layer):
    """Holds what moves at each call where Keras does not look."""

    def __init__(self):
        super().__init__()
        self.generator, self.calls = tf.random.Generator.from_seed(1), [tf.Variable(0)]

    def call(self, inputs):
        self.calls[0].assign_add(1)
        self.generator.normal([1])
        return inputs


@pytest.mark.slow  # quick: a step that is tried leaves no trace, tests/rnn/test_keras_corners.py
def test_a_sample_puts_back_what_a_layer_holds_in_a_list_and_a_generator():
    noise = Noise()
    model = keras.Sequential([keras.Input([None, 3]), noise, layers.LSTM(3)])
    model(INPUTS)
    before = noise.generator.state.numpy().tolist(), int(noise.calls[0])
    accelerate(model, INPUTS)
    assert (noise.generator.state.numpy().tolist(), int(noise.calls[0])) == before


def test_what_an_activation_reads_is_not_moved_by_looking_at_it():
    drop = layers.Dropout(0.5, seed=1)
    activation = lambda z: keras.ops.tanh(drop(z))  # noqa: E731
    model = keras.Sequential([keras.Input([None, 3]), layers.LSTM(4, activation=activation)])
    model(INPUTS)
    before = np.asarray(drop.seed_generator.state).tolist()
    acceleration_of(model)
    accelerate(model)
    assert np.asarray(drop.seed_generator.state).tolist() == before


def test_an_activation_that_learns_is_copied_there_and_back():
    layer = layers.LSTM(4, activation=layers.PReLU(alpha_initializer="ones"))
    before = np.asarray(layer(INPUTS))
    packed = PackedRNN.from_keras(layer)
    np.testing.assert_allclose(packed(INPUTS), before, atol=1e-6)
    back = packed.to_keras()
    for variable in packed.trainable_variables:
        variable.assign_add(variable * 0 + 0.5)
    np.testing.assert_array_equal(layer(INPUTS), before)
    np.testing.assert_allclose(back(INPUTS), before, atol=1e-6)
    assert np.abs(np.asarray(packed(INPUTS)) - before).max() > 0.01


def test_both_ways_keep_the_regularizer_of_their_outputs_and_take_a_name():
    layer = layers.Bidirectional(layers.LSTM(4), activity_regularizer="l2")
    layer(INPUTS)
    packed = PackedRNN.from_keras(layer, name="other")
    packed(INPUTS)
    np.testing.assert_allclose(packed.losses, layer.losses, rtol=1e-5)
    assert packed.name == "other"


def test_a_batch_of_no_step_has_gradients_of_zero_outside_a_graph():
    model = keras.Sequential(
        [keras.Input([5]), layers.Embedding(9, 3, mask_zero=True), layers.LSTM(4, recurrent_dropout=0.3)]
    )
    accelerate(model)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(np.zeros([2, 5], "int32"), training=True))
    weights = [one.value for one in model.layers[-1].trainable_variables]
    assert [float(tf.reduce_max(tf.abs(one))) for one in tape.gradient(total, weights)] == [0.0] * 3


@pytest.mark.parametrize("inputs", [[INPUTS], {"a": INPUTS}])
@pytest.mark.parametrize("cell", [layers.LSTMCell(4), CELLS["lstm"](4)])
def test_a_nest_of_one_tensor_is_no_tensor(cell, inputs):
    nested = tf.nest.map_structure(tf.constant, inputs)
    with pytest.raises(ValueError, match=r"are one tensor .* not a (list|dict) of \(5, 6, 3\)"):
        packed_rnn(cell, nested)


@pytest.mark.slow  # a process that imports TensorFlow; quick: none, the names are a line of workbench/__init__.py
def test_rooms_are_there_by_their_whole_names():
    code = (
        "import workbench; workbench.rnn.PackedRNN; workbench.losses; print(workbench.claims.load.__name__)"
    )
    assert run_alone(code).splitlines()[-1] == "load"
