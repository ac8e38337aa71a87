"""Every cell in every runner inside a graph for batches of any size, gradients included, as outside a graph."""

import itertools
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, StepCell
from workbench.rnn import RNNS, PackedRNN
from workbench.rnn.table import EVERYWHERE

LENGTHS = [1, 0, 2]
DTYPES = {"lstm_block": "float32", "gru_block": "float32"}  # where float64 cannot be
OPTIONS = {"time_freq_lstm": {"feature_size": 2}, "lstm": {"num_proj": 2}}
# The packed kernel without XLA, whose compilation takes seconds a cell: golden cases hold XLA's for each family.
KERNEL = {"packed": {"kernel": "plain"}}
STEPLESS = {"packed": {"kernel": "autodiff"}}


QUICK = [*zip(itertools.cycle(("gru", "layer_norm_lstm", "nas", "lstm")), EVERYWHERE, strict=False)]
"""Each runner once; tests/conformance/test_cells.py holds each cell in each outside a graph."""


@pytest.mark.parametrize(
    ("name", "rnn"),
    [
        one if one in QUICK else pytest.param(*one, marks=pytest.mark.slow)
        for one in itertools.product(CELLS, EVERYWHERE)
    ],
)
def test_a_graph_for_any_batch_gives_what_comes_without_one(name, rnn):
    dtype = DTYPES.get(name, "float64")
    cell = CELLS[name](3, dtype=dtype, **OPTIONS.get(name, {}))
    cell.build((None, 4))
    takes_steps = isinstance(cell, StepCell) and cell.has_step(False)
    kernel = (KERNEL if takes_steps else STEPLESS).get(rnn, {})
    weights = [v.value for v in cell.trainable_variables]

    def compute(inputs, lengths):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, states = RNNS[rnn](cell, inputs, lengths, **kernel)
            results = [outputs, *tf.nest.flatten(states)]
            total = tf.add_n([tf.reduce_sum(tf.sin(result)) for result in results])
        return results, tape.gradient(total, [inputs, *weights])

    time = 3 if rnn == "static" else None
    signature = [tf.TensorSpec([None, time, 4], dtype), tf.TensorSpec([None], tf.int32)]
    traced = tf.function(compute, input_signature=signature, autograph=False)
    inputs = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 4)), dtype)
    near = {"rtol": 1e-9, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    for rows in (3, 1):
        batch = inputs[:rows], tf.constant(LENGTHS[:rows])
        for found, expected in zip(*map(tf.nest.flatten, (traced(*batch), compute(*batch))), strict=True):
            np.testing.assert_allclose(found, expected, **near)


@pytest.mark.slow  # quick: the graphs above
@pytest.mark.parametrize(
    "rnn",
    EVERYWHERE,
)
def test_a_plain_tf_function_converts_every_runner_without_a_word(rnn):
    """AutoGraph, on by default, warns of code that it cannot convert, as `:=`."""
    cell = WRAPPERS["multi"]([WRAPPERS["dropout"](CELLS["gru"](3)), WRAPPERS["residual"](CELLS["lstm"](3))])
    inputs, lengths = np.ones([2, 3, 2], "float32"), [3, 0]
    words = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: words.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        outputs, _ = tf.function(lambda: RNNS[rnn](cell, inputs, lengths))()
    finally:
        tf.get_logger().removeHandler(handler)
    assert not words
    np.testing.assert_allclose(outputs, RNNS["dynamic"](cell, inputs, lengths)[0], atol=1e-6)


@pytest.mark.parametrize("kernel", ["plain", pytest.param("xla", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "cell",
    [
        lambda: keras.layers.LSTMCell(3),
        pytest.param(lambda: [CELLS["lstm"](3), CELLS["gru"](2)], marks=pytest.mark.slow),
        lambda: keras.layers.StackedRNNCells([keras.layers.GRUCell(3), keras.layers.GRUCell(2)]),
    ],
)
def test_features_need_not_be_known_while_tracing_by_a_layer_that_is_built(cell, kernel):
    """As of what comes from tf.numpy_function; Keras' own layers take it."""
    layer = PackedRNN(cell(), kernel=kernel)
    inputs = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    expected = layer(inputs, sequence_length=[4, 1, 0])
    run = tf.function(layer, input_signature=[tf.TensorSpec([None] * 3), tf.TensorSpec([None], tf.int32)])
    np.testing.assert_allclose(run(inputs, [4, 1, 0]), expected, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[3,4,5\] is not compatible .*\[\?,\?,2\]"):
        run(np.ones([3, 4, 5], "float32"), [4, 1, 0])


@pytest.mark.parametrize("kernel", ["plain", pytest.param("tiles", marks=pytest.mark.slow)])
def test_packed_layers_in_branches_one_after_another_have_the_gradients_of_loops(kernel):
    """A gradient of one's own sees nothing of outside its branch that is not brought in."""
    cell = CELLS["lstm"](3, dtype="float64")
    layer = PackedRNN(cell, return_sequences=True, kernel=kernel, dtype="float64")
    layer.build((None, None, 3))

    def gradients(run, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = inputs
            for _ in range(2):
                is_some = tf.reduce_sum(inputs) != 0
                outputs = tf.cond(is_some, lambda x=outputs: run(x) + x, lambda x=outputs: x)
            total = tf.reduce_sum(tf.sin(outputs))
        return tape.gradient(total, [inputs, *(v.value for v in cell.trainable_variables)])

    given = tf.constant(np.random.default_rng(0).normal(size=(3, 2, 3)))
    expected = gradients(lambda x: RNNS["dynamic"](cell, x, LENGTHS)[0], given)
    traced = tf.function(
        lambda inputs: gradients(lambda x: layer(x, sequence_length=LENGTHS), inputs),
        input_signature=[tf.TensorSpec([None, None, 3], "float64")],
        autograph=False,
    )
    found = traced(given)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
