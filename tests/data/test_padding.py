"""Plans by tables of cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.padding import plan
from workbench.options.padding import SCHEMAS

LENGTHS = np.array([3, 1, 0, 9, 2, 2])


def planned(padding, lengths, order, *, batch_size=1, longest=None, **options):
    return plan(SCHEMAS[padding](padding, **options), lengths, order, batch_size=batch_size, longest=longest)


def shown(batches):
    return [(batch.indices.tolist(), batch.padded_length) for batch in batches]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"batch_size": 4}, [([0, 1, 2, 3], 9), ([4, 5], 9)]),
        ({"batch_size": 9}, [([0, 1, 2, 3, 4, 5], 9)]),
        ({"token_budget": 18}, [([0, 1], 9), ([2, 3], 9), ([4, 5], 9)]),
        ({"token_budget": 9}, [([i], 9) for i in range(6)]),
    ],
)
def test_global(size, expected):
    assert shown(planned("global", LENGTHS, np.arange(6), **size)) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"batch_size": 4}, [([0, 1, 2, 3], 9), ([4, 5], 2)]),
        ({"batch_size": 2}, [([0, 1], 3), ([2, 3], 9), ([4, 5], 2)]),
        ({"token_budget": 9}, [([0, 1, 2], 3), ([3], 9), ([4, 5], 2)]),
    ],
)
def test_batch(size, expected):
    assert shown(planned("batch", LENGTHS, np.arange(6), **size)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # limits are included: 2 is in the first bucket, 9 above the last
        ({"batch_size": 2, "boundaries": [2, 5]}, [([1, 2], 1), ([4, 5], 2), ([0], 3), ([3], 9)]),
        (
            {"batch_size": 2, "boundaries": [2, 5], "pad_to_boundary": True, "longest": 12},
            [([1, 2], 2), ([4, 5], 2), ([0], 5), ([3], 12)],
        ),
        ({"token_budget": 9, "boundaries": [2, 9]}, [([0], 3), ([1, 2, 4, 5], 2), ([3], 9)]),
        ({"batch_size": 3, "boundaries": [100]}, [([0, 1, 2], 3), ([3, 4, 5], 9)]),
    ],
)
def test_bucket(options, expected):
    assert shown(planned("bucket", LENGTHS, np.arange(6), **options)) == expected


def test_what_is_left_in_buckets_comes_in_the_order_of_the_examples():
    """Not bucket by bucket: each epoch would then end with its longest."""
    found = [
        shown(planned("bucket", np.array([9, 1]), np.array(order), boundaries=[2], batch_size=2))
        for order in ([0, 1], [1, 0])
    ]
    assert found == [[([0], 9), ([1], 1)], [([1], 1), ([0], 9)]]


def test_a_batch_of_empty_sequences_has_a_time_axis():
    assert shown(planned("batch", np.zeros(2, int), np.arange(2), batch_size=2)) == [([0, 1], 1)]


@pytest.mark.parametrize("boundaries", [None, [], [3, 3], [4, 2], [-1, 2]])
def test_boundaries_must_rise(boundaries):
    with pytest.raises(ValueError, match="boundaries"):
        planned("bucket", LENGTHS, np.arange(6), batch_size=2, boundaries=boundaries)


def cheapest(rising, size, price):
    """The least cost of cutting `rising` into batches, trying every last batch."""
    best = [0]
    for end in range(1, len(rising) + 1):
        begins = range(max(0, end - size), end)
        best.append(min(best[i] + (end - i) * max(1, rising[end - 1]) + price for i in begins))
    return best[-1]


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=40).map(np.array),
    size=st.integers(1, 8),
    price=st.integers(0, 40),
)
def test_a_pool_is_cut_where_it_costs_least(lengths, size, price):
    batches = planned("pooled", lengths, np.arange(len(lengths)), batch_size=size, batch_price=price)
    cost = sum(len(batch.indices) * batch.padded_length + price for batch in batches)
    assert cost == cheapest(sorted(lengths.tolist()), size, price)


def test_pools_keep_the_order_between_them_and_shuffle_within():
    lengths = np.random.default_rng(0).integers(1, 50, 400)
    order = np.random.default_rng(1).permutation(400)
    options = {"batch_size": 8, "batch_price": 10_000}
    pools = planned("pooled", lengths, order, pool=10, **options)
    assert [len(batch.indices) for batch in pools] == [8] * 50
    for k in range(5):
        members = np.concatenate([batch.indices for batch in pools[10 * k : 10 * k + 10]])
        assert set(members) == set(order[80 * k : 80 * k + 80])
        tall = [batch.padded_length for batch in pools[10 * k : 10 * k + 10]]
        assert tall not in (sorted(tall), sorted(tall, reverse=True))
    # equal lengths stay in the order's order, so which of them share a batch is random
    [*same] = planned("pooled", np.ones(20, int), order[order < 20], batch_size=5)
    assert {tuple(batch.indices) for batch in same} == {
        tuple(order[order < 20][i : i + 5]) for i in range(0, 20, 5)
    }
