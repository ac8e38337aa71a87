"""Verdicts on sweeps whose numbers are worked out here, with NumPy and scipy alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench.claims import claims_sha, judge, judge_table
from workbench.report.power import pairs_that_decide
from workbench.report.replication import prediction

BATCH, GLOBAL, BUCKET = ({"padding.name": name} for name in ("batch", "global", "bucket"))
NOISE = [0.02, -0.01, 0.03, -0.02, 0.01, -0.03]
CONTROL = [100.0, 104.0, 96.0, 101.0, 99.0, 103.0]


def times(ratio, noise=NOISE, control=CONTROL):
    return [value * ratio * math.exp(one) for value, one in zip(control, noise, strict=True)]


def test_every_number_of_a_row_by_hand(claim, sweep):
    verdict = judge(claim(), sweep((BATCH, times(1.5)), (GLOBAL, CONTROL)))
    y = np.log(1.5) + np.array(NOISE)
    half = stats.t.ppf([0.975, 1 - 0.025], 5) * y.std(ddof=1) / math.sqrt(6)
    assert verdict.verdict == verdict.label == "reproduced"
    assert verdict.effect == pytest.approx(1.5)
    assert verdict.interval == pytest.approx((1.5 * math.exp(-half[0]), 1.5 * math.exp(half[0])))
    # two hypotheses, the smaller p first: alpha / 2, which is the plain 95% interval
    assert verdict.decided_at == pytest.approx(0.95)
    assert verdict.decision_interval == pytest.approx(verdict.interval)
    assert verdict.p_reproduced == pytest.approx(
        stats.ttest_1samp(y, np.log(1.2), alternative="greater").pvalue
    )
    assert verdict.p_contradicted == pytest.approx(1 - verdict.p_reproduced)
    assert (verdict.pairs, verdict.planned, verdict.agree, verdict.exact_p) == (6, 6, 6, 1 / 64)
    assert (verdict.failed, verdict.unused, verdict.reasons) == ((), 0, ())
    assert (
        "higher: speed/valid_tokens_per_s, padding.name=batch against padding.name=global: 1.500 times"
        in (verdict.finding)
    )
    assert "6 of 6 pairs; worth the name: 1.2" in verdict.finding


@pytest.mark.parametrize(
    ("direction", "smallest", "ratio", "verdict", "word"),
    [
        ("higher", 1.2, 1.5, "reproduced", "higher: "),
        ("higher", 1.2, 1.21, "inconclusive", "higher, size open: "),
        ("higher", 1.2, 1.1, "contradicted", "higher, but less than worth the name: "),
        ("higher", 1.2, 1.0, "contradicted", "no difference: "),
        ("higher", 1.2, 0.7, "contradicted", "lower: "),
        ("lower", 1.2, 1 / 1.5, "reproduced", "lower: "),
        ("lower", 1.2, 1.0, "contradicted", "no difference: "),
        ("lower", 1.2, 1.5, "contradicted", "higher: "),
        ("not_lower", 1.05, 1.0, "reproduced", "no difference: "),
        ("not_lower", 1.05, 1.3, "reproduced", "higher: "),
        ("not_lower", 1.05, 0.8, "contradicted", "lower: "),
        ("not_lower", 1.01, 1.0, "inconclusive", "unresolved: "),
        ("not_higher", 1.05, 1.0, "reproduced", "no difference: "),
        ("not_higher", 1.05, 1.3, "contradicted", "higher: "),
        ("same", 1.05, 1.0, "reproduced", "no difference: "),
        (
            "same",
            1.2,
            1.1,
            "reproduced",
            "no difference worth the name (higher, but less than worth the name): ",
        ),
        ("same", 1.05, 1.5, "contradicted", "higher: "),
        ("same", 1.05, 0.7, "contradicted", "lower: "),
        ("same", 1.01, 1.0, "inconclusive", "unresolved: "),
    ],
)
def test_the_interval_is_held_against_the_region(claim, sweep, direction, smallest, ratio, verdict, word):
    found = judge(
        claim(direction=direction, smallest=smallest), sweep((BATCH, times(ratio)), (GLOBAL, CONTROL))
    )
    assert found.verdict == verdict
    assert found.finding.startswith(word)


def test_a_difference_is_judged_in_its_own_unit(claim, sweep):
    data = sweep((BATCH, [5, 6, 7, 5, 6, 7]), (GLOBAL, [9, 11, 10, 9, 11, 10]), metric="data/padding_share")
    found = judge(claim(metric="data/padding_share", scale="difference", direction="lower", smallest=2), data)
    y = np.array([-4, -5, -3, -4, -5, -3])
    expected = stats.ttest_1samp(y, 0).confidence_interval(0.95)
    assert (found.verdict, found.effect, found.unit) == ("reproduced", -4, "1")
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_holm_decides_over_the_whole_table(claim, sweep):
    """Alone the second claim stands; behind nine undecided ones its p has to clear alpha / 20."""
    runs = sweep((BATCH, times(1.25)), (GLOBAL, CONTROL))
    y = np.log(1.25) + np.array(NOISE)
    p = stats.ttest_1samp(y, np.log(1.2), alternative="greater").pvalue
    assert 0.05 / 20 < p < 0.025
    assert judge(claim(), runs).verdict == "reproduced"
    undecided = [claim(name=f"open{number}", treatment=BUCKET) for number in range(9)]
    last = judge_table([*undecided, claim()], runs)[-1]
    assert last.verdict == "inconclusive"
    assert last.decided_at == pytest.approx(1 - 2 * 0.05 / 20)
    assert last.interval[0] > 1.2 > last.decision_interval[0]
    # and judged alone, the table it was declared in still counts
    assert judge(claim(family=20), runs).verdict == "inconclusive"


def test_holm_steps_down_once_the_surest_is_decided(claim, sweep):
    runs = sweep((BUCKET, times(3.0)), (BATCH, times(1.25)), (GLOBAL, CONTROL))
    first, second = judge_table([claim(name="sure", treatment=BUCKET), claim()], runs)
    assert (first.verdict, second.verdict) == ("reproduced", "reproduced")
    assert first.decided_at == pytest.approx(1 - 2 * 0.05 / 4)
    assert second.decided_at == pytest.approx(1 - 2 * 0.05 / 3)


def test_a_condition_is_one_voice_in_its_block(claim, sweep):
    noise = np.array(NOISE)
    arms = []
    for cell, ratio, wobble in (("lstm", 1.6, noise), ("gru", 1.4, -noise[::-1])):
        arms += [
            ({**BATCH, "cell.name": cell}, times(ratio, wobble)),
            ({**GLOBAL, "cell.name": cell}, CONTROL),
        ]
    found = judge(claim(over={"cell.name": ["lstm", "gru"]}), sweep(*arms))
    y = (np.log(1.6) + noise + np.log(1.4) - noise[::-1]) / 2
    expected = stats.ttest_1samp(y, 0).confidence_interval(0.95)
    assert found.effect == pytest.approx(math.sqrt(1.6 * 1.4))
    assert found.interval == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    lstm, gru = found.by_condition
    assert (lstm["condition"], lstm["judged"]) == ({"cell.name": "lstm"}, False)
    assert (lstm["effect"], gru["effect"]) == (pytest.approx(1.6), pytest.approx(1.4))


def test_every_condition_must_hold_and_the_least_favourable_is_shown(claim, sweep):
    def runs(least):
        arms = []
        for cell, ratio, sign in (("lstm", 1.6, 1), ("gru", least, -1)):
            wobble = [sign * one for one in NOISE]
            arms += [
                ({**BATCH, "cell.name": cell}, times(ratio, wobble)),
                ({**GLOBAL, "cell.name": cell}, CONTROL),
            ]
        return sweep(*arms)

    every = claim(over={"cell.name": ["lstm", "gru"]}, scope="every")
    good = judge(every, runs(1.4))
    assert (good.verdict, good.effect) == ("reproduced", pytest.approx(1.4))
    bad = judge(every, runs(1.0))
    assert (bad.verdict, bad.effect) == ("contradicted", pytest.approx(1.0))
    worst = np.log(1.0) - np.array(NOISE)
    p = stats.ttest_1samp(worst, np.log(1.2), alternative="less").pvalue
    assert bad.p_contradicted == pytest.approx(2 * p)  # C times the smallest
    assert bad.decided_at == pytest.approx(1 - 0.05 / 2)  # 1 - 2 (alpha / 2) / C
    assert (
        judge(claim(over=every.over), runs(1.0)).verdict == "reproduced"
    )  # the average is 1.26 in every block


def test_where_divides_the_conditions_and_elsewhere_is_a_second_row(claim, sweep):
    arms = []
    for data, share, ratio in (("ud", 0.7, 1.5), ("code", 0.6, 1.4), ("fixed", 0.1, 1.0)):
        both = {"data.name": data, "metrics.data/padding_share_random_batches": share}
        arms += [({**BATCH, **both}, times(ratio)), ({**GLOBAL, **both}, CONTROL)]
    conditional = claim(
        over={"data.name": ["ud", "code", "fixed"]},
        where=["data/padding_share_random_batches > 0.5"],
        elsewhere="same",
    )
    inside, outside = judge_table([conditional], sweep(*arms))
    assert (inside.claim, inside.verdict, inside.effect) == (
        "batch_is_faster",
        "reproduced",
        pytest.approx(math.sqrt(1.5 * 1.4)),
    )
    assert (outside.claim, outside.direction) == ("batch_is_faster (elsewhere)", "same")
    assert (outside.verdict, outside.effect) == ("reproduced", pytest.approx(1.0))
    assert (inside.unused, outside.unused) == (12, 24)
    # one family: 2 hypotheses of `higher` and 3 of `same`
    assert inside.decided_at == pytest.approx(1 - 2 * 0.05 / 5)


def test_nothing_on_a_side_of_where_is_inconclusive(claim, sweep):
    both = {"metrics.data/padding_share_random_batches": 0.2}
    runs = sweep(({**BATCH, **both}, times(1.5)), ({**GLOBAL, **both}, CONTROL))
    found = judge(claim(where=["data/padding_share_random_batches > 0.5"]), runs)
    assert (found.verdict, found.pairs) == ("inconclusive", 0)
    assert found.reasons == ("no runs on this side of `where`",)


def test_below_six_blocks_nothing_is_decided(claim, sweep):
    found = judge(claim(), sweep((BATCH, times(1.5)[:5]), (GLOBAL, CONTROL[:5])), planned=5)
    assert found.verdict == "inconclusive"
    assert found.reasons == ("5 complete blocks of 5; nothing is decided below 6",)
    assert found.effect == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize(
    ("scale", "direction", "smallest", "values", "verdict", "word"),
    [
        # bit-equal arms: what a difference of 1e-15 gives, the strongest evidence gives too
        ("ratio", "same", 1.05, (100, 100), "reproduced", "no difference"),
        ("difference", "same", 0.05, (100, 100), "reproduced", "no difference"),
        ("difference", "same", 0, (100, 100), "reproduced", "no difference"),
        ("ratio", "same", 1, (0, 0), "reproduced", "no difference"),
        ("ratio", "higher", 1.05, (100, 100), "contradicted", "no difference"),
        ("ratio", "higher", 1, (100, 100), "contradicted", "no difference"),
        ("difference", "lower", 0, (100, 100), "contradicted", "no difference"),
        ("ratio", "not_lower", 1.05, (100, 100), "reproduced", "no difference"),
        ("ratio", "not_higher", 1, (100, 100), "reproduced", "no difference"),
        # the same difference in every block
        ("ratio", "higher", 1.2, (150, 100), "reproduced", "higher"),
        ("ratio", "same", 1.2, (150, 100), "contradicted", "higher"),
        ("ratio", "lower", 1.2, (150, 100), "contradicted", "higher"),
        ("ratio", "higher", 1.6, (150, 100), "contradicted", "higher, but less than worth the name"),
        ("difference", "higher", 50, (150, 100), "inconclusive", "higher, size open"),
        ("difference", "same", 1e-16, (100, 100), "reproduced", "no difference"),
        ("difference", "not_lower", 0, (99, 100), "contradicted", "lower"),
    ],
)
def test_arms_that_differ_alike_in_every_block_are_decided_without_chance(
    claim, sweep, scale, direction, smallest, values, verdict, word
):
    one = claim(scale=scale, direction=direction, smallest=smallest)
    treatment, control = ([float(value)] * 6 for value in values)
    found = judge(one, sweep((BATCH, treatment), (GLOBAL, control)))
    assert (found.verdict, found.finding.partition(": ")[0]) == (verdict, word)
    assert found.interval[0] == pytest.approx(found.interval[1])
    at_bound = ("the effect is the bound itself in every block",) if verdict == "inconclusive" else ()
    assert found.reasons == at_bound


def test_every_condition_is_decided_as_it_is_where_one_varies_and_another_does_not(claim, sweep):
    over = {"over": {"cell.name": ["lstm", "gru"]}, "scope": "every"}

    def found(gru: float, **changes):
        arms = (
            ({**BATCH, "cell.name": "lstm"}, times(1.5)),
            ({**GLOBAL, "cell.name": "lstm"}, CONTROL),
            ({**BATCH, "cell.name": "gru"}, [gru] * 6),
            ({**GLOBAL, "cell.name": "gru"}, [100.0] * 6),
        )
        return judge(claim(**over, **changes), sweep(*arms))

    assert found(150.0).verdict == "reproduced"
    assert found(100.0).verdict == "contradicted"
    assert found(100.0).effect == 1.0, "the least favourable condition is shown"
    assert found(120.0).verdict == "inconclusive", "at the bound"


@pytest.mark.parametrize("first", ["lstm", "gru"])
def test_the_condition_that_contradicts_is_shown_beside_one_at_its_bound(claim, sweep, first):
    """In ``lstm`` the effect is the bound itself in every block (p of "inside" is 1), in ``gru`` far outside."""
    values = {"lstm": [100.1] * 6, "gru": [99.5, 99.4, 99.6, 99.5, 99.45, 99.55]}
    cells = [first, *({"lstm", "gru"} - {first})]
    arms = [
        arm
        for cell in cells
        for arm in (
            ({**BATCH, "cell.name": cell}, values[cell]),
            ({**GLOBAL, "cell.name": cell}, [100.0] * 6),
        )
    ]
    every = claim(over={"cell.name": cells}, scope="every", scale="difference", smallest=0.1)
    found = judge(every, sweep(*arms))
    assert (found.verdict, found.effect) == ("contradicted", pytest.approx(-0.5))
    assert found.decision_interval[1] < 0
    assert [one["effect"] for one in found.by_block] == pytest.approx([v - 100 for v in values["gru"]])
    same = judge(replace(every, direction="same"), sweep(*arms))
    assert (same.verdict, same.effect) == ("contradicted", pytest.approx(-0.5))


def test_an_arm_without_runs_is_inconclusive_and_names_what_there_is(claim, sweep):
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL))
    found = judge(claim(treatment={"padding.name": "bukcet"}, control=GLOBAL), runs)
    assert (found.verdict, found.pairs, found.effect) == ("inconclusive", 0, None)
    assert found.reasons == ("no runs of the treatment padding.name=bukcet; the runs have batch, global",)
    near = judge(claim(treatment={"padding.name": "globl"}, control=BATCH), runs)
    assert near.reasons[0].endswith("the runs have batch, global; did you mean global?")
    assert len(found.failed) == 6


TEN = [0.02, -0.01, 0.03, -0.02, 0.01, -0.03, 0.015, -0.025, 0.005, 0.0]


@pytest.mark.parametrize(
    ("blocks", "failures", "verdict"),
    [(8, 1, "inconclusive"), (9, 1, "reproduced"), (10, 1, "reproduced"), (10, 2, "inconclusive")],
)
def test_failures_count_against_a_verdict(claim, sweep, blocks, failures, verdict):
    control = [100.0 + number for number in range(blocks)]
    treatment = times(1.5, TEN[:blocks], control)
    treatment[-failures:] = [None] * failures
    found = judge(claim(pairs=blocks), sweep((BATCH, treatment), (GLOBAL, control)))
    assert (found.verdict, found.pairs, found.planned) == (verdict, blocks - failures, blocks)
    tail = stats.binom.sf(blocks - failures - 1, blocks, 0.5)
    assert (tail <= 0.025) == (verdict == "reproduced")
    assert [one["why"] for one in found.failed] == ["status FAILED"] * failures
    assert found.failed[0]["arm"] == "treatment"
    assert any(f"{blocks - failures} of {blocks} blocks complete" in flag for flag in found.flags)
    if verdict == "inconclusive":
        assert "too few" in found.reasons[0]


def test_a_pair_of_which_both_runs_failed_says_so(claim, sweep):
    runs = sweep((BATCH, [*times(1.5)[:5], None]), (GLOBAL, [*CONTROL[:5], None]))
    runs.loc[10, "tags.workbench.diverged"] = "true"
    (failed,) = judge(claim(), runs).failed
    assert (failed["arm"], failed["why"]) == ("both", "diverged and status FAILED")
    assert (failed["block"], failed["runs"]) == ("106", ["run010", "run011"])


def test_failures_count_against_a_contradiction_too(claim, sweep):
    control = [100.0 + number for number in range(8)]
    treatment = [*times(1.0, TEN[:7], control[:7]), None]
    found = judge(claim(pairs=8), sweep((BATCH, treatment), (GLOBAL, control)))
    assert found.verdict == "inconclusive"
    assert "7 speak for `contradicted`" in found.reasons[0]


def test_blocks_that_were_never_run_are_failures(claim, sweep):
    found = judge(claim(pairs=8), sweep((BATCH, times(1.5)), (GLOBAL, CONTROL)))
    assert (found.verdict, found.pairs, found.planned) == ("inconclusive", 6, 8)
    assert "2 of 8 planned blocks have no runs at all" in found.flags


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("tags.workbench.diverged", "true", "diverged"),
        ("metrics.loss/validation_per_token", 1.8e308, "loss/validation_per_token is not finite"),
        ("metrics.loss/validation_per_token", float("nan"), "no loss/validation_per_token"),
        ("metrics.loss/validation_per_token", 0.0, "no ratio of 0 to 103; `scale: difference` needs none"),
        ("status", "RUNNING", "status RUNNING"),
    ],
)
def test_what_is_not_finished_has_failed(claim, sweep, column, value, why):
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL), metric="loss/validation_per_token")
    runs[column] = runs[column].astype(object) if column in runs else None
    runs.loc[runs["params.padding.name"].eq("batch") & runs["tags.workbench.block"].eq("6"), column] = value
    found = judge(claim(metric="loss/validation_per_token"), runs)
    assert found.pairs == 5
    assert [one["why"] for one in found.failed] == [why]
    assert found.failed[0]["runs"] == (["run010", "run011"] if why.startswith("no ratio") else ["run010"])
    counted = "treatment 1 of 6, control 0 of 6" if why == "diverged" else "treatment 0 of 6, control 0 of 6"
    assert f"diverged runs: {counted}" in found.flags


def test_a_strange_pair_is_flagged_and_stays_in(claim, sweep):
    treatment = times(1.5)
    treatment[2] *= 1.4
    found = judge(claim(), sweep((BATCH, treatment), (GLOBAL, CONTROL)))
    assert "block 103: residual beyond 5 MAD, kept (runs run004, run005)" in found.flags
    assert found.pairs == 6
    assert found.effect == pytest.approx(1.5 * 1.4 ** (1 / 6))


def test_a_verdict_is_plain_json_and_the_same_for_rows_in_any_order(claim, sweep):
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL), **{"params.extra": math.nan})
    claims = [claim(), claim(name="other", direction="same")]
    first = json.dumps([one.to_json() for one in judge_table(claims, runs)], sort_keys=True, allow_nan=False)
    again = json.dumps(
        [one.to_json() for one in judge_table(claims, runs.sample(frac=1, random_state=3))], sort_keys=True
    )
    assert first == again


def test_other_claims_than_the_declared_make_a_verdict_exploratory(claim, sweep):
    one = claim()
    declared = {"tags.workbench.claims_sha": claims_sha([one])}
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL), **declared)
    assert judge(one, runs).label == "reproduced"
    changed = judge(claim(smallest=1.3), runs)
    assert (changed.label, changed.verdict, changed.exploratory) == (
        "exploratory reproduced",
        "reproduced",
        True,
    )
    assert changed.to_json()["label"] == "exploratory reproduced"
    dirty = judge(one, runs.assign(**{"tags.workbench.claims_committed": "false"}))
    assert dirty.label == "exploratory reproduced"
    assert "exploratory: claims.yaml was not committed before the first run" in dirty.flags
    unknown = judge(one, runs.drop(columns="tags.workbench.claims_sha"))
    assert unknown.label == "reproduced"
    assert any("no hash of the claims is recorded" in flag for flag in unknown.flags)


def test_a_claim_judged_alone_was_declared_with_its_table(written, sweep):
    from workbench.claims import load

    again = written().read_text().split("claims:\n")[1].replace("batch_is_faster", "other").splitlines()
    claims = load(written(("pairs: 10", "pairs: 6\ncontrol_again: false\nequal: []"), more=again))
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL), **{"tags.workbench.claims_sha": claims_sha(claims)})
    alone, table = judge(claims[0], runs), judge_table(claims, runs)
    assert (alone.exploratory, alone.decided_at) == (False, table[0].decided_at)


def exact(claim, **changes):
    fields = {
        "kind": "exact",
        "metric": "correctness/max_abs_output_past_end_with_lengths",
        "scale": "difference",
    }
    return claim(
        **(
            fields
            | {"direction": "same", "smallest": 0, "control": {"value": 0}, "treatment": BATCH}
            | changes
        )
    )


PAST_END = "correctness/max_abs_output_past_end_with_lengths"


def test_an_exact_claim_holds_for_every_pair(claim, sweep):
    found = judge(exact(claim), sweep((BATCH, [0.0] * 6), metric=PAST_END))
    assert (found.verdict, found.pairs, found.agree, found.effect) == ("reproduced", 6, 6, 0)
    assert found.finding.startswith("holds in 6 of 6 pairs: correctness/max_abs_output_past_end_with_lengths")
    assert (found.interval, found.p_reproduced, found.control) == (None, None, "0")


def test_one_counter_example_contradicts_and_is_named(claim, sweep):
    runs = sweep((BATCH, [0.0, 0.0, 1e-7, 0.0, None, 0.0]), metric=PAST_END)
    found = judge(exact(claim), runs)
    assert (found.verdict, found.agree) == ("contradicted", 4)
    assert found.reasons == (
        f"counter-example in block 103: {PAST_END} is 1e-07 in the treatment and 0 in the control (runs run002)",
    )
    assert judge(exact(claim, tolerance=1e-6), runs).verdict == "inconclusive"  # 5 of 6 pairs are too few
    assert judge(exact(claim, tolerance=1e-6), runs, planned=4).verdict == "reproduced"


@pytest.mark.parametrize(("blocks", "verdict"), [(1, "inconclusive"), (2, "reproduced")])
def test_an_exact_claim_needs_two_blocks(claim, sweep, blocks, verdict):
    assert (
        judge(exact(claim), sweep((BATCH, [0.0] * blocks), metric=PAST_END), planned=blocks).verdict
        == verdict
    )


def test_an_exact_claim_between_arms_with_a_factor_as_tolerance(claim, sweep):
    runs = sweep((BATCH, [1.001, 2.0]), (GLOBAL, [1.0, 2.0]), metric="loss/validation_per_token")
    fields = {"metric": "loss/validation_per_token", "control": GLOBAL, "scale": "ratio", "smallest": 1}
    assert judge(exact(claim, **fields), runs, planned=2).verdict == "contradicted"
    assert judge(exact(claim, **fields, tolerance=0.002), runs, planned=2).verdict == "reproduced"


def test_an_exact_claim_without_runs_is_inconclusive(claim, sweep):
    found = judge(
        exact(claim, treatment={"padding.name": "none"}), sweep((BATCH, [0.0] * 6), metric=PAST_END)
    )
    assert (found.verdict, found.effect) == ("inconclusive", None)
    assert found.reasons == ("no runs of the treatment padding.name=none; the runs have batch",)


def test_an_exact_claim_on_a_loss_counts_the_diverged_runs_of_its_one_arm(claim, sweep):
    runs = sweep((BATCH, [2.0] * 6), metric="loss/validation_per_token")
    runs["tags.workbench.diverged"] = ["true"] + ["false"] * 5
    found = judge(exact(claim, metric="loss/validation_per_token", control={"value": 2}), runs)
    assert "diverged runs: treatment 1 of 6" in found.flags


def test_an_exact_ratio_with_a_zero_in_one_arm_is_a_counter_example(claim, sweep):
    runs = sweep((BATCH, [0.0, 0.0, 1.0]), (GLOBAL, [0.0, 2.0, 0.0]), metric="loss/validation_per_token")
    fields = {"metric": "loss/validation_per_token", "control": GLOBAL, "scale": "ratio", "smallest": 1}
    found = judge(exact(claim, **fields), runs, planned=3)
    assert (found.verdict, found.agree) == ("contradicted", 1)  # zero against zero is equal
    assert (
        "block 102: loss/validation_per_token is 0.0 in the treatment and 2.0 in the control"
        in found.reasons[0]
    )
    assert json.dumps(found.to_json(), allow_nan=False)


def test_a_repeat_that_differs_contradicts_an_exact_claim(claim, sweep):
    first = sweep((BATCH, [0.0] * 2), metric=PAST_END)
    again = sweep((BATCH, [0.0, 0.5]), metric=PAST_END, start=50, **{"tags.workbench.repeat": "1"})
    found = judge(exact(claim), pd.concat([first, again]), planned=2)
    assert found.verdict == "contradicted"
    assert found.reasons == (f"a repeat differs: {PAST_END} is 0.5 in run run051 and 0.0 in run run001",)


def test_a_run_of_another_task_is_no_repeat(claim, sweep):
    classify, tag = ({**BATCH, "data.task": task} for task in ("classify", "tag"))
    runs = sweep((classify, [0.0] * 2), (tag, [0.5] * 2), metric=PAST_END)
    found = judge(exact(claim, treatment=classify), runs, planned=2)
    assert (found.verdict, found.reasons) == ("reproduced", ())


def test_exact_claims_are_no_part_of_the_family(claim, sweep):
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL), **{f"metrics.{PAST_END}": 0.0})
    first, second = judge_table([claim(), exact(claim, name="exact")], runs)
    assert (first.decided_at, second.verdict) == (pytest.approx(0.95), "reproduced")


def test_planned_is_taken_from_the_tag_then_the_scale_then_the_file(claim, sweep):
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL))
    scales = claim(pairs={"quick": 6, "full": 12})
    assert judge(claim(pairs=7), runs).planned == 7
    assert judge(scales, runs.assign(**{"params.scale.name": "full"})).planned == 12
    assert judge(scales, runs.assign(**{"tags.workbench.scale": "quick"})).planned == 6
    assert (
        judge(
            scales, runs.assign(**{"tags.workbench.planned_pairs": "6", "params.scale.name": "full"})
        ).planned
        == 6
    )
    assert judge(scales, runs, planned=9).planned == 9


@pytest.mark.parametrize(
    ("pairs", "tags", "says"),
    [
        (6, {"planned_pairs": "6"}, None),
        (7, {"planned_pairs": "6"}, "planned were 6 pairs, and the claims declare 7"),
        ({"quick": 6, "full": 12}, {"planned_pairs": "6", "scale": "quick"}, None),
        (
            {"quick": 6, "full": 12},
            {"planned_pairs": "6", "scale": "full"},
            "planned were 6 pairs, and the claims declare 12 at scale full",
        ),
        (
            {"quick": 6, "full": 12},
            {"planned_pairs": "6", "scale": "huge"},
            "planned were 6 pairs, and the claims declare none at scale huge",
        ),
        ({"quick": 6, "full": 12}, {"planned_pairs": "6"}, None),  # no scale: any of the file's numbers
        (
            {"quick": 7, "full": 12},
            {"planned_pairs": "6"},
            "planned were 6 pairs, and the claims declare 12 at scale full or 7 at scale quick",
        ),
    ],
)
def test_another_number_of_pairs_than_declared_makes_the_table_exploratory(claim, sweep, pairs, tags, says):
    columns = {f"tags.workbench.{name}": value for name, value in tags.items()}
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL), **columns)
    table = judge_table([claim(pairs=pairs), claim(pairs=pairs, name="other")], runs)
    assert {one.exploratory for one in table} == {says is not None}
    assert {one.label for one in table} == {"exploratory reproduced" if says else "reproduced"}
    for one in table:
        assert [flag for flag in one.flags if "planned were" in flag] == (
            [f"exploratory: {says}"] if says else []
        )


def test_a_number_of_pairs_given_to_the_judge_is_held_against_the_declaration_too(claim, sweep):
    runs = sweep((BATCH, times(1.5)), (GLOBAL, CONTROL))
    scale = {"params.scale.name": "full", "tags.workbench.planned_pairs": "12"}
    assert judge(claim(), runs, planned=6).label == "reproduced"
    assert judge(claim(pairs=7), runs, planned=6).label == "exploratory reproduced"
    # the declared 7 do not make a sweep that planned 12 a sweep of 7
    found = judge(claim(pairs=7), runs.assign(**scale), planned=7)
    assert found.flags[0] == "exploratory: planned were 12 pairs, and the claims declare 7"


def test_more_blocks_than_planned_are_unused(claim, sweep):
    control = [100.0] * 9
    runs = sweep((BATCH, times(1.5, [*NOISE, 1, 2, 3], control)), (GLOBAL, control))
    found = judge(claim(), runs)
    assert (found.pairs, found.unused, found.effect) == (6, 6, pytest.approx(1.5))
    assert "runs not used: 6 in blocks beyond the planned" in found.flags


ACCURACY = "accuracy/validation"


@pytest.mark.parametrize(
    ("smallest", "digests", "says"),
    [(0.01, "own", "inconclusive"), (0.2, "own", "reproduced"), (0.01, "alike", "reproduced")],
)
def test_what_was_learnt_and_does_not_vary_is_decided_by_the_grain_of_its_metric(
    claim, sweep, smallest, digests, says
):
    """Of 20 examples: an accuracy that is equal in each of six blocks shows nothing of a hundredth."""
    values = [0.85, 0.9, 0.95, 0.85, 0.9, 0.95]
    coarse = claim(metric=ACCURACY, direction="not_lower", scale="difference", smallest=smallest)
    arms = [
        ({**arm, "tags.digest.losses": digests if digests == "alike" else str(arm)}, values)
        for arm in (BATCH, GLOBAL)
    ]
    found = judge(coarse, sweep(*arms, metric=ACCURACY))
    assert (found.verdict, found.effect) == (says, 0.0)
    if digests == "own":
        half = stats.t.ppf(1 - 0.05 / 2, 5) * 0.05 / math.sqrt(6)  # 95%, and Holm's first of two
        assert found.interval == found.decision_interval == pytest.approx((-half, half))
    else:
        assert found.interval == (0.0, 0.0)


def _folds(claim, sweep, treatment, control, smallest, direction="same"):
    one = claim(
        metric=ACCURACY, direction=direction, scale="difference", smallest=smallest, pairs=len(control)
    )
    return judge(one, sweep((BATCH, treatment), (GLOBAL, control), metric=ACCURACY))


def test_the_grain_of_folds_of_unequal_sizes_is_an_example(claim, sweep):
    """17/18 and 16/17 lie 0.003 apart, and no share of one fold moves by less than 1/18."""
    wrong, sizes = np.array([1, 0, 2, 1, 0, 1, 1, 0, 1, 0]), np.array([18] * 8 + [17] * 2)
    for of in (sizes, np.full(10, 18)):
        accuracies = list((of - wrong) / of)
        found = _folds(claim, sweep, accuracies, accuracies, 0.01)
        assert (found.verdict, found.effect) == ("inconclusive", 0.0)
        assert found.interval[1] > 0.03


@pytest.mark.parametrize("differing", [0, 1, 2])
def test_a_few_folds_that_differ_by_an_example_show_no_more_than_none(claim, sweep, differing):
    control = [1, 0.95, 0.9, 0.95, 1, 0.9, 0.95, 1, 0.95, 0.9]
    treatment = [one - 0.05 * (n < differing) for n, one in enumerate(control)]
    found = _folds(claim, sweep, treatment, control, 0.02)
    assert found.verdict == "inconclusive"
    assert found.interval[1] - found.interval[0] == pytest.approx(
        2 * stats.t.ppf(0.975, 9) * 0.05 / math.sqrt(10)
    )
    assert found.spread() == pytest.approx(0.05)


def test_the_grain_gives_one_interval_and_the_pairs_that_an_open_claim_needs(claim, sweep):
    control = [0.7, 0.6] * 12
    found = _folds(claim, sweep, [one + 0.2 for one in control], control, 0.17, "higher")
    assert (found.verdict, found.finding.partition(":")[0]) == ("inconclusive", "higher, size open")
    assert pairs_that_decide(found) > 24
    low, high = prediction(found, 8)
    assert low < 0.15 < 0.25 < high


@pytest.mark.parametrize("step", [0.7, 100.7])
def test_an_effect_that_is_the_bound_up_to_rounding_is_undecided(claim, sweep, step):
    """What a difference of thousands may be off is not judged by the difference's own size."""
    control = [5000.3 + step * n for n in range(12)]
    higher = claim(direction="higher", scale="difference", smallest=0.1, pairs=12)
    found = judge(higher, sweep((BATCH, [one + 0.1 for one in control]), (GLOBAL, control)))
    assert (found.verdict, found.reasons) == (
        "inconclusive",
        ("the effect is the bound itself in every block",),
    )


@pytest.mark.parametrize("metric", ["loss/validation_per_token", ACCURACY])
@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-9])
def test_arms_that_are_equal_are_decided_as_those_that_nearly_are(claim, sweep, metric, apart):
    """However far the blocks lie apart: a loss, or a share without ties, is no coarse number."""
    values = [2.1, 2.9, 2.0, 2.4, 3.7, 2.5]
    other = [value + apart * (-1) ** n for n, value in enumerate(values)]
    same = claim(metric=metric, direction="same", scale="difference", smallest=0.05)
    assert judge(same, sweep((BATCH, other), (GLOBAL, values), metric=metric)).verdict == "reproduced"


def test_of_runs_that_all_have_one_value_nothing_is_decided(claim, sweep):
    same = claim(metric=ACCURACY, direction="same", scale="difference", smallest=0.01)
    found = judge(same, sweep((BATCH, [0.5] * 6), (GLOBAL, [0.5] * 6), metric=ACCURACY))
    assert (found.verdict, found.reasons[0][:29]) == ("inconclusive", "all runs have the same value ")
