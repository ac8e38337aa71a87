"""`accelerate`: a model of Keras' layers gives Keras' numbers packed, keeps all that is its own, and comes back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.rnn import PackedRNN, accelerate, acceleration_of, restore

layers = keras.layers
RANDOM = np.random.default_rng(0)
BEHIND = np.where(np.arange(6) < np.array([6, 3, 0, 1])[:, None], RANDOM.integers(1, 9, (4, 6)), 0)
"""Ids whose mask is true up to a length: of all steps, of some, of none, of one."""
ANYWHERE = np.concatenate([BEHIND[:2, ::-1], RANDOM.integers(1, 9, (2, 6)) * (np.arange(6) % 3 > 0)])
"""Padding in front, and holes."""

pytestmark = [
    pytest.mark.usefixtures("in_float64"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def of_ids(layer):
    ids = keras.Input([None], dtype="int32")
    return filled(keras.Model(ids, layer(layers.Embedding(9, 4, mask_zero=True)(ids))))


def filled(model):
    """All weights drawn: a bias of zeros, or zeros of a frozen start, would hide much."""
    draw = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype == "float64":
            variable.assign(draw.normal(size=variable.shape) / 2)
    return model


def numbers(model, given, training=False):
    """Outputs, losses, and gradients of all weights."""
    keras.utils.set_random_seed(0)
    for variable in model.non_trainable_variables:
        variable.assign(tf.zeros_like(variable))  # seeds, and states that are kept
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(model(given, training=training))
        loss = sum(tf.reduce_sum(tf.sin(one)) for one in outputs) + sum(model.losses)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_weights])
    return [np.asarray(tf.convert_to_tensor(one)) for one in (*outputs, loss, *gradients)]


def hold(model, given, training=False):
    """Keras' own numbers before, packed, and restored."""
    expected = numbers(model, given, training)
    assert accelerate(model) is model
    found = numbers(model, given, training)
    restore(model)
    for again in (found, numbers(model, given, training)):
        for one, other in zip(again, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


KINDS = {
    "lstm": lambda **o: layers.LSTM(3, **o),
    "gru": lambda **o: layers.GRU(3, **o),
    "gru, reset before": lambda **o: layers.GRU(3, reset_after=False, recurrent_activation="relu", **o),
    "simple": lambda **o: layers.SimpleRNN(3, use_bias=False, activation=None, **o),
    "options": lambda **o: layers.LSTM(
        3, use_bias=False, recurrent_activation="hard_sigmoid", kernel_regularizer="l2",
        recurrent_constraint="max_norm", activity_regularizer="l2", **o,
    ),
    "cells": lambda **o: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], **o),
}  # fmt: skip
WAYS = {
    "last": {},
    "all": {"return_sequences": True},
    "zeros": {"return_sequences": True, "zero_output_for_mask": True},
    "last zeros": {"zero_output_for_mask": True},
    "backwards": {"return_sequences": True, "go_backwards": True},
    "states": {"return_state": True, "go_backwards": True},
}


@pytest.mark.covering(1)
@pytest.mark.parametrize("ids", [BEHIND, ANYWHERE], ids=["behind", "anywhere"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_keras_numbers_under_any_mask(kind, way, ids):
    hold(of_ids(KINDS[kind](**WAYS[way])), ids)


@pytest.mark.parametrize(
    "merge_mode",
    ["concat", None, *(pytest.param(one, marks=pytest.mark.slow) for one in ("sum", "mul", "ave"))],
)
def test_both_ways(merge_mode):
    inner = layers.LSTM(3, return_sequences=True)
    hold(of_ids(layers.Bidirectional(inner, merge_mode=merge_mode)), ANYWHERE if merge_mode else BEHIND)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: layers.GRU(3, dropout=0.5), id="inputs", marks=pytest.mark.slow),
        pytest.param(
            lambda: layers.SimpleRNN(3, dropout=0.5, recurrent_dropout=0.5),
            id="inputs and states",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: layers.LSTM(3, dropout=0.5, recurrent_dropout=0.5, return_sequences=True),
            id="a mask for each gate",
        ),
        pytest.param(
            lambda: layers.RNN([layers.GRUCell(3, dropout=0.5), layers.LSTMCell(2, dropout=0.5)]), id="cells"
        ),
    ],
)
def test_dropout_of_the_same_seed_drops_what_keras_drops(make):
    hold(of_ids(make()), BEHIND, training=True)


def test_states_that_a_layer_keeps():
    inputs = keras.Input(batch_shape=[4, 6], dtype="int32")
    model = keras.Model(inputs, layers.LSTM(3, stateful=True)(layers.Embedding(9, 4, mask_zero=True)(inputs)))
    filled(model)
    found = []
    for change in (lambda _: None, accelerate):
        change(model)
        model.layers[-1].reset_state()
        found.append([np.asarray(model(BEHIND)) for _ in range(2)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    assert np.abs(found[0][0] - found[0][1]).max() > 1e-3


class Own(keras.Model):
    """Layers in attributes, a list, and a model; one is called twice, another from states."""

    def __init__(self):
        super().__init__()
        self.vectors = layers.Embedding(9, 4, mask_zero=True)
        self.twice = layers.GRU(4, return_sequences=True)
        self.inside = keras.Sequential([layers.LSTM(3, return_sequences=True, return_state=True)])
        self.more = [layers.LSTM(3)]

    def build(self, shape):
        self.built = True

    def call(self, ids, training=False):
        vectors = self.twice(self.twice(self.vectors(ids)))
        outputs, *states = self.inside.layers[0](vectors)
        return self.more[0](outputs, initial_state=states)


def test_a_subclassed_model_with_a_shared_layer_and_states_handed_on():
    model = Own()
    model(BEHIND)
    hold(filled(model), BEHIND)
    accelerate(model)
    assert [one.packed for one in acceleration_of(model).layers] == [True] * 3


def test_layers_within_time_distributed_and_nested_models():
    within = of_ids(layers.GRU(3))
    documents = keras.Input([2, None], dtype="int32")
    model = keras.Model(documents, layers.LSTM(2)(layers.TimeDistributed(within)(documents)))
    hold(filled(model), np.stack([BEHIND, ANYWHERE], 1))


def classifier():
    model = of_ids(layers.Bidirectional(layers.LSTM(3, name="inner")))
    model = keras.Sequential([model, layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.slow  # quick: what was compiled stays so; a packed model learns in tests/rnn/test_packed_layer.py
def test_training_goes_on_where_it_was():
    """Two epochs, of which the second is packed: the weights, and the optimizer's slots, of two of Keras'."""
    found = []
    for change in (lambda model: model, accelerate):
        keras.utils.set_random_seed(3)
        model = classifier()
        for turn in (lambda model: model, change):
            turn(model).fit(BEHIND, np.array([0, 1, 1, 0]), batch_size=2, shuffle=False, verbose=0)
        found.append([np.asarray(variable) for variable in (*model.weights, *model.optimizer.variables)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.slow  # quick: what was compiled stays so
def test_what_is_saved_is_plain_keras_and_is_accelerated_again(tmp_path):
    model = accelerate(classifier())
    model.fit(BEHIND, np.array([0, 1, 1, 0]), verbose=0)
    expected = model.predict(ANYWHERE, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not any(one.packed for one in acceleration_of(loaded).layers)
    for one in (loaded, accelerate(loaded), restore(model)):
        np.testing.assert_allclose(one.predict(ANYWHERE, verbose=0), expected, rtol=1e-9)


def test_what_was_compiled_stays_so():
    inputs = keras.Input([None, 2])
    model = keras.Model(inputs, layers.SimpleRNN(3, trainable=False, name="mine")(inputs))
    model.compile("sgd", "mse", jit_compile=True)
    optimizer = model.optimizer
    accelerate(model)
    assert (model.jit_compile, model.optimizer, model.layers[-1].name) == (False, optimizer, "mine")
    assert not model.trainable_weights
    restore(model)
    assert model.jit_compile
    assert model.layers[-1].supports_jit
    assert "inner_loop" not in vars(model.layers[-1])


def test_compiled_anew_in_between_it_stays_so():
    model = accelerate(keras.Sequential([keras.Input([None, 2]), layers.GRU(3)]))
    model.compile("sgd", "mse", jit_compile=False)
    assert not restore(model).jit_compile
    model.compile("sgd", "mse", jit_compile=True)
    accelerate(model).compile("sgd", "mse", jit_compile=False)
    assert not restore(model).jit_compile


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
@pytest.mark.parametrize(
    "make", [lambda: layers.GRU(3), lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])]
)
def test_whole_numbers_are_multiplied_as_keras_does(make, dtype):
    layer, inputs = make(), RANDOM.integers(0, 5, (4, 6, 2)).astype(dtype)
    expected = layer(inputs)
    np.testing.assert_allclose(accelerate(layer)(inputs), expected, rtol=1e-9)


class Inside(layers.Layer):
    """A wrapper of one's own around a cell of Keras', which Keras does not see."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.state_size, self.output_size = cell, cell.state_size, cell.units

    def build(self, shape):
        self.cell.build(shape)

    def call(self, inputs, states, training=False):
        return self.cell(inputs, states, training=training)


@pytest.mark.slow  # quick: dropout of the same seed; tests/rnn/test_keras_corners.py, masks of five rows
def test_recurrent_dropout_inside_a_cell_of_ones_own():
    """One mask for all steps of a run, which is cut to the examples that run and dropped after it."""
    cell = layers.SimpleRNNCell(3, recurrent_dropout=0.5, seed=1)
    model = filled(keras.Sequential([keras.Input([6, 2], dtype="float64"), layers.RNN(Inside(cell))]))
    model.compile("sgd", "mse")
    inputs = RANDOM.normal(size=(4, 6, 2))
    accelerate(model, sample=inputs)
    assert acceleration_of(model).layers[0].packed
    for _ in range(2):  # traced once, and again
        assert np.isfinite(model.fit(inputs, np.ones([4, 3]), verbose=0).history["loss"]).all()
        model.train_function = None
    assert not {"get_dropout_mask", "get_recurrent_dropout_mask"} & set(vars(cell))
    cell.seed_generator.state.assign([0, 1])
    found = model(inputs, training=True)
    cell.seed_generator.state.assign([0, 1])
    mask = cell.get_recurrent_dropout_mask(tf.ones([4, 3], tf.float64))
    cell.reset_recurrent_dropout_mask()
    kernel, recurrent, bias = (np.asarray(one) for one in cell.weights[:3])
    state = np.zeros([4, 3])
    for step in range(6):
        state = np.tanh(inputs[:, step] @ kernel + bias + (state * mask) @ recurrent)
    np.testing.assert_allclose(found, state, rtol=1e-9)


class Strange(layers.LSTM):
    """Its outputs are twice an LSTM's."""

    def inner_loop(self, sequences, *args, **kwargs):
        return super().inner_loop(2 * sequences, *args, **kwargs)


def test_the_report_says_what_was_left_and_why():
    inputs = keras.Input([None, 2])
    own = Strange(3, return_sequences=True, name="own")(inputs)
    asked = layers.LSTM(3, return_sequences=True, use_cudnn=True, name="asked")
    ours = PackedRNN(layers.GRUCell(3), return_sequences=True, name="ours")(own)
    model = keras.Model(inputs, layers.GRU(3, name="taken")(asked(ours)))
    found = {one.name: (one.packed, one.reason) for one in acceleration_of(accelerate(model)).layers}
    assert found == {
        "own": (False, "Strange is a class of its own, whose loop may be another than Keras' for RNN"),
        "ours": (True, "a PackedRNN"),
        "asked": (False, "use_cudnn=True asks for cuDNN"),
        "taken": (True, ""),
    }
    model.layers[-1](np.ones([1, 2, 3]))
    assert acceleration_of(model).layers[-1].reason == (
        "plain: outside tf.function, where a compilation would serve a single call"
    )
    assert "own    Strange    left         Strange is a class of its own" in str(acceleration_of(model))
    assert str(acceleration_of(layers.Dense(1))) == "The model has no recurrent layer of Keras'."


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="accelerate takes a model or a layer of Keras', not str"):
        accelerate("model.keras")


def test_a_mask_of_words_is_none_of_sentences():
    """TimeDistributed hands on the mask [B, sentences, words], of which Keras' own loop makes no sense either."""
    documents = keras.Input([4, None], dtype="int32")
    words = layers.TimeDistributed(layers.LSTM(2))(layers.Embedding(9, 3, mask_zero=True)(documents))
    model = keras.Model(documents, layers.GRU(3, name="of_sentences")(words))
    ids = np.stack([BEHIND] * 2)[:, :, ::-1]  # the first word of a sentence may be padding
    with pytest.raises(tf.errors.InvalidArgumentError):
        model(ids)
    with pytest.raises(ValueError, match=r"the mask of of_sentences is \(2, 4, 6\), and must be \[B, T\]"):
        accelerate(model)(ids)


def test_a_mask_may_have_an_axis_of_its_own():
    layer, inputs = layers.GRU(3, return_sequences=True), RANDOM.normal(size=(4, 6, 2))
    mask = (BEHIND > 0)[..., np.newaxis]
    expected = layer(inputs, mask=mask)
    accelerate(layer)
    np.testing.assert_allclose(layer(inputs, mask=mask), expected, atol=1e-12)


def test_a_mask_may_be_one_for_all_examples():
    layer, inputs = layers.GRU(3, return_sequences=True), RANDOM.normal(size=(4, 6, 2))
    mask = BEHIND[1:2] > 0
    expected = layer(inputs, mask=mask)
    accelerate(layer)
    np.testing.assert_allclose(layer(inputs, mask=mask), expected, atol=1e-12)
