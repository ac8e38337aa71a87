"""Tables for a terminal: nothing is cut without a sign, whatever the width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from workbench.record.frames import runs_of
from workbench.report import terminal


def text_of(thing, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(thing)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_line_a_claim(verdicts, width: int) -> None:
    lines = text_of(terminal.verdict_lines(verdicts, width), width)
    assert len(lines) == 6
    assert all(len(line) <= width for line in lines)
    for words in ("3.53x [3.47, 3.60]", ">= 1.2x", "contradicted", "<= -20 MB"):
        assert any(words in line for line in lines)
    cut = [
        line for line in lines if "P2 batch padding takes less memory" not in line and "takes less" in line
    ]
    assert all(line.rstrip().endswith("…") for line in cut)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_columns_without_room_are_named(sweep_runs, width: int) -> None:
    lines = text_of(terminal.runs_table(runs_of(sweep_runs), width=width), width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(lines)
    for title in ("speed", "padding", "memory"):
        assert title in text, "a column, or named below"
    assert "…" not in text


def test_an_example_with_one_label_shows_its_loss_and_accuracy(sweep_runs) -> None:
    runs = sweep_runs.rename(
        columns={"metrics.loss/validation_per_token": "metrics.loss/validation_per_example"}
    )
    runs["metrics.accuracy/validation_per_example"] = 0.5
    text = "\n".join(text_of(terminal.runs_table(runs_of(runs), width=140), 140))
    assert "validation loss" in text
    assert "accuracy" in text
