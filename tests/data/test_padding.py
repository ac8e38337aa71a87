"""Plans by tables of cases."""

import numpy as np
import pytest

from workbench.data.padding import batch_padding, bucket_padding, global_padding

LENGTHS = np.array([3, 1, 0, 9, 2, 2])


def shown(plan):
    return [(batch.indices.tolist(), batch.padded_length) for batch in plan]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"batch_size": 4}, [([0, 1, 2, 3], 9), ([4, 5], 9)]),
        ({"batch_size": 9}, [([0, 1, 2, 3, 4, 5], 9)]),
        ({"token_budget": 18}, [([0, 1], 9), ([2, 3], 9), ([4, 5], 9)]),
        ({"token_budget": 8}, [([i], 9) for i in range(6)]),
    ],
)
def test_global(size, expected):
    assert shown(global_padding(LENGTHS, np.arange(6), **size)) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"batch_size": 4}, [([0, 1, 2, 3], 9), ([4, 5], 2)]),
        ({"batch_size": 2}, [([0, 1], 3), ([2, 3], 9), ([4, 5], 2)]),
        ({"token_budget": 9}, [([0, 1, 2], 3), ([3], 9), ([4, 5], 2)]),
        ({"token_budget": 4}, [([0], 3), ([1, 2], 1), ([3], 9), ([4, 5], 2)]),
        ({"token_budget": 1}, [([0], 3), ([1], 1), ([2], 1), ([3], 9), ([4], 2), ([5], 2)]),
    ],
)
def test_batch(size, expected):
    assert shown(batch_padding(LENGTHS, np.arange(6), **size)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # limits are included: 2 is in the first bucket, 9 above the last
        ({"batch_size": 2, "boundaries": [2, 5]}, [([1, 2], 1), ([4, 5], 2), ([0], 3), ([3], 9)]),
        (
            {"batch_size": 2, "boundaries": [2, 5], "pad_to_boundary": True, "longest": 12},
            [([1, 2], 2), ([4, 5], 2), ([0], 5), ([3], 12)],
        ),
        ({"token_budget": 6, "boundaries": [2, 9]}, [([0], 3), ([1, 2, 4], 2), ([3], 9), ([5], 2)]),
        ({"batch_size": 3, "boundaries": [100]}, [([0, 1, 2], 3), ([3, 4, 5], 9)]),
    ],
)
def test_bucket(options, expected):
    assert shown(bucket_padding(LENGTHS, np.arange(6), **options)) == expected


def test_a_batch_of_empty_sequences_has_a_time_axis():
    assert shown(batch_padding(np.zeros(2, int), np.arange(2), batch_size=2)) == [([0, 1], 1)]


@pytest.mark.parametrize("boundaries", [None, [], [3, 3], [4, 2], [-1, 2]])
def test_boundaries_must_rise(boundaries):
    with pytest.raises(ValueError, match="boundaries"):
        bucket_padding(LENGTHS, np.arange(6), batch_size=2, boundaries=boundaries)
