"""Every runner inside an outer `jit_compile` gives what it gives without, gradients too; or is refused in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.alone import run_alone
from workbench.cells import CELLS, WRAPPERS
from workbench.cells.xla import inside_jit
from workbench.rnn import RNNS, PackedRNN, bidirectional_rnn, dynamic_rnn, fused_rnn
from workbench.rnn.table import EVERYWHERE

LENGTHS = [3, 0, 1, 2]
INPUTS = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")


def compiled(function, *signature):
    options = {"input_signature": signature} if signature else {}
    return tf.function(function, jit_compile=True, autograph=False, **options)


def traced(function):
    """Tells what is wrong before XLA compiles anything."""
    compiled(function).get_concrete_function()


def with_gradients(run, cells):
    """Numbers of `run(inputs, lengths)` and the gradients of them all."""
    weights = [v.value for cell in cells for v in cell.trainable_variables]

    def compute(inputs, lengths):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            results = tf.nest.flatten(run(inputs, lengths))
            total = tf.add_n([tf.reduce_sum(tf.sin(result)) for result in results])
        return [*results, *tape.gradient(total, [inputs, *weights])]

    return compute


def near(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_outer_jit_is_told_by_tensorflow():
    """A private function: when this fails, see `inside_jit`."""
    found = []
    for jit in (False, True):
        tell = tf.function(lambda: found.append(inside_jit()), autograph=False, jit_compile=jit)
        tell.get_concrete_function()
    assert [inside_jit(), *found] == [False, False, True]


@pytest.mark.parametrize(
    "rnn",
    [name if name == "packed" else pytest.param(name, marks=pytest.mark.slow) for name in EVERYWHERE],
)
def test_the_numbers_and_gradients_are_those_without_a_jit(rnn):
    """A stack and a wrapper, both ways, from given states, for any batch, with lengths and without."""
    forward = WRAPPERS["multi"]([CELLS["lstm"](2), WRAPPERS["residual"](CELLS["gru"](2))])
    backward = CELLS["gru"](2, reset_after=True)
    for cell in (forward, backward):
        cell.build((None, 2))

    def run(name, inputs, lengths):
        start = tf.nest.map_structure(
            lambda state: state + 0.3, backward.get_initial_state(tf.shape(inputs)[0])
        )
        both = bidirectional_rnn(forward, backward, inputs, lengths, rnn=name, initial_state_bw=start)
        return both, RNNS[name](backward, inputs)

    time = 3 if rnn == "static" else None
    signature = tf.TensorSpec([None, time, 2]), tf.TensorSpec([None], tf.int32)
    ours = compiled(with_gradients(lambda *given: run(rnn, *given), [forward, backward]), *signature)
    theirs = with_gradients(lambda *given: run("dynamic", *given), [forward, backward])
    batch = tf.constant(INPUTS), tf.constant(LENGTHS)
    near(ours(*batch), theirs(*batch))


@pytest.mark.slow  # quick: the dynamic runner above
def test_steps_taken_together():
    cell = CELLS["lstm"](2)
    cell.build((None, 2))
    ours = with_gradients(lambda x, n: dynamic_rnn(cell, x, n, unroll_steps=2), [cell])
    theirs = with_gradients(lambda x, n: dynamic_rnn(cell, x, n), [cell])
    batch = tf.constant(INPUTS), tf.constant(LENGTHS)
    near(compiled(ours)(*batch), theirs(*batch))


@pytest.mark.parametrize(
    "rnn",
    [name if name == "packed" else pytest.param(name, marks=pytest.mark.slow) for name in EVERYWHERE],
)
def test_a_wrong_length_makes_nan_of_its_example(rnn):
    """XLA runs no assertion, so that a wrong length would give numbers."""
    cell = CELLS["gru"](2)
    run = compiled(lambda x, n: RNNS[rnn](cell, x, n))
    outputs, (state,) = run(tf.constant(INPUTS), tf.constant([9, 2, -1, 0]))
    expected, (end,) = dynamic_rnn(cell, INPUTS, [3, 2, 3, 0])
    for found, right in ((outputs, expected), (state, end)):
        assert np.isnan(found.numpy()[[0, 2]]).all()
        np.testing.assert_allclose(found.numpy()[[1, 3]], right.numpy()[[1, 3]], atol=1e-6)


def test_steps_that_a_mask_leaves_out_are_passed_over():
    layer = PackedRNN(CELLS["gru"](2), return_sequences=True)
    given = tf.constant(INPUTS[:2]), tf.constant([[True, False, True], [False, True, True]])
    outputs = compiled(lambda x, m: layer(x, mask=m))(*given)
    np.testing.assert_allclose(outputs, layer(given[0], mask=given[1]), atol=1e-6)
    assert not outputs.numpy()[[0, 1], [1, 0]].any()


class Sum(keras.layers.Layer):
    """State and output are the sum of two inputs so far."""

    state_size = output_size = 2

    def call(self, inputs, states):
        total = states[0] + inputs[0] + inputs[1]
        return total, [total]


def test_masks_of_nested_inputs_that_differ_make_nan_of_the_example():
    layer = PackedRNN(Sum())
    masks = [tf.constant([[True, True, True], [True, True, False]]), tf.ones([2, 3], "bool")]
    inputs = [tf.constant(INPUTS[:2])] * 2
    outputs = compiled(lambda x, m: layer(x, mask=m))(inputs, masks).numpy()
    assert np.isnan(outputs[1]).all()
    assert np.isfinite(outputs[0]).all()


@pytest.mark.parametrize("rnn", ["dynamic", "packed"])
def test_no_step_at_all(rnn):
    cell = CELLS["gru"](2)
    run = compiled(
        lambda x, n: RNNS[rnn](cell, x, n), tf.TensorSpec([2, None, 2]), tf.TensorSpec([2], tf.int32)
    )
    outputs, (state,) = run(tf.zeros([2, 0, 2]), tf.constant([0, 0]))
    assert outputs.shape == (2, 0, 2)
    np.testing.assert_array_equal(state, np.zeros([2, 2]))


@pytest.mark.parametrize("runner", [*EVERYWHERE.values(), fused_rnn], ids=[*EVERYWHERE, "fused"])
@pytest.mark.parametrize("name", ["lstm_block", "gru_block"])
def test_block_cells_are_refused(name, runner):
    if runner is fused_rnn and name == "gru_block":
        pytest.skip("has no op for all steps")
    with pytest.raises(ValueError, match=f'an op that XLA does not have, .*"{name.removesuffix("_block")}"'):
        traced(
            lambda: runner(
                WRAPPERS["multi"]([CELLS[name](2)]) if runner is not fused_rnn else CELLS[name](2), INPUTS
            )
        )


def test_cudnn_is_refused(monkeypatch):
    cell, other = CELLS["lstm"](2), CELLS["lstm"](2)
    cell.build((None, 2))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["a GPU, so to say"])
    for run in (
        lambda: RNNS["cudnn"](cell, INPUTS, LENGTHS),
        lambda: bidirectional_rnn(cell, other, INPUTS, rnn="cudnn"),
        lambda: RNNS["keras"](cell, INPUTS, use_cudnn=True),
    ):
        with pytest.raises(ValueError, match=r"inside an outer jit_compile, .* XLA does not have cuDNN's op"):
            traced(run)
    found = compiled(lambda: RNNS["keras"](cell, INPUTS, LENGTHS)[0])()
    np.testing.assert_allclose(found, dynamic_rnn(cell, INPUTS, LENGTHS)[0], atol=1e-6)


class Runs(keras.layers.Layer):
    """Anyone's layer around a runner, which Keras compiles unless it is told not to."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def build(self, shape):
        self.cell.build((None, shape[-1]))

    def call(self, inputs):
        return dynamic_rnn(self.cell, inputs, tf.constant([3, 1] * 2))[0][:, 0]


@pytest.mark.parametrize(
    ("make", "compiles"),
    [
        (lambda: PackedRNN(CELLS["lstm"](2)), False),
        pytest.param(lambda: keras.layers.RNN(CELLS["lstm_block"](2)), False, marks=pytest.mark.slow),
        pytest.param(lambda: Runs(CELLS["lstm"](2)), True, marks=pytest.mark.slow),
    ],
    ids=["packed", "block cell", "own layer"],
)
@pytest.mark.slow  # quick: the numbers under a jit
@pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`:UserWarning")
def test_a_keras_model_that_is_compiled(make, compiles):
    """It fits and predicts the same; where XLA cannot, Keras says so and goes on without."""

    def fitted(jit):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input([3, 2]), make()])
        model.compile("sgd", "mse", jit_compile=jit)
        losses = model.fit(INPUTS, np.ones([4, 2]), batch_size=4, epochs=2, verbose=0).history["loss"]
        return model.jit_compile, losses, model.predict(INPUTS, verbose=0)

    (told, losses, numbers), (_, right, expected) = fitted(True), fitted(False)
    assert told == compiles
    assert losses[1] < losses[0]
    np.testing.assert_allclose(losses, right, rtol=1e-5)
    np.testing.assert_allclose(numbers, expected, atol=1e-6)


CHILD = """
import numpy as np, tensorflow as tf
from workbench.cells import CELLS
from workbench.rnn import dynamic_rnn, packed_rnn
cell = CELLS["gru"](2)
x = tf.constant(np.random.default_rng(0).normal(size=(4, 3, 2)), tf.float32)
def run(rnn, n, **options):
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(tf.sin(rnn(cell, x, n, **options)[0]))
    return total, tape.gradient(total, x)
for kernel in ("xla", "plain", "autodiff"):
    clustered = tf.function(lambda n: run(packed_rnn, n, kernel=kernel), autograph=False)
    for lengths in ([3, 0, 1, 2], [1, 2, 3, 3], [0, 0, 0, 1]):
        for ours, theirs in zip(clustered(tf.constant(lengths)), run(dynamic_rnn, tf.constant(lengths))):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.slow
def test_automatic_clusters_leave_the_packing_alone():
    """TF_XLA_FLAGS is read once in a process."""
    run_alone(CHILD, TF_XLA_FLAGS="--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit")
