"""After a check a model, its optimizer and the generators are as before; an LSTM's dropout is off meanwhile."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.probes import assert_padding_invariant, check

layers = keras.layers
LENGTHS = np.array([6, 2, 4, 1])
IDS = np.where(np.arange(6) < LENGTHS[:, None], np.random.default_rng(0).integers(1, 9, (4, 6)), 0)
LABELS = np.where(IDS > 0, IDS % 3, 0)
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


class Counts(layers.Layer):
    """Counts its calls in a variable of which Keras does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True
        self.calls = tf.Variable(0.0, trainable=False)

    def call(self, inputs: Any) -> Any:
        self.calls.assign_add(1.0)
        return inputs


class Stepped(keras.Model):
    """A training step of one's own whose loss counts padding, or does not."""

    def __init__(self, masked: bool) -> None:
        super().__init__(name="stepped")
        self.table = layers.Embedding(9, 4, mask_zero=True)
        self.inner, self.head = layers.LSTM(4, dropout=0.2, return_sequences=True), layers.Dense(3)
        self.masked = masked

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.inner(self.table(x), training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, self(x, training=True))
            real = tf.cast(x != 0, tf.float32) if self.masked else tf.ones_like(each)
            loss = tf.reduce_sum(each * real) / tf.reduce_sum(real)
        values = [one.value for one in self.trainable_variables]
        self.optimizer.apply(tape.gradient(loss, values), self.trainable_variables)
        return {"loss": loss}


@pytest.mark.parametrize("masked", [pytest.param(True, marks=pytest.mark.slow), False])
def test_the_loss_of_a_step_with_dropout_inside_an_lstm(masked: bool) -> None:
    model = Stepped(masked)
    model.compile("adam")
    found = check(model, IDS, LENGTHS, labels=LABELS)
    assert not [one for one in found.not_tried if "The loss" in one]
    assert ("loss" in {one.kind for one in found}) != masked


@pytest.mark.slow  # quick: the loss of such a step, and what is given back below
def test_a_fit_after_a_check_goes_as_without_one() -> None:
    weights = []
    for checked in (False, True):
        keras.utils.set_random_seed(0)
        model = Stepped(True)
        model.compile(keras.optimizers.Adam(0.1))
        model(IDS)
        if checked:
            check(model, IDS, LENGTHS, labels=LABELS)
        model.inner.cell.dropout = 0.0
        model.fit(IDS, LABELS, verbose=0, batch_size=4, shuffle=False)
        weights.append([np.asarray(one) for one in model.weights])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_dropout_of_a_recurrent_layer_is_off_in_training_and_on_again_after() -> None:
    model = keras.Sequential(
        [
            layers.Embedding(9, 4, mask_zero=True),
            layers.Bidirectional(layers.LSTM(3, dropout=0.5)),
            layers.Dense(1),
        ]
    )
    assert not check(model, IDS, LENGTHS, training=True)
    both = model.layers[1]
    assert [one.cell.dropout for one in (both.forward_layer, both.backward_layer)] == [0.5, 0.5]


def test_dropout_is_on_again_after_a_refusal() -> None:
    model = keras.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3), layers.Dropout(0.5)])
    with pytest.raises(ValueError, match="lengths") as kept:  # with its traceback, as a notebook keeps it
        check(model, IDS, LENGTHS[:2], training=True)
    assert model.layers[-1].rate == 0.5, kept


def test_layers_that_are_made_afterwards_have_their_own_names() -> None:
    """TensorFlow refuses the name `__own` in a graph, and Keras leaves it open."""

    class _Own(keras.Model):
        def call(self, ids: tf.Tensor) -> tf.Tensor:
            return tf.cast(ids, tf.float32)

    check(_Own(), np.array([[1, 2, 3], [4, 0, 0]]), [3, 1])
    layer = keras.layers.Dense(2, name="after")
    layer.build((None, 3))
    assert layer.kernel.path == "after/kernel"


def test_variables_of_which_keras_does_not_know_and_generators_are_as_before() -> None:
    model = keras.Sequential([layers.Embedding(9, 4, mask_zero=True), Counts(), layers.LSTM(3)])
    np.random.seed(7)
    tf.random.set_seed(7)
    expected = np.random.random(), float(tf.random.uniform([]))
    np.random.seed(7)
    tf.random.set_seed(7)
    before = float(model.layers[1].calls)
    check(model, IDS, LENGTHS)
    assert float(model.layers[1].calls) == before
    assert (np.random.random(), float(tf.random.uniform([]))) == expected


class LastStep(tf.Module):
    """Counts its calls, and fails on an empty example."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False)

    def __call__(self, inputs: Any, length: Any, training: bool = False) -> Any:
        self.calls.assign_add(1.0)
        return tf.gather(inputs, length - 1, batch_dims=1)


def test_a_variable_is_as_before_where_the_first_call_fails() -> None:
    model, lengths = LastStep(), np.array([3, 0, 2])
    check(model, np.ones([3, 4, 2], "float32") * (np.arange(4) < lengths[:, None])[..., None], lengths)
    assert float(model.calls) == 0.0


def test_an_assertion_on_what_cannot_be_compared_fails() -> None:
    def noisy(x: Any) -> Any:
        return tf.reduce_mean(x, 1) + tf.random.normal([4, 2], seed=None) * np.random.random()

    features = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
    with pytest.raises(AssertionError, match="Nothing was compared"):
        assert_padding_invariant(noisy, features, LENGTHS)


@pytest.mark.slow  # quick: variables of which Keras does not know; the stateful layer below
def test_running_metrics_states_and_a_generator_of_keras_stay() -> None:
    """As in the middle of an epoch."""
    rnn = layers.GRU(3, stateful=True)
    model = keras.Sequential(
        [keras.Input([None], batch_size=4), layers.Embedding(9, 4, mask_zero=True), rnn, layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    labels = np.array([0, 1, 2, 1])
    model.test_on_batch(IDS, labels)
    before = [np.array(v) for v in (*model.metrics_variables, *rnn.states)]
    assert any(one.any() for one in before)
    keras.random.normal([1])
    generator = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    drawn = np.array(generator.state)
    check(model, IDS, LENGTHS, labels=labels)
    for one, other in zip(before, (*model.metrics_variables, *rnn.states), strict=True):
        np.testing.assert_array_equal(one, np.array(other))
    np.testing.assert_array_equal(drawn, np.array(generator.state))


def test_a_function_whose_stateful_layer_the_check_builds_begins_at_zeros() -> None:
    rnn = layers.GRU(3, stateful=True)
    check(lambda x: rnn(x), np.ones([4, 6, 2], "float32") * (IDS > 0)[..., None], LENGTHS)
    assert not np.any(np.array(rnn.states[0]))


def test_padding_in_front_is_refused_in_words() -> None:
    model = keras.Sequential([keras.Input([None]), layers.Embedding(9, 4, mask_zero=True), layers.GRU(3)])
    in_front = keras.utils.pad_sequences([row[row > 0] for row in IDS], maxlen=6)
    with pytest.raises(ValueError, match="has its padding in front: put it behind"):
        check(model, in_front, LENGTHS)


def test_a_loss_with_an_option_of_its_own_keeps_it() -> None:
    """It is not the lengths, the mask or the weights, though its name speaks of such."""
    seen = []

    def loss(y_true: Any, y_pred: Any, mask_value: float = -1.0, pos_weight: float = 3.0) -> Any:
        seen.append((mask_value, pos_weight))
        return tf.reduce_mean(tf.square(tf.cast(y_true, y_pred.dtype) - y_pred[..., 0]))

    model = keras.Sequential([keras.Input([None]), layers.Embedding(9, 4), layers.Dense(1)])
    found = check(model, IDS, LENGTHS, labels=LABELS, loss=loss)
    assert set(seen) == {(-1.0, 3.0)}
    assert "loss" in {one.kind for one in found}, "it counts padding"
