"""Weights of steps and examples in training: every kind of step, and the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workbench.model import SequenceModel
from workbench.options.cell import SCHEMAS as CELLS
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import SCHEMAS as OPTIMIZERS
from workbench.options.rnn import SCHEMAS as RNNS
from workbench.probes.longer import takes_longer_sequence
from workbench.training import make_train_step
from workbench.training.evaluation import Evaluator

Batch = dict[str, np.ndarray]


def model_of(rnn: str = "dynamic") -> SequenceModel:
    return SequenceModel(
        CELLS["lstm"]("lstm", 4), RNNS[rnn](rnn), Model(embedding_size=3, dtype="float64"),
        task="tag", classes=2, vocabulary_size=10,
    )  # fmt: skip


def weigh(batch: Batch, of: str) -> Batch:
    shape = batch["inputs"].shape if of == "step" else batch["inputs"].shape[:1]
    return {**batch, "weights": np.random.default_rng(1).integers(0, 3, shape).astype(np.float32)}


def repeated(batch: Batch) -> Batch:
    """Each example as often as its weight says."""
    times = batch["weights"].astype(int)
    return {name: np.repeat(batch[name], times, axis=0) for name in ("inputs", "labels", "length")}


@pytest.mark.parametrize("truncate", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_an_example_that_weighs_two_is_two_examples(
    toy: Callable[..., list[Any]], truncate: int | None
) -> None:
    [batch] = toy(batches=1)
    batch = weigh(batch, "example")
    done = []
    for given in (batch, repeated(batch)):
        model = model_of()
        model.set_weights([np.full(one.shape, 0.1) + np.arange(one.size).reshape(one.shape) % 5 / 10
                           for one in model.get_weights()])  # fmt: skip
        step = make_train_step(model, OPTIMIZERS["sgd"]("sgd", 0.5), Loss("length"), truncate=truncate)
        done.append((step.run(given), model.get_weights()))
    (one, weights), (other, same) = done
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert one.denominator == other.denominator
    for mine, its in zip(weights, same, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-7)


@pytest.mark.covering(1)
@pytest.mark.parametrize("rnn", ["dynamic", "static"])
@pytest.mark.parametrize("of", ["step", "example"])
def test_the_objective_is_weighed_and_the_true_loss_is_not(
    toy: Callable[..., list[Any]], of: str, rnn: str
) -> None:
    model = model_of(rnn)
    plain = toy(batches=2)
    weighed = [weigh(batch, of) for batch in plain]
    alike, other = (Evaluator(model, Loss("length"))(batches) for batches in (plain, weighed))
    assert (alike.loss_per_token, alike.accuracy_per_token) == (
        other.loss_per_token,
        other.accuracy_per_token,
    )
    assert alike.objective == pytest.approx(alike.loss_per_token, rel=1e-6)
    assert other.objective != pytest.approx(alike.objective, rel=1e-4)
    ones = [{**batch, "weights": np.ones_like(batch["weights"])} for batch in weighed]
    assert Evaluator(model, Loss("length"))(ones).objective == pytest.approx(alike.objective, rel=1e-6)


def test_one_graph_serves_all_batches_of_weighed_examples(toy: Callable[..., list[Any]]) -> None:
    step = make_train_step(model_of(), OPTIMIZERS["sgd"]("sgd", 0.5), Loss("length"))
    for batch in toy():
        step.run(weigh(batch, "step"))
    assert step.traces == 1


def test_nothing_that_weighs_is_no_step(toy: Callable[..., list[Any]]) -> None:
    [batch] = toy(batches=1)
    step = make_train_step(model_of(), OPTIMIZERS["sgd"]("sgd", 0.5), Loss("length"))
    before = step.model.get_weights()
    done = step.run({**batch, "weights": np.zeros(len(batch["length"]), np.float32)})
    assert (done.loss, done.denominator) == (0.0, 0.0)
    for one, other in zip(before, step.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_graph_is_asked_with_them_whether_it_takes_a_longer_sequence(toy: Callable[..., list[Any]]) -> None:
    [batch] = toy(batches=1)
    assert takes_longer_sequence(model_of(), weigh(batch, "step"))
    assert not takes_longer_sequence(model_of("static"), weigh(batch, "step"))
