"""Data sets on disk: round trip, the cache and its lock, and every kind of damage with its message."""

import errno
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from workbench.data import shards as module
from workbench.data import verify
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, load_manifest
from workbench.data.pipeline import batches
from workbench.data.shards import index_shards, open_dataset, prepare, verify_examples, write_dataset
from workbench.data.sources import SOURCES, Example, text
from workbench.options.data import PythonSource, Synthetic, Text, TFRecord, UniversalDependencies
from workbench.options.padding import Padding

BATCH = Padding("batch")
OPENED = TFRecord(), BATCH
GUIDE = [Example([1, 2, 3], [0, 1, 0]), Example([4, 5, 1], [1, 0, 0]), Example([1, 2], [1, 1])]
SMALL = {"examples": 40, "mean": 5}


@pytest.fixture
def folder(tmp_path):
    write_dataset({"train": GUIDE, "validation": GUIDE[1:2]}, tmp_path / "guide", name="guide", shards=2)
    return tmp_path / "guide"


def unpadded(folder, split="train"):
    """Each example as it comes out of the pipeline."""
    found = []
    for batch in batches(folder, split, TFRecord(batch_size=2), BATCH, shuffle=False):
        for inputs, labels, length in zip(
            *(batch[k].numpy() for k in ("inputs", "labels", "length")), strict=True
        ):
            found.append((inputs[:length].tolist(), (labels[:length] if labels.ndim else labels).tolist()))
    return found


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # errors cross from worker processes
    assert str(again) == str(caught.value)


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """It would lie under the hash of what it was before."""
    file, its = tmp_path / "corpus.txt", text.SOURCE

    def written_to(*given):
        file.write_text("".join(f"omega {number}\n" for number in range(40)))
        return its.read(*given)

    file.write_text("".join(f"alpha {number}\n" for number in range(40)))
    options = Text(path=str(file), cache_dir=str(tmp_path / "cache"))
    with monkeypatch.context() as changed:
        changed.setattr(text, "SOURCE", replace(its, read=written_to))
        refused(lambda: prepare(options), "source", "changed while it was read")
    assert "omega" in load_manifest(prepare(options)).vocabulary


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_the_guides_three_sequences_come_back(tmp_path, compression):
    write_dataset(GUIDE, tmp_path / "guide", name="guide", shards=2, compression=compression)
    verify_examples(tmp_path / "guide")
    assert unpadded(tmp_path / "guide") == [(example.inputs, example.labels) for example in GUIDE]
    manifest = open_dataset(tmp_path / "guide")
    assert manifest.splits["train"].histogram == {2: 1, 3: 2}
    assert manifest.splits["train"].label_counts == (4, 4)
    assert manifest.class_zero_in_use


def test_first_class_leaves_zero_to_padding(tmp_path):
    write_dataset(GUIDE, tmp_path / "guide", name="guide", first_class=1)
    manifest = verify_examples(tmp_path / "guide")
    assert manifest.labels == ["<pad>", "0", "1"]
    assert not manifest.class_zero_in_use
    assert [labels for _, labels in unpadded(tmp_path / "guide")] == [[1, 2, 1], [2, 1, 1], [2, 2]]


def test_symbols_and_label_names(tmp_path):
    examples = {"train": [Example("aab", ["X", "Y", "X"])], "validation": [Example("ac", ["Y", "Y"])]}
    manifest = write_dataset(examples, tmp_path / "symbols", name="symbols")
    assert manifest.vocabulary == ["<pad>", "<unk>", "a", "b"]
    assert unpadded(tmp_path / "symbols", "validation") == [([2, 1], [1, 1])]


def test_features_and_classes(tmp_path):
    examples = [Example(np.full((n, 3), n / 4, np.float32), n % 2) for n in (1, 2, 5)]
    write_dataset(examples, tmp_path / "features", name="f", task="classify", feature_size=3)
    verify_examples(tmp_path / "features")
    assert unpadded(tmp_path / "features") == [([[n / 4] * 3] * n, n % 2) for n in (1, 2, 5)]


def test_the_same_data_set_twice_is_the_same_bytes(tmp_path):
    folders = [prepare(Synthetic(**SMALL, cache_dir=tmp_path / name, compression="GZIP")) for name in "ab"]
    manifests = [open_dataset(folder) for folder in folders]
    assert manifests[0] == manifests[1]
    assert (folders[0] / MANIFEST).read_bytes() == (folders[1] / MANIFEST).read_bytes()
    assert str(tmp_path) not in (folders[0] / MANIFEST).read_text()


def test_the_bytes_of_a_shard_do_not_depend_on_the_process(tmp_path):
    """Protobuf gives a map's entries in an order of the process, unless it is told not to."""
    folder = prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    shards = [str(folder / shard.file) for shard in open_dataset(folder).shards]
    records = [one.numpy() for one in tf.data.TFRecordDataset(shards)]
    assert len(records) == 40
    for record in records:
        assert tf.train.SequenceExample.FromString(record).SerializeToString(deterministic=True) == record


def test_prepare_finds_what_it_has_built(tmp_path, monkeypatch):
    folder = prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    monkeypatch.setattr(module, "_write", None)  # a second build would fail
    assert prepare(Synthetic(**SMALL, cache_dir=tmp_path)) == folder
    manifest = open_dataset(folder)
    assert (manifest.splits["train"].examples, manifest.splits["validation"].examples) == (36, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".locks", folder.name])


@pytest.mark.parametrize(
    "change",
    [
        {"split_seed": 1}, {"shards": 1}, {"max_length": 4}, {"max_length": 4, "over_length": "split"},
        {"first_class": 1}, {"validation_share": 0.5}, {"max_examples": 10}, {"task": "classify"},
        {"compression": "GZIP"},
    ],
)  # fmt: skip
def test_whatever_bears_on_the_content_makes_another_folder(tmp_path, change):
    one, other = (
        prepare(Synthetic(**SMALL, cache_dir=tmp_path)),
        prepare(Synthetic(**SMALL, cache_dir=tmp_path, **change)),
    )
    assert one != other
    verify_examples(other)
    if "max_examples" in change:
        assert sum(split.examples for split in open_dataset(other).splits.values()) == 10


def test_data_of_anyone_is_used_in_place(folder):
    before = sorted(path.name for path in folder.iterdir())
    assert prepare(TFRecord(path=str(folder))) == folder
    assert sorted(path.name for path in folder.iterdir()) == before
    refused(lambda: prepare(TFRecord(path=folder), task="classify"), MANIFEST, "task = tag", "leave task")
    refused(lambda: prepare(TFRecord()), "path", "the folder of the manifest")
    refused(lambda: prepare(TFRecord(path=folder, test=True)), "splits = ", "no test split")
    refused(lambda: prepare(TFRecord(path=folder.parent / "none")), MANIFEST, "missing")


def test_a_classification_data_set_is_used_in_place(tmp_path):
    """The task is the manifest's, where none is asked for."""
    examples = [Example([1, 2], 0), Example([3], 1)]
    write_dataset(examples, tmp_path / "theirs", name="theirs", task="classify")
    for task in (None, "classify"):
        assert load_manifest(prepare(TFRecord(path=tmp_path / "theirs"), task=task)).task == "classify"
    refused(
        lambda: prepare(TFRecord(path=tmp_path / "theirs"), task="tag"),
        "task = classify",
        "leave task",
    )


def test_without_a_task_a_source_gives_its_own(tmp_path):
    assert prepare(Synthetic(**SMALL, cache_dir=tmp_path)) == prepare(
        Synthetic(**SMALL, cache_dir=tmp_path, task="tag")
    )


def test_examples_are_stored_in_an_order_drawn_by_the_seed(tmp_path):
    """Not in the order in which the source gives them, so that any first part is a random sample."""
    source = tmp_path / "xx-train.conllu"
    source.write_text("\n".join(f"1\tw{n}\t_\tNOUN\n" for n in range(200)))
    options = {"path": source, "min_count": 1}

    def stored(seed, cache):
        folder = prepare(UniversalDependencies(**options, cache_dir=tmp_path / cache, split_seed=seed))
        vocabulary = load_manifest(folder).vocabulary
        return [vocabulary[ids[0]] for ids, _ in unpadded(folder)]

    corpus = SOURCES["ud_english_ewt"].read(
        UniversalDependencies(**options), "tag", {"train": None, "validation": None}
    )
    as_read = [example.inputs[0] for example in corpus.splits["train"]]
    assert sorted(stored(0, "a")) == sorted(as_read)
    assert stored(0, "a") != as_read
    assert stored(0, "a") == stored(0, "b") != stored(1, "a")


def test_a_run_reads_every_shard_once(tmp_path, monkeypatch):
    """To find a data set is not to verify it; to open it is."""
    folder = prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    hashed = []
    monkeypatch.setattr(verify, "sha256", lambda path: hashed.append(path.name) or module.sha256(path))
    prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    prepare(TFRecord(path=folder))
    assert hashed == []
    open_dataset(folder)
    assert sorted(hashed) == sorted(shard.file for shard in load_manifest(folder).shards)


def _prepare_slowly(cache, started, done):
    """In another process: count the builds."""
    from workbench.data import shards

    write = shards._write

    def counting(*args, **kwargs):
        started.wait(20)
        with open(done, "a") as stream:
            stream.write("built\n")
        return write(*args, **kwargs)

    shards._write = counting
    shards.prepare(Synthetic(examples=40, mean=5, cache_dir=cache))


@pytest.mark.slow
def test_two_processes_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Event()
    arguments = (tmp_path / "cache", barrier, tmp_path / "done")
    processes = [context.Process(target=_prepare_slowly, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    threading.Timer(3, barrier.set).start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "done").read_text() == "built\n"


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_counts(tmp_path):
    code = f"""
import os
from workbench.data import shards
from workbench.data.manifest import Manifest
from workbench.options.data import Synthetic
Manifest.write = lambda self, folder: os.kill(os.getpid(), 9)
shards.prepare(Synthetic(**{SMALL}, cache_dir={str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    [left] = [path for path in tmp_path.iterdir() if path.name != ".locks"]
    assert left.name.startswith(".synthetic")
    prepare(
        Synthetic(**{**SMALL, "mean": 6}, cache_dir=tmp_path)
    )  # of another data set: cleaned all the same
    assert not left.exists()
    folder = prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    verify_examples(folder)


def test_what_another_process_builds_is_not_cleaned_away(tmp_path):
    folder = prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    building = tmp_path / f".{folder.name}.building-x"
    building.mkdir()
    with module._lock(tmp_path, folder.name):
        module._remove_leftovers(tmp_path, "another")
        assert building.exists()
    module._remove_leftovers(tmp_path, "another")
    assert not building.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left"),
    ],
)
def test_a_full_disk(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(module, "sync", full)
    refused(
        lambda: prepare(Synthetic(**SMALL, cache_dir=tmp_path)),
        str(tmp_path),
        "free space",
        "needed",
        "data.cache_dir",
    )
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]


def test_too_little_space_is_seen_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    refused(lambda: prepare(Synthetic(**SMALL, cache_dir=tmp_path)), "1 bytes", "needed")


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    refused(lambda: prepare(Synthetic(**SMALL, cache_dir=tmp_path / "file")), "file", "data.cache_dir")


def edit(folder, change):
    path = folder / MANIFEST
    content = json.loads(path.read_text())
    content.pop("fingerprint")
    change(content)
    path.write_text(json.dumps(content))


def first_shard(folder):
    return folder / load_manifest(folder).shards[0].file


def test_damaged_files(folder):
    path = first_shard(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    refused(lambda: open_dataset(folder), path.name, "shards[0].bytes", "truncated", "from a backup")
    path.write_bytes(whole[:-3] + b"abc")
    refused(lambda: open_dataset(folder), path.name, "shards[0].sha256", "damaged")
    assert open_dataset(folder, verify=False).name == "guide"
    refused(
        lambda: list(batches(folder, "train", *OPENED)),
        path.name,
        "record",
        "unreadable",
    )
    path.unlink()
    refused(lambda: open_dataset(folder), path.name, "shards[0].file", "missing")
    refused(lambda: list(batches(folder, "train", *OPENED)), path.name, "unreadable")
    path.mkdir()
    refused(lambda: open_dataset(folder), path.name)


def test_a_truncated_shard_whose_manifest_was_made_to_fit(folder):
    """The last record is cut, and size and checksum agree: TFRecord's own framing tells."""
    path = first_shard(folder)
    path.write_bytes(path.read_bytes()[:-3])
    whole = module.sha256(path)
    edit(folder, lambda m: m["shards"][0].update(bytes=path.stat().st_size, sha256=whole))
    refused(lambda: verify_examples(folder), path.name, "record", "unreadable")


def test_a_damaged_cache_is_not_built_over(tmp_path):
    folder = prepare(Synthetic(**SMALL, cache_dir=tmp_path))
    path = first_shard(folder)
    path.write_bytes(path.read_bytes()[:-1])
    assert prepare(Synthetic(**SMALL, cache_dir=tmp_path)) == folder
    refused(lambda: open_dataset(folder), path.name, "remove the folder first")
    (folder / MANIFEST).write_text("{")
    refused(lambda: prepare(Synthetic(**SMALL, cache_dir=tmp_path)), MANIFEST, "unreadable")


def write_records(folder, *protos):
    """Shards of another program, wrong in some way."""
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for proto in protos:
            writer.write(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return folder


def ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def proto(inputs=(2, 3), labels=(0, 1), length=None, label=None):
    lists = {"inputs": tf.train.FeatureList(feature=[ints([value]) for value in inputs])}
    context = {"length": ints([len(inputs) if length is None else length])}
    if label is None:
        lists["labels"] = tf.train.FeatureList(feature=[ints([value]) for value in labels])
    else:
        context["labels"] = ints([label])
    return tf.train.SequenceExample(
        context=tf.train.Features(feature=context), feature_lists=tf.train.FeatureLists(feature_list=lists)
    )


GOOD = proto()


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        (proto(labels=(0, 2)), ["example 1", "labels[1] = 2", "outside the classes, 0 to 1"]),
        (proto(labels=(-1, 0)), ["example 1", "labels[0] = -1", "outside the classes"]),
        (proto(inputs=(2, 9)), ["example 1", "inputs[1] = 9", "outside the vocabulary, 0 to 4"]),
        (proto(labels=(0, 1, 1)), ["example 1", "labels = 3", "length says 2"]),
        (proto(length=5), ["example 1", "inputs = 2", "length says 5"]),
        (b"no proto", ["example 1: record = a text, b'no proto'", "must be a SequenceExample"]),
        (tf.train.SequenceExample(), ["example 1: length = missing", "its context is empty"]),
    ],
)
def test_examples_that_are_not_what_the_manifest_says(tmp_path, bad, parts):
    folder = write_records(tmp_path / "theirs", GOOD, bad, GOOD)
    arguments = {"name": "theirs", "labels": ["A", "B"], "vocabulary": ["<pad>", "<unk>", "a", "b", "c"]}
    refused(lambda: index_shards(folder, {"train": ["a.tfrecord"]}, **arguments), "a.tfrecord", *parts)
    assert not (folder / MANIFEST).exists()


def test_an_empty_sequence_is_legal_where_tokens_are_tagged_only(tmp_path):
    folder = write_records(tmp_path / "tag", GOOD, proto((), ()))
    arguments = {"name": "theirs", "labels": ["A", "B"], "vocabulary": ["<pad>", "<unk>", "a", "b"]}
    assert index_shards(folder, {"train": ["a.tfrecord"]}, **arguments).splits["train"].histogram == {
        0: 1,
        2: 1,
    }
    folder = write_records(tmp_path / "classify", proto(label=0), proto((), label=1))
    refused(
        lambda: index_shards(folder, {"train": ["a.tfrecord"]}, task="classify", **arguments),
        "example 1", "length = 0", "cannot be classified",
    )  # fmt: skip
    refused(
        lambda: write_dataset([Example([], 0)], tmp_path / "x", name="x", task="classify", labels=["A"]),
        "train[0]", "length = 0",
    )  # fmt: skip


def test_a_manifest_whose_counts_are_off(folder):
    edit(folder, lambda m: m["splits"]["train"].update(histogram={"2": 2, "3": 1}, tokens=7))
    refused(lambda: verify_examples(folder), MANIFEST, "splits.train.histogram", "the shards have")
    refused(lambda: batches(folder, "train", *OPENED), MANIFEST, "splits.train.histogram")


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda to: write_dataset([], to, name="x"), ["splits.train", "no example to train on"]),
        (
            lambda to: write_dataset({"train": GUIDE, "validation": []}, to, name="x"),
            ["splits.validation", "empty"],
        ),
        (
            lambda to: write_dataset([Example([2], ["Z"])], to, name="x", labels=["A"]),
            ["train[0]", "labels[0] = Z"],
        ),
        (
            lambda to: write_dataset([Example([2], [7])], to, name="x", labels=["A"]),
            ["train[0]", "labels[0] = 7"],
        ),
        (lambda to: write_dataset([Example([2, 3], [0])], to, name="x"), ["train[0]", "labels", "2 tokens"]),
        (lambda to: write_dataset(GUIDE, to.parent, name="x"), ["exists", "nothing is written over"]),
        (lambda to: write_dataset(GUIDE, to, name="x", task="tagging"), ["task = tagging"]),
        (lambda to: write_dataset(GUIDE, to, name="x", shards=0), ["shards = 0"]),
        (lambda to: write_dataset(GUIDE, to, name="x", feature_size=0), ["feature_size = 0"]),
        (lambda to: write_dataset(GUIDE, to, name="x", labels="AB"), ["labels = AB", "list of names"]),
        (
            lambda to: write_dataset(GUIDE, to, name="x", labels=["A", "A"]),
            ["labels[1] = A", "labels[0] too"],
        ),
        (lambda to: write_dataset(GUIDE, to, name="x", labels=["A", 2]), ["labels[1] = 2", "write '2'"]),
        (
            lambda to: write_dataset({"train": GUIDE, "dev": GUIDE}, to, name="x"),
            ["splits = dev", "call it validation"],
        ),
        (
            lambda to: write_dataset([*GUIDE, Example("ab", [0, 0])], to, name="x"),
            ["inputs = ids and symbols", "make them alike"],
        ),
        (
            lambda to: write_dataset([Example("ab", [0, 0])], to, name="x", vocabulary=["<pad>", "a", "b"]),
            ["vocabulary", "inputs are symbols"],
        ),
        (lambda to: prepare(PythonSource(cache_dir=to), task="classify"), ["task = classify", "tag"]),
    ],
)
def test_refusals(tmp_path, call, parts):
    refused(lambda: call(tmp_path / "to"), *parts)
    left = [path for path in (tmp_path / "to").glob("*") if path.name != ".locks"]
    assert left == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"validation_share": 1}, "validation_share=1.0: must be at most 0.9"),
        ({"max_examples": 1}, "max_examples=1: must be at least 2"),
        ({"lengths": "gaussian"}, "lengths=gaussian: must be one of geometric, uniform, fixed, one_outlier"),
        ({"examples": 1}, "examples=1: must be at least 2"),
        ({"classes": 1}, "classes=1: must be at least 2"),
        ({"longest": 0}, "longest=0: must be at least 1"),
        ({"shards": 0}, "shards=0: must be at least 1"),
        ({"compression": "ZIP"}, "compression=ZIP: must be one of , GZIP"),
        ({"max_length": 0}, "max_length=0: must be at least 1"),
        ({"over_length": "cut"}, "over_length=cut: must be one of drop, split"),
        ({"first_class": 2}, "first_class=2: must be at most 1"),
    ],
)
def test_options_out_of_range_are_refused_when_they_are_made(given, words):
    with pytest.raises(ValueError, match=f"^data.{words}"):
        Synthetic(**given)


def test_a_split_that_is_not_there(folder):
    refused(
        lambda: batches(folder, "test", *OPENED),
        "splits = train, validation",
        "has no split 'test'",
    )


def failing():
    yield Example([1], [0])
    raise RuntimeError("the tape broke")


@pytest.mark.parametrize(
    ("examples", "options", "parts"),
    [
        ("abc", {}, ["train: examples = str", "an iterable of Example"]),
        ([GUIDE[0], ([1], [0])], {}, ["train[1]: example = tuple"]),
        (failing(), {}, ["train[1]: examples = RuntimeError: the tape broke", "nothing is written"]),
        ([GUIDE[0], Example([1.5], [0])], {}, ["train[1]: inputs[0] = 1.5", "for floats give feature_size"]),
        ([Example([True], [0])], {}, ["train[0]: inputs[0] = True", "whole numbers"]),
        ([Example([-3], [0])], {}, ["train[0]: inputs[0] = -3", "outside the vocabulary"]),
        ([Example([10**8], [0])], {}, ["inputs = 100000000", "give vocabulary"]),
        ([Example([10**12], [0])], {}, ["inputs[0] = 1000000000000", "32 bits"]),
        ([Example(np.ones((2, 2), int), [0, 0])], {}, ["train[0]: inputs = (2, 2)", "one axis"]),
        ([Example(["a", "\ud800"], [0, 0])], {}, ["train[0]: inputs[1] = '\\ud800'", "no Unicode text"]),
        ([Example([1], [0.5])], {}, ["train[0]: labels[0] = 0.5", "names or class ids"]),
        ([Example([1], None)], {}, ["train[0]: labels = None", "a label for each of 1"]),
        ([Example([1], [0])], {"task": "classify"}, ["train[0]: labels = [0]", "one label an example"]),
        ([Example([1], [-1])], {}, ["train[0]: labels[0] = -1", "outside the classes, which begin at 0"]),
        (
            [Example([[1.0, 2.0], [1.0]], [0, 1])],
            {"feature_size": 2},
            ["inputs[1] = 1 values", "must have 2"],
        ),
        ([Example([[1.0, 2.0]], [0])], {"feature_size": 3}, ["inputs = (1, 2): must be [1, 3]"]),
        ([Example([("1_0", "2")], [0])], {"feature_size": 2}, ["must be numbers"]),
        ([Example(np.array([["1_0", "2"]]), [0])], {"feature_size": 2}, ["must be numbers"]),
        (
            [Example([[1.0, 2.0]], [0], np.array(["1_0"]))],
            {"feature_size": 2},
            ["weights", "must be numbers"],
        ),
        (
            [Example([[1.0], [float("nan")]], [0, 0])],
            {"feature_size": 1},
            ["train[0]: inputs[1] = [nan]", "not finite"],
        ),
    ],
)
def test_what_is_given_is_checked_example_by_example(tmp_path, examples, options, parts):
    refused(lambda: write_dataset(examples, tmp_path / "x", name="x", **options), *parts)
    assert list(tmp_path.iterdir()) == []


def test_indexing_refuses_what_it_cannot_index(tmp_path):
    folder = write_records(tmp_path / "theirs", GOOD)
    right = {"name": "theirs", "labels": ["A", "B"], "vocabulary": ["<pad>", "<unk>", "a", "b"]}
    for splits, changes, parts in [
        ({"dev": ["a.tfrecord"]}, {}, ["splits = dev", "call it validation"]),
        ({"train": "a.tfrecord"}, {}, ["splits.train = a.tfrecord", "a list of file names"]),
        ({"train": ["b.tfrecord"]}, {}, ["b.tfrecord", "No such file"]),
        ({"train": ["a.tfrecord"]}, {"vocabulary": []}, ["vocabulary = empty"]),
        ({"train": ["a.tfrecord"]}, {"labels": "AB"}, ["labels = AB", "list of names"]),
        ({"train": ["a.tfrecord"]}, {"feature_size": 0}, ["feature_size = 0"]),
        ({"train": ["a.tfrecord"]}, {"feature_names": {"tokens": "inputs"}}, ["feature_names.tokens"]),
        ({"validation": ["a.tfrecord"]}, {}, ["splits.train.examples = 0"]),
    ]:
        refused(lambda: index_shards(folder, splits, **{**right, **changes}), *parts)  # noqa: B023
        assert not (folder / MANIFEST).exists()
    index_shards(folder, {"train": ["a.tfrecord"]}, **right)
    refused(lambda: index_shards(folder, {"train": ["a.tfrecord"]}, **right), MANIFEST, "rename it")


def test_features_that_are_not_finite_are_found_in_anyones_shards(tmp_path):
    rows = [[1.0, 2.0], [float("inf"), 0.0]]
    lists = {
        "inputs": tf.train.FeatureList(
            feature=[tf.train.Feature(float_list=tf.train.FloatList(value=row)) for row in rows]
        ),
        "labels": tf.train.FeatureList(feature=[ints([0]), ints([0])]),
    }
    bad = tf.train.SequenceExample(
        context=tf.train.Features(feature={"length": ints([2])}),
        feature_lists=tf.train.FeatureLists(feature_list=lists),
    )
    folder = write_records(tmp_path / "theirs", bad)
    refused(
        lambda: index_shards(folder, {"train": ["a.tfrecord"]}, name="x", labels=["A"], feature_size=2),
        "example 0", "inputs[1] = [inf, 0.0]", "not finite",
    )  # fmt: skip
