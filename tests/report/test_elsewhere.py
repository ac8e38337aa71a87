from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.record import Run
from workbench.record.frames import runs_of
from workbench.report.elsewhere import compare_elsewhere, compare_results, other_seeds

RECORDED = {"data/valid_tokens": 900.0, "loss/validation_per_token": 0.50, "speed/valid_tokens_per_s": 1e4}
SEEDS = [{"loss/validation_per_token": value} for value in (0.46, 0.48, 0.50, 0.52, 0.54)]


def judged(again: dict[str, float], seeds: Any = SEEDS, losses: Any = ((), ())) -> dict[str, str]:
    return {one.name: one.judgement for one in compare_elsewhere(RECORDED, RECORDED | again, losses, seeds)}


def test_counts_must_be_equal_and_what_a_clock_says_is_not_judged() -> None:
    found = judged({"data/valid_tokens": 901.0, "speed/valid_tokens_per_s": 3e4})
    assert found == {
        "data/valid_tokens": "different",
        "loss/validation_per_token": "equal",
        "speed/valid_tokens_per_s": "not judged",
    }


# mean 0.5, sd 0.0316, t(4) 2.776, sqrt(1 + 1/5): 0.5 +- 0.0962
@pytest.mark.parametrize(
    ("loss", "judgement"), [(0.595, "within noise"), (0.598, "different"), (0.404, "within noise")]
)
def test_what_was_learnt_lies_in_the_prediction_interval_of_the_other_seeds(
    loss: float, judgement: str
) -> None:
    assert judged({"loss/validation_per_token": loss})["loss/validation_per_token"] == judgement
    assert judged({"loss/validation_per_token": loss}, SEEDS[:3])["loss/validation_per_token"] == "not judged"


def test_the_interval_holds_the_next_seed_as_often_as_it_says() -> None:
    draw, inside = np.random.default_rng(3), 0
    for _ in range(2000):
        values = draw.normal(size=7)
        seeds = [{"loss/validation_per_token": value} for value in values[:6]]
        inside += (
            judged({"loss/validation_per_token": float(values[6])}, seeds)["loss/validation_per_token"]
            != "different"
        )
    assert 0.935 < inside / 2000 < 0.965


def test_what_agrees_with_an_unusual_record_is_no_difference() -> None:
    """The record's own seed may lie outside of what the others expect: so then does a run that repeats it."""
    loss = "loss/validation_per_token"
    for again, judgement in ((0.60 * (1 + 1e-9), "within noise"), (0.61, "different")):
        (one,) = compare_elsewhere({loss: 0.60}, {loss: again}, ((), ()), SEEDS)
        assert one.judgement == judgement


def test_all_that_was_learnt_lies_inside_as_often_as_one_number_would() -> None:
    names = [
        f"{metric}/{split}_per_token" for metric in ("loss", "accuracy") for split in ("validation", "test")
    ]
    draw, inside = np.random.default_rng(4), 0
    for _ in range(1000):
        drawn = [dict(zip(names, map(float, one), strict=True)) for one in draw.normal(size=(8, len(names)))]
        found = compare_elsewhere(drawn[0], drawn[1], ((), ()), drawn[2:])
        inside += all(one.judgement == "within noise" for one in found)
    assert 0.935 < inside / 1000 < 0.975


def test_early_losses_are_held_tighter_than_late_ones() -> None:
    first = [(1, 2.0), (20, 1.0), (100, 0.5), (120, 0.4)]
    near = [(1, 2.0 * (1 + 0.9e-5)), (20, 1.0 + 1.9e-4), (100, 0.5 * (1 - 0.9e-3)), (120, 9.0)]
    far = [(1, 2.0 * (1 + 1.1e-5)), (20, 1.0 + 2.1e-4), (100, 0.5)]
    steps = ("loss/step 1", "loss/step 20", "loss/step 100")
    assert [judged({}, losses=(first, near))[name] for name in steps] == ["within noise"] * 3
    assert [judged({}, losses=(first, far))[name] for name in steps] == ["different", "different", "equal"]
    assert "loss/step 120" not in judged({}, losses=(first, near))
    assert judged({}, losses=(first, near[1:]))["loss/step 1"] == "different"


def test_seeds_are_the_arms_own_of_other_blocks() -> None:
    columns = ("status", "kind", "arm", "block", "repeat", "requeued", "loss")
    rows = [
        ("FINISHED", "run", "a", "1", "0", None, 1.0),
        ("FINISHED", "run", "a", "2", "0", None, 2.0),
        ("FINISHED", "run", "a", "2", "1", None, 9.0),
        ("FINISHED", "run", "b", "2", "0", None, 9.0),
        ("FAILED", "run", "a", "3", "0", None, 9.0),
        ("FINISHED", "rerun", "a", "3", "0", None, 9.0),
        ("FINISHED", "run", "a", "0", "0", None, 9.0),
        ("FINISHED", "run", "a", "4", "0", "true", 9.0),
        ("FINISHED", "run", "a", "5", "0", None, 5.0),
    ]
    names = {name: f"tags.workbench.{name}" for name in columns[1:-1]} | {"loss": "metrics.loss/step"}
    frame = pd.DataFrame(rows, columns=list(columns)).rename(columns=names)
    runs = runs_of(frame.assign(run_id=[str(number) for number in range(len(rows))]))
    assert other_seeds(runs, "a", 1) == [{"loss/step": 2.0}, {"loss/step": 5.0}]


def test_losses_that_are_no_number_in_both_are_equal() -> None:
    """As of runs that diverge at one step."""
    nan, lost = float("nan"), [(1, 2.0), (2, float("nan"))]
    found = judged({"loss/step": nan}, losses=(lost, lost))
    assert (found["loss/step 2"], found["loss/step"]) == ("equal", "different")  # the record has no loss/step
    assert judged({}, losses=(lost, [(1, 2.0), (2, 2.0)]))["loss/step 2"] == "different"


def _result(**changes: Any) -> list[Run]:
    """Two blocks of one arm, and one thrown away."""
    rows = []
    for block in (0, 1, 2):
        metrics = {
            "data/valid_tokens": 900.0,
            "data/batches": 18.0,
            "loss/validation_per_token": 0.5 + block,
            "loss/validation_objective_error": 1e-9,
            "speed/valid_tokens_per_s": 1e4,
            "speed/foreign_cpu_share": 0.2 * block,
        }
        row = {"run_id": f"{block}{changes}", "status": "FINISHED", "params.seed": str(block)}
        row |= {
            "tags.workbench.block": str(block),
            "tags.workbench.kind": "run",
            "tags.digest.order": f"o{block}",
        }
        row |= {f"metrics.{name}": value for name, value in metrics.items()}
        rows.append({**row, **(changes if block == 2 else {})})
    return runs_of(pd.DataFrame(rows))


def test_the_runs_of_two_results_are_compared_by_kind() -> None:
    said = compare_results(_result(), _result(**{"metrics.loss/validation_objective_error": 9e-9}))
    assert said[0] == "2 runs of the same job in both results, the throw-away block left out"
    assert said[1] == "order of examples: equal in 2 of 2"
    assert said[2] == "counts: 4 of 4 numbers equal"
    assert said[3].startswith("losses: 4 of 4 within 1e-05 a step of training, relative; the largest")
    assert (
        "8.0e-09 (loss/validation_objective_error, block 2" in said[3]
    )  # a difference: not relative to itself
    assert said[4] == "timings: not judged run by run; the machine was busy in 2 and 2 of the runs"


def test_what_differs_between_two_results_is_named() -> None:
    # 18 steps may differ by 1.8e-4 relative
    near, far = 2.5 * (1 + 1.7e-4), 2.5 * (1 + 1.9e-4)
    for value, within in ((near, 4), (far, 3)):
        said = compare_results(_result(), _result(**{"metrics.loss/validation_per_token": value}))
        assert said[3].startswith(f"losses: {within} of 4 within")
        assert "(loss/validation_per_token, block 2" in said[3]
    said = compare_results(
        _result(), _result(**{"metrics.data/valid_tokens": 901.0, "tags.digest.order": "p"})
    )
    assert said[1:3] == [
        "order of examples: equal in 1 of 2",
        "counts: 3 of 4 numbers equal; not data/valid_tokens",
    ]
    said = compare_results(_result(), _result(**{"params.seed": "7"}))
    assert said[0].startswith("1 runs of the same job")
    assert said[0].endswith("; 2 are in one only")
    assert compare_results(_result(), []) == [
        "0 runs of the same job in both results, the throw-away block left out; 2 are in one only"
    ]
