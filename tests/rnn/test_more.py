"""Stacks of directions, nested inputs, half precision, derivatives of derivatives, Keras' dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS
from workbench.rnn import RNNS, bidirectional_rnn, dynamic_rnn, fused_rnn, stacked_bidirectional_rnn
from workbench.rnn.table import EVERYWHERE

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(3, 4, 6))
LENGTHS = [4, 0, 2]


def lstms(count, units=3):
    return [CELLS["lstm"](units, dtype="float64") for _ in range(count)]


class TestStacked:
    @pytest.mark.covering(1)
    @pytest.mark.parametrize("time_major", [False, True])
    @pytest.mark.parametrize("rnn", EVERYWHERE)
    def test_each_layer_reads_both_directions_below(self, rnn, time_major):
        forward, backward = lstms(2), lstms(2)
        inputs = INPUTS.transpose(1, 0, 2) if time_major else INPUTS
        outputs, (states_fw, states_bw) = stacked_bidirectional_rnn(
            forward, backward, inputs, LENGTHS, rnn=rnn, time_major=time_major
        )
        expected = INPUTS
        for layer in range(2):
            pair, (fw, bw) = bidirectional_rnn(forward[layer], backward[layer], expected, LENGTHS)
            expected = tf.concat(pair, -1)
            np.testing.assert_allclose(states_fw[layer][1], fw[1], rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(states_bw[layer][1], bw[1], rtol=1e-12, atol=1e-15)
        outputs = outputs.numpy().transpose(1, 0, 2) if time_major else outputs
        np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-15)

    def test_initial_states(self):
        ones = [[tf.ones([3, 3], tf.float64)] * 2] * 2
        _, (states, _) = stacked_bidirectional_rnn(
            lstms(2), lstms(2), INPUTS, LENGTHS, initial_states_fw=ones, initial_states_bw=ones
        )
        np.testing.assert_array_equal(states[1][0][1], np.ones(3))

    def test_refusals(self):
        with pytest.raises(ValueError, match="cells_fw has 2 and cells_bw 1"):
            stacked_bidirectional_rnn(lstms(2), lstms(1), INPUTS)
        with pytest.raises(ValueError, match="one cell is given twice"):
            stacked_bidirectional_rnn(lstms(1) * 2, lstms(2), INPUTS)
        (one,) = lstms(1)
        with pytest.raises(ValueError, match="one cell is given twice, or is inside two"):
            stacked_bidirectional_rnn([WRAPPERS["dropout"](one)], [WRAPPERS["multi"]([one])], INPUTS)


class Pair(keras.layers.Layer):
    """Reads {"a": [B, 2], "b": [B, 3]}, puts out (sum of a, b), keeps a dict of both and an integer count."""

    output_size = (1, 3)
    state_size = ({"a": 2, "b": 3}, 1)

    def get_initial_state(self, batch_size):
        zeros = {"a": tf.zeros([batch_size, 2]), "b": tf.zeros([batch_size, 3])}
        return zeros, tf.zeros([batch_size, 1], tf.int32)

    def call(self, inputs, states):
        kept, count = states
        kept = tf.nest.map_structure(tf.add, kept, inputs)
        return (tf.reduce_sum(kept["a"], 1, keepdims=True), kept["b"]), (kept, count + 1)


class CountsFirst(keras.layers.Layer):
    """Its first state is an integer, its output the sum of what came in."""

    output_size = 6
    state_size = (1, 6)

    def get_initial_state(self, batch_size):
        return [tf.zeros([batch_size, 1], tf.int32), tf.zeros([batch_size, 6], self.compute_dtype)]

    def call(self, inputs, states):
        return states[1] + inputs, [states[0] + 1, states[1] + inputs]


@pytest.mark.parametrize("rnn", [name for name in EVERYWHERE if name != "keras"])  # it takes no integers
def test_a_first_state_of_integers(rnn):
    outputs, (count, _) = RNNS[rnn](CountsFirst(dtype="float64"), INPUTS, LENGTHS)
    np.testing.assert_array_equal(count[:, 0], LENGTHS)
    np.testing.assert_allclose(outputs[0], np.cumsum(INPUTS[0], 0), rtol=1e-12)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("rnn", [name for name in EVERYWHERE if name != "keras"])  # it takes one tensor
def test_nested_inputs_outputs_and_states(rnn, graph):
    inputs = {"a": INPUTS[..., :2].astype("float32"), "b": INPUTS[..., 2:5].astype("float32")}
    run = lambda: RNNS[rnn](Pair(), inputs, LENGTHS)  # noqa: E731
    (total, b), (kept, count) = (tf.function(run, autograph=False) if graph else run)()
    np.testing.assert_array_equal(count[:, 0], LENGTHS)
    assert count.dtype == tf.int32
    for row, n in enumerate(LENGTHS):
        np.testing.assert_allclose(total[row, :n, 0], np.cumsum(inputs["a"][row, :n].sum(-1)), rtol=1e-5)
        np.testing.assert_allclose(b[row, :n], np.cumsum(inputs["b"][row, :n], 0), rtol=1e-5)
        np.testing.assert_allclose(kept["a"][row], inputs["a"][row, :n].sum(0), rtol=1e-5, atol=1e-7)
        assert not np.any(total[row, n:])
        assert not np.any(b[row, n:])


def test_a_dtype_that_the_op_lacks_is_refused():
    with pytest.raises(ValueError, match="GRUBlockCell computes in float32 only, not in float64"):
        CELLS["gru_block"](3, dtype="float64")
    with pytest.raises(
        ValueError, match="LSTMBlockCell computes in float32 or float16 only, not in bfloat16"
    ):
        CELLS["lstm_block"](3, dtype="bfloat16")
    with pytest.raises(ValueError, match="LSTMBlockCell is one op and has num_proj=None only, not 2"):
        CELLS["lstm_block"](3, num_proj=2)
    with pytest.raises(ValueError, match="GRUBlockCell is one op and has activation=tanh only"):
        CELLS["gru_block"](3, activation="relu")


def norm_of_gradient(cell, rnn):
    """inputs -> d/dx of the squared norm of d(loss)/dx, and that norm."""

    def compute(inputs):
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                outputs, _ = RNNS[rnn](cell, inputs, LENGTHS)
                loss = tf.reduce_sum(outputs**2)
            norm = tf.reduce_sum(inner.gradient(loss, inputs) ** 2)
        return outer.gradient(norm, inputs), norm

    return compute


WAYS = [("static", False), ("dynamic", False), ("dynamic", True)]


@pytest.mark.slow  # quick: tests/rnn/test_packed_kernels.py
@pytest.mark.covering(1)
@pytest.mark.parametrize(("rnn", "graph"), WAYS)
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_second_derivatives_are_right(name, rnn, graph):
    """Held against a difference quotient, at the largest: where the slope is near 0, the quotient is rounding."""
    compute = norm_of_gradient(CELLS[name](3, dtype="float64"), rnn)
    compute = tf.function(compute, autograph=False) if graph else compute
    second = compute(tf.constant(INPUTS))[0].numpy()
    at = np.unravel_index(np.abs(second).argmax(), second.shape)
    moved = [INPUTS.copy(), INPUTS.copy()]
    moved[0][at] -= 1e-5
    moved[1][at] += 1e-5
    before, after = (float(compute(tf.constant(inputs))[1]) for inputs in moved)
    assert not np.any(second[1])
    assert not np.any(second[2, 2:])
    assert second[at] == pytest.approx((after - before) / 2e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("rnn", "graph"), [WAYS[0], *(pytest.param(*way, marks=pytest.mark.slow) for way in WAYS[1:])]
)
@pytest.mark.parametrize("name", ["gru_block", pytest.param("lstm_block", marks=pytest.mark.slow)])
def test_second_derivatives_of_block_cells_are_refused(name, rnn, graph):
    compute = norm_of_gradient(CELLS[name](3), rnn)
    compute = tf.function(compute, autograph=False) if graph else compute
    with pytest.raises(NotImplementedError, match="a block cell has no second derivatives"):
        compute(tf.constant(INPUTS, tf.float32))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_block_cells_and_plain_cells_exchange_weights(name):
    plain, block = CELLS[name](4), CELLS[f"{name}_block"](4)
    for cell in (plain, block):
        cell.build((None, 6))
    block.set_weights(plain.get_weights())
    inputs = INPUTS.astype("float32")
    np.testing.assert_allclose(dynamic_rnn(block, inputs)[0], dynamic_rnn(plain, inputs)[0], atol=1e-6)


class TestFused:
    @pytest.mark.parametrize("lengths", [None, LENGTHS, [0, 0, 0]])
    @pytest.mark.parametrize("time_major", [False, True])
    def test_it_is_the_loop(self, lengths, time_major):
        cell = CELLS["lstm_block"](4, use_peepholes=True, cell_clip=0.5)
        inputs = INPUTS.astype("float32").copy()
        for row, n in enumerate(lengths or []):
            inputs[row, n:] = np.nan
        swap = (1, 0, 2) if time_major else (0, 1, 2)
        ones = [tf.ones([3, 4])] * 2
        results = []
        for run in (fused_rnn, dynamic_rnn):
            source = tf.constant(inputs.transpose(swap))
            with tf.GradientTape() as tape:
                tape.watch(source)
                outputs, (h, c) = run(cell, source, lengths, initial_state=ones, time_major=time_major)
                loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(h * c)
            variables = [v.value for v in cell.trainable_variables]
            results.append(
                [outputs, h, c, *tape.gradient(loss, [source, *variables], unconnected_gradients="zero")]
            )
        for ours, loop in zip(*results, strict=True):
            np.testing.assert_allclose(ours, loop, atol=2e-6)

    def test_a_cell_without_it_is_refused(self):
        with pytest.raises(
            ValueError, match="runs all steps in one op, as the LSTM block cell; GRUCell does not"
        ):
            fused_rnn(CELLS["gru"](3), INPUTS)

    def test_second_derivatives_are_refused(self):
        cell, inputs = CELLS["lstm_block"](3), tf.constant(INPUTS, tf.float32)
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                loss = tf.reduce_sum(fused_rnn(cell, inputs)[0])
            gradient = inner.gradient(loss, inputs)
        with pytest.raises(NotImplementedError, match="no second derivatives"):
            outer.gradient(gradient, inputs)


@pytest.mark.covering(1)
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("rnn", EVERYWHERE)
@pytest.mark.parametrize("wrapped", [False, True])
def test_dropout_of_keras_cells_keeps_its_mask_for_a_run(rnn, graph, wrapped):
    inner = keras.layers.SimpleRNNCell(
        6, dropout=0.5, recurrent_dropout=0.5, seed=3, kernel_initializer="identity"
    )
    stack = keras.layers.StackedRNNCells([inner, keras.layers.GRUCell(4, dropout=0.5)])
    cell = WRAPPERS["multi"]([stack]) if wrapped else stack
    inputs = np.ones((3, 4, 6), "float32")
    cell.build((None, 6))
    inner.recurrent_kernel.assign(np.zeros((6, 6)))
    run = lambda training: RNNS[rnn](WRAPPERS["residual"](inner), inputs, training=training)[0]  # noqa: E731
    run = tf.function(run, autograph=False) if graph else run
    first, second = run(True).numpy(), run(True).numpy()
    for outputs in (first, second):
        assert np.all(outputs == outputs[:, :1])
        assert len(np.unique(outputs)) == 2
    assert not np.array_equal(first, second)
    assert len(np.unique(run(False))) == 1
    assert RNNS[rnn](cell, inputs, training=True)[0].shape == (3, 4, 4)
