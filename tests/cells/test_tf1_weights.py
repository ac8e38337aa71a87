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


def test_a_checkpoint_by_path(tmp_path):
    """Written with TF 1.15's names and its optimizer's slots, as such checkpoints have them."""
    path = str(tmp_path / "model.ckpt")
    names = {**LSTM, "rnn/lstm_cell/kernel/Adam": np.zeros((7, 16), "float32"), "global_step": np.int64(3)}
    tf.raw_ops.SaveV2(
        prefix=path, tensor_names=list(names), shape_and_slices=[""] * 4, tensors=list(names.values())
    )
    cell = lstm()
    with pytest.raises(ValueError, match=r"no place for TF 1.15.s global_step, rnn.lstm_cell.kernel.Adam"):
        load_tf1_weights(cell, path)
    load_tf1_weights(cell, path, scope="rnn", ignore=["*/Adam*"])
    np.testing.assert_array_equal(cell.kernel[:, :4], LSTM["rnn/lstm_cell/kernel"][:3, :4])


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ({"a/kernel": LSTM["rnn/lstm_cell/kernel"]}, {}, "misses TF 1.15's a/bias; there are a/kernel"),
        ({}, {}, "misses TF 1.15's kernel, bias; there are none"),
        (LSTM, {"use_peepholes": True}, "misses TF 1.15's rnn/lstm_cell/w_i_diag, rnn/lstm_cell/w_f_diag"),
        (
            {**LSTM, "rnn/lstm_cell/w_f_diag": np.zeros(4)},
            {},
            "no place for TF 1.15's rnn/lstm_cell/w_f_diag",
        ),
        (
            {**LSTM, "rnn/lstm_cell/bias": np.zeros(12)},
            {},
            r"rnn/lstm_cell/bias has shape \(12,\), but the cell needs \(16,\)",
        ),
        (
            {**LSTM, **{k.replace("rnn", "other"): v for k, v in LSTM.items()}},
            {},
            "could be any of other/lstm_cell/, rnn/lstm_cell/: pass scope=",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(variables, options, message):
    cell = lstm(**options)
    before = cell.get_weights()
    with pytest.raises(ValueError, match=message):
        load_tf1_weights(cell, variables)
    assert all(np.array_equal(a, b) for a, b in zip(before, cell.get_weights(), strict=True))


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
    layer = tf.keras.layers.LSTMCell(4)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="names are not known for LSTMCell"):
        load_tf1_weights(layer, LSTM)
