"""What a data set takes, against the same examples written out by hand."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from workbench.data.shards import open_dataset, verify_examples, write_dataset
from workbench.data.sources import Example
from workbench.data.storage import packed_examples, storage
from workbench.data.verify import read_split
from workbench.places import ROOT
from workbench.record import METRICS

FRAME = 16  # bytes around a record in a TFRecord file

CASES = {
    # characters need nothing between them; words do; class numbers do
    "characters": (
        [Example("ab", ["x", "y"]), Example("éab", ["y", "y", "x"])],
        {},
        "ab\n0 1 \néab\n1 1 0 \n".encode(),
    ),
    "words": (
        [Example(["one", "two"], "x"), Example(["one"], "y")],
        {"task": "classify"},
        b"one two \n0 one \n1 ",
    ),
    "floats": (
        [Example(np.ones((3, 2)), [0, 1, 0])],
        {"feature_size": 2},
        bytes(3 * 2 * 4) + b"\n0 1 0 \n",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_bytes_are_those_of_the_files_themselves(tmp_path, case, compression):
    examples, options, text = CASES[case]
    folder = tmp_path / "data"
    manifest = write_dataset(examples, folder, name=case, compression=compression, **options)
    taken = sum(shard.bytes for shard in manifest.shards)
    found = storage(folder)
    assert set(found) == {name for name, one in METRICS.items() if one.needs == "storage"}
    assert found["data/bytes_per_token"] == taken / sum(len(example.inputs) for example in examples)
    assert found["data/times_text"] == taken / len(text)
    [chunk] = read_split(folder, "train", manifest)
    packed = sum(len(record) + FRAME for record in packed_examples(chunk, manifest))
    if not compression:
        assert found["data/times_packed_example"] == taken / packed


def test_a_packed_example_holds_what_the_sequence_example_held(tmp_path):
    examples = [Example(np.array([[1.0, 2.0], [3.0, 4.0]]), [1, 0]), Example(np.array([[5.0, 6.0]]), [1])]
    manifest = write_dataset(examples, tmp_path / "data", name="x", feature_size=2)
    [chunk] = read_split(tmp_path / "data", "train", manifest)
    first, second = (
        tf.train.Example.FromString(one).features.feature for one in packed_examples(chunk, manifest)
    )
    assert list(first["inputs"].float_list.value) == [1, 2, 3, 4]
    assert list(first["labels"].int64_list.value) == [1, 0]
    assert list(second["inputs"].float_list.value) == [5, 6]
    assert list(second["length"].int64_list.value) == [1]


def test_shards_that_somebody_else_wrote_are_what_their_manifest_says():
    folder = ROOT / "experiments" / "sequence_example_ablation" / "foreign"
    manifest = verify_examples(folder)
    assert manifest.feature_names == {"length": "length", "inputs": "tokens", "labels": "tags"}
    assert open_dataset(folder).fingerprint == manifest.fingerprint
    records = gzip.decompress((folder / manifest.shards[0].file).read_bytes())
    assert b"tokens" in records
    assert b"inputs" not in records
