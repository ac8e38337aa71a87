"""Inside tf.vectorized_map, so in Keras' TimeDistributed of an unknown number of steps: a Python loop's numbers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS
from workbench.rnn import RNNS, PackedRNN, fused_rnn, packed_rnn
from workbench.rnn.table import EVERYWHERE

RANDOM = np.random.default_rng(0)
INPUTS = tf.constant(RANDOM.normal(size=(2, 3, 4, 4)), tf.float64)  # of two calls, [B, T, D] each
LENGTHS = tf.constant([[4, 1, 0], [2, 0, 1]])  # their longest differ

pytestmark = [
    pytest.mark.usefixtures("in_float64"),
    # Keras' own conversion of a variable to an array, with NumPy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def lstm():
    return CELLS["lstm"](4)


BLOCKS = ("lstm_block", "gru_block")
OTHERS = {
    "multi": lambda: WRAPPERS["multi"]([lstm(), CELLS["gru"](3)]),
    "residual": lambda: WRAPPERS["residual"](lstm()),
    "dropout": lambda: WRAPPERS["dropout"](lstm(), output_keep_prob=0.5),
    "attention": lambda: WRAPPERS["attention"](lstm(), 2),
    "keras": lambda: keras.layers.GRUCell(4),
}
MADE = {name: lambda name=name: CELLS[name](4) for name in CELLS if name not in BLOCKS} | OTHERS
# Each cell in one runner, by turns: what a runner does with a cell does not depend on the map.
PAIRS = list(zip(MADE, itertools.cycle(EVERYWHERE), strict=False))


def found(outputs_of, sources):
    """Outputs, and gradients of the sources."""
    with tf.GradientTape() as tape:
        tape.watch(INPUTS)
        outputs = outputs_of()
        loss = tf.add_n([tf.reduce_sum(one**2) for one in tf.nest.flatten(outputs)])
    slopes = tape.gradient(loss, sources)
    return [np.asarray(tf.convert_to_tensor(one)) for one in (*tf.nest.flatten(outputs), *slopes)]


def near(ours, expected):
    for one, right in zip(ours, expected, strict=True):
        assert np.abs(right).max() > 0
        np.testing.assert_allclose(one, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "rnn"),
    [
        PAIRS[0],
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS[1:]),
    ],
)
def test_a_map_gives_a_loops_numbers_and_gradients(name, rnn):
    cell = MADE[name]()

    def run(given):
        return RNNS[rnn](cell, *given)

    def loop():
        calls = [run((x, n)) for x, n in zip(tf.unstack(INPUTS), tf.unstack(LENGTHS), strict=True)]
        return tf.nest.map_structure(lambda *one: tf.stack(one), *calls)

    run((INPUTS[0], LENGTHS[0]))
    sources = [INPUTS, *cell.trainable_weights]
    near(found(lambda: tf.vectorized_map(run, (INPUTS, LENGTHS)), sources), found(loop, sources))


@pytest.mark.slow  # quick: a map gives a loop's numbers
def test_a_function_inside_a_map_keeps_its_gradient():
    """Its graph has no scope of the map's name, but lies in one that has."""
    cell = lstm()
    cell.build((None, 4))
    run = tf.function(lambda x: packed_rnn(cell, x)[0])
    near(
        found(lambda: tf.vectorized_map(run, INPUTS), [INPUTS]),
        found(
            lambda: tf.stack([packed_rnn(cell, x, kernel="plain")[0] for x in tf.unstack(INPUTS)]), [INPUTS]
        ),
    )


@pytest.mark.slow
def test_a_gradient_lost_on_the_way_into_a_map_is_refused():
    """The function was traced outside, for a kernel with a gradient of its own."""
    cell = lstm()
    run = tf.function(lambda x: packed_rnn(cell, x, kernel="plain")[0])
    run(INPUTS[0])
    with (
        tf.GradientTape() as tape,
        pytest.raises(LookupError, match=r'own gradient was lost: .* Take kernel="masked"'),
    ):
        tape.gradient(tf.vectorized_map(run, INPUTS), cell.trainable_weights)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_cells_say_that_a_map_loses_their_gradient(name):
    cell = CELLS[name](4, name="mine", dtype="float32")
    inputs = tf.cast(INPUTS, tf.float32)
    runners = [*(RNNS[rnn] for rnn in EVERYWHERE), *([fused_rnn] if name == "lstm_block" else [])]
    for run in runners:
        with pytest.raises(
            ValueError, match=rf'Cell mine is an op .* would lose .* use cell "{name.removesuffix("_block")}"'
        ):
            tf.vectorized_map(lambda given, run=run: run(cell, *given), (inputs, LENGTHS))


@pytest.mark.slow  # quick: a map
@pytest.mark.parametrize("sequences", [False, True])
def test_time_distributed_of_unknown_steps_in_a_graph(sequences):
    """Where steps are known, as in a call outside a graph, Keras takes a loop.

    Keras 3 maps over as many steps as there are documents, so here are as many.
    """
    documents = keras.Input([None, None], dtype="int32")
    embedding = keras.layers.Embedding(9, 4, mask_zero=True)
    rnn = PackedRNN(lstm(), return_sequences=sequences)
    model = keras.Model(documents, keras.layers.TimeDistributed(rnn)(embedding(documents)))
    ids = tf.constant([[[1, 2, 3], [4, 0, 0]], [[5, 6, 0], [0, 0, 0]]])
    graph = tf.function(model, input_signature=[tf.TensorSpec([None, None, None], tf.int32)])
    near(*(found(lambda run=run: run(ids), model.trainable_weights) for run in (graph, model)))
