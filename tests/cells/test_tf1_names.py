"""Checkpoints of TensorFlow 1 by class and by release, against NumPy loops written as TF 1 computes."""

import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, load_tf1_weights, tf1_variables
from workbench.cells.tf1_names import CLASSES, class_of
from workbench.rnn import dynamic_rnn

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(2, 5, 3))
KERNEL, BIAS = RANDOM.normal(size=(7, 16)), RANDOM.normal(size=16)
GATES, GATES_BIAS = RANDOM.normal(size=(7, 8)), RANDOM.normal(size=8)
CANDIDATE, CANDIDATE_BIAS = RANDOM.normal(size=(7, 4)), RANDOM.normal(size=4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_loop(forget_bias):
    """BasicLSTMCell: gates i, j, f, o of one product; the forget bias is added at run time."""
    h, c, outputs = np.zeros((2, 4)), np.zeros((2, 4)), []
    for x in INPUTS.transpose(1, 0, 2):
        i, j, f, o = np.split(np.concatenate([x, h], 1) @ KERNEL + BIAS, 4, 1)
        c = c * sigmoid(f + forget_bias) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        outputs.append(h)
    return np.stack(outputs, 1)


def gru_loop(reset_after):
    """GRUCell, or CudnnCompatibleGRUCell, whose candidate has a product of its own for the state."""
    h, outputs = np.zeros((2, 4)), []
    for x in INPUTS.transpose(1, 0, 2):
        r, u = np.split(sigmoid(np.concatenate([x, h], 1) @ GATES + GATES_BIAS), 2, 1)
        if reset_after:
            candidate = np.tanh(
                x @ CANDIDATE[:3] + CANDIDATE_BIAS + r * (h @ CANDIDATE[3:] + 2 * CANDIDATE_BIAS)
            )
        else:
            candidate = np.tanh(np.concatenate([x, r * h], 1) @ CANDIDATE + CANDIDATE_BIAS)
        h = u * h + (1 - u) * candidate
        outputs.append(h)
    return np.stack(outputs, 1)


def built(cell, shape=(None, 3)):
    cell.build(shape)
    return cell


def off(cell, expected):
    return np.abs(np.asarray(dynamic_rnn(cell, INPUTS)[0]) - expected).max()


def lstm_under(scope, spelled=("kernel", "bias")):
    return {f"{scope}/{spelled[0]}": KERNEL, f"{scope}/{spelled[1]}": BIAS}


CUDNN = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell"
CUDNN_GRU = {
    f"cudnn_gru/rnn/multi_rnn_cell/cell_0/cudnn_compatible_gru_cell/{name}": value
    for name, value in {
        "gates/kernel": GATES,
        "gates/bias": GATES_BIAS,
        "candidate/input_projection/kernel": CANDIDATE[:3],
        "candidate/input_projection/bias": CANDIDATE_BIAS,
        "candidate/hidden_projection/kernel": CANDIDATE[3:],
        "candidate/hidden_projection/bias": 2 * CANDIDATE_BIAS,
    }.items()
}


@pytest.mark.parametrize("forget_bias", [0.0, 1.0, 2.5])
def test_cudnns_lstm_has_no_forget_bias_whatever_the_cell_adds(forget_bias):
    cell = built(CELLS["lstm"](4, forget_bias=forget_bias, dtype="float64"))
    load_tf1_weights(cell, lstm_under(CUDNN))
    assert off(cell, lstm_loop(forget_bias=0)) < 1e-12
    again = tf1_variables(cell, lstm_under(CUDNN))
    for name, value in lstm_under(CUDNN).items():
        np.testing.assert_allclose(again[name], value, atol=1e-12)


def test_cudnns_gru_loads_into_the_gru_that_resets_after():
    cell = built(CELLS["gru"](4, reset_after=True, dtype="float64"))
    load_tf1_weights(cell, CUDNN_GRU)
    assert off(cell, gru_loop(reset_after=True)) < 1e-12
    for name, value in tf1_variables(cell, CUDNN_GRU).items():
        np.testing.assert_allclose(value, CUDNN_GRU[name], atol=1e-12)


def test_each_gru_says_which_of_the_two_the_other_is():
    before, after = (built(CELLS["gru"](4, reset_after=flag)) for flag in (False, True))
    plain = {f"rnn/gru_cell/{n}/{k}": v for n, pair in
             (("gates", (GATES, GATES_BIAS)), ("candidate", (CANDIDATE, CANDIDATE_BIAS)))
             for k, v in zip(("kernel", "bias"), pair, strict=True)}  # fmt: skip
    with pytest.raises(ValueError, match=r"CudnnCompatibleGRUCell.* use reset_after=True"):
        load_tf1_weights(before, CUDNN_GRU)
    with pytest.raises(ValueError, match="use reset_after=False for its weights"):
        load_tf1_weights(after, plain)
    load_tf1_weights(before, plain)
    assert off(before, gru_loop(reset_after=False)) < 1e-5


@pytest.mark.parametrize(
    ("scope", "spelled"),
    [
        ("rnn/basic_lstm_cell", ("kernel", "bias")),
        ("rnn/lstm_cell", ("kernel", "bias")),
        ("rnn/lstm_cell_1", ("kernel", "bias")),
        ("rnn/mine", ("kernel", "bias")),
        ("rnn/basic_lstm_cell", ("weights", "biases")),  # 1.0, 1.1
        ("RNN/BasicLSTMCell", ("Linear/Matrix", "Linear/Bias")),
        ("RNN/LSTMCell", ("W_0", "B")),
        ("RNN/LSTMBlockCell", ("W", "b")),
    ],
)
def test_an_lstm_of_any_release(scope, spelled):
    cell = built(CELLS["lstm"](4, dtype="float64"))
    load_tf1_weights(cell, lstm_under(scope, spelled))
    assert off(cell, lstm_loop(forget_bias=1)) < 1e-12


@pytest.mark.parametrize("spelled", [("gates/weights", "gates/biases", "candidate/weights", "candidate/biases"),
                                     ("Gates/Linear/Matrix", "Gates/Linear/Bias", "Candidate/Linear/Matrix",
                                      "Candidate/Linear/Bias")])  # fmt: skip
def test_a_gru_of_before_1_2(spelled):
    cell = built(CELLS["gru"](4, dtype="float64"))
    values = (GATES, GATES_BIAS, CANDIDATE, CANDIDATE_BIAS)
    load_tf1_weights(cell, {f"RNN/GRUCell/{n}": v for n, v in zip(spelled, values, strict=True)})
    assert off(cell, gru_loop(reset_after=False)) < 1e-12


def test_an_lstm_with_options_of_before_1_0_in_shards():
    cell = built(CELLS["lstm"](4, use_peepholes=True, num_proj=2, dtype="float64"))
    weight, projection, peepholes = (RANDOM.normal(size=s) for s in ((5, 16), (4, 2), (3, 4)))
    old = {"W_0": weight[:3], "W_1": weight[3:], "B": BIAS, "W_P_0": projection}
    old |= {f"W_{gate}_diag": one for gate, one in zip("IFO", peepholes, strict=True)}
    new = {"kernel": weight, "bias": BIAS, "projection/kernel": projection}
    new |= {f"w_{gate}_diag": one for gate, one in zip("ifo", peepholes, strict=True)}
    load_tf1_weights(cell, {f"RNN/LSTMCell/{name}": value for name, value in old.items()})
    found = tf1_variables(cell, [f"rnn/lstm_cell/{name}" for name in new])
    for name, value in new.items():
        np.testing.assert_allclose(found[f"rnn/lstm_cell/{name}"], value, atol=1e-12)


def test_layers_and_directions_of_before_1_0():
    stack = built(WRAPPERS["multi"]([CELLS["lstm"](4, dtype="float64") for _ in range(2)]))
    second = RANDOM.normal(size=(8, 16))
    given = {
        "BiRNN/FW/MultiRNNCell/Cell0/BasicLSTMCell/Linear/Matrix": KERNEL,
        "BiRNN/FW/MultiRNNCell/Cell0/BasicLSTMCell/Linear/Bias": BIAS,
        "BiRNN/FW/MultiRNNCell/Cell1/BasicLSTMCell/Linear/Matrix": second,
        "BiRNN/FW/MultiRNNCell/Cell1/BasicLSTMCell/Linear/Bias": 2 * BIAS,
        "BiRNN/BW/BasicLSTMCell/Linear/Matrix": 3 * KERNEL,
        "BiRNN/BW/BasicLSTMCell/Linear/Bias": 3 * BIAS,
    }
    load_tf1_weights(stack, given, scope="BiRNN/FW")
    assert off(stack.cells[0], lstm_loop(forget_bias=1)) < 1e-12
    np.testing.assert_allclose(stack.cells[1].bias[:4], 2 * BIAS[:4])


@pytest.mark.parametrize(
    "scope", ["nas_cell", "layer_norm_basic_lstm_cell", "conv_lstm_cell", "gru_cell", "NASCell"]
)
def test_a_scope_of_another_class_is_refused_by_name_though_its_shapes_fit(scope):
    cell = built(CELLS["lstm"](4))
    before = cell.get_weights()
    with pytest.raises(ValueError, match=rf"rnn/{scope}/ holds a {class_of(f'rnn/{scope}/')}, which is"):
        load_tf1_weights(cell, lstm_under(f"rnn/{scope}"))
    assert all(np.array_equal(a, b) for a, b in zip(before, cell.get_weights(), strict=True))


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "SimpleRNN"])
def test_a_checkpoint_of_1_15_goes_to_keras_own_layer(layer):
    made = getattr(tf.keras.layers, layer)(4, return_sequences=True, dtype="float64",
                                           **({"reset_after": False} if layer == "GRU" else {}))  # fmt: skip
    made.build((None, None, 3))
    if layer == "LSTM":
        load_tf1_weights(made, lstm_under("rnn/lstm_cell"), scope="rnn", forget_bias=1.0)
        expected = lstm_loop(forget_bias=1)
    elif layer == "GRU":
        load_tf1_weights(made, {"rnn/gru_cell/gates/kernel": GATES, "rnn/gru_cell/gates/bias": GATES_BIAS,
                                "rnn/gru_cell/candidate/kernel": CANDIDATE,
                                "rnn/gru_cell/candidate/bias": CANDIDATE_BIAS})  # fmt: skip
        expected = gru_loop(reset_after=False)
    else:
        load_tf1_weights(
            made, {"rnn/basic_rnn_cell/kernel": CANDIDATE, "rnn/basic_rnn_cell/bias": CANDIDATE_BIAS}
        )
        h, steps = np.zeros((2, 4)), []
        for x in INPUTS.transpose(1, 0, 2):
            h = np.tanh(np.concatenate([x, h], 1) @ CANDIDATE + CANDIDATE_BIAS)
            steps.append(h)
        expected = np.stack(steps, 1)
    assert np.abs(np.asarray(made(INPUTS)) - expected).max() < 1e-12


def test_kerass_lstm_takes_cudnns_bias_as_it_is_and_another_forget_bias_as_told():
    for variables, given, expected in (
        (lstm_under(CUDNN), None, 0.0),
        (lstm_under("rnn/basic_lstm_cell"), None, 1.0),
        (lstm_under("rnn/basic_lstm_cell"), 0.0, 0.0),
    ):
        made = tf.keras.layers.LSTM(4, return_sequences=True, dtype="float64")
        made.build((None, None, 3))
        load_tf1_weights(made, variables, forget_bias=given)
        assert np.abs(np.asarray(made(INPUTS)) - lstm_loop(expected)).max() < 1e-12


def test_a_forget_bias_for_a_cell_that_has_its_own_is_refused():
    with pytest.raises(ValueError, match=r"make the cell with forget_bias=0\.0 instead"):
        load_tf1_weights(built(CELLS["lstm"](4)), lstm_under("rnn/lstm_cell"), forget_bias=0.0)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_known_by_its_name_and_by_its_scope(name):
    assert class_of(f"rnn/{name}/") == name
