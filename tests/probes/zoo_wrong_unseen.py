"""Wrong models whose fault the numbers at hand do not show: the padding's label, a class that is not predicted."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.probes.zoo import (
    CLASSES,
    IDS,
    Animal,
    D,
    T,
    dense,
    embedding,
    features,
    ids,
    sequential,
    tags,
)  # fmt: skip
from tests.probes.zoo_wrong import WRONG

SHORT = np.array([5, 2, 4, 1])  # no example fills the batch: else the step behind the longest shows the fault
KEPT = np.arange(T) < SHORT[:, None]


# ------------------------------------------------------------ a mask that was not moved with the labels
@WRONG("loss")
def next_word_under_the_mask_of_the_inputs() -> Animal:
    def loss(y_true: Any, y_pred: Any, mask: Any) -> Any:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true[:, 1:], y_pred[:, :-1])
        weight = tf.cast(mask[:, :-1], tf.float32)
        return tf.reduce_sum(each * weight) / tf.reduce_sum(weight)

    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense(IDS))
    x = ids() * KEPT
    return Animal(model, x, SHORT, {"labels": x, "loss": loss})


@WRONG("loss")
def next_word_in_one_hot_rows() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        each = tf.nn.softmax_cross_entropy_with_logits(y_true[:, 1:], y_pred[:, :-1])
        weight = tf.sequence_mask(lengths, tf.shape(y_true)[1], tf.float32)[:, :-1]
        return tf.reduce_sum(each * weight) / tf.reduce_sum(weight)

    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense(IDS))
    x = ids() * KEPT
    return Animal(model, x, SHORT, {"labels": np.eye(IDS, dtype=np.float32)[x], "loss": loss})


@WRONG("loss")
def next_frame_under_the_mask_of_the_inputs() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths, tf.shape(y_pred)[1], tf.float32)[:, :-1, None]
        return tf.reduce_sum(tf.abs(y_true[:, 1:] - y_pred[:, :-1]) * mask) / tf.reduce_sum(mask)

    model = sequential(layers.GRU(3, return_sequences=True), dense(D))
    x = features() * KEPT[..., None]
    return Animal(model, x, SHORT, {"labels": x, "loss": loss})


# ------------------------------------------------------------ numbers that are large at padded steps alone
@WRONG("outputs")
def mean_over_padding_where_scores_of_padding_are_large() -> Animal:
    def model(x: Any) -> Any:
        scores = tf.reduce_sum(x * tf.reduce_mean(x, 1, keepdims=True), -1)
        return tf.where(tf.reduce_any(x != 0, -1), scores, -1e9)

    return Animal(model, features())


# ------------------------------------------------------------ a metric of a class that is never predicted
@WRONG("metric")
def f1_of_class_zero_counts_padding() -> Animal:
    class F1(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="f1")
            self.hits = self.add_variable((), "zeros", name="hits")
            self.both = self.add_variable((), "zeros", name="both")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            said = tf.cast(tf.argmax(y_pred, -1) == 0, tf.float32)
            there = tf.cast(y_true == 0, tf.float32)
            self.hits.assign_add(tf.reduce_sum(said * there))
            self.both.assign_add(tf.reduce_sum(said) + tf.reduce_sum(there))

        def result(self) -> Any:
            return tf.math.divide_no_nan(2 * self.hits, self.both)

    def never(shape: Any, dtype: Any = None) -> Any:
        return tf.constant([-9.0] + [0.0] * (CLASSES - 1), dtype)

    head = dense(bias_initializer=never)
    model = sequential(embedding(), layers.GRU(3, return_sequences=True), head)
    return Animal(model, ids(), options={"labels": tags(), "metrics": [F1()]})


# ------------------------------------------------------------ a state that stays at 0 through padding that is 0
@WRONG("outputs", "gradient")
def backward_lstm_whose_biases_are_new() -> Animal:
    x = keras.Input((None, D))
    return Animal(keras.Model(x, layers.LSTM(3, go_backwards=True)(x)), features())


@WRONG("outputs", "gradient")
def backward_gru_in_a_function_that_was_not_called_yet() -> Animal:
    rnn = layers.GRU(3, go_backwards=True)
    return Animal(lambda inputs: rnn(inputs), features())
