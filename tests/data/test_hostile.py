"""Whatever bytes a reader of data is given, it gives exactly the examples that are there, or says in words why not.

`--hostile N` tries N inputs of each kind; each is held against a reading of its own, by the format's plain rules.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from pyarrow import parquet

from workbench.data.convert.layout import settle
from workbench.data.convert.pack import pack
from workbench.data.convert.readers import find
from workbench.data.convert.rows import Block
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, Manifest, load_manifest
from workbench.data.read_shard import checked, read_shard
from workbench.data.shards import open_dataset, write_dataset
from workbench.data.sources import Example

SYMBOLS = Schema(task="tag", kind="symbols", validation_share=0)
TEXTS = Schema(task="classify", kind="symbols", validation_share=0, empty="drop")


@pytest.fixture
def tried(request):
    """Run a check on as many inputs of a strategy as are asked for."""

    def run(strategy, check, share=1):
        many = settings(
            max_examples=max(1, request.config.getoption("--hostile") // share),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        many(given(strategy)(check))()

    return run


@st.composite
def damaged(draw, whole, most=4):
    """Bytes with some changed, added, taken away, or moved."""
    data = bytearray(whole if isinstance(whole, bytes) else draw(whole))
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        gone = draw(st.sampled_from([0, 0, 1, 2, 9, len(data)]))
        data[at : at + gone] = draw(st.binary(max_size=3) | st.sampled_from(_MARKS))
    return bytes(data)


_MARKS = [
    b"\n",
    b"\r",
    b"\t",
    b",",
    b'"',
    b"'",
    b"\\",
    b"{",
    b"]",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"#",
    b"1",
    b"-",
    b"null",
    b"NaN",
    b"1e999",
    b" ",
    b"\xe2\x80\xa8",
    b"\x85",
    b'""',
    b"\\ud800",
    b"\x1f\x8b",
]


def read(path, schema, *, short_cut=True):
    """What the first pass makes of a file: (inputs, labels) of each example."""
    [source] = find([str(path)], schema)
    reader, found = source.reader, []
    schema = schema.named(reader.inputs, reader.labels)
    for part in reader.parts(source.path, schema):
        block = Block(source.kind, str(path), source.split, reader.unit, *part)
        layout = settle([], block, schema)
        packed = reader.packed(block, layout) if reader.packed and short_cut else None
        if packed is None:
            packed, _ = pack(reader.rows(block, schema), block, layout)
        tokens = [packed.symbols[i] for i in packed.inputs]
        tags = packed.labels.tolist() if packed.names is None else [packed.names[i] for i in packed.labels]
        at = 0
        for k, length in enumerate(packed.lengths.tolist()):
            labels = tags[at : at + length] if schema.task == "tag" else tags[k]
            found.append((tokens[at : at + length], labels))
            at += length
    return found


def outcome(call):
    """What a call gives, or the words in which it refuses."""
    try:
        return call(), None
    except DataError as error:
        return None, str(error)


def same_or_refused(path, schema, wanted, *, short_cut=True):
    """`wanted` are the examples, None where the file is to be refused."""
    found, words = outcome(lambda: read(path, schema, short_cut=short_cut))
    assert found == wanted, words
    assert words is None or str(path) in words


# -- JSON lines


_LINES = st.lists(
    st.sampled_from(
        [
            b'{"inputs": ["a", "b c"], "labels": ["X", "Y"]}',
            b'{"labels": ["X"], "inputs": ["\\u00fc"], "more": {"a": [1]}}',
            b"",
            b'{"inputs": [], "labels": []}',
            '{"inputs": ["ü", ""], "labels": ["", "Z"]}'.encode(),
            b'{"inputs": ["a"], "labels": ["X"], "inputs": ["b"]}',
            b'{"inputs": ["a", 1], "labels": ["X", "Y"]}',
            b'{"inputs": ["a"], "labels": ["X", "Y"]}',
            b'{"inputs": ["a"]}',
            b'{"inputs": null, "labels": []}',
            b"[]",
            b"3",
        ]
    ),
    min_size=1,
    max_size=5,
).map(b"\n".join)


def _by_json(data):
    """Each line by `json`, or None where one is no such object."""
    if not data or data.startswith(b"\x1f\x8b"):
        return None
    examples = []
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            text = line.decode()
            if not text or text.isspace():
                continue
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            return None
        found = (
            dict(pairs) if isinstance(pairs, list) and all(isinstance(one, tuple) for one in pairs) else None
        )
        inner = _has_twice(text)
        if not found or inner or len(found) < len(pairs) or not {"inputs", "labels"} <= set(found):
            return None
        inputs, labels = found["inputs"], found["labels"]
        for one in (inputs, labels):
            if isinstance(one, str):
                continue
            if not isinstance(one, list) or not all(isinstance(x, str) for x in one):
                return None
        inputs, labels = (one.split() if isinstance(one, str) else one for one in (inputs, labels))
        if len(inputs) != len(labels) or any(
            "\ud800" <= x <= "\udfff" for one in (*inputs, *labels) for x in one
        ):
            return None
        if "" in labels:
            return None
        examples.append((inputs, labels))
    return examples


def _has_twice(text):
    """Whether a key is there twice in an object, at whatever depth."""
    twice = []

    def look(pairs):
        twice.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return any(twice)


@pytest.mark.parametrize("short_cut", [True, False])
def test_json_lines(tmp_path, tried, short_cut):
    path = tmp_path / "a.jsonl"

    def check(data):
        path.write_bytes(data)
        same_or_refused(
            path, SYMBOLS, _by_json(data) if not _another_kind(data) else None, short_cut=short_cut
        )

    tried(damaged(_LINES), check)


def _another_kind(data):
    """Whether the first bytes say that it is no such text."""
    return data[:2] in (b"\xff\xfe", b"\xfe\xff")


# -- CSV


_ROWS = st.lists(
    st.sampled_from(
        [
            b"inputs,labels",
            b"a b,X",
            b'"a, b",Y',
            b'"a\nb",Y',
            b'"a ""b""",Z',
            b"",
            b",X",
            b"a",
            b"a,b,c",
            b'"a"b,X',
            b'"a',
        ]
    ),
    min_size=1,
    max_size=5,
).map(lambda rows: b"inputs,labels\n" + b"\n".join(rows))


def _by_csv(data):
    if not data or data.startswith(b"\x1f\x8b"):
        return None
    try:
        head, *rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, ValueError):
        return None
    if len(set(head)) < len(head) or not {"inputs", "labels"} <= set(head):
        return None
    if any(row and len(row) != len(head) for row in rows):
        return None
    named = [dict(zip(head, row, strict=True)) for row in rows if row]
    if not all(row["labels"].strip() for row in named):
        return None
    return [(row["inputs"].split(), row["labels"]) for row in named]


def test_csv(tmp_path, tried):
    path = tmp_path / "a.csv"

    def check(data):
        path.write_bytes(data)
        same_or_refused(path, TEXTS, _by_csv(data) if not _another_kind(data) else None)

    tried(damaged(_ROWS), check)


# -- text and CoNLL-U


def _lines(data):
    """The lines of a text, or ValueError: no text, or a carriage return inside a line, where old Macs ended one."""
    lines = [line.rstrip("\r") for line in data.decode().removeprefix("\ufeff").split("\n")]
    if any("\r" in line for line in lines):
        raise ValueError("a carriage return inside a line")
    return lines


def test_text(tmp_path, tried):
    path = tmp_path / "a.txt"

    def by_lines(data):
        try:
            lines = _lines(data)
        except ValueError:
            return None
        parts = [line.split("\t") for line in lines if line and not line.isspace()]
        return (
            None
            if not data or any(len(one) != 2 or not one[1].strip() for one in parts)
            else [(one[0].split(), one[1]) for one in parts]
        )

    def check(data):
        path.write_bytes(data)
        refused = _another_kind(data) or data.startswith((b"\x1f\x8b", b"\x28\xb5"))
        same_or_refused(path, TEXTS, None if refused else by_lines(data))

    tried(damaged(b"a b\tX\r\nc\tY\n\n \xc3\xbc d\tZ\n"), check)


_REST = "\t_" * 6
_BANK = (
    "# a comment\n1\tThe\t_\tDET"
    + _REST
    + "\n2-3\tdont"
    + "\t_" * 8
    + "\n2\tdo\t_\tAUX"
    + _REST
    + "\n3\tnt\t_\tX"
    + _REST
    + "\n3.1\te"
    + "\t_" * 8
    + "\n\n1\tgo\t_\tVERB"
    + _REST
    + "\n\n\n# last\n1\tso\t_\t_"
    + _REST
    + "\n"
).encode()


def _by_columns(data):
    try:
        lines = _lines(data)
    except ValueError:
        return None
    examples = []
    for sentence in re.split(r"\n(?:\s*\n)+", "\n".join(line if line.strip() else "" for line in lines)):
        rows = [line.split("\t") for line in sentence.split("\n") if line.strip() and line[0] != "#"]
        words = [row for row in rows if not re.fullmatch(r"[0-9]+[-.][0-9]+", row[0])]
        well = all(len(row) == 10 for row in rows) and all(row[1] and row[3] for row in words)
        if not well or [row[0] for row in words] != [str(i + 1) for i in range(len(words))]:
            return None
        if words and all(row[3] != "_" for row in words):
            examples.append(([row[1] for row in words], [row[3] for row in words]))
    return examples if data else None


def test_conllu(tmp_path, tried):
    path = tmp_path / "a.conllu"

    def check(data):
        path.write_bytes(data)
        refused = _another_kind(data) or data.startswith((b"\x1f\x8b", b"\x28\xb5"))
        same_or_refused(path, SYMBOLS, None if refused else _by_columns(data))

    tried(damaged(_BANK), check)


# -- NumPy, Parquet


def _by_numpy(path):
    """The examples of whole numbers, padded, or None."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            inputs, labels, lengths = (arrays[name] for name in ("inputs", "labels", "lengths"))
        examples = zip(inputs, labels, lengths.tolist(), strict=True)
        return [(list(map(str, x[:n].tolist())), y[:n].tolist()) for x, y, n in examples]
    except Exception:  # whatever NumPy makes of it
        return None


def test_npz(tmp_path, tried):
    whole, path = io.BytesIO(), tmp_path / "a.npz"
    np.savez(
        whole,
        inputs=np.array([["a", "b"], ["c", ""]]),
        labels=np.array([[1, 0], [1, 0]]),
        lengths=np.array([2, 1]),
    )

    def check(data):
        path.write_bytes(data)
        found, words = outcome(lambda: read(path, SYMBOLS))
        if words is not None:
            assert str(path) in words
            return
        assert found == _by_numpy(path)

    tried(damaged(whole.getvalue(), most=3), check)


def test_parquet(tmp_path, tried):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"inputs": [["a", "b"], ["c"]], "labels": [["X", "Y"], ["X"]]}), path)
    whole = path.read_bytes()

    def check(data):
        path.write_bytes(data)
        found, words = outcome(lambda: read(path, SYMBOLS))
        if words is not None:
            assert str(path) in words
            return
        assert all(len(inputs) == len(labels) for inputs, labels in found)

    tried(damaged(whole, most=2), check)


# -- shards and their manifest


@pytest.fixture
def written(tmp_path):
    examples = [Example([1, 2, 300], [0, 1, 0]), Example([4], [1]), Example([], [])]
    write_dataset(examples, tmp_path / "set", name="set")
    return tmp_path / "set"


def test_a_manifest(written, tried):
    whole, manifest = (written / MANIFEST).read_bytes(), load_manifest(written)

    def check(data):
        (written / MANIFEST).write_bytes(data)
        found, words = outcome(lambda: load_manifest(written))
        if words is not None:
            assert MANIFEST in words
            return
        assert found.fingerprint == found.computed_fingerprint()
        if b'"fingerprint"' in data:
            assert found.fingerprint == manifest.fingerprint

    tried(damaged(whole), check)


def _without_fingerprint(written):
    content = json.loads((written / MANIFEST).read_text())
    del content["fingerprint"]
    return content


_LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3)


def _around(values):
    return values | st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3)


_VALUES = _around(_around(_LEAVES))


def test_a_manifest_of_other_values(written, tried):
    """Every field with whatever value: refused, or a manifest that says of itself what it is."""
    whole = _without_fingerprint(written)
    places = (
        [(key,) for key in whole]
        + [("splits", "train", key) for key in whole["splits"]["train"]]
        + [("shards", 0, key) for key in whole["shards"][0]]
    )

    def check(change):
        place, value = change
        content = json.loads(json.dumps(whole))
        of = content
        for key in place[:-1]:
            of = of[key]
        of[place[-1]] = value
        (written / MANIFEST).write_text(json.dumps(content))
        manifest, words = outcome(lambda: load_manifest(written))
        if words is not None:
            assert MANIFEST in words
            return
        for info in manifest.splits.values():
            assert info.examples == sum(info.histogram.values())

    tried(st.tuples(st.sampled_from(places), _VALUES), check)


def test_a_shard(written, tried):
    """With its manifest any change is found; read without, what comes is a first part of what was there."""
    manifest = load_manifest(written)
    path = written / manifest.shards[0].file
    whole = path.read_bytes()
    records = [record for chunk in read_shard(path, manifest) for record in chunk.serialized]

    def check(data):
        path.write_bytes(data)
        _, words = outcome(lambda: open_dataset(written))
        assert (words is None) == (data == whole)
        assert words is None or path.name in words
        found, words = outcome(
            lambda: [record for chunk in read_shard(path, manifest) for record in chunk.serialized]
        )
        if words is not None:
            assert path.name in words
            return
        assert found == records[: len(found)]

    tried(damaged(whole, most=2), check, share=3)  # TensorFlow opens the file each time


def test_a_sequence_example(tried):
    """In a frame that is whole: refused, or what protocol buffers make of it."""
    manifest = Manifest(
        name="x",
        task="tag",
        inputs="ids",
        splits={},
        shards=[],
        labels=["A", "B", "C"],
        vocabulary=[f"w{i}" for i in range(20)],
    )
    ints = [tf.train.Feature(int64_list=tf.train.Int64List(value=[n])) for n in (1, 2)]
    lists = {name: tf.train.FeatureList(feature=ints) for name in ("inputs", "labels")}
    length = tf.train.Features(feature={"length": ints[1]})
    whole = tf.train.SequenceExample(context=length, feature_lists=tf.train.FeatureLists(feature_list=lists))

    def check(data):
        chunk, words = outcome(lambda: checked(Path("a"), 0, [data], manifest, whole=True))
        if words is not None:
            assert words.startswith("a: example 0: ")
            return
        proto = tf.train.SequenceExample.FromString(data)
        for name, found in (("inputs", chunk.inputs), ("labels", chunk.labels)):
            steps = proto.feature_lists.feature_list[name].feature
            assert found.tolist() == [value for step in steps for value in step.int64_list.value]
            assert len(found) == len(steps) == chunk.lengths[0]
        assert chunk.lengths.tolist() == list(proto.context.feature["length"].int64_list.value)

    sound = whole.SerializeToString(deterministic=True)
    longer = sound[:-13] + b"\x06" + sound[-12:]  # TensorFlow reads two labels there; it is no message
    with pytest.raises(DataError, match="example 0: record = bytes that are no SequenceExample"):
        checked(Path("a"), 0, [longer], manifest, whole=True)
    tried(damaged(sound), check)
