"""A verdict's interval as a small bar beside what was claimed, for a cell of a table."""

from __future__ import annotations

import html
import math

from workbench.claims import Verdict
from workbench.claims.statistics import REGIONS
from workbench.report import said

_WIDTH, _HEIGHT, _EDGE = 150.0, 18.0, 4.0


def interval_bar(one: Verdict) -> str:
    """An SVG element: shaded what is claimed, a tick at no effect, the interval, thin what decided, a point.

    Empty for exact claims, and where there is no interval. What reaches beyond the bar is cut at its ends.
    """
    if one.kind == "exact" or one.effect is None or one.interval is None:
        return ""
    ends = [_scaled(end, one) for end in one.interval if end is not None]
    effect = _scaled(one.effect, one)
    if len(ends) < 2 or not all(map(math.isfinite, [*ends, effect])):
        return ""
    low, high = REGIONS[one.direction](_scaled(one.smallest, one))
    known = [0.0, effect, *ends, *(bound for bound in (low, high) if math.isfinite(bound))]
    first, last = min(known), max(known)
    room = 0.08 * (last - first) or 1.0
    first, last = first - room, last + room

    def x(value: float) -> float:
        share = (min(max(value, first), last) - first) / (last - first)
        return round(_EDGE + share * (_WIDTH - 2 * _EDGE), 1)

    middle = _HEIGHT / 2
    decided = [_scaled(end, one) for end in one.decision_interval or () if end is not None]
    thin = ""
    if len(decided) == 2 and not any(map(math.isnan, decided)):
        thin = f'<line class="decided" x1="{x(decided[0])}" x2="{x(decided[1])}" y1="{middle:g}" y2="{middle:g}"/>'
    words = f"{said.value(one)}; claimed: {said.claimed(one)}"
    return (
        f'<svg class="bar" role="img" aria-label="{html.escape(words)}" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}">'
        f'<rect class="claimed" x="{x(low)}" y="1" width="{round(x(high) - x(low), 1)}" height="{_HEIGHT - 2:g}"/>'
        f'<line class="none" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{_HEIGHT:g}"/>'
        f"{thin}"
        f'<line class="interval" x1="{x(ends[0])}" x2="{x(ends[1])}" y1="{middle:g}" y2="{middle:g}"/>'
        f'<circle class="effect" cx="{x(effect)}" cy="{middle:g}" r="3"/></svg>'
    )


def _scaled(value: float, one: Verdict) -> float:
    """On the scale of the statistic: logarithms of ratios."""
    if one.scale != "ratio":
        return value
    return math.log(value) if value > 0 else -math.inf
