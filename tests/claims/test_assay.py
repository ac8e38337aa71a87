"""Assay sensitivity (README.md, 2.9): no difference counts only where one could have been seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.claims import (
    NOT_ASSESSABLE,
    ClaimError,
    PairingError,
    as_run,
    check_against,
    check_arms,
    check_pairs,
    concerns,
    judge_table,
    load,
    undecided,
)
from workbench.claims.assay import LEARNT

LOSS = "loss/validation_per_token"
CONTROL, TREATMENT = (
    {"padding.name": name, "optimizer.learning_rate": "0.001"} for name in ("global", "batch")
)
PLANTED = {"padding.name": "global", "optimizer.learning_rate": "0.0001"}
ASSAY = {"learnt": 0.05, "planted": {"optimizer.learning_rate": 0.0001}}
WRITTEN = (
    ("direction: higher", "direction: same"),
    ("metric: speed/valid_tokens_per_s", f"metric: {LOSS}"),
    ("smallest: 1.20", "smallest: 1.02"),
)


@pytest.fixture
def same(claim):
    """No difference of the loss beyond 2%, with an assay."""
    return claim(name="same", metric=LOSS, direction="same", smallest=1.02, assay=ASSAY)


@pytest.fixture
def runs(sweep):
    """Global and batch padding alike, and a planted arm 1.1 times worse; all 0.1 above the commonest label."""

    def make(planted=1.1, learnt=0.1, treatment=1.0, blocks=6, **columns):
        values = [1.0, 1.001, 0.999, 1.0005, 0.9995, 1.0] * (blocks // 6)
        arms = [(CONTROL, [1.0] * blocks), (TREATMENT, [treatment * one for one in values])]
        if planted:
            arms.append((PLANTED, [planted * one for one in values[::-1]]))
        frame = sweep(*arms, metric=LOSS, **columns)
        frame[f"metrics.{LEARNT}"] = [learnt + 0.001 * (number % 5) for number in range(len(frame))]
        return frame

    return make


def test_no_difference_counts_where_the_planted_one_was_seen(same, runs):
    (found,) = judge_table([same], runs())
    assert found.verdict == "reproduced"
    said = " ".join(found.flags)
    assert "assay: the models learnt: least of all arms the" in said
    assert (
        "the planted difference (padding.name=global, optimizer.learning_rate=0.0001) makes 1.099 to 1.101"
        in said
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learnt": 0.01}, "beats the commonest label by 0.0117 (at least 0.00995, asked 0.05)"),
        ({"learnt": 0.0485}, "not shown to have learnt"),  # the mean is above 0.05, its interval is not
        ({"planted": 1.019}, "not beyond the 1.02 claimed: a difference could not have been seen"),
        ({"planted": None}, "was not measured: no runs of the treatment optimizer.learning_rate=0.0001"),
    ],
)
def test_models_that_learnt_nothing_or_a_metric_that_sees_nothing_are_not_assessable(
    same, runs, changes, said
):
    (found,) = judge_table([same], runs(**changes))
    assert found.verdict == found.label == NOT_ASSESSABLE
    assert any(said in reason for reason in found.reasons), found.reasons
    (without,) = judge_table([replace(same, assay=None, others_planted=[ASSAY["planted"]])], runs(**changes))
    assert without.verdict == "reproduced", "it is the assay that takes it away"


def test_runs_that_do_not_record_what_was_learnt_are_not_assessable(same, runs):
    (found,) = judge_table([same], runs().drop(columns=f"metrics.{LEARNT}"))
    assert found.verdict == NOT_ASSESSABLE
    assert f"record no {LEARNT}" in found.reasons[0]


def test_a_difference_that_was_seen_needs_no_assay(same, runs):
    (found,) = judge_table([same], runs(treatment=1.2, learnt=0.0, planted=None))
    assert found.verdict == "contradicted"


@pytest.mark.parametrize(("direction", "seen"), [("not_higher", True), ("not_lower", False)])
def test_the_planted_difference_must_lie_where_the_claim_denies_one(same, runs, direction, seen):
    """A loss that is not higher is one that the planted arm shows higher; what it cannot show lower, no run did."""
    (found,) = judge_table([replace(same, direction=direction)], runs())
    assert (found.verdict == "reproduced") is seen


def test_every_condition_must_have_learnt(same, sweep):
    """On average the models did: those of one cell did not."""
    arms = [
        ({**arm, "cell.name": cell, f"metrics.{LEARNT}": learnt}, [value * (1 + 1e-4 * k) for k in range(6)])
        for cell, learnt in (("gru", 0.5), ("lstm", 0.0))
        for arm, value in ((CONTROL, 1.0), (TREATMENT, 1.0), (PLANTED, 1.1))
    ]
    (found,) = judge_table([replace(same, over={"cell.name": ["gru", "lstm"]})], sweep(*arms, metric=LOSS))
    assert found.verdict == NOT_ASSESSABLE
    assert "cell.name=lstm beats the commonest label by 0 " in found.reasons[0]


def test_a_planted_run_is_in_no_arm_that_does_not_name_it(same, runs, claim):
    """Both claims name the padding alone; without the rule the control would have two runs in a block."""
    other = claim(name="other", metric=LOSS, direction="same", smallest=1.02)
    with pytest.raises(PairingError, match=r"optimizer\.learning_rate varies"):
        judge_table([other], runs())
    found = judge_table([same, replace(other, others_planted=[ASSAY["planted"]])], runs())
    assert [one.pairs for one in found] == [6, 6]


def test_the_claims_of_a_file_know_each_others_planted_runs(written, runs):
    more = ["- name: other", "  statement: The same.", "  source: ours", f"  metric: {LOSS}"]
    more += ["  treatment: {padding.name: batch}", "  control: {padding.name: global}", "  direction: same"]
    more += ["  smallest: 1.02", "  why_smallest: less is not worth it"]
    assay = "  assay: {learnt: 0.05, planted: {optimizer.learning_rate: 0.0001}}"
    path = written(*WRITTEN, ("pairs: 10", "pairs: 6\ncontrol_again: false\nequal: []"), more=[assay, *more])
    assert [one.verdict for one in judge_table(load(path), runs())] == ["reproduced"] * 2


def test_the_planted_arm_goes_on_with_its_claim_alone(same, claim):
    other = claim(name="other", metric=LOSS, others_planted=[ASSAY["planted"]])
    planted, control = as_run("p", PLANTED), as_run("c", CONTROL)
    assert concerns(same, planted)
    assert not concerns(other, planted)
    assert concerns(same, control)
    assert concerns(other, control)
    over = replace(same, over={"cell.name": ["gru"]})
    assert concerns(over, as_run("p", {**PLANTED, "cell.name": "gru"}))
    assert not concerns(over, as_run("p", {**PLANTED, "cell.name": "lstm"}))


def test_at_an_early_look_it_goes_on_as_more_pairs_may_show_it(same, runs):
    one = replace(same, pairs=(6, 12))
    frame = runs(planted=None, blocks=12)
    assert undecided([one], frame, (6, 12), 1) == [one]
    (found,) = judge_table([one], frame)
    assert (found.verdict, found.look) == (NOT_ASSESSABLE, 0)


@pytest.mark.parametrize(
    ("assay", "changes", "said"),
    [
        (
            "{learnt: 0.05}",
            (),
            "is no assay; write {learnt: 0.05, planted: {optimizer.learning_rate: 0.0001}}",
        ),
        ("{learnt: 2, planted: {a.b: 1}}", (), "learnt: 2 is out of range"),
        ("{learnt: 0.05, planted: {}}", (), "planted: {} is no arm"),
        ("{learnt: 0.05, planted: {value: 3}}", (), "planted: value is no config value"),
        (
            "{learnt: 0.05, planted: {a.b: 1}}",
            (("direction: same", "direction: lower"),),
            "not for lower; leave it out",
        ),
        (
            "{learnt: 0.05, planted: {a.b: 1}}",
            ((LOSS, "speed/valid_tokens_per_s"),),
            "is measured by a clock",
        ),
        (
            "{learnt: 0.05, planted: {padding.name: batch}}",
            (),
            "padding.name=batch is what the treatment has",
        ),
        (
            "{learnt: 0.05, planted: {padding.name: global}}",
            (),
            "padding.name=global is what the control has",
        ),
    ],
)
def test_an_assay_that_shows_nothing_is_refused_with_its_line(written, assay, changes, said):
    path = written(*WRITTEN, *changes, more=[f"  assay: {assay}"])
    with pytest.raises(ClaimError) as refused:
        load(path)
    assert f"{path}:14: " in str(refused.value)
    assert "assay: " in str(refused.value)
    assert said in str(refused.value)


def test_an_assay_is_held_against_the_planned_jobs(written):
    path = written(*WRITTEN, more=["  assay: {learnt: 0.05, planted: {optimizer.learning_rate: 0.0001}}"])
    claims = load(path)
    arms = {"a": CONTROL, "b": TREATMENT}
    (problem,) = check_arms(claims, arms)
    assert "no planned job has optimizer.learning_rate=0.0001; the nearest is 0.001" in problem
    assert problem.startswith(f"{path}:14: ")
    assert check_arms(claims, {**arms, "c": PLANTED}) == check_pairs(claims, {**arms, "c": PLANTED}) == []
    assert "no optimizer.learning_rate" in check_against(claims, {"padding.name": "batch"})[0]
    (alone,) = check_arms(claims, {"b": TREATMENT, "c": PLANTED})
    assert "padding.name=global" in alone, "the planted arm is no control"
