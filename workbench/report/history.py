"""The A/A arm over many sweeps: does the control differ from itself more often than chance has it?

One sweep's A/A arm notices a bias of 3% in half of the cases at best, so the rate over the sweeps is held against
chance (claims/README.md, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from workbench.claims import Verdict
from workbench.record import METRICS
from workbench.record.tags import CONTROL_AGAIN
from workbench.tracking import Reader, Tracker

CHANCE = 0.05  # that a sound instrument's 95% interval leaves out "no difference"
ALARM = 0.01  # chance of a false alarm
WORDS = {True: "outside", False: "inside", None: "says nothing"}


def outside(row: Verdict) -> bool | None:
    """Whether the control's difference from itself has an interval that leaves out none.

    None where that says nothing: too few blocks, no spread, an interval of another level than 95%, or a metric that
    no clock measures, which is equal to the bit or not.
    """
    tells = row.metric in METRICS and METRICS[row.metric].noisy and math.isclose(row.confidence, 1 - CHANCE)
    if not tells or row.decided_at is None or row.interval is None or row.interval[0] == row.interval[1]:
        return None
    nothing = 1.0 if row.scale == "ratio" else 0.0
    return not row.interval[0] <= nothing <= row.interval[1]


def most_by_chance(sweeps: int) -> int:
    """So many of these sweeps may have it outside; one more is an alarm (binomial, 1%).

    >>> [most_by_chance(sweeps) for sweeps in (20, 60, 200)]
    [4, 7, 18]
    """
    return int(stats.binom.isf(ALARM, sweeps, CHANCE))


def history_line(told: Sequence[bool], where: str) -> str:
    """What the A/A arms of sweeps say together, each by `outside`; empty where none says anything."""
    if not told:
        return ""
    most, seen = most_by_chance(len(told)), sum(told)
    words = (
        f"A/A over {len(told)} timed sweep{'s' if len(told) > 1 else ''} {where}: the control differs from itself "
        f"beyond its 95% interval in {seen}"
    )
    if seen > most:
        return (
            f"{words}: ALARM, chance gives more than {most} in one of a hundred such histories at most; look for "
            "what the second run of a config has that the first has not before you trust a timing"
        )
    return f"{words}; more than {most} would be an alarm"


def remember(tracker: Tracker, sweep_run: str, rows: Sequence[Verdict]) -> None:
    """Tag a sweep's own run with what its A/A arm says, so that the history is one search."""
    for row in rows:
        if row.kind == "instrument":
            tracker.tag(sweep_run, {CONTROL_AGAIN: WORDS[outside(row)]})


def remembered(tracker: Reader) -> list[bool]:
    """What the A/A arms of all tracked sweeps say that were judged since this is tagged."""
    tags = (one.tags.get(CONTROL_AGAIN) for one in tracker.sweeps())
    return [tag == WORDS[True] for tag in tags if tag in (WORDS[True], WORDS[False])]
