"""Metrics of runs that few have: resumed when all was done, and evaluated on a part."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench import measured
from workbench.record import Findings
from workbench.sweep.fitting import _best_by
from workbench.training.loop import TrainResult


def test_a_run_that_was_resumed_when_all_of_its_steps_were_known_has_no_first_step_and_is_not_diverged() -> (
    None
):
    """It was killed while it evaluated or timed; NaN is what a loss that diverged gives."""
    split = SimpleNamespace(label_share=lambda label: 0.25, mean_length=2.0)
    manifest = SimpleNamespace(splits={"train": split}, shards=[], longest=3)
    predicted = {"data/predicted_padding_share": 0.5}
    data: Any = SimpleNamespace(manifest=manifest, predicted=lambda: predicted, open_s=0.1, at_longest=1)
    result = TrainResult(seconds=1.0, batches=4, examples=8, valid_tokens=10, padded_tokens=20)
    assert math.isnan(result.first_step_s)
    found = measured._trained(result, data, SimpleNamespace(replicas=1))  # type: ignore[arg-type]
    assert found["speed/first_step_s"] is None
    assert Findings().add(found) == ""
    result.first_step_s = 0.5
    assert measured._trained(result, data, SimpleNamespace(replicas=1))["speed/first_step_s"] == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize(("evaluated", "commonest"), [(10, 0.6), (4, 0.75)])
def test_what_is_known_beyond_the_commonest_label_is_of_what_was_evaluated(
    evaluated: int, commonest: float
) -> None:
    split = SimpleNamespace(label_share=lambda: 0.6, examples=10)
    manifest = SimpleNamespace(splits={"validation": split}, labels_steps=True)
    evaluation = SimpleNamespace(examples=evaluated, classes=SimpleNamespace(actual=[3, 1]))
    data: Any = SimpleNamespace(manifest=manifest)
    found = measured._over_commonest(data, evaluation, {"accuracy/validation_per_token": 0.8})
    assert found["accuracy/validation_over_commonest"] == pytest.approx(0.8 - commonest)


def test_the_best_epoch_cannot_be_told_by_what_is_not_measured() -> None:
    manifest: Any = SimpleNamespace(task="next")
    (problem,) = _best_by({"training": {"best_by": "f1"}}, manifest, Path("folder"))
    assert "is not measured of the task" in problem.remedy
    assert not _best_by({"training": {"best_by": "loss"}}, manifest, Path("folder"))
    assert not _best_by({"training": {"best_by": "f1"}}, SimpleNamespace(task="tag"), Path("folder"))  # type: ignore[arg-type]
