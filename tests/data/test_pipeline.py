"""Batches as a training step sees them."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.feed import Feed
from workbench.data.pipeline import ahead, batches
from workbench.data.shards import open_dataset, prepare
from workbench.data.verify import read_split
from workbench.options.data import PARSES, Synthetic, TFRecord
from workbench.options.padding import SCHEMAS, Global, Padding, Pooled

BATCH = Padding("batch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare(Synthetic(examples=100, mean=8, cache_dir=tmp_path_factory.mktemp("cache"), shards=3))


@pytest.mark.parametrize("padding", ["global", "batch", "bucket", "pooled"])
def test_a_step_is_traced_once(folder, padding):
    traces = []

    def step(batch):
        traces.append(batch["inputs"].shape)
        return tf.reduce_sum(batch["inputs"])

    given = TFRecord(batch_size=8), SCHEMAS[padding](padding)
    dataset = batches(folder, "train", *given)
    compiled = tf.function(step, input_signature=[dataset.element_spec])
    for epoch in range(2):
        for batch in batches(folder, "train", *given, epoch=epoch):
            compiled(batch)
    longest = open_dataset(folder).longest
    assert [shape.as_list() for shape in traces] == [[None, longest if padding == "global" else None]]


def test_number_of_shards_does_not_change_a_batch(tmp_path):
    options = {"examples": 60, "mean": 6}
    one, four = (prepare(Synthetic(**options, cache_dir=tmp_path, shards=shards)) for shards in (1, 4))
    for a, b in zip(
        *(batches(made, "train", TFRecord(), BATCH, seed=4) for made in (one, four)), strict=True
    ):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_shards_read_side_by_side_give_the_same_and_a_fault_in_one_names_it(tmp_path):
    folder = prepare(Synthetic(examples=60, mean=6, cache_dir=tmp_path, shards=5))
    manifest = open_dataset(folder)
    alone, together = (list(read_split(folder, "train", manifest, readers=readers)) for readers in (1, 3))
    for one, other in zip(alone, together, strict=True):
        assert one.serialized == other.serialized
    third = folder / manifest.shards[2].file
    third.write_bytes(third.read_bytes()[:-3])
    with pytest.raises(DataError, match=third.name):
        list(read_split(folder, "train", manifest, readers=3))


def test_cardinality_and_longest(folder):
    assert len(batches(folder, "train", TFRecord(batch_size=7), BATCH)) == 13
    [batch] = batches(folder, "validation", TFRecord(batch_size=10), Global(length=300))
    assert batch["inputs"].shape == (10, 300)
    with pytest.raises(DataError, match=r"padding.length = 3: an example has \d+ tokens; give that or more"):
        batches(folder, "validation", TFRecord(), Global(length=3))


def test_refusals(folder):
    with pytest.raises(
        ValueError, match=r"padding.name=bucked: must be one of global, batch, bucket, pooled; did"
    ):
        batches(folder, "train", TFRecord(), Padding("bucked"))
    with pytest.raises(ValueError, match=r"padding.name=bucket: is of Bucket, not of Padding"):
        batches(folder, "train", TFRecord(), Padding("bucket"))
    with pytest.raises(ValueError, match=r"data.parse=two: must be one of cached, vectorised, one"):
        batches(folder, "train", TFRecord(parse="two"), BATCH)
    with pytest.raises(ValueError, match=r"data.batch_size=0: must be at least 1"):
        batches(folder, "train", TFRecord(batch_size=0), BATCH)
    with pytest.raises(ValueError, match="max_examples = 0"):
        batches(folder, "train", TFRecord(), BATCH, max_examples=0)


@pytest.mark.covering(1)
@pytest.mark.parametrize("task", ["tag", "classify"])
@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize("parse", PARSES)
def test_types_and_shapes(tmp_path, task, features, parse):
    folder = prepare(Synthetic(examples=20, features=features, cache_dir=tmp_path, task=task))
    manifest = open_dataset(folder)
    dataset = batches(folder, "train", TFRecord(batch_size=5, parse=parse), BATCH)
    known = {
        "inputs": ([None, None, 3], tf.float32) if features else ([None, None], tf.int32),
        "labels": ([None, None] if task == "tag" else [None], tf.int32),
        "length": ([None], tf.int32),
        "index": ([None], tf.int64),
    }
    assert dataset.element_spec == {name: tf.TensorSpec(*one) for name, one in known.items()}
    for batch in dataset:
        assert all(dataset.element_spec[name].is_compatible_with(batch[name]) for name in known)
        length, labels = batch["length"].numpy(), batch["labels"].numpy()
        assert 0 <= length.min() <= length.max() <= batch["inputs"].shape[1]
        assert 0 <= labels.min() <= labels.max() < len(manifest.labels)
        past = np.arange(batch["inputs"].shape[1]) >= length[:, np.newaxis]
        assert not batch["inputs"].numpy()[past].any(), "padding is 0"


@pytest.mark.slow  # quick: the batches from shards
def test_more_than_memory_mb_is_refused_or_read_from_the_shards(tmp_path):
    """Ids are written as plain numbers, so 2,000 examples of 200 take some megabytes."""
    options = {"lengths": "fixed", "mean": 200, "longest": 200, "examples": 2000}
    folder = prepare(Synthetic(**options, cache_dir=tmp_path, shards=3))
    drawn = {"seed": 2, "max_examples": 300}

    def read(**given):
        return batches(folder, "train", TFRecord(batch_size=100, **given), Pooled(), **drawn)

    with pytest.raises(
        DataError, match=r"splits.train.tokens = .* 3 MB parsed.*memory_mb=1: raise that, or take"
    ):
        read(memory_mb=1)
    held, left = (read(parse="vectorised", memory_mb=memory_mb) for memory_mb in (100, 1))
    assert (held.held, left.held) == ("records", "nothing")
    for one, other in zip(held, left, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    packed = prepare(Synthetic(**{**options, "vocabulary": 9999}, cache_dir=tmp_path, compression="GZIP"))
    with pytest.raises(DataError, match="compression = GZIP: the records of train are more than"):
        batches(packed, "train", TFRecord(parse="vectorised", memory_mb=1), BATCH)


def test_a_split_is_read_once_a_process(tmp_path, monkeypatch):
    folder = prepare(Synthetic(examples=20, cache_dir=tmp_path))
    first = [
        batch["index"].numpy().tolist() for batch in batches(folder, "train", TFRecord(batch_size=5), BATCH)
    ]

    def read_again(*_):
        raise AssertionError("the shards were read again")

    monkeypatch.setattr("workbench.data.held.read_split", read_again)
    assert [
        batch["index"].numpy().tolist() for batch in batches(folder, "train", TFRecord(batch_size=5), BATCH)
    ] == first
    assert list(batches(folder, "train", TFRecord(batch_size=5), Pooled(), epoch=1))


def test_batches_are_made_before_they_are_asked_for():
    made, four = [], threading.Event()

    def make():
        for i in range(20):
            made.append(i)
            if i == 4:
                four.set()
            yield i

    found = ahead(make, batches=4)
    assert next(found) == 0
    assert four.wait(10), "only one batch was asked for"
    assert list(found) == list(range(1, 20))


def test_what_fails_ahead_is_raised_where_the_batch_is_asked_for():
    def made():
        yield 1
        raise RuntimeError("no more")

    found = ahead(made)
    assert next(found) == 1
    with pytest.raises(RuntimeError, match="no more"):
        next(found)


def test_an_epoch_left_early_leaves_no_thread_behind(folder):
    before = threading.active_count()
    for _ in batches(folder, "train", TFRecord(batch_size=1), BATCH):
        break
    assert next(iter(batches(folder, "train", TFRecord(batch_size=1), BATCH)))["index"].shape == (1,)
    assert threading.active_count() == before


def test_what_is_evaluated_may_be_a_part_of_a_split_the_same_each_time(tmp_path):
    folder = prepare(Synthetic(examples=60, mean=4, longest=9, cache_dir=str(tmp_path)))
    sizes = TFRecord(batch_size=8), SCHEMAS["bucket"]("bucket")

    def evaluated(split, examples):
        feed = Feed(folder, *sizes, seed=3, evaluated_examples=examples)
        return [sorted(int(i) for batch in feed.evaluation(split) for i in batch["index"]) for _ in range(2)]

    whole = evaluated("train", None)
    assert whole == [list(range(len(whole[0])))] * 2
    part = evaluated("train", 10)
    assert part[0] == part[1]
    assert len(set(part[0])) == 10
    assert evaluated("validation", 1000) == evaluated("validation", None), "there are fewer"
