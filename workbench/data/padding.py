"""Which examples go into which batch, and how far each batch is padded: pure functions of lengths and an order.

    PADDINGS[name](lengths, order, batch_size=32) -> [PlannedBatch(indices, padded_length), ...]

Every index of `order` is in exactly one batch. A batch is padded to at least one position, so that one of
empty sequences alone still has a time axis. `batch_size` and `token_budget` exclude each other: with a budget a
batch takes examples in order as long as B x T_padded stays within it; an example that is longer than the
budget is a batch of its own. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class PlannedBatch(NamedTuple):
    """`indices` of the examples, and T of the padded batch."""

    indices: np.ndarray
    padded_length: int


Plan = list[PlannedBatch]


def global_padding(
    lengths: np.ndarray,
    order: np.ndarray,
    *,
    batch_size: int | None = None,
    token_budget: int | None = None,
    longest: int | None = None,
    boundaries: Sequence[int] | None = None,
    pad_to_boundary: bool = False,
) -> Plan:
    """Every batch to `longest`, the longest example of the data set (default: of `lengths`).

    >>> [batch.padded_length for batch in global_padding(np.array([3, 1, 2]), np.arange(3), batch_size=2)]
    [3, 3]
    """
    longest = _checked(lengths, batch_size, token_budget, longest)
    size = batch_size or max(1, (token_budget or 0) // longest)
    return [PlannedBatch(order[i : i + size], longest) for i in range(0, len(order), size)]


def batch_padding(
    lengths: np.ndarray,
    order: np.ndarray,
    *,
    batch_size: int | None = None,
    token_budget: int | None = None,
    longest: int | None = None,
    boundaries: Sequence[int] | None = None,
    pad_to_boundary: bool = False,
) -> Plan:
    """Every batch to its own longest example; with a batch size the same batches as `global_padding` makes.

    >>> [batch.padded_length for batch in batch_padding(np.array([3, 1, 2]), np.arange(3), batch_size=2)]
    [3, 2]
    """
    _checked(lengths, batch_size, token_budget, longest)
    return _fill(lengths, order, batch_size, token_budget)


def bucket_padding(
    lengths: np.ndarray,
    order: np.ndarray,
    *,
    batch_size: int | None = None,
    token_budget: int | None = None,
    longest: int | None = None,
    boundaries: Sequence[int] | None = None,
    pad_to_boundary: bool = False,
) -> Plan:
    """Batches of examples of like length, padded to the batch's longest, or with `pad_to_boundary` to the bucket's.

    `boundaries` are the buckets' upper limits, each included; what is longer than the last is one more bucket,
    whose limit is `longest`. A batch is given out when its bucket is full, as in a stream; what is left over
    in the buckets comes at the end, in smaller batches, in an order drawn from `order` alone.

    >>> plan = bucket_padding(np.array([3, 1, 2, 9]), np.arange(4), batch_size=2, boundaries=[2, 9])
    >>> [(batch.indices.tolist(), batch.padded_length) for batch in plan]
    [([1, 2], 2), ([0, 3], 9)]
    """
    longest = _checked(lengths, batch_size, token_budget, longest)
    boundaries = check_boundaries(boundaries)
    limits = np.array([*boundaries, max(longest, boundaries[-1])])
    bucket_of = np.searchsorted(limits[:-1], lengths[order], side="left")
    full: list[tuple[int, PlannedBatch]] = []  # with the place in the order at which the batch was complete
    rest: list[PlannedBatch] = []
    for bucket in np.unique(bucket_of):
        places = np.flatnonzero(bucket_of == bucket)
        limit = max(1, int(limits[bucket]))
        members = order[places]
        if pad_to_boundary:
            size = batch_size or max(1, (token_budget or 0) // limit)
            plan = [PlannedBatch(members[i : i + size], limit) for i in range(0, len(members), size)]
        else:
            plan = _fill(lengths, members, batch_size, token_budget)
        end = 0
        for batch in plan[:-1]:
            end += len(batch.indices)
            full.append((int(places[end - 1]), batch))
        if batch_size and len(plan[-1].indices) == batch_size:
            full.append((int(places[-1]), plan[-1]))
        else:
            rest.append(plan[-1])
    full.sort(key=lambda item: item[0])
    rest.sort(key=lambda batch: int(np.flatnonzero(order == batch.indices[0])[0]))
    return [batch for _, batch in full] + rest


PADDINGS: dict[str, Callable[..., Plan]] = {
    "global": global_padding,
    "batch": batch_padding,
    "bucket": bucket_padding,
}


def check_boundaries(boundaries: Sequence[int] | None) -> list[int]:
    """The boundaries, or ValueError where they are not rising lengths."""
    given = list(boundaries or [])
    if not given or given != sorted(set(given)) or given[0] < 0:
        raise ValueError(f"boundaries = {boundaries}: must be lengths, each greater than the one before it")
    return given


def _fill(lengths: np.ndarray, order: np.ndarray, batch_size: int | None, token_budget: int | None) -> Plan:
    """Cut `order` into batches of `batch_size`, or as large as the budget allows."""
    if batch_size:
        cuts = range(0, len(order), batch_size)
        parts = [order[i : i + batch_size] for i in cuts]
        return [PlannedBatch(part, max(1, int(lengths[part].max()))) for part in parts]
    assert token_budget is not None
    plan: Plan = []
    start, longest = 0, 1
    for place, length in enumerate(lengths[order].tolist()):
        taller = max(longest, length)
        if place > start and (place - start + 1) * taller > token_budget:
            plan.append(PlannedBatch(order[start:place], longest))
            start, taller = place, max(1, length)
        longest = taller
    if len(order):
        plan.append(PlannedBatch(order[start:], longest))
    return plan


def _checked(
    lengths: np.ndarray, batch_size: int | None, token_budget: int | None, longest: int | None
) -> int:
    """Check the options; the longest example, at least 1."""
    if (batch_size is None) == (token_budget is None):
        raise ValueError(
            f"batch_size = {batch_size}, token_budget = {token_budget}: give exactly one of the two"
        )
    if (batch_size or token_budget or 0) < 1:
        raise ValueError(f"batch_size = {batch_size}, token_budget = {token_budget}: must be 1 or more")
    found = int(lengths.max(initial=0))
    if longest is not None and found > longest:
        raise ValueError(
            f"longest = {longest}: an example has {found} tokens; raise longest, or prepare with max_length"
        )
    return max(1, found if longest is None else longest)
