"""Right models with more beside the ids: positions, users, another sequence, a mask, labels that are ignored."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.probes.zoo import (
    CLASSES,
    IDS,
    VALID,
    Animal,
    T,
    compiled,
    dense,
    embedding,
    features,
    fed,
    ids,
    sequential,
    tags,
)
from tests.probes.zoo_right_effects import RIGHT


# ------------------------------------------------------------ other tables, whose row 0 is in use
class _Positions(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = embedding(), layers.Embedding(4 * T, 4)

    def call(self, x: Any) -> Any:
        return self.tokens(x) + self.positions(ops.arange(ops.shape(x)[1]))


@RIGHT()
def causal_tagger_with_a_table_of_positions() -> Animal:
    return Animal(sequential(fed(), _Positions(), layers.LSTM(3, return_sequences=True), dense()), ids())


@RIGHT()
def user_of_id_zero() -> Animal:
    x, user = fed(name="x"), keras.Input((), dtype="int64", name="user")
    text = layers.GRU(3)(embedding(mask_zero=True)(x))
    model = keras.Model({"x": x, "user": user}, layers.Concatenate()([text, layers.Embedding(5, 2)(user)]))
    return Animal(model, {"x": ids(), "user": np.array([0, 3, 1, 0])})


# ------------------------------------------------------------ as many ids as there are steps, which are none
def _beside_the_last_things_bought(text: Any, x: Any, bought: Any) -> Animal:
    """`text` of `x`, and what is made of six ids that are always six."""
    recent = fed(shape=(T,), name="recent")
    made = layers.Concatenate()([text, bought(layers.Embedding(IDS, 2)(recent))])
    data = {"x": ids(), "recent": np.random.default_rng(1).integers(1, IDS, (4, T))}
    return Animal(keras.Model({"x": x, "recent": recent}, dense(2)(made)), data)


@RIGHT()
def text_beside_as_many_things_bought() -> Animal:
    x = fed(name="x")
    text = layers.GRU(3)(embedding(mask_zero=True)(x))
    return _beside_the_last_things_bought(text, x, layers.GlobalAveragePooling1D())


# ------------------------------------------------------------ a second sequence that is always shorter
@RIGHT()
def two_sequences_of_which_one_is_shorter() -> Animal:
    encoder = sequential(embedding(mask_zero=True), layers.GRU(3))
    a, b = fed(name="a"), fed(name="b")
    shorter = ids() * np.roll(VALID, -1, 1) * (np.arange(T) < T - 1)
    shorter[3, 0] = 1  # its only step
    return Animal(
        keras.Model({"a": a, "b": b}, layers.Dot(1)([encoder(a), encoder(b)])), {"a": ids(), "b": shorter}
    )


# ------------------------------------------------------------ labels at real steps that are to be ignored
@RIGHT()
def labels_of_later_pieces_of_a_word_are_ignored() -> Animal:
    y = np.where(np.arange(T) % 2, -100, tags(-100))
    model = sequential(fed(), embedding(mask_zero=True), layers.GRU(3, return_sequences=True), dense())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    return Animal(compiled(model, loss), ids(), options={"labels": y})


# ------------------------------------------------------------ a training step of one's own that drops units
class _Stepped(keras.Model):
    def __init__(self) -> None:
        # TensorFlow refuses the name of its class, "__stepped", as a scope of a graph, and Keras never leaves it
        super().__init__(name="stepped")
        self.table, self.drop, self.head = embedding(), layers.Dropout(0.5), dense()

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.drop(self.table(x), training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            real = tf.cast(x != 0, tf.float32)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, self(x, training=True))
            loss = tf.reduce_sum(each * real) / tf.reduce_sum(real)
        values = [one.value for one in self.trainable_variables]
        self.optimizer.apply(tape.gradient(loss, values), self.trainable_variables)
        return {"loss": loss}


@RIGHT()
def training_step_that_drops_units() -> Animal:
    return Animal(compiled(_Stepped()), ids(), options={"labels": tags()})


# ------------------------------------------------------------ a mask that need not be given
@RIGHT()
def function_with_an_optional_mask() -> Animal:
    def model(x: Any, attention_mask: Any = None) -> Any:
        if attention_mask is None:
            return tf.reduce_mean(x, 1)
        real = tf.cast(attention_mask, x.dtype)[..., None]
        return tf.reduce_sum(x * real, 1) / tf.reduce_sum(real, 1)

    return Animal(model, features(junk=True))


@RIGHT()
def function_with_a_flag_that_speaks_of_masks() -> Animal:
    head = dense(IDS)

    def model(x: Any, use_causal_mask: bool = False) -> Any:
        assert use_causal_mask is False
        return head(x)

    return Animal(model, features(junk=True))


@RIGHT()
def function_whose_layers_are_not_built() -> Animal:
    rnn, head = layers.GRU(3), dense(CLASSES)

    def model(x: Any, lengths: Any) -> Any:
        return head(rnn(x, mask=tf.sequence_mask(lengths, tf.shape(x)[1])))

    return Animal(model, features(junk=True))


# ------------------------------------------------------------ what only looks like steps, lengths, faults
@RIGHT()
def steps_of_no_weight() -> Animal:
    """The last step of each example, and with it each of class 0 that there is."""
    last = np.arange(T) == VALID.sum(1, keepdims=True) - 1
    y = np.where(last, 0, tags(lowest=1))
    weights = (VALID & ~last).astype(np.float32)
    model = sequential(fed(), embedding(mask_zero=True), layers.GRU(3, return_sequences=True), dense())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Animal(compiled(model, loss), ids(), options={"labels": y, "sample_weight": weights})


class _WithProfile(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="with_profile")  # as above
        self.table, self.rnn, self.head = embedding(mask_zero=True), layers.GRU(3), dense()

    def call(self, x: Any) -> Any:
        return self.head(ops.concatenate([self.rnn(self.table(x["x"])), x["profile"]], -1))


@RIGHT()
def as_many_features_of_an_example_as_steps() -> Animal:
    profile = np.random.default_rng(7).normal(size=(len(VALID), T)).astype(np.float32)
    return Animal(_WithProfile(), {"x": ids(), "profile": profile})


@RIGHT()
def a_feature_that_is_called_length() -> Animal:
    x, length = fed(name="x"), keras.Input((1,), name="length")
    text = layers.GRU(3)(embedding(mask_zero=True)(x))
    model = keras.Model({"x": x, "length": length}, layers.Concatenate()([text, layers.Dense(2)(length)]))
    return Animal(model, {"x": ids(), "length": np.array([[1.7], [0.3], [2.2], [0.9]], np.float32)})


class _RulesOut(layers.Layer):
    def call(self, scores: Any) -> Any:
        return ops.where(ops.arange(CLASSES) == 1, -np.inf, scores)


@RIGHT()
def a_class_that_is_ruled_out() -> Animal:
    model = sequential(
        fed(), embedding(mask_zero=True), layers.GRU(3, return_sequences=True), dense(), _RulesOut()
    )
    return Animal(model, ids())


class _OneHot(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="one_hot")
        self.rnn = layers.GRU(3)

    def call(self, x: Any) -> Any:
        return self.rnn(x, mask=x[..., 0] < 0.5)


@RIGHT()
def one_hot_steps_with_a_class_for_padding() -> Animal:
    return Animal(_OneHot(), np.eye(IDS, dtype=np.float32)[ids()])


@RIGHT()
def inputs_by_name_for_a_model_that_has_them_in_a_list() -> Animal:
    words, chars = fed(name="words"), keras.Input((None, 3), dtype="int64", name="chars")
    letters = layers.TimeDistributed(layers.Flatten())(layers.Embedding(5, 2)(chars))
    both = layers.Concatenate()([embedding(mask_zero=True)(words), letters])
    outputs = layers.GRU(3)(both, mask=layers.Lambda(lambda x: x != 0)(words))
    of_chars = np.random.default_rng(5).integers(1, 5, (*VALID.shape, 3)) * VALID[..., None]
    return Animal(keras.Model([words, chars], outputs), {"words": ids(), "chars": of_chars})
