"""Each option of Keras' recurrent layers: PackedRNN gives Keras' numbers with it, or its refusal names it."""

import gc
import inspect
import weakref
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells.keras_step import step_form
from workbench.cells.xla import on_gpu
from workbench.rnn import PackedRNN, accelerate, kernels_of, restore

layers = keras.layers
LENGTHS = [6, 0, 3, 1]
MASK = np.arange(6) < np.array(LENGTHS)[:, None]
INPUTS = np.random.default_rng(0).normal(size=(4, 6, 2))

OPTIONS = {
    "activation": "relu",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": False,
    "kernel_initializer": "ones",
    "recurrent_initializer": "zeros",
    "bias_initializer": "ones",
    "unit_forget_bias": False,
    "kernel_regularizer": "l2",
    "recurrent_regularizer": "l1",
    "bias_regularizer": "l2",
    "activity_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "non_neg",
    "bias_constraint": "unit_norm",
    "dropout": 0.5,
    "recurrent_dropout": 0.5,
    "seed": 3,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "reset_after": False,
}
REFUSED = {"unroll": True, "use_cudnn": True}
LAYERS = (layers.LSTM, layers.GRU, layers.SimpleRNN)


def taken_by(layer):
    return set(inspect.signature(layer.__init__).parameters) - {"self", "units", "kwargs"}


PAIRS = [(kind, name) for name in OPTIONS for kind in LAYERS if name in taken_by(kind)]
"""Each option is quick with one kind, in turn."""
QUICK = [next(one for one in PAIRS[n:] + PAIRS if one[1] == name) for n, name in enumerate(OPTIONS)]
SLOW = [one for one in PAIRS if one not in QUICK]


def test_every_option_of_keras_layers_is_here():
    assert set().union(*map(taken_by, LAYERS)) == set(OPTIONS) | set(REFUSED)


def numbers_of(layer, training):
    """Outputs, losses, gradients; from the seeds of dropout as they were when the layer was made."""
    inputs = tf.constant(INPUTS)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.nest.flatten(layer(inputs, mask=tf.constant(MASK), training=training))
        loss = sum(tf.reduce_sum(tf.sin(one)) for one in outputs) + sum(layer.losses)
    gradients = tape.gradient(loss, [inputs, *(variable.value for variable in layer.trainable_weights)])
    return [tf.convert_to_tensor(one) for one in (*outputs, loss, *gradients)]


def numbers(layer, training):
    return [np.asarray(one) for one in numbers_of(layer, training)]


@pytest.mark.parametrize(
    ("kind", "name"), QUICK + [pytest.param(*one, marks=pytest.mark.slow) for one in SLOW]
)
def test_an_option_gives_keras_numbers_and_gradients(name, kind):
    training = "dropout" in name
    theirs = kind(**{"units": 3, "dtype": "float64", "seed": 1, name: OPTIONS[name]})
    theirs.zero_output_for_mask = theirs.return_sequences
    theirs.build(INPUTS.shape)
    ours = PackedRNN.from_keras(theirs)
    expected, found = numbers(theirs, training), numbers(ours, training)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    cell = ours.cell
    if isinstance(cell, type(theirs.cell)):
        for weight in ("kernel", "recurrent", "bias"):
            constraint = getattr(cell, f"{weight}_constraint")
            variable = getattr(cell, "recurrent_kernel" if weight == "recurrent" else weight)
            assert variable is None or variable.constraint is constraint
    fast = not (training and name == "recurrent_dropout")
    assert [choice.kernel for choice in kernels_of(cell)] == ["plain" if fast else "autodiff"]
    again = ours.to_keras()
    if not training:
        for one, other in zip(numbers(again, training), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


REACH = tf.Variable(0.3, dtype="float64")
LEARN = {
    "a layer": lambda: layers.PReLU(alpha_initializer="ones", dtype="float64"),
    "a closure": lambda: lambda x: tf.maximum(x, REACH * x),
}


@pytest.mark.parametrize("option", ["activation", "recurrent_activation"])
@pytest.mark.parametrize("name", LEARN)
def test_an_activation_that_learns_has_its_gradient(name, option):
    """By TensorFlow's own loop, which alone sees the variable."""
    layer = layers.GRU(3, dtype="float64", **{option: LEARN[name]()})
    found = []
    for change in (lambda one: one, accelerate):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(change(layer)(tf.constant(INPUTS), mask=tf.constant(MASK)))
        learned = [v.value for v in layer.trainable_weights] + [REACH] * (name == "a closure")
        found.append([total, *tape.gradient(total, learned)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert [choice.kernel for choice in kernels_of(layer.cell)] == ["autodiff"]


def test_an_option_that_is_set_later_counts():
    layer = layers.GRU(3, dtype="float64")
    accelerate(layer)
    before = layer(INPUTS)
    for option in ("activation", "recurrent_activation"):
        setattr(layer.cell, option, keras.activations.relu)
        found = layer(INPUTS)
        np.testing.assert_allclose(found, restore(layer)(INPUTS), rtol=1e-9)
        assert np.abs(found - before).max() > 1e-3
        before = accelerate(layer)(INPUTS)


class Its(keras.Model):
    """The activation of its layer is a method of its own."""

    def __init__(self):
        super().__init__()
        self.rnn = layers.GRU(3, activation=self.activate)

    def activate(self, x):
        return tf.tanh(x)

    def call(self, inputs):
        return self.rnn(inputs)


def test_an_activation_keeps_no_model_alive():
    model = accelerate(Its())
    model(INPUTS)
    assert "autodiff" in [choice.kernel for choice in kernels_of(model.rnn.cell)]  # it reads an object
    left = weakref.ref(model)
    del model
    gc.collect()
    assert left() is None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name):
    with pytest.raises(ValueError, match=f"PackedRNN has no option {name}=True"):
        PackedRNN(layers.LSTMCell(3), **{name: REFUSED[name]})


@pytest.mark.slow  # quick: the same outside a graph
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (layers.LSTM, {"use_bias": False, "recurrent_activation": "hard_sigmoid", "dropout": 0.5}),
        (layers.GRU, {"reset_after": False, "kernel_regularizer": "l2", "go_backwards": True}),
    ],
)
def test_options_in_a_graph(kind, options):
    """By XLA's loops, which run in tf.function alone; dropout draws from one seed in both."""
    theirs = kind(3, dtype="float64", seed=1, **options)
    theirs.build(INPUTS.shape)
    ours = PackedRNN.from_keras(theirs)
    found, expected = (
        tf.function(partial(numbers_of, layer, True), autograph=False)() for layer in (ours, theirs)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert [choice.kernel for choice in kernels_of(ours.cell)] == ["tiles" if on_gpu() else "xla"]


def test_a_list_of_cells_is_a_stack():
    cells = [layers.LSTMCell(3, dtype="float64"), layers.GRUCell(2, dtype="float64")]
    theirs = layers.RNN(layers.StackedRNNCells(cells, dtype="float64"), dtype="float64")
    expected = theirs(INPUTS, mask=tf.constant(MASK))
    np.testing.assert_allclose(PackedRNN(cells)(INPUTS, mask=MASK), expected, rtol=1e-9)


@pytest.mark.slow  # quick: tests/rnn/test_mixed_precision.py
def test_half_precision_with_a_scaled_loss_learns_as_keras_does():
    """From like a loss to like a loss: what lies between differs by float16's digits, and by the steps left out."""
    losses = []
    for make in (lambda cell: layers.RNN(cell), PackedRNN):
        keras.utils.set_random_seed(1)
        inputs = keras.Input([None, 2])
        cell = layers.GRUCell(3, dtype="mixed_float16")
        layer = make(cell) if make is PackedRNN else layers.RNN(cell, dtype="mixed_float16")
        model = keras.Model(inputs, layers.Dense(1, dtype="float32")(layer(inputs)))
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)), "mse")
        fitted = model.fit(INPUTS.astype("float32"), np.ones([4, 1]), epochs=15, verbose=0)
        losses.append(fitted.history["loss"])
    assert all(one[-1] < one[0] / 3 for one in losses)
    for theirs, ours in zip(*(np.array(one)[[0, -1]] for one in losses), strict=True):
        assert abs(ours - theirs) < 0.1 * losses[0][0]


def gradients_in_a_graph(layer, given):
    @tf.function(input_signature=[tf.TensorSpec([None, None, given.shape[-1]], given.dtype)])
    def step(inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.sin(layer(inputs)))
        return tape.gradient(total, [one.value for one in layer.trainable_variables])

    return step(given)


@pytest.mark.slow  # quick: tests/rnn/test_of_each_row.py, activations that look over the units
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gate_may_be_no_elementwise_function(reset_after):
    options = {"recurrent_activation": "softmax", "reset_after": reset_after, "bias_initializer": "ones"}
    layer = layers.GRU(4, return_sequences=True, dtype="float64", **options)
    model = keras.Sequential([keras.Input([None, 2]), layer])
    given = tf.constant(INPUTS, tf.float64)
    expected = [model(given), *gradients_in_a_graph(model, given)]
    accelerate(model)
    for mine, keras_own in zip([model(given), *gradients_in_a_graph(model, given)], expected, strict=True):
        np.testing.assert_allclose(mine, keras_own, atol=1e-9)
    assert {one.kernel for one in kernels_of(layer.cell)} == {"plain", "xla"}


@pytest.mark.slow  # quick: an option gives Keras' numbers and gradients
@pytest.mark.parametrize("part", ["outputs", "states"])
def test_what_is_gathered_from_has_gradients_in_a_graph(part):
    layer = layers.LSTM(3, return_sequences=True, return_state=True, dtype="float64")
    inputs = keras.Input([None, 2], dtype="float64")
    model = keras.Model(inputs, layer(inputs, mask=keras.ops.any(inputs != 0, -1)))

    def gradients():
        @tf.function
        def step(given):
            with tf.GradientTape() as tape:
                outputs, *states = model(given)
                some = tf.gather(outputs if part == "outputs" else states[0], [0, 2])
                total = tf.reduce_sum(tf.sin(some))
            return tape.gradient(total, [one.value for one in layer.trainable_variables])

        return step(tf.constant(INPUTS * MASK[..., None], tf.float64))

    expected = gradients()
    accelerate(model)
    for mine, keras_own in zip(gradients(), expected, strict=True):
        np.testing.assert_allclose(mine, keras_own, atol=1e-9)


def test_an_activation_that_draws_has_no_one_step_form():
    """Its backward step would draw other numbers."""

    def drawing(z):
        return tf.nn.dropout(z, 0.5)

    def halved(z):
        return tf.nn.relu(z) * 0.5

    for activation, has_one in ((drawing, False), (halved, True)):
        layer = layers.SimpleRNN(3, activation=activation)
        layer.build((None, None, 2))
        assert (step_form(layer.cell, True) is not None) == has_one
        assert (step_form(PackedRNN.from_keras(layer).cell, True) is not None) == has_one


@pytest.mark.parametrize("go_backwards", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kernel", ["xla", pytest.param("tiles", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [layers.SimpleRNN, pytest.param(layers.GRU, marks=pytest.mark.slow)])
def test_an_activation_may_have_no_slope_at_zero(kind, kernel, go_backwards):
    """A batch of unknown size is filled up with examples that do not exist, and the longest has a silent frame."""

    def signed_root(z):
        return tf.sign(z) * tf.sqrt(tf.abs(z))

    options = {"use_bias": False, "dtype": "float64", "go_backwards": go_backwards}
    theirs = kind(3, activation=signed_root, **options)
    theirs.build((None, None, 2))
    ours = PackedRNN.from_keras(theirs, kernel=kernel, **({"unroll_steps": 1} if kernel == "tiles" else {}))
    given = tf.constant(INPUTS * (np.arange(6) != 3)[:, None], tf.float64)
    expected = gradients_in_a_graph(theirs, given)
    for mine, keras_own in zip(gradients_in_a_graph(ours, given), expected, strict=True):
        assert np.isfinite(keras_own).all()
        np.testing.assert_allclose(mine, keras_own, atol=1e-9)
    assert kernels_of(ours.cell)[0].kernel == kernel
    assert ours.to_keras().cell.activation is signed_root  # which nobody registered
