"""What a histogram predicts, against counting every order, and against random orders."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data import lengths as of_lengths
from workbench.data.lengths import best_boundaries, expected_longest, usual_buckets
from workbench.options.padding import SCHEMAS

histograms = st.dictionaries(st.integers(0, 30), st.integers(1, 9), min_size=1, max_size=8)


def predict(histogram, padding, *, batch_size=1, longest=None, **options):
    options = {name: value for name, value in options.items() if value is not None}
    chosen = SCHEMAS[padding](padding, **options)
    return of_lengths.predict(histogram, chosen, batch_size=batch_size, longest=longest)


def area(lengths, size):
    """Positions of consecutive batches of `size`, each padded to its longest."""
    parts = [lengths[i : i + size] for i in range(0, len(lengths), size)]
    return sum(len(part) * max(1, *part) for part in parts)


@pytest.mark.parametrize("lengths", [[1, 2, 3, 9, 9], [0, 0, 4, 1, 1], [5], [0, 0]])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_batch_padding_is_the_mean_over_all_orders(lengths, size):
    orders = list(itertools.permutations(lengths))
    exact = math.fsum(area(list(order), size) for order in orders) / len(orders)
    predicted = predict(Counter(lengths), "batch", batch_size=size)
    assert predicted.padded_tokens == pytest.approx(exact)
    assert predicted.valid_tokens == sum(lengths)
    assert predicted.batches == math.ceil(len(lengths) / size)
    assert predicted.padding_share == pytest.approx(1 - sum(lengths) / exact)


def test_expected_longest_of_a_large_set():
    draw = np.random.default_rng(1)
    lengths = draw.geometric(0.05, 20_000)
    expected = expected_longest(Counter(lengths.tolist()), 32)
    drawn = np.array([draw.choice(lengths, 32, replace=False).max() for _ in range(4000)])
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / math.sqrt(len(drawn))
    assert expected_longest({7: 100}, 32) == pytest.approx(7)
    with pytest.raises(ValueError, match="size = 4: must be 1 to 3"):
        expected_longest({7: 3}, 4)


def greedy_area(lengths, budget):
    batches, total = [], 0
    for length in lengths:
        if batches and (len(batches[-1]) + 1) * max(1, length, *batches[-1]) <= budget:
            batches[-1].append(length)
        else:
            batches.append([length])
    total = sum(len(batch) * max(1, *batch) for batch in batches)
    return len(batches), total


@pytest.mark.parametrize("budget", [150, 500])
@pytest.mark.parametrize("boundaries", [None, [10, 30]])
def test_token_budget_is_near_the_mean_of_random_orders(budget, boundaries):
    draw = np.random.default_rng(2)
    lengths = draw.geometric(0.06, 600)
    buckets = [lengths]
    if boundaries:
        buckets = [lengths[lengths <= 10], lengths[(lengths > 10) & (lengths <= 30)], lengths[lengths > 30]]
    runs = []
    for _ in range(200):
        parts = [greedy_area(draw.permutation(bucket).tolist(), budget) for bucket in buckets]
        runs.append(np.sum(parts, axis=0))
    mean, spread = np.mean(runs, axis=0), np.std(runs, axis=0) / math.sqrt(200)
    predicted = predict(
        Counter(lengths.tolist()),
        "bucket" if boundaries else "batch",
        token_budget=budget,
        boundaries=boundaries,
    )
    assert abs(predicted.batches - mean[0]) < 6 * spread[0] + 1e-9
    assert abs(predicted.padded_tokens - mean[1]) < 6 * spread[1] + 1e-9


def test_buckets_do_not_mix():
    histogram = {1: 10, 2: 7, 9: 3, 40: 2}
    low, high = {1: 10, 2: 7}, {9: 3, 40: 2}
    parts = [predict(part, "batch", batch_size=4) for part in (low, high)]
    whole = predict(histogram, "bucket", batch_size=4, boundaries=[2, 40])
    assert whole.padded_tokens == pytest.approx(sum(part.padded_tokens for part in parts))
    assert whole.batches == 5 + 2
    to_limit = predict(histogram, "bucket", batch_size=4, boundaries=[2, 40], pad_to_boundary=True)
    assert to_limit.padded_tokens == 17 * 2 + 5 * 40
    open_bucket = predict(histogram, "bucket", batch_size=4, boundaries=[2], longest=50, pad_to_boundary=True)
    assert open_bucket.padded_tokens == 17 * 2 + 5 * 50


def test_global():
    assert predict({1: 3, 10: 1}, "global", batch_size=3).padded_tokens == 40
    assert predict({1: 3, 10: 1}, "global", batch_size=3, longest=20).padded_tokens == 80
    assert predict({1: 3, 10: 1}, "global", token_budget=25).batches == 2
    assert predict({1: 3, 10: 1}, "global", token_budget=10).batches == 4


def test_the_treebanks_waste():
    """Lengths of UD English EWT's kind: about nine tenths wasted globally, two thirds in random batches."""
    draw = np.random.default_rng(0)
    histogram = Counter(np.clip(draw.negative_binomial(1.4, 0.08, 12_544) + 1, 1, 159).tolist())
    waste = {
        name: predict(histogram, name, batch_size=32).padding_share
        for name in ("global", "batch", "bucket", "pooled")
    }
    assert waste["global"] > waste["batch"] > 10 * waste["bucket"] > 40 * waste["pooled"] > 0


@given(histograms, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_best_boundaries_are_the_best_of_all(histogram, buckets):
    def cost(limits):
        return sum(
            n * max(1, min(limit for limit in limits if limit >= length)) for length, n in histogram.items()
        )

    lengths = sorted(histogram)
    choices = itertools.chain.from_iterable(
        itertools.combinations(lengths[:-1], k) for k in range(min(buckets, len(lengths)))
    )
    best = best_boundaries(histogram, buckets)
    assert len(best) <= buckets
    assert best[-1] == lengths[-1]
    assert cost(best) == min(cost([*choice, lengths[-1]]) for choice in choices)


def test_best_boundaries_of_very_many_lengths_are_near_the_best():
    histogram = {length: 1 + length % 7 for length in range(1, 4000)}
    boundaries = best_boundaries(histogram, 16)
    assert len(boundaries) == 16
    assert boundaries[-1] == 3999
    padded = predict(histogram, "bucket", batch_size=1000, boundaries=boundaries, pad_to_boundary=True)
    assert padded.padding_share < 0.06  # equal widths waste half a width a token, 125 of 2125: 0.0588


@pytest.mark.parametrize(("examples", "size", "buckets"), [(576, 32, 8), (12_544, 32, 24), (10**6, 32, 32)])
def test_usual_buckets(examples, size, buckets):
    assert usual_buckets(examples, size) == buckets


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, "batch"), "must have lengths"),
        (({-1: 2}, "batch"), "must have lengths"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        predict(*arguments, batch_size=2)
    with pytest.raises(ValueError, match="boundaries"):
        predict({1: 1}, "bucket", batch_size=2, boundaries=[3, 2])
    with pytest.raises(ValueError, match="buckets = 0"):
        best_boundaries({1: 1}, 0)
