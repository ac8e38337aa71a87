"""The packed RNN by XLA, for a CPU and for a GPU, against other ways to the same numbers.

One compilation serves every test of a fixture.
"""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cells import CELLS, WRAPPERS
from workbench.masking import reverse_valid
from workbench.rnn import bidirectional_rnn, dynamic_rnn, kernels_of, packed_rnn, static_rnn
from workbench.rnn.packing.windows import windows_of

D, MOST = 3, 34  # not 32, for which the passes of any size of batch run: tests/rnn/test_loops.py
SIGNATURE = [
    tf.TensorSpec([None, None, D], tf.float64),
    tf.TensorSpec([None], tf.int32),
    [tf.TensorSpec([None, 4], tf.float64), tf.TensorSpec([None, 6], tf.float64)],
]


def cotangent(tensor, phase):
    """Weighs results by step and unit, so that no two weigh the same, whatever the batch and its padding."""
    steps = tf.range(tf.shape(tensor)[1] if tensor.shape.rank == 3 else 1)
    units = tf.range(tf.shape(tensor)[-1])
    weights = tf.cos(tf.cast(1 + steps[:, None] + 3 * units, tensor.dtype) + phase)
    return weights if tensor.shape.rank == 3 else weights[0]


class Runner:
    """Outputs, final states, and gradients of inputs, initial states and weights, in one traced function."""

    def __init__(self, rnn, cell, signature=SIGNATURE):
        self.rnn, self.cell = rnn, cell
        self.traced = tf.function(self.compute, input_signature=signature, autograph=False)

    def compute(self, inputs, lengths, states):
        with tf.GradientTape() as tape:
            tape.watch([inputs, states])
            outputs, final = self.rnn(self.cell, inputs, lengths, initial_state=states)
            results = [outputs, *final]
            total = tf.add_n([tf.reduce_sum(r * cotangent(r, i)) for i, r in enumerate(results)])
        variables = [v.value for v in self.cell.trainable_variables]
        return results, tape.gradient(total, [inputs, *states, *variables])

    def __call__(self, *batch):
        results, gradients = self.traced(*batch)
        return [np.asarray(t) for t in [*results, *gradients]]


def make_cell(dtype="float64", seed=0):
    """Everything at once: two products, small weights, clipping."""
    cell = CELLS["lstm"](6, use_peepholes=True, num_proj=4, proj_clip=0.4, cell_clip=0.8, dtype=dtype)
    cell.build((None, D))
    draw = np.random.default_rng(seed)
    for variable in cell.trainable_variables:
        variable.assign(draw.uniform(-0.7, 0.7, variable.shape))
    return cell


@pytest.fixture(scope="module")
def cell():
    return make_cell()


KERNELS = {"xla": {}, "tiles": {"unroll_steps": 1}}  # more steps a turn take XLA longer, and give the same


# quick for a GPU's: tests/rnn/test_tiles.py
@pytest.fixture(scope="module", params=["xla", pytest.param("tiles", marks=pytest.mark.slow)])
def packed(cell, request):
    options = {"kernel": request.param, "batch_size": MOST, **KERNELS[request.param]}
    return Runner(lambda *a, **k: packed_rnn(*a, **options, **k), cell)


@pytest.fixture(scope="module")
def dynamic(cell):
    return Runner(dynamic_rnn, cell)


def make_batch(lengths, padding=0, seed=0, content=np.nan, dtype="float64"):
    """Random inputs and initial states; whatever `content` in the padding."""
    draw = np.random.default_rng(seed)
    time = max([*lengths, 0]) + padding
    inputs = np.full((len(lengths), time, D), content)
    for row, length in enumerate(lengths):
        inputs[row, :length] = draw.normal(size=(length, D))
    states = [draw.normal(size=(len(lengths), n)) for n in (4, 6)]
    as_tensor = lambda a: tf.constant(a, dtype)  # noqa: E731
    return as_tensor(inputs), tf.constant(lengths, tf.int32), [*map(as_tensor, states)]


def same(ours, theirs, near=1e-12):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=near, atol=near)


def geometric(batch, seed=0, longest=70):
    return np.minimum(np.random.default_rng(seed).geometric(0.05, batch), longest).tolist()


EDGES = {
    "windows, several": geometric(32),
    "odd": geometric(19, 1),
    "one example": [5],
    "one step": [1],
    "all empty": [0, 0, 0],
    "no example": [],
    "some empty": [7, 0, 3, 0, 1],
    "all of one length": [6] * 31,
    "one far longer": [1] * 9 + [70],
}


@pytest.mark.parametrize("name", EDGES)
def test_equals_dynamic(packed, dynamic, name):
    batch = make_batch(EDGES[name], padding=1)
    same(packed(*batch), dynamic(*batch))


@pytest.mark.parametrize("kernel", ["plain", "autodiff", "masked"])
def test_kernels_that_compile_nothing_equal_dynamic(cell, dynamic, kernel):
    """Lengths that are not sorted: what goes into the packed order comes back in the batch's."""
    batch = make_batch(EDGES["some empty"], padding=1, content=0.0)
    same(Runner(lambda *a, **k: packed_rnn(*a, kernel=kernel, **k), cell)(*batch), dynamic(*batch))


def test_no_step_to_take(packed, dynamic):
    batch = make_batch([0, 0, 0])
    assert batch[0].shape == (3, 0, D)
    same(packed(*batch), dynamic(*batch))


def test_batches_of_all_sizes_take_one_trace(packed):
    for seed, size in enumerate([32, 31, 7, 1, 19]):
        packed(*make_batch(geometric(size, seed)))
    assert packed.traced.experimental_get_tracing_count() == 1


def test_equal_cells_share_what_is_compiled(cell):
    def windows(cell, loops=1):
        return windows_of(cell, cell.step_weights(), loops)

    assert windows(make_cell(seed=1)) is windows(cell)
    assert windows(cell, loops=2) is not windows(cell)
    other = CELLS["lstm"](6, use_peepholes=True, num_proj=4, proj_clip=0.4, cell_clip=0.7, dtype="float64")
    other.build((None, D))
    assert windows(other) is not windows(cell)


LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=9)
OF_EXAMPLES = slice(
    0, 6
)  # what a Runner gives for each example: outputs, states, and the gradients of both sides
OVER_TIME = (0, 3)  # outputs, and the gradient of inputs


@settings(deadline=None, max_examples=20)
@given(LENGTHS, st.integers(0, 4), st.sampled_from([np.nan, 1e30, 0.0]))
def test_padding_changes_nothing(packed, lengths, more, content):
    short = packed(*make_batch(lengths))
    long = packed(*make_batch(lengths, padding=more, content=content))
    for i in OVER_TIME:
        assert not np.any(long[i][:, max(lengths) :])
        long[i] = long[i][:, : max(lengths)]
    same(long, short)


@settings(deadline=None, max_examples=20)
@given(LENGTHS, st.randoms())
def test_the_order_of_examples_changes_nothing(packed, lengths, random):
    order = random.sample(range(len(lengths)), len(lengths))
    inputs, given_lengths, states = make_batch(lengths)
    turned = packed(
        tf.gather(inputs, order), tf.gather(given_lengths, order), [tf.gather(s, order) for s in states]
    )
    turned[OF_EXAMPLES] = [array[np.argsort(order)] for array in turned[OF_EXAMPLES]]
    same(turned, packed(inputs, given_lengths, states))


@settings(deadline=None, max_examples=10)
@given(LENGTHS)
def test_an_example_alone_is_the_same(packed, lengths):
    batch = make_batch(lengths)
    whole, alone = packed(*batch), []
    for row, length in enumerate(lengths):
        inputs, given_lengths, states = tf.nest.map_structure(lambda t, row=row: t[row : row + 1], batch)
        alone.append(packed(inputs[:, :length], given_lengths, states))
        for i in OVER_TIME:
            whole_of_row = whole[i][row]
            np.testing.assert_allclose(alone[-1][i][0], whole_of_row[:length], rtol=1e-12, atol=1e-12)
    for i in (1, 2, 4, 5):
        same([np.concatenate([run[i] for run in alone])], [whole[i]])
    same([np.sum(g, 0) for g in zip(*(run[6:] for run in alone), strict=True)], whole[6:])


@pytest.mark.slow  # quick: tests/rnn/test_lifetime.py
def test_outside_a_graph_it_is_the_same(packed, cell):
    inputs, lengths, states = batch = make_batch([2, 0, 5])
    outputs, _ = packed.rnn(cell, inputs, lengths, initial_state=states)
    same([outputs.numpy()], [packed(*batch)[0]])


def test_without_lengths_every_step_counts(cell, dynamic):
    inputs, lengths, states = make_batch([5] * 3)
    run = Runner(lambda cell, x, n, **k: packed_rnn(cell, x, kernel="plain", **k), cell)
    same(run(inputs, lengths, states), dynamic(inputs, lengths, states))


@pytest.mark.slow  # quick: tests/rnn/test_lengths.py
@pytest.mark.parametrize("kernel", [*KERNELS, "plain", "autodiff"])
def test_backwards_is_the_valid_part_reversed(cell, kernel):
    def turned(cell, inputs, lengths, initial_state):
        outputs, state = dynamic_rnn(
            cell, reverse_valid(inputs, lengths), lengths, initial_state=initial_state
        )
        return reverse_valid(outputs, lengths), state

    def ours(*given, **options):
        options |= {"kernel": kernel, "batch_size": MOST, "unroll_steps": 1}
        return packed_rnn(*given, go_backwards=True, **options)

    batch = make_batch([4, 0, 9, 2, 2], padding=2, content=0.0)
    same(Runner(ours, cell)(*batch), Runner(turned, cell)(*batch))


@pytest.mark.slow  # quick: tests/peers/test_arms.py
def test_float32_is_near_a_float64_loop(dynamic):
    single = make_cell("float32")
    signature = tf.nest.map_structure(
        lambda spec: spec if spec.dtype.is_integer else tf.TensorSpec(spec.shape, tf.float32), SIGNATURE
    )
    run = Runner(lambda *a, **k: packed_rnn(*a, kernel="xla", batch_size=8, **k), single, signature)
    lengths = [1] * 5 + [40, 3]
    found, wanted = run(*make_batch(lengths, dtype="float32")), dynamic(*make_batch(lengths))
    for one, other in zip(found, wanted, strict=True):
        assert np.max(np.abs(one - other)) < 2e-6 * max(1, np.max(np.abs(other)))


@pytest.mark.parametrize("kernel", ["plain", "autodiff"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_nothing_to_run_over(cell, kernel, shape):
    outputs, states = packed_rnn(cell, tf.zeros([*shape, D], tf.float64), kernel=kernel)
    assert outputs.shape == (*shape, 4)
    assert [state.shape for state in states] == [(shape[0], 4), (shape[0], 6)]
    assert not np.any(states[1])


@pytest.mark.parametrize(
    "make", [lambda: CELLS["lstm"](4), lambda: keras.layers.LSTMCell(4)], ids=["ours", "keras"]
)
@pytest.mark.parametrize(
    "run",
    [
        dynamic_rnn,
        static_rnn,
        *(partial(packed_rnn, kernel=kernel) for kernel in ("plain", "autodiff", "masked")),
    ],
    ids=["dynamic", "static", "plain", "autodiff", "masked"],
)
def test_no_step_gives_gradients_of_zeros_outside_a_graph(run, make):
    """And not None, of which an optimizer warns and an embedding below it is not trained."""
    cell, inputs = make(), tf.ones([2, 3, D])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, states = run(cell, inputs, tf.constant([0, 0]))
        total = tf.reduce_sum(outputs) + sum(map(tf.reduce_sum, tf.nest.flatten(states)))
    read = [inputs, *(variable.value for variable in cell.trainable_variables)]
    assert len(read) > 2
    for one, gradient in zip(read, tape.gradient(total, read), strict=True):
        assert gradient.shape == one.shape
        assert not np.any(gradient)


def test_halves_are_computed_in_float32():
    cell = CELLS["lstm"](6, dtype="float16")
    cell.build((None, D))
    inputs, lengths, _ = make_batch([3, 0, 2], dtype="float16")
    outputs, _ = tf.function(lambda: packed_rnn(cell, inputs, lengths), autograph=False)()
    whole = CELLS["lstm"](6)
    whole.build((None, D))
    whole.set_weights(cell.get_weights())
    assert outputs.dtype == tf.float16
    np.testing.assert_array_equal(outputs, tf.cast(dynamic_rnn(whole, inputs, lengths)[0], tf.float16))


class OnlyCall(keras.layers.SimpleRNNCell):
    """What a subclass does in its `call` nobody knows."""


@pytest.mark.slow  # quick: tests/rnn/test_lengths.py
def test_a_stack_runs_layer_by_layer_and_both_ways():
    """Three layers by three kernels; bidirectional, so that each direction's reversal is tested too."""

    def make():
        cells = [CELLS["gru"](4), OnlyCall(3), CELLS["basic_rnn"](3)]
        stack = WRAPPERS["multi"](cells)
        stack.build((None, D))
        return stack

    forward, backward = make(), make()
    inputs, lengths, _ = make_batch([4, 0, 6, 1], padding=1, dtype="float32")
    wanted = bidirectional_rnn(forward, backward, inputs, lengths, rnn="dynamic")
    found = bidirectional_rnn(forward, backward, inputs, lengths, rnn="packed")
    tf.nest.assert_same_structure(found, wanted)
    same(tf.nest.flatten(found), tf.nest.flatten(wanted), near=1e-6)
    assert {choice.kernel for choice in kernels_of(backward)} == {"plain", "autodiff"}


@pytest.mark.slow  # quick: tests/rnn/test_traced.py
def test_wrappers_act_for_all_steps_at_once():
    """Residual, and dropout of inputs and outputs by one mask a run, around a cell that runs by its own kernel."""

    def make():
        cell = CELLS["ugrnn"](D)
        inner = WRAPPERS["residual"](cell)
        options = {"input_keep_prob": 0.7, "output_keep_prob": 0.6, "variational": True, "seed": 3}
        outer = WRAPPERS["dropout"](inner, **options)
        outer.build((None, D))
        cell.set_weights(
            [np.linspace(-1, 1, v.size, dtype=v.dtype).reshape(v.shape) for v in cell.get_weights()]
        )
        return outer

    def gradients(rnn, cell, inputs, lengths):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, (state,) = rnn(cell, inputs, lengths, training=True)
            total = tf.reduce_sum(outputs * cotangent(outputs, 0)) + tf.reduce_sum(
                state * cotangent(state, 1)
            )
        variables = [v.value for v in cell.trainable_variables]
        return [outputs, state, *tape.gradient(total, [inputs, *variables])]

    inputs, lengths, _ = make_batch([4, 0, 6, 1], padding=1, dtype="float32")
    cell = make()
    found = tf.function(lambda: gradients(packed_rnn, cell, inputs, lengths), autograph=False)()
    same(found, gradients(dynamic_rnn, make(), inputs, lengths), near=1e-6)
    assert [choice.kernel for choice in kernels_of(cell)] == ["xla"]


def test_dropped_states_need_every_step():
    cell = WRAPPERS["dropout"](CELLS["ugrnn"](D), state_keep_prob=0.5)
    inputs, lengths, _ = make_batch([2, 1], dtype="float32")
    packed_rnn(cell, inputs, lengths, training=True)
    assert [choice.kernel for choice in kernels_of(cell)] == ["autodiff"]
