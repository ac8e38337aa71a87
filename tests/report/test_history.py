"""The A/A arm over many sweeps, against the limits of claims/README.md."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.claims import Verdict
from workbench.report.history import history_line, most_by_chance, outside, remember, remembered

SOUND = Verdict(
    *(
        "control_again",
        "sha",
        "instrument ok",
        "",
        "instrument",
        "speed/valid_tokens_per_s",
        "times",
        "ratio",
    ),
    *("same", 1.05, "control again", "control"),
    effect=1.0,
    interval=(0.98, 1.03),
    decided_at=0.95,
)
BIASED = replace(SOUND, interval=(1.01, 1.06))


def test_an_alarm_comes_once_in_a_hundred_sound_histories_at_most() -> None:
    for sweeps in range(1, 61):
        most = most_by_chance(sweeps)
        above = [math.comb(sweeps, k) * 0.05**k * 0.95 ** (sweeps - k) for k in range(most + 1, sweeps + 1)]
        assert (
            math.fsum(above)
            <= 0.01
            < math.fsum(above) + math.comb(sweeps, most) * 0.05**most * 0.95 ** (sweeps - most)
        )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (SOUND, False),
        (BIASED, True),
        (replace(SOUND, interval=(0.95, 0.99)), True),
        (replace(SOUND, scale="difference", interval=(-0.1, 0.1)), False),
        (replace(SOUND, scale="difference", interval=(0.98, 1.03)), True),
        (replace(SOUND, decided_at=None), None),
        (replace(SOUND, interval=None), None),
        (replace(SOUND, interval=(1.0, 1.0)), None),
        (replace(BIASED, metric="accuracy/validation_per_token"), None),
        (replace(BIASED, confidence=0.9), None),
    ],
)
def test_what_a_row_tells(row: Verdict, told: bool | None) -> None:
    assert outside(row) is told


def test_the_line_says_what_was_seen_and_what_would_be_too_much() -> None:
    assert history_line([], "here") == ""
    line = history_line([False] * 16 + [True] * 4, "here")
    assert "over 20 timed sweeps here" in line
    assert line.endswith("in 4; more than 4 would be an alarm")
    assert "in 5: ALARM" in history_line([False] * 15 + [True] * 5, "here")


def test_a_sweep_is_tagged_with_what_its_control_says_and_the_history_reads_it() -> None:
    runs = {name: SimpleNamespace(tags={}) for name in ("one", "two", "unjudged")}
    tracker: Any = SimpleNamespace(
        tag=lambda run, tags: runs[run].tags.update(tags), sweeps=lambda: list(runs.values())
    )
    assert remembered(tracker) == []
    claim = replace(SOUND, kind="measured", interval=(2.0, 3.0))
    remember(tracker, "one", [claim, SOUND])
    remember(tracker, "two", [claim, BIASED])
    remember(tracker, "unjudged", [claim, replace(SOUND, decided_at=None)])
    assert remembered(tracker) == [False, True]
    remember(tracker, "two", [SOUND])
    assert remembered(tracker) == [False, False]
    remember(tracker, "one", [replace(SOUND, decided_at=None)])
    assert remembered(tracker) == [False]
