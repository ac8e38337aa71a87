"""On a GPU: every cell by every runner against a loop in float64 on the CPU. `make test-gpu`; skipped without one.

Tolerances, of the norm: float32 without TF32 2e-5, with TF32 (ten bits of a product's operands) 2e-2, bfloat16
5e-2. No GPU has seen these tests yet; where a tolerance is missed, the kernel is to be looked at first.
"""

import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS
from workbench.rnn import RNNS, cudnn, kernels_of, packed_rnn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU"),
]
NEAR = {"float32": 2e-5, "tf32": 2e-2, "mixed_bfloat16": 5e-2}
DRAW = np.random.default_rng(0)
LENGTHS = [40, 0, 17, 1, 40, 3]
INPUTS = DRAW.normal(size=(6, 41, 8))


def results(cell, runner, place, dtype, lengths=LENGTHS, **options):
    """Outputs, final states, and gradients of inputs and weights, as float64."""

    @tf.function(autograph=False)
    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, states = runner(cell, inputs, lengths, **options)
            flat = tf.nest.flatten([outputs, states])
            total = sum(tf.reduce_sum(tf.sin(tf.cast(x, tf.float32))) for x in flat)
        return [*flat, *tape.gradient(total, [inputs, *(v.value for v in cell.trainable_variables)])]

    with tf.device(place):
        return [np.asarray(tf.cast(x, tf.float64)) for x in run(tf.constant(INPUTS, dtype))]


def pair(name, dtype, **options):
    """The cell, and one of equal weights in float64."""
    ours, exact = (CELLS[name](32, dtype=one, **options) for one in (dtype, "float64"))
    for cell in (ours, exact):
        cell.build((None, INPUTS.shape[2]))
    exact.set_weights(ours.get_weights())
    return ours, exact


def hold(name, runner, near, dtype="float32", lengths=LENGTHS, options=None, **cell_options):
    ours, exact = pair(name, dtype, **cell_options)
    wanted = results(exact, RNNS["dynamic"], "/CPU:0", "float64", lengths)
    found = results(ours, runner, "/GPU:0", ours.compute_dtype, lengths, **(options or {}))
    for one, other in zip(found, wanted, strict=True):
        assert np.linalg.norm(one - other) <= near * max(1, np.linalg.norm(other))
    return ours


@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("lstm_block", "gru_block")])
def test_each_cell_packed(name):
    cell = hold(name, packed_rnn, NEAR["float32"])
    assert {choice.kernel for choice in kernels_of(cell)} == {"tiles"}


@pytest.mark.parametrize("rnn", ["dynamic", "static", "keras"])
@pytest.mark.parametrize("name", ["lstm", "gru", "ugrnn"])
def test_other_runners(name, rnn):
    hold(name, RNNS[rnn], NEAR["float32"])


@pytest.mark.parametrize("lengths", [LENGTHS, [41] * 6, [20] * 6], ids=["ragged", "full", "equal"])
@pytest.mark.parametrize(("name", "options"), [("lstm", {}), ("gru", {"reset_after": True})])
def test_cudnn_and_keras_on_it(name, options, lengths):
    hold(name, RNNS["cudnn"], NEAR["float32"], lengths=lengths, **options)
    cell = hold(name, RNNS["keras"], NEAR["float32"], lengths=lengths, options={"use_cudnn": True}, **options)
    assert "on cuDNN" in kernels_of(cell)[0].reason


@pytest.mark.parametrize("unroll_steps", [1, 4, 16])
def test_steps_a_turn(unroll_steps):
    hold("lstm", packed_rnn, NEAR["float32"], options={"unroll_steps": unroll_steps})


def test_halves_and_tf32():
    hold("lstm", packed_rnn, NEAR["mixed_bfloat16"], dtype="mixed_bfloat16")
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        hold("gru", packed_rnn, NEAR["tf32"])
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def test_the_same_bits_twice():
    cell, _ = pair("lstm", "float32")
    first, second = (results(cell, packed_rnn, "/GPU:0", "float32") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_call_that_is_placed_on_the_cpu_stays_there():
    cell, _ = pair("gru", "float32")
    results(cell, packed_rnn, "/CPU:0", "float32")
    assert {choice.kernel for choice in kernels_of(cell)} == {"xla"}


def test_the_machine_is_fit_for_cudnn():
    cudnn.check_machine()
