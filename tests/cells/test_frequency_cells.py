"""What the golden cases do not have: several groups, overlap, the way down, and blocks that look outside."""

import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS
from workbench.cells.frequency import block_starts, spread
from workbench.rnn import dynamic_rnn

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(2, 4, 6))


def built(name, size=6, **options):
    cell = CELLS[name](3, dtype="float64", **options)
    cell.build((None, size))
    cell.set_weights([RANDOM.normal(size=w.shape) for w in cell.get_weights()])
    return cell


@pytest.mark.parametrize("start", [-2, -1, 0, 3, 5, 6, 8])
def test_spread_is_the_kernel_where_a_block_looks(start):
    kernel, x = RANDOM.normal(size=(2, 5)), RANDOM.normal(size=6)
    padded = np.concatenate([np.zeros(10), x, np.zeros(10)])
    expected = padded[10 + start : 12 + start] @ kernel
    np.testing.assert_allclose(x @ spread(tf.constant(kernel), 6, [start]).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((6, 2, 2), (2, [0, 2, 4])),
        ((6, 3, 1), (3, [0, 1, 2, 3])),
        ((7, 3, 3, True), (3, [0, 3])),
        ((7, 2, 3, True), (2, [0, 3])),
        ((6, None, None), (6, [0])),
    ],
)
def test_block_starts(arguments, expected):
    assert block_starts(*arguments) == expected


def test_a_block_over_the_inputs_is_refused():
    with pytest.raises(ValueError, match="feature_size=9 is over the 6 features"):
        built("time_freq_lstm", feature_size=9)
    with pytest.raises(ValueError, match=r"groups has \[2, 9\], which is no part of the inputs' 6 features"):
        built("grid_lstm", groups=[[2, 9]])


@pytest.mark.parametrize("name", ["time_freq_lstm", "grid_lstm", "bidirectional_grid_lstm"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"feature_size": 4},
            "of 6 features 2 lie in no block, the first of them feature 4: .*feature_size=4 and",
        ),
        (
            {"feature_size": 1, "frequency_skip": 5},
            "of 6 features 4 lie in no block, the first of them feature 1",
        ),
    ],
)
def test_a_feature_in_no_block_is_refused_unless_asked_for(name, options, words):
    with pytest.raises(ValueError, match=words):
        built(name, **options)
    cell = built(name, **options, allow_unseen=True)
    assert cell.get_config()["allow_unseen"] is True
    unseen = [4, 5] if options["feature_size"] == 4 else [1, 2, 3, 4]
    other = INPUTS.copy()
    other[..., unseen] += 1
    np.testing.assert_array_equal(dynamic_rnn(cell, other)[0], dynamic_rnn(cell, INPUTS)[0])


def test_a_feature_in_no_group_is_refused_unless_asked_for():
    with pytest.raises(ValueError, match="of 6 features 2 lie in no group, the first of them feature 2: let"):
        built("grid_lstm", groups=[[0, 2], [4, 6]])
    cell, other = built("grid_lstm", groups=[[0, 2], [4, 6]], allow_unseen=True), INPUTS.copy()
    other[..., 2:4] += 1
    np.testing.assert_array_equal(dynamic_rnn(cell, other)[0], dynamic_rnn(cell, INPUTS)[0])


@pytest.mark.parametrize("groups", [[], [[0, 2, 4]], [[0, 2.5]], [[0, True]]])
def test_groups_that_are_none(groups):
    with pytest.raises(ValueError, match=r"groups must be \[\[start, end\], ...\] of integers, or None"):
        built("grid_lstm", groups=groups)


def test_an_offset_that_is_no_number_of_features():
    with pytest.raises(ValueError, match=r"backward_slice_offset must be an integer, not 0\.5"):
        built("bidirectional_grid_lstm", backward_slice_offset=0.5)


def test_time_freq_lstm_of_one_block_is_an_lstm():
    """With nothing below, the frequency rows of the recurrent matrix see zeros."""
    cell, lstm = built("time_freq_lstm"), built("lstm")
    lstm.kernel.assign(cell.kernel.value)
    lstm.recurrent_kernel.assign(cell.recurrent_kernel.value[:3])
    lstm.bias.assign(cell.bias.value)
    np.testing.assert_allclose(dynamic_rnn(cell, INPUTS)[0], dynamic_rnn(lstm, INPUTS)[0], rtol=1e-12)


def test_groups_are_cells_of_their_own():
    options = {"feature_size": 2, "frequency_skip": 1, "use_peepholes": True}
    both = built("grid_lstm", groups=[[0, 4], [3, 6]], **options)
    outputs, (h, _) = dynamic_rnn(both, INPUTS)
    outputs, h = np.split(outputs, [18], -1), np.split(h, [9], -1)
    for n, (start, end) in enumerate([(0, 4), (3, 6)]):
        alone = built("grid_lstm", end - start, **options)
        for weight in alone.weights:
            source = next(w for w in both.weights if w.name == weight.name[:-1] + str(n))
            weight.assign(source.value)
        expected, state = dynamic_rnn(alone, INPUTS[..., start:end])
        np.testing.assert_allclose(outputs[n], expected, rtol=1e-9)
        np.testing.assert_allclose(h[n], state[0], rtol=1e-9)


def test_without_a_feature_size_a_group_is_one_block():
    cell = built("grid_lstm", groups=[[0, 2], [2, 6]])
    outputs = dynamic_rnn(cell, INPUTS)[0]
    changed = INPUTS.copy()
    changed[..., 5] += 1
    changes = np.split(dynamic_rnn(cell, changed)[0] - outputs, 2, -1)
    assert not np.any(changes[0])
    assert np.all(changes[1])


@pytest.mark.parametrize("offset", [0, 1, -1])
def test_bidirectional_grid_is_one_grid_up_and_one_down(offset):
    both = built("bidirectional_grid_lstm", feature_size=2, backward_slice_offset=offset)
    outputs = np.split(dynamic_rnn(both, INPUTS)[0], 2, -1)
    shifted = np.zeros_like(INPUTS)
    for feature in range(6):
        if 0 <= feature + offset < 6:
            shifted[..., feature] = INPUTS[..., feature + offset]
    down = shifted.reshape(2, 4, 3, 2)[:, :, ::-1].reshape(2, 4, 6)  # blocks in reverse, features within not
    for way, inputs, found in (("fwd_", INPUTS, outputs[0]), ("bwd_", down, outputs[1])):
        alone = built("grid_lstm", feature_size=2)
        for weight in alone.weights:
            stem, _, n = weight.name.rpartition("_")
            weight.assign(next(w for w in both.weights if w.name == f"{stem}_{way}{n}").value)
        np.testing.assert_allclose(found, dynamic_rnn(alone, inputs)[0], rtol=1e-9)


def test_shared_weights_are_equal_ones():
    shared = built("grid_lstm", feature_size=2, share_weights=True, use_peepholes=True)
    apart = built("grid_lstm", feature_size=2, use_peepholes=True)
    sources = {weight.name: weight for weight in shared.weights}
    for weight in apart.weights:
        weight.assign(sources["freq_" + weight.name.removeprefix("freq_").removeprefix("time_")].value)
    np.testing.assert_allclose(dynamic_rnn(shared, INPUTS)[0], dynamic_rnn(apart, INPUTS)[0], rtol=1e-9)
