from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType, SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.model import ModelOutputs, SequenceModel
from workbench.options.cell import SCHEMAS as CELL_OPTIONS
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import Optimizer
from workbench.options.rnn import SCHEMAS as RNN_OPTIONS
from workbench.probes.invariance import RELATIVE_FLOOR, correctness, is_of_padding, with_padding
from workbench.record import METRICS
from workbench.training import make_train_step

LOSS = Loss("length")
NAMES = {
    name
    for name in METRICS
    if name.startswith("correctness/")
    and not name.endswith(("takes_longer_sequence", "gradient_share_past_end"))
}


def model_of(
    kind: type[SequenceModel] = SequenceModel,
    cell: str = "lstm",
    rnn: str = "dynamic",
    *,
    units: int = 4,
    cell_options: Mapping[str, Any] = MappingProxyType({}),
    rnn_options: Mapping[str, Any] = MappingProxyType({}),
    direction: str = "forward",
    pass_lengths: bool = True,
    **given: Any,
) -> SequenceModel:
    """A small model; `given` are its arguments and the options of `model`."""
    around = {name: given.pop(name) for name in [one.name for one in fields(Model)] if name in given}
    return kind(
        CELL_OPTIONS[cell](cell, units, **cell_options),
        RNN_OPTIONS[rnn](rnn, pass_lengths, direction, **rnn_options),
        Model(**{"embedding_size": 3, **around}),
        **{"task": "tag", "classes": 3, "vocabulary_size": 9, **given},
    )


def batch_of(lengths: list[int], *, task: str = "tag", longest: int | None = None) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    steps = longest or max(lengths)
    valid = np.arange(steps) < np.array(lengths)[:, np.newaxis]
    ids = np.where(valid, random.integers(1, 9, valid.shape), 0).astype(np.int32)
    labels = (ids[:, 0] if task == "classify" else ids) % 3
    return {"inputs": ids, "labels": labels.astype(np.int32), "length": np.array(lengths, np.int32)}


class Plain(keras.layers.Layer):
    """A cell as Keras' documentation writes one: with no `output_size` and no `get_initial_state`."""

    def __init__(self, units: int, **given: Any) -> None:
        super().__init__(**given)
        self.units = self.state_size = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1] + self.units, self.units), name="kernel")

    def call(self, inputs: Any, states: Any) -> Any:
        state = tf.tanh(tf.concat([inputs, states[0]], -1) @ self.kernel)
        return state, [state]


BATCHES = [batch_of([5, 2, 0, 5, 1]), batch_of([3, 7])]


def of(found: dict[str, float], part: str) -> dict[str, float]:
    return {name.removeprefix("correctness/"): value for name, value in found.items() if part in name}


@pytest.mark.covering(1)
@pytest.mark.parametrize("direction", ["forward", "backward", pytest.param("both", marks=pytest.mark.slow)])
@pytest.mark.parametrize("rnn", ["dynamic", "static"])
def test_a_model_with_lengths_is_right_and_without_is_not(direction: str, rnn: str) -> None:
    model = model_of(direction=direction, rnn=rnn, layers=2 if direction == "both" else 1)
    step = make_train_step(model, Optimizer("adam", 0.05, clip_norm=None), LOSS) if rnn == "dynamic" else None
    for _ in range(5 if step else 0):
        step(BATCHES[0])
    found = correctness(model, BATCHES, LOSS)
    assert set(found) == NAMES
    for name, value in of(found, "with_lengths").items():
        assert value <= 1e-6 / (RELATIVE_FLOOR if "rel" in name else 1), name
    assert found["correctness/max_abs_output_past_end_with_lengths"] == 0
    for name in ("loss_change_padding_longer", "loss_change_padding_random"):
        assert found[f"correctness/{name}"] <= 1e-6
    for name in ("gradient_change_padding_longer", "gradient_change_padding_random"):
        assert found[f"correctness/{name}"] <= 1e-5
    assert found["correctness/max_abs_error_state_without_lengths"] > 1e-2
    assert found["correctness/max_rel_error_state_without_lengths"] > 1e-1
    assert found["correctness/max_abs_output_past_end_without_lengths"] > 1e-3
    # a forward RNN has not seen the padding yet where its outputs are valid; a backward one has
    wrong = found["correctness/max_abs_error_output_without_lengths"]
    assert wrong < 1e-6 if direction == "forward" else wrong > 1e-3


@pytest.mark.parametrize("pass_lengths", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_classifier_that_passes_no_lengths_changes_with_its_padding(pass_lengths: bool) -> None:
    model = model_of(task="classify", pass_lengths=pass_lengths)
    found = correctness(model, [batch_of([5, 2, 0, 1], task="classify")], LOSS)
    for name, value in of(found, "change_padding").items():
        assert (value > 1e-4) != pass_lengths, name
    assert found["correctness/max_abs_error_state_with_lengths"] <= 1e-6
    assert found["correctness/max_abs_error_state_without_lengths"] > 1e-2


def test_a_loss_that_counts_padding_changes_with_it_though_lengths_are_passed() -> None:
    model = model_of()
    model.head.bias.assign([1.0, 0.0, -1.0])
    found = correctness(model, BATCHES, Loss("none"))
    assert found["correctness/loss_change_padding_longer"] > 1e-2
    assert found["correctness/gradient_change_padding_longer"] > 1e-2
    assert found["correctness/max_abs_error_output_with_lengths"] <= 1e-6


def test_a_sign_mask_is_blind_to_padding_since_padded_labels_are_0() -> None:
    found = correctness(model_of(), BATCHES, Loss("sign"))
    assert max(of(found, "change_padding").values()) <= 1e-5


def test_numbers_by_hand() -> None:
    class Counts(SequenceModel):
        """Outputs [t + 1], state [T]: right only where nothing is padded. Past the end the output is -7."""

        def run(
            self, batch: Any, *, pass_lengths: Any = None, rnn: Any = None, training: bool = False
        ) -> Any:
            shape = tf.shape(batch["inputs"])
            times = tf.range(1, shape[1] + 1, dtype=tf.float32)
            outputs = tf.tile(times[tf.newaxis, :, tf.newaxis], [shape[0], 1, 1])
            past = ~tf.sequence_mask(batch["length"], shape[1])[..., tf.newaxis]
            outputs = tf.where(past, -7.0, outputs)
            state = tf.fill([shape[0], 1], tf.cast(shape[1], tf.float32))
            logits = self.head(outputs) + 0.0 * tf.reduce_sum(self.embedding.embeddings)
            return ModelOutputs(logits, outputs, [state])

    model = model_of(Counts, cell="basic_rnn", units=1)
    found = correctness(model, [batch_of([4, 1, 0])], LOSS)
    for given in ("with", "without"):
        assert found[f"correctness/max_abs_error_output_{given}_lengths"] == 0
        assert found[f"correctness/max_abs_output_past_end_{given}_lengths"] == 7
        assert found[f"correctness/max_abs_error_state_{given}_lengths"] == 4  # the empty one's is 0
        assert found[f"correctness/max_rel_error_state_{given}_lengths"] == pytest.approx(4 / RELATIVE_FLOOR)


def _broken(how: str) -> type[SequenceModel]:
    class Broken(SequenceModel):
        """Passes its lengths, and still does one thing wrong."""

        def run(self, batch: Any, **options: Any) -> Any:
            ran = super().run(batch, **options)
            longest = tf.shape(batch["inputs"])[1]
            padded = tf.cast(batch["length"] < longest, ran.outputs.dtype)
            state, outputs, logits = ran.state, ran.outputs, ran.logits
            if how == "state":  # one unit of an example that is padded is off by a little
                state = [state[0] + 1e-3 * padded[:, tf.newaxis], *state[1:]]
            elif how == "output":
                outputs = outputs + 1e-3 * padded[:, tf.newaxis, tf.newaxis]
            elif how == "logits":  # the head looks at the padded length
                logits = logits + 0.1 * tf.cast(longest, logits.dtype) * [1.0, 0.0, 0.0]
            elif how == "content":  # the head looks at what lies past the end
                logits = logits + tf.cast(tf.reduce_sum(batch["inputs"], 1), logits.dtype)[:, None, None] * [
                    1.0,
                    0,
                    0,
                ]
            return ModelOutputs(logits, outputs, state)

    return Broken


@pytest.mark.parametrize(
    ("how", "caught_by"),
    [
        ("state", {"max_abs_error_state_with_lengths"}),
        pytest.param(
            "output",
            {"max_abs_error_output_with_lengths", "max_abs_output_past_end_with_lengths"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "logits", {"loss_change_padding_longer", "gradient_change_padding_longer"}, marks=pytest.mark.slow
        ),
        ("content", {"loss_change_padding_random", "gradient_change_padding_random"}),
    ],
)
def test_a_model_that_is_wrong_in_one_way_is_caught_in_that_way(how: str, caught_by: set[str]) -> None:
    found = correctness(model_of(_broken(how)), BATCHES, LOSS)
    watched = {
        name: v
        for name, v in {**of(found, "with_lengths"), **of(found, "change")}.items()
        if "rel" not in name
    }
    assert {name for name, value in watched.items() if value > 5e-4} == caught_by


def test_a_nan_past_the_end_does_not_hide() -> None:
    class Leaks(SequenceModel):
        def run(self, batch: Any, **options: Any) -> Any:
            ran = super().run(batch, **options)
            past = ~tf.sequence_mask(batch["length"], tf.shape(batch["inputs"])[1])[..., tf.newaxis]
            return ran._replace(outputs=tf.where(past, np.nan, ran.outputs))

    found = correctness(model_of(Leaks), BATCHES, LOSS)
    assert np.isnan(found["correctness/max_abs_output_past_end_with_lengths"])
    assert found["correctness/max_abs_error_output_with_lengths"] <= 1e-6


@pytest.mark.slow
def test_batches_without_padding_have_nothing_wrong() -> None:
    found = correctness(model_of(direction="both"), [batch_of([4, 4])], LOSS)
    assert max(of(found, "lengths").values()) <= 1e-6 / RELATIVE_FLOOR
    assert found["correctness/max_abs_output_past_end_without_lengths"] == 0


@pytest.mark.slow  # quick: ids
def test_features_are_probed_as_ids_are() -> None:
    model = model_of(vocabulary_size=None, feature_size=2)
    batch = batch_of([4, 2])
    batch["inputs"] = np.stack([np.sin(batch["inputs"]), np.sin(2.0 * batch["inputs"])], -1).astype(
        np.float32
    )
    found = correctness(model, [batch], LOSS)
    assert max(of(found, "with_lengths").values()) <= 1e-6 / RELATIVE_FLOOR
    assert max(of(found, "change").values()) <= 1e-5
    assert found["correctness/max_abs_error_state_without_lengths"] > 1e-2


@pytest.mark.slow
def test_the_same_seed_draws_the_same_padding() -> None:
    model = model_of(task="classify", pass_lengths=False)
    batches = [batch_of([5, 2], task="classify")]
    first, again, other = (correctness(model, batches, LOSS, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["correctness/loss_change_padding_random"] != other["correctness/loss_change_padding_random"]


@pytest.mark.parametrize("make", [list, lambda: [{**batch_of([2, 1]), "length": np.array([3, 1], np.int32)}]])
def test_nothing_to_compare_or_lengths_that_cannot_be_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(
        ValueError, match=r"got no batches|batch 0: length must lie between 0 and .* 2, got 1 to 3"
    ):
        correctness(model_of(), make(), LOSS)


def test_a_cell_as_keras_own_documentation_writes_one_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plain_elsewhere", SimpleNamespace(Plain=Plain))
    own = {"target": "plain_elsewhere:Plain"}
    found = correctness(model_of(cell="custom", cell_options=own, direction="both"), BATCHES, LOSS)
    assert set(found) == NAMES
    assert of(found, "max_abs_error_state_with_lengths")["max_abs_error_state_with_lengths"] < 1e-6


def test_batches_are_probed_of_which_one_has_padding() -> None:
    """Of buckets the first may have none: every error without lengths would be 0."""
    full, some = ({"inputs": np.zeros([2, 3]), "length": np.array(lengths)} for lengths in ([3, 3], [3, 1]))
    for batches, wanted in (
        ([some, full, some], [0, 1]),
        ([full, some, full], [0, 1]),
        ([full, full, some], [2]),
    ):
        found, padded = with_padding(batches, 2)
        assert ([*map(id, found)], padded) == ([id(batches[i]) for i in wanted], True)
    assert with_padding([full, full, full], 2) == ([full, full], False)
    assert with_padding([{"inputs": np.zeros([0, 3]), "length": np.zeros(0, int)}], 2)[1] is False
    told = {name for name in METRICS if name.startswith("correctness/") and not is_of_padding(name)}
    assert {name for name in told if "without" in name or "past_end" in name or "random" in name} == set()
    assert "correctness/max_abs_error_output_with_lengths" in told
