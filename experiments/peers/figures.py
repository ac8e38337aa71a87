"""Cost against valid tokens and against batch times longest; ratios to each peer with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.peers.rows import Row
from experiments.peers.settings import KERAS, PACKED, TORCH
from workbench.report.drawing import INK, MOST_ROWS, PALETTE, SIZES, new_figure, save_figure

COLOURS = dict(zip((PACKED, KERAS, *TORCH, "dynamic"), PALETTE, strict=False))
MARKS = dict(zip(COLOURS, "osD^v", strict=True))


def write_figures(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draws what there is data for; the files written, SVG before PNG."""
    written = []
    with matplotlib.rc_context(SIZES):
        for name, figure in _figures(rows):
            written += [save_figure(figure, folder / f"{name}.{kind}") for kind in ("svg", "png")]
    return written


def _figures(rows: Sequence[Row]) -> Iterator[tuple[str, Figure]]:
    """Each figure with its name; ratios of more than 12 settings go on in ratios_2, ..."""
    if (figure := cost(rows)) is not None:
        yield "cost", figure
    compared = [row for row in rows if row["quantity"] == "speed" and row["ratio"] and row["peer"] in COLOURS]
    names = list(dict.fromkeys(row["setting"] for row in compared))
    for number, begin in enumerate(range(0, len(names), MOST_ROWS), 1):
        shown = names[begin : begin + MOST_ROWS]
        figure = ratios([row for row in compared if row["setting"] in shown], shown)
        yield ("ratios" if number == 1 else f"ratios_{number}"), figure


def cost(rows: Sequence[Row]) -> Figure | None:
    """A point a batch of the LSTM of 256 units: what a step costs, by its tokens and by its padded area."""
    points = [row for row in rows if row["quantity"] is None and row["arm"] in COLOURS and _is_plain(row)]
    if not points:
        return None
    figure = new_figure(9, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    axes = (("valid", "valid tokens of the batch"), ("padded", "batch x longest, padding included"))
    for panel, (key, label) in zip(panels, axes, strict=True):
        for arm, colour in COLOURS.items():
            batches = [batch for row in points if row["arm"] == arm for batch in row["batches"]]
            if batches:
                panel.scatter(
                    [batch[key] for batch in batches],
                    [batch["ms"] for batch in batches],
                    s=18, color=colour, marker=MARKS[arm], label=arm, alpha=0.8, linewidths=0,
                )  # fmt: skip
        _log(panel.set_xscale, panel.xaxis)
        _log(panel.set_yscale, panel.yaxis)
        panel.set_xlabel(label)
    panels[0].set_ylabel("ms a training step")
    panels[0].set_title("LSTM, 256 units: a point is a batch", loc="left")
    panels[1].legend(frameon=False)
    return figure


def ratios(compared: Sequence[Row], names: Sequence[str]) -> Figure:
    """How many times as fast as each peer packed is, setting by setting; a bar across is the goal."""
    figure = new_figure(8, 1.6 + 0.36 * len(names))
    axis: Any = figure.subplots()
    for place, (peer, colour) in enumerate(COLOURS.items()):
        own = [row for row in compared if row["peer"] == peer]
        if not own:
            continue
        heights = [names.index(row["setting"]) + 0.15 * (place - 2.5) for row in own]
        for row, height in zip(own, heights, strict=True):
            axis.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=1.5)
            if row["goal"] is not None and row["goal"] != 1:
                axis.plot([row["goal"]] * 2, [height - 0.1, height + 0.1], color=INK, linewidth=1)
        axis.scatter(
            [row["ratio"] for row in own], heights, s=12, color=colour, marker=MARKS[peer], label=peer
        )
    axis.axvline(1, color=INK, linewidth=0.8)
    _log(axis.set_xscale, axis.xaxis)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel("times as fast as the peer (log scale); black: the goal")
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def _log(set_scale: Callable[[str], Any], axis: Any) -> None:
    """A logarithmic scale with plain numbers at 1 and 3 of each decade, which have room for thousands."""
    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _is_plain(row: Row) -> bool:
    return row["cell"] == "lstm" and row["units"] == 256 and not row["both"] and not row["tf32"]
