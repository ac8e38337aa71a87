"""Numbers and effects as a reader wants them: digits that the interval supports, units, thousands apart."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from workbench.claims import Verdict
from workbench.record import LARGEST, METRICS

NOTHING = "–"


def number(value: float | None) -> str:
    """A number as a reader wants it: three or four digits, thousands apart; says what is not a number.

    >>> [number(one) for one in (0.0, 1.0349, 0.000012, 23456.7, 123456789.0, math.nan, -math.inf, None)]
    ['0', '1.035', '1.2e-05', '23,457', '1.235e+08', 'not a number', '-infinite', '–']
    """
    if value is None:
        return NOTHING
    if math.isnan(value):
        return "not a number"
    if abs(value) >= LARGEST:
        return "infinite" if value > 0 else "-infinite"
    if 1000 <= abs(value) < 1e8:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.01 else f"{value:.2g}"


def percent(value: float) -> str:
    """A share as a percentage.

    >>> percent(0.7251)
    '72.5%'
    """
    return f"{value:.1%}" if math.isfinite(value) else number(value)


def effect_words(verdict: Verdict) -> str:
    """The effect and its interval: "3.53x [3.47, 3.60]", "-73 MB [-90, -56]"."""
    return sized(verdict.effect, verdict.interval, verdict)


def sized(effect: float | None, interval: Sequence[float | None] | None, verdict: Verdict) -> str:
    """An effect and an interval of a verdict's scale, to the digits that the interval's width supports."""
    if effect is None:
        return NOTHING
    ends = [one for one in interval or () if one is not None and abs(one) < LARGEST]
    width = ends[1] - ends[0] if len(ends) == 2 else math.nan
    digits = decimals(width) if width > 1e-9 * max(map(abs, ends), default=0.0) else None  # less is rounding
    if digits is not None and verdict.scale == "ratio" and abs(effect) < 100:
        digits = max(2, digits)
    unit = "x" if verdict.scale == "ratio" else "" if verdict.unit in ("", "1") else f" {verdict.unit}"
    sign = "+" if verdict.scale != "ratio" and effect > 0 else ""
    words = f"{sign}{rounded(effect, digits)}{unit if abs(effect) < LARGEST else ''}"
    if interval is None:
        return words
    return f"{words} [{', '.join(rounded(one, digits) for one in interval)}]"


def rounded(value: float | None, digits: int | None) -> str:
    """A number to so many decimals; without, as `number` has it."""
    if value is None or digits is None or not abs(value) < LARGEST:
        return number(value)
    return f"{value:,.{digits}f}" if abs(value) < 1e9 else number(value)


def decimals(width: float) -> int | None:
    """Decimals that leave two digits of a width; None where there is no width to go by."""
    if not (math.isfinite(width) and width > 0):
        return None
    return min(12, max(0, 1 - math.floor(math.log10(width))))


def pairs_words(verdict: Verdict) -> str:
    """How many of the planned pairs are complete."""
    return f"{verdict.pairs} of {verdict.planned}"


def listed(values: Sequence[object]) -> str:
    """Several values as a sentence has them.

    >>> listed((6, 12, 24)), listed((6,))
    ('6, 12 and 24', '6')
    """
    *others, last = map(str, values)
    return f"{', '.join(others)} and {last}" if others else last


def finding_word(verdict: Verdict) -> str:
    """The finding without what stands in columns of its own: metric, arms and numbers."""
    word, found, _ = verdict.finding.partition(f": {verdict.metric}")
    return word if found else "" if word.startswith(verdict.metric) else word


def broken(name: str, width: int) -> str:
    """A long name over several lines, at its underscores, dots and slashes, so that it stays readable.

    >>> print(broken("speed/valid_tokens_per_s", 14))
    speed/valid_
    tokens_per_s
    """
    lines, line = [], ""
    for part in re.findall(r"[^_/.]*[_/.]|[^_/.]+", name):
        if line and len(line) + len(part) > width:
            lines.append(line)
            line = ""
        line += part
    return "\n".join([*lines, line])


def spaced_unit(metric: str) -> str:
    """A metric's unit with a space before it; nothing where it has none."""
    unit = METRICS[metric].unit if metric in METRICS else "1"
    return "" if unit == "1" else f" {unit}"
