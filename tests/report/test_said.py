"""A verdict in words: the value in its own unit beside what was claimed, never only the difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.claims import Verdict
from workbench.report import said

BASE = Verdict(
    claim="c",
    sha="0",
    verdict="reproduced",
    finding="higher: speed/valid_tokens_per_s, a against b: 1.32 times",
    kind="measured",
    metric="speed/valid_tokens_per_s",
    unit="times",
    scale="ratio",
    direction="higher",
    smallest=1.5,
    treatment="padding.name=batch",
    control="padding.name=global",
    effect=1.32,
    interval=(1.26, 1.39),
    pairs=6,
    planned=6,
)
SIZE = replace(
    BASE,
    kind="exact",
    metric="data/times_text",
    unit="times",
    scale="difference",
    smallest=0.0,
    control="10",
    effect=-4.813,
    interval=None,
    finding="holds in 0 of 6 pairs: data/times_text, x against 10: -4.813 times",
    reasons=(
        "counter-example in block 1: data/times_text is 5.187 in the treatment and 10 in the control (runs a)",
    ),
)
LOSS = replace(
    BASE,
    metric="loss/validation_per_token",
    unit="nats",
    scale="difference",
    smallest=0.05,
    effect=0.2,
    interval=(0.1, 0.3),
    finding="higher: loss/validation_per_token, a against b: 0.2 nats",
)


@pytest.mark.parametrize(
    ("one", "value", "claimed", "sentence"),
    [
        (BASE, "1.32x [1.26, 1.39]", "at least 1.5x", "faster: 1.32x [1.26, 1.39]; worth the name from 1.5x"),
        (
            SIZE,
            "5.187 times",
            "at least 10 times",
            "fails in all of 6 pairs: size over that of plain text 5.187 times; claimed: at least 10 times",
        ),
        (
            LOSS,
            "+0.20 nats [0.10, 0.30]",
            "at least 0.05 nats",
            "higher: validation loss +0.20 nats [0.10, 0.30]; worth the name from 0.05 nats",
        ),
        (
            replace(
                BASE,
                direction="lower",
                metric="memory/rss_growth_mb",
                smallest=1.25,
                finding="lower: memory/rss_growth_mb, x",
            ),
            "1.32x [1.26, 1.39]",
            "at most 0.8x",
            "less memory: 1.32x [1.26, 1.39]; worth the name from 0.8x down",
        ),
        (
            replace(
                BASE, direction="same", smallest=1.05, finding="no difference: speed/valid_tokens_per_s, x"
            ),
            "1.32x [1.26, 1.39]",
            "within 1.05x either way",
            "no difference: training speed 1.32x [1.26, 1.39]; claimed: within 1.05x either way",
        ),
        (
            replace(
                SIZE,
                metric="data/batches_at_longest",
                unit="batches",
                direction="same",
                control="1",
                effect=0.0,
                finding="holds in 6 of 6 pairs: x",
            ),
            "1 batch",
            "1 batch",
            "holds in 6 of 6 pairs: batches padded to the longest 1 batch; claimed: 1 batch",
        ),
        (
            replace(
                SIZE,
                metric="accuracy/validation_over_commonest",
                unit="1",
                control="0",
                smallest=0.1,
                effect=0.556,
                finding="holds in 6 of 6 pairs: x",
            ),
            "55.6%",
            "at least 10%",
            "holds in 6 of 6 pairs: accuracy above the commonest label's 55.6%; claimed: at least 10%",
        ),
        (
            replace(LOSS, control="2", interval=(0.1, 0.3)),
            "2.2 nats [2.1 nats, 2.3 nats]",
            "at least 2.05 nats",
            "higher: validation loss 2.2 nats [2.1 nats, 2.3 nats]; worth the name from 2.05 nats",
        ),
        (
            replace(
                BASE,
                metric="speed/graph_build_s",
                finding="higher, but less than worth the name: speed/graph_build_s, x",
            ),
            "1.32x [1.26, 1.39]",
            "at least 1.5x",
            "longer, but less than worth the name: 1.32x [1.26, 1.39]; worth the name from 1.5x",
        ),
        (
            replace(
                BASE,
                direction="not_higher",
                finding="higher, but less than worth the name: speed/valid_tokens_per_s, x",
            ),
            "1.32x [1.26, 1.39]",
            "at most 1.5x",
            "faster: 1.32x [1.26, 1.39]; claimed: at most 1.5x",
        ),
    ],
)
def test_the_value_and_the_claim_in_one_unit(one: Verdict, value: str, claimed: str, sentence: str) -> None:
    assert (said.value(one), said.claimed(one), said.sentence(one)) == (value, claimed, sentence)


def test_a_counter_example_has_its_unit() -> None:
    assert said.counter_example(SIZE) == "block 1: 5.187 times against 10 times"
    assert said.counter_example(BASE) == ""
    repeat = "a repeat differs: loss/step is 1.0 in run a and 2.0 in run b"
    assert said.counter_example(replace(SIZE, reasons=("other", repeat))) == repeat


def test_nothing_measured_is_said_as_it_is() -> None:
    none = replace(BASE, effect=None, interval=None, finding="no complete pair of 6 planned")
    assert said.sentence(none) == "no complete pair of 6 planned"
    assert said.value(none) == "–"


def test_arms_leave_out_what_they_share() -> None:
    one = replace(
        BASE, treatment="rnn.pass_lengths=true, cell.units=8", control="rnn.pass_lengths=false, cell.units=8"
    )
    assert said.arms(one) == "lengths against no lengths"
    assert said.arms(replace(one, control=one.treatment)) == "the same twice"
    lists = {
        side: f"padding.name=bucket, padding.boundaries=[8, {last}]"
        for side, last in (("treatment", 16), ("control", 32))
    }
    assert said.arms(replace(BASE, **lists)) == "boundaries=[8, 16] against boundaries=[8, 32]"


def test_an_exact_claim_says_how_much_it_may_miss() -> None:
    """What is 1.018x and reproduced was not claimed to make no difference, but to lie within a fiftieth."""
    equal = replace(BASE, kind="exact", direction="same", smallest=1.0, tolerance=0.02)
    assert said.claimed(equal) == "within 1.02x either way"
    assert said.claimed(replace(equal, tolerance=4e-4)) == "within 1.0004x either way", "and not none"
    near = replace(LOSS, kind="exact", direction="same", smallest=0.0, tolerance=0.001)
    assert said.claimed(near) == "apart by at most 0.001 nats"
    assert said.claimed(replace(near, control="0", unit="1")) == "within 0.001 of 0"
    assert said.claimed(replace(near, tolerance=0.0)) == "no difference"
    most = replace(SIZE, direction="not_higher", control="1", tolerance=0.05)
    assert said.claimed(most) == "at most 1.05 times"
    assert said.claimed(replace(most, direction="higher", smallest=0.5)) == "at least 1.45 times"
    ratio = replace(BASE, kind="exact", smallest=1.5, tolerance=0.2)
    assert said.claimed(replace(ratio, direction="higher")) == "at least 1.25x"
    assert said.claimed(replace(ratio, direction="not_higher")) == "at most 1.8x"


def test_a_mean_over_pairs_that_differ_is_said_to_be_one() -> None:
    """3.019 times, where 2 were claimed, is contradicted by the pairs below the mean."""
    apart = tuple({"block": str(n), "effect": effect} for n, effect in enumerate((-8.0, -6.0)))
    one = replace(SIZE, by_block=apart, finding="holds in 3 of 6 pairs: x")
    assert said.held(one) == (3, 6)
    assert said.sentence(one) == (
        "holds in 3 of 6 pairs: size over that of plain text 5.187 times on average; claimed: at least 10 times"
    )
    conditions = replace(SIZE, finding="holds in 24 of 36 pairs: x")
    assert "on average" in said.sentence(conditions)
    assert said.held(BASE) is None


@pytest.mark.parametrize(
    ("decided", "reasons", "words"),
    [
        ((1.4, 1.9), (), "open, as the interval corrected for all claims of the table is [1.40, 1.90]"),
        ((1.4, 1.9), ("the control differs from itself",), ""),  # then that is why
        ((1.52, 1.8), (), ""),
        (None, (), ""),
    ],
)
def test_a_claim_that_its_own_interval_would_decide_says_why_it_is_open(decided, reasons, words) -> None:
    one = replace(BASE, verdict="inconclusive", effect=1.65, interval=(1.55, 1.75), reasons=reasons)
    one = replace(one, decision_interval=decided)
    assert said.undecided(one) == words
    assert said.sentence(one).endswith(words)
    outside = replace(BASE, verdict="inconclusive", decision_interval=(1.2, 1.6))
    assert said.undecided(outside).endswith("[1.20, 1.60]")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({1: 1.61, 8: 1.05}, "each of 2 conditions is judged, files=8 1.05x and files=1 1.61x"),
        (
            {1: 1.61, 2: 1.5, 4: 1.2, 8: 1.05},
            "each of 4 conditions is judged, between files=8 1.05x and files=1 1.61x",
        ),
    ],
)
def test_a_claim_of_every_condition_names_them(files: dict[int, float], words: str) -> None:
    """The mean over conditions, which stands first, is then not what is judged."""
    parts = tuple(
        {"condition": {"data.files": str(number)}, "effect": effect, "interval": (1.0, 2.0), "pairs": 6}
        for number, effect in files.items()
    )
    assert "conditions" not in said.sentence(replace(BASE, by_condition=parts))
    judged = replace(BASE, by_condition=tuple({**part, "judged": True} for part in parts))
    assert f"faster: 1.32x [1.26, 1.39]; {words}; worth the name" in said.sentence(judged)
