"""Each option of Keras' recurrent layers: PackedRNN gives Keras' numbers with it, or its refusal names it."""

import inspect
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.rnn import PackedRNN, kernels_of

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


def test_every_option_of_keras_layers_is_here():
    assert set().union(*map(taken_by, LAYERS)) == set(OPTIONS) | set(REFUSED)


def numbers(layer, training):
    """Outputs, losses, gradients; from the seeds of dropout as they were when the layer was made."""
    inputs = tf.constant(INPUTS)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.nest.flatten(layer(inputs, mask=tf.constant(MASK), training=training))
        loss = sum(tf.reduce_sum(tf.sin(one)) for one in outputs) + sum(layer.losses)
    gradients = tape.gradient(loss, [inputs, *(variable.value for variable in layer.trainable_weights)])
    return [np.asarray(tf.convert_to_tensor(one)) for one in (*outputs, loss, *gradients)]


@pytest.mark.covering(1)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_gives_keras_numbers_and_gradients(name, kind):
    if name not in taken_by(kind):
        assert name in {"reset_after", "unit_forget_bias", "recurrent_activation"}
        return
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


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name):
    with pytest.raises(ValueError, match=f"PackedRNN has no option {name}=True"):
        PackedRNN(layers.LSTMCell(3), **{name: REFUSED[name]})


def test_a_list_of_cells_is_a_stack():
    cells = [layers.LSTMCell(3, dtype="float64"), layers.GRUCell(2, dtype="float64")]
    theirs = layers.RNN(layers.StackedRNNCells(cells, dtype="float64"), dtype="float64")
    expected = theirs(INPUTS, mask=tf.constant(MASK))
    np.testing.assert_allclose(PackedRNN(cells)(INPUTS, mask=MASK), expected, rtol=1e-9)


def test_half_precision_with_a_scaled_loss_learns_as_keras_does():
    """Step by step, but for those left out where a scaled gradient is over float16's range."""
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
    assert losses[0][-1] < losses[0][0] / 3
    theirs, ours = ([a for a, b in pairwise(one) if a != b] for one in losses)
    steps = min(len(theirs), len(ours))
    assert steps > 10
    np.testing.assert_allclose(ours[:steps], theirs[:steps], atol=0.02)
