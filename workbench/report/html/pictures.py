"""Figures inside a page: SVG whose colours follow the page's theme and whose words are text."""

from __future__ import annotations

import html
import io
import re
import warnings

import matplotlib
from matplotlib.figure import Figure

_COLOURS = {
    "#333333": "var(--ink)",
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#e5e5e5": "var(--grid)",
    "#cfe8f7": "var(--claimed)",
    "#666666": "var(--muted)",
    "#0072b2": "var(--blue)",
    "#009e73": "var(--green)",
    "#d55e00": "var(--orange)",
}


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an <svg> element for a page; `name` keeps its ids apart from others', `title` is read aloud.

    Text stays text, ink and paper are the page's (`var(--ink)`), so that one figure serves both themes.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r'(?<=\bid=")', f"{name}-", text)
    text = re.sub(r"(?<=url\(#)|(?<=href=\"#)", f"{name}-", text)
    for colour, variable in _COLOURS.items():
        text = re.sub(colour, variable, text, flags=re.I)
    width, height = (float(found) for found in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2])
    head = f'<svg role="img" aria-labelledby="{name}-title" viewBox="0 0 {width:g} {height:g}"'
    head += ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head += f' style="max-width:{width / 72 * 96:.0f}px">'
    head += f'<title id="{name}-title">{html.escape(title)}</title>'
    return head + text[text.index(">") + 1 :]
