"""Truncated back-propagation: chunks with carried state against one long run."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.cell import SCHEMAS as CELLS
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import SCHEMAS as OPTIMIZERS
from workbench.options.rnn import SCHEMAS as RNNS
from workbench.options.training import Training
from workbench.training import batch_loss, make_train_step, train
from workbench.training.truncated import chunks

LENGTHS = np.array([11, 4, 0, 7], np.int32)
VALID = np.arange(11) < LENGTHS[:, np.newaxis]
DRAW = np.random.default_rng(0)
IDS = np.where(VALID, DRAW.integers(1, 9, VALID.shape), 0).astype(np.int32)
BATCH = {
    "inputs": IDS,
    "labels": np.where(VALID, DRAW.integers(0, 5, VALID.shape), 0).astype(np.int32),
    "length": LENGTHS,
    "index": np.arange(4),
}


def model_of(
    cell: str = "lstm", rnn: str = "dynamic", direction: str = "forward", **given: Any
) -> SequenceModel:
    return SequenceModel(
        CELLS[cell](cell, 4), RNNS[rnn](rnn, True, direction), Model(embedding_size=3, layers=2, dtype="float64"),
        **{"task": "tag", "classes": 5, "vocabulary_size": 9, **given},
    )  # fmt: skip


def step_of(model: SequenceModel, steps: int | None, rate: float = 0.125, **loss: Any) -> Any:
    step = make_train_step(model, OPTIMIZERS["sgd"]("sgd", 0.1), Loss("length", **loss), truncate=steps)
    step.optimizer.learning_rate = rate
    return step


@pytest.mark.parametrize(
    ("cell", "rnn"),
    [
        ("lstm", "dynamic"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("gru", "packed"),
                ("lstm", "static"),
                ("lstm", "keras"),
                ("layer_norm_lstm", "packed"),
                ("grid_lstm", "dynamic"),
            )
        ),
    ],
)
@pytest.mark.parametrize("steps", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 20))])
def test_without_updates_chunks_have_the_loss_of_one_long_run(cell: str, rnn: str, steps: int) -> None:
    model = model_of(cell, rnn)
    whole = step_of(model, None, rate=0.0).run(BATCH)
    done = step_of(model, steps, rate=0.0).run(BATCH)
    assert done.loss == pytest.approx(whole.loss, rel=1e-12)
    assert done[1:] == whole[1:]  # what counted, examples, padded and valid tokens


@pytest.mark.slow  # quick: the losses above, the update below
def test_a_chunk_as_long_as_the_batch_is_no_truncation() -> None:
    """Loss and weights are those of a plain step, bit for bit."""
    ends = []
    for steps in (None, 11):
        model = model_of()
        losses = [step_of(model, steps).run(BATCH).loss for _ in range(2)]
        ends.append((losses, [np.asarray(weight) for weight in model.weights]))
    (losses, weights), (expected, right) = ends
    assert losses == expected
    for one, other in zip(weights, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_chunk_is_an_update_by_the_gradient_within_it() -> None:
    """By hand: the state is a constant where a chunk begins, and weights move after each."""
    model, by_hand = model_of(), model_of()
    done = step_of(model, 4).run(BATCH)
    states, losses, weights = by_hand.initial_states(4), [], []
    for chunk in chunks(BATCH, 4):
        with tf.GradientTape() as tape:
            found = by_hand.run(chunk, states=states)
            parts = batch_loss(by_hand, chunk, found.logits, Loss("length"))
            loss = parts.sum / parts.denominator
        slopes = tape.gradient(loss, by_hand.trainable_variables)
        for variable, slope in zip(by_hand.trainable_variables, slopes, strict=True):
            variable.assign_sub(0.125 * tf.convert_to_tensor(slope))
        states = [tf.constant(one.numpy()) for one in found.state]
        losses.append(float(loss))
        weights.append(float(parts.denominator))
    assert done.loss == pytest.approx(np.average(losses, weights=weights), rel=1e-12)
    for one, right in zip(model.weights, by_hand.weights, strict=True):
        np.testing.assert_allclose(one, right, rtol=1e-10, atol=1e-14)


@pytest.mark.slow  # quick: each chunk is an update by the gradient within it
def test_the_gradient_of_the_first_chunks_inputs_stops_at_its_end() -> None:
    """What the second chunk would say of the first chunk's inputs is cut; in one long run it is not."""
    labels = BATCH["labels"].copy()
    only_late = {**BATCH, "inputs": IDS[:1], "labels": labels[:1], "length": LENGTHS[:1]}
    early = np.unique(IDS[0, :4])
    moved = {}
    for steps in (None, 4):
        model = model_of()
        # the loss counts from the fifth step on: class 4, of no step, weighs nothing
        late = {**only_late, "labels": np.where(np.arange(11) < 4, 4, labels[:1] % 4).astype(np.int32)}
        before = model.embedding.embeddings.numpy()
        step_of(model, steps, class_weights=[1.0, 1.0, 1.0, 1.0, 0.0]).run(late)
        gone = np.abs(model.embedding.embeddings.numpy() - before).max(axis=1)
        moved[steps] = gone[[one for one in early if one not in IDS[0, 4:]]]
    assert (moved[None] > 0).all()
    assert (moved[4] == 0).all()


@pytest.mark.slow  # quick: each chunk's update
@pytest.mark.parametrize("rnn", ["dynamic", "packed"])
def test_it_trains(rnn: str) -> None:
    """The label is the token three steps back: it crosses chunks by the state."""
    draw = np.random.default_rng(0)
    ids = draw.integers(1, 5, (32, 24)).astype(np.int32)
    labels = np.concatenate([np.zeros((32, 1), np.int32), ids[:, :-1]], 1)
    batch = {"inputs": ids, "labels": labels, "length": np.full(32, 24, np.int32)}
    model = SequenceModel(
        CELLS["lstm"]("lstm", 16), RNNS[rnn](rnn, True, "forward"), Model(embedding_size=8), task="tag",
        classes=5, vocabulary_size=5,
    )  # fmt: skip
    step = make_train_step(model, OPTIMIZERS["adam"]("adam", 0.01), Loss("length"), truncate=6)
    result = train(step, lambda epoch: [batch], Training(epochs=60))
    assert result.losses[-1] < 0.1
    assert step.traces == 1
    assert result.batches == 60
    assert result.valid_tokens == 60 * 32 * 24


@pytest.mark.slow  # quick: each chunk is one update
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_padding_beyond_the_longest_changes_nothing(optimizer: str) -> None:
    """A chunk of padding alone is no update: momentum would move weights by it."""
    ends = []
    for beyond in (0, 13):
        model = model_of()
        step = make_train_step(model, OPTIMIZERS[optimizer](optimizer, 0.125), Loss("length"), truncate=4)
        batch = {
            **BATCH,
            **{name: np.pad(BATCH[name], [(0, 0), (0, beyond)]) for name in ("inputs", "labels")},
        }
        losses = [step.run(batch).loss for _ in range(2)]
        ends.append(
            (int(step.optimizer.iterations.numpy()), losses, [weight.numpy() for weight in model.weights])
        )
    (updates, losses, weights), (expected, right, others) = ends
    assert updates == expected == 6
    np.testing.assert_allclose(losses, right, rtol=1e-12)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_a_mean_within_examples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\.average=example is a mean within whole examples"):
        step_of(model_of(), 4, average="example")


def test_each_chunk_is_one_update_of_the_optimizer() -> None:
    step = step_of(model_of(), 4)
    step.run(BATCH)
    assert int(keras.ops.convert_to_numpy(step.optimizer.iterations)) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [({"task": "classify"}, "for the task classify"), ({"direction": "both"}, "runs both")],
)
def test_models_that_cannot_go_on_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"training.truncate=4: .*{words}"):
        step_of(model_of(**given), 4)


@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout"])
def test_a_keras_cells_one_mask_of_a_sequence_is_refused(rate: str) -> None:
    own = CELLS["custom"]("custom", 4, target="keras.layers:GRUCell", options={rate: 0.5})
    model = SequenceModel(
        own, RNNS["dynamic"]("dynamic"), Model(embedding_size=3), task="tag", classes=5, vocabulary_size=9
    )
    step_of(model, None)
    with pytest.raises(ValueError, match=r"training.truncate=4: .* one mask for all steps of a sequence"):
        step_of(model, 4)
