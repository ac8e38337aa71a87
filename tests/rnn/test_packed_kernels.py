"""Which kernel runs, what is told of it, and what each refuses."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, StepCell, StepWeights
from workbench.rnn import dynamic_rnn, kernels_of, packed_rnn
from workbench.rnn.packing import kernel as kernels
from workbench.rnn.packing.compiled import capacity_for
from workbench.rnn.packing.kernel import choose_kernel

LENGTHS = [3, 0, 5, 2]
INPUTS = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")


def in_graph(function, jit=False):
    """What a function gives while it is traced, on the CPU also where a GPU is seen."""
    found = []

    def on_the_cpu():
        with tf.device("/CPU:0"):
            found.append(function())

    tf.function(on_the_cpu, autograph=False, jit_compile=jit).get_concrete_function()
    return found[0]


class TestTheChoice:
    @pytest.mark.parametrize(
        ("where", "kernel"),
        [
            (lambda f: f(), "plain"),
            (in_graph, "xla"),
            (lambda f: in_graph(f, jit=True), "masked"),
            (lambda f: in_graph(lambda: in_graph(f), jit=True), "masked"),
        ],
        ids=["eager", "graph", "jit", "graph inside jit"],
    )
    def test_of_a_cell_in_one_step_form(self, where, kernel):
        assert where(lambda: choose_kernel(CELLS["gru"](3), "auto", False)).kernel == kernel

    @pytest.mark.parametrize(
        ("cell", "training", "kernel"),
        [
            (keras.layers.LSTMCell(3), False, "autodiff"),
            (WRAPPERS["attention"](CELLS["gru"](2), 3), False, "autodiff"),
            (CELLS["lstm_block"](3), False, "autodiff"),
            (CELLS["layer_norm_lstm"](3, dropout_keep_prob=0.5), True, "autodiff"),
            (CELLS["layer_norm_lstm"](3, dropout_keep_prob=0.5), False, "xla"),
        ],
        ids=["Keras", "wrapped", "block", "drops", "drops in training"],
    )
    def test_of_other_cells(self, cell, training, kernel):
        assert in_graph(lambda: choose_kernel(cell, "auto", training)).kernel == kernel

    def test_without_xla(self, monkeypatch):
        monkeypatch.setattr(tf.test, "is_built_with_xla", lambda: False)
        assert in_graph(lambda: choose_kernel(CELLS["gru"](3), "auto", False)).kernel == "plain"
        for kernel in ("xla", "tiles"):
            with pytest.raises(
                ValueError, match=f'kernel="{kernel}" needs XLA, which this TensorFlow was built'
            ):
                choose_kernel(CELLS["gru"](3), kernel, False)

    @pytest.mark.parametrize(
        ("cell", "kernel", "training", "message"),
        [
            (
                CELLS["gru"](3),
                "fast",
                False,
                "kernel='fast' is not a kernel; there are auto, xla, tiles, plain",
            ),
            (keras.layers.GRUCell(3), "xla", False, "one-step form, but GRUCell has only `call`"),
            (keras.layers.GRUCell(3), "tiles", False, "one-step form, but GRUCell has only `call`"),
            (
                CELLS["layer_norm_lstm"](3, dropout_keep_prob=0.5),
                "plain",
                True,
                "LayerNormLSTMCell drops or draws inside its step",
            ),
        ],
    )
    def test_refusals(self, cell, kernel, training, message):
        with pytest.raises(ValueError, match=message):
            choose_kernel(cell, kernel, training)

    @pytest.mark.parametrize("kernel", ["xla", "tiles", "plain", "autodiff"])
    def test_an_outer_jit_takes_no_other_kernel(self, kernel):
        with pytest.raises(ValueError, match="cannot run inside an outer jit_compile"):
            in_graph(lambda: choose_kernel(CELLS["gru"](3), kernel, False), jit=True)

    def test_what_ran_is_told(self):
        cell = CELLS["gru"](3)
        assert kernels_of(cell) == ()
        for _ in range(2):
            packed_rnn(cell, INPUTS, LENGTHS)
        packed_rnn(cell, INPUTS, LENGTHS, kernel="autodiff")
        plain, autodiff = kernels_of(cell)
        assert (plain.kernel, autodiff.kernel) == ("plain", "autodiff")
        assert "outside tf.function" in plain.reason
        assert autodiff.reason == "asked for"


@pytest.mark.parametrize(
    ("option", "value"), [("batch_size", 0), ("batch_size", 2.0), ("chains", 0), ("chains", True)]
)
def test_options_are_checked(option, value):
    with pytest.raises(ValueError, match=f"{option} must be an integer of at least 1, not {value}"):
        packed_rnn(CELLS["gru"](3), INPUTS, LENGTHS, **{option: value})


def test_the_names_are_those_that_can_run():
    assert set(kernels.NAMES) == {"xla", "tiles", "plain", "autodiff", "masked"}


class TestTheCompiledSize:
    @pytest.mark.parametrize(
        ("batch", "given", "size"), [(7, None, 8), (32, None, 32), (7, 32, 32), (7, 15, 16)]
    )
    def test_known_while_tracing(self, batch, given, size):
        assert capacity_for(batch, given, 2) == size

    def test_unknown_is_a_power_of_two_from_32_on(self):
        sizes = [int(capacity_for(tf.constant(batch), None, 2)) for batch in (0, 1, 17, 32, 33, 1000)]
        assert sizes == [32, 32, 32, 32, 64, 1024]

    def test_a_larger_batch_is_refused(self):
        with pytest.raises(
            ValueError, match="batch_size=3 is to be the most examples of a batch, but one has 4"
        ):
            in_graph(lambda: packed_rnn(CELLS["gru"](3), INPUTS, LENGTHS, batch_size=3))

    def test_a_larger_batch_is_refused_at_run_time(self):
        cell = CELLS["gru"](3)
        cell.build((None, 2))
        run = tf.function(
            lambda x: packed_rnn(cell, x, batch_size=3)[0],
            input_signature=[tf.TensorSpec([None, None, 2])],
            autograph=False,
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match="batch_size=3 is to be the most examples"):
            run(INPUTS)


def results(run, cell, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, states = run(cell, inputs, LENGTHS)
        total = tf.reduce_sum(tf.sin(outputs)) + tf.add_n([tf.reduce_sum(s**2) for s in states])
    return [outputs, *states, *tape.gradient(total, [inputs, *(v.value for v in cell.trainable_variables)])]


@pytest.mark.parametrize("backwards", [pytest.param(False, marks=pytest.mark.slow), True])
def test_inside_an_outer_jit(backwards):
    cell = CELLS["gru"](3)
    cell.build((None, 2))
    run = lambda *given: packed_rnn(*given, go_backwards=backwards)  # noqa: E731
    inputs = tf.constant(INPUTS)
    compiled = tf.function(lambda x: results(run, cell, x), autograph=False, jit_compile=True)
    for ours, theirs in zip(compiled(inputs), results(run, cell, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert {choice.kernel for choice in kernels_of(cell)} == {"masked", "plain"}


class TestSecondDerivatives:
    def twice(self, cell, kernel):
        variable = tf.constant(INPUTS)
        with tf.GradientTape() as outer:
            outer.watch(variable)
            with tf.GradientTape() as inner:
                inner.watch(variable)
                total = tf.reduce_sum(packed_rnn(cell, variable, LENGTHS, kernel=kernel, unroll_steps=1)[0])
            first = tf.reduce_sum(inner.gradient(total, variable) ** 2)
        return outer.gradient(first, variable)

    @pytest.mark.parametrize(
        ("kernel", "where"),
        [
            pytest.param("xla", in_graph, marks=pytest.mark.slow),
            pytest.param("tiles", in_graph, marks=pytest.mark.slow),
            ("plain", in_graph),
            ("plain", lambda f: f()),
        ],
    )
    def test_are_refused_in_words(self, kernel, where):
        with pytest.raises(NotImplementedError, match="packed RNN has no second derivatives"):
            where(lambda: self.twice(CELLS["gru"](3), kernel))

    def test_are_right_by_autodiff(self):
        cell = CELLS["gru"](3)
        ours = self.twice(cell, "autodiff")
        with tf.GradientTape() as outer:
            inputs = tf.constant(INPUTS)
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                total = tf.reduce_sum(dynamic_rnn(cell, inputs, LENGTHS)[0])
            first = tf.reduce_sum(inner.gradient(total, inputs) ** 2)
        np.testing.assert_allclose(ours, outer.gradient(first, inputs), rtol=1e-4, atol=1e-6)


class Wrong(StepCell):
    """A cell whose step makes product 0 as often as it is told."""

    projection_width = state_size = output_size = 3

    def __init__(self, times):
        super().__init__(3)
        self.times = times

    def build(self, input_shape):
        self.kernel = self.add_kernel("kernel", input_shape[-1], 3)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", 3, 3)

    def step_weights(self):
        return StepWeights(self.read(self.kernel), tf.zeros([3]), [self.read(self.recurrent_kernel)], [])

    def step(self, projected, states, weights, product):
        h = projected
        for _ in range(self.times):
            h = h + product(0, states[0])
        return h, [h]


@pytest.mark.parametrize(
    ("times", "message"), [(0, "Wrong.step never makes product 0"), (2, "Wrong.step makes product 0 twice")]
)
def test_a_step_makes_each_product_once(times, message):
    with pytest.raises(ValueError, match=message):
        packed_rnn(Wrong(times), INPUTS, LENGTHS)


class Reads(Wrong):
    """A cell whose step reads a variable that it was not handed."""

    def step(self, projected, states, weights, product):
        h = projected + product(0, states[0]) * tf.reduce_sum(self.kernel)
        return h, [h]


def test_a_step_reads_no_variable_by_itself():
    with pytest.raises(ValueError, match=r"Reads.step reads a variable by itself, .* step_weights\(\) must"):
        packed_rnn(Reads(1), INPUTS, LENGTHS)


@pytest.mark.slow  # quick: tests/rnn/test_lifetime.py
def test_what_is_kept_for_a_cell_goes_with_it():
    def run():
        cell = CELLS["basic_rnn"](3)
        in_graph(lambda: packed_rnn(cell, INPUTS, LENGTHS)[0])
        return weakref.ref(cell)

    reference = run()
    gc.collect()
    assert reference() is None
