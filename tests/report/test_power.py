"""The table of claims/README.md, section 2.8, recomputed; the noncentral t, Monte Carlo, plain sense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from workbench.claims import Claim
from workbench.report.power import (
    chance_of_showing,
    distance_shown,
    pairs_needed,
    plan_line,
)

ALONE, FIRST_OF_TEN = 0.025, 0.0025
EFFECTS = (1.10, 1.25, 1.50)
# (bound, noise) -> for each effect (alone, first of 10 under Holm); None is "over 400"
TABLE = {
    (1.00, 0.03): [(6, 8), (6, 6), (6, 6)],
    (1.00, 0.05): [(8, 14), (6, 6), (6, 6)],
    (1.00, 0.10): [(26, 41), (7, 11), (6, 6)],
    (1.00, 0.20): [(95, 152), (19, 31), (8, 13)],
    (1.05, 0.03): [(11, 18), (6, 6), (6, 6)],
    (1.05, 0.05): [(27, 43), (6, 7), (6, 6)],
    (1.05, 0.10): [(100, 159), (10, 16), (6, 7)],
    (1.05, 0.20): [(391, None), (30, 48), (9, 15)],
    ("half", 0.03): [(11, 18), (6, 7), (6, 6)],
    ("half", 0.05): [(26, 41), (7, 11), (6, 6)],
    ("half", 0.10): [(95, 152), (19, 31), (8, 13)],
    ("half", 0.20): [(373, None), (70, 112), (23, 37)],
}


@pytest.mark.parametrize(("bound", "noise"), TABLE)
def test_the_pairs_of_the_table(bound, noise):
    for effect, expected in zip(EFFECTS, TABLE[bound, noise], strict=True):
        low = math.log(effect) / 2 if bound == "half" else math.log(bound)
        for level, pairs in zip((ALONE, FIRST_OF_TEN), expected, strict=True):
            found = pairs_needed((low, math.inf), math.log(effect), noise, level=level)
            if pairs is None:
                assert found is None
            else:
                assert found == pytest.approx(pairs, abs=1), (bound, noise, effect, level)


@pytest.mark.parametrize(
    ("margin", "noise", "pairs"),
    [
        (1.05, 0.03, 12), (1.05, 0.05, 30), (1.05, 0.10, 115),
        (1.10, 0.03, 6), (1.10, 0.05, 10), (1.10, 0.10, 31),
        (1.20, 0.03, 6), (1.20, 0.05, 6), (1.20, 0.10, 10), (1.20, 0.20, 34),
    ],
)  # fmt: skip
def test_the_pairs_for_no_difference(margin, noise, pairs):
    found = pairs_needed((-math.log(margin), math.log(margin)), 0.0, noise)
    assert found == pytest.approx(pairs, abs=2, rel=0.03)  # the table's came from simulation


@pytest.mark.parametrize(
    ("pairs", "noise", "alone", "first"),
    [
        (6, 0.05, 1.13, 1.22), (6, 0.10, 1.27, 1.49), (10, 0.05, 1.09, 1.13),
        (10, 0.10, 1.18, 1.27), (12, 0.05, 1.08, 1.11), (12, 0.10, 1.16, 1.23),
    ],
)  # fmt: skip
def test_the_smallest_effect_that_pairs_show(pairs, noise, alone, first):
    assert math.exp(distance_shown(noise, pairs)) == pytest.approx(alone, abs=0.006)
    assert math.exp(distance_shown(noise, pairs, level=FIRST_OF_TEN)) == pytest.approx(first, abs=0.006)


@pytest.mark.parametrize("pairs", [6, 10, 25])
@pytest.mark.parametrize("distance", [0.0, 0.05, 0.12])
def test_one_bound_is_the_noncentral_t(pairs, distance):
    noise = 0.07
    shift = distance / (noise * math.sqrt(2)) * math.sqrt(pairs)
    expected = stats.nct.sf(stats.t.isf(ALONE, pairs - 1), pairs - 1, shift)
    found = chance_of_showing((0.0, math.inf), distance, noise, pairs)
    assert found == pytest.approx(expected, abs=5e-4)
    mirrored = chance_of_showing((-math.inf, 0.0), -distance, noise, pairs)
    assert mirrored == pytest.approx(found, abs=1e-12)


def test_two_bounds_are_two_one_sided_tests():
    rng = np.random.default_rng(1)
    noise, pairs, margin = 0.05, 20, math.log(1.05)
    y = rng.normal(0, noise, (20_000, pairs, 2)) @ [1, -1]
    reach = stats.t.isf(ALONE, pairs - 1) * y.std(axis=1, ddof=1) / math.sqrt(pairs)
    inside = np.mean(np.abs(y.mean(axis=1)) + reach < margin)
    assert chance_of_showing((-margin, margin), 0.0, noise, pairs) == pytest.approx(inside, abs=0.015)


def test_no_number_of_pairs_shows_what_is_not_there():
    assert pairs_needed((0.1, math.inf), 0.1, 0.01) is None
    assert pairs_needed((0.1, math.inf), 0.05, 0.01) is None
    assert pairs_needed((0.1, math.inf), 0.2, 0.0) == 6
    assert distance_shown(0.0, 6) == 0.0


MEMORY = {"metric": "memory/peak_rss_mb", "scale": "difference"}


def _claim(**fields):
    given = {
        "name": "c",
        "statement": "",
        "source": "",
        "treatment": {},
        "control": {},
        "why_smallest": "",
        "kind": "measured",
        "metric": "speed/valid_tokens_per_s",
        "direction": "higher",
        "smallest": 1.2,
        "scale": "ratio",
    }
    return Claim(**given | fields)


@pytest.mark.parametrize(
    ("fields", "noise", "pairs", "family", "words"),
    [
        ({"direction": "lower"}, 0.05, 10, 20, ['"lower" beyond 0.83x when the truth is 0.69x', "enough"]),
        ({"direction": "not_lower", "smallest": 1.05}, 0.05, 6, 20, ["0.95x", "1.00x", "too few"]),
        ({"direction": "same", "smallest": 1.02}, 0.05, 6, 20, ['"same" within 1.02x', "too few"]),
        ({"smallest": 1.0}, 0.05, 10, 20, ["beyond 1.00x when the truth is 1.10x", "takes 8 pairs"]),
        ({"smallest": 1.0}, 0.05, 10, 20, ["enough if other claims of the table are decided"]),
        ({"direction": "same", "smallest": 1.001}, 0.2, 12, 0, ["takes over 400 pairs"]),
        ({}, 0.05, 3, 0, ["under 6 pairs nothing is judged"]),
        ({}, math.nan, 6, 0, ["no plan: the noise is nan"]),
        ({"kind": "exact"}, 0.05, 6, 0, ["exact: every pair must hold"]),
        (MEMORY | {"smallest": 40}, 12.5, 6, 0, ["12.5 MB noise", "beyond 40 MB", "truth is 80 MB"]),
        (MEMORY | {"smallest": 0}, 12.5, 6, 0, ["beyond 0 MB", "truth is 12.5 MB"]),
    ],
)  # fmt: skip
def test_the_line_of_a_plan(fields, noise, pairs, family, words):
    line = plan_line(_claim(**fields, family=family), noise, pairs)
    assert "\n" not in line
    for word in words:
        assert word in line
