"""What a histogram of lengths says before anything runs: the share of padding of each way of batching.

    predict(histogram, Padding("batch"), batch_size=32).padding_share

With a batch size the number of padded tokens is its exact expectation over random orders: the expected longest
of `b` examples drawn without replacement, by order statistics. With a token budget, or from pools, where
batches depend on each other, it is the mean over plans for random orders drawn from a fixed seed (global padding
and padding to boundaries excepted, where it is exact too). `padding_share` is 1 - valid / expected padded
tokens. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from workbench.data.padding import PADDINGS, Size, check_boundaries, sized
from workbench.options.padding import Bucket, Global, Padding

Histogram = Mapping[int, int]

_SIMULATED_EXAMPLES = 200_000  # how many examples the plans of a prediction have altogether
_MOST_LIMITS = 512  # lengths among which the best boundaries are looked for


@dataclass(frozen=True)
class Prediction:
    """Expected over random orders, for one epoch. `padded_tokens` counts all positions, valid ones included."""

    padding_share: float
    batches: float
    padded_tokens: float
    valid_tokens: int


def predict(
    histogram: Histogram, padding: Padding, *, batch_size: int, longest: int | None = None
) -> Prediction:
    """Batches, positions and padding of one epoch. Arguments as those of `padding.plan`.

    >>> predict({1: 1, 3: 1}, Global(), batch_size=2)
    Prediction(padding_share=0.33333333333333337, batches=1, padded_tokens=6, valid_tokens=4)
    """
    values, counts = _arrays(histogram)
    padding, size = settled(padding, histogram, batch_size), sized(padding, values, batch_size, longest)
    batches: float
    padded: float
    if isinstance(padding, Global):
        batches, padded = -(-int(counts.sum()) // size.at(size.longest)), int(counts.sum()) * size.longest
    elif padding.name == "batch" and size.examples:
        batches, padded = _expected(values, counts, size.examples)
    elif isinstance(padding, Bucket) and (size.examples or padding.pad_to_boundary):
        batches, padded = _buckets(values, counts, padding, size)
    else:
        batches, padded = _simulated(values, counts, padding, size)
    valid = int((values * counts).sum())
    return Prediction(1 - valid / padded, batches, padded, valid)


def expected_longest(histogram: Histogram, size: int) -> float:
    """Expected longest of `size` examples drawn from the histogram without replacement; 1 at least.

    >>> expected_longest({1: 1, 2: 1, 3: 1}, 2)  # of {1,2}, {1,3}, {2,3}: 2, 3, 3
    2.6666666666666665
    """
    values, counts = _arrays(histogram)
    return _expected_longest(np.maximum(values, 1), counts, size)


def usual_buckets(examples: int, batch_size: int | None = None) -> int:
    """How many buckets so many examples are worth: one for 16 batches, 8 to 32.

    More leave more batches half filled; fewer pad more. With a token budget a batch is taken to be 32 examples.

    >>> usual_buckets(12_544, 32)
    24
    """
    return min(32, max(8, examples // (batch_size or 32) // 16))


def settled(padding: Padding, histogram: Histogram, batch_size: int) -> Padding:
    """The padding with the buckets' boundaries filled in, where it leaves them to the training split's lengths."""
    if not isinstance(padding, Bucket) or padding.boundaries is not None:
        return padding
    buckets = padding.buckets or usual_buckets(
        sum(histogram.values()), None if padding.token_budget else batch_size
    )
    return replace(padding, boundaries=_best_boundaries(tuple(sorted(histogram.items())), buckets))


@lru_cache(maxsize=8)
def _best_boundaries(histogram: tuple[tuple[int, int], ...], buckets: int) -> list[int]:
    return best_boundaries(dict(histogram), buckets)


def best_boundaries(histogram: Histogram, buckets: int) -> list[int]:
    """Upper limits (included) of at most `buckets` buckets for which padding each to its limit costs least.

    Dynamic programming over the lengths that occur, or where they are very many over 512 of them, between which
    lie about equally many examples.

    >>> best_boundaries({1: 50, 2: 25, 9: 25}, 2)
    [2, 9]
    """
    if buckets < 1:
        raise ValueError(f"buckets = {buckets}: must be 1 or more")
    values, counts = _thinned(*_arrays(histogram), _MOST_LIMITS)
    padded = np.maximum(values, 1)
    before = np.concatenate([[0], np.cumsum(counts)])  # examples with a length before the i-th
    count = len(values)
    buckets = min(buckets, count)
    cost = np.concatenate([[0.0], padded * before[1:].astype(float)])  # of the first j lengths in one bucket
    came_from = np.zeros((buckets, count + 1), np.int64)
    for k in range(1, buckets):
        new = cost.copy()
        came_from[k] = -1  # -1: a further bucket does not help here
        for j in range(2, count + 1):
            costs = cost[:j] + padded[j - 1] * (before[j] - before[:j])
            i = int(np.argmin(costs))
            if costs[i] < new[j]:
                new[j], came_from[k, j] = costs[i], i
        cost = new
    limits, j = [], count
    for k in range(buckets - 1, -1, -1):
        if j and came_from[k, j] != -1:
            limits.append(int(values[j - 1]))
            j = int(came_from[k, j])
    return sorted(limits)


def histogram_text(histogram: Histogram, most: int = 200) -> str:
    """A histogram in a line, at most so many lengths; what lies between counts to the next longer.

    >>> histogram_text({3: 2, 7: 1})
    '3:2 7:1'
    """
    values, counts = _thinned(*_arrays(histogram), most)
    return " ".join(f"{value}:{count}" for value, count in zip(values, counts, strict=True))


def read_histogram(text: str) -> dict[int, int]:
    """What `histogram_text` wrote.

    >>> read_histogram("3:2 7:1")
    {3: 2, 7: 1}
    """
    pairs = (part.split(":") for part in text.split())
    return {int(length): int(count) for length, count in pairs}


def profile(histogram: Histogram) -> dict[str, float]:
    """Examples, tokens and lengths at a glance.

    >>> profile({3: 2, 7: 1})
    {'examples': 3, 'tokens': 13, 'shortest': 3, 'median': 3, 'longest': 7}
    """
    values, counts = _arrays(histogram)
    cumulative = np.cumsum(counts)
    median = values[np.searchsorted(cumulative, cumulative[-1] / 2)]
    found = {"examples": cumulative[-1], "tokens": (values * counts).sum(), "shortest": values[0]}
    found |= {"median": median, "longest": values[-1]}
    return {name: int(value) for name, value in found.items()}


def _arrays(histogram: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in rising order, and how many examples have each."""
    items = sorted((int(length), int(count)) for length, count in histogram.items() if count)
    if not items or items[0][0] < 0:
        raise ValueError(
            f"histogram = {dict(items)}: must have lengths of 0 or more, and an example at least"
        )
    values, counts = np.array(items, np.int64).T
    return values, counts


def _thinned(values: np.ndarray, counts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` of the lengths, the longest among them; the others' examples count to the next longer."""
    if len(values) <= most:
        return values, counts
    cumulative = np.cumsum(counts)
    wanted = cumulative[-1] * np.arange(1, most + 1) / most
    kept = np.unique(np.searchsorted(cumulative, wanted - 1e-9))
    return values[kept], np.diff(cumulative[kept], prepend=0)


def _expected(values: np.ndarray, counts: np.ndarray, size: int) -> tuple[int, float]:
    """Batches, and expected padded tokens, of a random order cut into batches of `size`."""
    full, left = divmod(int(counts.sum()), size)
    padded = full * size * _expected_longest(np.maximum(values, 1), counts, size) if full else 0.0
    if left:
        padded += left * _expected_longest(np.maximum(values, 1), counts, left)
    return full + bool(left), padded


def _expected_longest(values: np.ndarray, counts: np.ndarray, size: int) -> float:
    """E[max] = sum over lengths v of v x P(max = v), where P(max <= v) = C(F(v), size) / C(N, size)."""
    total = int(counts.sum())
    if not 1 <= size <= total:
        raise ValueError(f"size = {size}: must be 1 to {total}, the number of examples")
    below = np.cumsum(counts)
    # C(F, size) / C(N, size) = product over i < size of (F - i) / (N - i): exact to rounding, no overflow
    steps = np.arange(size)
    chance = np.zeros(len(values))
    for i, f in enumerate(below.tolist()):
        if f >= size:
            chance[i] = np.exp(np.sum(np.log((f - steps) / (total - steps))))
    return float((values * np.diff(chance, prepend=0.0)).sum())


def _buckets(values: np.ndarray, counts: np.ndarray, padding: Bucket, size: Size) -> tuple[int, float]:
    """Buckets do not mix, so each is a data set of its own."""
    boundaries, longest = check_boundaries(padding.boundaries), size.longest
    limits = [-1, *boundaries, max(longest, boundaries[-1] + 1)]
    batches, padded = 0, 0.0
    for low, high in pairwise(limits):
        inside = (values > low) & (values <= high)
        examples = int(counts[inside].sum())
        if not examples:
            continue
        if padding.pad_to_boundary:
            limit = max(1, min(high, max(longest, boundaries[-1])))
            batches, padded = batches + -(-examples // size.at(limit)), padded + examples * limit
        else:
            assert size.examples is not None
            more = _expected(values[inside], counts[inside], size.examples)
            batches, padded = batches + more[0], padded + more[1]
    return batches, padded


def _simulated(values: np.ndarray, counts: np.ndarray, padding: Padding, size: Size) -> tuple[float, float]:
    """Mean over the plans for random orders, the same ones every time."""
    lengths = np.repeat(values, counts)
    draw = np.random.default_rng(0)
    repeats = int(np.clip(_SIMULATED_EXAMPLES // len(lengths), 2, 200))
    batches, padded = [], []
    for _ in range(repeats):
        planned = PADDINGS[padding.name](lengths, draw.permutation(len(lengths)), padding, size)
        batches.append(len(planned))
        padded.append(sum(len(batch.indices) * batch.padded_length for batch in planned))
    return float(np.mean(batches)), float(np.mean(padded))
