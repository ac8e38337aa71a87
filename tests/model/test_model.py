from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS
from workbench.model import PaddingFreeDropout, SequenceModel
from workbench.options.cell import SCHEMAS as CELL_OPTIONS
from workbench.options.cell import Cell
from workbench.options.model import Model
from workbench.options.rnn import RNN
from workbench.options.rnn import SCHEMAS as RNN_OPTIONS

Make = Callable[..., dict[str, np.ndarray]]
LENGTHS = [3, 0, 5, 1]


def model_of(
    cell: str = "basic_rnn",
    rnn: str = "dynamic",
    *,
    units: int = 5,
    cell_options: Mapping[str, Any] = MappingProxyType({}),
    rnn_options: Mapping[str, Any] = MappingProxyType({}),
    direction: str = "forward",
    pass_lengths: bool = True,
    **given: Any,
) -> SequenceModel:
    """A small model; `given` are its arguments and the options of `model`."""
    around = {name: given.pop(name) for name in [one.name for one in fields(Model)] if name in given}
    return SequenceModel(
        CELL_OPTIONS[cell](cell, units, **cell_options),
        RNN_OPTIONS[rnn](rnn, pass_lengths, direction, **rnn_options),
        Model(**{"embedding_size": 4, "dtype": "float64", **around}),
        **{"task": "tag", "classes": 3, "vocabulary_size": 20, **given},
    )


def in_numpy(model: SequenceModel, batch: dict[str, np.ndarray], pass_lengths: bool) -> dict[str, Any]:
    """The model of basic RNN cells, written plainly: one example at a time, one step at a time, float64."""
    table = model.embedding.embeddings.numpy()
    kernel, bias = (weight.numpy() for weight in model.head.weights)
    logits, outputs, states = [], [], []
    for ids, length in zip(batch["inputs"], batch["length"], strict=True):
        steps, vectors, ends = len(ids), table[ids], []
        count = int(length) if pass_lengths else steps
        for layer in range(len(model.dropouts)):
            ways, ends = [], []
            for way, cells in ((1, model.cells_forward), (-1, model.cells_backward)):
                if not cells:
                    continue
                W, U, b = (weight.numpy() for weight in cells[layer].weights)
                h, out = np.zeros(model.cells_of_layers()[0].units), np.zeros((steps, len(b)))
                for t in range(count)[::way]:
                    h = np.tanh(vectors[t] @ W + h @ U + b)
                    out[t] = h
                ways.append(out)
                ends.append(h)
            vectors = np.concatenate(ways, axis=1)
        outputs.append(vectors)
        states.append(ends)
        features = vectors if model.task == "tag" else np.concatenate(ends)
        logits.append(features @ kernel + bias)
    last = [np.array(state) for state in zip(*states, strict=True)]
    return {"logits": np.array(logits), "outputs": np.array(outputs), "state_of_last_layer": last}


@pytest.mark.covering(2)
@pytest.mark.parametrize("pass_lengths", [True, False])
@pytest.mark.parametrize("task", ["tag", "classify"])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("rnn", ["dynamic", "static"])
def test_it_equals_a_plain_loop(
    batch_of: Make, direction: str, task: str, pass_lengths: bool, rnn: str
) -> None:
    model = model_of(task=task, direction=direction, pass_lengths=pass_lengths, layers=2, rnn=rnn)
    batch = batch_of(LENGTHS, task=task, longest=6)
    expected = in_numpy(model, batch, pass_lengths)
    ran = model.run(batch)
    np.testing.assert_allclose(ran.logits, expected["logits"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ran.outputs, expected["outputs"], rtol=0, atol=1e-12)
    ways = 2 if direction == "both" else 1
    assert len(ran.state) == 2 * ways
    for got, right in zip(ran.state[-ways:], expected["state_of_last_layer"], strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model(batch), ran.logits)


@pytest.mark.parametrize(
    "given",
    [
        {"cell": "lstm", "cell_options": {"use_peepholes": True, "num_proj": 3, "cell_clip": 2.0}},
        {"cell": "gru", "direction": "both", "layers": 2, "task": "classify", "dropout": 0.25},
        {"embedding_dropout": 0.25},
        {"vocabulary_size": None, "feature_size": 2, "direction": "backward", "pass_lengths": False},
        {"rnn_options": {"unroll_steps": 3}, "dtype": "float32"},
    ],
)
# keras.saving reads h5py's arrays in a way that NumPy 2 warns of
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_saved_and_loaded_it_computes_the_same_bits(
    batch_of: Make, tmp_path: Path, given: dict[str, Any]
) -> None:
    model = model_of(**given)
    batch = batch_of(LENGTHS, task=model.task, features=given.get("feature_size"))
    model.head.bias.assign([0.5, -1.0, 2.0])  # no longer what initialisation gives
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(batch), model(batch))


def test_padding_changes_nothing_with_lengths_and_the_state_without(batch_of: Make) -> None:
    model = model_of(cell="lstm")
    short, long = batch_of([4, 2]), batch_of([4, 2], longest=9)
    with_lengths = [model.run(batch) for batch in (short, long)]
    np.testing.assert_allclose(with_lengths[0].outputs, with_lengths[1].outputs[:, :4], rtol=0, atol=1e-14)
    assert np.abs(with_lengths[1].outputs[:, 4:]).max() == 0
    for ended, ended_too in zip(*(ran.state for ran in with_lengths), strict=True):
        np.testing.assert_allclose(ended, ended_too, rtol=0, atol=1e-14)
    without = [model.run(batch, pass_lengths=False) for batch in (short, long)]
    assert np.abs(without[0].state[0] - without[1].state[0]).max() > 1e-2


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_passing_lengths_at_the_call_equals_a_model_set_so(batch_of: Make, direction: str) -> None:
    batch = batch_of(LENGTHS)
    with_lengths, without = (model_of(direction=direction, pass_lengths=passed) for passed in (True, False))
    np.testing.assert_array_equal(
        with_lengths.run(batch, pass_lengths=False).outputs, without.run(batch).outputs
    )
    np.testing.assert_array_equal(
        without.run(batch, pass_lengths=True).outputs, with_lengths.run(batch).outputs
    )
    assert np.abs(with_lengths.run(batch).outputs - without.run(batch).outputs).max() > 1e-2


def test_a_runner_named_at_the_call_takes_its_place(batch_of: Make) -> None:
    model = model_of(rnn="static", direction="both")
    batch = batch_of(LENGTHS)
    np.testing.assert_allclose(model.run(batch, rnn="dynamic").logits, model(batch), rtol=0, atol=1e-14)
    assert model.needs_static_length
    assert not model_of().needs_static_length


def test_weights_come_from_the_seed_and_not_from_the_arm() -> None:
    def values(model: SequenceModel) -> dict[str, np.ndarray]:
        return {weight.path: weight.numpy() for weight in model.weights}

    base = values(model_of(layers=2, seed=4))
    for arm in (
        {"rnn": "static"},
        {"pass_lengths": False},
        {"dropout": 0.5},
        {"direction": "both", "layers": 1},
    ):
        shared = values(model_of(**{"layers": 2, "seed": 4, **arm}))
        names = [name for name in shared if "head" not in name or "direction" not in arm]
        same = [name for name in names if name in base]
        assert same, f"{arm} shares no weights"
        for name in same:
            np.testing.assert_array_equal(shared[name], base[name])
    other = values(model_of(layers=2, seed=5))
    assert all(np.abs(value - other[name]).max() > 1e-3 for name, value in base.items() if "bias" not in name)
    first, second = base["basic_rnn_0_forward/recurrent_kernel"], base["basic_rnn_1_forward/recurrent_kernel"]
    assert np.abs(first - second).max() > 1e-3


def test_features_go_in_as_they_are(batch_of: Make) -> None:
    model = model_of(vocabulary_size=None, feature_size=2)
    batch = batch_of([4, 2], features=2)
    W, U, b = (weight.numpy() for weight in model.cells_forward[0].weights)
    h1 = np.tanh(batch["inputs"][0, 0].astype(np.float64) @ W + b)
    h2 = np.tanh(batch["inputs"][0, 1].astype(np.float64) @ W + h1 @ U + b)
    np.testing.assert_allclose(model.run(batch).outputs[0, :2], [h1, h2], rtol=0, atol=1e-12)


def test_a_batch_of_empty_sequences_alone_is_legal() -> None:
    model = model_of(direction="both")
    empty = np.zeros((2, 0), np.int32)
    ran = model.run({"inputs": empty, "labels": empty, "length": np.zeros(2, np.int32)})
    assert ran.logits.shape == (2, 0, 3)
    assert all(np.abs(state).max() == 0 for state in ran.state)


def test_an_empty_sequence_is_classified_by_the_bias_alone(batch_of: Make) -> None:
    model = model_of(task="classify", direction="both")
    model.head.bias.assign([0.5, -1.0, 2.0])
    np.testing.assert_array_equal(model(batch_of([0, 3], task="classify"))[0], [0.5, -1.0, 2.0])


class TestDropout:
    def test_longer_padding_leaves_what_was_dropped(self) -> None:
        ones = tf.ones([3, 7, 5])
        short = PaddingFreeDropout(0.4, seed=9)(ones[:, :4], training=True)
        long = PaddingFreeDropout(0.4, seed=9)(ones, training=True)
        np.testing.assert_array_equal(short, long[:, :4])

    def test_it_drops_its_share_and_keeps_the_mean(self) -> None:
        dropped = PaddingFreeDropout(0.25, seed=1)(tf.ones([40, 50, 20]), training=True).numpy()
        assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
        assert abs((dropped == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / dropped.size) ** 0.5

    def test_every_step_draws_anew_and_evaluation_draws_nothing(self) -> None:
        layer, ones = PaddingFreeDropout(0.5, seed=2), tf.ones([2, 3, 4])
        assert np.abs(layer(ones, training=True) - layer(ones, training=True)).max() > 0
        np.testing.assert_array_equal(layer(ones), ones)

    def test_embeddings_drop_in_training_only(self, batch_of: Make) -> None:
        batch, plain, dropping = batch_of([4, 2]), model_of(seed=3), model_of(seed=3, embedding_dropout=0.9)
        np.testing.assert_array_equal(dropping(batch), plain(batch))
        vectors = dropping.embedding_dropout(dropping.embedding(batch["inputs"]), training=True)
        expected = plain.head(plain._layer(0, vectors, batch["length"], "dynamic", {}, True)[0])
        again = model_of(seed=3, embedding_dropout=0.9)
        np.testing.assert_array_equal(again(batch, training=True), expected)
        assert np.abs(expected - plain(batch)).max() > 1e-3

    def test_layers_of_a_model_drop_apart(self, batch_of: Make) -> None:
        model = model_of(layers=2, dropout=0.5, seed=3)
        ones = tf.ones([2, 3, 5], tf.float64)
        first, second = (drop(ones, training=True) for drop in model.dropouts)
        assert np.abs(first - second).max() > 0
        batch = batch_of([3, 2])
        assert np.abs(model(batch, training=True) - model(batch)).max() > 1e-3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "parse"}, "task is 'parse': must be one of tag, classify"),
        ({"direction": "up"}, r"rnn.direction=up: must be one of forward, backward, both"),
        ({"classes": 0}, "classes is 0: must be at least 1"),
        ({"layers": 0}, r"model.layers=0: must be at least 1"),
        ({"dropout": 1.0}, r"model.dropout=1.0: must be at most 0.95"),
        ({"embedding_dropout": -0.1}, r"model.embedding_dropout=-0.1: must be at least 0"),
        ({"units": 0}, r"cell.units=0: must be at least 1"),
        ({"feature_size": 3}, "vocabulary_size is 20 and feature_size 3: give one"),
        ({"vocabulary_size": None}, "vocabulary_size is None and feature_size None: give one"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(**given)


def test_a_name_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"cell.name=lstmm: must be one of .*lstm.*; did you mean lstm\?"):
        Cell("lstmm")
    with pytest.raises(ValueError, match=r"cell.name=basic_lstm: .*; basic_lstm is cell=lstm, with"):
        Cell("basic_lstm")
    with pytest.raises(ValueError, match=r"rnn.unroll=rolled: must be one of .*static"):
        RNN("rolled")


@pytest.mark.covering(1)
@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_every_cell_stands_in_the_model_and_padding_changes_nothing(
    batch_of: Make, cell: str, direction: str
) -> None:
    dtype = "float32" if cell in ("lstm_block", "gru_block") else "float64"  # all that their ops have
    exact = 1e-12 if dtype == "float64" else 1e-6
    model = model_of(cell=cell, direction=direction, units=4, layers=2, dtype=dtype)
    again = type(model).from_config(model.get_config())
    short, long = batch_of([3, 0, 1]), batch_of([3, 0, 1], longest=5)
    ran, padded = model.run(short), again.run(long)
    assert ran.outputs.shape == (3, 3, model.output_size)
    np.testing.assert_allclose(ran.logits, padded.logits[:, :3], rtol=0, atol=exact)
    for state, other in zip(ran.state, padded.state, strict=True):
        np.testing.assert_allclose(state, other, rtol=0, atol=exact)
