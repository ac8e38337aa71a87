"""The runners, tested by arithmetic: a cell that counts shows every step that is taken, and by whom."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS
from workbench.rnn import RNNS, bidirectional_rnn, dynamic_rnn, static_rnn
from workbench.rnn.table import EVERYWHERE

LENGTHS = [3, 0, 5, 2]
INPUTS = np.arange(4 * 7 * 2, dtype="float32").reshape(4, 7, 2) + 1


class Adder(keras.layers.Layer):
    """State and output are the sum of the inputs so far; `calls` counts the steps that were run."""

    state_size = output_size = 2

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0, trainable=False)

    def call(self, inputs, states):
        self.calls.assign_add(1)
        total = states[0] + inputs
        return total, [total]


def reference(lengths=LENGTHS, initial=0.0):
    outputs = np.cumsum(INPUTS, 1) + initial
    outputs = np.stack(
        [np.where(np.arange(7)[:, None] < n, o, 0) for n, o in zip(lengths, outputs, strict=True)]
    )
    state = np.stack([INPUTS[row, :n].sum(0) + initial for row, n in enumerate(lengths)])
    return outputs, state


def steps_run(rnn, steps):
    """Keras' layer computes all 7 steps whatever the lengths, and the first once more to see its shape."""
    return 8 if rnn == "keras" else steps


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("rnn", [*EVERYWHERE, "dynamic by 2", "dynamic by 4"])
class TestEveryRunner:
    @pytest.fixture
    def run(self, rnn, graph):
        def call(*args, **kwargs):
            name, _, by = rnn.partition(" by ")
            options = {"unroll_steps": int(by)} if by else {}

            def function():
                return RNNS[name](*args, **options, **kwargs)

            return tf.function(function, autograph=False)() if graph else function()

        return call

    def test_outputs_and_state(self, run):
        outputs, state = run(Adder(), INPUTS, LENGTHS)
        expected, last = reference()
        np.testing.assert_array_equal(outputs, expected)
        np.testing.assert_array_equal(state[0], last)
        assert outputs.shape == (4, 7, 2)

    def test_no_step_past_the_longest_is_computed(self, run, rnn):
        cell = Adder()
        run(cell, INPUTS, LENGTHS)
        assert int(cell.calls) == steps_run(rnn, 5)

    def test_nothing_is_computed_for_a_batch_of_empty_examples(self, run, rnn):
        cell = Adder()
        outputs, state = run(cell, INPUTS, [0, 0, 0, 0])
        assert int(cell.calls) == steps_run(rnn, 0)
        assert not np.any(outputs)
        assert not np.any(state[0])
        assert outputs.shape == (4, 7, 2)

    def test_without_lengths_all_steps_count(self, run, rnn):
        cell = Adder()
        outputs, state = run(cell, INPUTS)
        np.testing.assert_array_equal(outputs, np.cumsum(INPUTS, 1))
        np.testing.assert_array_equal(state[0], INPUTS.sum(1))
        assert int(cell.calls) == steps_run(rnn, 7)

    def test_initial_state(self, run):
        outputs, state = run(Adder(), INPUTS, LENGTHS, initial_state=[tf.fill([4, 2], 10.0)])
        expected, last = reference(initial=10.0)
        np.testing.assert_array_equal(outputs, expected)
        np.testing.assert_array_equal(state[0], last)

    def test_time_major(self, run):
        outputs, state = run(Adder(), INPUTS.transpose(1, 0, 2), LENGTHS, time_major=True)
        expected, last = reference()
        np.testing.assert_array_equal(outputs, expected.transpose(1, 0, 2))
        np.testing.assert_array_equal(state[0], last)


@pytest.mark.parametrize("rnn", EVERYWHERE)
class TestRefusals:
    @pytest.mark.parametrize(
        ("lengths", "message"),
        [
            ([1, 2, 3, 8], "sequence_length has 8, but the inputs have T=7"),
            ([1, 2, 3, -1], "sequence_length has -1"),
            ([1, 2, 3], r"one length for each example, \[4\]"),
            ([[1, 2, 3, 4]], "one length for each example"),
            (3, "one length for each example"),
            ([1.0, 2.0, 3.0, 4.0], "must be integers, not float32"),
        ],
    )
    def test_wrong_lengths(self, rnn, lengths, message):
        with pytest.raises(ValueError, match=message):
            RNNS[rnn](Adder(), INPUTS, lengths)

    def test_a_length_over_t_in_a_graph(self, rnn):
        cell = Adder()
        run = tf.function(lambda n: RNNS[rnn](cell, INPUTS, n)[0], autograph=False)
        np.testing.assert_array_equal(run(tf.constant(LENGTHS)), reference()[0])
        with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to T"):
            run(tf.constant([8, 1, 1, 1]))

    def test_inputs_without_time(self, rnn):
        with pytest.raises(ValueError, match=r"must be \[B, T, ...\], not of shape \(3,\)"):
            RNNS[rnn](Adder(), tf.zeros([3]))


def test_static_refuses_an_unknown_t():
    with pytest.raises(ValueError, match="T, the time axis of the inputs, is None"):
        tf.function(lambda x: static_rnn(Adder(), x), autograph=False).get_concrete_function(
            tf.TensorSpec([2, None, 2])
        )


def test_dynamic_takes_any_batch_and_length_with_one_trace():
    cell = CELLS["lstm"](3)
    cell.build((None, 2))  # or tf.function traces once more, to make the variables
    traces = []

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32)], autograph=False
    )
    def run(inputs, lengths):
        traces.append(1)
        return dynamic_rnn(cell, inputs, lengths)[0]

    for batch, time in ((1, 1), (4, 7), (2, 3), (3, 0), (0, 4)):
        outputs = run(tf.zeros([batch, time, 2]), tf.fill([batch], time))
        assert outputs.shape == (batch, time, 3)
    assert len(traces) == 1


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_unroll_steps_is_checked(steps):
    with pytest.raises(ValueError, match="unroll_steps must be an integer of at least 1"):
        dynamic_rnn(Adder(), INPUTS, unroll_steps=steps)


@pytest.mark.parametrize("rnn", EVERYWHERE)
@pytest.mark.parametrize("lengths", [None, [0] * 4])
def test_inputs_of_no_steps(rnn, lengths):
    outputs, state = RNNS[rnn](Adder(), INPUTS[:, :0], lengths)
    assert outputs.shape == (4, 0, 2)
    assert not np.any(state[0])


def test_the_guides_example():
    """L3: x [2, 10, 8], lengths [10, 6], 64 units, float64."""
    inputs = np.random.default_rng(0).normal(size=(2, 10, 8))
    inputs[1, 6:] = 0
    outputs, state = dynamic_rnn(CELLS["lstm"](64, dtype="float64"), inputs, [10, 6])
    assert not np.any(outputs[1, 6:])
    np.testing.assert_array_equal(outputs[1, 5], state[0][1])
    np.testing.assert_array_equal(outputs[0, 9], state[0][0])


class TestBidirectional:
    @pytest.mark.parametrize("time_major", [False, True])
    @pytest.mark.parametrize("rnn", EVERYWHERE)
    def test_backward_runs_over_the_valid_part(self, rnn, time_major):
        swap = (1, 0, 2) if time_major else (0, 1, 2)
        inputs = INPUTS.transpose(swap)
        (forward, backward), (last, first) = bidirectional_rnn(
            Adder(), Adder(), inputs, LENGTHS, rnn=rnn, time_major=time_major
        )
        expected, state = reference()
        np.testing.assert_array_equal(forward.numpy().transpose(swap), expected)
        for row, n in enumerate(LENGTHS):
            sums = np.cumsum(INPUTS[row, :n][::-1], 0)[::-1]
            np.testing.assert_array_equal(backward.numpy().transpose(swap)[row, :n], sums)
            assert not np.any(backward.numpy().transpose(swap)[row, n:])
        np.testing.assert_array_equal(last[0], state)
        np.testing.assert_array_equal(first[0], state)

    def test_initial_states(self):
        ones = [tf.ones([4, 2])]
        _, (last, first) = bidirectional_rnn(
            Adder(), Adder(), INPUTS, LENGTHS, initial_state_fw=ones, initial_state_bw=[2 * ones[0]]
        )
        np.testing.assert_array_equal(first[0] - last[0], np.ones([4, 2]))

    def test_refusals(self):
        cell = Adder()
        with pytest.raises(ValueError, match="one inside, so both directions would share its weights"):
            bidirectional_rnn(cell, cell, INPUTS)
        with pytest.raises(ValueError, match="one inside, so both directions would share its weights"):
            bidirectional_rnn(WRAPPERS["dropout"](cell), WRAPPERS["multi"]([cell]), INPUTS)
        with pytest.raises(ValueError, match="rnn='fast' is not a runner; there are static, dynamic"):
            bidirectional_rnn(cell, Adder(), INPUTS, rnn="fast")


@pytest.mark.parametrize("rnn", EVERYWHERE)
@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.LSTMCell(3),
        lambda: keras.layers.GRUCell(3),
        lambda: keras.layers.SimpleRNNCell(3),
        lambda: keras.layers.StackedRNNCells([keras.layers.LSTMCell(3), keras.layers.GRUCell(4)]),
    ],
    ids=["lstm", "gru", "simple", "stacked"],
)
def test_keras_cells_run(make, rnn):
    cell = make()
    inputs = np.random.default_rng(0).normal(size=(4, 7, 2)).astype("float32")
    outputs, _ = RNNS[rnn](cell, inputs, LENGTHS)
    for row, n in enumerate(LENGTHS):
        assert not np.any(outputs[row, n:])
        if n:
            alone = keras.layers.RNN(cell, return_sequences=True)(inputs[row : row + 1, :n])
            np.testing.assert_allclose(outputs[row, :n], alone[0], rtol=1e-5, atol=1e-6)
