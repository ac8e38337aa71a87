"""What a packed model leaves behind when it is dropped: no cell, no graph, no entry in TensorFlow's table."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

from workbench.cells import CELLS
from workbench.rnn import PackedRNN, packed_rnn
from workbench.rnn.packing import saved_step

INPUTS, TARGETS = np.ones((4, 3, 4), "float32"), np.ones((4, 2), "float32")


def entries():
    """After those of other tests' models are gone, whose end may lie in the second round."""
    gc.collect(), gc.collect()
    return {name for name in gradient_registry.list() if name.startswith("CustomGradient")}


def model_of(cell, kernel):
    inputs = keras.Input([None, 4])
    return keras.Model(inputs, keras.layers.Dense(2)(PackedRNN(cell, kernel=kernel)(inputs)))


def fit(model):
    model.compile("sgd", "mse")
    model.fit(INPUTS, TARGETS, verbose=0)


def loop_of_ones_own(model):
    optimizer = keras.optimizers.SGD()

    @tf.function
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(inputs) - targets) ** 2)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True)
        )

    step(tf.constant(INPUTS), tf.constant(TARGETS))


@pytest.mark.slow  # quick: a local cell, below
@pytest.mark.parametrize(
    ("name", "kernel", "train"),
    [
        ("lstm", "plain", fit),
        ("gru", "plain", loop_of_ones_own),
        ("lstm", "autodiff", fit),
        ("lstm_block", "auto", fit),
        ("gru_block", "auto", fit),
        ("lstm", "masked", loop_of_ones_own),
    ],
)
def test_a_dropped_model_leaves_nothing(name, kernel, train):
    cell = CELLS[name](3)
    model = model_of(cell, kernel)
    before = entries()
    train(model)
    (made,) = entries() - before  # by the sum of gradients over replicas; a keras.layers.LSTM leaves it too
    entry = gradient_registry.lookup(made)
    inside = dict(zip(entry.__code__.co_freevars, entry.__closure__, strict=True))[
        "tape_grad_fn"
    ].cell_contents
    results = dict(zip(inside.__code__.co_freevars, inside.__closure__, strict=True))["result"].cell_contents
    left = [weakref.ref(one) for one in (model, cell, results[0].graph)]
    del model, cell, entry, inside, results
    assert entries() == before
    assert [one() for one in left] == [None, None, None]


@pytest.mark.slow  # quick: the one above
def test_only_the_graphs_of_the_dropped_cell_are_let_go():
    kept, dropped = (model_of(CELLS["lstm"](3), "plain") for _ in range(2))
    before = entries()
    fit(kept)
    of_kept = entries() - before
    fit(dropped)
    del dropped
    gc.collect()
    assert len(of_kept) == 1
    assert entries() - before == of_kept
    fit(kept)


@pytest.mark.slow  # quick: tests/rnn/test_packed_kernels.py
def test_the_next_model_of_the_same_size_has_what_xla_compiled():
    """XLA keeps what it compiled until the process ends, so a second copy would stay beside the first."""
    made = []
    for _ in range(2):
        model = model_of(CELLS["lstm"](3), "xla")
        fit(model)
        (choice,) = model.layers[1].kernels
        assert choice.kernel == "xla"
        made.append({id(one) for one in saved_step._ALIKE.values()})
        del model
        gc.collect()
    assert made[0] == made[1]


@pytest.mark.parametrize("kernel", ["plain", pytest.param("autodiff", marks=pytest.mark.slow)])
def test_outside_a_graph_the_gradient_outlives_a_local_cell(kernel):
    inputs = tf.constant(INPUTS)
    slopes = []
    for kept in ([], None):
        cell = CELLS["lstm"](3, kernel_initializer="ones", recurrent_initializer="ones")
        if kept is not None:
            kept.append(cell)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, _ = packed_rnn(cell, inputs, kernel=kernel)
        del cell
        gc.collect()
        slopes.append(tape.gradient(outputs, inputs))
    np.testing.assert_array_equal(*slopes)
    assert np.abs(slopes[0]).max() > 0
