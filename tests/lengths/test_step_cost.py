"""Speed foretold from a few timed batches; and the command that times them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workbench import advice, advise, foretell, step_cost
from workbench.options.padding import Bucket, Global, Padding, Pooled

LONG_TAIL = {length: max(1, int(400 * 0.9**length)) for length in range(1, 60)} | {300: 2}


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(0, 1)] * 5).filter(lambda cost: sum(cost) > 0.1),
    st.sampled_from([Global(), Padding("batch"), Bucket(), Pooled(), Padding("batch", token_budget=2000)]),
    st.sampled_from([8, 32]),
)
@example(
    (0.0, 0.0, 0.0, 1.0, 0.0), Global(), 32
)  # a loop that ends with the longest example, whatever the padding
def test_where_steps_cost_as_the_model_says_an_epoch_is_foretold(cost, padding, size):
    """From six batches the time of all of them, whatever each part costs."""
    true = step_cost.StepCost(np.array(cost) * [1e-2, 1e-4, 1e-6, 1e-4, 1e-5])
    epoch = advice.planned(LONG_TAIL, padding, size)
    some = step_cost.sampled(epoch, 6)
    found = step_cost.fitted([one.features for one in some], true.seconds(some))
    assert found.tokens_per_second(epoch) == pytest.approx(true.tokens_per_second(epoch), rel=0.1)


def test_batches_are_those_of_the_plan():
    epoch = advice.planned({3: 5, 8: 2}, Padding("batch"), 4, epochs=1)
    assert sorted(np.concatenate([one.lengths for one in epoch]).tolist()) == [3] * 5 + [8] * 2
    assert all(one.padded_length == one.lengths.max() for one in epoch)
    assert [len(one.lengths) for one in epoch] == [4, 3]


def test_the_smallest_and_the_largest_batch_are_timed():
    epoch = advice.planned(LONG_TAIL, Pooled(), 32)
    some = step_cost.sampled(epoch, 6)
    sizes = [one.features[2] for one in epoch]
    assert {one.features[2] for one in some} >= {min(sizes), max(sizes)}
    assert len(some) == 6


# -- the command


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What processes would have been asked to time; a step costs a millisecond, and a position a microsecond."""
    seen: list[dict[str, Any]] = []

    def timed(given: dict[str, Any]) -> list[list[float]]:
        seen.append(json.loads(json.dumps(given)))
        slow = 2.0 if given["seed"] == 1 else 1.0  # a process that is slow all its life
        passes = given["passes"]
        return [[slow * (1e-3 + 1e-6 * steps * len(lengths))] * passes for steps, lengths in given["batches"]]

    monkeypatch.setattr(foretell, "_timed", timed)
    return seen


def test_a_process_that_is_slow_all_its_life_does_not_count(asked):
    lengths, model = {4: 8}, foretell.TimedModel("tag", 5, 20, None)
    rows = advice.advise(lengths, [4])
    assert foretell.foretold(lengths, rows, [], model) == [pytest.approx(16 / 1.016e-3)] * len(rows)
    batches = advice.planned(lengths, Padding("batch"), 4, epochs=1)
    fast, slow = [pytest.approx(1.016e-3)] * 2, [pytest.approx(2.032e-3)] * 2
    assert foretell.timed(batches, [], model, passes=2, processes=2) == [fast + slow] * 2


def test_a_speed_stands_beside_each_row_and_the_fastest_is_named(asked, tmp_path, capsys):
    lines = "\n".join(str(length) for length, count in LONG_TAIL.items() for _ in range(count))
    (tmp_path / "lengths.txt").write_text(lines)
    words = ["--data", str(tmp_path / "lengths.txt"), "--batch-size", "8", "32", "--vocabulary", "50"]
    assert advise.main([*words, "--measure", "cell=gru", "rnn=packed"]) == 0
    out = capsys.readouterr().out
    assert "tokens/s here" in out
    assert "fastest here: python -m workbench padding=pooled data.batch_size=32 cell=gru rnn=packed" in out
    one, *others = asked
    assert [other["seed"] for other in others] == [1, 2]
    assert all({**other, "seed": 0} == one for other in others)
    assert (one["vocabulary"], one["classes"], one["task"], one["features"]) == (50, 10, "tag", None)
    assert (one["tree"]["cell"]["name"], one["tree"]["rnn"]["unroll"]) == ("gru", "packed")
    assert len(one["batches"]) <= 8 * foretell.POINTS


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["padding=batch"], "padding=batch: data and padding are what is compared"),
        (["data.batch_size=3"], "data.batch_size=3: data and padding are what is compared"),
        (["cell=gruu"], "did you mean gru?"),
        (["rnn=static", "rnn.allow_retrace=true"], "each length is a graph of its own"),
        (["training.strategy=mirrored", "training.workers=2"], "one replica is what can be timed"),
    ],
)
def test_what_cannot_be_timed_is_refused(asked, tmp_path, capsys, overrides, words):
    (tmp_path / "lengths.txt").write_text("3\n4\n")
    assert advise.main(["--data", str(tmp_path / "lengths.txt"), "--measure", *overrides]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not asked


def test_without_measure_nothing_is_timed(asked, tmp_path, capsys):
    (tmp_path / "lengths.txt").write_text("3\n4\n")
    assert advise.main(["--data", str(tmp_path / "lengths.txt")]) == 0
    assert "tokens/s" not in capsys.readouterr().out
    assert not asked


@pytest.mark.slow  # quick: the fits of made-up costs
@pytest.mark.command
@pytest.mark.parametrize(
    "model",
    [
        foretell.TimedModel("tag", 5, 20, None),
        pytest.param(foretell.TimedModel("classify", 5, None, 3), marks=pytest.mark.slow),
    ],
)
def test_steps_are_timed_in_a_process_of_their_own(model):
    rows = advice.advise({2: 6, 5: 2}, [4])[:2]
    speeds = foretell.foretold({2: 6, 5: 2}, rows, ["cell.units=4"], model)
    assert len(speeds) == 2
    assert all(speed > 0 for speed in speeds)


@pytest.mark.command
@pytest.mark.slow
def test_a_model_that_cannot_be_made_is_said_in_words():
    rows = advice.advise({2: 6}, [4])[:1]
    with pytest.raises(ValueError, match=r"the steps could not be timed: .*nowhere"):
        foretell.foretold(
            {2: 6}, rows, ["cell=custom", "cell.target=nowhere:Cell"], foretell.TimedModel("tag", 5, 20, None)
        )
