"""An accelerated model in the loops that people train in: the weights that Keras' layers come to."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.alone import run_alone
from workbench.cells import CELLS
from workbench.rnn import PackedRNN, accelerate, acceleration_of, restore

layers = keras.layers
DRAW = np.random.default_rng(0)
IDS = np.where(np.arange(6) < np.array([6, 3, 0, 1])[:, None], DRAW.integers(1, 9, (4, 6)), 0)
TARGETS = np.array([[1.0], [0.0], [1.0], [0.0]])

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def model(dtype="float64"):
    keras.utils.set_random_seed(0)
    ids = keras.Input([None], dtype="int32")
    vectors = layers.Embedding(9, 4, mask_zero=True, dtype=dtype)(ids)
    return keras.Model(ids, layers.Dense(1, dtype=dtype)(layers.GRU(3, dtype=dtype)(vectors)))


def fitted(change, optimizer=lambda: "adam", **compiled):
    one = model()
    one.compile(optimizer(), "mse", **compiled)
    change(one).fit(IDS, TARGETS, batch_size=2, epochs=3, shuffle=False, verbose=0)
    return [np.asarray(variable) for variable in one.weights]


def custom_loop(change):
    one = change(model())
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(one.trainable_variables)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((one(IDS, training=True) - TARGETS) ** 2)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, one.trainable_variables), one.trainable_variables, strict=True)
        )

    for _ in range(3):
        step()
    return [np.asarray(variable) for variable in one.weights]


LOOPS = {
    "eagerly": lambda change: fitted(change, run_eagerly=True),
    "jit_compile=auto": lambda change: fitted(change, jit_compile="auto"),
    "gradients accumulated": lambda change: fitted(
        change, lambda: keras.optimizers.Adam(0.1, gradient_accumulation_steps=2)
    ),
    "several steps a call": lambda change: fitted(change, steps_per_execution=2),
    "custom": custom_loop,
}


@pytest.mark.slow  # quick: a packed model that learns, in tests/rnn/test_packed_layer.py
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_comes_to_the_weights_of_keras_layers(name):
    expected, found = LOOPS[name](lambda one: one), LOOPS[name](accelerate)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.slow
@pytest.mark.command
def test_two_replicas_of_which_one_may_have_no_example():
    """Five examples in batches of two: the last step's second replica has none."""
    theirs, ours = json.loads(run_alone(REPLICAS).splitlines()[-1])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


class InTheMiddle(keras.callbacks.Callback):
    """Another loop for the rest of a `fit`: between its epochs, and within one."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            accelerate(self.model)
        if epoch == 3:
            restore(self.model)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0 and not acceleration_of(self.model).layers[0].packed:
            accelerate(self.model, sample=None if self.model.run_eagerly else IDS)


@pytest.mark.parametrize("eagerly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_callback_may_change_the_loop_of_a_fit(eagerly):
    histories = []
    for callbacks in ([], [InTheMiddle()]):
        one = model()
        one.compile("adam", "mse", run_eagerly=eagerly)
        again = {"batch_size": 2, "epochs": 4, "shuffle": False, "verbose": 0, "callbacks": callbacks}
        histories.append(one.fit(IDS, TARGETS, validation_data=(IDS, TARGETS), **again).history)
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-9)
    assert histories[0]["val_loss"] == pytest.approx(histories[1]["val_loss"], rel=1e-9)
    assert acceleration_of(one).layers[0].packed


REPLICAS = """
import json, keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import workbench
keras.config.set_floatx("float64")
layers = keras.layers
ids = np.where(np.arange(6) < np.array([6, 3, 0, 1, 4])[:, None], np.arange(30).reshape(5, 6) % 8 + 1, 0)
found = []
for change in (lambda model: model, workbench.accelerate):
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = keras.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3), layers.Dense(1)])
        model.build((None, None))
        model.compile("adam", "mse")
        change(model)
    model.fit(tf.data.Dataset.from_tensor_slices((ids, np.ones((5, 1)))).batch(2), epochs=2, verbose=0)
    found.append(np.concatenate([np.ravel(variable.numpy()) for variable in model.weights]).tolist())
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.command
def test_300_shapes_are_compiled_for_two_sizes_of_batch_and_memory_stays_flat(tmp_path):
    """XLA compiles for each power of two of the batch from 32 on, whatever T is; it dumps each graph that it got.

    With one for each shape memory would grow by some gigabytes.
    """
    flags = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"
    traces, shapes, grown = json.loads(run_alone(SHAPES, XLA_FLAGS=flags).splitlines()[-1])
    assert shapes > 250
    assert traces == 1
    assert len(list(tmp_path.glob("*inference*.before_optimizations.txt"))) == 4  # there and back
    assert grown < 512


SHAPES = """
import json, keras, numpy as np, psutil, tensorflow as tf
import workbench
layers = keras.layers
ids = keras.Input([None], dtype="int32")
model = keras.Model(ids, layers.GRU(3)(layers.Embedding(9, 4, mask_zero=True)(ids)))
workbench.accelerate(model)

@tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
def run(ids):
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(ids))
    return tape.gradient(total, model.trainable_variables)

draw = np.random.default_rng(0)
shapes = draw.integers([1, 1], [65, 40], (300, 2))
shapes[:2] = [[9, 5], [64, 40]]
for number, shape in enumerate(shapes):
    run(tf.constant(draw.integers(0, 9, shape), tf.int32))
    if number == 150:
        before = psutil.Process().memory_info().rss
grown = (psutil.Process().memory_info().rss - before) / 2**20
print(json.dumps([run.experimental_get_tracing_count(), len(set(map(tuple, shapes.tolist()))), grown]))
"""


@pytest.mark.slow  # quick: bounds of tests/rnn/test_tiles.py
def test_a_layer_for_batches_up_to_a_size_is_compiled_once():
    layer = PackedRNN(CELLS["gru"](3), batch_size=8)
    layer.build((None, None, 2))
    run = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec([None, None, 2])], autograph=False)
    for batch, time in [(8, 3), (5, 7), (1, 1), (8, 9)]:
        assert run(tf.zeros([batch, time, 2])).shape == (batch, 3)
    assert run.experimental_get_tracing_count() == 1
