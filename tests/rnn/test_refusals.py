"""What a runner is given and its cell cannot take: one ValueError that names it, by every runner."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS
from workbench.rnn import (
    RNNS,
    PackedRNN,
    backward_rnn,
    bidirectional_rnn,
    cudnn,
    fused_rnn,
    stacked_bidirectional_rnn,
)
from workbench.rnn.table import EVERYWHERE

INPUTS = np.ones((3, 4, 2), "float32")
H = np.ones((3, 5), "float32")


def make(name="lstm"):
    return CELLS[name](5)


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch):
    """cuDNN's runner checks what it is given after the machine, and before its op."""
    monkeypatch.setattr(cudnn, "check_machine", lambda **_: None)


def by_layer(cell, inputs, lengths=None, **options):
    return PackedRNN(cell)(inputs, sequence_length=lengths, **options)


def one_way(way, rnn, cell, inputs, lengths=None, *, initial_state):
    cells = (cell, make()) if way == "fw" else (make(), cell)
    return bidirectional_rnn(*cells, inputs, lengths, rnn=rnn, **{f"initial_state_{way}": initial_state})


def second_layer(rnn, cell, inputs, lengths=None, *, initial_state):
    states, cells = [None, initial_state], ([make(), cell], [make(), make()])
    return stacked_bidirectional_rnn(*cells, inputs, lengths, rnn=rnn, initial_states_fw=states)


RUNNERS = RNNS | {"layer": by_layer, "fused": fused_rnn}
NAMED = {name: (run, "initial_state") for name, run in RUNNERS.items()} | {
    "forward": (functools.partial(one_way, "fw", "dynamic"), "initial_state_fw"),
    "backward": (functools.partial(one_way, "bw", "packed"), "initial_state_bw"),
    "cudnn both ways": (functools.partial(one_way, "bw", "cudnn"), "initial_state_bw"),
    "stacked": (functools.partial(second_layer, "dynamic"), r"initial_states_fw\[1\]"),
    "cudnn stacked": (functools.partial(second_layer, "cudnn"), r"initial_states_fw\[1\]"),
}
STARTS = r"but LSTM(Block)?Cell starts from \[float32 \[3, 5\], float32 \[3, 5\]\]"
RIGHT = r"and \[float32 \[3, 5\], float32 \[3, 5\]\] is right"


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(
    ("state", "message"),
    [
        (H, rf"is float32 \[3, 5\], {STARTS}"),
        ([H], rf"is \[float32 \[3, 5\]\], {STARTS}"),
        ({"h": H, "c": H}, rf"is {{'h': float32 \[3, 5\], 'c': float32 \[3, 5\]}}, {STARTS}"),
        ([H, [H, H]], rf".*, {STARTS}"),
        ([H, H[:2]], rf"has float32 \[2, 5\] where LSTM(Block)?Cell has float32 \[3, 5\]: .*{RIGHT}"),
        ([H[:1], H], r"has float32 \[1, 5\] where"),
        ([H[:, :4], H], r"has float32 \[3, 4\] where"),
        (
            [H, H.astype("int64")],
            rf"has int64 \[3, 5\] where LSTM(Block)?Cell has float32 \[3, 5\]: .*{RIGHT}",
        ),
    ],
)
def test_an_initial_state_that_is_none_of_the_cells(name, state, message):
    run, argument = NAMED[name]
    begin = (
        r"\A(Exception encountered when calling PackedRNN.call\(\)\.\s+\S*?)?" if name == "layer" else r"\A"
    )
    with pytest.raises(ValueError, match=f"{begin}{argument} {message}"):
        run(make("lstm_block" if name == "fused" else "lstm"), INPUTS, [4, 0, 2], initial_state=state)


@pytest.mark.parametrize("rnn", EVERYWHERE)
def test_states_of_a_stack_are_named_with_their_nest(rnn):
    stack = WRAPPERS["multi"]([make(), make("gru")])
    with pytest.raises(ValueError, match=r"starts from \[\[float32 \[3, 5\], float32 \[3, 5\]\], \[float32"):
        RNNS[rnn](stack, INPUTS, initial_state=[H, H, H])


@pytest.mark.parametrize("rnn", EVERYWHERE)
def test_states_come_as_tuples_and_in_another_width(rnn):
    states = (np.full((3, 5), 0.5), np.full((3, 5), 0.25))
    _, final = RNNS[rnn](make(), INPUTS, [0, 0, 0], initial_state=states)
    assert [state.dtype for state in final] == [tf.float32] * 2
    np.testing.assert_array_equal(final, np.float32(states))


@pytest.mark.parametrize(
    "rnn",
    [name if name == "dynamic" else pytest.param(name, marks=pytest.mark.slow) for name in EVERYWHERE],
)
def test_a_state_or_lengths_of_another_batch_in_a_graph(rnn):
    """One row would be used for every example, in silence."""
    cell = make("gru")
    cell.build((None, 2))
    signature = [tf.TensorSpec([None, 4, 2]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 5])]
    run = tf.function(
        lambda x, n, h: RNNS[rnn](cell, x, n, initial_state=[h])[0],
        input_signature=signature,
        autograph=False,
    )
    assert run(INPUTS, [4, 0, 2], H).shape == (3, 4, 5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="initial_state must have one row for each"):
        run(INPUTS, [4, 0, 2], H[:1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="sequence_length must be one length for each"):
        run(INPUTS, [4], H)


NESTED = {"keras": "inputs are nested, but Keras' RNN layers take one tensor"}


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS.astype("int32"), r"inputs of LSTMBlockCell must be floating, not int32: embed ids first"),
        (INPUTS[..., 0], r"inputs of LSTMBlockCell are one tensor \[B, T, D\], not \(3, 4\)"),
        (INPUTS[0, 0], r"inputs must be \[B, T, ...\], not of shape \(2,\)"),
        (tf.RaggedTensor.from_tensor(INPUTS), r"inputs are ragged: pass inputs.to_tensor\(\) with"),
        (tf.sparse.from_dense(INPUTS), "inputs must be tensors, not SparseTensor"),
    ],
)
def test_inputs_that_the_cell_does_not_take(name, inputs, message):
    with pytest.raises(ValueError, match=message):
        RUNNERS[name](make("lstm_block"), inputs, [4, 0, 2])


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": INPUTS, "b": INPUTS}, r"one tensor \[B, T, D\], not \(3, 4, 2\), \(3, 4, 2\)"),
        (
            {"a": INPUTS, "b": INPUTS[:2]},
            r"inputs must be of one batch and one T, .* \(3, 4\) and .* \(2, 4\)",
        ),
        ([[[1.0, 2.0]]] * 3, "inputs are numbers in Python lists"),
        ({}, r"inputs must be \[B, T, ...\], a tensor or a nest of such, not {}"),
    ],
)
def test_nests_that_the_cell_does_not_take(name, inputs, message):
    if name == "layer" and (not inputs or isinstance(inputs, list)):
        pytest.skip("Keras makes a tensor of it")
    with pytest.raises(ValueError, match=NESTED.get(name, message)):
        RUNNERS[name](make("lstm_block"), inputs, [4, 0, 2])


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([4, 0], r"one length for each example, \[3\], not \(2,\)"),
        (3, r"one length for each example, \[3\], not \(\)"),
        ([[4], [0], [2]], r"one length for each example, \[3\], not \(3, 1\)"),
        ([4.0, 0.0, 2.0], "integers, not float32: cast them"),
        ([True, False, True], "integers, not bool: cast them"),
    ],
)
def test_lengths_that_are_none(name, lengths, message):
    with pytest.raises(ValueError, match=f"sequence_length must be {message}"):
        RUNNERS[name](make("lstm_block"), INPUTS, lengths)


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("wrong", [5, -1])
def test_lengths_that_the_inputs_do_not_have(name, wrong):
    with pytest.raises(
        ValueError, match=rf"sequence_length has {wrong}, but the inputs have T=4 steps: 0 to T"
    ):
        RUNNERS[name](make("lstm_block"), INPUTS, [4, wrong, 2])


@pytest.mark.parametrize("name", RUNNERS)
def test_inputs_of_a_size_that_is_not_known(name):
    run = tf.function(
        lambda x: RUNNERS[name](make("lstm_block"), x),
        input_signature=[tf.TensorSpec([3, 4, None])],
        autograph=False,
    )
    with pytest.raises(ValueError, match=r"inputs of LSTMBlockCell are \(3, 4, None\): D must be known"):
        run(INPUTS)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_symbolic_inputs(name):
    with pytest.raises(ValueError, match=r"inputs are symbolic, .* use the layer workbench.rnn.PackedRNN"):
        RNNS[name](make(), keras.Input([4, 2]))


@pytest.mark.parametrize("name", ["static", "dynamic", "packed"])
def test_inputs_of_another_size_than_the_cell_was_built_for(name):
    cell = make()
    cell.build((None, 7))
    with pytest.raises(ValueError, match="inputs have 2 features, but the cell was built for 7"):
        RNNS[name](cell, INPUTS)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_keras_cells_take_no_ids_either(name):
    with pytest.raises(ValueError, match="inputs of GRUCell must be floating, not int64"):
        RNNS[name](keras.layers.GRUCell(3), INPUTS.astype("int64"))


def backward(rnn, cell, inputs, lengths=None, **options):
    return backward_rnn(cell, inputs, lengths, rnn=rnn, **options)


@pytest.mark.parametrize("rnn", EVERYWHERE)
@pytest.mark.parametrize(
    ("inputs", "lengths", "state", "message"),
    [
        (INPUTS, [4, 5, 2], None, "sequence_length has 5, but the inputs have T=4 steps"),
        (INPUTS, [4, 2], None, "sequence_length must be one length for each example"),
        (INPUTS[0], [4, 0, 2], None, r"one tensor \[B, T, D\], not \(4, 2\)"),
        (INPUTS, [4, 0, 2], [H], r"^initial_state is \[float32 \[3, 5\]\]"),
    ],
)
def test_the_way_back_is_checked_before_it_is_turned(rnn, inputs, lengths, state, message):
    with pytest.raises(ValueError, match=message):
        backward(rnn, make(), inputs, lengths, initial_state=state)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("rnn", EVERYWHERE)
def test_the_way_back_alone_is_that_of_both(rnn, time_major):
    cell, other = make(), make()
    inputs = np.random.default_rng(0).normal(size=(3, 4, 2))
    inputs[1], inputs[2, 2:] = np.nan, np.nan
    inputs = np.swapaxes(inputs, 0, 1) if time_major else inputs
    outputs, state = backward(rnn, cell, inputs, [4, 0, 2], time_major=time_major)
    (_, expected), (_, final) = bidirectional_rnn(
        other, cell, inputs, [4, 0, 2], rnn="dynamic", time_major=time_major
    )
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(state, final, atol=1e-6)
    assert np.any(outputs)


def test_states_for_too_few_layers():
    with pytest.raises(ValueError, match="initial_states_bw has states for 1 layers, but there are 2"):
        stacked_bidirectional_rnn([make(), make()], [make(), make()], INPUTS, initial_states_bw=[[H, H]])
