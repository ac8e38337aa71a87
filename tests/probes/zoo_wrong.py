"""Models with the faults that people have: each must be found, by its kind."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.probes.zoo import (
    CLASSES,
    LENGTHS,
    VALID,
    Animal,
    D,
    Room,
    T,
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

WRONG = Room()


# ------------------------------------------------------------ a mask that is lost
@WRONG("mask_lost", "outputs")
def mask_lost_by_reshape() -> Animal:
    x = fed()
    y = layers.Reshape((-1, 2, 2))(embedding(mask_zero=True)(x))
    return Animal(keras.Model(x, layers.LSTM(3)(layers.Reshape((-1, 4))(y))), ids())


@WRONG("mask_lost", "outputs")
def mask_lost_by_lambda() -> Animal:
    x = fed()
    y = layers.Lambda(lambda e: e * 2.0)(embedding(mask_zero=True)(x))
    return Animal(keras.Model(x, dense()(layers.LSTM(3)(y))), ids())


@WRONG("mask_lost", "outputs")
def mask_lost_by_arithmetic() -> Animal:
    x = fed()
    e = embedding(mask_zero=True)(x)
    return Animal(keras.Model(x, layers.GlobalAveragePooling1D()(e + dense(4)(e))), ids())


@WRONG("mask_lost", "outputs")
def mask_lost_by_concatenation() -> Animal:
    a, b = fed(name="a"), fed("float32", (None, D), name="b")
    y = layers.Concatenate()([embedding(mask_zero=True)(a), b])
    return Animal(keras.Model({"a": a, "b": b}, layers.LSTM(3)(y)), {"a": ids(), "b": features()})


@WRONG("mask_lost", "loss")
def mask_lost_before_the_loss() -> Animal:
    x = fed()
    y = layers.GRU(3, return_sequences=True)(embedding(mask_zero=True)(x))
    y = ops.softmax(dense()(y) * 2.0)
    return Animal(compiled(keras.Model(x, y)), ids(), options={"labels": tags()})


@WRONG("mask_lost", "outputs")
def mask_lost_in_a_subclass() -> Animal:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = embedding(mask_zero=True), layers.LSTM(3)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.rnn(tf.nn.relu(self.embed(x)))

    return Animal(Model(), ids())


@WRONG("mask_lost", "outputs")
def mask_lost_by_a_layer_of_ones_own() -> Animal:
    class Scale(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 3.0

    return Animal(sequential(embedding(mask_zero=True), Scale(), layers.Bidirectional(layers.GRU(3))), ids())


@WRONG("mask_lost", "outputs")
def mask_lost_by_convolution() -> Animal:
    return Animal(sequential(layers.Masking(), layers.Conv1D(4, 1), layers.GRU(3)), features())


# ------------------------------------------------------------ no mask at all
@WRONG("outputs", "state")
def no_mask_at_all() -> Animal:
    return Animal(sequential(embedding(), layers.LSTM(3), dense()), ids())


@WRONG("state")
def states_run_over_padding() -> Animal:
    x = fed("float32", (None, D))
    y, h, c = layers.LSTM(3, return_sequences=True, return_state=True)(x)
    return Animal(keras.Model(x, [y, h, c]), features())


@WRONG("state")
def state_of_a_callable() -> Animal:
    cell = layers.GRUCell(3)

    def model(inputs: Any, training: bool = False) -> Any:
        x, outputs = inputs["x"], []
        state = [tf.zeros([tf.shape(x)[0], 3])]
        for t in range(x.shape[1]):
            output, state = cell(x[:, t], state)
            outputs.append(output)
        return tf.stack(outputs, 1), state[0]

    return Animal(model, with_length(features()))


@WRONG("outputs")
def fixed_steps_without_mask() -> Animal:
    x = keras.Input((T, D))
    return Animal(keras.Model(x, layers.GRU(3)(x)), features())


@WRONG("outputs")
def mask_value_that_the_data_do_not_have() -> Animal:
    x = np.where(VALID[..., None], features(), -1.0).astype(np.float32)
    return Animal(sequential(layers.Masking(0.0), layers.GRU(3)), x)


# ------------------------------------------------------------ pooling
@WRONG("outputs")
def mean_over_padding() -> Animal:
    return Animal(sequential(embedding(), layers.GlobalAveragePooling1D(), dense()), ids())


@WRONG("outputs")
def maximum_over_padding() -> Animal:
    return Animal(
        sequential(embedding(), layers.GRU(3, return_sequences=True), layers.GlobalMaxPooling1D()),
        ids(),
    )


@WRONG("outputs")
def maximum_over_zeros() -> Animal:
    def model(inputs: Any) -> Any:
        x = inputs["x"] * tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.reduce_max(x, 1)

    return Animal(model, with_length(features() - 2.0 * VALID[..., None].astype(np.float32)))


@WRONG("outputs")
def masked_sum_divided_by_all_steps() -> Animal:
    w = kernel()

    def model(inputs: Any, training: bool = False) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.reduce_mean((inputs["x"] @ w) * mask, 1)

    return Animal(model, with_length(features(junk=True)))


@WRONG("outputs")
def sum_over_junk() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        return tf.reduce_sum(inputs["x"] @ w, 1) / tf.cast(inputs["length"], tf.float32)[:, None]

    return Animal(model, with_length(features()))


# ------------------------------------------------------------ attention
@WRONG("outputs")
def attention_over_padding() -> Animal:
    x = fed("float32", (None, D))
    y = layers.Attention()([x, x])
    return Animal(keras.Model(x, y), features())


@WRONG("outputs")
def weak_mask() -> Animal:
    w, v = kernel(), kernel(4, 1)

    def model(inputs: Any) -> Any:
        h = tf.tanh(inputs["x"] @ w)
        mask = tf.cast(mask_of(inputs["length"], h), tf.float32)
        return tf.reduce_sum(tf.nn.softmax((h @ v)[..., 0] - 5.0 * (1 - mask))[..., None] * h, 1)

    return Animal(model, with_length(features()))


@WRONG("outputs")
def multiplied_mask() -> Animal:
    w, v = kernel(), kernel(4, 1)

    def model(inputs: Any) -> Any:
        h = tf.tanh(inputs["x"] @ w)
        mask = tf.cast(mask_of(inputs["length"], h), tf.float32)
        return tf.reduce_sum(tf.nn.softmax((h @ v)[..., 0] * mask)[..., None] * h, 1)

    return Animal(model, with_length(features(junk=True)))


@WRONG("outputs")
def softmax_before_mask() -> Animal:
    w, v = kernel(), kernel(4, 1)

    def model(inputs: Any) -> Any:
        h = tf.tanh(inputs["x"] @ w)
        mask = tf.cast(mask_of(inputs["length"], h), tf.float32)
        return tf.reduce_sum((tf.nn.softmax((h @ v)[..., 0]) * mask)[..., None] * h, 1)

    return Animal(model, with_length(features()))


@WRONG("outputs")
def half_precision_overflow() -> Animal:
    w, v = kernel(), kernel(4, 1)

    def model(inputs: Any) -> Any:
        h = tf.tanh(tf.cast(inputs["x"], tf.float16) @ tf.cast(w, tf.float16))
        mask = tf.cast(mask_of(inputs["length"], h), tf.float16)
        scores = (h @ tf.cast(v, tf.float16))[..., 0] + (1 - mask) * tf.cast(-1e9, tf.float16)
        return tf.reduce_sum(tf.nn.softmax(scores)[..., None] * h, 1)

    return Animal(model, with_length(features()))


@WRONG("outputs")
def half_precision_keras_overflow() -> Animal:
    class Attend(layers.Layer):
        def __init__(self) -> None:
            super().__init__(dtype="mixed_float16")
            self.score = layers.Dense(1, dtype="mixed_float16")

        def call(self, x: Any, length: Any) -> Any:
            mask = ops.cast(mask_of(length, x), x.dtype)
            scores = self.score(x)[..., 0] + (1 - mask) * ops.cast(-1e9, x.dtype)
            return ops.sum(ops.softmax(scores)[..., None] * x, 1)

    x, length = fed("float32", (None, D), name="x"), fed("int32", (), name="length")
    return Animal(keras.Model({"x": x, "length": length}, Attend()(x, length)), with_length(features()))


# ------------------------------------------------------------ directions, last steps, lengths
@WRONG("outputs")
def backward_without_realignment() -> Animal:
    return Animal(sequential(embedding(), layers.LSTM(3, go_backwards=True), dense()), ids())


@WRONG("outputs")
def bidirectional_without_mask() -> Animal:
    return Animal(sequential(layers.Bidirectional(layers.GRU(3, return_sequences=True))), features())


@WRONG("outputs")
def reversed_as_a_whole() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(inputs: Any, training: bool = False) -> Any:
        return tf.reverse(rnn(tf.reverse(inputs["x"], [1])), [1])

    return Animal(model, with_length(features()))


@WRONG("outputs")
def last_column() -> Animal:
    x = fed()
    y = layers.GRU(3, return_sequences=True)(embedding()(x))
    return Animal(keras.Model(x, dense()(y[:, -1])), ids())


@WRONG("outputs")
def last_column_of_zeros() -> Animal:
    rnn = layers.LSTM(3, return_sequences=True, zero_output_for_mask=True)

    def model(inputs: Any, training: bool = False) -> Any:
        return rnn(inputs["x"], mask=mask_of(inputs["length"], inputs["x"]))[:, -1]

    return Animal(model, with_length(features()))


@WRONG("outputs")
def length_one_too_long() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        mask = tf.cast(mask_of(inputs["length"] + 1, inputs["x"]), tf.float32)[..., None]
        return tf.reduce_sum(tf.tanh(inputs["x"] @ w + 1.0) * mask, 1)

    return Animal(model, with_length(features()))


@WRONG("outputs")
def length_one_too_short() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(inputs: Any, training: bool = False) -> Any:
        return tf.gather(rnn(inputs["x"]), tf.maximum(inputs["length"] - 2, 0), batch_dims=1)

    return Animal(model, with_length(features()))


@WRONG("outputs")
def mask_one_too_short() -> Animal:
    rnn = layers.GRU(3)

    def model(inputs: Any, training: bool = False) -> Any:
        return rnn(inputs["x"], mask=mask_of(inputs["length"] - 1, inputs["x"]))

    return Animal(model, with_length(features()))


@WRONG("outputs")
def length_from_positive_first_feature() -> Animal:
    rnn = layers.GRU(3)

    def model(x: Any, training: bool = False) -> Any:
        return rnn(x, mask=x[..., 0] > 0)

    return Animal(model, features())


@WRONG("outputs")
def length_counted_by_signs() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(x: Any, training: bool = False) -> Any:
        length = tf.cast(tf.reduce_sum(tf.maximum(tf.sign(tf.reduce_max(x, 2)), 0), 1), tf.int32)
        return tf.gather(rnn(x), tf.maximum(length - 1, 0), batch_dims=1)

    return Animal(model, features())


@WRONG("outputs")
def mask_by_a_sum_above_zero() -> Animal:
    w = kernel()

    def model(x: Any) -> Any:
        mask = tf.cast(tf.reduce_sum(x, 2) > 0, tf.float32)[..., None]
        return tf.reduce_sum(tf.tanh(x @ w) * mask, 1)

    return Animal(model, features())


@WRONG("outputs")
def mask_by_a_first_feature_of_zero() -> Animal:
    rnn = layers.GRU(3)

    def model(x: Any, training: bool = False) -> Any:
        return rnn(x, mask=tf.not_equal(x[..., 0], 0.0))

    return Animal(model, features())


@WRONG("class_zero")
def real_steps_of_zeros_are_counted_out() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(x: Any, training: bool = False) -> Any:
        length = tf.reduce_sum(tf.cast(tf.reduce_any(tf.not_equal(x, 0.0), 2), tf.int32), 1)
        return tf.gather(rnn(x), tf.maximum(length - 1, 0), batch_dims=1)

    x = features()
    x[0, 2] = x[2, 1] = 0
    return Animal(model, x)


@WRONG("class_zero")
def id_zero_in_use_and_masked() -> Animal:
    x = ids()
    x[0, 2] = x[2, 1] = 0
    return Animal(sequential(embedding(mask_zero=True), layers.LSTM(3), dense()), x)


@WRONG("class_zero")
def id_zero_in_use_at_the_end() -> Animal:
    table, rnn = kernel(10, 4), layers.GRU(3)

    def model(x: Any, training: bool = False) -> Any:
        return rnn(tf.gather(table, x), mask=tf.not_equal(x, 0))

    x = ids()
    x[0, 5] = 0
    return Animal(model, x)


@WRONG("class_zero")
def id_zero_in_use_by_a_tagger_told_lengths() -> Animal:
    table, rnn = kernel(10, 4), layers.GRU(3, return_sequences=True)

    def model(inputs: Any, training: bool = False) -> Any:
        x = inputs["x"]
        y = rnn(tf.gather(table, x), mask=tf.not_equal(x, 0))
        return tf.where(mask_of(inputs["length"], x)[..., None], y, 0.0)

    x = ids()
    x[0, 2] = x[2, 1] = 0
    return Animal(model, with_length(x))


@WRONG("class_zero")
def length_by_counting_nonzero_ids() -> Animal:
    table, rnn = kernel(10, 4), layers.GRU(3, return_sequences=True)

    def model(x: Any, training: bool = False) -> Any:
        length = tf.math.count_nonzero(x, 1)
        return tf.gather(rnn(tf.gather(table, x)), tf.maximum(length - 1, 0), batch_dims=1)

    x = ids()
    x[0, 2] = x[2, 1] = 0
    return Animal(model, x)


# ------------------------------------------------------------ company and states
@WRONG("outputs")
def normalized_over_time() -> Animal:
    x = fed("float32", (None, D))

    class Norm(layers.Layer):
        def call(self, x: Any) -> Any:
            return (x - ops.mean(x, 1, keepdims=True)) / (ops.std(x, 1, keepdims=True) + 1e-3)

    return Animal(keras.Model(x, Norm()(x)), features())


@WRONG("order")
def normalized_over_the_batch() -> Animal:
    def model(inputs: Any) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        mean = tf.reduce_sum(inputs["x"] * mask, [0, 1]) / tf.reduce_sum(mask)
        return inputs["x"] - mean

    return Animal(model, with_length(features()))


@WRONG("outputs")
def batch_normalization_over_padding_in_training() -> Animal:
    model = sequential(embedding(), layers.BatchNormalization(), layers.GRU(3, return_sequences=True))
    return Animal(model, ids(), options={"training": True})


@WRONG("order")
def sorted_and_not_put_back() -> Animal:
    rnn = layers.GRU(3)

    def model(inputs: Any, training: bool = False) -> Any:
        order = tf.argsort(inputs["length"], direction="DESCENDING")
        x, length = tf.gather(inputs["x"], order), tf.gather(inputs["length"], order)
        return rnn(x, mask=mask_of(length, x))

    return Animal(model, with_length(features()))


@WRONG("order")
def reshape_mixes_examples() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(x: Any, training: bool = False) -> Any:
        shape = tf.shape(x)
        y = rnn(tf.reshape(x, [shape[1], shape[0], D]))
        return tf.reshape(y, [shape[0], shape[1], 3])

    return Animal(model, features())


@WRONG("state")
def stateful_layer() -> Animal:
    x = keras.Input(batch_shape=(4, None), dtype="int64")
    return Animal(keras.Model(x, layers.LSTM(3, stateful=True)(embedding(mask_zero=True)(x))), ids())


@WRONG("state")
def state_in_an_attribute() -> Animal:
    class Model:
        def __init__(self) -> None:
            self.rnn, self.kept = layers.GRU(3, return_state=True), None

        def __call__(self, x: Any, training: bool = False) -> Any:
            y, self.kept = self.rnn(x, initial_state=self.kept)
            return y

    return Animal(Model(), features())


@WRONG("state")
def state_in_a_variable() -> Animal:
    rnn, kept = layers.GRU(3), tf.Variable(tf.zeros([4, 3]), trainable=False)

    def model(inputs: Any, training: bool = False) -> Any:
        y = rnn(inputs["x"], mask=mask_of(inputs["length"], inputs["x"]), initial_state=kept.read_value())
        kept.assign(y)
        return y

    return Animal(model, with_length(features()))


@WRONG("outputs")
def positions_from_the_padded_end() -> Animal:
    table, rnn = kernel(40, D), layers.GRU(3)

    def model(inputs: Any) -> Any:
        steps = tf.shape(inputs["x"])[1]
        x = inputs["x"] + tf.gather(table, steps - 1 - tf.range(steps))
        return rnn(x, mask=mask_of(inputs["length"], x))

    return Animal(model, with_length(features()))


@WRONG("outputs")
def hierarchy_without_outer_mask() -> Animal:
    words = np.random.default_rng(4).integers(1, 10, (4, T, 3)) * VALID[..., None]
    x = keras.Input((None, 3), dtype="int64")
    inner = keras.Sequential([embedding(mask_zero=True), layers.GRU(3)])
    return Animal(keras.Model(x, layers.GRU(3)(layers.TimeDistributed(inner)(x))), words)


# ------------------------------------------------------------ losses
def _tagger() -> Any:
    return sequential(embedding(), layers.GRU(3, return_sequences=True), dense())


@WRONG("loss")
def loss_unmasked_compiled() -> Animal:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Animal(compiled(_tagger(), loss), ids(), options={"labels": tags()})


@WRONG("loss")
def loss_by_name() -> Animal:
    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense(activation="softmax"))
    return Animal(model, ids(), options={"labels": tags(), "loss": "sparse_categorical_crossentropy"})


@WRONG("loss")
def loss_weighted_but_divided_by_all() -> Animal:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Animal(compiled(_tagger(), loss), ids(), options={"labels": tags(), "sample_weight": weights()})


@WRONG("loss")
def loss_masked_and_averaged_over_all() -> Animal:
    def loss(y_true: Any, y_pred: Any, mask: Any) -> Any:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred)
        return tf.reduce_mean(each * tf.cast(mask, tf.float32))

    return Animal(_tagger(), ids(), options={"labels": tags(), "loss": loss})


@WRONG("loss")
def loss_divided_by_the_longest() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths, tf.shape(y_pred)[1], tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred) * mask
        return tf.reduce_mean(tf.reduce_sum(each, 1) / tf.cast(tf.reduce_max(lengths), tf.float32))

    return Animal(_tagger(), ids(), options={"labels": tags(), "loss": loss})


@WRONG("class_zero")
def loss_masks_class_zero() -> Animal:
    def loss(y_true: Any, y_pred: Any) -> Any:
        mask = tf.sign(tf.cast(y_true, tf.float32))
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(y_true, tf.int32), y_pred)
        return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)

    return Animal(compiled(_tagger(), loss), ids(), options={"labels": tags()})


@WRONG("class_zero")
def loss_ignores_class_zero() -> Animal:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0, reduction="sum")
    return Animal(_tagger(), ids(), options={"labels": tags(), "loss": loss})


@WRONG("class_zero")
def weights_from_labels() -> Animal:
    def loss(y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred)
        return tf.reduce_sum(each * sample_weight) / tf.reduce_sum(sample_weight)

    y = tags()
    return Animal(
        _tagger(), ids(), options={"labels": y, "loss": loss, "sample_weight": (y != 0).astype(np.float32)}
    )


@WRONG("class_zero")
def one_hot_class_zero_masked() -> Animal:
    def loss(y_true: Any, y_pred: Any) -> Any:
        mask = tf.cast(tf.argmax(y_true, -1) > 0, tf.float32)
        each = tf.nn.softmax_cross_entropy_with_logits(y_true, y_pred)
        return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)

    return Animal(
        _tagger(), ids(), options={"labels": np.eye(CLASSES, dtype=np.float32)[tags()], "loss": loss}
    )


@WRONG("loss")
def loss_mask_one_step_short() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths - 1, tf.shape(y_pred)[1], tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred)
        return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)

    return Animal(_tagger(), ids(), options={"labels": tags(), "loss": loss})


@WRONG("loss")
def loss_mask_one_step_long() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths + 1, tf.shape(y_pred)[1], tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred)
        return tf.reduce_sum(each * mask) / tf.reduce_sum(mask)

    return Animal(_tagger(), ids(), options={"labels": tags(), "loss": loss})


@WRONG("loss")
def loss_in_a_train_step() -> Animal:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inside = _tagger()

        def call(self, x: Any, training: bool = False) -> Any:
            return self.inside(x)

        def train_step(self, data: Any) -> Any:
            x, y = data
            with tf.GradientTape() as tape:
                each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, self(x, training=True))
                loss = tf.reduce_mean(each)
            self.optimizer.apply(
                tape.gradient(loss, [v.value for v in self.trainable_variables]), self.trainable_variables
            )
            return {"loss": loss}

    model = Model()
    model.compile("sgd")
    return Animal(model, ids(), options={"labels": tags()})


@WRONG("loss")
def activity_regularizer_over_padding() -> Animal:
    model = sequential(
        embedding(mask_zero=True),
        layers.GRU(3, return_sequences=True, activity_regularizer="l2"),
        layers.GRU(3),
    )
    return Animal(model, ids())


@WRONG("loss")
def added_loss_over_padding() -> Animal:
    class Penalty(layers.Layer):
        supports_masking = True

        def call(self, x: Any) -> Any:
            self.add_loss(0.1 * ops.mean(ops.square(x)))
            return x

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.penalty, self.rnn = embedding(mask_zero=True), Penalty(), layers.GRU(3)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.rnn(self.penalty(self.embed(x)))

    return Animal(Model(), ids())


@WRONG("loss")
def crf_past_the_end() -> Animal:
    transitions = kernel(CLASSES, CLASSES)

    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        def step(alpha: Any, scores: Any) -> Any:
            return scores + tf.reduce_logsumexp(alpha[:, :, None] + transitions, 1)

        alpha = y_pred[:, 0]
        gold = tf.gather(y_pred[:, 0], y_true[:, 0], batch_dims=1)
        for t in range(1, y_pred.shape[1]):
            alpha = step(alpha, y_pred[:, t])
            gold += tf.gather(y_pred[:, t], y_true[:, t], batch_dims=1)
            gold += tf.gather_nd(transitions, tf.stack([y_true[:, t - 1], y_true[:, t]], -1))
        return tf.reduce_mean(tf.reduce_logsumexp(alpha, 1) - gold)

    return Animal(_tagger(), ids(), options={"labels": tags(), "loss": loss})


@WRONG("outputs")
def decoded_past_the_end() -> Animal:
    transitions = tf.constant(np.array([[4, 0, 0], [0, -4, -4], [-6, 0, -6]], np.float32))
    w = kernel(columns=CLASSES)

    def model(x: Any, training: bool = False) -> Any:
        scores = x @ w
        best, back = scores[:, 0], []
        for t in range(1, x.shape[1]):
            all_ = best[:, :, None] + transitions
            back.append(tf.argmax(all_, 1))
            best = tf.reduce_max(all_, 1) + scores[:, t]
        path = [tf.argmax(best, 1)]
        for pointer in reversed(back):
            path.insert(0, tf.gather(pointer, path[0], batch_dims=1))
        return tf.stack(path, 1)

    return Animal(model, features())


# ------------------------------------------------------------ metrics
@WRONG("metric")
def metric_counts_padding() -> Animal:
    def accuracy(y_true: Any, y_pred: Any) -> Any:
        return tf.reduce_mean(tf.cast(tf.equal(tf.cast(y_true, tf.int64), tf.argmax(y_pred, -1)), tf.float32))

    model = _tagger()
    model.compile("sgd", loss=None, metrics=[accuracy])
    return Animal(model, ids(), options={"labels": tags(-1)})


@WRONG("metric")
def metric_by_name_without_mask() -> Animal:
    return Animal(_tagger(), ids(), options={"labels": tags(-1), "metrics": ["sparse_categorical_accuracy"]})


@WRONG("metric")
def metric_averages_batch_means() -> Animal:
    class Means(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="means")
            self.total = self.add_variable((), "zeros", name="total")
            self.count = self.add_variable((), "zeros", name="count")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            mask = tf.not_equal(y_true, -1)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.where(mask, tf.cast(y_true, tf.int64), 0), y_pred
            )
            self.total.assign_add(tf.reduce_mean(tf.boolean_mask(loss, mask)))
            self.count.assign_add(1.0)

        def result(self) -> Any:
            return self.total / self.count

    return Animal(_tagger(), ids(), options={"labels": tags(-1), "metrics": [Means()]})


@WRONG("metric")
def metric_function_of_means() -> Animal:
    def loss_per_token(y_true: Any, y_pred: Any) -> Any:
        mask = tf.not_equal(tf.cast(y_true, tf.int64), -1)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.where(mask, tf.cast(y_true, tf.int64), 0), y_pred
        )
        return tf.reduce_mean(tf.boolean_mask(each, mask))

    model = _tagger()
    model.compile("sgd", loss=None, metrics=[loss_per_token])
    return Animal(model, ids(), options={"labels": tags(-1)})


# ------------------------------------------------------------ gradients and empty examples
@WRONG("gradient")
def logarithm_under_where() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        h = tf.abs(inputs["x"] @ w)
        h = tf.where(mask_of(inputs["length"], h)[..., None], tf.math.log(h), 0.0)
        return tf.reduce_sum(h, 1)

    return Animal(model, with_length(features()))


@WRONG("empty_sequence")
def mean_of_an_empty_example() -> Animal:
    def model(inputs: Any) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.reduce_sum(inputs["x"] * mask, 1) / tf.reduce_sum(mask, 1)

    lengths = np.array([6, 0, 4, 1])
    return Animal(model, {"x": features(), "length": lengths}, lengths)


@WRONG("empty_sequence")
def keras_pooling_of_an_empty_example() -> Animal:
    lengths = np.array([6, 0, 4, 1])
    x = ids() * (np.arange(T) < lengths[:, None])
    return Animal(sequential(embedding(mask_zero=True), layers.GlobalAveragePooling1D(), dense()), x, lengths)


@WRONG("empty_sequence")
def empty_example_under_where() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        length = tf.cast(inputs["length"], tf.float32)[:, None]
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.where(length > 0, tf.reduce_sum((inputs["x"] @ w) * mask, 1) / length, 0.0)

    return Animal(model, with_length(features()))


@WRONG("empty_sequence")
def empty_example_in_the_loss() -> Animal:
    def loss(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.sequence_mask(lengths, tf.shape(y_pred)[1], tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred) * mask
        return tf.reduce_mean(tf.reduce_sum(each, 1) / tf.reduce_sum(mask, 1))

    lengths = np.array([6, 0, 4, 1])
    x = ids() * (np.arange(T) < lengths[:, None])
    return Animal(_tagger(), x, lengths, {"labels": tags(), "loss": loss})


@WRONG("empty_sequence")
def empty_example_that_fails() -> Animal:
    rnn = layers.GRU(3, return_sequences=True)

    def model(inputs: Any, training: bool = False) -> Any:
        return tf.gather(rnn(inputs["x"]), inputs["length"] - 1, batch_dims=1)

    lengths = np.array([6, 0, 4, 1])
    return Animal(model, {"x": features(), "length": lengths}, lengths)


@WRONG("outputs")
def nan_times_zero() -> Animal:
    w = kernel()

    def model(inputs: Any) -> Any:
        mask = tf.cast(mask_of(inputs["length"], inputs["x"]), tf.float32)[..., None]
        return tf.reduce_sum((inputs["x"] @ w) * mask, 1)

    return Animal(model, with_length(np.where(VALID[..., None], features(), np.nan).astype(np.float32)))


# ------------------------------------------------------------ the same faults in other dress
@WRONG("outputs")
def mean_as_an_operation() -> Animal:
    x = fed()
    return Animal(keras.Model(x, dense()(ops.mean(embedding(mask_zero=True)(x), 1))), ids())


@WRONG("outputs")
def last_column_in_a_subclass() -> Animal:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = layers.LSTM(3, return_sequences=True), dense()

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.head(self.rnn(inputs["x"])[:, -1, :])

    return Animal(Model(), with_length(features()))


@WRONG("outputs")
def attention_with_the_mask_on_queries_only() -> Animal:
    x, mask = fed("float32", (None, D)), fed("bool")
    return Animal(
        keras.Model([x, mask], layers.Attention()([x, x], mask=[mask, None])), [features(True), VALID]
    )


@WRONG("outputs")
def transformer_without_mask() -> Animal:
    x = fed()
    e = embedding()(x)
    y = layers.LayerNormalization()(layers.MultiHeadAttention(1, 2)(e, e) + e)
    return Animal(keras.Model(x, dense()(y)), ids())


@WRONG("outputs")
def group_normalization_over_time() -> Animal:
    return Animal(sequential(layers.Masking(), layers.GroupNormalization(1), layers.GRU(3)), features())


@WRONG("outputs")
def positions_as_a_share_of_all_steps() -> Animal:
    rnn = layers.GRU(3)

    def model(inputs: Any, training: bool = False) -> Any:
        x = inputs["x"]
        share = tf.range(tf.shape(x)[1]) / tf.shape(x)[1]
        x = x + tf.cast(share, tf.float32)[None, :, None]
        return rnn(x, mask=mask_of(inputs["length"], x))

    return Animal(model, with_length(features()))


@WRONG("outputs")
def length_by_the_first_zero() -> Animal:
    table, rnn = kernel(10, 4), layers.GRU(3, return_sequences=True)

    def model(x: Any, training: bool = False) -> Any:
        length = tf.argmax(tf.cast(tf.equal(x, 0), tf.int32), 1)
        return tf.gather(rnn(tf.gather(table, x)), tf.maximum(length - 1, 0), batch_dims=1)

    return Animal(model, ids())


@WRONG("outputs")
def convolution_reaches_into_junk() -> Animal:
    x, length = fed("float32", (None, D)), keras.Input((), dtype="int64")

    class Zero(layers.Layer):
        def call(self, x: Any, length: Any) -> Any:
            return tf.where(mask_of(length, x)[..., None], x, 0.0)

    y = Zero()(layers.Conv1D(4, 3, padding="same")(x), length)
    return Animal(keras.Model([x, length], y), [features(junk=True), LENGTHS])


@WRONG("outputs")
def scores_are_a_softmax_over_all_steps() -> Animal:
    w = kernel(columns=1)

    def model(inputs: Any) -> Any:
        return tf.nn.softmax((inputs["x"] @ w)[..., 0], 1)

    return Animal(model, with_length(features()))


@WRONG("outputs")
def sum_from_the_end() -> Animal:
    def model(x: Any) -> Any:
        return tf.cumsum(tf.tanh(x) + 1.0, 1, reverse=True)

    return Animal(model, features())


@WRONG("order")
def divided_by_the_largest_of_the_batch() -> Animal:
    def model(inputs: Any, training: bool = False) -> Any:
        x = tf.where(mask_of(inputs["length"], inputs["x"])[..., None], inputs["x"], 0.0)
        return x / tf.reduce_max(tf.abs(x))

    return Animal(model, with_length(features()))


@WRONG("state")
def a_running_mean_at_inference() -> Animal:
    class Center(layers.Layer):
        supports_masking = True

        def build(self, shape: Any) -> None:
            self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False)

        def call(self, x: Any) -> Any:
            self.mean.assign(0.9 * self.mean + 0.1)
            return x - self.mean

    return Animal(sequential(layers.Masking(), Center(), layers.GRU(3)), features())


@WRONG("state")
def named_state_in_a_dict() -> Animal:
    rnn = layers.GRU(3, return_sequences=True, return_state=True)

    def model(inputs: Any, training: bool = False) -> Any:
        y, h = rnn(inputs["x"])
        return {"outputs": y, "final_state": h}

    return Animal(model, with_length(features()))


@WRONG("loss")
def loss_object_averaged_over_all() -> Animal:
    class Masked(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            mask = tf.not_equal(y_true, -1)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.where(mask, tf.cast(y_true, tf.int64), 0), y_pred
            )
            return each * tf.cast(mask, each.dtype)

    return Animal(compiled(_tagger(), Masked()), ids(), options={"labels": tags(-1)})


@WRONG("loss")
def squared_error_over_padding() -> Animal:
    y = np.random.default_rng(7).normal(size=(4, T, 1)).astype(np.float32) * VALID[..., None]
    return Animal(
        compiled(sequential(layers.GRU(3, return_sequences=True), dense(1)), "mse"),
        features(),
        options={"labels": y},
    )


@WRONG("class_zero")
def metric_masks_class_zero() -> Animal:
    def masked_accuracy(y_true: Any, y_pred: Any, lengths: Any) -> Any:
        mask = tf.cast(tf.not_equal(y_true, 0), tf.float32)
        hit = tf.cast(tf.equal(tf.cast(y_true, tf.int64), tf.argmax(y_pred, -1)), tf.float32)
        return tf.reduce_sum(hit * mask) / tf.reduce_sum(mask)

    return Animal(_tagger(), ids(), options={"labels": tags(), "metrics": [masked_accuracy]})


@WRONG("metric")
def unweighted_metric_beside_weights() -> Animal:
    model = sequential(embedding(), layers.GRU(3, return_sequences=True), dense(activation="softmax"))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(reduction="sum"), metrics=["accuracy"])
    return Animal(model, ids(), options={"labels": tags(), "sample_weight": weights()})


@WRONG("mask_lost", "outputs")
def mask_lost_in_attention_by_hand() -> Animal:
    x = fed()
    e = embedding(mask_zero=True)(x)
    scores = ops.softmax(dense(1)(e), axis=1)
    return Animal(keras.Model(x, dense()(ops.sum(scores * e, 1))), ids())
