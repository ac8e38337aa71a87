"""Figures of what belongs to an experiment: cost over length, over padding, memory, lengths, learning curves.

Each takes the runs and gives a figure, or None where the runs hold nothing to compare: one point is no figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workbench.data.lengths import read_histogram
from workbench.record import METRICS, Run
from workbench.record.tags import LENGTHS
from workbench.report import arms, said
from workbench.report.curves import Curve
from workbench.report.drawing import GRID, INK, MOST_ROWS, PALETTE, grid, new_figure, of_all, shortened
from workbench.report.growth import METRICS_THAT_GROW, STEPS, steps

_Shown = TypeVar("_Shown")
SHARE, SPEED = "data/padding_share", "speed/valid_tokens_per_s"
STATE_ERROR = "correctness/max_abs_error_state_without_lengths"
MEMORY = "memory/rss_growth_mb", "memory/peak_device_mb"


def growth(runs: Sequence[Run]) -> Figure | None:
    """Time to build the graph and its nodes over the steps that batches are padded to, a line an arm."""
    kept = [run for run in arms.counted(runs) if steps(run) is not None]
    told = arms.telling(kept, [name for name in arms.varying_parameters(kept) if name != STEPS])
    groups = {
        name: of_arm for name, of_arm in arms.by_arm(kept, told).items() if len({*map(steps, of_arm)}) > 1
    }
    metrics = [one for one in METRICS_THAT_GROW if arms.values(kept, one)]
    if not groups or not metrics:
        return None
    figure = new_figure(4.6 * len(metrics), 3.6)
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for metric, axis in zip(metrics, axes, strict=True):
        for number, (name, of_arm) in enumerate(_few(groups).items()):
            _line(axis, of_arm, steps, metric, PALETTE[number], shortened(name, 72))
        axis.set_xlabel("steps that every batch is padded to")
        axis.set_ylabel(_axis_label(metric))
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        grid(axis, "y")
    axes[0].set_title(of_all("", len(_few(groups)), len(groups)), loc="left")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def speed_over_padding(runs: Sequence[Run]) -> Figure | None:
    """Speed against the share of padding, and where speed would be if each position cost the same."""
    return _over_padding(runs, SPEED, ideal=True)


def error_over_padding(runs: Sequence[Run]) -> Figure | None:
    """The error of final states where lengths are left out, against the share of padding."""
    return _over_padding(runs, STATE_ERROR, ideal=False)


def memory(runs: Sequence[Run]) -> Figure | None:
    """Memory in training by arm, a point a run: the process' growth, or on GPUs the device's peak."""
    metric = next((one for one in MEMORY if arms.values(arms.counted(runs), one)), MEMORY[0])
    kept = [run for run in arms.counted(runs) if arms.value(run, metric) is not None]
    grouped = arms.by_arm(kept, arms.telling(kept, arms.varying_parameters(kept)))
    means = {name: float(np.mean(arms.values(of_arm, metric))) for name, of_arm in grouped.items()}
    shown = sorted(means, key=means.__getitem__)
    if len(shown) < 2:
        return None
    left_out = max(0, len(shown) - MOST_ROWS)
    shown = shown[left_out:]
    figure = new_figure(7.5, 0.36 * len(shown) + 1.1)
    axis = figure.subplots()
    for row, name in enumerate(shown):
        values = arms.values(grouped[name], metric)
        axis.plot([0, means[name]], [row, row], color=GRID, lw=6, solid_capstyle="butt", zorder=1)
        axis.plot(values, [row] * len(values), "o", color=PALETTE[0], alpha=0.55, ms=4.5, mew=0, zorder=2)
    axis.set_yticks(range(len(shown)), [shortened(name, 48) for name in shown])
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.set_xlim(left=0)
    axis.set_xlabel(_axis_label(metric))
    if left_out:
        axis.set_title(f"the {len(shown)} arms that take most, of {len(means)}", loc="left", fontsize=8.5)
    return figure


def lengths(runs: Sequence[Run]) -> Figure | None:
    """The lengths of each data set, and beside them what share of all positions each padding fills."""
    kept = [run for run in arms.counted(runs) if run.tags.get(LENGTHS)]
    sets = {run.tags[LENGTHS]: run.params.get("data.name", "") for run in kept}
    if not sets:
        return None
    shown = list(sets.items())[:MOST_ROWS]
    figure = new_figure(9.0, 2.9 * len(shown))
    axes = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(1.2, 1))
    for number, ((histogram, name), (left, right)) in enumerate(zip(shown, axes, strict=True)):
        _histogram(left, histogram, name if number else of_all(name, len(shown), len(sets), "data sets"))
        _paddings(right, [run for run in kept if run.tags[LENGTHS] == histogram])
    return figure


def learning(runs: Sequence[Run], curves: Sequence[Curve]) -> Figure | None:
    """The loss of training and of validation over steps: the mean over seeds, shaded from least to most."""
    by_run = {(one.run_id, one.metric): one for one in curves}
    kept = [run for run in arms.counted(runs) if any(key[0] == run.run_id for key in by_run)]
    if not kept:
        return None
    _, panels = arms.by_data(kept)
    figure = new_figure(max(5.5, 4.6 * len(panels)), 3.8)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for (title, grouped), axis in zip(panels, axes, strict=True):
        for number, (name, of_arm) in enumerate(_few(grouped).items()):
            for metric, style in (("loss/step", "-"), ("loss/validation_epoch", "--")):
                found = [by_run[run.run_id, metric] for run in of_arm if (run.run_id, metric) in by_run]
                _band(axis, found, PALETTE[number % len(PALETTE)], style, name if style == "-" else "")
        axis.set_title(of_all(title, len(_few(grouped)), len(grouped)), loc="left")
        axis.set_xlabel("training step")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        grid(axis, "y")
        axis.legend(frameon=False, fontsize=7.5)
    axes[0].set_ylabel("loss, nats (less is better)\nline: training, dashes: validation")
    return figure


CHARTS: Mapping[str, tuple[Callable[[Sequence[Run]], Figure | None], str]] = {
    "lengths": (lengths, "Lengths of the sequences, and the share of positions that each padding fills"),
    "speed_over_padding": (
        speed_over_padding,
        "Speed against the share of padding; dashed: each position costs the same",
    ),
    "error_over_padding": (
        error_over_padding,
        "Error of final states without lengths, against the share of padding",
    ),
    "growth": (growth, "Time to build the graph, and its nodes, over the steps"),
    "memory": (memory, "Growth of memory in training, by arm"),
}


def _over_padding(runs: Sequence[Run], metric: str, *, ideal: bool) -> Figure | None:
    kept = [
        run for run in arms.counted(runs) if None not in (arms.value(run, SHARE), arms.value(run, metric))
    ]
    padding = [name for name in arms.varying_parameters(kept) if name.split(".")[0] == "padding"]
    others = [name for name in arms.varying_parameters(kept) if name not in padding]
    told = arms.telling(kept, others)
    groups = {}
    for name, of_group in arms.by_arm(kept, told).items():
        by_padding = arms.by_arm(of_group, arms.telling(of_group, padding))
        if len(by_padding) > 1:
            groups[name] = by_padding
    if not groups:
        return None
    figure = new_figure(7.5, 4.2)
    axis = figure.subplots()
    for number, (name, by_padding) in enumerate(_few(groups).items()):
        colour = PALETTE[number]
        points = []
        for padded, of_arm in by_padding.items():
            x, y = (float(np.mean(arms.values(of_arm, one))) for one in (SHARE, metric))
            points.append((x, y, padded))
            values = arms.values(of_arm, metric)
            axis.plot([100 * x] * len(values), values, "o", color=colour, alpha=0.3, ms=4, mew=0)
        points.sort()
        for place, (x, y, padded) in enumerate(points):
            below = place % 2 and y > 0.1 * points[0][1]  # not into the axis
            beside, words = (5, -11 if below else 6), shortened(padded, 18)
            axis.annotate(words, (100 * x, y), beside, textcoords="offset points", fontsize=7.5)
        xs, ys, _ = zip(*points, strict=True)
        axis.plot([100 * x for x in xs], ys, color=colour, marker="o", ms=6, lw=1, label=shortened(name, 72))
        if ideal and xs[-1] < 1:
            most, anchor = xs[-1], ys[-1]
            shares = np.linspace(xs[0], most, 50)
            axis.plot(100 * shares, anchor * (1 - shares) / (1 - most), "--", color=colour, lw=1, alpha=0.8)
    axis.set_xlabel("share of positions that were padding (%)")
    axis.set_ylabel(_axis_label(metric))
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    grid(axis, "y")
    axis.set_title(of_all("", len(_few(groups)), len(groups)), loc="left")
    if len(groups) > 1 or told:
        axis.legend(frameon=False, fontsize=8)
    return figure


def _axis_label(metric: str) -> str:
    unit = METRICS[metric].unit
    way = said.better(metric)
    return f"{said.title(metric)}{'' if unit == '1' else f' ({unit})'}{f', {way}' if way else ''}"


def _line(
    axis: Any, runs: Sequence[Run], x: Callable[[Run], Any], metric: str, colour: str, label: str
) -> None:
    points: dict[float, list[float]] = {}
    for run in runs:
        if (value := arms.value(run, metric)) is not None:
            points.setdefault(x(run), []).append(value)
            axis.plot(x(run), value, "o", color=colour, alpha=0.3, ms=3.5, mew=0)
    places = sorted(points)
    axis.plot(
        places, [np.mean(points[one]) for one in places], color=colour, marker="o", ms=5, lw=1.2, label=label
    )


def _few(grouped: Mapping[str, _Shown]) -> dict[str, _Shown]:
    """As many arms as there are colours."""
    return dict(list(grouped.items())[: len(PALETTE)])


def _band(axis: Any, curves: Sequence[Curve], colour: str, style: str, label: str) -> None:
    if not curves:
        return
    places = sorted({step for one in curves for step in one.steps})
    rows = np.array([np.interp(places, one.steps, one.values, right=np.nan) for one in curves])
    with np.errstate(all="ignore"):
        axis.plot(
            places,
            np.nanmean(rows, 0),
            style,
            color=colour,
            lw=1.3,
            label=shortened(label, 40) if label else None,
        )
    if len(rows) > 1:
        axis.fill_between(places, np.nanmin(rows, 0), np.nanmax(rows, 0), color=colour, alpha=0.15, lw=0)


def _histogram(axis: Any, text: str, name: str) -> None:
    histogram = read_histogram(text)
    total = sum(histogram.values())
    axis.hist(
        list(histogram),
        bins=min(30, max(histogram) + 1),
        weights=[100 * count / total for count in histogram.values()],
        color=PALETTE[0],
        alpha=0.75,
    )
    axis.set_title(f"{name}: {total:,} sequences", loc="left")
    axis.set_xlabel("length (steps)")
    axis.set_ylabel("share of sequences (%)")


def _paddings(axis: Any, runs: Sequence[Run]) -> None:
    """A bar a padding: true steps, and shaded what is padding."""
    names = arms.telling(
        runs, [one for one in arms.varying_parameters(runs) if one.startswith(("padding.", "data.batch"))]
    )
    every = arms.by_arm(runs, names)
    grouped = list(_few(every).items())[::-1]
    axis.set_title(of_all("", len(grouped), len(every)), loc="left")
    for row, (_, of_arm) in enumerate(grouped):
        share = 100 * float(np.mean(arms.values(of_arm, SHARE) or [math.nan]))
        axis.barh(row, 100 - share, color=PALETTE[0], height=0.6)
        axis.barh(row, share, left=100 - share, color=GRID, hatch="//", edgecolor=INK, lw=0.3, height=0.6)
        axis.text(101, row, f"{share:.0f}%", va="center", fontsize=8, color=INK)
    axis.set_yticks(range(len(grouped)), [shortened(name, 28) for name, _ in grouped])
    axis.set_xlim(0, 112)
    axis.set_xticks([0, 50, 100])
    axis.set_xlabel("positions computed (%), shaded: padding")
