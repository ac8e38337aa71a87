"""What all figures share: colours, sizes, a figure without pyplot, equal bytes for equal input."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by every kind of eye.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
INK = "#333333"
GRID = "#E5E5E5"
CLAIMED = "#CFE8F7"
MOST_ROWS = 12
"""Rows of one figure; what has more goes on in a second one."""
SIZES = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "workbench",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
}


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, without pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG or PNG, equal bytes for equal input."""
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box; the tables have it
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=160, metadata=metadata)
    return path


def grid(axis: Any, which: str) -> None:
    """Thin lines behind what is drawn."""
    axis.grid(axis=which, color=GRID, lw=0.7)
    axis.set_axisbelow(True)


def of_all(title: str, shown: int, there: int, what: str = "arms") -> str:
    """A title that says so where not all are shown.

    >>> of_all("synthetic", 7, 7), of_all("synthetic", 7, 30), of_all("", 7, 30)
    ('synthetic', 'synthetic: 7 of 30 arms', '7 of 30 arms')
    """
    words = f"{shown} of {there} {what}" if shown < there else ""
    return ": ".join(text for text in (title, words) if text)


def shortened(text: str, longest: int = 60) -> str:
    """A label that is cut with a sign where it is too long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
