"""How fast batches come when nothing is done with them, and how fast a split is read from its shards."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from workbench.options.measure import Measure

_LEAST_S = 0.2  # a pass goes over the batches as often as it takes to be at least so long


def examples_per_second(
    chunks: Callable[[], Iterable[Mapping[str, Any]]],
    measure: Measure,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Examples a second of `chunks()`, whose items have a `length` [N]: the median of `measure.passes`.

    One round over the chunks goes before, untimed: what is opened, cached or traced once is so by then.
    """
    examples = _exhaust(chunks())
    if not examples:
        raise ValueError("there is nothing to read: the split is empty")
    rates = []
    for _ in range(measure.passes):
        read, start = 0, clock()
        while not read or clock() - start < _LEAST_S:
            read += _exhaust(chunks())
        rates.append(read / (clock() - start))
    return statistics.median(rates)


def _exhaust(chunks: Iterable[Mapping[str, Any]]) -> int:
    return sum(len(chunk["length"]) for chunk in chunks)
