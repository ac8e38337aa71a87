"""Which padding and batch to take, from the lengths alone: nothing is run. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench.data.lengths import Histogram, best_boundaries, predict, settled
from workbench.data.padding import plan
from workbench.options.padding import Bucket, Global, Padding, Pooled

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Advice:
    """One way to pad and batch, and what it would come to in an epoch."""

    padding: str
    batch: str
    """"32" examples, or "4,096 tokens"."""
    share: float
    """Of all positions, expected over random orders."""
    steps: float
    shapes: int
    """Distinct [B, T] of one epoch in a random order."""
    largest: int
    """Positions of its largest batch."""
    override: str
    """What is typed for it."""
    options: Padding
    batch_size: int
    """Of examples; not used where there is a token budget."""

    def megabytes(self, per_position: int) -> float:
        """Of its largest batch, at so many bytes a position."""
        return self.largest * per_position / 1e6


class Planned(NamedTuple):
    """A batch as it is planned: its steps, and its examples' lengths."""

    padded_length: int
    lengths: np.ndarray

    @property
    def features(self) -> list[float]:
        """1, T, B * T, the longest's steps, N."""
        steps = self.padded_length
        return [1.0, steps, len(self.lengths) * steps, int(self.lengths.max()), int(self.lengths.sum())]


def planned(histogram: Histogram, padding: Padding, batch_size: int, epochs: int = 2) -> list[Planned]:
    """The batches of some epochs in random orders, drawn from a fixed seed."""
    lengths = np.repeat(list(histogram), list(histogram.values()))
    known = settled(padding, histogram, batch_size)
    return [
        Planned(one.padded_length, lengths[one.indices])
        for epoch in range(epochs)
        for one in plan(
            known,
            lengths,
            np.random.default_rng(epoch).permutation(len(lengths)),
            batch_size=batch_size,
        )
    ]


def advise(
    histogram: Histogram,
    batch_sizes: Sequence[int],
    budgets: Sequence[int] = (),
    pool: int = 200,
    longest: int | None = None,
) -> list[Advice]:
    """Every padding at every batch size, and at every token budget.

    `longest`: of all splits, to which global padding pads and which a budget must hold; None: the histogram's.

    Raises:
        ValueError: no example has a step, or the longest does not fit into a budget.

    >>> advise({2: 96, 50: 4}, [32])[0].override
    'padding=global data.batch_size=32'
    """
    own = max(length for length, count in histogram.items() if count)
    longest = max(own, longest or 0)
    if not own:
        raise ValueError("all lengths are 0: there is nothing to pad")
    if small := [one for one in budgets if one < longest]:
        raise ValueError(f"--budget {small[0]}: is less than the longest example has, {longest} steps")
    rows = [
        _advice(histogram, padding, size, f"{size:,}", f"data.batch_size={size}")
        for size in batch_sizes
        for padding in (
            Global(length=longest if longest > own else None),
            Padding("batch"),
            Bucket(),
            Pooled(pool=pool),
        )
    ]
    for budget in budgets:
        of_tokens: tuple[Padding, ...] = (
            Padding("batch", token_budget=budget),
            Bucket(token_budget=budget),
            Pooled(token_budget=budget, pool=pool),
        )
        words = f"padding.token_budget={budget}"
        rows += [_advice(histogram, one, 32, f"{budget:,} tokens", words) for one in of_tokens]
    return rows


def best(rows: Sequence[Advice]) -> Advice:
    """The one with the least padding; of those within a percentage point of it the one of fewest shapes."""
    least = min(row.share for row in rows)
    return min((row for row in rows if row.share <= least + 0.01), key=lambda row: (row.shapes, row.share))


def largest_budget(
    histogram: Histogram, megabytes: float, per_position: int, longest: int | None = None
) -> int:
    """The largest token budget whose batches take so much memory at most; `longest` as `advise` has it.

    Raises:
        ValueError: not even the longest example alone does.
    """
    longest = max(longest or 0, *(length for length, count in histogram.items() if count))
    budget = int(megabytes * 1e6 // per_position)
    if budget < longest:
        least = longest * per_position / 1e6
        raise ValueError(f"the longest example, of {longest} steps, takes {least:.3g} MB alone")
    return budget


def bytes_per_position(embedding: int, units: int, gates: int = 4) -> int:
    """What one position of a batch takes in training: ids and labels, embedded inputs, gates, states, outputs.

    A lower estimate, in float32 and for one layer in one direction: what a framework keeps beside it comes on top.
    """
    return 2 * FLOAT + FLOAT * (embedding + (gates + 3) * units)


def boundaries(histogram: Histogram, buckets: Sequence[int]) -> Iterator[tuple[int, list[int], float]]:
    """For each number of buckets the boundaries that leave least padding, and the share where all pad to them."""
    total = sum(length * count for length, count in histogram.items())
    for number in buckets:
        limits = best_boundaries(histogram, number)
        padded = sum(
            max(1, limits[int(np.searchsorted(limits, length))]) * count
            for length, count in histogram.items()
        )
        yield number, limits, 1 - total / padded


def _advice(histogram: Histogram, padding: Padding, size: int, batch: str, words: str) -> Advice:
    found = predict(histogram, padding, batch_size=size)
    shapes = {(len(one.lengths), one.padded_length) for one in planned(histogram, padding, size, epochs=1)}
    largest = max(b * t for b, t in shapes)
    override = f"padding={padding.name} {words}"
    return Advice(
        padding.name, batch, found.padding_share, found.batches, len(shapes), largest, override, padding, size
    )
