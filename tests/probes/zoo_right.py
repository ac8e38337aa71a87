"""Models that treat padding rightly, as people write them: none may be accused of anything."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.probes.zoo import (
    CLASSES,
    LENGTHS,
    VALID,
    Animal,
    D,
    Room,
    T,
    classes,
    compiled,
    dense,
    embedding,
    features,
    fed,
    ids,
    kernel,
    mask_of,
    sequential,
    tags,
    weights,
    with_length,
)  # fmt: skip
from workbench.rnn import dynamic_rnn

RIGHT = Room()


@RIGHT()
def embedding_masked_lstm() -> Animal:
    return Animal(sequential(embedding(mask_zero=True), layers.LSTM(3), dense()), ids())


@RIGHT()
def masked_average_pooling() -> Animal:
    return Animal(sequential(embedding(mask_zero=True), layers.GlobalAveragePooling1D(), dense()), ids())


@RIGHT()
def bidirectional_masked_tagger_compiled() -> Animal:
    model = sequential(
        embedding(mask_zero=True),
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        dense(activation="softmax"),
    )
    return Animal(
        compiled(model, weighted_metrics=["accuracy"]),
        ids(),
        options={"labels": tags(), "sample_weight": weights()},
    )


@RIGHT()
def masking_features_functional() -> Animal:
    x = fed("float32", (None, D))
    y = layers.LSTM(3)(layers.Masking()(x))
    return Animal(keras.Model(x, dense()(y)), features())


@RIGHT()
def masking_with_minus_one() -> Animal:
    x = np.where(VALID[..., None], features(), -1.0).astype(np.float32)
    return Animal(sequential(layers.Masking(-1.0), layers.GRU(3), dense()), x, options={"pad_value": -1.0})


@RIGHT()
def causal_tagger_without_mask_and_loss() -> Animal:
    return Animal(sequential(embedding(), layers.LSTM(3, return_sequences=True), dense()), ids())


@RIGHT()
def causal_convolution_tagger() -> Animal:
    return Animal(
        sequential(
            layers.Conv1D(4, 3, padding="causal", activation="tanh"), layers.Conv1D(3, 2, padding="causal")
        ),
        features(),
    )


@RIGHT()
def causal_tagger_weighted_loss_by_hand() -> Animal:
    def loss(y_true: Any, y_pred: Any, mask: Any) -> Any:
        mask = tf.cast(mask, tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred)
        return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)

    return Animal(
        sequential(embedding(), layers.GRU(3, return_sequences=True), dense()),
        ids(),
        options={"labels": tags(), "loss": loss},
    )


@RIGHT()
def loss_of_means_by_example_from_lengths() -> Animal:
    def loss(targets: Any, logits: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths, tf.shape(logits)[1], tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits) * mask
        return tf.reduce_mean(tf.reduce_sum(each, 1) / tf.cast(lengths, tf.float32))

    return Animal(
        sequential(embedding(), layers.GRU(3, return_sequences=True), dense()),
        ids(),
        options={"labels": tags(), "loss": loss},
    )


@RIGHT()
def loss_with_logits_first() -> Animal:
    def loss(logits: Any, labels: Any, mask: Any) -> Any:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(tf.boolean_mask(each, mask))

    return Animal(
        sequential(embedding(), layers.GRU(3, return_sequences=True), dense()),
        ids(),
        options={"labels": tags(), "loss": loss},
    )


@RIGHT()
def labels_padded_with_minus_one() -> Animal:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1, reduction="sum")
    model = compiled(sequential(embedding(), layers.GRU(3, return_sequences=True), dense()), loss)
    return Animal(model, ids(), options={"labels": tags(-1), "label_pad": -1})


@RIGHT()
def loss_masks_minus_one_by_hand() -> Animal:
    def loss(y_true: Any, y_pred: Any) -> Any:
        mask = tf.not_equal(y_true, -1)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.where(mask, tf.cast(y_true, tf.int64), 0), y_pred
        )
        return tf.reduce_sum(tf.where(mask, each, 0.0)) / tf.reduce_sum(tf.cast(mask, tf.float32))

    return Animal(
        compiled(sequential(embedding(), layers.GRU(3, return_sequences=True), dense()), loss),
        ids(),
        options={"labels": tags(-1)},
    )


@RIGHT()
def labels_from_one_with_zero_for_padding() -> Animal:
    def loss(y_true: Any, y_pred: Any) -> Any:
        mask = tf.cast(tf.not_equal(y_true, 0), tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(y_true, tf.int32), y_pred)
        return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)

    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense())
    return Animal(model, ids(), options={"labels": tags(lowest=1), "loss": loss})


@RIGHT()
def zeros_past_the_end() -> Animal:
    return Animal(
        sequential(
            embedding(mask_zero=True), layers.LSTM(3, return_sequences=True, zero_output_for_mask=True)
        ),
        ids(),
    )


@RIGHT()
def outputs_and_states_masked() -> Animal:
    x = fed()
    y, h, c = layers.LSTM(3, return_sequences=True, return_state=True)(embedding(mask_zero=True)(x))
    return Animal(keras.Model(x, [y, h, c]), ids())


@RIGHT()
def last_step_by_length() -> Animal:
    rnn, head = layers.GRU(3, return_sequences=True), dense()

    def model(inputs: Any, training: bool = False) -> Any:
        y = rnn(inputs["x"])
        return head(tf.gather(y, inputs["length"] - 1, batch_dims=1))

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def mean_by_length_on_junk() -> Animal:
    w = kernel()

    def model(inputs: Any, training: bool = False) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.reduce_sum(tf.tanh(inputs["x"] @ w) * mask, 1) / tf.reduce_sum(mask, 1)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def maximum_with_minus_infinity() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        x, length = inputs
        return tf.reduce_max(tf.where(mask_of(length, x)[..., None], x @ w, -np.inf), 1)

    return Animal(model, [features(), LENGTHS])


@RIGHT()
def maximum_of_raw_features() -> Animal:
    def model(inputs: Any) -> Any:
        return tf.reduce_max(
            tf.where(mask_of(inputs["length"], inputs["x"])[..., None], inputs["x"], -1e9), 1
        )

    return Animal(model, with_length(features()))


@RIGHT()
def attention_with_mask() -> Animal:
    w, v = kernel(), kernel(4, 1)

    def model(inputs: Any) -> Any:
        h = tf.tanh(inputs["x"] @ w)
        scores = tf.where(mask_of(inputs["length"], h), (h @ v)[..., 0], -1e9)
        return tf.reduce_sum(tf.nn.softmax(scores)[..., None] * h, 1)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def keras_attention_by_mask_zero() -> Animal:
    x = fed()
    e = embedding(mask_zero=True)(x)
    y = layers.MultiHeadAttention(2, 2)(e, e)
    return Animal(keras.Model(x, dense()(layers.GlobalAveragePooling1D()(y))), ids())


@RIGHT()
def reverse_by_length() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(inputs: Any, training: bool = False) -> Any:
        x, length = inputs["x"], tf.cast(inputs["length"], tf.int32)
        return tf.reverse_sequence(rnn(tf.reverse_sequence(x, length, 1, 0)), length, 1, 0)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def frozen_batch_normalization_in_training() -> Animal:
    norm = layers.BatchNormalization(trainable=False)
    return Animal(
        sequential(embedding(), norm, layers.GRU(3, return_sequences=True)), ids(), options={"training": True}
    )


@RIGHT()
def masked_batch_normalization_in_training() -> Animal:
    model = sequential(embedding(mask_zero=True), layers.BatchNormalization(), layers.GRU(3), dense())
    return Animal(model, ids(), options={"training": True})


@RIGHT()
def batch_normalization_at_inference() -> Animal:
    return Animal(
        sequential(embedding(mask_zero=True), layers.BatchNormalization(), layers.GRU(3), dense()), ids()
    )


@RIGHT()
def dropout_off() -> Animal:
    return Animal(
        sequential(embedding(mask_zero=True), layers.Dropout(0.5), layers.LSTM(3, dropout=0.3), dense()),
        ids(),
    )


@RIGHT()
def dropout_in_training() -> Animal:
    return Animal(
        sequential(embedding(mask_zero=True), layers.Dropout(0.5), layers.LSTM(3), dense()),
        ids(),
        options={"training": True},
    )


@RIGHT()
def nan_past_the_end() -> Animal:
    w = kernel(columns=CLASSES)

    def model(inputs: Any) -> Any:
        valid = mask_of(inputs["length"], inputs["x"])[..., None]
        return tf.where(valid, tf.where(valid, inputs["x"], 0.0) @ w, np.nan)

    x = np.where(VALID[..., None], features(), np.nan).astype(np.float32)
    return Animal(model, with_length(x))


@RIGHT()
def half_precision_with_a_mask_that_fits() -> Animal:
    w, v = kernel(), kernel(4, 1)

    def model(inputs: Any) -> Any:
        h = tf.tanh(tf.cast(inputs["x"], tf.float16) @ tf.cast(w, tf.float16))
        scores = (h @ tf.cast(v, tf.float16))[..., 0]
        scores = tf.where(mask_of(inputs["length"], h), scores, tf.constant(-3e4, tf.float16))
        return tf.reduce_sum(tf.nn.softmax(scores)[..., None] * h, 1)

    return Animal(model, with_length(features()))


@RIGHT()
def mixed_precision_keras() -> Animal:
    policy = "mixed_float16"
    model = sequential(
        layers.Embedding(10, 4, mask_zero=True, dtype=policy),
        layers.GRU(3, dtype=policy),
        dense(dtype="float32"),
    )
    return Animal(model, ids())


@RIGHT()
def large_values() -> Animal:
    return Animal(sequential(layers.Masking(), layers.GRU(3), dense()), (features() * 1e6).astype(np.float32))


@RIGHT()
def cancelling_sums() -> Animal:
    w = tf.constant(np.random.default_rng(0).normal(size=(D, 4)).astype(np.float32))

    def model(inputs: Any) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        x = inputs["x"] * 1e4
        total = tf.reduce_sum((x @ w) * mask, 1)
        return total - tf.reduce_sum(x * mask, 1) @ w + tf.reduce_sum(mask, 1)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def double_precision() -> Animal:
    model = sequential(
        layers.Masking(dtype="float64"), layers.LSTM(3, dtype="float64"), dense(dtype="float64")
    )
    return Animal(model, features().astype(np.float64))


@RIGHT()
def mask_as_an_input() -> Animal:
    x, mask = fed("float32", (None, D)), fed("bool")
    y = layers.LSTM(3)(x, mask=mask)
    return Animal(keras.Model([x, mask], dense()(y)), [features(junk=True), VALID])


@RIGHT()
def lengths_in_a_subclass() -> Animal:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = layers.GRU(3), dense()

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.head(self.rnn(inputs["x"], mask=mask_of(inputs["length"], inputs["x"])))

    return Animal(Model(), with_length(features(junk=True)))


@RIGHT()
def subclass_reads_the_mask_itself() -> Animal:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = embedding(), layers.LSTM(3), dense()

        def call(self, x: Any, training: bool = False) -> Any:
            return self.head(self.rnn(self.embed(x), mask=tf.not_equal(x, 0)))

    return Animal(
        compiled(Model(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        ids(),
        options={"labels": classes()},
    )


@RIGHT()
def callable_reads_the_mask_from_ids() -> Animal:
    table = kernel(10, 4)

    def model(x: Any, training: bool = False) -> Any:
        mask = tf.cast(tf.not_equal(x, 0), tf.float32)[..., None]
        return tf.reduce_sum(tf.gather(table, x) * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1)

    return Animal(model, ids())


@RIGHT()
def callable_with_lengths_as_an_argument() -> Animal:
    rnn = layers.GRU(3)

    def model(x: Any, lengths: Any, training: bool = False) -> Any:
        return {"encoded": rnn(x, mask=mask_of(lengths, x))}

    return Animal(model, features(junk=True))


@RIGHT()
def two_inputs_one_without_steps() -> Animal:
    a, b = fed(), fed("float32", (6,))
    y = layers.Concatenate()([layers.LSTM(3)(embedding(mask_zero=True)(a)), b])
    return Animal(
        keras.Model([a, b], dense()(y)),
        [ids(), np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)],
    )


@RIGHT()
def two_outputs_in_a_dict() -> Animal:
    x = fed()
    y = layers.GRU(3, return_sequences=True)(embedding(mask_zero=True)(x))
    model = keras.Model(
        x, {"tags": dense(activation="softmax")(y), "class": dense(activation="softmax")(layers.GRU(3)(y))}
    )
    model.compile(
        "sgd", {"tags": "sparse_categorical_crossentropy", "class": "sparse_categorical_crossentropy"}
    )
    return Animal(model, ids(), options={"labels": {"tags": tags(), "class": classes()}})


@RIGHT()
def classifier_with_accuracy() -> Animal:
    model = sequential(embedding(mask_zero=True), layers.GRU(3), dense(activation="softmax"))
    return Animal(compiled(model, metrics=["accuracy"]), ids(), options={"labels": classes()})


@RIGHT()
def regularized_weights_and_masked_activities() -> Animal:
    model = sequential(
        embedding(mask_zero=True, embeddings_regularizer="l2"),
        layers.GRU(3, kernel_regularizer="l2", activity_regularizer="l2"),
        dense(activation="softmax"),
    )
    return Animal(compiled(model), ids(), options={"labels": classes()})


@RIGHT()
def metric_with_sums_and_counts() -> Animal:
    class Right(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="right")
            self.total = self.add_variable((), "zeros", name="total")
            self.count = self.add_variable((), "zeros", name="count")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            hit = tf.cast(tf.equal(tf.argmax(y_pred, -1), tf.cast(y_true, tf.int64)), tf.float32)
            weight = tf.cast(tf.not_equal(y_true, -1), tf.float32)
            self.total.assign_add(tf.reduce_sum(hit * weight))
            self.count.assign_add(tf.reduce_sum(weight))

        def result(self) -> Any:
            return self.total / self.count

    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense())
    return Animal(model, ids(), options={"labels": tags(-1), "metrics": [Right()]})


@RIGHT()
def weighted_metric_given() -> Animal:
    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense())
    metric = keras.metrics.SparseCategoricalAccuracy()
    return Animal(model, ids(), options={"labels": tags(), "metrics": [metric], "sample_weight": weights()})


@RIGHT()
def empty_example_handled() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.math.divide_no_nan(tf.reduce_sum((inputs["x"] @ w) * mask, 1), tf.reduce_sum(mask, 1))

    lengths = np.array([6, 0, 4, 1])
    return Animal(model, {"x": features(), "length": lengths}, lengths)


@RIGHT()
def empty_example_in_keras() -> Animal:
    lengths = np.array([6, 0, 4, 1])
    x = ids() * (np.arange(T) < lengths[:, None])
    return Animal(sequential(embedding(mask_zero=True), layers.LSTM(3), dense()), x, lengths)


@RIGHT()
def positions_from_the_start() -> Animal:
    table, rnn = kernel(40, D), layers.GRU(3)

    def model(inputs: Any) -> Any:
        x = inputs["x"] + table[: tf.shape(inputs["x"])[1]]
        return rnn(x, mask=mask_of(inputs["length"], x))

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def layer_normalization_of_features() -> Animal:
    return Animal(sequential(embedding(mask_zero=True), layers.LayerNormalization(), layers.GRU(3)), ids())


@RIGHT()
def fixed_steps() -> Animal:
    x = keras.Input((T,), dtype="int64")
    return Animal(keras.Model(x, layers.GRU(3)(embedding(mask_zero=True)(x))), ids())


@RIGHT()
def fixed_steps_flattened_under_a_mask() -> Animal:
    x, length = keras.Input((T, D)), keras.Input((), dtype="int64")

    class Zero(layers.Layer):
        def call(self, x: Any, length: Any) -> Any:
            return tf.where(mask_of(length, x)[..., None], x, 0.0)

    return Animal(
        keras.Model([x, length], dense()(layers.Flatten()(Zero()(x, length)))), [features(junk=True), LENGTHS]
    )


@RIGHT()
def fixed_batch() -> Animal:
    x = keras.Input(batch_shape=(4, None), dtype="int64")
    return Animal(keras.Model(x, layers.GRU(3)(embedding(mask_zero=True)(x))), ids())


@RIGHT()
def stride_of_two() -> Animal:
    return Animal(sequential(layers.Conv1D(4, 2, strides=2, padding="valid")), features())


@RIGHT()
def viterbi_under_lengths() -> Animal:
    w = kernel(columns=CLASSES)

    def model(inputs: Any) -> Any:
        valid = mask_of(inputs["length"], inputs["x"])
        return tf.where(valid, tf.argmax(inputs["x"] @ w, -1), 0)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def hierarchy_with_both_masks() -> Animal:
    table, rnn = kernel(10, 4), layers.GRU(3)
    words = np.random.default_rng(4).integers(1, 10, (4, T, 3)) * VALID[..., None]
    words[:, :, 2] *= np.random.default_rng(6).integers(0, 2, (4, T))

    def model(inputs: Any) -> Any:
        x = inputs["x"]
        inner = tf.cast(tf.not_equal(x, 0), tf.float32)[..., None]
        sentences = tf.math.divide_no_nan(
            tf.reduce_sum(tf.gather(table, x) * inner, 2), tf.reduce_sum(inner, 2)
        )
        return rnn(sentences, mask=mask_of(inputs["length"], x))

    return Animal(model, with_length(words))


@RIGHT()
def layer_add_keeps_the_mask() -> Animal:
    x = fed()
    e = embedding(mask_zero=True)(x)
    y = layers.Add()([e, dense(4)(e)])
    return Animal(keras.Model(x, layers.LSTM(3)(y)), ids())


@RIGHT()
def flag_as_first_feature() -> Animal:
    x = np.concatenate([VALID[..., None].astype(np.float32), features()], -1)
    rnn = layers.GRU(3)

    def model(x: Any, training: bool = False) -> Any:
        return rnn(x, mask=x[..., 0] > 0)

    return Animal(model, x)


@RIGHT()
def dense_one_output_mean_squared_error() -> Animal:
    model = sequential(layers.Masking(), layers.GRU(3, return_sequences=True), dense(1))
    y = np.random.default_rng(7).normal(size=(4, T, 1)).astype(np.float32)
    return Animal(compiled(model, "mse"), features(), options={"labels": y * VALID[..., None]})


@RIGHT()
def time_distributed_and_stacked() -> Animal:
    model = sequential(
        embedding(mask_zero=True), layers.LSTM(3, return_sequences=True), layers.LSTM(3, return_sequences=True),
        layers.TimeDistributed(dense(activation="softmax")),
    )  # fmt: skip
    return Animal(compiled(model), ids(), options={"labels": tags()})


@RIGHT()
def keras_bare_layer() -> Animal:
    return Animal(layers.LSTM(3, return_sequences=True), features())


@RIGHT()
def a_tf_function() -> Animal:
    w = kernel()

    @tf.function
    def model(inputs: Any, training: bool = False) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.reduce_sum(tf.nn.relu(inputs["x"] @ w) * mask, 1) / tf.reduce_sum(mask, 1)

    return Animal(model, with_length(features()))


@RIGHT()
def maximum_of_masked_outputs_that_repeat() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)
    return Animal(sequential(embedding(mask_zero=True), rnn, layers.GlobalMaxPooling1D()), ids())


@RIGHT()
def maximum_with_id_zero_in_use() -> Animal:
    table = kernel(10, 4)
    x = ids()
    x[0, 2] = x[2, 1] = 0

    def model(inputs: Any) -> Any:
        mask = mask_of(inputs["length"], inputs["x"])[..., None]
        return tf.reduce_max(tf.where(mask, tf.gather(table, inputs["x"]), -np.inf), 1)

    return Animal(model, with_length(x))


@RIGHT()
def attention_mask_by_lengths() -> Animal:
    x, length = fed("float32", (None, D)), keras.Input((), dtype="int64")

    class Mask(layers.Layer):
        def call(self, x: Any, length: Any) -> Any:
            return mask_of(length, x)[:, None, :]

    y = layers.MultiHeadAttention(1, 2)(x, x, attention_mask=Mask()(x, length))
    return Animal(keras.Model([x, length], y), [features(junk=True), LENGTHS])


@RIGHT()
def attention_with_masks_of_values() -> Animal:
    x, mask = fed("float32", (None, D)), fed("bool")
    return Animal(
        keras.Model([x, mask], layers.Attention()([x, x], mask=[None, mask])), [features(True), VALID]
    )


@RIGHT()
def transformer_with_positions() -> Animal:
    class Positions(layers.Layer):
        supports_masking = True

        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(32, shape[-1]), initializer="normal")

        def call(self, x: Any) -> Any:
            return x + self.table[: tf.shape(x)[1]]

    x = fed()
    e = Positions()(embedding(mask_zero=True)(x))
    y = layers.LayerNormalization()(layers.Add()([layers.MultiHeadAttention(1, 2)(e, e), e]))
    return Animal(keras.Model(x, layers.GlobalAveragePooling1D()(y)), ids())


@RIGHT()
def convolutions_with_zeros_between() -> Animal:
    one, two = layers.Conv1D(4, 3, padding="same", activation="tanh"), layers.Conv1D(3, 3, padding="same")

    def model(inputs: Any, training: bool = False) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return two(one(inputs["x"] * mask) * mask)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def shifted_for_the_next_word() -> Animal:
    rnn, head = layers.GRU(3, return_sequences=True), dense()

    def model(x: Any, training: bool = False) -> Any:
        return head(rnn(tf.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]))

    def loss(y_true: Any, y_pred: Any, mask: Any) -> Any:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true[:, 1:], y_pred[:, :-1])
        weight = tf.cast(mask[:, 1:], tf.float32)
        return tf.reduce_sum(each * weight) / tf.reduce_sum(weight)

    return Animal(model, features(), options={"labels": tags(), "loss": loss})


@RIGHT()
def our_own_dynamic_rnn() -> Animal:
    cell = layers.LSTMCell(3)
    cell.build((None, D))

    def model(inputs: Any, training: bool = False) -> Any:
        return dynamic_rnn(cell, inputs["x"], inputs["length"])

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def pointer_over_valid_steps() -> Animal:
    w = kernel(columns=1)

    def model(inputs: Any) -> Any:
        scores = (inputs["x"] @ w)[..., 0]
        return tf.nn.softmax(tf.where(mask_of(inputs["length"], inputs["x"]), scores, -1e9), 1)

    return Animal(model, with_length(features(junk=True)))


@RIGHT()
def half_precision_as_a_whole() -> Animal:
    half = {"dtype": "float16"}
    return Animal(sequential(embedding(mask_zero=True, **half), layers.GRU(3, **half), dense(**half)), ids())


@RIGHT()
def loss_object_of_means_by_example() -> Animal:
    class Masked(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            mask = tf.not_equal(y_true, -1)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.where(mask, tf.cast(y_true, tf.int64), 0), y_pred
            )
            weight = tf.cast(mask, each.dtype)
            return tf.reduce_sum(each * weight, 1) / tf.reduce_sum(weight, 1)

    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense())
    return Animal(compiled(model, Masked()), ids(), options={"labels": tags(-1)})


@RIGHT()
def ids_with_zero_in_use_and_lengths() -> Animal:
    x, length = fed(name="x"), fed(shape=(), name="length")

    class Mask(layers.Layer):
        def call(self, x: Any, length: Any) -> Any:
            return mask_of(length, x)

    y = layers.Bidirectional(layers.LSTM(3))(embedding()(x), mask=Mask()(x, length))
    return Animal(keras.Model({"x": x, "length": length}, dense()(y)), with_length(ids(lowest=0)))


@RIGHT()
def label_zero_padding_under_a_mask() -> Animal:
    rnn = layers.LSTM(3, return_sequences=True)
    model = sequential(embedding(mask_zero=True), rnn, dense(activation="softmax"))
    compiled(model, weighted_metrics=["sparse_categorical_accuracy"])
    return Animal(model, ids(), options={"labels": tags(0)})


class _Tokens(keras.Model):
    """A causal tagger whose rows are steps, as a loss over tokens takes them."""

    def __init__(self, only_valid: bool) -> None:
        super().__init__()
        self.only_valid = only_valid
        self.table, self.rnn, self.head = embedding(), layers.GRU(4, return_sequences=True), dense()

    def call(self, x: Any) -> Any:
        y = self.head(self.rnn(self.table(x)))
        return tf.boolean_mask(y, x != 0) if self.only_valid else tf.reshape(y, [-1, CLASSES])


@RIGHT()
def rows_of_all_steps() -> Animal:
    return Animal(_Tokens(only_valid=False), ids())


@RIGHT()
def rows_of_valid_steps() -> Animal:
    return Animal(_Tokens(only_valid=True), ids())


@RIGHT()
def ids_that_begin_with_zero_and_end_in_ones() -> Animal:
    """<s> is 0, <pad> is 1; where padded examples lack one step, as many zeros stand in front."""
    lengths = np.array([T, T - 1, T - 1])
    x = np.where(np.arange(T) < lengths[:, None], ids(lowest=2)[:1] * (np.arange(T) > 0), 1)
    model = sequential(fed(), embedding(), layers.GRU(3, return_sequences=True))
    return Animal(model, x, lengths, {"pad_value": 1})


@RIGHT()
def no_padding_in_the_data() -> Animal:
    full = np.full(4, T)
    x = np.random.default_rng(0).integers(1, 10, (4, T))
    return Animal(sequential(embedding(mask_zero=True), layers.GRU(3), dense()), x, full)


@RIGHT()
def one_example() -> Animal:
    return Animal(sequential(layers.Masking(), layers.GRU(3), dense()), features()[1:2], LENGTHS[1:2])
