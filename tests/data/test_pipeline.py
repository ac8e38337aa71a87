"""Batches as a training step sees them."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.pipeline import PARSES, ahead, batches, check_batch
from workbench.data.shards import open_dataset, prepare, write_dataset
from workbench.data.sources import Example
from workbench.data.verify import read_split
from workbench.options.data import Synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare(Synthetic(examples=100, mean=8, cache_dir=tmp_path_factory.mktemp("cache"), shards=3))


@pytest.mark.parametrize("padding", ["global", "batch", "bucket", "pooled"])
def test_a_step_is_traced_once(folder, padding):
    traces = []

    def step(batch):
        traces.append(batch["inputs"].shape)
        return tf.reduce_sum(batch["inputs"])

    dataset = batches(folder, "train", padding=padding, batch_size=8)
    compiled = tf.function(step, input_signature=[dataset.element_spec])
    for epoch in range(2):
        for batch in batches(folder, "train", padding=padding, batch_size=8, epoch=epoch):
            compiled(batch)
    longest = open_dataset(folder).longest
    assert [shape.as_list() for shape in traces] == [[None, longest if padding == "global" else None]]


def test_number_of_shards_does_not_change_a_batch(tmp_path):
    options = {"examples": 60, "mean": 6}
    one, four = (prepare(Synthetic(**options, cache_dir=tmp_path, shards=shards)) for shards in (1, 4))
    for a, b in zip(batches(one, "train", seed=4), batches(four, "train", seed=4), strict=True):
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
    assert len(batches(folder, "train", batch_size=7)) == 13
    [batch] = batches(folder, "validation", padding="global", batch_size=10, longest=300)
    assert batch["inputs"].shape == (10, 300)
    with pytest.raises(ValueError, match="longest = 3: an example has"):
        batches(folder, "validation", padding="global", longest=3)


def test_refusals(folder):
    with pytest.raises(ValueError, match="padding = 'bucked': must be one of global, batch, bucket, pooled"):
        batches(folder, "train", padding="bucked")
    with pytest.raises(ValueError, match="parse = 'two'"):
        batches(folder, "train", parse="two")
    with pytest.raises(ValueError, match="max_examples = 0"):
        batches(folder, "train", max_examples=0)


@pytest.mark.parametrize("task", ["tag", "classify"])
@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize("parse", PARSES)
def test_types_and_shapes(tmp_path, task, features, parse):
    folder = prepare(Synthetic(examples=20, features=features, cache_dir=tmp_path, task=task))
    manifest = open_dataset(folder)
    dataset = batches(folder, "train", batch_size=5, parse=parse)
    check_batch(dataset.element_spec, manifest)
    for batch in dataset:
        check_batch(batch, manifest)
        assert batch["index"].dtype == tf.int64


def test_check_batch_names_what_is_wrong(tmp_path):
    manifest = write_dataset([Example([1, 2], [0, 1]), Example([3], [1])], tmp_path / "x", name="x")
    good = next(iter(batches(tmp_path / "x", "train", batch_size=2, shuffle=False)))
    check_batch(good, manifest)
    for change, message in [
        ({"labels": None}, "labels = missing"),
        ({"length": tf.constant([2, 1], tf.int64)}, "length.dtype = <dtype: 'int64'>"),
        ({"inputs": tf.zeros([2], tf.int32)}, r"inputs.shape = \(2,\)"),
        ({"length": tf.constant([2, 3])}, r"length = \[2, 3\]: must be 0 to 2"),
        ({"labels": tf.constant([[0, 2], [1, 0]])}, "labels = 0 to 2: must be 0 to 1"),
        ({"inputs": tf.constant([[1, 2], [9, 0]])}, "inputs = 1 to 9: must be 0 to 3"),
        ({"inputs": tf.constant([[1, 2], [3, 3]])}, "inputs = not 0 past an example's end"),
    ]:
        bad = {name: value for name, value in {**good, **change}.items() if value is not None}
        with pytest.raises(DataError, match=message):
            check_batch(bad, manifest)


def test_more_than_memory_mb_is_refused_or_read_from_the_shards(tmp_path):
    """Ids are written as plain numbers, so 2,000 examples of 200 take some megabytes."""
    options = {"lengths": "fixed", "mean": 200, "longest": 200, "examples": 2000}
    folder = prepare(Synthetic(**options, cache_dir=tmp_path, shards=3))
    given = {"padding": "pooled", "seed": 2, "batch_size": 100, "max_examples": 300}
    with pytest.raises(
        DataError, match=r"splits.train.tokens = .* 3 MB parsed.*memory_mb=1: raise that, or take"
    ):
        batches(folder, "train", **given, memory_mb=1)
    held, left = (
        batches(folder, "train", **given, parse="vectorised", memory_mb=memory_mb) for memory_mb in (100, 1)
    )
    assert (held.held, left.held) == ("records", "nothing")
    for one, other in zip(held, left, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    packed = prepare(Synthetic(**{**options, "vocabulary": 9999}, cache_dir=tmp_path, compression="GZIP"))
    with pytest.raises(DataError, match="compression = GZIP: the records of train are more than"):
        batches(packed, "train", parse="vectorised", memory_mb=1)


def test_a_split_is_read_once_a_process(tmp_path, monkeypatch):
    folder = prepare(Synthetic(examples=20, cache_dir=tmp_path))
    first = [batch["index"].numpy().tolist() for batch in batches(folder, "train", batch_size=5)]

    def read_again(*_):
        raise AssertionError("the shards were read again")

    monkeypatch.setattr("workbench.data.held.read_split", read_again)
    assert [batch["index"].numpy().tolist() for batch in batches(folder, "train", batch_size=5)] == first
    assert list(batches(folder, "train", batch_size=5, epoch=1, padding="pooled"))


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
    for _ in batches(folder, "train", batch_size=1):
        break
    assert next(iter(batches(folder, "train", batch_size=1)))["index"].shape == (1,)
    assert threading.active_count() == before
