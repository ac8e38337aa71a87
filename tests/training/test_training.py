from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.cell import SCHEMAS as CELL_OPTIONS
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import SCHEMAS, AdamW, Momentum, Optimizer
from workbench.options.rnn import SCHEMAS as RNN_OPTIONS
from workbench.options.training import Training
from workbench.training import (
    OPTIMIZERS,
    Evaluation,
    Evaluator,
    TrainResult,
    TrainStep,
    first_not_finite,
    make_optimizer,
    make_train_step,
    train,
    weights_digest,
)

Batch = dict[str, np.ndarray]
Toy = Callable[..., list[Batch]]


def model_of(
    cell: str = "basic_rnn",
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
    return SequenceModel(
        CELL_OPTIONS[cell](cell, units, **cell_options),
        RNN_OPTIONS[rnn](rnn, pass_lengths, direction, **rnn_options),
        Model(**{"embedding_size": 4, **around}),
        **{"task": "tag", "classes": 2, "vocabulary_size": 10, **given},
    )


def step_of(
    model: SequenceModel,
    name: str = "adam",
    learning_rate: float = 0.05,
    clip_norm: float | None = None,
    *,
    average: str = "token",
    mask: str = "length",
) -> TrainStep:
    options = SCHEMAS[name](name, min(learning_rate, 1.0), clip_norm)
    step = make_train_step(model, options, Loss(mask, average))
    step.optimizer.learning_rate = learning_rate  # none that is beyond all numbers can be asked for
    return step


def trained(
    model: SequenceModel,
    batches: Callable[[int], Any],
    step: TrainStep | None = None,
    log: Any = None,
    clock: Any = time.perf_counter,
    **training: Any,
) -> TrainResult:
    return train(step or step_of(model), batches, Training(**training), log=log, clock=clock)


def evaluate(model: SequenceModel, batches: Any, average: str = "token", mask: str = "length") -> Evaluation:
    return Evaluator(model, Loss(mask, average))(batches)


# ------------------------------------------------------------------ train
@pytest.mark.parametrize("task", ["tag", pytest.param("classify", marks=pytest.mark.slow)])
def test_training_learns_a_toy_set(toy: Toy, task: str) -> None:
    model = model_of(task=task, direction="both")
    before = evaluate(model, toy(task=task))
    result = trained(model, lambda epoch: toy(epoch, task=task), epochs=12)
    after = evaluate(model, toy(99, task=task))
    assert after.loss_per_token < before.loss_per_token / 3
    assert after.accuracy_per_token > 0.95
    assert result.losses[-1] < result.losses[0] / 3
    assert len(result.losses) == result.batches == 48
    assert not result.diverged


def test_what_a_cell_of_ones_own_adds_to_the_loss_is_minimised_with_it(toy: Toy) -> None:
    ends = []
    for options in ({}, {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.25}}}):
        own = {"target": "keras.layers:SimpleRNNCell", "options": options}
        model = model_of("custom", cell_options=own, dtype="float64", seed=1)
        kernel = model.cells_forward[0].kernel
        before, step = kernel.numpy(), step_of(model, "sgd", 0.125)
        ends.append((step.run(toy()[0]).loss, before, kernel.numpy()))
    (loss, _, plain), (reported, before, weighed) = ends
    assert reported == loss
    np.testing.assert_allclose(weighed, plain - 0.125 * 2 * 0.25 * before, rtol=1e-12)


def test_what_a_step_adds_to_the_loss_inside_a_loop_is_refused(toy: Toy) -> None:
    """It is a tensor of the loop's body, which nothing outside can take."""
    own = {"target": "keras.layers:SimpleRNNCell", "options": {}}
    model = model_of("custom", cell_options=own, seed=1)
    cell = model.cells_forward[0]
    call = cell.call

    def adds(inputs: tf.Tensor, *given: Any, **more: Any) -> Any:
        cell.add_loss(tf.reduce_sum(inputs))
        return call(inputs, *given, **more)

    cell.call = adds
    with pytest.raises(ValueError, match=r"adds to the loss .* inside the loop over steps, where it is lost"):
        step_of(model, "sgd", 0.125).run(toy()[0])


def test_what_was_fed_is_counted_exactly(toy: Toy) -> None:
    fed = [batch for epoch in range(2) for batch in toy(epoch)]
    result = trained(model_of(), toy, epochs=2)
    assert result.batches == len(fed) == 8
    assert result.examples == 48
    assert result.valid_tokens == sum(int(batch["length"].sum()) for batch in fed)
    assert result.padded_tokens == sum(batch["inputs"].size for batch in fed)
    assert result.largest_batch_bytes == 6 * 8 * 4 * 2 + 6 * 4 + 6 * 8  # inputs and labels, length, index
    assert (
        result.order_sha256
        == hashlib.sha256(b"".join(b["index"].astype("<i8").tobytes() for b in fed)).hexdigest()
    )
    assert result.losses_sha256 == hashlib.sha256(np.array(result.losses, "<f8").tobytes()).hexdigest()


def test_tensors_of_a_data_set_count_as_arrays_do(toy: Toy) -> None:
    arrays = trained(model_of(), toy)
    tensors = trained(
        model_of(), lambda epoch: [{k: tf.constant(v) for k, v in b.items()} for b in toy(epoch)]
    )
    for name in (
        "losses",
        "order_sha256",
        "valid_tokens",
        "padded_tokens",
        "examples",
        "largest_batch_bytes",
    ):
        assert getattr(tensors, name) == getattr(arrays, name)


@pytest.mark.slow  # quick: tests/reproducibility
def test_one_seed_gives_one_result_and_another_another(toy: Toy) -> None:
    def run(seed: int) -> tuple[str, str]:
        model = model_of(seed=seed, dropout=0.3)
        result = trained(model, toy, epochs=2)
        return result.losses_sha256, weights_digest(model)

    first = run(0)
    assert run(0) == first
    assert set(run(1)).isdisjoint(first)


def test_the_first_loss_is_that_of_the_weights_before_the_update(toy: Toy) -> None:
    model = model_of()
    expected = evaluate(model, toy()[:1]).loss_per_token
    result = trained(model, toy, max_steps=1)
    assert result.batches == 1
    assert result.losses[0] == pytest.approx(expected, rel=1e-6)


def test_the_last_epochs_objective_weighs_batches_by_their_denominators(toy: Toy) -> None:
    result = trained(model_of(), toy, epochs=2)
    tokens = np.array([batch["length"].sum() for batch in toy(1)])
    assert result.objective_last_epoch == pytest.approx(
        (result.losses[4:] * tokens).sum() / tokens.sum(), rel=1e-12
    )


def test_it_stops_where_the_loss_is_no_number_and_says_at_which_step(toy: Toy) -> None:
    model = model_of()
    given = toy()

    def batches(epoch: int) -> Any:
        yield given[0]
        yield given[1]
        model.head.bias.assign([np.nan, 0.0])
        yield given[2]
        raise AssertionError("training went on after a loss of NaN")

    result = trained(model, batches, epochs=3)
    assert result.diverged
    assert result.diverged_at == 3
    assert result.not_finite == "its loss is nan"
    assert np.isfinite(result.losses[:2]).all()
    assert np.isnan(result.losses[2])


@pytest.mark.parametrize("log_every", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3)), 20])
def test_the_loss_that_is_no_number_is_logged_however_often_others_are(toy: Toy, log_every: int) -> None:
    seen: list[float] = []
    model = model_of()
    result = trained(
        model,
        toy,
        step_of(model, "sgd", float("inf")),
        log=lambda step, values: seen.append(values["loss/step"]),
        log_every=log_every,
    )
    assert result.diverged_at == 2
    assert np.isfinite(seen[:-1]).all()
    assert np.isnan(seen[-1])


@pytest.mark.covering(1)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize(
    "name",
    [name if name in ("sgd", "adam") else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS],
)
def test_what_the_last_update_left_is_looked_at(toy: Toy, name: str, clip_norm: float | None) -> None:
    model = model_of()
    result = trained(model, toy, step_of(model, name, float("inf"), clip_norm), max_steps=1)
    assert np.isfinite(result.losses).all()
    assert result.diverged_at == 1
    assert "after its update embedding/embeddings is not finite, nor are" in result.not_finite


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
def test_what_the_optimizer_keeps_is_looked_at_too(dtype: str) -> None:
    """A mean of squares that overflows stops its weight, and no loss tells."""
    step = step_of(model_of(dtype=dtype))
    assert first_not_finite(step) == ""
    kept = next(one for one in step.optimizer.variables if "velocity" in one.path)
    kept.assign(np.full(kept.shape, np.inf))
    assert first_not_finite(step) == f"{kept.path} is not finite"


def test_log_is_called_every_so_often_and_at_the_end(toy: Toy) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    result = trained(
        model_of(), toy, epochs=2, max_steps=7, log=lambda step, v: seen.append((step, v)), log_every=3
    )
    assert [step for step, _ in seen] == [3, 6, 7]
    assert [values["loss/step"] for _, values in seen] == [result.losses[i] for i in (2, 5, 6)]
    assert [values["epoch"] for _, values in seen] == [1, 2, 2]
    assert seen[-1][1]["data/valid_tokens"] == result.valid_tokens


def test_time_of_logging_is_left_out_and_that_of_waiting_for_a_batch_told_apart(toy: Toy) -> None:
    now = [0.0]

    def late(epoch: int) -> Any:
        now[0] += 0.5  # the start of an epoch's input
        for batch in toy(epoch):
            now[0] += 0.25
            yield batch

    def log(step: int, values: dict[str, float]) -> None:
        now[0] += 8.0

    result = trained(model_of(), late, epochs=2, log=log, log_every=1, clock=lambda: now[0])
    assert result.batches == 8
    assert result.input_wait_s == 2 * 0.5 + 8 * 0.25
    assert result.seconds == result.input_wait_s


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(epochs=0), r"training.epochs=0: must be at least 1"),
        (lambda: Loss("length", "sum"), r"loss.average=sum: must be one of token, example"),
        (lambda: Loss("bool"), r"loss.mask=bool: must be one of length, sign, none"),
        (lambda: Optimizer("adam", clip_norm=0.0), r"optimizer.clip_norm=0.0: must be more than 0"),
        (lambda: Optimizer("adam", np.inf), r"optimizer.learning_rate=inf: must be a finite number"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_no_batches_is_an_error() -> None:
    with pytest.raises(ValueError, match="training got no batches"):
        trained(model_of(), lambda epoch: [])


# ------------------------------------------------------------------ the validation split on the way
def validation_of(model: SequenceModel, batches: Any) -> Callable[[], dict[str, float]]:
    """What `train` is given to evaluate with."""

    def validate() -> dict[str, float]:
        found = evaluate(model, batches)
        return {
            "loss/validation_epoch": found.loss_per_token,
            "accuracy/validation_epoch": found.accuracy_per_token,
        }

    return validate


def scripted(costs: list[float], model: SequenceModel | None = None) -> tuple[Any, list[Any]]:
    """An evaluation that gives these losses, and accuracies that fall as they do; the weights as it found them."""
    left, found = list(costs), []

    def validate() -> dict[str, float]:
        if model is not None:
            found.append([weight.numpy().copy() for weight in model.weights])
        cost = left.pop(0)
        rising = {f"{name}/validation_epoch": cost / 10 for name in ("accuracy", "f1")}
        return {"loss/validation_epoch": cost, **rising}

    return validate, found


@pytest.mark.slow  # quick: what is evaluated, and when
def test_evaluating_on_the_way_changes_no_bit_of_training_and_its_time_is_left_out(toy: Toy) -> None:
    now, digests = [0.0], []
    for evaluates in (False, True):
        # dropout around and in the cell: what is drawn must not depend on evaluations
        model = model_of(dropout=0.3, embedding_dropout=0.2, cell_options={"output_keep_prob": 0.7})
        held_out = validation_of(model, toy(99))

        def validate(held_out: Any = held_out) -> dict[str, float]:
            now[0] += 8.0
            return held_out()

        seen: dict[int, dict[str, float]] = {}
        result = train(
            step_of(model),
            toy,
            Training(epochs=3),
            log=lambda step, values, seen=seen: seen.setdefault(step, {}).update(values),
            validate=validate if evaluates else None,
            clock=lambda: now[0],
        )
        digests.append((result.losses_sha256, result.order_sha256, weights_digest(model), result.traces))
        assert result.seconds == 0
    assert digests[0] == digests[1]
    curve = {step: values for step, values in seen.items() if "loss/validation_epoch" in values}
    assert list(curve) == [4, 8, 12]
    assert now[0] == 24
    assert result.validation == held_out()
    assert result.validation.items() <= curve[12].items()
    assert len({values["loss/validation_epoch"] for values in curve.values()}) == 3


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"epochs": 5, "validate_every": 2}, [8, 16, 20]),  # and at the last step
        pytest.param({"epochs": 5, "validate_every": 9}, [20], marks=pytest.mark.slow),
        ({"epochs": 3, "max_steps": 6}, [4, 6]),
        pytest.param({"epochs": 3, "max_steps": 4}, [4], marks=pytest.mark.slow),
        ({"epochs": 3, "validate_every": None}, []),
        pytest.param(
            {"epochs": 1}, [], marks=pytest.mark.slow
        ),  # what is measured at the end is all there is
    ],
)
def test_it_is_evaluated_every_so_many_epochs_and_after_the_last_step(
    toy: Toy, options: dict[str, Any], steps: list[int]
) -> None:
    validate, _ = scripted([1.0] * len(steps))
    seen: list[int] = []

    def log(step: int, values: dict[str, float]) -> None:
        seen.extend([step] if "loss/validation_epoch" in values else [])

    train(step_of(model_of()), toy, Training(**options), log=log, validate=validate)
    assert seen == steps


@pytest.mark.parametrize(
    ("by", "costs", "best"),
    [
        ("loss", [3.0, 1.0, 2.0, 1.0], 2),  # of equal ones the first
        pytest.param("loss", [np.nan, 2.0, np.nan, 3.0], 2, marks=pytest.mark.slow),
        pytest.param("accuracy", [1.0, 2.0, 4.0, 3.0], 3, marks=pytest.mark.slow),
        ("f1", [1.0, 4.0, np.nan, 3.0], 2),
    ],
)
def test_the_best_epochs_weights_are_put_back_where_they_are_to_be_kept(
    toy: Toy, by: str, costs: list[float], best: int
) -> None:
    model = model_of()
    validate, found = scripted(costs, model)
    result = train(step_of(model), toy, Training(epochs=4, keep="best", best_by=by), validate=validate)
    assert result.best_epoch == best
    assert len(result.losses) == 16
    for weight, then, last in zip(model.weights, found[best - 1], found[-1], strict=True):
        np.testing.assert_array_equal(weight.numpy(), then)
        assert (then != last).any()


@pytest.mark.parametrize("keep", ["none", "last"])
def test_else_the_last_steps_weights_stay(toy: Toy, keep: str) -> None:
    model = model_of()
    validate, found = scripted([1.0, 2.0], model)
    assert train(step_of(model), toy, Training(epochs=2, keep=keep), validate=validate).best_epoch == 1
    for weight, last in zip(model.weights, found[-1], strict=True):
        np.testing.assert_array_equal(weight.numpy(), last)


def test_it_ends_early_where_nothing_gets_better_and_says_so(toy: Toy) -> None:
    validate, _ = scripted([3.0, 2.0, 2.5, 2.0])
    result = train(step_of(model_of()), toy, Training(epochs=9, patience=2), validate=validate)
    assert result.batches == 16
    assert result.ended_early == (
        "ended early, after epoch 4 of 9: no better validation loss in training.patience=2 evaluations "
        "since epoch 2"
    )
    validate, _ = scripted([3.0, 2.0, 2.5, 2.0])
    result = train(step_of(model_of()), toy, Training(epochs=4, patience=2), validate=validate)
    assert result.ended_early == "", "its epochs were over"


@pytest.mark.parametrize("options", [{"keep": "best"}, {"patience": 3}])
def test_without_a_validation_split_there_is_no_best_epoch(toy: Toy, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"training.{name}={value}: there is no validation split"):
        trained(model_of(), toy, epochs=2, **options)


# ------------------------------------------------------------------ the step
def test_a_dynamic_step_is_one_graph_for_all_lengths_and_sizes(toy: Toy) -> None:
    model = model_of()
    step = step_of(model, "sgd", 0.1)
    first = toy(size=3, longest=5)[0]
    assert step.would_trace(first)
    for batch in (first, *toy(size=5, longest=9), *toy(size=2, longest=3)):
        step(batch)
    assert step.traces == 1
    assert not step.would_trace(toy(size=7, longest=40)[0])


def test_a_static_step_is_one_graph_for_each_length_whatever_the_batch_size(toy: Toy) -> None:
    model = model_of(rnn="static")
    step = step_of(model, "sgd", 0.1)
    for size in (3, 5):
        for longest in (4, 2):
            step(toy(size=size, longest=longest)[0])
    assert step.traces == 2
    assert step.would_trace(toy(longest=3)[0])


@pytest.mark.slow  # quick: tests/rnn holds their gradients
def test_both_runners_train_alike(toy: Toy) -> None:
    models = [model_of(rnn=rnn, dtype="float64") for rnn in ("static", "dynamic")]
    results = [trained(model, lambda epoch: toy(epoch, longest=4)) for model in models]
    np.testing.assert_allclose(results[0].losses, results[1].losses, rtol=1e-9)


def test_a_step_traced_before_is_used_and_not_made_again(toy: Toy) -> None:
    step = step_of(model_of())
    step.trace(toy()[0])
    result = train(step, toy, Training())
    assert result.traces == step.traces == 1
    assert result.losses == trained(model_of(), toy).losses


@pytest.mark.parametrize("clip_norm", [0.01, None])
def test_clipping_bounds_the_norm_of_the_whole_gradient(toy: Toy, clip_norm: float | None) -> None:
    model = model_of(dtype="float64")
    before = [weight.numpy() for weight in model.trainable_variables]
    step_of(model, "sgd", 1.0, clip_norm)(toy()[0])
    moved = [weight.numpy() - was for weight, was in zip(model.trainable_variables, before, strict=True)]
    norm = np.sqrt(
        sum((change**2).sum() for change in moved)
    )  # of the dense gradient, the embedding's included
    if clip_norm is None:
        assert norm > 0.1
    else:
        assert norm == pytest.approx(clip_norm, rel=1e-9)


def test_a_token_that_is_there_twice_moves_by_its_summed_gradient() -> None:
    # Adam's first step moves every weight that has a gradient by the learning rate, whatever its size.
    # Keras' Adam does not on an embedding's rows as they come: it squares each row of a repeated id apart.
    model = model_of(dtype="float64")
    before = model.embedding.embeddings.numpy()
    ids = np.array([[3, 3, 3, 5], [3, 5, 3, 7]], np.int32)
    batch = {"inputs": ids, "labels": ids % 2, "length": np.array([4, 4], np.int32)}
    step_of(model, "adam", 0.01)(batch)
    moved = np.abs(model.embedding.embeddings.numpy() - before)
    expected = np.zeros_like(moved)
    expected[[3, 5, 7]] = 0.01
    np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(  # each takes a step in test_what_the_last_update_left_is_looked_at
    "name",
    [one if one in ("sgd", "adam") else pytest.param(one, marks=pytest.mark.slow) for one in OPTIMIZERS],
)
def test_every_optimizer_takes_a_step_downhill(toy: Toy, name: str) -> None:
    model, batch = model_of(), toy()[0]
    step = step_of(model, name, 0.01)
    losses = [float(step(batch)) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_an_optimizer_takes_its_own_options() -> None:
    assert make_optimizer(Momentum()).momentum == 0.9
    assert make_optimizer(Momentum(momentum=0.5)).momentum == 0.5
    assert make_optimizer(AdamW(weight_decay=0.3)).weight_decay == 0.3
    assert make_optimizer(Optimizer("sgd", 0.25)).learning_rate == 0.25
    with pytest.raises(ValueError, match=r"optimizer.name=lion2: must be one of adam, adamw"):
        Optimizer("lion2")


def _other_padding(batch: Batch) -> Batch:
    """The same examples; what lies past their ends is another label."""
    past = np.arange(batch["labels"].shape[1]) >= batch["length"][:, np.newaxis]
    return {**batch, "labels": np.where(past, 1, batch["labels"]).astype(np.int32)}


@pytest.mark.covering(1)
@pytest.mark.parametrize(("mask", "sees_padding"), [("length", False), ("none", True), ("sign", True)])
@pytest.mark.parametrize("loss", ["token", "example"])
def test_only_the_length_mask_is_blind_to_padded_labels(
    toy: Toy, loss: str, mask: str, sees_padding: bool
) -> None:
    model = model_of()
    model.head.bias.assign([0.3, -0.3])  # past the end outputs are 0 and logits the bias alone
    first, other = (
        float(step_of(model, "sgd", 1e-9, average=loss, mask=mask)(batch))
        for batch in (toy()[0], _other_padding(toy()[0]))
    )
    assert (abs(first - other) > 1e-3) == sees_padding


def test_a_batch_of_empty_sequences_alone_costs_and_moves_nothing() -> None:
    model = model_of()
    before = weights_digest(model)
    empty = {
        "inputs": np.zeros((2, 3), np.int32),
        "labels": np.zeros((2, 3), np.int32),
        "length": np.zeros(2, np.int32),
    }
    assert float(step_of(model, "sgd", 1.0, 1.0)(empty)) == 0
    assert weights_digest(model) == before


# ------------------------------------------------------------------ evaluate
def _by_hand(model: SequenceModel, batches: list[Batch]) -> dict[str, float]:
    """Loss and accuracy from the logits, one example and one token at a time."""
    losses, hits = [], []
    for batch in batches:
        for row, logits in enumerate(np.asarray(model(batch), np.float64)):
            if model.task == "classify":
                cells = [(logits, batch["labels"][row])] if batch["length"][row] else []
            else:
                cells = [(logits[t], batch["labels"][row, t]) for t in range(batch["length"][row])]
            if cells:
                losses.append([np.log(np.exp(scores).sum()) - scores[label] for scores, label in cells])
                hits.append([float(scores.argmax() == label) for scores, label in cells])
    return {
        "loss_per_token": np.mean(np.concatenate(losses)),
        "loss_per_example": np.mean([np.mean(example) for example in losses]),
        "accuracy_per_token": np.mean(np.concatenate(hits)),
        "accuracy_per_example": np.mean([np.mean(example) for example in hits]),
    }


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_evaluation_equals_the_numbers_by_hand(toy: Toy, task: str) -> None:
    model, batches = model_of(task=task, dtype="float64"), toy(task=task)
    found = evaluate(model, batches)
    for name, value in _by_hand(model, batches).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name
    assert found.objective == pytest.approx(found.loss_per_token, rel=1e-12)
    lengths = np.concatenate([batch["length"] for batch in batches])
    assert found.examples == 24
    assert found.counted_examples == (lengths > 0).sum() < 24
    assert found.valid_tokens == (lengths.sum() if task == "tag" else (lengths > 0).sum())


@pytest.mark.parametrize("loss", ["token", "example"])
def test_how_examples_are_batched_does_not_matter(toy: Toy, loss: str) -> None:
    model, batches = model_of(dtype="float64"), toy()
    rows = [{k: v[i : i + 1] for k, v in batch.items()} for batch in batches for i in range(6)]
    alone = [
        {**row, **{k: row[k][:, : max(1, row["length"][0])] for k in ("inputs", "labels")}} for row in rows
    ]
    together, apart = (evaluate(model, given, loss) for given in (batches, alone[::-1]))
    assert together.perplexity is apart.perplexity is None
    for name in vars(together).keys() - {"classes", "perplexity"}:
        assert getattr(together, name) == pytest.approx(getattr(apart, name), rel=1e-12), name
    for ours, theirs in zip(vars(together.classes).values(), vars(apart.classes).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert together.objective == pytest.approx(getattr(together, f"loss_per_{loss}"), rel=1e-12)


def test_the_objective_counts_what_its_mask_counts(toy: Toy) -> None:
    model, batch = model_of(dtype="float64"), toy()[0]
    logits = np.asarray(model(batch))
    entropy = (
        np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, batch["labels"][..., None], -1)[..., 0]
    )
    found = {mask: evaluate(model, [batch], mask=mask) for mask in ("length", "sign", "none")}
    assert found["none"].objective == pytest.approx(entropy.mean(), rel=1e-12)
    assert found["sign"].objective == pytest.approx(entropy[batch["labels"] > 0].mean(), rel=1e-12)
    assert len({evaluation.loss_per_token for evaluation in found.values()}) == 1


def test_a_split_with_nothing_to_count_has_no_mean() -> None:
    empty = {
        "inputs": np.zeros((2, 1), np.int32),
        "labels": np.zeros((2, 1), np.int32),
        "length": np.zeros(2, np.int32),
    }
    for batches in ([], [empty]):
        found = evaluate(model_of(), batches)
        assert {found.loss_per_token, found.loss_per_example, found.accuracy_per_token, found.objective} == {
            None
        }


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_scores_that_are_no_numbers_give_no_loss_and_no_right_label(toy: Toy, task: str) -> None:
    """The argmax of NaN alone is class 0, and most labels may be that."""
    model = model_of(task=task)
    model.head.bias.assign([np.nan, np.nan])
    found = evaluate(model, [{**batch, "labels": 0 * batch["labels"]} for batch in toy(task=task)])
    assert np.isnan([found.loss_per_token, found.loss_per_example, found.objective]).all()
    assert (found.accuracy_per_token, found.accuracy_per_example) == (0, 0)


def test_losses_whose_sum_is_beyond_all_numbers_have_no_mean(toy: Toy) -> None:
    model = model_of(dtype="float64")
    model.head.bias.assign([1e308, -1e308])
    assert not np.isfinite(evaluate(model, toy()).loss_per_token)


def test_metrics_bear_names_of_the_table(toy: Toy) -> None:
    from workbench.record import METRICS

    for split in ("train", "validation"):
        assert set(evaluate(model_of(), toy()[:1]).metrics(split)) <= set(METRICS)


# ------------------------------------------------------------------ two processes
CHILD = """
import json, sys, numpy as np
from workbench.training import *
from workbench.model import SequenceModel
from workbench.options.cell import LSTM
from workbench.options.model import Model
from workbench.options.rnn import Dynamic
from workbench.options.loss import Loss
from workbench.options.optimizer import Optimizer
from workbench.options.training import Training
set_determinism(0, True)
random = np.random.default_rng(0)
def batches(epoch):
    for _ in range(8):
        ids = np.minimum(random.zipf(1.5, (64, 40)) + 1, 90).astype(np.int32)
        length = random.integers(0, 41, 64).astype(np.int32)
        yield {"inputs": ids, "labels": ids % 5, "length": length}
model = SequenceModel(
    LSTM(), Dynamic(direction="both"), Model(dropout=0.2), task="tag", classes=5, vocabulary_size=100
)
step = make_train_step(model, Optimizer("sgd", 0.1, clip_norm=1.0), Loss("length"))
result = train(step, batches, Training())
print(json.dumps([result.losses_sha256, weights_digest(model)]))
"""


@pytest.mark.slow  # quick: one seed in one process
@pytest.mark.command
def test_two_processes_with_determinism_end_in_the_same_bits() -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    printed = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    first, second = (json.loads(text.splitlines()[-1]) for text in printed)
    assert first == second
