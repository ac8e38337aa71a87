"""The A/A arm: what it says, and what it does to the table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench.claims import judge, judge_table

BATCH, GLOBAL = ({"padding.name": name} for name in ("batch", "global"))
AGAIN = {**GLOBAL, "tags.workbench.repeat": "1", "repeat": 1}
CONTROL = np.array([100.0, 104.0, 96.0, 101.0, 99.0, 103.0])
NOISE = np.array([0.02, -0.01, 0.03, -0.02, 0.01, -0.03])
FAST = list(CONTROL * 1.5 * np.exp(NOISE[::-1]))


def with_bias(bias):
    return list(CONTROL * bias * np.exp(NOISE))


@pytest.mark.parametrize(
    ("bias", "says", "claimed"),
    [
        (1.0, "instrument ok", "reproduced"),
        (1.1, "watch", "reproduced"),
        (1.3, "instrument failed", "inconclusive"),
        (0.7, "instrument failed", "inconclusive"),
    ],
)
def test_a_biased_instrument_voids_the_table(claim, sweep, bias, says, claimed):
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, with_bias(bias)))
    verdict, instrument = judge_table([claim(control_again=True)], runs)
    assert (instrument.claim, instrument.kind, instrument.verdict) == ("control_again", "instrument", says)
    y = np.log(bias) + NOISE
    expected = stats.ttest_1samp(y, 0).confidence_interval(0.95)
    assert instrument.effect == pytest.approx(bias)
    assert instrument.interval == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    low, high = (
        stats.ttest_1samp(y, sign * np.log(1.2), alternative=side).pvalue
        for sign, side in ((-1, "greater"), (1, "less"))
    )
    assert instrument.p_reproduced == pytest.approx(max(low, high))
    assert (instrument.pairs, instrument.planned, instrument.smallest) == (6, 6, pytest.approx(1.2))
    assert verdict.verdict == claimed
    if claimed == "inconclusive":
        assert verdict.reasons[0].startswith("the instrument failed")
        assert verdict.effect == pytest.approx(1.5)  # what was found is still shown


def test_the_smallest_margin_of_the_table_is_its_margin(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, with_bias(1.15)))
    strict = claim(name="strict", direction="not_lower", smallest=1.05, control_again=True)
    anything = claim(name="any_gain", smallest=1.0, control_again=True)
    assert judge_table([claim(control_again=True), strict], runs)[-1].verdict == "instrument failed"
    assert judge_table([claim(control_again=True), anything], runs)[-1].verdict == "watch"
    # without any margin above nothing it can only warn
    assert judge_table([anything], runs)[-1].verdict == "watch"


def test_an_arm_that_was_declared_and_never_run_is_said(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)))
    (verdict,) = judge_table([claim(control_again=True)], runs)
    assert (verdict.verdict, verdict.flags[-1]) == (
        "reproduced",
        "control_again is declared, but the sweep has no such runs: no A/A check",
    )


def test_too_few_pairs_of_it_say_nothing(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, [*with_bias(1.5)[:4], None]))
    verdict, instrument = judge_table([claim(control_again=True)], runs)
    assert (instrument.verdict, instrument.pairs) == ("inconclusive", 4)
    assert [one["why"] for one in instrument.failed] == ["status FAILED", "no run"]
    assert instrument.reasons == ("4 complete A/A pairs; at least 6 are needed",)
    assert verdict.verdict == "reproduced"


def test_repeats_are_used_for_nothing_else(claim, sweep):
    plain = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)))
    again = sweep((AGAIN, with_bias(1.0)), start=60)
    assert judge(claim(), pd.concat([plain, again])).interval == judge(claim(), plain).interval


@pytest.mark.parametrize("first", [CONTROL[0], None])
def test_a_repeat_stands_for_no_control_though_it_was_run_before_it_or_the_control_died(claim, sweep, first):
    plain = sweep((BATCH, FAST), (GLOBAL, [first, *CONTROL[1:]]), start=60)
    again = sweep((AGAIN, with_bias(2.0)))
    found, expected = judge(claim(), pd.concat([again, plain])), judge(claim(), plain)
    assert (found.verdict, found.interval, found.pairs) == (
        expected.verdict,
        expected.interval,
        expected.pairs,
    )


def test_exact_claims_outlive_a_failed_instrument(claim, sweep):
    fields = {"kind": "exact", "metric": "data/longest", "direction": "same", "smallest": 1}
    runs = sweep(
        (BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, with_bias(1.5)), **{"metrics.data/longest": 7.0}
    )
    claims = [claim(control_again=True), claim(name="exact", control_again=True, **fields)]
    assert [one.verdict for one in judge_table(claims, runs)] == [
        "inconclusive",
        "reproduced",
        "instrument failed",
    ]
    assert [one.verdict for one in judge_table(claims[1:], runs)] == ["reproduced"]


@pytest.mark.parametrize(
    ("bias", "says"), [(1.0, "instrument ok"), (1.1, "instrument ok"), (1.5, "instrument failed")]
)
def test_another_noisy_metric_warns_or_fails_it_too(claim, sweep, bias, says):
    memory = "metrics.memory/peak_rss_mb"
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, with_bias(1.0)), **{memory: 100.0})
    runs.loc[2::3, memory] = bias * 100 * np.exp(NOISE)
    claims = [
        claim(control_again=True),
        claim(name="memory", metric="memory/peak_rss_mb", direction="same", control_again=True),
    ]
    *verdicts, instrument = judge_table(claims, runs)
    assert (instrument.metric, instrument.verdict) == ("speed/valid_tokens_per_s", says)
    if says == "instrument failed":
        assert instrument.reasons[0].startswith("memory/peak_rss_mb: higher: ")
        assert [one.verdict for one in verdicts] == ["inconclusive", "inconclusive"]
    watched = [
        flag
        for flag in instrument.flags
        if flag.startswith("also to watch: no difference worth the name (higher")
    ]
    assert len(watched) == (bias == 1.1)


def test_what_no_clock_measures_must_be_equal_to_the_last_bit(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, with_bias(1.0)))
    runs["metrics.loss/validation_per_token"] = 2.0
    loss = claim(name="loss", metric="loss/validation_per_token", direction="same", control_again=True)
    claims = [claim(control_again=True), loss]
    assert judge_table(claims, runs)[-1].flags == judge_table(claims[:1], runs)[-1].flags
    runs.loc[8, "metrics.loss/validation_per_token"] += 1e-9  # block 3, the control again
    assert judge_table(claims, runs)[-1].flags[-1] == (
        "not bit-identical: loss/validation_per_token of the control and the control again in block 103 "
        "(runs run008, run007)"
    )


def test_a_table_without_noise_shows_an_instrument_without_noise(claim, sweep):
    runs = sweep(
        (BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, list(CONTROL)), metric="loss/validation_per_token"
    )
    *_, instrument = judge_table([claim(metric="loss/validation_per_token", control_again=True)], runs)
    assert (instrument.verdict, instrument.effect, instrument.interval) == ("instrument ok", 1.0, (1.0, 1.0))


LOSS = "loss/validation_per_token"


@pytest.fixture
def digested(sweep):
    """Runs with equal digests of losses, weights and order, on a CPU, whose losses differ by arm and block."""
    runs = sweep((BATCH, FAST), (GLOBAL, list(CONTROL)), (AGAIN, with_bias(1.0)))
    blocks = runs["params.seed"].astype(int) - 100
    runs[f"metrics.{LOSS}"] = 2 + 0.001 * (blocks % 3) * (runs["params.padding.name"] == "batch")
    for what in ("losses", "weights", "order"):
        runs[f"tags.digest.{what}"] = what + runs["params.seed"] + runs["params.padding.name"]
    return runs.assign(**{"params.device": "cpu"})


@pytest.fixture
def three(claim):
    """A claim on speed, one on a loss, an exact one."""
    exact = {"kind": "exact", "metric": LOSS, "scale": "difference", "direction": "same", "smallest": 0.1}
    return [
        claim(control_again=True),
        claim(name="loss", metric=LOSS, direction="same", control_again=True),
        claim(name="exact", control_again=True, **exact),
    ]


def test_a_control_that_is_not_bit_identical_voids_what_no_clock_measures(three, digested):
    assert [one.verdict for one in judge_table(three, digested)] == [*["reproduced"] * 3, "instrument ok"]
    digested.loc[8, "tags.digest.losses"] = digested.loc[8, "tags.digest.weights"] = "other"
    digested.loc[17, "tags.digest.order"] = "other"
    *verdicts, instrument = judge_table(three, digested)
    assert [one.verdict for one in verdicts] == ["reproduced", "inconclusive", "inconclusive"]
    said = (
        "the control run again is not bit-identical to the control: losses, weights in block 103 "
        "(runs run008, run007); order of examples in block 106 (runs run017, run016)"
    )
    assert (instrument.verdict, instrument.reasons) == ("instrument ok", (said,))  # of the speed
    assert [one.reasons for one in verdicts] == [(), (said,), (said,)]
    assert verdicts[1].effect is not None  # what was found is still shown


def test_an_exact_table_has_no_row_and_is_voided_too(three, digested):
    digested.loc[2, "tags.digest.weights"] = "other"
    (alone,) = judge_table(three[2:], digested)
    assert (alone.verdict, alone.reasons[0].count("run002")) == ("inconclusive", 1)


def test_an_instrument_without_noise_fails_by_its_digests(three, digested):
    digested.loc[2, "tags.digest.weights"] = "other"
    loss, instrument = judge_table(three[1:2], digested)
    assert (loss.verdict, instrument.verdict) == ("inconclusive", "instrument failed")


@pytest.mark.parametrize(
    ("columns", "voided"),
    [
        ({"params.device": "gpu"}, False),
        ({"params.device": "gpu", "params.training.deterministic": "False"}, False),
        ({"params.device": "gpu", "params.training.deterministic": "True"}, True),
        ({"params.device": None}, False),
        ({"tags.digest.losses": None, "tags.digest.weights": None, "tags.digest.order": None}, False),
        ({"status": "FAILED"}, False),
    ],
)
def test_where_bits_need_not_be_equal_nothing_is_said(three, digested, columns, voided):
    digested["tags.digest.losses"] = digested["run_id"]
    (row,) = [one for one in judge_table(three, digested.assign(**columns)) if one.kind == "instrument"]
    assert any("bit-identical" in one for one in row.reasons) is voided


def test_blocks_beyond_the_planned_are_no_part_of_the_check(claim, digested):
    digested.loc[17, "tags.digest.losses"] = "other"
    losses = claim(name="loss", metric=LOSS, direction="same", control_again=True)
    assert judge_table([losses], digested, planned=5)[-1].reasons == (
        "5 complete A/A pairs; at least 6 are needed",
    )


def test_a_run_on_other_data_is_not_what_was_repeated(three, digested):
    """As another task's, which no key tells apart: it came first, is slower, and learnt something else."""
    other = digested[digested["tags.workbench.repeat"].isna() & (digested["params.padding.name"] == "global")]
    other = other.assign(
        **{
            "run_id": "other " + other["run_id"],
            "start_time": other["start_time"] - pd.Timedelta(days=1),
            "params.data.task": "classify",
            "params.data.fingerprint": "of classify",
            "metrics.speed/valid_tokens_per_s": 10.0,
            "tags.digest.losses": "others",
        }
    )
    alone = digested.assign(**{"params.data.task": "tag", "params.data.fingerprint": "of tag"})
    claims = [replace(one, over={"data.task": ["tag"]}) for one in three]
    row = judge_table(claims, pd.concat([alone, other], ignore_index=True))[-1]
    assert (row.verdict, row.reasons) == ("instrument ok", ())
    assert row.effect == judge_table(claims, alone)[-1].effect


def test_a_repeat_on_another_machine_is_no_repeat(three, digested):
    """As of a sweep that was resumed elsewhere between the two."""
    runs = digested.assign(**{"tags.machine.cpu": "A", "params.threads": "2"})
    runs.loc[17, "tags.machine.cpu"] = "B"
    runs.loc[17, "tags.digest.losses"] = "other"
    runs.loc[17, "metrics.speed/valid_tokens_per_s"] = 1.0
    _, loss, exact, instrument = judge_table(three, runs)
    assert (instrument.pairs, instrument.effect) == (5, pytest.approx(1.0, abs=0.05))
    assert "made on two machines" in str(instrument.failed)
    assert (loss.verdict, exact.verdict) == ("reproduced", "reproduced")


def test_arms_that_a_path_alone_tells_apart_are_repeated_each_for_itself(claim, sweep):
    """The control again was held against whichever arm had run first."""
    arms = [
        ({"data.path": path, "tags.workbench.arm": f"data.path={path}"}, path) for path in ("/ssd", "/nfs")
    ]
    (fast, _), (slow, _) = arms
    again = {**slow, "tags.workbench.arm": "(control again) data.path=/nfs", "tags.workbench.repeat": "1"}
    runs = sweep((fast, FAST), (slow, list(CONTROL)), (again, with_bias(1.0)))
    asked = claim(treatment={"data.path": "/ssd"}, control={"data.path": "/nfs"}, control_again=True)
    *_, instrument = judge_table([asked], runs)
    assert instrument.effect == pytest.approx(1.0, abs=0.05)
