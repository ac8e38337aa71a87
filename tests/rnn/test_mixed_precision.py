"""Mixed precision: weights in float32, computed in a half, near what float32 gives; or refused in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS
from workbench.model import SequenceModel
from workbench.options.cell import LSTM
from workbench.options.model import Model
from workbench.options.rnn import Dynamic, Packed
from workbench.rnn import RNNS, PackedRNN, bidirectional_rnn, fused_rnn, kernels_of
from workbench.rnn.table import EVERYWHERE

LENGTHS = [6, 0, 3, 1]
INPUTS = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
for _row, _length in enumerate(LENGTHS):
    INPUTS[_row, _length:] = np.nan

PLAIN = {name: lambda dtype, make=make: make(5, dtype=dtype) for name, make in CELLS.items()}
BLOCKS = {"lstm_block": "float32 or float16", "gru_block": "float32"}
AROUND = {
    "multi": lambda dtype: WRAPPERS["multi"]([PLAIN["lstm"](dtype), PLAIN["gru"](dtype)]),
    "dropout": lambda dtype: WRAPPERS["dropout"](PLAIN["lstm"](dtype), state_keep_prob=0.5, seed=1),
    "residual": lambda dtype: WRAPPERS["residual"](CELLS["lstm"](3, dtype=dtype)),
    "attention": lambda dtype: WRAPPERS["attention"](PLAIN["lstm"](dtype), 3),
    "Keras' LSTM": lambda dtype: keras.layers.LSTMCell(5, dtype=dtype),
    "Keras' stack": lambda dtype: keras.layers.StackedRNNCells(
        [keras.layers.GRUCell(5, dtype=dtype), keras.layers.LSTMCell(4, dtype=dtype)], dtype=dtype
    ),
}
# What bfloat16 keeps is one part in 256. A normalisation divides by the spread of a few numbers that may be near
# each other, and its gradient does so again.
NEAR = {"layer_norm_lstm": (0.06, 0.2)}


def in_both(make, dtype):
    keras.utils.set_random_seed(1)
    full, half = make("float32"), make(dtype)
    for cell in (full, half):
        cell.build((None, 3))
    half.set_weights(full.get_weights())
    return full, half


def run(cell, runner, training=False, **options):
    """Outputs, final state, and gradients of a loss of both."""
    inputs = tf.constant(INPUTS)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, state = runner(cell, inputs, LENGTHS, training=training, **options)
        loss = sum(tf.reduce_sum(tf.cast(x, tf.float32) ** 2) for x in tf.nest.flatten([outputs, state]))
    return outputs, state, tape.gradient(loss, [inputs, *(v.value for v in cell.trainable_variables)])


def distance(found, expected):
    """Relative, of all numbers together."""
    found, expected = (
        np.concatenate([np.ravel(tf.cast(x, tf.float32)) for x in tf.nest.flatten(nest)])
        for nest in (found, expected)
    )
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def hold(make, runner, dtype="mixed_bfloat16", near=0.02, gradients_near=None, **options):
    full, half = in_both(make, dtype)
    expected, found = run(full, runner, **options), run(half, runner, **options)
    assert {x.dtype.name for x in tf.nest.flatten(found[:2])} == {half.compute_dtype}
    assert found[2][0].dtype == tf.float32
    assert {g.dtype for g in found[2][1:]} == {tf.as_dtype(half.variable_dtype)}
    assert distance(found[:2], expected[:2]) < near
    assert distance(found[2], expected[2]) < (gradients_near or near)
    assert distance(found[0], expected[0]) > 1e-4  # a half, indeed
    return half


@pytest.mark.covering(1)
@pytest.mark.parametrize("rnn", EVERYWHERE)
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_in_every_runner(name, rnn):
    if name in BLOCKS:
        with pytest.raises(ValueError, match=f"computes in {BLOCKS[name]} only, not in bfloat16"):
            PLAIN[name]("mixed_bfloat16")
        return
    near, gradients_near = NEAR.get(name, (0.02, 0.02))
    hold(PLAIN[name], RNNS[rnn], near=near, gradients_near=gradients_near)


@pytest.mark.parametrize(
    "name",
    [
        name if name == "gru" else pytest.param(name, marks=pytest.mark.slow)
        for name in CELLS
        if name not in BLOCKS
    ],
)
def test_all_in_bfloat16(name):
    """Weights too, whose start is float32's, rounded."""
    made = {}
    for dtype in ("float32", "bfloat16"):
        keras.utils.set_random_seed(1)
        made[dtype] = PLAIN[name](dtype)
        made[dtype].build((None, 3))
    for found, expected in zip(made["bfloat16"].weights, made["float32"].weights, strict=True):
        np.testing.assert_array_equal(
            tf.cast(found, tf.float32), tf.cast(tf.cast(expected, found.dtype), tf.float32)
        )
    near, gradients_near = NEAR.get(name, (0.05, 0.05))
    hold(PLAIN[name], RNNS["packed"], "bfloat16", near=near, gradients_near=gradients_near)


@pytest.mark.parametrize("name", [name for name in AROUND if "Keras" not in name])
def test_wrapped_in_bfloat16(name):
    hold(AROUND[name], RNNS["dynamic"], "bfloat16", near=0.1, training=name == "dropout")


def test_what_keras_cannot_start_in_bfloat16_is_refused():
    with pytest.raises(
        ValueError, match=r'LSTMCell .* cannot start in bfloat16: .* recurrent_initializer="glorot'
    ):
        RNNS["dynamic"](keras.layers.LSTMCell(5, dtype="bfloat16"), INPUTS)
    cell = keras.layers.LSTMCell(5, dtype="bfloat16", recurrent_initializer="glorot_uniform")
    assert RNNS["dynamic"](cell, INPUTS)[0].dtype == tf.bfloat16


@pytest.mark.covering(1)
@pytest.mark.parametrize("rnn", ["dynamic", "packed", "keras"])
@pytest.mark.parametrize("name", AROUND)
def test_wrapped_and_of_keras(name, rnn):
    hold(AROUND[name], RNNS[rnn], near=0.05, training=name == "dropout")


@pytest.mark.parametrize("runner", [RNNS["dynamic"], fused_rnn])
def test_the_block_cell_in_float16(runner):
    hold(PLAIN["lstm_block"], runner, "mixed_float16", near=0.003)


@pytest.mark.slow  # quick: the packed runner without XLA, above
def test_compiled():
    def on_the_cpu(*args, **kwargs):
        with tf.device("/CPU:0"):
            return RNNS["packed"](*args, **kwargs)

    half = hold(PLAIN["coupled_lstm"], tf.function(on_the_cpu, autograph=False))
    assert kernels_of(half)[-1].kernel == "xla"


@pytest.mark.parametrize("rnn", EVERYWHERE)
def test_a_state_goes_back_in(rnn):
    """What came out as bfloat16 is taken as initial state, and gives what the whole run gives."""
    _, cell = in_both(PLAIN["gru"], "mixed_bfloat16")
    inputs = np.nan_to_num(INPUTS)
    outputs, state = RNNS[rnn](cell, inputs)
    first, middle = RNNS[rnn](cell, inputs[:, :2])
    rest, end = RNNS[rnn](cell, inputs[:, 2:], initial_state=middle)
    assert distance(tf.concat([first, rest], 1), outputs) < 0.005
    assert distance(end, state) < 0.005


def test_both_ways_and_as_a_layer():
    cells = [in_both(PLAIN["gru"], "mixed_bfloat16")[1] for _ in range(2)]
    outputs, _ = bidirectional_rnn(*cells, INPUTS, LENGTHS)
    packed, _ = bidirectional_rnn(*cells, INPUTS, LENGTHS, rnn="packed")
    layer = PackedRNN(cells[0], return_sequences=True)
    assert layer.compute_dtype == "bfloat16"
    alone = layer(INPUTS, sequence_length=LENGTHS)
    assert {x.dtype for x in (*outputs, *packed, alone)} == {tf.bfloat16}
    assert distance(packed, outputs) < 0.02
    assert distance(alone, outputs[0]) < 0.02


@pytest.mark.parametrize(
    ("rnn", "options"),
    [(Dynamic(), {}), (Packed(direction="both"), {}), (Dynamic(), {"layers": 2, "dropout": 0.1})],
)
def test_a_model(rnn, options, tmp_path):
    """Logits of the weights' dtype, near float32's; saved and loaded, the same."""
    full, half = (
        SequenceModel(
            LSTM(units=5),
            rnn,
            Model(embedding_size=4, dtype=dtype, **options),
            task="tag",
            classes=3,
            vocabulary_size=7,
        )
        for dtype in ("float32", "mixed_bfloat16")
    )
    batch = {"inputs": tf.constant([[1, 2, 6, 3], [4, 0, 0, 0]]), "length": tf.constant([4, 1])}
    logits = half(batch)
    assert logits.dtype == tf.float32
    assert {v.dtype for v in half.trainable_variables} == {"float32"}
    assert 1e-4 < distance(logits, full(batch)) < 0.02
    half.save(tmp_path / "half.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "half.keras")(batch), logits)
