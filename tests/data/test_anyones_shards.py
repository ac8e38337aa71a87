"""Shards of other programs: what is wrong with a record is said of the record, and nobody is told to remove it."""

import json
import os
import shutil
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.held import hold_parsed
from workbench.data.manifest import MANIFEST, Manifest, load_manifest
from workbench.data.pipeline import batches
from workbench.data.read_shard import checked
from workbench.data.shards import index_shards, open_dataset, prepare, verify_examples, write_dataset
from workbench.data.sources import Example
from workbench.options.data import Synthetic, TFRecord
from workbench.options.padding import Padding

BATCH = Padding("batch")
OPENED = TFRecord(), BATCH
WORDS = {"inputs": "words", "labels": "label"}
GIVEN = {"name": "x", "labels": ["A", "B", "C"], "vocabulary": [f"w{i}" for i in range(20)]}
FRAMES = {**GIVEN, "vocabulary": [], "feature_size": 2}


def ints(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def raw(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def features(**context):
    return tf.train.Features(feature=context)


def record(context, **lists):
    lists = {name: tf.train.FeatureList(feature=steps) for name, steps in lists.items()}
    return tf.train.SequenceExample(
        context=features(**context), feature_lists=tf.train.FeatureLists(feature_list=lists)
    ).SerializeToString()


def tagged(*words, labels=None, **context):
    labels = [n % 3 for n in words] if labels is None else labels
    return record(context, words=[ints(n) for n in words], label=[ints(n) for n in labels])


def write(path, *records, compression=None):
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for one in records:
            writer.write(one)
    return path


def index(folder, *records, **given):
    write(folder / "a.tfrecord", *records)
    return index_shards(folder, {"train": ["a.tfrecord"]}, **{"feature_names": WORDS, **GIVEN, **given})


def says(call, *parts):
    """The message of the DataError, which holds `parts` and never advises to remove anything."""
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    assert "remove" not in str(caught.value)
    assert "delete" not in str(caught.value)


# -- lengths


def unpadded(folder, parse):
    found = batches(folder, "train", TFRecord(batch_size=3, parse=parse), BATCH, shuffle=False)
    return [
        (batch["inputs"][i, :length].numpy().tolist(), batch["labels"][i, :length].numpy().tolist())
        for batch in found
        for i, length in enumerate(batch["length"].numpy())
    ]


@pytest.mark.covering(1)
@pytest.mark.parametrize("parse", ["cached", "vectorised", "one"])
@pytest.mark.parametrize(
    ("context", "named", "recorded"),
    [
        ({}, {}, ""),
        ({"speaker": ints(7), "silence": ints(1)}, {}, ""),
        ({"length": raw(b"about two")}, {"length": ""}, ""),
        ({"seq_len": ints(9)}, {"length": None}, ""),
    ],
)
def test_without_a_length_the_steps_are_counted(tmp_path, parse, context, named, recorded):
    records = [tagged(*words, **context) for words in ([3, 4], [5], [6, 7, 8, 9])]
    manifest = index(tmp_path / "d", *records, feature_names={**WORDS, **named})
    assert manifest.splits["train"].histogram == {1: 1, 2: 1, 4: 1}
    assert json.loads((tmp_path / "d" / MANIFEST).read_text())["feature_names"]["length"] == recorded
    assert verify_examples(tmp_path / "d") == manifest
    assert unpadded(tmp_path / "d", parse) == [
        ([3, 4], [0, 1]),
        ([5], [2]),
        ([6, 7, 8, 9], [0, 1, 2, 0]),
    ]


def test_a_length_by_another_name_and_one_that_is_not_there(tmp_path):
    one = tagged(3, 4, seq_len=ints(2))
    manifest = index(tmp_path / "d", one, feature_names={**WORDS, "length": "seq_len"})
    assert manifest.feature_names["length"] == "seq_len"
    says(
        lambda: index(tmp_path / "typo", one, feature_names={**WORDS, "length": "seq_length"}),
        "example 0: seq_length = missing", "its context has seq_len", "did you mean seq_len?",
    )  # fmt: skip
    says(
        lambda: index(tmp_path / "unnamed", one),
        "feature_names['length'] = not given", "is the length seq_len, which the context has?",
    )  # fmt: skip
    says(
        lambda: index(tmp_path / "some", tagged(3, length=ints(1)), tagged(4)),
        "example 1: length = missing", "its context is empty", '"" has the steps of inputs counted',
    )  # fmt: skip


def test_an_empty_sequence_has_its_lists_or_a_length_of_zero(tmp_path):
    zero = {"length": ints(0)}
    manifest = index(tmp_path / "named", tagged(3, length=ints(1)), record(zero), tagged(**zero))
    assert manifest.splits["train"].histogram == {0: 2, 1: 1}
    assert index(tmp_path / "counted", tagged(3), tagged()).splits["train"].histogram == {0: 1, 1: 1}
    says(lambda: index(tmp_path / "absent", tagged(3), record({})), "example 1: words = missing")


# -- one record


def right(given):
    """A record that is as `given` declares it."""
    if "feature_size" in given:
        return record({}, words=[floats(1, 2)], label=[ints(0)])
    return record({"label": ints(1)}, words=[ints(3)]) if given.get("task") == "classify" else tagged(4)


EXAMPLE = tf.train.Example(features=features(words=ints(3, 4), label=ints(0, 1))).SerializeToString()
EXAMPLE_WITH_LENGTH = tf.train.Example(
    features=features(words=ints(3, 4), label=ints(0, 1), length=ints(2))
).SerializeToString()


@pytest.mark.parametrize(
    ("bad", "given", "parts"),
    [
        (EXAMPLE, {}, ["record = a tf.train.Example with label, words", "must be a SequenceExample"]),
        (EXAMPLE_WITH_LENGTH, {}, ["record = a tf.train.Example with label, length, words"]),
        (tagged(3), {"feature_names": {**WORDS, "inputs": "word"}},
         ["word = missing", "it has label, words; no feature list word; did you mean words?"]),
        (tagged(3), {"feature_names": {"inputs": "word", "labels": "lable"}}, ["word = missing"]),
        (tagged(3), {"feature_names": {**WORDS, "labels": "lable"}}, ["lable = missing", "did you mean label?"]),
        (tagged(3), {"feature_names": None}, ["inputs = missing", "feature_names['inputs']"]),
        (tagged(3), {"feature_names": {"inputs": "words", "labels": "words"}}, ["labels = words", "each its own"]),
        (record({}, words=[ints(1, 2, 3), ints(2)], label=[ints(0), ints(1)]), {}, ["words[0] = 3 values"]),
        (record({}, words=[ints(1), ints(2, 3)], label=[ints(0), ints(1)]), {}, ["words[1] = 2 values"]),
        (record({}, words=[ints(1), ints(2)], label=[ints(0), ints()]), {}, ["label[1] = 0 values"]),
        (record({}, words=[ints(1), tf.train.Feature()], label=[ints(0)] * 2), {}, ["words[1] = 0 values"]),
        (record({}, words=[raw(b"the")], label=[ints(0)]), {}, ["words[0] = bytes, [b'the']", "whole numbers"]),
        (record({}, words=[floats(1)], label=[ints(0)]), {}, ["words[0] = floats, [1.0]", "give feature_size"]),
        (record({}, words=[ints(1)], label=[raw(b"A")]), {}, ["label[0] = bytes, [b'A']"]),
        (record({}, words=[raw(bytes(1024))], label=[ints(0)]), FRAMES,
         ["words[0] = bytes", "1024 bytes", "must be floats: decode"]),
        (record({}, words=[ints(1, 2)], label=[ints(0)]), FRAMES, ["words[0] = whole numbers, [1, 2]"]),
        (record({}, words=[floats(1, 2), floats(1)], label=[ints(0)] * 2), FRAMES,
         ["words[1] = 1 values", "must have 2 values a token"]),
        (record({}, words=[floats(1, 2), floats(1, float("nan"))], label=[ints(0)] * 2), FRAMES,
         ["words[1] = [1.0, nan]", "not finite"]),
        (tagged(3, 4, labels=[1]), {}, ["label = 1", "words has 2: write them equally long"]),
        (tagged(3, 4, labels=[1], length=ints(2)), {}, ["label = 1", "length says 2"]),
        (tagged(3, 0, 0, length=ints(1)), {}, ["words = 3", "length says 1", "without padding"]),
        (tagged(3, length=ints(-1)), {}, ["words = 1", "length says -1"]),
        (tagged(3, length=ints(1, 1)), {}, ["length = 2 values"]),
        (tagged(3, length=floats(1)), {}, ["length = floats, [1.0]"]),
        (tagged(-3), {}, ["words[0] = -3", "outside the vocabulary, 0 to 19"]),
        (tagged(3, 2**40), {}, ["words[1] = 1099511627776", "outside the vocabulary"]),
        (tagged(3, labels=[3]), {}, ["label[0] = 3", "outside the classes, 0 to 2"]),
        (tagged(3, labels=[0]), {"first_class": 1}, ["label[0] = 0", "outside the classes, 1 to 2"]),
        (tagged(3), {"task": "classify"}, ["label = in a feature list", 'the task "tag"']),
        (record({"label": ints(1)}, words=[ints(3)]), {}, ["label = in the context", 'the task "classify"']),
        (record({"label": ints(1, 2)}, words=[ints(3)]), {"task": "classify"}, ["label = 2 values"]),
        (record({"label": ints(1)}, words=[]), {"task": "classify"}, ["length = 0", "cannot be classified"]),
        (b"\x00\xff\x13garbage", {}, ["record = bytes that are no SequenceExample"]),
        (b'{"words": [3]}', {}, ["record = a JSON text"]),
        (b"\xff\xd8\xff\xe0 picture", {}, ["record = a JPEG picture"]),
        (b"\x1a\x10aaaaaaaaaaaaaaaa", {}, ["record = another message"]),
        (b"", {}, ["words = missing"]),
    ],
    ids=lambda _: "",  # by number: a serialized map has no order that is the same in every process
)  # fmt: skip
def test_a_record_that_is_not_what_was_declared(tmp_path, bad, given, parts):
    """The first record, and one after a record that is right: the message names its number."""
    numbered = "each its own" not in parts
    says(lambda: index(tmp_path / "d", bad, **given), "a.tfrecord: example 0: " if numbered else "", *parts)
    if given.get("feature_names", WORDS) == WORDS and b"length" not in bad:
        says(lambda: index(tmp_path / "d", right(given), bad, **given), "a.tfrecord: example 1: ", *parts)
    assert not (tmp_path / "d" / MANIFEST).exists()


@hypothesis.settings(max_examples=60, deadline=None, database=None)
@hypothesis.given(st.data())
def test_no_record_whatever_is_an_exception_of_tensorflows(draw):
    """A right record with bytes changed, added and taken away is read, or refused in our words."""
    manifest = Manifest(
        task="tag", inputs="ids", splits={}, shards=[], feature_names={**WORDS, "length": ""}, **GIVEN
    )
    changed = bytearray(tagged(3, 4, 5, length=ints(3)))
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        changed[at : at + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=2))
    try:
        chunk = checked(Path("a"), 0, [bytes(changed)], manifest)
    except DataError as error:
        refused = str(error)
    else:
        assert len(chunk.inputs) == len(chunk.labels) == chunk.lengths.sum()
        return
    assert refused.startswith("a: example 0: ")


def test_what_tensorflow_alone_does_not_read_is_named_by_its_record():
    manifest = Manifest(
        task="tag", inputs="ids", splits={}, shards=[], feature_names={**WORDS, "length": ""}, **GIVEN
    )
    right = tagged(3, 4, 5, length=ints(3))
    with pytest.raises(DataError, match=r"^a: example 8: record = .*write it as declared"):
        checked(Path("a"), 7, [right, b"\t\x00" + right, right], manifest)


def test_what_is_damaged_is_named_by_its_record(tmp_path):
    path = write(tmp_path / "d" / "a.tfrecord", *[tagged(n % 20) for n in range(5000)])
    whole = path.read_bytes()

    def index_again():
        index_shards(tmp_path / "d", {"train": ["a.tfrecord"]}, feature_names=WORDS, **GIVEN)

    sizes = [len(tagged(n % 20)) + 16 for n in range(5000)]
    assert sum(sizes) == len(whole)
    for end in (len(whole) - 3, len(whole) - sizes[-1] + 5):  # in a record, and in what is before it
        path.write_bytes(whole[:end])
        says(index_again, "record 4999 = ", "the file ends inside it", "from a backup")
    at = sum(sizes[:4500]) + 14
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    says(index_again, "record 4500 = corrupted record", "unreadable", "from a backup")


# -- one shard in two splits


@pytest.mark.parametrize("other", ["a.tfrecord", "./a.tfrecord", "copy", "hard", "soft"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_shard_is_listed_once(tmp_path, other, split):
    folder = tmp_path / "d"
    path = write(folder / "a.tfrecord", tagged(3, 4), tagged(5))
    write(folder / "b.tfrecord", tagged(6))
    shutil.copy(path, folder / "copy")
    os.link(path, folder / "hard")
    (folder / "soft").symlink_to("a.tfrecord")
    splits = {"train": ["b.tfrecord", "a.tfrecord"]}
    splits[split] = [*splits.get(split, []), other]
    same = "the same file" if "a.tfrecord" in other else "the same bytes as a.tfrecord"
    where = "twice in train" if split == "train" else f"in train and in {split}"
    says(
        lambda: index_shards(folder, splits, feature_names=WORDS, **GIVEN), f"file = {other}: {same}, {where}"
    )
    assert not (folder / MANIFEST).exists()


def test_a_manifest_that_lists_a_shard_in_two_splits_is_not_opened(tmp_path):
    folder = tmp_path / "d"
    index(folder, tagged(3, 4), tagged(5))
    shutil.copy(folder / "a.tfrecord", folder / "b.tfrecord")
    content = json.loads((folder / MANIFEST).read_text())
    del content["fingerprint"]
    content["splits"]["validation"] = content["splits"]["train"]
    for file in ("a.tfrecord", "./a.tfrecord", "b.tfrecord"):
        second = {**content["shards"][0], "split": "validation", "file": file}
        (folder / MANIFEST).write_text(json.dumps({**content, "shards": [content["shards"][0], second]}))
        for opened in (load_manifest, open_dataset, lambda path: prepare(TFRecord(path=path))):
            says(lambda: opened(folder), f"shards[1].file = {file}", "in train and in validation")  # noqa: B023


def test_write_dataset_refuses_the_same_examples_in_two_splits(tmp_path):
    one, two, three = Example([1, 2], [0, 1]), Example([3], [1]), Example([2, 2], [1, 1])
    for splits, parts in [
        (
            {"train": [one, two], "validation": [one, two]},
            ["splits.validation = 2 examples", "those of train"],
        ),
        ({"train": [one, two], "test": [two, one]}, ["splits.test = 2 examples", "those of train"]),
        ({"train": [one, two, three], "validation": [three], "test": [three]}, ["those of validation"]),
    ]:
        says(lambda: write_dataset(splits, tmp_path / "x", name="x"), *parts)  # noqa: B023
        assert list(tmp_path.iterdir()) == []
    manifest = write_dataset({"train": [one, two], "validation": [one]}, tmp_path / "x", name="x")
    assert manifest.splits["validation"].examples == 1, "sentences may be alike"
    write_dataset([one, one], tmp_path / "y", name="y", shards=2)
    assert open_dataset(tmp_path / "y").splits["train"].examples == 2, "given twice, written twice"


# -- whose data it is


def damage(folder, change):
    path = folder / load_manifest(folder).shards[0].file
    whole = path.read_bytes()
    if change == "missing":
        path.unlink()
    elif change == "cut":
        path.write_bytes(whole[:-3])
    elif change == "flipped":
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif change == "pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif change == "manifest":
        (folder / MANIFEST).write_text("{")
    return path


CHANGES = ["missing", "cut", "flipped", "manifest"]


@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_is_made_again_anyones_own_is_copied_again(tmp_path, change):
    cached = prepare(Synthetic(examples=20, cache_dir=tmp_path / "cache"))
    copied = shutil.copytree(cached, tmp_path / "copied")
    damage(cached, change)
    with pytest.raises(DataError, match=f"remove the folder first, {cached}: it is made from its source"):
        open_dataset(cached)
    written = tmp_path / "written"
    write_dataset([Example([1, 2], [0, 1])], written, name="x")
    index(tmp_path / "indexed", tagged(3, 4), tagged(5))
    for folder in (copied, written, tmp_path / "indexed"):
        path = damage(folder, change)
        says(
            lambda: open_dataset(folder),  # noqa: B023
            MANIFEST if change == "manifest" else path.name, "copy it again from where it came or from a backup",
        )  # fmt: skip
    if change != "manifest":
        says(
            lambda: list(batches(tmp_path / "indexed", "train", *OPENED)),
            "a.tfrecord",
            "from a backup",
        )


def test_a_shard_that_a_pointer_stands_for_or_that_was_compressed_meanwhile(tmp_path):
    folder = tmp_path / "d"
    index(folder, tagged(3, 4), tagged(5))
    damage(folder, "pointer")
    says(lambda: open_dataset(folder), "a.tfrecord: file = a Git LFS pointer", "git lfs pull")
    write(folder / "a.tfrecord", tagged(3, 4), tagged(5), compression="GZIP")
    says(lambda: open_dataset(folder), "compressed by gzip", '"compression": "GZIP" in manifest.json')
    (folder / "a.tfrecord").rename(folder / "a.tfrecord.gz")
    says(lambda: open_dataset(folder), "file = missing", "did you mean a.tfrecord.gz?")


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_compressed_shards(tmp_path, compression):
    folder = tmp_path / "d"
    path = write(folder / "a.tfrecord", tagged(3, 4), tagged(5), compression=compression)
    splits = {"train": ["a.tfrecord"]}
    says(lambda: index_shards(folder, splits, compression="", **GIVEN), f"compression={compression!r} to")
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    arguments = {"feature_names": WORDS, "compression": compression, **GIVEN}
    says(lambda: index_shards(folder, splits, **arguments), "ends too early", "from a backup")
    path.write_bytes(whole)
    given = index_shards(folder, splits, **arguments)
    (folder / MANIFEST).unlink()
    del arguments["compression"]
    assert index_shards(folder, splits, **arguments) == given, "found by looking"
    write(folder / "b.tfrecord", tagged(6))
    (folder / MANIFEST).unlink()
    says(
        lambda: index_shards(folder, {"train": ["a.tfrecord", "b.tfrecord"]}, **arguments),
        "one for all shards",
    )
    index_shards(folder, splits, **arguments)
    assert unpadded(folder, "cached") == [([3, 4], [0, 1]), ([5], [2])]
    written = write_dataset([Example([1, 2], [0, 1])], tmp_path / "w", name="w", compression=compression)
    assert verify_examples(tmp_path / "w") == written


def test_where_there_is_no_manifest_the_message_says_what_there_is(tmp_path):
    folder = tmp_path / "shards"
    path = write(folder / "a.tfrecord", tagged(3, 4))
    indexed = "workbench.data.shards.index_shards"

    def opened(path):
        return lambda: prepare(TFRecord(path=path))

    says(opened(folder), "no data set: the folder has a.tfrecord", indexed)
    says(opened(path), "file = a file", "give the folder that holds it", indexed)
    says(opened(tmp_path / "shard"), "file = missing", "there is no such folder; did you mean shards?")
    index_shards(folder, {"train": ["a.tfrecord"]}, feature_names=WORDS, **GIVEN)
    says(opened(tmp_path), "there is one in shards: give that folder")
    says(opened(folder / MANIFEST), "file = a file", f"give the folder that it lies in, {folder}")
    (tmp_path / "empty").mkdir()
    says(opened(tmp_path / "empty"), "it is empty")


def test_files_that_cannot_be_listed(tmp_path):
    folder = tmp_path / "d"
    write(folder / "part.tfrecord", tagged(3))
    (folder / "inner").mkdir()
    (folder / "empty").write_bytes(b"")
    for files, parts in [
        (["*.tfrecord"], ["patterns are not expanded"]),
        (["prt.tfrecord"], ["did you mean part.tfrecord?"]),
        (["inner"], ["Is a directory", "name the files in it"]),
        (["../d/part.tfrecord"], ["splits.train[0]", "must lie in"]),
        ([str(folder / "part.tfrecord")], ["splits.train[0]", "must lie in"]),
        (["a\0b"], ["null byte"]),
        ([], ["at least one"]),
        (["empty"], ["empty", "it has no record"]),
    ]:
        says(lambda: index_shards(folder, {"train": files}, feature_names=WORDS, **GIVEN), *parts)  # noqa: B023
    says(lambda: index_shards(folder, ["part.tfrecord"], **GIVEN), "splits = ", "must be {")
    says(
        lambda: index_shards(tmp_path / "no", {"train": ["a"]}, feature_names=WORDS, **GIVEN), "is no folder"
    )


def test_features_come_back_without_a_length(tmp_path):
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    one = record({}, words=[floats(*row) for row in rows], label=[ints(n) for n in (0, 1, 2)])
    index(tmp_path / "d", one, record({}, words=[], label=[]), **FRAMES)
    [batch] = batches(
        tmp_path / "d", "train", TFRecord(batch_size=2, parse="vectorised"), BATCH, shuffle=False
    )
    np.testing.assert_array_equal(batch["inputs"], [rows, [[0, 0]] * 3])
    np.testing.assert_array_equal(batch["length"], [3, 0])


def test_a_shard_that_changes_while_it_is_read(tmp_path):
    folder = tmp_path / "d"
    index(folder, tagged(3, 4), tagged(5), tagged(6))
    data = TFRecord(batch_size=1, parse="vectorised")
    object.__setattr__(
        data, "memory_mb", 0
    )  # no data set of a test is larger than the least that may be given
    made = batches(folder, "train", data, BATCH)
    assert made.held == "nothing"
    (folder / "a.tfrecord").write_bytes(b"\xff" * 300)
    says(lambda: list(made), "d: shards = ", "changed or went missing while it was read", "from a backup")
    (folder / "a.tfrecord").unlink()
    says(lambda: list(made), "No such file", "changed or went missing while it was read")


FINE = Example(["a", "b"], ["X", "Y"])


@pytest.mark.parametrize(
    ("examples", "labels", "words"),
    [
        ([FINE, None, FINE], None, "train[1]: example = NoneType: must be an Example"),
        ([FINE], {"X": 1, "Y": 0}, "must be a list of names in the order of their ids"),
        ([FINE], {"X", "Y"}, "must be a list of names in the order of their ids"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(tmp_path, examples, labels, words):
    with pytest.raises(DataError) as error:
        write_dataset({"train": examples}, tmp_path / "out", name="x", labels=labels)
    assert words in str(error.value)


def test_a_buffer_that_is_filled_anew_and_strings_of_an_array(tmp_path):
    buffer = np.zeros((2, 3), np.float32)

    def read():
        for number in range(5):
            buffer[:] = number
            yield Example(buffer, np.array(["p", "q"])[[0, 1]])

    write_dataset({"train": read()}, tmp_path / "out", name="x", feature_size=3)
    found = hold_parsed(str(tmp_path / "out"), "train", load_manifest(tmp_path / "out").fingerprint, 100)
    assert sorted(found.inputs[:-1, 0].tolist()) == [float(n) for n in range(5) for _ in range(2)]
    assert load_manifest(tmp_path / "out").labels == ["p", "q"]
    one = Example(["a"], np.array(["pos"])[0])
    write_dataset({"train": [one, one]}, tmp_path / "whole", name="x", task="classify")
    assert load_manifest(tmp_path / "whole").labels == ["pos"]
