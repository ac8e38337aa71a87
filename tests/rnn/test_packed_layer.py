"""PackedRNN in models of Keras': masks and lengths, training, saving, weights of Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS
from workbench.rnn import PackedRNN, dynamic_rnn

LENGTHS = np.array([3, 0, 5, 2], "int32")
INPUTS = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
MASK = np.arange(6) < LENGTHS[:, None]

# Keras' own conversion of a variable to an array, with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def near(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.fixture
def cell():
    cell = CELLS["lstm"](3)
    cell.build((None, 2))
    return cell


@pytest.fixture
def expected(cell):
    return dynamic_rnn(cell, INPUTS, LENGTHS)


class Sum(keras.layers.Layer):
    """State and output are the sum of all inputs so far."""

    state_size = output_size = 2

    def call(self, inputs, states):
        total = states[0] + inputs["a"] + inputs["b"]
        return total, [total]


class TestCalls:
    def test_by_lengths_and_by_a_mask(self, cell, expected):
        layer = PackedRNN(cell, return_sequences=True)
        near(layer(INPUTS, sequence_length=LENGTHS), expected[0])
        near(layer(INPUTS, mask=MASK), expected[0])

    def test_the_last_valid_output_and_the_state(self, cell, expected):
        output, h, c = PackedRNN(cell, return_state=True)(INPUTS, sequence_length=LENGTHS)
        near(output, expected[1][0])
        near(h, expected[1][0])
        near(c, expected[1][1])

    def test_without_either_all_steps_count(self, cell):
        outputs, (h, _) = dynamic_rnn(cell, INPUTS)
        near(PackedRNN(cell, return_sequences=True)(INPUTS), outputs)
        near(PackedRNN(cell)(INPUTS), h)

    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    def test_backwards_ends_at_the_first_position(self, cell, lengths):
        output, h, _ = PackedRNN(cell, return_state=True, go_backwards=True)(INPUTS, sequence_length=lengths)
        near(output, h)

    def test_initial_state(self, cell):
        states = [np.ones([4, 3], "float32"), np.full([4, 3], 2, "float32")]
        outputs, _ = dynamic_rnn(cell, INPUTS, LENGTHS, initial_state=states)
        near(PackedRNN(cell, return_sequences=True)(INPUTS, LENGTHS, initial_state=states), outputs)

    def test_a_mask_that_comes_with_the_inputs_counts_beside_initial_states(self, cell):
        """Keras hands it in by another name where further tensors come too."""
        inputs, states = tf.constant(INPUTS), [tf.ones([4, 3]), tf.ones([4, 3])]
        inputs._keras_mask = tf.constant(MASK)
        layer = PackedRNN(cell, return_sequences=True)
        near(layer(inputs, initial_state=states), dynamic_rnn(cell, INPUTS, LENGTHS, initial_state=states)[0])
        near(layer(inputs, mask=tf.ones([4, 6], "bool")), dynamic_rnn(cell, INPUTS)[0])

    @pytest.mark.parametrize("backwards", [False, True])
    @pytest.mark.parametrize("mask", [MASK[:, ::-1], MASK & (np.arange(6) != 1)], ids=["in front", "a hole"])
    def test_steps_that_do_not_count_may_stand_anywhere(self, mask, backwards):
        """As Keras has it: they are passed over."""
        theirs = keras.layers.GRU(
            3, return_sequences=True, return_state=True, zero_output_for_mask=True, go_backwards=backwards
        )
        expected = theirs(INPUTS, mask=tf.constant(mask))
        ours = PackedRNN.from_keras(theirs)
        for one, other in zip(ours(INPUTS, mask=mask), expected, strict=True):
            near(one, other)
        ours.return_sequences = False
        near(ours(INPUTS, mask=mask)[0], expected[1])

    def test_nested_inputs(self):
        inputs = {"a": tf.constant(INPUTS), "b": tf.constant(INPUTS)}
        layer = PackedRNN(Sum(), return_sequences=True)
        near(layer(inputs), np.cumsum(2 * INPUTS, 1))
        inputs["b"]._keras_mask = tf.constant(MASK)
        near(layer(inputs), np.cumsum(2 * INPUTS, 1) * MASK[..., None])
        inputs["a"]._keras_mask = tf.constant(np.roll(MASK, 1, 0))
        with pytest.raises(tf.errors.InvalidArgumentError, match="the same for all inputs"):
            layer(inputs)

    def test_a_layer_of_another_dtype_than_its_cell_is_refused(self, cell):
        with pytest.raises(ValueError, match="PackedRNN computes in float64, but LSTMCell"):
            PackedRNN(cell, dtype="float64")

    @pytest.mark.parametrize(
        "options", [{}, {"sequence_length": np.zeros(4, "int32")}, {"mask": np.zeros([4, 0], "bool")}]
    )
    def test_a_batch_without_steps_ends_in_zeros(self, cell, options):
        near(PackedRNN(cell)(INPUTS[:, :0], **options), np.zeros([4, 3]))

    def test_what_ran_is_told(self, cell):
        layer = PackedRNN(cell)
        layer(INPUTS)
        assert [choice.kernel for choice in layer.kernels] == ["plain"]


def tagger(**options):
    words = keras.Input([None], dtype="int32")
    vectors = keras.layers.Embedding(11, 4, mask_zero=True)(words)
    outputs = PackedRNN(CELLS["gru"](3, reset_after=True), return_sequences=True, **options)(vectors)
    last = PackedRNN(keras.layers.SimpleRNNCell(3), name="last")(outputs)
    return keras.Model(words, keras.layers.Dense(1)(last))


@pytest.fixture(scope="module")
def trained():
    """By XLA, in batches of 8, 8, 4; the layer above gets its mask through the one below."""
    draw = np.random.default_rng(0)
    words = np.where(np.arange(9) < draw.integers(0, 10, 20)[:, None], draw.integers(1, 11, (20, 9)), 0)
    targets = (words > 5).sum(1).astype("float32")
    keras.utils.set_random_seed(0)
    model = tagger(batch_size=8)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    history = model.fit(words, targets, batch_size=8, epochs=12, verbose=0)
    return model, words, history.history["loss"]


class TestInAModel:
    def test_it_learns_by_the_kernel_that_compiles(self, trained):
        model, _, losses = trained
        assert losses[-1] < losses[0] / 3
        assert model.layers[2].kernels[0].kernel == "xla"
        assert model.get_layer("last").kernels[0].kernel == "xla", "a cell of Keras' too"

    def test_it_saves_and_loads(self, trained, tmp_path):
        model, words, _ = trained
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.layers[2].options == model.layers[2].options
        near(loaded(words), model(words))

    def test_padding_changes_nothing(self, trained):
        model, words, _ = trained
        near(model(np.pad(words, [(0, 0), (0, 5)])), model(words))

    def test_lengths_as_an_input(self, cell, expected):
        inputs, lengths = keras.Input([None, 2]), keras.Input([], dtype="int32")
        outputs = PackedRNN(cell, return_sequences=True, return_state=True)(inputs, sequence_length=lengths)
        assert [tuple(o.shape) for o in outputs] == [(None, None, 3), (None, 3), (None, 3)]
        for ours, theirs in zip(
            keras.Model([inputs, lengths], outputs)([INPUTS, LENGTHS]),
            [expected[0], *expected[1]],
            strict=True,
        ):
            near(ours, theirs)

    def test_states_as_an_input_saved_and_loaded(self, trained, tmp_path):
        """The mask goes past the further input to the layer, also in what was loaded."""
        _, words, _ = trained
        ids, begin = keras.Input([None], dtype="int32"), keras.Input([3])
        vectors = keras.layers.Embedding(11, 4, mask_zero=True)(ids)
        model = keras.Model([ids, begin], PackedRNN(CELLS["gru"](3))(vectors, initial_state=[begin]))
        model.save(tmp_path / "model.keras")
        states, padded = np.ones([20, 3], "float32"), np.pad(words, [(0, 0), (0, 5)])
        for one in (model, keras.saving.load_model(tmp_path / "model.keras")):
            near(one([padded, states]), model([words, states]))


KERAS = {
    "LSTM": lambda **o: keras.layers.LSTM(3, return_sequences=True, bias_initializer="glorot_uniform", **o),
    "GRU": lambda **o: keras.layers.GRU(3, return_sequences=True, bias_initializer="glorot_uniform", **o),
    "GRU before": lambda **o: keras.layers.GRU(3, reset_after=False, return_state=True, **o),
    "SimpleRNN": lambda **o: keras.layers.SimpleRNN(3, activation="relu", return_state=True, **o),
}


TAKEN = {
    "dropout": lambda: keras.layers.LSTM(3, dropout=0.5, recurrent_dropout=0.2),
    "hard sigmoid": lambda: keras.layers.GRU(3, recurrent_activation="hard_sigmoid"),
    "no bias": lambda: keras.layers.SimpleRNN(3, use_bias=False, return_sequences=True),
    "regularizers": lambda: keras.layers.LSTM(3, kernel_regularizer="l2", activity_regularizer="l2"),
    "a cell": lambda: keras.layers.RNN(keras.layers.LSTMCell(3)),
    "cells": lambda: keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(2)], return_state=True),
    "backwards": lambda: keras.layers.LSTM(3, go_backwards=True, return_sequences=True),
    "both ways": lambda: keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True)),
}


class TestToKeras:
    @pytest.mark.parametrize(
        ("name", "options"),
        [("lstm", {"forget_bias": 0.7}), ("gru", {}), ("gru", {"reset_after": True}), ("basic_rnn", {})],
    )
    @pytest.mark.parametrize(
        "sequences", [True, False]
    )  # Keras' last output is that of the last step, masked or not
    def test_gives_the_same_numbers_with_the_forget_bias_in_the_bias(self, name, options, sequences):
        ours = PackedRNN(CELLS[name](3, **options), return_sequences=sequences)
        expected = ours(INPUTS, mask=MASK)
        theirs = ours.to_keras()
        assert type(theirs).__module__.startswith("keras.")
        near(theirs(INPUTS, mask=tf.constant(MASK)), expected)

    @pytest.mark.parametrize("options", [{"use_peepholes": True}, {"cell_clip": 1.0}, {"num_proj": 2}])
    def test_an_option_that_keras_lacks_is_named(self, options):
        ours = PackedRNN(CELLS["lstm"](3, **options))
        ours(INPUTS)
        (name, value), *_ = options.items()
        with pytest.raises(ValueError, match=rf"what LSTMCell \w+ does with {name}={value}"):
            ours.to_keras()


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_in_keras_bidirectional(merge_mode, sequences):
    options = {"return_sequences": sequences, "return_state": True}
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(3, **options), merge_mode=merge_mode)
    expected = theirs(INPUTS, mask=tf.constant(MASK))
    cell = CELLS["lstm"](3, forget_bias=0.0)
    ours = keras.layers.Bidirectional(PackedRNN(cell, **options), merge_mode=merge_mode)
    ours.build(INPUTS.shape)
    ours.set_weights(theirs.get_weights())
    for one, other in zip(ours(INPUTS, mask=tf.constant(MASK)), expected, strict=True):
        if one.shape.rank == 2 or merge_mode is not None or sequences:
            near(one, other)


def test_a_backward_layer_in_the_order_of_the_inputs_is_refused():
    layers = [PackedRNN(CELLS["gru"](3), return_sequences=True, go_backwards=way) for way in (False, True)]
    with pytest.raises(ValueError, match='output_order="steps"'):
        keras.layers.Bidirectional(layers[0], backward_layer=layers[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unroll": True}, "no option unroll=True"),
        ({"time_major": True}, "no option time_major=True: inputs are .* transpose them"),
        ({"use_cudnn": True}, "no option use_cudnn=True: this layer never runs on cuDNN"),
        ({"zero_output_for_mask": False}, "outputs past an example's end are always zero"),
        ({"merge_mode": "sum"}, r"no option merge_mode='sum': keras.layers.Bidirectional\(PackedRNN\(cell\)"),
        ({"dropout": 0.5}, r"dropout is an option of the cell, .*LSTMCell\(units, dropout=0.5\)"),
    ],
)
def test_options_of_keras_layers_are_refused_with_the_remedy(cell, options, message):
    with pytest.raises(ValueError, match=message):
        PackedRNN(cell, **options)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_mask_of_other_steps_is_refused(cell, steps):
    """One row counts for all examples, but one step for no other."""
    with pytest.raises(ValueError, match=r"PackedRNN needs a mask of shape \[B, T\]"):
        PackedRNN(cell)(INPUTS, mask=tf.ones([1, steps], tf.bool))
    one, all_ = (
        PackedRNN(cell)(INPUTS, mask=tf.ones([n, INPUTS.shape[1]], tf.bool)) for n in (1, len(INPUTS))
    )
    near(one, all_)


def test_a_mask_that_is_lengths_is_refused(cell):
    with pytest.raises(ValueError, match=r"give lengths .B. as sequence_length"):
        PackedRNN(cell)(INPUTS, mask=tf.constant(LENGTHS))


def test_ragged_ids_are_refused_before_their_mask_is_read(cell):
    vectors = keras.layers.Embedding(5, 2, mask_zero=True)(tf.ragged.constant([[1, 2], [3]]))
    with pytest.raises(ValueError, match=r"inputs are ragged: pass inputs.to_tensor"):
        PackedRNN(cell)(vectors)


class TestFromKeras:
    @pytest.mark.parametrize("name", KERAS)
    def test_gives_the_same_numbers(self, name):
        theirs = KERAS[name]()
        expected = theirs(INPUTS)
        ours = PackedRNN.from_keras(theirs)
        assert ours.name == theirs.name
        for one, other in zip(tf.nest.flatten(ours(INPUTS)), tf.nest.flatten(expected), strict=True):
            near(one, other)

    def test_under_a_mask(self):
        theirs = keras.layers.LSTM(3, return_sequences=True, zero_output_for_mask=True)
        near(theirs(INPUTS, mask=tf.constant(MASK)), PackedRNN.from_keras(theirs)(INPUTS, mask=MASK))

    @pytest.mark.parametrize("layer", [keras.layers.LSTM, keras.layers.GRU])
    def test_the_last_output_under_a_mask_or_a_refusal_where_keras_gives_zeros(self, layer):
        theirs = layer(3, name="theirs")
        near(theirs(INPUTS, mask=tf.constant(MASK)), PackedRNN.from_keras(theirs)(INPUTS, mask=MASK))
        theirs.zero_output_for_mask = True
        assert not np.any(theirs(INPUTS, mask=tf.constant(MASK))), "Keras' own zeros: no example is whole"
        with pytest.raises(ValueError, match="layer theirs has zero_output_for_mask=True without return_seq"):
            PackedRNN.from_keras(theirs)
        assert PackedRNN.from_keras(theirs, return_sequences=True)(INPUTS, mask=MASK).shape == (4, 6, 3)

    @pytest.mark.parametrize(
        ("layer", "message"),
        [
            (
                keras.layers.Dense(3),
                "from_keras takes LSTM, GRU, SimpleRNN, RNN and Bidirectional, not Dense",
            ),
            (keras.layers.LSTM(3, name="fresh"), "layer fresh has no weights yet: call it once"),
        ],
    )
    def test_refuses_what_is_no_such_layer(self, layer, message):
        with pytest.raises(ValueError, match=message):
            PackedRNN.from_keras(layer)

    @pytest.mark.parametrize("name", TAKEN)
    def test_takes_other_options_by_a_copy_of_the_cell_and_gives_them_back(self, name):
        theirs = TAKEN[name]()
        expected = theirs(INPUTS)
        ours = PackedRNN.from_keras(theirs)
        made = [ours(INPUTS)] if "both" in name else [ours(INPUTS), ours.to_keras()(INPUTS)]
        for result in made:
            for one, other in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
                near(one, other)
        np.testing.assert_allclose(sum(ours.losses), sum(theirs.losses), rtol=1e-5)

    @pytest.mark.parametrize("both", [False, True])
    def test_a_stateful_layer_goes_on_where_it_was_until_it_is_reset(self, both, tmp_path):
        def model(layer):
            inputs = keras.Input(batch_shape=INPUTS.shape)
            return keras.Model(inputs, layer(inputs))

        def twice(model):
            model.layers[-1].reset_state()
            return [model(INPUTS) for _ in range(2)]

        theirs = keras.layers.LSTM(3, stateful=True, return_sequences=True)
        theirs = keras.layers.Bidirectional(theirs) if both else theirs
        expected = twice(model(theirs))
        ours = model(PackedRNN.from_keras(theirs))
        ours.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        for found in (ours, loaded, *([] if both else [model(ours.layers[-1].to_keras())])):
            for one, other in zip(twice(found), expected, strict=True):
                near(one, other)

    def test_states_are_kept_for_a_batch_of_known_size(self):
        with pytest.raises(
            ValueError, match=r"is stateful, so the size of its batch .*batch_shape=\[B, None, D"
        ):
            PackedRNN(keras.layers.GRUCell(3), stateful=True)(keras.Input([None, 2]))
        cell = keras.layers.GRUCell(3)
        cell.build((None, 2))
        layer = PackedRNN(cell, stateful=True)
        with pytest.raises(ValueError, match=r"has no states yet: .*or take to_keras\(stateful=False\)"):
            layer.to_keras()
        assert not layer.to_keras(stateful=False).stateful

    def test_what_was_frozen_stays_frozen(self):
        layer = keras.layers.LSTM(3, trainable=False)
        layer.build((None, None, 2))
        assert not PackedRNN.from_keras(layer).trainable_weights

    def test_a_weight_that_was_frozen_alone_stays_so_there_and_back(self):
        layer = keras.layers.LSTM(3)
        layer.build((None, None, 2))
        layer.cell.recurrent_kernel.trainable = False
        packed = PackedRNN.from_keras(layer)
        packed.build((None, None, 2))
        for one in (packed, packed.to_keras()):
            assert [variable.trainable for variable in one.cell.weights] == [True, False, True]


def test_to_keras_says_how_outputs_are_turned_over():
    layer = PackedRNN(CELLS["gru"](3), return_sequences=True, go_backwards=True)
    outputs = layer(INPUTS)
    with pytest.raises(ValueError, match=r"order of the inputs.*PackedRNN\(layer\.cell.*\.to_keras\(\)"):
        layer.to_keras()
    turned = PackedRNN(layer.cell, go_backwards=True, return_sequences=True, output_order="steps").to_keras()
    np.testing.assert_allclose(turned(INPUTS), outputs[:, ::-1], atol=1e-6)
