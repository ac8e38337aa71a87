"""When a number of a run again is within noise: the rate of false alarms is what it is said to be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from workbench.record import Run
from workbench.record.frames import runs_of
from workbench.report.comparison import Compared, compare_runs, counts, equal_runs, noise, reasons

SPEED, BUILD, LOSS = "speed/valid_tokens_per_s", "speed/graph_build_s", "loss/validation_per_token"


def record(**more: Any) -> Run:
    parts = {"metrics": {SPEED: 100.0, LOSS: 0.5}, "tags": {"digest.weights": "w"}} | more
    return Run("r", "FINISHED", **parts)


def pairs(spread: float, number: int, rng: np.random.Generator) -> list[list[dict[str, float]]]:
    logs = rng.normal(0, spread, (number, 2, 2))
    return [[{SPEED: math.exp(one[0]), BUILD: math.exp(one[1])} for one in pair] for pair in logs]


def test_two_equal_runs_are_called_different_in_one_of_twenty_at_most_over_all_their_timings() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(2000):
        first, second = pairs(0.05, 1, rng)[0]
        found = compare_runs(record(metrics=first), record(metrics=second), pairs(0.05, 6, rng))
        alarms += any(one.judgement == "different" for one in found if one.name != "digest.weights")
    assert 0.035 < alarms / 2000 < 0.06


def test_a_spread_is_pooled_within_groups_and_needs_three_degrees_of_freedom() -> None:
    groups = [[{SPEED: 100.0}, {SPEED: 110.0}], [{SPEED: 50.0}, {SPEED: 55.0}, {SPEED: 60.0}]]
    found = noise(SPEED, groups)
    assert found is not None
    one, two = np.log([100, 110]), np.log([50, 55, 60])
    expected = (one.var(ddof=1) + 2 * two.var(ddof=1)) / 3
    assert found.freedom == 3
    assert math.isclose(found.spread, math.sqrt(expected))
    assert noise(SPEED, groups[:1]) is None


def test_what_comes_to_what() -> None:
    rng = np.random.default_rng(1)
    groups = pairs(0.05, 6, rng)
    judge = {
        name: {one.name: one.judgement for one in compare_runs(record(), again, groups)}
        for name, again in {
            "same": record(),
            "near": record(metrics={SPEED: 104.0, LOSS: 0.5}),
            "far": record(metrics={SPEED: 200.0, LOSS: 0.5}),
            "bits": record(metrics={SPEED: 100.0, LOSS: 0.5000001}, tags={"digest.weights": "v"}),
            "gone": record(metrics={SPEED: 100.0}),
        }.items()
    }
    assert set(judge["same"].values()) == {"equal"}
    assert judge["near"][SPEED] == "within noise"
    assert judge["far"][SPEED] == "different"
    assert judge["bits"] == {SPEED: "equal", LOSS: "different", "digest.weights": "different"}
    assert judge["gone"][LOSS] == "different"
    alone = compare_runs(record(), record(metrics={SPEED: 200.0, LOSS: 0.5}))
    assert counts(alone) == "3 numbers: 2 equal, 1 not judged"


def test_equal_runs_are_the_arms_again_of_a_block_and_earlier_reruns() -> None:
    rows = [
        ("a", "run", "1", "x", 1.0, None),
        ("b", "run", "1", "x", 2.0, None),
        ("c", "run", "2", "x", 3.0, None),
        ("d", "run", "0", "x", 4.0, None),
        ("e", "run", "0", "x", 5.0, None),
        ("f", "rerun", "2", "x", 6.0, "c"),
    ]
    names = ["run_id", "tags.workbench.kind", "tags.workbench.block", "tags.workbench.arm"]
    frame = pd.DataFrame(rows, columns=[*names, f"metrics.{SPEED}", "tags.workbench.rerun_of"])
    frame["status"], frame["tags.workbench.attempt"] = "FINISHED", "1"
    found = [sorted(one[SPEED] for one in group) for group in equal_runs(runs_of(frame), ["c"])]
    assert sorted(found) == [[1.0, 2.0], [3.0, 6.0]]


def test_reasons_name_what_else_is_not_the_same() -> None:
    old = record(tags={"version.numpy": "1", "git.branch": "a", "code.sha256": "x"}, params={"device": "cpu"})
    new = record(tags={"version.numpy": "2", "git.branch": "b", "code.sha256": "x"}, params={"device": "gpu"})
    assert reasons(old, new) == ["version.numpy was 1, is 2", "device was cpu, is gpu"]


CALM = {"speed/calibration_before_gflops": 100.0, "speed/calibration_after_gflops": 101.0}


def test_a_timing_of_a_busy_machine_or_beside_another_calibration_is_not_judged() -> None:
    groups = pairs(0.05, 6, np.random.default_rng(2))
    recorded = record(metrics={SPEED: 100.0, LOSS: 0.5, **CALM, "speed/foreign_cpu_share": 0.01})
    for state, why in (
        ({"speed/foreign_cpu_share": 0.31}, "the machine was busy (31%)"),
        ({"speed/calibration_after_gflops": 80.0}, "the calibration went from 100 to 80 GFLOP/s"),
        (dict.fromkeys(CALM, 70.0), "the calibration was 100 GFLOP/s, is 70"),
        ({}, ""),
    ):
        again = record(metrics={SPEED: 50.0, LOSS: 0.6, **CALM, "speed/foreign_cpu_share": 0.01, **state})
        for one, other in ((recorded, again), (again, recorded)):
            found = {each.name: each for each in compare_runs(one, other, groups)}
            assert found[SPEED].judgement == ("not judged" if why else "different"), state
            assert found[LOSS].judgement == "different"  # no clock has part in it
        found = {each.name: each for each in compare_runs(recorded, again, groups)}
        assert found[SPEED].why == (why or found[SPEED].why)


def test_reasons_stand_by_what_moves_the_numbers_that_differ() -> None:
    was = {"machine.cores": "2", "version.numpy": "1", "code.sha256": "x", "git.commit": "a"}
    now = {"machine.cores": "4", "version.numpy": "2", "code.sha256": "y", "git.commit": "b"}
    both = [
        record(tags={**tags, "environment.padding_bytes": size}, params={"threads": threads})
        for tags, size, threads in ((was, "12", "2"), (now, "900", "4"))
    ]
    words = {SPEED: "machine threads version code git", LOSS: "code version threads machine git"}
    for name, order in words.items():
        found = reasons(*both, [Compared(name, 1.0, 2.0, "different")])
        assert [one.split(" ")[0].split(".")[0] for one in found] == order.split()  # and no padding_bytes


def test_the_timings_of_a_run_that_was_resumed_are_not_judged_and_make_no_noise() -> None:
    resumed = {"training.resumed_from_step": "18"}
    whole, cut = record(), record(metrics={SPEED: 50.0, LOSS: 0.5}, tags={"digest.weights": "w", **resumed})
    found = {each.name: each for each in compare_runs(whole, cut, pairs(0.05, 6, np.random.default_rng(3)))}
    assert (found[SPEED].judgement, found[SPEED].why) == (
        "not judged",
        "not timed as a whole: resumed from step 18",
    )
    assert found[LOSS].judgement == "equal"
    both = [
        Run(
            name,
            "FINISHED",
            metrics={SPEED: 1.0},
            tags={"workbench.kind": "run", "workbench.block": "1", **tags},
        )
        for name, tags in (("a", {}), ("b", {}), ("c", resumed))
    ]
    assert [len(group) for group in equal_runs(both, [])] == [2]


def test_a_busy_run_again_does_not_widen_what_later_ones_are_held_against() -> None:
    """A window that is not judged says nothing of a machine that is quiet."""
    calibration = {"speed/calibration_before_gflops": 100.0, "speed/calibration_after_gflops": 100.0}
    busy = calibration | {"speed/calibration_after_gflops": 50.0}

    def again(number: int, metrics: dict[str, float], **tags: str) -> Run:
        of = {"workbench.rerun_of": "r", "workbench.kind": "rerun", **tags}
        return Run(f"again{number}", "FINISHED", metrics={SPEED: 100.0, **metrics}, tags=of)

    job = {"workbench.kind": "run", "workbench.block": "1", "workbench.arm": "a"}
    recorded = Run("r", "FINISHED", metrics={SPEED: 100.0, **calibration}, tags=job)
    quiet = again(1, calibration)
    assert equal_runs([recorded, quiet], ["r"]) == [[recorded.metrics, quiet.metrics]]
    for other in (again(2, busy), again(3, calibration, **{"window.not_alone": "no lock"})):
        assert equal_runs([recorded, other], ["r"]) == []


def test_timings_that_claims_refuse_are_not_judged_by_a_run_again_either() -> None:
    beside = record(metrics={SPEED: 50.0}, tags={"window.not_alone": "no lock"})
    for first, second in ((record(metrics={SPEED: 100.0}), beside), (beside, record(metrics={SPEED: 100.0}))):
        (speed,) = (one for one in compare_runs(first, second, pairs(0.01, 6, np.random.default_rng(0)))
                    if one.name == SPEED)  # fmt: skip
        assert (speed.judgement, speed.why) == ("not judged", "perhaps timed beside another run")
