"""Right models in which a real step, place or class may honestly change nothing: that is no mask."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.probes.zoo import (
    CLASSES,
    IDS,
    LENGTHS,
    VALID,
    Animal,
    B,
    D,
    T,
    dense,
    embedding,
    features,
    fed,
    ids,
    kernel,
    mask_of,
    sequential,
    tags,
    with_length,
)  # fmt: skip
from tests.probes.zoo_right import RIGHT


def _mask(inputs: Any) -> Any:
    return mask_of(inputs["length"], inputs["x"])[..., None]


def _tagger(units: int = CLASSES) -> Any:
    return sequential(embedding(), layers.GRU(3, return_sequences=True), dense(units))


# ------------------------------------------------------------ a step adds less and less until it adds nothing
@RIGHT()
def sum_of_rectified_features() -> Animal:
    def model(inputs: Any) -> Any:
        return tf.reduce_sum(tf.where(_mask(inputs), tf.nn.relu(inputs["x"]), 0.0), 1)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def maximum_of_rectified_features() -> Animal:
    def model(inputs: Any) -> Any:
        return tf.reduce_max(tf.where(_mask(inputs), tf.nn.relu(inputs["x"]), 0.0), 1)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def maximum_of_rectified_features_over_zeros() -> Animal:
    x = fed("float32", (None, D))
    return Animal(keras.Model(x, layers.GlobalMaxPooling1D()(layers.ReLU()(x))), features())


@RIGHT()
def sharp_attention() -> Animal:
    def model(inputs: Any) -> Any:
        scores = tf.where(_mask(inputs)[..., 0], 60 * tf.reduce_sum(inputs["x"], -1), -1e9)
        return tf.einsum("bt,btd->bd", tf.nn.softmax(scores), inputs["x"])

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def attention_in_bfloat16() -> Animal:
    def model(inputs: Any) -> Any:
        h = tf.cast(inputs["x"], tf.bfloat16)
        scores = tf.where(_mask(inputs)[..., 0], tf.reduce_sum(16 * h, -1), tf.constant(-1e9, tf.bfloat16))
        return tf.einsum("bt,btd->bd", tf.nn.softmax(scores), h)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def weighted_by_the_first_feature() -> Animal:
    def model(inputs: Any) -> Any:
        weight = tf.where(_mask(inputs), tf.nn.relu(inputs["x"][..., :1]), 0.0)
        return tf.reduce_sum(weight * inputs["x"][..., 1:], 1) / (tf.reduce_sum(weight, 1) + 1e-3)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def silent_steps_in_a_masked_sum() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        return tf.reduce_sum((inputs["x"] @ w) * tf.cast(_mask(inputs), tf.float32), 1)

    x = features()
    x[0, 2] = x[0, 5] = x[2, 1] = 0
    return Animal(model, with_length(x))


# ------------------------------------------------------------ two sequences, each with lengths of its own
@RIGHT()
def siamese_with_lengths_of_each() -> Animal:
    encoder = sequential(embedding(mask_zero=True), layers.GRU(3))
    a, b = fed(name="a"), fed(name="b")
    own = np.arange(T) < np.array([3, 5, 2, 6])[:, None]
    other = np.random.default_rng(5).integers(1, IDS, (B, T)) * own
    model = keras.Model({"a": a, "b": b}, layers.Dot(1, normalize=True)([encoder(a), encoder(b)]))
    return Animal(model, {"a": ids(), "b": other})


# ------------------------------------------------------------ losses that are flat at a class
@RIGHT()
def contrastive_beyond_the_margin() -> Animal:
    def loss(y_true: Any, y_pred: Any) -> Any:
        near = (1 - y_true) * tf.maximum(0.001 - y_pred, 0.0) ** 2
        return tf.reduce_mean(y_true * y_pred**2 + near)

    encoder = sequential(embedding(mask_zero=True), layers.GRU(3))
    a, b = fed(), fed()
    apart = ops.sum(ops.square(encoder(a) - encoder(b)), -1, keepdims=True)
    other = np.random.default_rng(5).integers(1, IDS, (B, T)) * VALID
    y = np.array([[0], [1], [1], [0]], np.float32)
    model = keras.Model([a, b], ops.sqrt(apart + 1e-9))
    return Animal(model, [ids(), other], options={"labels": y, "loss": loss})


@RIGHT()
def hinge_beyond_the_margin() -> Animal:
    def loss(y_true: Any, y_pred: Any, mask: Any) -> Any:
        side, weight = 2 * tf.cast(y_true, tf.float32) - 1, tf.cast(mask, tf.float32)
        each = tf.nn.relu(1 - side * (y_pred[..., 0] - 5))
        return tf.reduce_sum(each * weight) / tf.reduce_sum(weight)

    y = np.random.default_rng(2).integers(0, 2, (B, T)) * VALID
    return Animal(_tagger(1), ids(), options={"labels": y, "loss": loss})


# ------------------------------------------------------------ losses that read padding's labels, and may
@RIGHT()
def loss_masked_by_labels_divided_by_lengths() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.not_equal(y_true, -1)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(mask, y_true, 0), y_pred)
        sums = tf.reduce_sum(tf.where(mask, each, 0.0), 1)
        return tf.reduce_mean(sums / tf.cast(lengths, tf.float32))

    return Animal(_tagger(), ids(), options={"labels": tags(-1), "loss": loss})


@RIGHT()
def next_frame_under_its_own_mask() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths, tf.shape(y_pred)[1], tf.float32)[:, 1:, None]
        return tf.reduce_sum(tf.abs(y_true[:, 1:] - y_pred[:, :-1]) * mask) / tf.reduce_sum(mask)

    model = sequential(layers.GRU(3, return_sequences=True), dense(D))
    return Animal(model, features(), options={"labels": features(), "loss": loss})


@RIGHT()
def ctc_with_labels_as_wide_as_the_steps() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        count = tf.math.count_nonzero(y_true, 1, dtype=tf.int32)
        y = tf.cast(y_true, tf.int32)
        return tf.reduce_mean(
            tf.nn.ctc_loss(y, y_pred, count, lengths, logits_time_major=False, blank_index=0)
        )

    y = np.zeros((B, T), int)
    y[0, :3], y[1, :1], y[2, :2] = [1, 2, 1], [2], [1, 2]
    return Animal(_tagger(), ids(), options={"labels": y, "loss": loss})


# ------------------------------------------------------------ metrics of one class
class _OfOneClass(keras.metrics.Metric):
    """Counts of class 2 over steps that are labelled: its precision, or its recall."""

    def __init__(self, name: str, recall: bool) -> None:
        super().__init__(name=name)
        self.recall = recall
        self.hits = self.add_variable((), "zeros", name="hits")
        self.all = self.add_variable((), "zeros", name="all")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        known = tf.cast(y_true >= 0, tf.float32)
        said = tf.cast(tf.argmax(y_pred, -1) == 2, tf.float32) * known
        there = tf.cast(y_true == 2, tf.float32) * known
        self.hits.assign_add(tf.reduce_sum(said * there))
        self.all.assign_add(tf.reduce_sum(there if self.recall else said))

    def result(self) -> Any:
        return tf.math.divide_no_nan(self.hits, self.all)


@RIGHT()
def precision_of_a_class_by_another_name() -> Animal:
    metric = _OfOneClass("names_right", recall=False)
    return Animal(_tagger(), ids(), options={"labels": tags(-1), "metrics": [metric]})


@RIGHT()
def recall_of_a_class_by_another_name() -> Animal:
    metric = _OfOneClass("names_found", recall=True)
    return Animal(_tagger(), ids(), LENGTHS, {"labels": tags(-1), "metrics": [metric]})


@RIGHT()
def metric_that_knows_padding_by_rows_of_zeros() -> Animal:
    rnn, head = layers.GRU(3, return_sequences=True), dense(activation="softmax")

    def model(inputs: Any, training: bool = False) -> Any:
        return tf.where(_mask(inputs), head(rnn(inputs["x"])), 0.0)

    def accuracy(y_true: Any, y_pred: Any, mask: Any = None) -> Any:
        known = tf.cast(tf.reduce_sum(y_pred, -1) > 0, tf.float32)
        hits = tf.cast(tf.argmax(y_pred, -1) == tf.cast(y_true, tf.int64), tf.float32)
        return tf.reduce_sum(hits * known) / tf.reduce_sum(known)

    return Animal(model, with_length(features(junk=True)), options={"labels": tags(), "metrics": [accuracy]})
