"""Figures of a report: effects against what was claimed, the main metric block by block, padding as predicted.

Drawn without pyplot and without a clock, so equal input gives equal bytes, as SVG and as PNG.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from workbench.claims import NOT_ASSESSABLE, Verdict
from workbench.record import LARGEST, Run
from workbench.report import arms, numbers, said, tables
from workbench.report.charts import CHARTS, learning
from workbench.report.curves import Curve
from workbench.report.drawing import (
    CLAIMED,
    INK,
    MOST_ROWS,
    PALETTE,
    SIZES,
    grid,
    new_figure,
    of_all,
    save_figure,
    shortened,
)

COLOURS = {
    "reproduced": "#009E73",
    "contradicted": "#D55E00",
    "inconclusive": "#666666",
    NOT_ASSESSABLE: "#666666",
    "instrument ok": "#0072B2",
    "watch": "#B07700",
    "instrument failed": "#D55E00",
}
MAIN_METRIC = "speed/valid_tokens_per_s"
_PADDING = ("data/padding_share", "data/predicted_padding_share")
_PADS = {
    f"data.{one}"
    for one in (
        "name", "path", "package", "tests", "lines_per_file", "sequences", "tokens", "lengths", "mean",
        "longest", "minimum", "max_examples", "max_length", "over_length", "batch_size",
    )
}  # fmt: skip
"""The options of data that bear on lengths, and so on how much is padded."""


def write_figures(
    folder: str | Path, verdicts: Sequence[Verdict], runs: Sequence[Run], curves: Sequence[Curve] = ()
) -> list[Path]:
    """Draw every figure that there is data for into `folder`; the files written, SVG before PNG."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(SIZES):
        return [
            save_figure(figure, folder / f"{name}.{kind}")
            for name, figure in all_figures(verdicts, runs, curves)
            for kind in ("svg", "png")
        ]


def drawn(verdicts: Sequence[Verdict], runs: Sequence[Run], curves: Sequence[Curve] = ()) -> list[str]:
    """The names of the figures that there is data for."""
    with matplotlib.rc_context(SIZES):
        return [name for name, _ in all_figures(verdicts, runs, curves)]


def all_figures(
    verdicts: Sequence[Verdict], runs: Sequence[Run], curves: Sequence[Curve] = ()
) -> Iterator[tuple[str, Figure]]:
    """Each figure that there is data for, with its name; effects of more than 12 rows go on in effects_2, ..."""
    for number, rows in enumerate(_pages(verdicts), 1):
        if (figure := effects(rows)) is not None:
            yield ("effects" if number == 1 else f"effects_{number}"), figure
    if (figure := learning(runs, curves)) is not None:
        yield "learning", figure
    for name, (chart, _) in CHARTS.items():
        if (figure := chart(runs)) is not None:
            yield name, figure
    for name, draw in (("block_by_block", block_by_block), ("padding", padding)):
        if (figure := draw(verdicts, runs)) is not None:
            yield name, figure


def is_ours(name: str) -> bool:
    """Whether a figure of this name is one that is drawn here, where there is data for it."""
    return re.sub(r"^effects_\d+$", "effects", name) in {*CAPTIONS, *CHARTS}


def caption(name: str) -> str:
    """What a figure shows, in a line."""
    first, _, number = name.partition("_")
    more = number if first == "effects" and number.isdigit() else ""
    key = first if more else name
    text = CAPTIONS[key] if key in CAPTIONS else CHARTS[key][1]
    return f"{text} ({more})" if more else text


def _pages(verdicts: Sequence[Verdict]) -> list[Sequence[Verdict]]:
    """The verdicts with an interval, so many to a figure."""
    rows = [one for one in verdicts if one.kind != "exact"]
    return [rows[begin : begin + MOST_ROWS] for begin in range(0, len(rows), MOST_ROWS)]


def effects(verdicts: Sequence[Verdict], runs: Sequence[Run] = ()) -> Figure | None:
    """A line a claim: thick its own interval, thin the one it was decided by, shaded what it claims.

    Ratios on logarithmic axes, claims of a gain apart from claims of no difference, which are far smaller;
    differences each on an axis of their own, since units differ. Grey points are the blocks where a verdict
    brings them (`by_block`), else its conditions.
    """
    drawn = [one for one in verdicts if one.effect is not None and abs(one.effect) < LARGEST]
    drawn = [one for one in drawn if one.kind != "exact"]
    ratios = [one for one in drawn if one.scale == "ratio" and one.effect and one.effect > 0]
    gains = [one for one in ratios if one.direction in ("higher", "lower")]
    panels = [panel for panel in (gains, [one for one in ratios if one not in gains]) if panel]
    panels += [[one] for one in drawn if one.scale != "ratio"]
    if not panels:
        return None
    heights = [len(panel) + 0.9 for panel in panels]
    figure = new_figure(10.0, 0.66 * sum(heights) + 0.75)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, axis in zip(panels, axes, strict=True):
        (_ratio_axis if panel[0].scale == "ratio" else _difference_axis)(axis, panel)
        for row, one in enumerate(panel):
            _forest_row(axis, len(panel) - 1 - row, one)
        axis.set_ylim(-0.6, len(panel) - 0.4)
        axis.set_yticks(range(len(panel) - 1, -1, -1), [_row_label(one) for one in panel], fontsize=8.5)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    points = "its blocks" if any(one.by_block for one in drawn) else "its conditions"
    grey = any(one.by_block or one.by_condition for one in drawn)
    axes[0].set_title(
        f"shaded: claimed; thick: {tables.level(drawn)} interval; thin: interval that decided"
        + (f"; grey points: {points}" if grey else ""),
        loc="left",
        color=INK,
        fontsize=8.5,
    )
    return figure


def block_by_block(verdicts: Sequence[Verdict], runs: Sequence[Run]) -> Figure | None:
    """The main metric of every arm, a line a block: what a pair shares shows as parallel lines."""
    counted = arms.counted(runs)
    shown = {run.run_id: value for run in counted if (value := arms.value(run, MAIN_METRIC)) is not None}
    if not shown:
        return None
    names, panels = arms.by_data([run for run in counted if run.run_id in shown])
    if all(len(panel) < 2 for _, panel in panels) or sum(len(panel) for _, panel in panels) > MOST_ROWS:
        return None  # one point is no figure, and so many arms cannot be read side by side
    widths = [len(panel) + 0.6 for _, panel in panels]
    figure = new_figure(max(5.0, min(14.0, 1.15 * sum(widths) + 1.2)), 4.2)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True, width_ratios=widths)[0]
    for (title, panel), axis in zip(panels, axes, strict=True):
        means = {arm: float(np.mean([shown[run.run_id] for run in of_arm])) for arm, of_arm in panel.items()}
        order = sorted(panel, key=means.__getitem__)
        for block in arms.by_block(run for of_arm in panel.values() for run in of_arm):
            of_block = {
                arm: shown[run.run_id]
                for arm, of_arm in panel.items()
                for run in reversed(of_arm)
                if arms.block(run) == block
            }
            line = [of_block.get(arm, math.nan) for arm in order]
            axis.plot(range(len(order)), line, color=PALETTE[0], alpha=0.45, marker="o", ms=3.5, lw=1)
        axis.plot(range(len(order)), [means[arm] for arm in order], "_", color=INK, ms=22, mew=2, zorder=3)
        axis.set_xticks(
            range(len(order)),
            [numbers.broken(shortened(one, 96).replace(", ", "\n"), 16) for one in order],
            fontsize=8,
        )
        axis.set_xlim(-0.5, len(order) - 0.5)
        axis.set_ylim(bottom=0)
        axis.set_title(shortened(title), loc="left")
        grid(axis, "y")
    blocks = len(arms.by_block([run for run in counted if arms.value(run, MAIN_METRIC) is not None]))
    axes[0].set_ylabel("training speed (valid tokens/s), more is better")
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    figure.supxlabel(
        f"{', '.join(map(arms.heading, names)) or 'all runs'}: a line is one of {blocks} blocks, a bar the mean",
        fontsize=8.5,
    )
    return figure


def padding(verdicts: Sequence[Verdict], runs: Sequence[Run]) -> Figure | None:
    """The share of padding as the length histogram predicts it and as the runs met it, by padding."""
    kept = [run for run in arms.counted(runs) if any(arms.value(run, one) is not None for one in _PADDING)]
    if not kept:
        return None
    varying = arms.varying_parameters(kept)
    names = arms.telling(kept, [one for one in varying if one in _PADS or one.startswith("padding.")])
    every = arms.by_arm(kept, names)
    grouped = list(every.items())[:MOST_ROWS]
    if len(grouped) < 2:
        return None
    figure = new_figure(7.5, 0.36 * len(grouped) + 1.5)
    axis = figure.subplots()
    for row, (_, group) in enumerate(reversed(grouped)):
        realised, predicted = (arms.values(group, name) for name in _PADDING)
        for value in realised:
            axis.plot(100 * value, row, "o", color=PALETTE[0], alpha=0.5, ms=5, mew=0)
        if predicted:
            axis.plot(100 * np.mean(predicted), row, "D", mfc="none", mec=PALETTE[4], mew=1.6, ms=10)
    axis.plot([], [], "o", color=PALETTE[0], alpha=0.7, ms=5, mew=0, label="realised (a point a run)")
    axis.plot([], [], "D", mfc="none", mec=PALETTE[4], mew=1.6, ms=9, label="predicted from the lengths")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)
    axis.set_yticks(range(len(grouped)), [shortened(label) for label, _ in reversed(grouped)])
    axis.set_ylim(-0.6, len(grouped) - 0.4)
    axis.set_xlim(0, 100)
    axis.set_xlabel("share of positions that were padding (%)")
    axis.set_ylabel(of_all(", ".join(map(arms.heading, names)), len(grouped), len(every)))
    grid(axis, "x")
    return figure


CAPTIONS = {
    "effects": "Effects with their intervals, against what was claimed (shaded) and no effect (dashed)",
    "learning": "Learning curves: the mean over seeds, shaded from the least to the most",
    "block_by_block": "Valid tokens a second by arm; each line is a block",
    "padding": "Share of padding, predicted from the length histogram and met in the runs",
}


def _ratio_axis(axis: Any, panel: Sequence[Verdict]) -> None:
    values = [min(max(one, 1e-100), 1e100) for v in panel for one in _extent(v) if one > 0]
    low, high = min([*values, 1 / 1.02]), max([*values, 1.02])
    room = (high / low) ** 0.06
    axis.set_xscale("log")
    axis.set_xlim(low / room, high * room)
    decades = math.log10(high / low)
    if decades < 1.5:
        ticks = _ratio_ticks(low / room, high * room)
        axis.set_xticks(ticks, [f"{one:g}x" for one in ticks])
        axis.xaxis.set_minor_locator(LogLocator(subs=()))
    else:
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.axvline(1, color=INK, lw=1, ls="--", zorder=1)
    axis.set_xlabel("treatment as a multiple of the control (log scale; 1x is no effect)")


def _difference_axis(axis: Any, panel: Sequence[Verdict]) -> None:
    values = [0.0, *(one for v in panel for one in _extent(v))]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 1.0
    axis.set_xlim(low - room, high + room)
    axis.axvline(0, color=INK, lw=1, ls="--", zorder=1)
    unit = "" if panel[0].unit in ("", "1") else f" ({panel[0].unit})"
    less = said.better(panel[0].metric)
    axis.set_xlabel(f"{said.title(panel[0].metric)}: difference{unit}{f', {less}' if less else ''}")


def _forest_row(axis: Any, row: int, one: Verdict) -> None:
    colour = COLOURS.get(one.verdict, INK)
    left, right = axis.get_xlim()
    low, high = said.region(one)
    axis.fill_betweenx(
        [row - 0.38, row + 0.38], max(low, left), min(high, right), color=CLAIMED, lw=0, zorder=0
    )
    points = [part["effect"] for part in one.by_block or one.by_condition]
    points = [value for value in points if isinstance(value, float) and left <= value <= right]
    axis.plot(points, [row - 0.2] * len(points), "o", color=INK, alpha=0.35, ms=3, mew=0, zorder=2)
    for interval, width in ((one.decision_interval, 1.2), (one.interval, 4.0)):
        ends = _finite(interval)
        if len(ends) == 2:
            axis.plot(ends, [row, row], color=colour, lw=width, solid_capstyle="butt", zorder=3)
    axis.plot([one.effect], [row], "o", color="white", mec=colour, mew=1.6, ms=6, zorder=4)
    axis.annotate(
        f"{one.label}\n{numbers.effect_words(one)}",
        (1.01, row),
        xycoords=("axes fraction", "data"),
        va="center",
        ha="left",
        color=colour,
        fontsize=8.5,
        annotation_clip=False,
    )


def _row_label(one: Verdict) -> str:
    """The claim in words, below it the arms, and below them the metric and which way is better."""
    if one.kind == "instrument":
        return f"the control, run again\n{said.title(one.metric)}"
    way = said.better(one.metric)
    metric = f"{said.title(one.metric)}{f', {way}' if way else ''}"
    name = one.claim.replace("_", " ")
    return "\n".join((shortened(name, 56), shortened(said.arms(one), 62), shortened(metric, 62)))


def _extent(one: Verdict) -> list[float]:
    none = 0.0 if one.scale == "ratio" else math.inf
    bounds = [bound for bound in said.region(one) if math.isfinite(bound) and bound != none]
    inner = [one.effect] if one.effect is not None else []
    values = [*inner, *_finite(one.interval), *bounds]
    # an interval decided at a strict level may be very wide: it is cut rather than shrink all the rest
    low, high = (
        (max(min(values), 1e-300), max(values)) if one.scale == "ratio" else (min(values), max(values))
    )
    ends = [value for value in _finite(one.decision_interval) if one.scale != "ratio" or value > 0]
    if one.scale == "ratio":
        widest = 4 * max(math.log(high) - math.log(low), 0.01)
        from_to = math.log(low) - widest, math.log(high) + widest
        return [*values, *(end for end in ends if end > 0 and from_to[0] < math.log(end) < from_to[1])]
    widest = 4 * (high - low) or math.inf
    return [*values, *(end for end in ends if low - widest < end < high + widest)]


def _finite(interval: Sequence[float | None] | None) -> list[float]:
    return [one for one in interval or () if one is not None and abs(one) < LARGEST]


def _ratio_ticks(low: float, high: float) -> list[float]:
    """Ratios that read well between two bounds, about ten of them, no effect (1) among them.

    >>> _ratio_ticks(0.95, 4.0)
    [1.0, 1.2, 1.5, 2.0, 2.4, 3.0, 4.0]
    """
    apart = math.log(high / low) / 10
    coarse = [1, 10, 100, 0.1, 0.01, 2, 0.5, 5, 0.2, 20, 50, 0.05, 3, 4, 1.5, 0.7, 6, 8, 0.3, 30, 1.2, 0.8]
    fine = [round(1 + sign * step, 3) for step in (0.1, 0.05, 0.02, 0.01, 0.005) for sign in (1, -1)]
    finer = [round(0.5 + 0.1 * step, 2) for step in range(21)] + [round(0.8 + 0.02 * s, 2) for s in range(26)]
    chosen: list[float] = []
    for one in map(float, [*coarse, *fine, *finer]):
        if low <= one <= high and all(abs(math.log(one / other)) >= apart for other in chosen):
            chosen.append(one)
    return sorted(chosen)
