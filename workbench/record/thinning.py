"""A curve in at most so many points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_POINTS = 100
Point = tuple[int, float]
"""A step and what was logged at it."""


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many of the points, evenly chosen, the first and the last among them.

    >>> thinned([(step, 0.0) for step in range(10)], 4)
    [(0, 0.0), (3, 0.0), (6, 0.0), (9, 0.0)]
    """
    if len(points) <= most:
        return list(points)
    return [points[int(place)] for place in np.linspace(0, len(points) - 1, most).round()]
