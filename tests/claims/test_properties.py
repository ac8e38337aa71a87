"""What must hold for any sweep: order, mirrors, units, failures."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from workbench.claims import judge, judge_table
from workbench.claims.statistics import REGIONS

BATCH, GLOBAL = ({"padding.name": name} for name in ("batch", "global"))
MIRROR = {
    "higher": "lower",
    "lower": "higher",
    "not_lower": "not_higher",
    "not_higher": "not_lower",
    "same": "same",
}
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

effects = st.lists(st.floats(-0.4, 0.4).map(lambda value: round(value, 3)), min_size=6, max_size=12)
directions = st.sampled_from(list(MIRROR))
margins = st.sampled_from([1.02, 1.1, 1.3])


def arms(values):
    return (BATCH, list(100 * np.exp(values))), (GLOBAL, [100.0] * len(values))


def wording(verdict):
    return json.dumps(verdict.to_json(), sort_keys=True)


@pytest.mark.slow
@quick
@given(values=effects, direction=directions, seed=st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(claim, sweep, values, direction, seed):
    again = {**GLOBAL, "tags.workbench.repeat": "1"}
    runs = sweep(*arms(values), (again, list(np.linspace(99, 101, len(values)))))
    runs["tags.workbench.attempt"] = None
    claims = [claim(direction=direction, pairs=len(values), control_again=True)]
    first, second = (judge_table(claims, one) for one in (runs, runs.sample(frac=1, random_state=seed)))
    assert list(map(wording, first)) == list(map(wording, second))


@quick
@given(values=effects, direction=directions, smallest=margins)
def test_swapping_the_arms_mirrors_the_verdict(claim, sweep, values, direction, smallest):
    runs = sweep(*arms(values))
    fields = {"smallest": smallest, "pairs": len(values)}
    one = judge(claim(direction=direction, **fields), runs)
    other = judge(claim(direction=MIRROR[direction], treatment=GLOBAL, control=BATCH, **fields), runs)
    assert one.verdict == other.verdict
    np.testing.assert_allclose(one.effect * other.effect, 1)
    np.testing.assert_allclose(one.interval[0] * other.interval[1], 1)
    np.testing.assert_allclose(one.p_reproduced, other.p_reproduced, atol=1e-9)
    words = [verdict.finding.split(":")[0] for verdict in (one, other)]
    assert words[0].translate(str.maketrans("", "")) == words[1].replace("higher", "?").replace(
        "lower", "higher"
    ).replace("?", "lower")


@quick
@given(values=effects, direction=directions, smallest=margins, power=st.integers(-20, 20))
def test_the_unit_of_a_metric_does_not_matter_to_a_ratio(claim, sweep, values, direction, smallest, power):
    runs = sweep(*arms(values))
    one = claim(direction=direction, smallest=smallest, pairs=len(values))
    column = "metrics.speed/valid_tokens_per_s"
    scaled = runs.assign(**{column: runs[column] * 2.0**power})
    assert judge(one, scaled).verdict == judge(one, runs).verdict
    np.testing.assert_allclose(judge(one, scaled).effect, judge(one, runs).effect)


@quick
@given(values=effects, direction=directions, smallest=margins, failures=st.integers(1, 3))
def test_a_failed_pair_more_never_makes_a_verdict(claim, sweep, values, direction, smallest, failures):
    good = sweep(*arms(values))
    died = sweep((BATCH, [None] * failures), (GLOBAL, [100.0] * failures), first=len(values) + 1, start=100)
    fields = {"direction": direction, "smallest": smallest}
    without = judge(claim(**fields, pairs=len(values)), good)
    with_them = judge(claim(**fields, pairs=len(values) + failures), pd.concat([good, died]))
    assert with_them.verdict in (without.verdict, "inconclusive")
    assert (with_them.interval, with_them.p_reproduced) == (without.interval, without.p_reproduced)


@quick
@given(values=effects, direction=directions, smallest=margins, others=st.integers(1, 6))
def test_more_undecided_claims_never_make_a_verdict(claim, sweep, values, direction, smallest, others):
    runs = sweep(*arms(values))
    one = claim(direction=direction, smallest=smallest, pairs=len(values))
    more = [
        claim(name=f"other{n}", treatment={"padding.name": "none"}, pairs=len(values)) for n in range(others)
    ]
    alone, among = judge(one, runs), judge_table([*more, one], runs)[-1]
    assert among.verdict in (alone.verdict, "inconclusive")
    if among.decision_interval:
        assert among.decision_interval[0] <= alone.decision_interval[0]
        assert among.interval == alone.interval


@pytest.mark.slow
@quick
@given(values=effects, smallest=margins)
def test_contrary_claims_are_never_both_reproduced(claim, sweep, values, smallest):
    runs = sweep(*arms(values))
    fields = {"smallest": smallest, "pairs": len(values)}
    verdicts = {direction: judge(claim(direction=direction, **fields), runs).verdict for direction in MIRROR}
    assert {verdicts["higher"], verdicts["lower"]} != {"reproduced"}
    if verdicts["same"] == "reproduced":
        assert "reproduced" not in (verdicts["higher"], verdicts["lower"])
        assert verdicts["not_lower"] == verdicts["not_higher"] == "reproduced"
    if verdicts["higher"] == "reproduced":
        assert verdicts["not_lower"] == "reproduced"
        assert verdicts["not_higher"] == "contradicted"


@quick
@given(
    values=st.lists(effects.map(lambda values: values[:6]), min_size=2, max_size=4),
    direction=directions,
    smallest=margins,
)
def test_every_condition_stands_only_where_each_does(claim, sweep, values, direction, smallest):
    """Judged against scipy, condition by condition; judge asserts that its interval agrees with its verdict."""
    cells = [f"cell{number}" for number in range(len(values))]
    both = [
        ({**params, "cell.name": cell}, column)
        for cell, one in zip(cells, values, strict=True)
        for params, column in arms(one)
    ]
    every = claim(direction=direction, smallest=smallest, over={"cell.name": cells}, scope="every")
    found = judge(every, sweep(*both))
    low, high = REGIONS[direction](np.log(smallest))
    bounds = [bound for bound in REGIONS[direction](np.log(smallest)) if np.isfinite(bound)]
    sides = {"same": ["greater", "less"], "higher": ["greater"], "not_lower": ["greater"]}
    worst = max(
        stats.ttest_1samp(one, bound, alternative=side).pvalue
        if np.ptp(one) > 1e-9
        else float(not low < one[0] < high)  # what does not vary has no chance in it
        for one in values
        for bound, side in zip(bounds, sides.get(direction, ["less"]), strict=True)
    )
    np.testing.assert_allclose(found.p_reproduced, worst, atol=1e-9)
    level = 0.05 / (1 + len(bounds))
    if abs(worst - level) > 1e-9:
        assert (found.verdict == "reproduced") == (worst <= level)
