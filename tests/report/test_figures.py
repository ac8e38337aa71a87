"""What the figures hold: read off the drawn artists, not off pixels."""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import replace

import matplotlib
import pytest

from workbench.record import Run
from workbench.record.frames import runs_of
from workbench.report import arms, charts, drawing, figures, said
from workbench.report.curves import Curve


@pytest.mark.slow
def test_no_global_state_is_touched(tmp_path, verdicts, sweep_runs):
    before = dict(matplotlib.rcParams)
    figures.write_figures(tmp_path, verdicts, runs_of(sweep_runs))
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


@pytest.mark.slow
def test_no_date_in_an_svg(tmp_path, verdicts, sweep_runs):
    figures.write_figures(tmp_path, verdicts, runs_of(sweep_runs))
    for one in tmp_path.glob("*.svg"):
        assert "<dc:date>" not in one.read_text(encoding="utf-8")


def test_ratios_share_a_logarithmic_axis_and_differences_stand_apart(verdicts):
    figure = figures.effects(verdicts)
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log", "linear"]
    gains, ratio, difference = figure.axes
    assert len(gains.get_yticks()) == 2
    assert len(ratio.get_yticks()) == 2  # a claim and the A/A row; the exact claim has no interval
    assert "(MB)" in difference.get_xlabel()
    words = [one.get_text().splitlines()[0] for one in (*gains.texts, *ratio.texts)]
    assert words == ["reproduced", "contradicted", "inconclusive", "instrument ok"]


def test_the_intervals_and_the_claimed_region_are_where_they_should_be(verdicts):
    axis = figures.effects(verdicts[:1]).axes[0]
    lines = {
        tuple(line.get_xdata()): line.get_linewidth() for line in axis.lines if len(line.get_xdata()) == 2
    }
    assert lines[verdicts[0].interval] > lines[verdicts[0].decision_interval]
    region = axis.collections[0].get_datalim(axis.transData)
    assert region.x0 == pytest.approx(1.2)
    assert region.x1 == pytest.approx(axis.get_xlim()[1])


def test_the_figure_of_effects_names_the_confidence_of_its_intervals(verdicts):
    title = figures.effects([replace(verdicts[0], confidence=0.8)]).axes[0].get_title(loc="left")
    assert "thick: 80% interval" in title


def test_the_blocks_of_a_verdict_are_drawn_where_it_brings_them(verdicts):
    blocks = [part["effect"] for part in verdicts[0].by_block]
    assert len(blocks) == verdicts[0].pairs
    axis = figures.effects(verdicts[:1]).axes[0]
    assert any(list(line.get_xdata()) == blocks for line in axis.lines)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_a_wide_decision_interval_does_not_hide_the_rest(verdicts, direction):
    wide = replace(verdicts[0], direction=direction, decision_interval=(1e-80, 1e80))
    low, high = figures.effects([wide]).axes[0].get_xlim()
    assert high / low < 100


def test_effects_that_lie_far_apart_are_drawn(verdicts):
    """Of a real sweep: a ratio of bytes over ten thousand times, and its interval over all floats."""
    far = replace(verdicts[0], effect=1e-60, interval=(1e-300, 1e290), decision_interval=(1e-300, 1e300))
    assert figures.effects([verdicts[0], far]) is not None


def test_each_block_is_a_line(verdicts, sweep_runs):
    axis = figures.block_by_block(verdicts, runs_of(sweep_runs)).axes[0]
    assert sum(len(line.get_xdata()) == 6 for line in axis.lines) == 8 + 1  # and the means
    assert "tokens/s" in axis.get_ylabel()
    assert axis.get_title(loc="left") == "python_source"


def test_padding_is_in_percent(verdicts, sweep_runs):
    axis = figures.padding(verdicts, runs_of(sweep_runs)).axes[0]
    predicted = [
        line.get_xdata()[0] for line in axis.lines if line.get_marker() == "D" and len(line.get_xdata())
    ]
    assert sorted(predicted) == pytest.approx([9, 61, 86])
    assert "%" in axis.get_xlabel()


def test_padding_of_other_lengths_is_another_row(verdicts, sweep_runs):
    runs = sweep_runs.copy()
    runs["params.data.mean"] = runs["tags.workbench.block"].map(
        lambda block: "20" if block in {"1", "3", "5"} else "80"
    )
    runs["params.data.name"] = "synthetic"
    axis = figures.padding(verdicts, runs_of(runs)).axes[0]
    assert len(axis.get_yticks()) == 2 * 3


@pytest.mark.parametrize(("low", "high"), [(0.95, 1.05), (0.5, 2), (0.9, 8), (0.99, 1.01), (0.01, 100)])
def test_ticks_read_well(low, high):
    ticks = figures._ratio_ticks(low, high)
    assert 1.0 in ticks
    assert 3 <= len(ticks) <= 11
    apart = [math.log(b / a) for a, b in itertools.pairwise(ticks)]
    assert min(apart) >= math.log(high / low) / 10


def test_arms_that_a_figure_has_no_room_for_are_counted(sweep_runs):
    """Of thirty arms seven have a colour; the figure says so instead of leaving the rest out in silence."""
    runs = [
        replace(run, run_id=f"{run.run_id}{cell}", params={**run.params, "cell.units": str(cell)})
        for run in runs_of(sweep_runs)
        for cell in range(10)
    ]
    curves = [Curve(run.run_id, "loss/step", (1, 2), (2.0, 1.0)) for run in runs]
    every = len(arms.by_arm(arms.counted(runs), arms.varying_parameters(arms.counted(runs))))
    (axis,) = charts.learning(runs, curves).axes
    assert axis.get_title(loc="left").endswith(f": 7 of {every} arms")
    assert len(axis.get_legend().get_texts()) == 7


def test_data_sets_that_a_figure_has_no_room_for_are_counted():
    runs = [
        Run(
            f"r{i}",
            "FINISHED",
            {"data.name": "synthetic", "padding.name": "batch", "seed": "1"},
            {"data/padding_share": 0.5},
            {"workbench.block": "1", "workbench.arm": str(i), "data.lengths": f"{i + 1}:10 {i + 50}:3"},
            start=float(i),
        )
        for i in range(30)
    ]
    figure = charts.lengths(runs)
    assert len(figure.axes) == 2 * drawing.MOST_ROWS
    assert f"{drawing.MOST_ROWS} of 30 data sets" in figure.axes[0].get_title(loc="left")


def test_the_rows_of_a_figure_stand_clear_of_its_axis(sweep_runs):
    axis = charts.memory(runs_of(sweep_runs)).axes[0]
    low, high = axis.get_ylim()
    assert low < -0.5 < len(axis.get_yticks()) - 0.5 < high


def test_memory_of_runs_on_gpus_is_the_device_s(sweep_runs):
    on_gpus = sweep_runs.rename(columns={"metrics.memory/rss_growth_mb": "metrics.memory/peak_device_mb"})
    labels = [charts.memory(runs_of(one)).axes[0].get_xlabel() for one in (sweep_runs, on_gpus)]
    assert ["device" in label for label in labels] == [False, True]


def test_a_row_of_effects_names_its_arms_its_metric_and_the_better_direction(verdicts):
    labels = [
        label.get_text().splitlines() for label in figures.effects(verdicts[:1]).axes[0].get_yticklabels()
    ]
    assert labels == [
        [verdicts[0].claim.replace("_", " "), said.arms(verdicts[0]), "training speed, more is better"]
    ]


def test_a_long_name_is_cut_with_a_sign_below_the_blocks(verdicts, sweep_runs):
    long = "very_long_name_" * 60
    runs = [
        replace(run, params={**run.params, "padding.name": long + run.params.get("padding.name", "")})
        for run in runs_of(sweep_runs)
    ]
    labels = [label.get_text() for label in figures.block_by_block(verdicts, runs).axes[0].get_xticklabels()]
    assert all(len(label.replace("\n", "")) <= 96 and label.endswith("…") for label in labels)
