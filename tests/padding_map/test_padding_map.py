"""The map for padding: what is timed, what a cost of steps foretells, its table and figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.padding_map import __main__ as command
from experiments.padding_map import figure, measure, sets
from workbench import foretell
from workbench.advice import advise


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A step costs a millisecond, half a one a step of time, and ten nanoseconds a position; every pass alike."""
    asked: list[dict[str, Any]] = []

    def timed(given: dict[str, Any]) -> list[list[float]]:
        asked.append(given)
        return [
            [1e-3 + 5e-4 * steps + 1e-8 * steps * len(lengths)] * given["passes"]
            for steps, lengths in given["batches"]
        ]

    monkeypatch.setattr(foretell, "_timed", timed)
    return asked


@pytest.mark.parametrize("name", sets.NAMES)
def test_a_set_has_lengths_and_is_the_same_each_time(name: str) -> None:
    found = sets.lengths(name)
    assert 500 < len(found) <= sets.EXAMPLES
    assert found.min() >= 1
    np.testing.assert_array_equal(found, sets.lengths(name))


def test_the_spread_of_the_family_grows() -> None:
    spreads = [sets.spread(sets.lengths(f"log-normal {sigma:g}")) for sigma in sets.SIGMAS]
    assert spreads == sorted(spreads)
    assert spreads[0] == 0
    assert spreads[-1] > 1
    assert all(abs(sets.lengths(f"log-normal {s:g}").mean() - sets.MEAN) < 2.5 for s in sets.SIGMAS)


def test_a_point_is_what_its_steps_cost(costs) -> None:
    found = measure.point("geometric", 32, "packed")
    [asked] = costs
    assert asked["tree"]["rnn"]["unroll"] == "packed"
    assert len(asked["batches"]) == len(found.timed) <= 4 * measure.BATCHES
    ways = measure.epochs(sets.histogram(sets.lengths("geometric")), 32)
    seconds = {
        padding: sum(1e-3 + 5e-4 * b.padded_length + 1e-8 * b.padded_length * len(b.lengths) for b in epoch)
        for padding, epoch in ways.items()
    }
    for padding in measure.PADDINGS:
        gain = found.gains[padding]
        assert gain.low == pytest.approx(gain.times) == gain.high
        assert gain.times == pytest.approx(seconds["global"] / seconds[padding], rel=0.05)
    assert found.gains["bucket"].times > found.gains["batch"].times > 1.5
    assert found.padding["global"] > found.padding["batch"] > found.padding["pooled"]
    assert measure.from_json(json.loads(json.dumps(measure.to_json(found)))) == found


def test_what_one_set_costs_foretells_another(costs) -> None:
    points = [measure.point(name, 32, "dynamic") for name in ("uniform", "geometric", "log-normal 0.5")]
    for one in points:
        said = measure.foretold_of(one, points)
        for padding in measure.PADDINGS:
            assert said[padding] == pytest.approx(one.gains[padding].times, rel=0.05)


def test_alike_lengths_gain_nothing(costs) -> None:
    found = measure.point("log-normal 0", 8, "dynamic")
    assert found.padding == dict.fromkeys(("global", *measure.PADDINGS), 0.0)
    assert found.gains["batch"].times == pytest.approx(1)


def test_the_ways_are_those_that_advise_tells() -> None:
    told = {row.padding: row.options for row in advise({3: 9, 8: 2}, [4])}
    assert told == measure.WAYS


@pytest.mark.slow  # quick: a point, and what it foretells
def test_the_command_measures_draws_and_draws_again(costs, monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(figure, "STEPS", (0.0, 1.0))
    typed = ["--sets", "uniform", "geometric", "--batch-sizes", "8", "32", "--out", str(tmp_path)]
    assert command.main(typed) == 0
    assert "dynamic, uniform, batches of 8: batch " in capsys.readouterr().out
    report = (tmp_path / "report.md").read_text()
    assert report.count("| geometric |") == 4
    assert "Foretold against measured: median off by 0%" in report
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"points.json", "report.md", "dynamic.svg", "packed.svg"}
    assert command.main(["--draw", "--out", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_to_draw_is_said(tmp_path: Path, capsys) -> None:
    assert command.main(["--draw", "--out", str(tmp_path)]) == 2
    assert "measure first" in capsys.readouterr().err
