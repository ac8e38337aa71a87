"""The calibration gate: was the machine itself while a run was timed? Decided before the run's speed is looked at.

A gate and not a divisor: dividing by the calibration costs precision where the machine is steady.
"""

from __future__ import annotations

from collections.abc import Mapping

CALIBRATION_SPREAD = 0.10
"""Where a page calls a window disturbed, and no two timings are compared."""
REQUEUE_SPREAD = 0.21
"""Where `sweep.requeue` sends a block back: 95% of quiet windows pass it (experiments/quiet_windows.py)."""
FOREIGN_CPU = 0.05
WATCHED = (
    "speed/calibration_before_gflops",
    "speed/calibration_after_gflops",
    "speed/foreign_cpu_share",
)
"""The metrics that the gate looks at; no speed is among them."""


def unequal(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    """Why the timings of two runs cannot be held against each other, in words; empty where they can.

    Either window was disturbed, or their calibrations lie more than 10% apart: its speed was not the same.

    >>> unequal({}, {"speed/foreign_cpu_share": 0.31})
    'the machine was busy (31%)'
    """
    busy = [share for one in (first, second) if (share := one.get(WATCHED[2]) or 0.0) > FOREIGN_CPU]
    if busy:
        return f"the machine was busy ({max(busy):.0%})"
    if found := disturbance(first) or disturbance(second):
        return found
    a, b = ([one[name] for name in WATCHED[:2] if one.get(name)] for one in (first, second))
    if a and b and abs(sum(b) / len(b) - sum(a) / len(a)) > CALIBRATION_SPREAD * min(*a, *b):
        return f"the calibration was {sum(a) / len(a):.0f} GFLOP/s, is {sum(b) / len(b):.0f}"
    return ""


def disturbance(metrics: Mapping[str, float], spread: float = CALIBRATION_SPREAD) -> str:
    """What disturbed a timed window, in words; empty where nothing did, or nothing was timed.

    The larger calibration must not exceed the smaller by more than `spread`, nor foreign CPU 5% of the window.

    >>> disturbance({"speed/calibration_before_gflops": 200.0, "speed/calibration_after_gflops": 150.0})
    'the calibration went from 200 to 150 GFLOP/s'
    """
    before, after, foreign = map(metrics.get, WATCHED)
    found = []
    if before and after and abs(after - before) > spread * min(before, after):
        found.append(f"the calibration went from {before:.0f} to {after:.0f} GFLOP/s")
    if foreign and foreign > FOREIGN_CPU:
        found.append(f"other processes took {foreign:.0%} of the CPU")
    return " and ".join(found)
