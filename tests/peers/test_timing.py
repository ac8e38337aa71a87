"""Interleaving, by a clock of our own; ratios, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.timing import quartiles, ratio, rounds, step_seconds


class Clock:
    """Time passes only in arms and pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def arm(self, name: str, seconds: float):
        def run(batch: int) -> None:
            self.calls.append((name, batch))
            self.now += seconds * (batch + 1)

        return run


def timed(seconds: float, **options):
    clock = Clock()
    arms = {"a": clock.arm("a", 1.0), "b": clock.arm("b", 2.0)}
    return rounds(arms, 2, seconds=seconds, clock=clock, pause=clock.pause, **options), clock


def test_every_arm_is_timed_once_on_each_batch_of_a_turn_and_pauses_do_not_count():
    taken, clock = timed(0, least=3)
    assert clock.calls.pop(0) == clock.calls[0], "an arm's first call is made once untimed before"
    other = next(k for k, call in enumerate(clock.calls) if call[0] != clock.calls[0][0])
    assert clock.calls.pop(other) == clock.calls[other]
    np.testing.assert_allclose(taken["a"], [[1, 2]] * 3)
    np.testing.assert_allclose(taken["b"], [[2, 4]] * 3)
    turns = [clock.calls[start : start + 4] for start in range(0, 12, 4)]
    for turn in turns:
        assert [batch for _, batch in turn] == [0, 0, 1, 1]
        assert sorted(turn) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len({tuple(turn) for turn in turns}) > 1, "the order was never drawn anew"


def test_turns_go_on_for_the_seconds_but_not_for_ever():
    assert len(timed(40, least=1)[0]["a"]) == 5  # of 9 seconds and pauses each, the first of 12
    assert len(timed(1e9, least=1, most=7)[0]["a"]) == 7


def test_a_ratio_and_its_interval_are_those_of_a_paired_t_test():
    random = np.random.default_rng(3)
    above, below = random.lognormal(1, 0.1, (8, 3)), random.lognormal(0, 0.1, (8, 3))
    paired = stats.ttest_rel(np.log(above.sum(1)), np.log(below.sum(1)))
    interval = paired.confidence_interval(0.95)
    value = np.exp(np.mean(np.log(above.sum(1)) - np.log(below.sum(1))))
    assert ratio(above, below) == pytest.approx((value, np.exp(interval.low), np.exp(interval.high)))


def test_a_slow_turn_does_not_move_the_time_of_a_step():
    taken = np.array([[1.0, 3.0], [1.0, 3.0], [9.0, 3.0]])
    assert step_seconds(taken) == 2.0


def test_quartiles_are_those_of_the_ratios_of_turns():
    below = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    assert quartiles(below * [[3.0], [1.0], [2.0]], below) == (1.0, 2.0, 3.0)
