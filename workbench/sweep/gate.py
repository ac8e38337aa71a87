"""The calibration gate: was the machine itself while a run was timed? Decided before the run's speed is looked at.

A gate and not a divisor: dividing by the calibration costs precision where the machine is steady.
"""

from __future__ import annotations

from collections.abc import Mapping

CALIBRATION_SPREAD = 0.10
FOREIGN_CPU = 0.05


def disturbance(metrics: Mapping[str, float]) -> str:
    """What disturbed a timed window, in words; empty where nothing did, or nothing was timed.

    >>> disturbance({"speed/calibration_before_gflops": 200.0, "speed/calibration_after_gflops": 150.0})
    'the calibration went from 200 to 150 GFLOP/s'
    """
    before = metrics.get("speed/calibration_before_gflops")
    after = metrics.get("speed/calibration_after_gflops")
    found = []
    if before and after and abs(after - before) > CALIBRATION_SPREAD * max(before, after):
        found.append(f"the calibration went from {before:.0f} to {after:.0f} GFLOP/s")
    foreign = metrics.get("speed/foreign_cpu_share", 0.0)
    if foreign > FOREIGN_CPU:
        found.append(f"other processes took {foreign:.0%} of the CPU")
    return " and ".join(found)
