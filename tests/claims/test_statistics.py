"""The statistics against scipy, against counting, and against the method's own numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workbench.claims import statistics
from workbench.claims.statistics import REGIONS

Y = np.array([0.31, 0.22, 0.27, 0.35, 0.18, 0.29, 0.24])

blocks = st.lists(st.floats(-2, 2).map(lambda value: round(value, 4)), min_size=6, max_size=12).filter(
    lambda values: np.std(values) > 1e-3
)


def test_interval_and_p_are_those_of_scipys_paired_t_test():
    test = stats.ttest_1samp(Y, 0.2, alternative="greater")
    assert statistics.p_above(Y, 0.2) == pytest.approx(test.pvalue, rel=1e-12)
    assert statistics.p_below(Y, 0.2) == pytest.approx(1 - test.pvalue, rel=1e-12)
    expected = stats.ttest_1samp(Y, 0.0).confidence_interval(0.9)
    assert statistics.interval(Y, 0.9) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_inside_is_the_worse_of_two_one_sided_tests():
    low = stats.ttest_1samp(Y, -0.3, alternative="greater").pvalue
    high = stats.ttest_1samp(Y, 0.3, alternative="less").pvalue
    assert statistics.p_inside(Y, (-0.3, 0.3)) == pytest.approx(max(low, high), rel=1e-12)
    assert statistics.p_outside(Y, (-0.3, 0.3)) == pytest.approx([1 - low, 1 - high], rel=1e-9)
    assert statistics.p_outside(Y, (0.1, math.inf)) == [statistics.p_below(Y, 0.1)]
    assert len(statistics.p_outside(Y, (-math.inf, 0.1))) == 1


@pytest.mark.parametrize(("direction", "count"), [("higher", 2), ("lower", 2), ("not_lower", 2), ("same", 3)])
def test_a_claim_makes_one_hypothesis_and_one_for_each_bound(direction, count):
    assert statistics.hypotheses(direction) == count


def test_regions_are_validitys():
    inf = math.inf
    assert {name: region(0.1) for name, region in REGIONS.items()} == {
        "higher": (0.1, inf),
        "lower": (-inf, -0.1),
        "not_lower": (-0.1, inf),
        "not_higher": (-inf, 0.1),
        "same": (-0.1, 0.1),
    }


def test_holm_by_hand():
    # M = 5: 0.009 <= 0.05/5; 0.012 <= 0.05/4; 0.02 > 0.05/3 stops all after it, though 0.021 <= 0.05/2
    decided = statistics.holm([0.02, 0.009, 1.0, 0.012, 0.021], 0.05)
    assert decided.rejected == (False, True, False, True, False)
    assert decided.level == pytest.approx((0.05 / 3, 0.05 / 5, 0.05 / 3, 0.05 / 4, 0.05 / 3))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_closed_procedure_of_bonferroni_rejects(p, alpha):
    """Holm's outside reference: reject one if every intersection with it is rejected by Bonferroni."""
    decided = statistics.holm(p, alpha)
    for one, value in enumerate(p):
        others = sorted(q for at, q in enumerate(p) if at != one)
        # the worst intersection of each size takes the largest others
        closed = all(min([value, *others[len(others) - k :]]) <= alpha / (k + 1) for k in range(len(p)))
        if all(abs(value * size - alpha) > 1e-12 for size in range(1, len(p) + 1)):
            assert decided.rejected[one] == closed


@given(st.lists(blocks, min_size=1, max_size=6), st.sampled_from(list(REGIONS)), st.floats(0.01, 0.5))
def test_the_interval_at_holms_level_says_what_holm_says(rows, direction, margin):
    region = REGIONS[direction](margin)
    p = [
        [float(statistics.p_inside(y, region)), *map(float, statistics.p_outside(y, region))]
        for y in map(np.array, rows)
    ]
    decided = statistics.holm([one for row in p for one in row], 0.05)
    size = statistics.hypotheses(direction)
    for at, y in enumerate(rows):
        rejected, levels = (part[at * size : (at + 1) * size] for part in (decided.rejected, decided.level))
        assert sum(rejected) <= 1
        level = levels[rejected.index(True)] if any(rejected) else levels[0]
        low, high = statistics.interval(y, 1 - 2 * level)
        slack = 1e-9
        if rejected[0]:
            assert region[0] - slack <= low
            assert high <= region[1] + slack
        elif any(rejected):
            assert high <= region[0] + slack or region[1] <= low + slack
        else:
            assert low < region[0] + slack or region[1] < high + slack  # not wholly inside
            assert high > region[0] - slack  # and meets the region
            assert low < region[1] + slack


@given(blocks)
def test_the_sign_flip_p_is_the_count_over_all_patterns(values):
    values = values[:7]
    patterns = itertools.product((1, -1), repeat=len(values))
    flips = [sum(sign * value for sign, value in zip(signs, values, strict=True)) for signs in patterns]
    expected = np.mean([flip >= sum(values) - 1e-9 for flip in flips])
    assert statistics.exact_p(values, (0.0, math.inf)) == pytest.approx(expected, abs=1e-12)


def test_no_sign_flip_p_beyond_twenty_blocks_or_without_any():
    assert statistics.exact_p([1.0] * 21, (0.0, math.inf)) is None
    assert statistics.exact_p([], (0.0, math.inf)) is None


@pytest.mark.parametrize("planned", range(6, 15))
def test_failures_forgiven_are_validitys(planned):
    forgiven = {6: 0, 7: 0, 8: 0, 9: 1, 10: 1, 11: 1, 12: 2, 13: 2, 14: 2}[planned]
    counts = [
        failures for failures in range(1, planned) if statistics.forgives(planned, planned - failures, 0.05)
    ]
    assert max(counts, default=0) == forgiven
    tail = sum(math.comb(planned, k) for k in range(planned - 1, planned + 1)) / 2**planned
    assert statistics.forgives(planned, planned - 1, 0.05) == (tail <= 0.025)


def test_outliers_are_beyond_five_median_residuals():
    column = np.array([[0.0], [0.01], [-0.01], [0.02], [-0.02], [0.2]])
    assert statistics.outliers(column).ravel().tolist() == [False] * 5 + [True]
    assert not statistics.outliers(np.ones((6, 1))).any()


def test_rounding_is_no_variation():
    same = np.log(np.array([1.1, 2.2, 3.3])) - np.log(np.array([1.0, 2.0, 3.0]))
    assert not statistics.varies(same[:, None], "ratio")
    assert statistics.varies(np.array([[1e-9], [2e-9]]), "difference")
    assert not statistics.varies(np.array([[0.0], [0.0]]), "difference")
