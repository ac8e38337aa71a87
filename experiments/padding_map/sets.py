"""The lengths of the map: one family whose spread grows, others beside it, and real sets. NumPy only."""

from __future__ import annotations

from collections import Counter

import numpy as np

from experiments.peers.lengths import python_lines, ud_ewt

EXAMPLES = 4096
MEAN, LONGEST = 20, 400
"""Of the drawn ones; what is longer is left out, as `data.max_length` leaves it out."""
SIGMAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Of the log-normal lengths that are measured: the standard deviation of their logarithm."""
NAMES = (*(f"log-normal {sigma:g}" for sigma in SIGMAS), "uniform", "geometric", "python_source", "UD EWT")


def lengths(name: str) -> np.ndarray:
    """Lengths of a set, int64 [examples], the same each time.

    >>> len(lengths("uniform")), set(lengths("log-normal 0").tolist())
    (4096, {20})
    """
    draw = np.random.default_rng(list(name.encode()))
    family, _, sigma = name.partition(" ")
    if family == "log-normal":
        return log_normal(float(sigma), draw)
    if name == "uniform":
        return draw.integers(1, 2 * MEAN, EXAMPLES)
    if name == "geometric":
        return _within(lambda count: draw.geometric(1 / MEAN, count))
    observed = {"python_source": python_lines, "UD EWT": ud_ewt}[name]()
    return draw.permutation(observed)[:EXAMPLES]


def log_normal(sigma: float, draw: np.random.Generator) -> np.ndarray:
    """Of mean 20, or less by what is over 400."""
    middle = np.log(MEAN) - sigma**2 / 2
    return _within(lambda count: np.maximum(1, np.rint(draw.lognormal(middle, sigma, count))))


def _within(drawn) -> np.ndarray:  # type: ignore[no-untyped-def]
    found = drawn(2 * EXAMPLES)
    return found[found <= LONGEST][:EXAMPLES].astype(np.int64)


def histogram(found: np.ndarray) -> dict[int, int]:
    """Length -> examples."""
    return dict(sorted(Counter(found.tolist()).items()))


def spread(found: np.ndarray) -> float:
    """The coefficient of variation: standard deviation over mean."""
    return float(np.std(found) / np.mean(found))
