import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, load_tf1_weights, tf1_variables
from workbench.cells.wrappers import AttentionWrapper, DropoutWrapper, MultiRNNCell, ResidualWrapper
from workbench.rnn import RNNS, PackedRNN, dynamic_rnn
from workbench.rnn.table import EVERYWHERE

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(3, 6, 4)).astype("float32")
LENGTHS = [6, 0, 4]


def lstm(units=4, **options):
    return CELLS["lstm"](units, **options)


class Copy(keras.layers.Layer):
    """Puts out its inputs and keeps them: shows what a wrapper did to either."""

    state_size = output_size = 400

    def call(self, inputs, states):
        return inputs, [inputs]


ONES = np.ones((2, 5, 400), "float32")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (CELLS["lstm"], r"needs a cell, not the class LSTMCell: make one, LSTMCell\(units\)"),
        (keras.layers.GRU(3), "needs a cell, not the layer GRU: give it layer.cell"),
        ("lstm", r"needs a cell with Keras' cell contract \(call, state_size\), not 'lstm'"),
        (keras.layers.Dense(3), "needs a cell with Keras' cell contract"),
    ],
    ids=["class", "layer", "name", "no cell"],
)
@pytest.mark.parametrize(
    "around",
    [
        lambda cell: MultiRNNCell([cell]),
        ResidualWrapper,
        DropoutWrapper,
        lambda cell: AttentionWrapper(cell, 2),
        PackedRNN,
        *(lambda cell, run=run: run(cell, INPUTS) for run in EVERYWHERE.values()),
    ],
    ids=["multi", "residual", "dropout", "attention", "layer", *EVERYWHERE],
)
def test_what_is_no_cell_is_refused(around, wrong, words):
    with pytest.raises(TypeError, match=words):
        around(wrong)


def test_dtypes_that_differ_inside_a_cell_are_refused():
    with pytest.raises(
        ValueError, match="MultiRNNCell computes in float32, but LSTMCell up in it in float64: make"
    ):
        MultiRNNCell([lstm(), lstm(dtype="float64", name="up")])
    with pytest.raises(
        ValueError, match=r"ResidualWrapper computes in float64, but LSTMCell .* in it in float32"
    ):
        ResidualWrapper(lstm(), dtype="float64")
    assert MultiRNNCell([lstm(dtype="mixed_bfloat16"), lstm(dtype="bfloat16")]).compute_dtype == "bfloat16"


class TestMulti:
    def test_a_cell_for_a_list(self):
        with pytest.raises(TypeError, match="cells must be a list of cells, not <LSTMCell"):
            MultiRNNCell(lstm())

    def test_one_cell_in_two_layers_is_refused_and_explained(self):
        with pytest.raises(ValueError, match=r"more than once \(4 layers, 1 cells\), as \[cell\] \* 4 does"):
            MultiRNNCell([lstm()] * 4)
        shared = lstm()
        with pytest.raises(ValueError, match="make one for each layer"):
            MultiRNNCell([DropoutWrapper(shared), ResidualWrapper(shared)])

    def test_sharing_can_be_asked_for_and_is_kept_when_saved(self):
        cell = MultiRNNCell([lstm()] * 3, share_weights=True)
        outputs, states = dynamic_rnn(cell, INPUTS, LENGTHS)
        assert len(cell.weights) == 3
        one = cell.cells[0]
        expected = INPUTS
        for _ in range(3):
            expected, state = dynamic_rnn(one, expected, LENGTHS)
        np.testing.assert_allclose(outputs, expected, atol=1e-6)
        np.testing.assert_allclose(states[2][1], state[1], atol=1e-6)
        again = MultiRNNCell.from_config(cell.get_config())
        assert again.cells[0] is again.cells[1] is again.cells[2]

    def test_shared_cells_need_inputs_of_one_size(self):
        cell = MultiRNNCell([lstm(5)] * 2, share_weights=True)
        with pytest.raises(ValueError, match="one gets 4 and another 5"):
            cell.build((None, 4))

    def test_an_empty_stack_is_refused(self):
        with pytest.raises(ValueError, match="cells is empty"):
            MultiRNNCell([])

    def test_it_is_keras_stacked_cells(self):
        ours = MultiRNNCell([lstm(3, forget_bias=0.0), CELLS["gru"](5)])
        theirs = keras.layers.StackedRNNCells(
            [keras.layers.LSTMCell(3), keras.layers.GRUCell(5, reset_after=False)]
        )
        for cell in (ours, theirs):
            cell.build((None, 4))
        ours.set_weights(theirs.get_weights())
        expected = keras.layers.RNN(theirs, return_sequences=True)(INPUTS)
        np.testing.assert_allclose(dynamic_rnn(ours, INPUTS)[0], expected, atol=1e-6)

    def test_ten_layers_and_more_are_told_apart_in_a_checkpoint(self):
        stack = MultiRNNCell([CELLS["basic_rnn"](2, bias_initializer="ones") for _ in range(12)])
        stack.build((None, 2))
        names = [
            f"rnn/multi_rnn_cell/cell_{i}/basic_rnn_cell/{v}" for i in range(12) for v in ("kernel", "bias")
        ]
        variables = tf1_variables(stack, names)
        variables = {name: RANDOM.normal(size=value.shape) for name, value in variables.items()}
        load_tf1_weights(stack, variables)
        for i in (1, 10, 11):
            bias = variables[f"rnn/multi_rnn_cell/cell_{i}/basic_rnn_cell/bias"]
            np.testing.assert_allclose(stack.cells[i].bias, bias, rtol=1e-6)


@pytest.mark.slow  # quick: the wrappers' numbers
def test_the_guides_own_composition_trains():
    """LSTM of 64 in dropout of 0.5, four layers: with four cells, where the guide has one four times."""
    keras.utils.set_random_seed(0)
    cell = MultiRNNCell([DropoutWrapper(lstm(64), output_keep_prob=0.5) for _ in range(4)])
    dense = keras.layers.Dense(1)
    optimizer = keras.optimizers.Adam(0.01)
    cell.build((None, 4))
    dense.build((None, 64))
    variables = [*cell.trainable_variables, *dense.trainable_variables]
    optimizer.build(variables)
    targets = np.cumsum(INPUTS.sum(-1), 1)[..., np.newaxis]

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            outputs, _ = dynamic_rnn(cell, INPUTS, LENGTHS, training=True)
            loss = tf.reduce_mean(
                (dense(outputs) - targets) ** 2 * tf.sequence_mask(LENGTHS, 6, tf.float32)[..., None]
            )
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    losses = [float(step()) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


# Keras' layer cannot say where a run begins: variational dropout is refused there, see tests/rnn/test_keras_rnn.py
KNOWS_RUNS = [name for name in EVERYWHERE if name != "keras"]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("rnn", KNOWS_RUNS)
def test_variational_masks_stay_for_a_run_and_change_between_runs(rnn, graph):
    cell = DropoutWrapper(
        Copy(), input_keep_prob=0.5, state_keep_prob=0.7, output_keep_prob=0.5, variational=True
    )
    cell.build((None, 400))
    run = lambda: RNNS[rnn](cell, ONES, training=True)[0]  # noqa: E731
    run = tf.function(run, autograph=False) if graph else run
    first, second = run().numpy(), run().numpy()
    for outputs in (first, second):
        assert len({row.tobytes() for row in outputs.reshape(-1, 400)}) == 1
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("rnn", "variational"), [*((rnn, False) for rnn in EVERYWHERE), *((rnn, True) for rnn in KNOWS_RUNS)]
)
def test_a_seed_repeats_the_masks(rnn, variational):
    def run(seed):
        cell = DropoutWrapper(Copy(), output_keep_prob=0.5, variational=variational, seed=seed)
        return RNNS[rnn](cell, ONES, training=True)[0].numpy()

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


@pytest.mark.parametrize("rnn", EVERYWHERE)
class TestDropout:
    def test_nothing_is_dropped_in_inference(self, rnn):
        cell = DropoutWrapper(Copy(), input_keep_prob=0.5, state_keep_prob=0.5, output_keep_prob=0.5)
        outputs, state = RNNS[rnn](cell, ONES)
        assert np.all(outputs == 1)
        assert np.all(state[0] == 1)

    @pytest.mark.parametrize(
        ("where", "output", "state"), [("input", 1, 1), ("output", 1, 0), ("state", 0, 1)]
    )
    def test_each_probability_acts_where_it_should_and_keeps_the_mean(self, rnn, where, output, state):
        cell = DropoutWrapper(Copy(), **{f"{where}_keep_prob": 0.8}, seed=1)
        outputs, states = RNNS[rnn](cell, ONES, training=True)
        for tensor, dropped in ((outputs, output), (states[0], state)):
            values = set(np.unique(tensor))
            assert values == ({0, np.float32(1 / 0.8)} if dropped else {1})
            assert np.mean(tensor) == pytest.approx(1, abs=0.06)

    def test_masks_are_drawn_anew_at_each_step_and_for_each_example(self, rnn):
        outputs = RNNS[rnn](DropoutWrapper(Copy(), output_keep_prob=0.5), ONES, training=True)[0].numpy()
        rows = outputs.reshape(-1, 400)
        assert len({row.tobytes() for row in rows}) == len(rows)

    def test_an_lstms_memory_is_never_dropped(self, rnn):
        for inner in (lstm(), keras.layers.LSTMCell(4), ResidualWrapper(lstm())):
            cell = DropoutWrapper(inner, state_keep_prob=1e-6)
            _, (h, c) = RNNS[rnn](cell, INPUTS[:, :1], training=True)
            assert not np.any(h)
            assert np.any(c)

    def test_nor_is_that_of_an_lstm_further_inside(self, rnn):
        inner = MultiRNNCell([CELLS["gru"](4), keras.layers.LSTMCell(4), AttentionWrapper(lstm(), 2)])
        cell = DropoutWrapper(inner, state_keep_prob=1e-6)
        _, (gru, of_keras, (ours, *attention)) = RNNS[rnn](cell, INPUTS[:, :1], training=True)
        for dropped in (gru[0], of_keras[0], ours[0], *attention):
            assert not np.any(dropped)
        assert np.all(of_keras[1])
        assert np.all(ours[1])

    def test_gradients_pass_through_what_is_kept(self, rnn):
        inputs = tf.constant(ONES)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, _ = RNNS[rnn](DropoutWrapper(Copy(), output_keep_prob=0.5), inputs, training=True)
            loss = tf.reduce_sum(outputs)
        np.testing.assert_array_equal(tape.gradient(loss, inputs), outputs)


@pytest.mark.parametrize("value", [0, -0.5, 1.5, True, "half"])
@pytest.mark.parametrize("name", ["input", "state", "output"])
def test_keep_probabilities_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name}_keep_prob must be over 0 and at most 1, not {value!r}"):
        DropoutWrapper(lstm(), **{f"{name}_keep_prob": value})


def test_variational_dropout_is_refused_where_no_run_can_be_told():
    inner = DropoutWrapper(lstm(), output_keep_prob=0.5, variational=True)
    for cell in (inner, MultiRNNCell([inner]), ResidualWrapper(inner)):
        layer = keras.layers.RNN(cell)
        layer(INPUTS)  # not in training: nothing is drawn
        with pytest.raises(NotImplementedError, match=r"use a runner of workbench.rnn.RNNS"):
            layer(INPUTS, training=True)


def test_plain_dropout_works_in_keras_rnn():
    layer = keras.layers.RNN(DropoutWrapper(Copy(), output_keep_prob=0.5), return_sequences=True)
    values = set(np.unique(layer(ONES, training=True)))
    assert values == {0, 2}


def test_layer_norm_lstm_drops_only_in_training():
    cell = CELLS["layer_norm_lstm"](8, dropout_keep_prob=0.5, seed=1)
    assert cell.has_step(training=False)
    assert not cell.has_step(training=True)
    still = [dynamic_rnn(cell, INPUTS)[0].numpy() for _ in range(2)]
    moving = [dynamic_rnn(cell, INPUTS, training=True)[0].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*still)
    assert not np.array_equal(*moving)


class TestResidual:
    def test_adds_inputs(self):
        inner = lstm()
        outputs, _ = dynamic_rnn(ResidualWrapper(inner), INPUTS)
        # absolute too: where the sum is near 0, an ulp of what is added is more than 1e-6 of it
        np.testing.assert_allclose(outputs, INPUTS + dynamic_rnn(inner, INPUTS)[0], rtol=1e-6, atol=1e-7)

    def test_sizes_must_be_equal(self):
        with pytest.raises(ValueError, match=r"inputs have 4 numbers and the outputs of LSTMCell 5"):
            dynamic_rnn(ResidualWrapper(lstm(5)), INPUTS)


class TestAttention:
    def test_by_hand(self):
        """The equations in plain NumPy, over a cell that copies."""

        class Same(keras.layers.Layer):
            state_size = output_size = 4

            def call(self, inputs, states):
                return inputs, [inputs]

        cell = AttentionWrapper(Same(dtype="float64"), 2, attn_size=3, attn_vec_size=5)
        cell.build((None, 4))
        cell.set_weights([RANDOM.normal(size=w.shape) for w in cell.get_weights()])
        outputs, states = dynamic_rnn(cell, INPUTS.astype("float64"))
        w = {v.name: np.asarray(v.value) for v in cell.weights}
        for row in range(3):
            attended, past = np.zeros(3), np.zeros((2, 3))
            for t in range(6):
                y = np.concatenate([INPUTS[row, t], attended]) @ w["input_kernel"] + w["input_bias"]
                query = y @ w["query_kernel_0"] + w["query_bias"]
                scores = np.array([w["score_vector"] @ np.tanh(p @ w["past_kernel"] + query) for p in past])
                weight = np.exp(scores) / np.exp(scores).sum()
                attended = weight @ past
                output = np.concatenate([y, attended]) @ w["output_kernel"] + w["output_bias"]
                past = np.stack([past[1], output])
                np.testing.assert_allclose(outputs[row, t], output, rtol=1e-9)
            np.testing.assert_allclose(states[2][row], past.ravel(), rtol=1e-9)

    def test_length_is_checked(self):
        with pytest.raises(ValueError, match="attn_length must be a positive integer, not 0"):
            AttentionWrapper(lstm(), 0)


def test_wrappers_take_the_wrapped_cells_dtype():
    for name, kind in WRAPPERS.items():
        inner = lstm(dtype="float64")
        cell = {"multi": lambda k, i: k([i]), "attention": lambda k, i: k(i, 2)}.get(name, lambda k, i: k(i))(
            kind, inner
        )
        assert dynamic_rnn(cell, INPUTS)[0].dtype == tf.float64
