"""Which examples go into which batch, and how far each batch is padded: pure functions of lengths and an order.

    plan("batch", lengths, order, batch_size=32) -> [PlannedBatch(indices, padded_length), ...]

Every index of `order` is in exactly one batch. A batch is padded to at least one position, so that one of
empty sequences alone still has a time axis. `batch_size` and `token_budget` exclude each other: with a budget a
batch takes examples in order as long as B x T_padded stays within it. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

POOL = 200
BATCH_PRICE = 64


class PlannedBatch(NamedTuple):
    """`indices` of the examples, and T of the padded batch."""

    indices: np.ndarray
    padded_length: int


Plan = list[PlannedBatch]


@dataclass(frozen=True)
class Batching:
    """How large batches are, and what single paddings need besides.

    `batch_size` examples or `token_budget` positions, padding included, a batch: exactly one of the two.
    `longest`: of the data set, T of global padding; None: the longest there is.
    `boundaries`, `pad_to_boundary`: of buckets. `pool`: batches that are sorted together. `batch_price`:
    positions of padding for which one batch more is made, under pooled padding with a batch size.
    """

    batch_size: int | None = None
    token_budget: int | None = None
    longest: int | None = None
    boundaries: Sequence[int] | None = None
    pad_to_boundary: bool = False
    pool: int = POOL
    batch_price: int = BATCH_PRICE


def plan(padding: str, lengths: np.ndarray, order: np.ndarray, **options: object) -> Plan:
    """The batches of one epoch. `padding`: a name in PADDINGS; `options`: those of `Batching`.

    Raises ValueError where options contradict each other, where an example is longer than `longest`, or where
    it alone is over the token budget.

    >>> [batch.padded_length for batch in plan("batch", np.array([3, 1, 2]), np.arange(3), batch_size=2)]
    [3, 2]
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding = {padding!r}: must be one of {', '.join(PADDINGS)}")
    return PADDINGS[padding](lengths, order, checked(Batching(**options), lengths))  # type: ignore[arg-type]


def checked(batching: Batching, lengths: np.ndarray) -> Batching:
    """The same with `longest` filled in, at least 1, or ValueError."""
    size, budget, longest = batching.batch_size, batching.token_budget, batching.longest
    if (size is None) == (budget is None):
        raise ValueError(f"batch_size = {size}, token_budget = {budget}: give exactly one of the two")
    for name in ("batch_size", "token_budget", "pool"):
        value = getattr(batching, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} = {value}: must be 1 or more")
    if batching.batch_price < 0:
        raise ValueError(f"batch_price = {batching.batch_price}: must be 0 or more")
    found = int(lengths.max(initial=0))
    if longest is not None and found > longest:
        raise ValueError(
            f"longest = {longest}: an example has {found} tokens; raise longest, or prepare with max_length"
        )
    if budget is not None and found > budget:
        raise ValueError(
            f"token_budget = {budget}: an example has {found} tokens, and would be over it alone; make the budget "
            f"{found} or more, or prepare with a max_length of at most {budget}"
        )
    return Batching(**{**vars(batching), "longest": max(1, found if longest is None else longest)})


def global_padding(lengths: np.ndarray, order: np.ndarray, batching: Batching) -> Plan:
    """Every batch to `longest`, the longest example of the data set.

    >>> [batch.padded_length for batch in plan("global", np.array([3, 1, 2]), np.arange(3), batch_size=2)]
    [3, 3]
    """
    return _to_limit(order, batching, batching.longest or 1)


def batch_padding(lengths: np.ndarray, order: np.ndarray, batching: Batching) -> Plan:
    """Every batch to its own longest example; with a batch size the same batches as `global_padding` makes."""
    return _fill(lengths, order, batching)


def bucket_padding(lengths: np.ndarray, order: np.ndarray, batching: Batching) -> Plan:
    """Batches of examples of like length, padded to the batch's longest, or with `pad_to_boundary` to the bucket's.

    `boundaries` are the buckets' upper limits, each included; what is longer than the last is one more bucket,
    whose limit is `longest`. A batch is given out when its bucket is full, as in a stream; what is left over
    in the buckets comes at the end, in smaller batches, in an order drawn from `order` alone.

    >>> batches = plan("bucket", np.array([3, 1, 2, 9]), np.arange(4), batch_size=2, boundaries=[2, 9])
    >>> [(batch.indices.tolist(), batch.padded_length) for batch in batches]
    [([1, 2], 2), ([0, 3], 9)]
    """
    boundaries = check_boundaries(batching.boundaries)
    limits = np.array([*boundaries, max(batching.longest or 1, boundaries[-1])])
    bucket_of = np.searchsorted(limits[:-1], lengths[order], side="left")
    full: list[tuple[int, PlannedBatch]] = []  # with the place in the order at which the batch was complete
    rest: list[tuple[int, PlannedBatch]] = []  # with that of its first example
    for bucket in np.unique(bucket_of):
        places = np.flatnonzero(bucket_of == bucket)
        members = order[places]
        if batching.pad_to_boundary:
            batches = _to_limit(members, batching, max(1, int(limits[bucket])))
        else:
            batches = _fill(lengths, members, batching)
        begin = 0
        for i, batch in enumerate(batches):
            end = begin + len(batch.indices)
            if i < len(batches) - 1 or len(batch.indices) == batching.batch_size:
                full.append((int(places[end - 1]), batch))
            else:
                rest.append((int(places[begin]), batch))
            begin = end
    return [batch for _, batch in [*sorted(full, key=_place), *sorted(rest, key=_place)]]


def pooled_padding(lengths: np.ndarray, order: np.ndarray, batching: Batching) -> Plan:
    """The order in pools of `pool` batches, each sorted by length and cut; the batches of a pool in random order.

    Between pools, within equal lengths and between batches the order stays random. With a batch size, no batch
    has more examples, and some have fewer: a pool is cut where padding and `batch_price` for each batch cost
    least, since cuts of one size put the long tail of lengths into a few wide batches.

    >>> batches = plan("pooled", np.array([4, 1, 9, 2]), np.arange(4), batch_size=2, batch_price=2)
    >>> sorted((batch.indices.tolist(), batch.padded_length) for batch in batches)
    [([0], 4), ([1, 3], 2), ([2], 9)]
    """
    mean = max(1, round(float(np.mean(lengths[order])))) if len(order) else 1
    size = batching.batch_size or max(1, (batching.token_budget or 0) // mean)
    batches: Plan = []
    for start in range(0, len(order), size * batching.pool):
        pool = order[start : start + size * batching.pool]
        rising = pool[np.argsort(lengths[pool], kind="stable")]
        if batching.batch_size:
            ends = _cheapest_cuts(np.maximum(lengths[rising], 1), batching.batch_size, batching.batch_price)
            cut = _cut(lengths, rising, np.array([0, *ends[:-1]]))
        else:
            cut = _fill(lengths, rising, batching)
        shuffle = np.random.default_rng(pool[:8])
        batches += [cut[i] for i in shuffle.permutation(len(cut))]
    return batches


PADDINGS: dict[str, Callable[[np.ndarray, np.ndarray, Batching], Plan]] = {
    "global": global_padding,
    "batch": batch_padding,
    "bucket": bucket_padding,
    "pooled": pooled_padding,
}


def check_boundaries(boundaries: Sequence[int] | None) -> list[int]:
    """The boundaries, or ValueError where they are not rising lengths."""
    given = list(boundaries or [])
    if not given or given != sorted(set(given)) or given[0] < 0:
        raise ValueError(f"boundaries = {boundaries}: must be lengths, each greater than the one before it")
    return given


def _place(placed: tuple[int, PlannedBatch]) -> int:
    return placed[0]


def _to_limit(order: np.ndarray, batching: Batching, limit: int) -> Plan:
    """`order` in pieces, each padded to `limit`."""
    size = batching.batch_size or max(1, (batching.token_budget or 0) // limit)
    return [PlannedBatch(order[i : i + size], limit) for i in range(0, len(order), size)]


def _fill(lengths: np.ndarray, order: np.ndarray, batching: Batching) -> Plan:
    """`order` in pieces of `batch_size`, or as large as the budget allows, each padded to its longest."""
    if batching.batch_size:
        return _cut(lengths, order, np.arange(0, len(order), batching.batch_size))
    assert batching.token_budget is not None
    starts, start, longest = [0], 0, 1
    for place, length in enumerate(lengths[order].tolist()):
        longest = max(longest, length)
        if (place - start + 1) * longest > batching.token_budget:
            start, longest = place, max(1, length)
            starts.append(start)
    return _cut(lengths, order, np.array(starts))


def _cut(lengths: np.ndarray, order: np.ndarray, starts: np.ndarray) -> Plan:
    """The pieces of `order` that begin at `starts`, each padded to its longest."""
    if not len(order):
        return []
    longest = np.maximum(np.maximum.reduceat(lengths[order], starts), 1).tolist()
    ends = [*starts[1:].tolist(), len(order)]
    pieces = zip(starts.tolist(), ends, longest, strict=True)
    return [PlannedBatch(order[start:end], tall) for start, end, tall in pieces]


def _cheapest_cuts(rising: np.ndarray, size: int, price: int) -> list[int]:
    """Ends of batches of at most `size`, for which their positions and `price` for each batch are least.

    Some cheapest cut has only batches that are full or end where the length changes (any other could take over
    from the next, at no cost, examples as long as its own longest). So between two changes at which a batch ends,
    all batches but the last are full, and a dynamic programme over pairs of changes finds the best; lengths^2.
    """
    count = len(rising)
    changes = np.array([0, *(np.flatnonzero(np.diff(rising)) + 1), count])
    # full[i]: positions of the full batches from i on, batch after batch
    rows = -(-(count + 1) // size) + 1
    full = np.zeros(rows * size, np.int64)
    full[: max(0, count - size + 1)] = size * rising[size - 1 :]
    full = full.reshape(rows, size)[::-1].cumsum(axis=0)[::-1].reshape(-1)
    cost, came_from = np.zeros(len(changes)), np.zeros(len(changes), np.int64)
    for j in range(1, len(changes)):
        begins, end = changes[:j], changes[j]
        whole = (end - begins) // size
        left = end - begins - whole * size
        more = full[begins] - full[begins + whole * size] + left * rising[end - 1]
        costs = cost[:j] + more + price * (whole + (left > 0))
        came_from[j] = np.argmin(costs)
        cost[j] = costs[came_from[j]]
    ends: list[int] = []
    j = len(changes) - 1
    while j:
        begin, end = int(changes[came_from[j]]), int(changes[j])
        ends = [*range(begin + size, end, size), end, *ends]
        j = int(came_from[j])
    return ends
