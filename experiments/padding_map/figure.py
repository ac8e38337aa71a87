"""Does it pay for me? A figure: the gain of each padding over global by the spread of lengths and batch size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.padding_map import sets
from experiments.padding_map.measure import PADDINGS, Point, cost, foretold
from workbench.report.drawing import INK, PALETTE, SIZES, grid, new_figure, save_figure

STEPS = tuple(np.round(np.arange(0.0, 1.3, 0.125), 3).tolist())
"""Of sigma, at which the lines are foretold."""


def draw(points: Sequence[Point], runner: str, path: Path) -> Path:
    """A panel a padding: lines are foretold for log-normal lengths, points were measured."""
    own = [one for one in points if one.runner == runner]
    sizes = sorted({one.batch_size for one in own})
    costs = {size: cost([one for one in own if one.batch_size == size]) for size in sizes}
    curves = {
        (sigma, size): foretold(_histogram(sigma), size, costs[size]) for sigma in STEPS for size in sizes
    }
    with matplotlib.rc_context(SIZES):
        figure = new_figure(9.0, 3.6)
        axes = figure.subplots(1, len(PADDINGS), sharey=True)
        for axis, padding in zip(axes, PADDINGS, strict=True):
            for colour, size in zip(PALETTE, sizes, strict=False):
                curve = [curves[sigma, size][padding] for sigma in STEPS]
                axis.plot(
                    [_spread(sigma) for sigma in STEPS],
                    curve,
                    color=colour,
                    lw=1.2,
                    label=f"batches of {size}",
                )
                for one in own:
                    if one.batch_size == size:
                        gain = one.gains[padding]
                        axis.errorbar(
                            one.spread, gain.times, yerr=[[gain.times - gain.low], [gain.high - gain.times]],
                            fmt="o" if one.lengths.startswith("log-normal") else "D", ms=3.5, color=colour, lw=0.9,
                        )  # fmt: skip
            axis.axhline(1, color=INK, lw=0.8)
            axis.set(title=padding, xlabel="spread (deviation / mean)")
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_yticks([0.75, 1, 1.5, 2, 3, 5, 8])
            grid(axis, "y")
        axes[0].set_ylabel("valid tokens/s over global padding")
        axes[0].legend(frameon=False, fontsize=8)
        figure.suptitle(
            f"rnn={runner}, lengths passed. Lines: foretold for log-normal lengths of mean {sets.MEAN}; "
            "dots: measured on such, diamonds: on other sets", fontsize=8.5,
        )  # fmt: skip
        return save_figure(figure, path)


@cache
def _of(sigma: float) -> tuple[float, tuple[tuple[int, int], ...]]:
    found = sets.log_normal(sigma, np.random.default_rng(0))
    return sets.spread(found), tuple(sets.histogram(found).items())


def _spread(sigma: float) -> float:
    return _of(sigma)[0]


def _histogram(sigma: float) -> dict[int, int]:
    return dict(_of(sigma)[1])
