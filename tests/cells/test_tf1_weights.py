from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, load_tf1_weights, tf1_states, tf1_variables
from workbench.cells.tf1_layouts import layout_of

RANDOM = np.random.default_rng(0)
LSTM = {
    "rnn/lstm_cell/kernel": RANDOM.normal(size=(7, 16)).astype("float32"),
    "rnn/lstm_cell/bias": RANDOM.normal(size=16).astype("float32"),
}


def lstm(**options):
    cell = CELLS["lstm"](4, **options)
    cell.build((None, 3))
    return cell


def test_joint_kernel_is_split_and_gates_reordered():
    cell = lstm()
    load_tf1_weights(cell, LSTM)
    kernel = LSTM["rnn/lstm_cell/kernel"]
    for ours, theirs in enumerate((0, 2, 1, 3)):  # i, f, c, o from i, c, f, o
        columns = slice(4 * theirs, 4 * theirs + 4)
        np.testing.assert_array_equal(cell.kernel[:, 4 * ours : 4 * ours + 4], kernel[:3, columns])
        np.testing.assert_array_equal(cell.recurrent_kernel[:, 4 * ours : 4 * ours + 4], kernel[3:, columns])
        np.testing.assert_array_equal(cell.bias[4 * ours : 4 * ours + 4], LSTM["rnn/lstm_cell/bias"][columns])


def test_out_again():
    cell = lstm()
    load_tf1_weights(cell, {f"{name}:0": value for name, value in LSTM.items()})
    again = tf1_variables(cell, LSTM)
    assert set(again) == set(LSTM)
    for name, value in LSTM.items():
        np.testing.assert_array_equal(again[name], value)


def test_states_change_places():
    assert tf1_states(lstm(), ["h", "c"]) == ["c", "h"]


STACK = {
    f"rnn/multi_rnn_cell/cell_{layer}/lstm_cell/{name}": RANDOM.normal(size=shape).astype("float32")
    for layer, rows in enumerate((3, 4))
    for name, shape in (("kernel", (rows + 4, 16)), ("bias", (16,)))
}
BOTH = {
    name.replace("rnn/", f"bidirectional_rnn/{way}/"): by * value
    for way, by in (("fw", 1), ("bw", 2))
    for name, value in LSTM.items()
}
MODEL = {**STACK, **BOTH, "embedding": np.ones((5, 3), "float32"), "softmax/w": np.ones((4, 5), "float32")}


def stack(layers=2):
    cell = WRAPPERS["multi"]([CELLS["lstm"](4) for _ in range(layers)])
    cell.build((None, 3))
    return cell


def in_a_graph(optimizer, save):
    """A graph of TF 1's with the variables of MODEL, one step of training, and what `save` keeps of it."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {
            name: tf.compat.v1.get_variable(name, initializer=value) for name, value in MODEL.items()
        }
        step = tf.compat.v1.train.get_or_create_global_step()
        loss = tf.add_n([tf.reduce_sum(v**2) for v in variables.values()])
        averages = tf.compat.v1.train.ExponentialMovingAverage(0.9).apply(list(variables.values()))
        with tf.control_dependencies([optimizer().minimize(loss, global_step=step), averages]):
            train = tf.no_op()
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(train)
        for name, variable in variables.items():
            variable.load(MODEL[name], session)
        return save(session, variables)


@pytest.fixture(scope="module")
def saver_checkpoint(tmp_path_factory):
    """As tf.train.Saver writes them: optimizer's slots, moving averages and a step's number among the rest."""
    path = tmp_path_factory.mktemp("saver") / "model.ckpt"
    return in_a_graph(
        lambda: tf.compat.v1.train.AdamOptimizer(0.1),
        lambda session, _: tf.compat.v1.train.Saver().save(session, str(path), global_step=7),
    )


@pytest.fixture(scope="module")
def object_checkpoint(tmp_path_factory):
    """As tf.train.Checkpoint writes them in a graph: keys are the path of objects."""
    path = tmp_path_factory.mktemp("objects") / "model"

    def save(session, variables):
        root = tf.Module()
        root.parts = list(variables.values())
        return tf.compat.v1.train.Checkpoint(root=root).save(str(path), session=session)

    return in_a_graph(lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9), save)


@pytest.mark.parametrize("kind", ["saver_checkpoint", "object_checkpoint"])
def test_a_checkpoint_of_layers_and_of_both_directions(kind, request):
    path = request.getfixturevalue(kind)
    layers = stack()
    load_tf1_weights(layers, path, scope="rnn")
    for name, value in tf1_variables(layers, STACK).items():
        np.testing.assert_array_equal(value, MODEL[name])
    for way in ("fw", "bw"):
        cell, scope = lstm(), f"bidirectional_rnn/{way}"
        load_tf1_weights(cell, path, scope=scope)
        for name, value in tf1_variables(cell, [n for n in MODEL if n.startswith(scope)]).items():
            np.testing.assert_array_equal(value, MODEL[name])


def test_the_latest_checkpoint_of_a_folder(saver_checkpoint):
    cell, path = lstm(), Path(saver_checkpoint)
    load_tf1_weights(cell, path.parent, scope="rnn/multi_rnn_cell/cell_0")
    assert path.name == "model.ckpt-7"
    np.testing.assert_array_equal(cell.bias[:4], STACK["rnn/multi_rnn_cell/cell_0/lstm_cell/bias"][:4])


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (None, r"missing: LSTMCell could be any of .*/bw/lstm_cell/, .*cell_1/lstm_cell/: pass scope="),
        ("bidirectional_rnn", r"any of bidirectional_rnn/bw/lstm_cell/, bidirectional_rnn/fw/lstm_cell/"),
        (
            "softmax",
            r"missing: softmax/\*/kernel \(7, 16\)\n  missing: softmax/\*/bias .*left over: softmax/w",
        ),
        (
            "encoder",
            r"scope='encoder'; there are the scopes \(none\), bidirectional_rnn/bw/lstm_cell, .*softmax",
        ),
    ],
)
def test_a_scope_that_does_not_tell(saver_checkpoint, scope, message):
    with pytest.raises(ValueError, match=f"(?s){message}") as raised:
        load_tf1_weights(lstm(), saver_checkpoint, scope=scope)
    if scope == "bidirectional_rnn":
        assert "left over" not in str(raised.value)
    assert "Adam" not in str(raised.value)
    assert "Average" not in str(raised.value)


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="MultiRNNCell and TF") as raised:
        load_tf1_weights(stack(4), STACK | {"rnn/multi_rnn_cell/cell_2/gru_cell/gates/bias": np.zeros(8)})
    for line in (
        "missing: rnn/multi_rnn_cell/cell_2/gru_cell/gates/kernel (8, 16)",
        "missing: rnn/multi_rnn_cell/cell_3/*/kernel (8, 16)",
        "missing: rnn/multi_rnn_cell/cell_3/*/bias (16,)",
        "of another shape: rnn/multi_rnn_cell/cell_2/gru_cell/gates/bias is (8,), the cell needs (16,)",
    ):
        assert line in str(raised.value)


def test_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"is no checkpoint of TensorFlow: give the part before \.index"):
        load_tf1_weights(lstm(), tmp_path / "model.ckpt")
    (tmp_path / "model.ckpt").write_text("something else")
    with pytest.raises(ValueError, match="is no checkpoint of TensorFlow"):
        load_tf1_weights(lstm(), tmp_path / "model.ckpt")


def test_slots_in_another_scope_and_of_an_optimizer_with_a_name_of_its_own():
    slots = {
        "rnn/lstm_cell/kernel/mine_1": np.zeros((7, 16)),
        "train/rnn/lstm_cell/bias/Adam": np.zeros(16),
        "train/beta1_power": np.float32(1),
    }
    load_tf1_weights(lstm(), {**LSTM, **slots})
    with pytest.raises(ValueError, match=r"left over: rnn/lstm_cell/kernel/other \(3,\)"):
        load_tf1_weights(lstm(), {**LSTM, "rnn/lstm_cell/kernel/other": np.zeros(3)})
    load_tf1_weights(lstm(), {**LSTM, "rnn/lstm_cell/kernel/other": np.zeros(3)}, ignore=["*/other"])


def test_all_that_does_not_fit_is_named_at_once_and_nothing_is_changed():
    cell = lstm(use_peepholes=True, num_proj=2)
    before = cell.get_weights()
    given = {**LSTM, "rnn/lstm_cell/w_f_diag": np.zeros(4), "rnn/lstm_cell/w_x_diag": np.zeros(4)}
    with pytest.raises(ValueError, match=r"LSTMCell and TF 1\.15's variables do not fit") as raised:
        load_tf1_weights(cell, given)
    assert str(raised.value).splitlines()[1:] == [
        "  missing: rnn/lstm_cell/w_i_diag (4,)",
        "  missing: rnn/lstm_cell/w_o_diag (4,)",
        "  missing: rnn/lstm_cell/projection/kernel (4, 2)",
        "  of another shape: rnn/lstm_cell/kernel is (7, 16), the cell needs (5, 16)",
        "  left over: rnn/lstm_cell/w_x_diag (4,)",
        "Looked under scope=None; there are the scopes rnn/lstm_cell. "
        "scope= takes a part of them, ignore= leaves names out by pattern.",
    ]
    assert all(np.array_equal(a, b) for a, b in zip(before, cell.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"a/kernel": LSTM["rnn/lstm_cell/kernel"]}, r"missing: a/bias \(16,\)"),
        ({}, r"missing: \*/kernel \(7, 16\)\n  missing: \*/bias \(16,\)\n.*the scopes \(nothing\)"),
        (
            {**LSTM, **{k.replace("rnn", "other"): v for k, v in LSTM.items()}},
            "could be any of rnn/lstm_cell/, other/lstm_cell/: pass scope=",
        ),
        (
            {**LSTM, "rnn/lstm_cell/bias": LSTM["rnn/lstm_cell/bias"] * 1j},
            "not of real numbers: rnn/lstm_cell/bias is complex64",
        ),
        (
            {**LSTM, "rnn/lstm_cell/bias": np.array(["one"] * 16)},
            "not of real numbers: rnn/lstm_cell/bias is <U3",
        ),
    ],
)
def test_what_does_not_fit(variables, message):
    with pytest.raises(ValueError, match=message):
        load_tf1_weights(lstm(), variables)


def test_names_that_a_cell_cannot_be_given_under():
    with pytest.raises(ValueError, match=r"missing: rnn/lstm_cell/w_i_diag \(4,\)"):
        tf1_variables(lstm(use_peepholes=True), LSTM)


def test_scope_picks_one_of_two_cells():
    both = {**LSTM, **{k.replace("rnn", "other"): 2 * v for k, v in LSTM.items()}}
    cell = lstm()
    load_tf1_weights(cell, both, scope="other")
    np.testing.assert_array_equal(cell.bias[:4], 2 * LSTM["rnn/lstm_cell/bias"][:4])


OPTIONS = {
    "grid_lstm": {"feature_size": 1, "groups": [[0, 2], [1, 3]], "use_peepholes": True},
    "bidirectional_grid_lstm": {"feature_size": 1, "use_peepholes": True, "couple_gates": True},
    "nas": {"num_proj": 2, "use_bias": True},
    "coupled_lstm": {"num_proj": 2, "use_peepholes": True},
}


@pytest.mark.parametrize("name", CELLS)
def test_every_cells_variables_come_out_as_they_went_in(name):
    cell = CELLS[name](4, **OPTIONS.get(name, {}))
    cell.build((None, 3))
    names = [f"rnn/some_scope/{variable.name}" for variable in layout_of(cell).variables]
    given = {n: RANDOM.normal(size=v.shape).astype("float32") for n, v in tf1_variables(cell, names).items()}
    assert sum(v.size for v in given.values()) == cell.count_params()
    load_tf1_weights(cell, given)
    for variable, value in tf1_variables(cell, names).items():
        np.testing.assert_array_equal(value, given[variable])


@pytest.mark.parametrize("name", ["gru", "gru_block"])
def test_a_gru_block_cell_of_the_first_version(name):
    """Contrib's GRUBlockCell has GRUBlockCellV2's weights under other names."""
    cell = CELLS[name](4)
    cell.build((None, 3))
    shapes = {"w_ru": (7, 8), "b_ru": (8,), "w_c": (7, 4), "b_c": (4,)}
    old = {f"rnn/gru_cell/{k}": RANDOM.normal(size=v).astype("float32") for k, v in shapes.items()}
    new = dict(zip([f"rnn/gru_cell/{v.name}" for v in layout_of(cell).variables], old.values(), strict=True))
    for given, other in ((old, new), (new, old)):
        cell.set_weights([0 * w for w in cell.get_weights()])
        load_tf1_weights(cell, given)
        for variable, value in tf1_variables(cell, other).items():
            np.testing.assert_array_equal(value, other[variable])
    del old["rnn/gru_cell/b_c"]
    with pytest.raises(ValueError, match=r"missing: rnn/gru_cell/b_c \(4,\)\nLooked"):
        load_tf1_weights(cell, old)


def test_attention_over_a_cell_whose_states_are_cut_otherwise():
    cell = WRAPPERS["attention"](CELLS["grid_lstm"](2, feature_size=1), 2)
    cell.build((None, 3))
    with pytest.raises(ValueError, match=r"attention over GridLSTMCell is not known"):
        load_tf1_weights(cell, {})


def test_refusals():
    with pytest.raises(ValueError, match=r"has no weights yet: call build"):
        load_tf1_weights(CELLS["lstm"](4), LSTM)
    reset_after = CELLS["gru"](4, reset_after=True)
    reset_after.build((None, 3))
    with pytest.raises(ValueError, match="use reset_after=False"):
        load_tf1_weights(reset_after, {})
    layer = tf.keras.layers.Dense(4)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="names are not known for Dense"):
        load_tf1_weights(layer, LSTM)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_loop(kernel, bias, forget_bias, inputs):
    """TF 1's LSTM as a float64 loop: gates i, c, f, o."""
    h = c = np.zeros((len(inputs), len(bias) // 4))
    outputs = []
    for t in range(inputs.shape[1]):
        i, g, f, o = np.split(np.hstack([inputs[:, t], h]) @ kernel + bias, 4, axis=1)
        c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


INPUTS = RANDOM.normal(size=(2, 5, 3))


def off(cell, expected):
    if isinstance(cell, tf.keras.layers.Layer) and hasattr(cell, "state_size") and not hasattr(cell, "cell"):
        cell = tf.keras.layers.RNN(cell, return_sequences=True)
    return np.abs(np.asarray(cell(tf.constant(INPUTS, "float32"))) - expected).max()


CUDNN = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell"


def under(scope, names=("kernel", "bias")):
    return {f"{scope}/{name}": v for name, v in zip(names, LSTM.values(), strict=True)}


@pytest.mark.parametrize(
    "make", [lstm, lambda **o: lstm(forget_bias=2.5, **o), lambda: CELLS["lstm_block"](4)]
)
def test_cudnns_lstm_has_no_forget_bias_whatever_the_cell_adds(make):
    cell, given = make(), under(CUDNN)
    if not cell.built:
        cell.build((None, 3))
    load_tf1_weights(cell, {**given, "cudnn_lstm/opaque_kernel": np.zeros(3)})
    assert off(cell, lstm_loop(*LSTM.values(), 0.0, INPUTS)) < 1e-6
    for name, value in tf1_variables(cell, given).items():
        np.testing.assert_allclose(value, given[name], atol=1e-6)


@pytest.mark.parametrize(
    ("scope", "options", "forget_bias"),
    [("rnn/lstm_cell", {}, 1.0), ("rnn/lstm_cell", {"forget_bias": 0.5}, 0.5), (CUDNN, {}, 0.0)],
)
def test_a_checkpoint_in_keras_lstm(scope, options, forget_bias):
    layer = tf.keras.layers.LSTM(4, return_sequences=True)
    layer.build((None, None, 3))
    load_tf1_weights(layer, under(scope), **options)
    assert off(layer, lstm_loop(*LSTM.values(), forget_bias, INPUTS)) < 1e-6


def test_cudnns_gru_resets_after_the_product():
    shapes = {
        "gates/kernel": (7, 8),
        "gates/bias": (8,),
        "candidate/input_projection/kernel": (3, 4),
        "candidate/input_projection/bias": (4,),
        "candidate/hidden_projection/kernel": (4, 4),
        "candidate/hidden_projection/bias": (4,),
    }
    scope = "cudnn_gru/rnn/multi_rnn_cell/cell_0/cudnn_compatible_gru_cell/"
    w = {name: RANDOM.normal(size=shape) for name, shape in shapes.items()}
    h, expected = np.zeros((2, 4)), []
    for t in range(5):
        x = INPUTS[:, t]
        r, u = np.split(sigmoid(np.hstack([x, h]) @ w["gates/kernel"] + w["gates/bias"]), 2, axis=1)
        from_x = x @ w["candidate/input_projection/kernel"] + w["candidate/input_projection/bias"]
        from_h = h @ w["candidate/hidden_projection/kernel"] + w["candidate/hidden_projection/bias"]
        h = u * h + (1 - u) * np.tanh(from_x + r * from_h)
        expected.append(h)
    given = {scope + name: value.astype("float32") for name, value in w.items()}
    cell, layer = CELLS["gru"](4, reset_after=True), tf.keras.layers.GRU(4, return_sequences=True)
    cell.build((None, 3))
    layer.build((None, None, 3))
    for one in (cell, layer):
        load_tf1_weights(one, given)
        assert off(one, np.stack(expected, 1)) < 1e-6
    for name, value in tf1_variables(cell, given).items():
        np.testing.assert_array_equal(value, given[name])
    before = CELLS["gru"](4)
    before.build((None, 3))
    with pytest.raises(ValueError, match=r"holds a CudnnCompatibleGRUCell, which is .*reset_after=True here"):
        load_tf1_weights(before, given)


@pytest.mark.parametrize(
    ("scope", "named"),
    [
        ("rnn/nas_cell", r"NASCell, which is CELLS\['nas'\] here"),
        (
            "rnn/layer_norm_basic_lstm_cell",
            r"LayerNormBasicLSTMCell, which is CELLS\['layer_norm_lstm'\] here",
        ),
        ("rnn/conv_lstm_cell", "ConvLSTMCell, which is none of the cells here"),
    ],
)
def test_another_class_is_refused_by_name(scope, named):
    with pytest.raises(ValueError, match=f"of another class: {scope}/ holds a {named}"):
        load_tf1_weights(lstm(), under(scope))


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("rnn/basic_lstm_cell", ("weights", "biases")),
        ("RNN/BasicLSTMCell", ("Linear/Matrix", "Linear/Bias")),
        ("BiRNN/FW/LSTMCell", ("W_0", "B")),
        ("RNN/MultiRNNCell/Cell0/BasicLSTMCell", ("Linear/Matrix", "Linear/Bias")),
    ],
)
def test_names_of_before_1_2(scope, names):
    cell = lstm()
    load_tf1_weights(cell, under(scope, names))
    assert off(cell, lstm_loop(*LSTM.values(), 1.0, INPUTS)) < 1e-6


def test_a_matrix_that_was_cut_into_shards():
    kernel, bias = LSTM.values()
    cell, given = (
        lstm(),
        {"RNN/LSTMCell/W_0": kernel[:4], "RNN/LSTMCell/W_1": kernel[4:], "RNN/LSTMCell/B": bias},
    )
    load_tf1_weights(cell, given)
    for name, value in tf1_variables(cell, given).items():
        np.testing.assert_array_equal(value, given[name])
