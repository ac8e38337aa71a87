"""Which examples go into which batch, and how far each batch is padded: pure functions of lengths and an order.

    plan(Padding("batch"), lengths, order, batch_size=32) -> [PlannedBatch(indices, padded_length), ...]

Every index of `order` is in exactly one batch. A batch is padded to at least one position, so that one of
empty sequences alone still has a time axis. A padding's `token_budget` takes the place of `batch_size`: a batch
takes examples in order as long as B x T_padded stays within it. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench.data.errors import DataError
from workbench.options.padding import Bucket, Global, Padding, Pooled


class PlannedBatch(NamedTuple):
    """`indices` of the examples, and T of the padded batch."""

    indices: np.ndarray
    padded_length: int


Plan = list[PlannedBatch]


@dataclass(frozen=True)
class Size:
    """How large a batch is: so many examples, or so many positions, padding included; and the longest of all."""

    examples: int | None
    positions: int | None
    longest: int

    def at(self, length: int) -> int:
        """Examples of a batch whose examples all have that length."""
        return self.examples or max(1, (self.positions or 0) // length)


def plan(
    padding: Padding, lengths: np.ndarray, order: np.ndarray, *, batch_size: int, longest: int | None = None
) -> Plan:
    """The batches of one epoch. `longest`: of the data set; None: the longest there is.

    Raises ValueError where an example is longer than `longest` or a global padding's `length`, or where it alone is
    over the token budget; and where a padding breaks a rule of all: each example once, no batch over the budget,
    none padded to less than its longest or to more than all need.

    >>> [batch.padded_length for batch in plan(Padding("batch"), np.array([3, 1, 2]), np.arange(3), batch_size=2)]
    [3, 2]
    """
    size = sized(padding, lengths, batch_size, longest)
    batches = PADDINGS[padding.name](lengths, order, padding, size)
    _check(padding, batches, lengths, order, size)
    return batches


def _check(padding: Padding, batches: Plan, lengths: np.ndarray, order: np.ndarray, size: Size) -> None:
    """Hold a plan to the rules of all paddings."""
    counts = np.array([len(one.indices) for one in batches], np.int64)
    given = np.concatenate([np.zeros(0, np.int64), *(np.asarray(one.indices, np.int64) for one in batches)])
    wrong, count = "", len(lengths)
    if not np.array_equal(np.bincount(given, minlength=count), np.bincount(order, minlength=count)):
        places = f"it gives {len(given)} places for {len(order)}, some twice or never"
        wrong = f"each example must be in one batch: {places}"
    elif not counts.all():
        wrong = "it gives a batch without examples"
    elif len(batches):
        padded = np.array([one.padded_length for one in batches], np.int64)
        longest = np.maximum.reduceat(lengths[given], np.cumsum(counts) - counts)
        most = max(size.longest, *(getattr(padding, "boundaries", None) or [0]))
        if (padded < longest).any():
            place = int(np.argmax(padded < longest))
            wrong = (
                f"it pads a batch whose longest example has {longest[place]} tokens to {padded[place]} steps"
            )
        elif (padded > most).any():
            wrong = f"it pads a batch to {padded.max()} steps, more than the longest that is needed ({most})"
        elif size.positions and (counts * padded > size.positions).any():
            wrong = (
                f"a batch has {(counts * padded).max()} positions, over the token_budget of {size.positions}"
            )
    if wrong:
        raise ValueError(f"padding={padding.name}: {wrong}")


def sized(padding: Padding, lengths: np.ndarray, batch_size: int, longest: int | None = None) -> Size:
    """The size of batches of examples of these lengths, or ValueError."""
    found, budget = int(lengths.max(initial=0)), padding.token_budget
    if longest is not None and found > longest:
        raise ValueError(
            f"longest = {longest}: an example has {found} tokens; raise longest, or prepare with max_length"
        )
    if isinstance(padding, Global) and padding.length is not None:
        check_length(padding, found)
        longest = padding.length
    if budget is not None and found > budget:
        raise ValueError(
            f"token_budget = {budget}: an example has {found} tokens, and would be over it alone; make the budget "
            f"{found} or more, or prepare with a max_length of at most {budget}"
        )
    longest = max(1, found if longest is None else longest)
    return Size(None if budget else batch_size, budget, longest)


def check_length(padding: Padding, longest: int, where: object = "padding=global") -> None:
    """Raise DataError where a global padding's length is less than that of the longest example."""
    length = padding.length if isinstance(padding, Global) else None
    if length is not None and length < longest:
        remedy = f"an example has {longest} tokens; give that or more"
        raise DataError(str(where), "padding.length", length, remedy)


def global_padding(lengths: np.ndarray, order: np.ndarray, padding: Global, size: Size) -> Plan:
    """Every batch to one length: the padding's own, or that of the data set's longest example.

    >>> [batch.padded_length for batch in plan(Global(), np.array([3, 1, 2]), np.arange(3), batch_size=2)]
    [3, 3]
    """
    return _to_limit(order, size, size.longest)


def batch_padding(lengths: np.ndarray, order: np.ndarray, padding: Padding, size: Size) -> Plan:
    """Every batch to its own longest example; with a batch size the same batches as `global_padding` makes."""
    return _fill(lengths, order, size)


def bucket_padding(lengths: np.ndarray, order: np.ndarray, padding: Bucket, size: Size) -> Plan:
    """Batches of examples of like length, padded to the batch's longest, or with `pad_to_boundary` to the bucket's.

    `boundaries` are the buckets' upper limits, each included; what is longer than the last is one more bucket,
    whose limit is `longest`. A batch is given out when its bucket is full, as in a stream; what is left over
    in the buckets comes at the end, in smaller batches, in an order drawn from `order` alone.

    >>> batches = plan(Bucket(boundaries=[2, 9]), np.array([3, 1, 2, 9]), np.arange(4), batch_size=2)
    >>> [(batch.indices.tolist(), batch.padded_length) for batch in batches]
    [([1, 2], 2), ([0, 3], 9)]
    """
    boundaries = check_boundaries(padding.boundaries)
    limits = np.array([*boundaries, max(size.longest, boundaries[-1])])
    bucket_of = np.searchsorted(limits[:-1], lengths[order], side="left")
    full: list[tuple[int, PlannedBatch]] = []  # with the place in the order at which the batch was complete
    rest: list[tuple[int, PlannedBatch]] = []  # with that of its first example
    for bucket in np.unique(bucket_of):
        places = np.flatnonzero(bucket_of == bucket)
        members = order[places]
        if padding.pad_to_boundary:
            batches = _to_limit(members, size, max(1, int(limits[bucket])))
        else:
            batches = _fill(lengths, members, size)
        begin = 0
        for i, batch in enumerate(batches):
            end = begin + len(batch.indices)
            if i < len(batches) - 1 or len(batch.indices) == size.examples:
                full.append((int(places[end - 1]), batch))
            else:
                rest.append((int(places[begin]), batch))
            begin = end
    return [batch for _, batch in [*sorted(full, key=_place), *sorted(rest, key=_place)]]


def pooled_padding(lengths: np.ndarray, order: np.ndarray, padding: Pooled, size: Size) -> Plan:
    """The order in pools of `pool` batches, each sorted by length and cut; the batches of a pool in random order.

    Between pools, within equal lengths and between batches the order stays random. With a batch size, no batch
    has more examples, and some have fewer: a pool is cut where padding and `batch_price` for each batch cost
    least, since cuts of one size put the long tail of lengths into a few wide batches.

    >>> batches = plan(Pooled(batch_price=2), np.array([4, 1, 9, 2]), np.arange(4), batch_size=2)
    >>> sorted((batch.indices.tolist(), batch.padded_length) for batch in batches)
    [([0], 4), ([1, 3], 2), ([2], 9)]
    """
    mean = max(1, round(float(np.mean(lengths[order])))) if len(order) else 1
    many = size.at(mean) * padding.pool
    batches: Plan = []
    for start in range(0, len(order), many):
        pool = order[start : start + many]
        rising = pool[np.argsort(lengths[pool], kind="stable")]
        if size.examples:
            ends = _cheapest_cuts(np.maximum(lengths[rising], 1), size.examples, padding.batch_price)
            cut = _cut(lengths, rising, np.array([0, *ends[:-1]]))
        else:
            cut = _fill(lengths, rising, size)
        shuffle = np.random.default_rng(pool[:8])
        batches += [cut[i] for i in shuffle.permutation(len(cut))]
    return batches


PADDINGS: dict[str, Callable[..., Plan]] = {
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


def _to_limit(order: np.ndarray, size: Size, limit: int) -> Plan:
    """`order` in pieces, each padded to `limit`."""
    many = size.at(limit)
    return [PlannedBatch(order[i : i + many], limit) for i in range(0, len(order), many)]


def _fill(lengths: np.ndarray, order: np.ndarray, size: Size) -> Plan:
    """`order` in pieces of so many examples, or as large as the budget allows, each padded to its longest."""
    if size.examples:
        return _cut(lengths, order, np.arange(0, len(order), size.examples))
    assert size.positions is not None
    starts, start, longest = [0], 0, 1
    for place, length in enumerate(lengths[order].tolist()):
        longest = max(longest, length)
        if (place - start + 1) * longest > size.positions:
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
