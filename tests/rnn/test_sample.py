"""`accelerate` with a sample: what differs is refused, and a model that was sampled is as one that was not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.rnn import accelerate, acceleration_of, restore

layers = keras.layers
IDS = np.where(np.arange(6) < np.array([6, 3, 0, 1])[:, None], np.arange(24).reshape(4, 6) % 8 + 1, 0)

pytestmark = [
    pytest.mark.usefixtures("in_float64"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def of_ids(layer):
    ids = keras.Input(batch_shape=[4, 6], dtype="int32")
    return keras.Model(ids, layer(layers.Embedding(9, 4, mask_zero=True)(ids)))


@pytest.mark.slow  # quick: a sample of other numbers, a cell whose numbers stay
def test_a_sample_is_compared_and_timed():
    model = of_ids(layers.LSTM(3, dropout=0.5))
    accelerate(model, sample=IDS)
    comparison = acceleration_of(model).comparison
    assert max(comparison.outputs, comparison.gradients) < 1e-12
    assert min(comparison.seconds_before, comparison.seconds_after) > 0
    assert "times as fast" in str(acceleration_of(model))


class Counted(layers.GRUCell):
    """Looks at the whole batch, which a packed step does not see."""

    def call(self, inputs, states, training=False):
        return super().call(inputs - tf.reduce_mean(inputs, 0), states, training=training)


def test_a_sample_of_other_numbers_leaves_the_model_as_it_was():
    model = of_ids(layers.RNN(Counted(3)))
    expected = model(IDS)
    with pytest.raises(ValueError, match=r"other numbers than Keras' on this sample: output 0 by \d"):
        accelerate(model, sample=IDS)
    np.testing.assert_array_equal(model(IDS), expected)
    assert not acceleration_of(model).layers[0].packed


class Noisy(layers.Layer):
    """Draws at inference too, and tells whether TF32 was on."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True
        self.seeds = keras.random.SeedGenerator(1)
        self.calls = tf.Variable(0)
        self.told = []

    def call(self, inputs):
        self.calls.assign_add(1)
        self.told.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return inputs + keras.random.normal(tf.shape(inputs), dtype=inputs.dtype, seed=self.seeds)


class Unbuilt(keras.Model):
    """Makes its variables when it is called first."""

    def __init__(self, stateful=False):
        super().__init__()
        self.vectors, self.noise = layers.Embedding(9, 4, mask_zero=True), Noisy()
        self.last = layers.LSTM(3, dropout=0.5, stateful=stateful)

    def call(self, ids, training=False):
        return self.last(self.noise(self.vectors(ids)), training=training)


MODELS = {
    "states": lambda: of_ids(layers.LSTM(3, stateful=True)),
    "states, both ways": lambda: of_ids(layers.Bidirectional(layers.GRU(3, stateful=True))),
    "noise": lambda: keras.Sequential([of_ids(layers.GRU(3, return_sequences=True)), Noisy(), layers.GRU(2)]),
    "dropout": lambda: of_ids(layers.LSTM(3, dropout=0.5)),
    "not built": Unbuilt,
    "not built, states": lambda: Unbuilt(stateful=True),
}


@pytest.mark.slow  # quick: samples that fail, and what they leave
@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_was_sampled_goes_on_as_one_that_was_not(name):
    """Twice: states that are not zero any more are kept too."""
    found = []
    for sample in (None, IDS):
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        model.compile("adam", "mse")
        numbers = []
        for _ in range(2):
            accelerate(model, sample)
            numbers.append(model.predict(IDS, batch_size=4, verbose=0))
            targets = np.ones(numbers[0].shape)
            numbers += model.fit(IDS, targets, batch_size=4, verbose=0).history["loss"]
        found.append([*numbers, *map(np.asarray, model.weights)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.slow  # quick: the comparison above; only a GPU has TF32
def test_no_tf32_while_it_is_compared():
    """A GPU's products have three digits then: no sample would pass."""
    noise = Noisy()
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        accelerate(keras.Sequential([of_ids(layers.GRU(3, return_sequences=True)), noise]), IDS)
        assert noise.told
        assert not any(noise.told[1:])  # the first was while the model was made
        assert tf.config.experimental.tensor_float_32_execution_enabled()
        assert noise.calls.numpy() == 0
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.slow  # quick: a sample of other numbers, below
def test_a_sample_that_fails_leaves_what_was_packed():
    model = accelerate(of_ids(layers.Bidirectional(layers.GRU(3))), sample=IDS)
    before = acceleration_of(model)
    with pytest.raises(ValueError, match=r"incompatible|shape"):
        accelerate(model, sample=np.ones([2, 3, 4, 5]))
    assert acceleration_of(model) == before
    assert all(one.packed for one in before.layers)


class Inside(layers.Layer):
    """A wrapper of one's own, around a cell of Keras'."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.state_size, self.output_size = cell, cell.state_size, cell.units

    def build(self, shape):
        self.cell.build(shape)

    def call(self, inputs, states, training=False):
        return self.cell(inputs, states, training=training)


@pytest.mark.parametrize("make", [lambda: Counted(3), lambda: [layers.GRUCell(3), Counted(2)]])
def test_a_cell_of_ones_own_is_left_without_a_sample(make):
    """It may look at the whole batch, and its numbers would be others in silence."""
    model = of_ids(layers.RNN(make()))
    expected = model(IDS)
    np.testing.assert_array_equal(accelerate(model)(IDS), expected)
    (report,) = acceleration_of(model).layers
    assert not report.packed
    assert "Counted is a cell of your own, which may look at the whole batch" in report.reason


def test_a_cell_of_ones_own_whose_numbers_stay_is_packed_with_a_sample():
    model = of_ids(layers.RNN(Inside(layers.LSTMCell(3))))
    assert not acceleration_of(accelerate(model)).layers[0].packed
    assert acceleration_of(accelerate(model, IDS)).layers[0].packed


def test_what_draws_from_the_generator_of_keras_itself_draws_the_same_twice():
    noise = Noisy()
    noise.seeds = None
    keras.random.normal([1])  # which makes it
    model = accelerate(keras.Sequential([of_ids(layers.RNN(Inside(layers.GRUCell(3)))), noise]), IDS)
    assert acceleration_of(model).layers[0].packed


def test_a_sample_of_plain_lists_by_name():
    ids = keras.Input([None], dtype="int32", name="ids")
    model = keras.Model({"ids": ids}, layers.SimpleRNN(3)(layers.Embedding(9, 4, mask_zero=True)(ids)))
    accelerate(model, sample={"ids": IDS.tolist()})
    assert acceleration_of(model).layers[0].packed


def test_a_sample_with_its_labels_is_told_so():
    model = of_ids(layers.SimpleRNN(3))
    with pytest.raises(ValueError, match=r"expects 1 input|inputs") as caught:
        accelerate(model, sample=(IDS, np.zeros([4, 3])))
    assert "of (inputs, labels) give the inputs alone" in caught.value.__notes__[0]


@pytest.mark.slow  # quick: sparse outputs, tests/rnn/test_unusual_cells.py
def test_a_stateful_stack_that_was_never_called_begins_from_zeros_after_a_sample():
    cells = [layers.GRUCell(3), layers.LSTMCell(2)]

    class Stack(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = layers.RNN(cells, stateful=True)

        def call(self, inputs):
            return self.rnn(inputs)

    model, inputs = Stack(), np.ones([4, 5, 2])
    accelerate(model, sample=inputs)
    first = np.asarray(model(inputs))
    np.testing.assert_allclose(first, layers.RNN(cells)(inputs), atol=1e-12)


@pytest.mark.slow  # quick: sparse outputs, tests/rnn/test_unusual_cells.py
def test_a_sample_may_be_sparse_in_part():
    ids, bag = keras.Input([None], dtype="int32"), keras.Input([5], sparse=True)
    text = layers.RNN(Inside(layers.GRUCell(3)))(layers.Embedding(9, 4, mask_zero=True)(ids))
    model = keras.Model([ids, bag], layers.Concatenate()([text, layers.Dense(2)(bag)]))
    accelerate(model, [IDS, tf.sparse.from_dense(np.eye(4, 5))])
    assert acceleration_of(model).layers[0].packed


@pytest.mark.slow  # quick: a sample of other numbers
def test_a_sample_whose_mask_cudnn_does_not_take_is_compared_with_keras_own_loop(monkeypatch):
    """In a graph Keras takes cuDNN wherever there is a GPU, and asserts there what the mask is."""
    devices = tf.config.list_logical_devices

    def op(input, input_h, input_c, params, **_):
        rest = 0 * (tf.reduce_sum(params) + tf.reduce_sum(input))
        return (
            tf.zeros([*input.shape[:2], input_h.shape[-1]], input.dtype) + rest,
            input_h,
            input_c,
            None,
            None,
        )

    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind=None: ["GPU:0"] if kind == "GPU" else devices(kind)
    )
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", op)
    model = of_ids(layers.LSTM(3))
    assert acceleration_of(accelerate(model, IDS)).layers[0].packed
    assert restore(model).layers[-1].use_cudnn == "auto"
