"""What an epoch's batches will take, from a few of them that were timed: no more is run. NumPy and SciPy.

    seconds(batch) = a + b * T + c * B * T + d * L + e * N     B examples of L steps at most, padded to T; N of the
                                                               B * T are valid; no coefficient is below 0

Fitted for one padding and batch size by the relative error, so that short batches count as long ones do. A loop
pays for its steps (b, and d where lengths end it with the longest example), a product for its positions (c), a
packed run for the valid ones (e).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from workbench.advice import Planned


def sampled(batches: Sequence[Planned], count: int) -> list[Planned]:
    """So many of them at most, evenly over their sizes, the smallest and the largest among them."""
    ordered = sorted(batches, key=lambda one: one.features[2:])
    places = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int))
    return [ordered[place] for place in places]


class StepCost:
    """Seconds of a step by the batch's shape, as `fitted` found them."""

    def __init__(self, coefficients: np.ndarray) -> None:
        self.coefficients = coefficients

    def seconds(self, batches: Sequence[Planned]) -> np.ndarray:
        """Of each batch."""
        return np.array([one.features for one in batches]) @ self.coefficients

    def tokens_per_second(self, batches: Sequence[Planned]) -> float:
        """Valid tokens over the time of all these batches."""
        return sum(int(one.lengths.sum()) for one in batches) / float(self.seconds(batches).sum())


def fitted(shapes: Sequence[Sequence[float]], seconds: Sequence[float]) -> StepCost:
    """The least squares of the relative errors over coefficients that are not below 0, of `Planned.features`.

    >>> batches = [Planned(steps, np.full(4, steps)) for steps in (5, 10, 20, 40)]
    >>> cost = fitted([b.features for b in batches], [0.001 + 0.002 * b.padded_length for b in batches])
    >>> round(float(cost.seconds([Planned(30, np.full(4, 30))])[0]), 6)
    0.061
    """
    features = np.array(shapes)
    scale = features.max(axis=0)
    scale[scale == 0] = 1.0
    coefficients, _ = nnls(features / scale / np.array(seconds)[:, np.newaxis], np.ones(len(shapes)))
    return StepCost(coefficients / scale)
