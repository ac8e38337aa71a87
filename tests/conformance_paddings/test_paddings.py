"""Every padding of the table, fed by it: what must hold however batches are made."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.lengths import predict
from workbench.data.padding import PADDINGS, plan
from workbench.data.pipeline import batches, example_order, plan_batches
from workbench.data.shards import open_dataset, prepare
from workbench.options.data import PARSES, Synthetic, TFRecord
from workbench.options.padding import SCHEMAS

SIZES = [{"batch_size": 7}, {"batch_size": 1}, {"token_budget": 300}, {"token_budget": 90}]
lengths_ = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(np.array)


def padding_of(name, **options):
    """The padding's options; of `options` those that it has."""
    has = {field.name for field in dataclasses.fields(SCHEMAS[name])}
    return SCHEMAS[name](name, **{key: value for key, value in options.items() if key in has})


def of(name, *, batch_size=32, parse="cached", **options):
    """How the split is read, and how it is padded."""
    return TFRecord(batch_size=batch_size, parse=parse), padding_of(name, **options)


every_padding = pytest.mark.parametrize("padding", PADDINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    options = {"lengths": "geometric", "mean": 9, "minimum": 0, "examples": 120}
    return prepare(Synthetic(**options, cache_dir=tmp_path_factory.mktemp("cache"), shards=3))


@st.composite
def cases(draw):
    lengths = draw(lengths_)
    size = draw(
        st.one_of(
            st.fixed_dictionaries({"batch_size": st.integers(1, 20)}),
            st.fixed_dictionaries({"token_budget": st.integers(50, 300)}),
        )
    )
    boundaries = sorted(draw(st.sets(st.integers(0, 45), min_size=1, max_size=5)))
    return (
        lengths,
        example_order(len(lengths), draw(st.integers(0, 9)), 0),
        size,
        boundaries,
        draw(st.booleans()),
    )


@every_padding
@given(case=cases())
@settings(max_examples=80, deadline=None)
def test_plans(padding, case):
    lengths, order, size, boundaries, to_boundary = case
    data, chosen = of(padding, **size, boundaries=boundaries, pad_to_boundary=to_boundary)
    planned = plan(chosen, lengths, order, batch_size=data.batch_size, longest=50)
    given_out = np.concatenate([batch.indices for batch in planned])
    assert sorted(given_out.tolist()) == list(range(len(lengths))), "each example exactly once"
    for batch in planned:
        assert batch.padded_length >= max(1, lengths[batch.indices].max()), "nothing is cut off"
        assert batch.padded_length <= 50
        if "token_budget" in size:
            assert len(batch.indices) * batch.padded_length <= size["token_budget"]
        else:
            assert len(batch.indices) <= size["batch_size"]
        if padding == "bucket":
            buckets = np.searchsorted(boundaries, lengths[batch.indices])
            assert len(set(buckets.tolist())) == 1, "buckets do not mix"


@every_padding
@pytest.mark.parametrize("size", SIZES)
def test_an_epoch_gives_each_example_once_and_as_it_is(folder, padding, size):
    manifest = open_dataset(folder)
    stored = {}
    for batch in batches(folder, "train", *of("batch", batch_size=1), shuffle=False):
        stored[int(batch["index"][0])] = (batch["inputs"][0].numpy(), batch["labels"][0].numpy())
    seen = Counter()
    for batch in batches(folder, "train", *of(padding, **size), seed=3):
        past = np.arange(batch["inputs"].shape[1]) >= batch["length"].numpy()[:, np.newaxis]
        for name in ("inputs", "labels"):
            assert not batch[name].numpy()[past].any(), "padding is 0"
        for index, length, inputs, labels in zip(
            *(batch[k].numpy() for k in ("index", "length", "inputs", "labels")), strict=True
        ):
            seen[int(index)] += 1
            np.testing.assert_array_equal(inputs[:length], stored[int(index)][0][:length])
            np.testing.assert_array_equal(labels[:length], stored[int(index)][1][:length])
    assert seen == Counter(range(manifest.splits["train"].examples))


@pytest.mark.covering(1)
@every_padding
@pytest.mark.parametrize("size", SIZES)
def test_every_way_to_parse_gives_equal_batches(folder, padding, size):
    options = {**size, "boundaries": [4, 12], "pad_to_boundary": True}
    cached, *others = (
        batches(folder, "validation", *of(padding, **options, parse=parse), seed=1) for parse in PARSES
    )
    others.append(cached.dataset())
    for fast, *slow in zip(cached, *others, strict=True):
        for other in slow:
            assert list(fast) == list(other) == list(cached.element_spec)
            for name in fast:
                np.testing.assert_array_equal(fast[name], other[name], err_msg=name)
                assert cached.element_spec[name].is_compatible_with(fast[name])


@every_padding
def test_seed_and_epoch_make_the_order_and_nothing_else_does(folder, padding):
    def indices(**arguments):
        return [batch.indices.tolist() for batch in plan_batches(folder, "train", *of(padding), **arguments)]

    def served(parse="cached", **arguments):
        return [
            batch["index"].numpy().tolist()
            for batch in batches(folder, "train", *of(padding, parse=parse), **arguments)
        ]

    assert indices(seed=1) == indices(seed=1) == served(seed=1) == served(seed=1, parse="one")
    assert indices(seed=1) != indices(seed=2)
    assert indices(seed=1, epoch=1) != indices(seed=1)
    assert indices(seed=1, shuffle=False) == indices(seed=2, epoch=4, shuffle=False)


@every_padding
def test_a_part_is_drawn_by_the_seed_and_is_the_same_for_every_padding_and_epoch(folder, padding):
    def part(count, name=padding, batch_size=32, **arguments):
        plan = plan_batches(
            folder, "train", *of(name, batch_size=batch_size), **{"seed": 1, **arguments}, max_examples=count
        )
        return sorted(np.concatenate([batch.indices for batch in plan]).tolist())

    ten = part(10)
    assert len(set(ten)) == 10
    assert ten != list(range(10)), "not the first"
    assert ten != part(10, seed=2)
    assert ten == part(10, epoch=3) == part(10, shuffle=False) == part(10, "global", batch_size=3)
    assert set(ten) < set(part(30))
    everything = open_dataset(folder).splits["train"].examples
    assert part(everything + 1) == part(None) == list(range(everything))
    served = batches(folder, "train", *of(padding, batch_size=4), seed=1, max_examples=10)
    assert sorted(np.concatenate([batch["index"] for batch in served]).tolist()) == ten


def test_global_and_batch_have_the_same_batches(folder):
    """The arms of a pair see the same examples in the same batches; only T differs."""
    one, other = (
        plan_batches(folder, "train", *of(name, batch_size=7), seed=5) for name in ("global", "batch")
    )
    assert [batch.indices.tolist() for batch in one] == [batch.indices.tolist() for batch in other]


@every_padding
@pytest.mark.parametrize("size", [{"batch_size": 7}, {"token_budget": 90}])
def test_the_histogram_predicts_the_padding(folder, padding, size):
    manifest = open_dataset(folder)
    areas, (data, chosen) = [], of(padding, **size)
    for epoch in range(60):
        plan = plan_batches(folder, "train", data, chosen, epoch=epoch)
        areas.append(sum(len(batch.indices) * batch.padded_length for batch in plan))
    histogram = manifest.splits["train"].histogram
    predicted = predict(histogram, chosen, batch_size=data.batch_size, longest=manifest.longest)
    assert predicted.padded_tokens == pytest.approx(
        np.mean(areas), abs=6 * np.std(areas) / np.sqrt(60) + 1e-9
    )


@every_padding
def test_refusals(padding):
    lengths, order = np.array([3, 5]), np.arange(2)

    def planned(longest=None, **options):
        return plan(
            padding_of(padding, boundaries=[4], **options), lengths, order, batch_size=2, longest=longest
        )

    with pytest.raises(ValueError, match=r"padding.token_budget=0: must be at least 1"):
        planned(token_budget=0)
    with pytest.raises(ValueError, match="longest = 4: an example has 5 tokens"):
        planned(longest=4)
    with pytest.raises(ValueError, match=r"token_budget = 4: an example has 5 tokens, .* 5 or more"):
        planned(token_budget=4)
