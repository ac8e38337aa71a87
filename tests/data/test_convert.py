"""python -m workbench.convert: people's files come back as what they are, or it is said why they cannot."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import tensorflow as tf
from pyarrow import parquet

from workbench import convert as command
from workbench.data.convert import Schema, convert
from workbench.data.convert import readers as readers_room
from workbench.data.convert.schema import read_schema
from workbench.data.convert.workplace import building
from workbench.data.encode import Encoded
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST
from workbench.data.records import framed, masked_checksums
from workbench.data.sequence_example import to_sequence_example
from workbench.data.verify import read_split, verify_examples

WORDS = [
    (["the", "dog", "barks"], ["D", "N", "V"]),
    (["a", "cat"], ["D", "N"]),
    (["the", "cat", "naps"], ["D", "N", "V"]),
]
TEXTS = [(["no", "good"], "bad"), (["so", "good", "so"], "good"), (["fine"], "good")]
IDS = [([3, 5, 2], [0, 1, 1]), ([4, 300], [1, 0]), ([7], [2])]
FRAMES = [([[0.5, 1.0], [2.0, -1.5]], 1), ([[3.0, 4.0]], 0), ([[0.25, 0.5]] * 3, 1)]
NOTHING_HELD_OUT = {"validation_share": 0}


def examples_of(folder):
    """split -> (inputs as symbols, ids or floats; labels by name)."""
    manifest, found = verify_examples(folder), {}
    for split in manifest.splits:
        found[split] = []
        for chunk in read_split(folder, split, manifest):
            ends = np.cumsum(chunk.lengths)[:-1]
            tags = np.split(chunk.labels, ends) if manifest.task == "tag" else chunk.labels
            for inputs, labels in zip(np.split(chunk.inputs, ends), tags, strict=True):
                symbols = inputs.tolist()
                if manifest.inputs == "ids":
                    symbols = [manifest.vocabulary[i] for i in symbols]
                names = [manifest.labels[i] for i in np.atleast_1d(labels)]
                found[split].append((symbols, names if manifest.task == "tag" else names[0]))
    return found


def in_words(examples):
    """As `examples_of` gives what was written as numbers."""
    return [
        (
            inputs if isinstance(inputs[0], list) else list(map(str, inputs)),
            list(map(str, labels)) if isinstance(labels, list) else str(labels),
        )
        for inputs, labels in examples
    ]


def json_lines(examples, **keys):
    named = {"inputs": "inputs", "labels": "labels", **keys}
    return "".join(json.dumps({named["inputs"]: i, named["labels"]: k}) + "\n" for i, k in examples).encode()


def table(examples, delimiter=","):
    """A CSV of strings."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["inputs", "labels"])
    for inputs, labels in examples:
        writer.writerow(
            [" ".join(map(str, inputs)), labels if isinstance(labels, str) else " ".join(map(str, labels))]
        )
    return stream.getvalue().encode()


def padded(examples, fill=0):
    lengths = np.array([len(inputs) for inputs, _ in examples])
    inputs = np.full(
        (len(examples), lengths.max(), *np.shape(examples[0][0])[1:]), fill, np.asarray(examples[0][0]).dtype
    )
    for row, (given, _) in zip(inputs, examples, strict=True):
        row[: len(given)] = given
    labels = [label for _, label in examples]
    if isinstance(labels[0], list):
        tags = np.full(inputs.shape[:2], -1)
        for row, given in zip(tags, labels, strict=True):
            row[: len(given)] = given
        labels = tags
    return {"inputs": inputs, "labels": np.array(labels), "lengths": lengths}


def end_to_end(examples):
    return {
        "inputs": np.concatenate([np.array(inputs) for inputs, _ in examples]),
        "labels": np.concatenate([np.atleast_1d(labels) for _, labels in examples]),
        "lengths": np.array([len(inputs) for inputs, _ in examples]),
    }


def write_npz(path, **arrays):
    np.savez(path, **arrays)


def write_npy(path, **arrays):
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)


def write_parquet(path, examples):
    inputs, labels = zip(*examples, strict=True)
    parquet.write_table(pyarrow.table({"inputs": list(inputs), "labels": list(labels)}), path)


def write_saved(path, examples, names=None):
    """As `datasets.Dataset.save_to_disk` does, in two files."""
    path.mkdir(parents=True)
    for i, part in enumerate((examples[:1], examples[1:])):
        inputs, labels = zip(*part, strict=True)
        made = pyarrow.table({"inputs": list(inputs), "labels": list(labels)})
        with (
            pyarrow.OSFile(str(path / f"data-{i}.arrow"), "wb") as sink,
            pyarrow.ipc.new_stream(sink, made.schema) as to,
        ):
            to.write_table(made)
    state = {"_data_files": [{"filename": f"data-{i}.arrow"} for i in (0, 1)]}
    (path / "state.json").write_text(json.dumps(state))
    feature = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "string", "_type": "Value"}
    (path / "dataset_info.json").write_text(json.dumps({"features": {"labels": feature}}))


def treebank(examples):
    lines = []
    for words, tags in examples:
        lines.append("# text = " + " ".join(words))
        lines += [
            f"{i}\t{w}\t_\t{t}" + "\t_" * 6 for i, (w, t) in enumerate(zip(words, tags, strict=True), 1)
        ]
        lines.append("")
    return "\n".join(lines).encode() + b"\n"


FORMS = {
    "a.jsonl": (WORDS, lambda path: path.write_bytes(json_lines(WORDS)), {}),
    "b.json": (TEXTS, lambda path: path.write_bytes(json_lines(TEXTS)), {}),
    "c.ndjson": (IDS, lambda path: path.write_bytes(json_lines(IDS)), {}),
    "d.jsonl": (FRAMES, lambda path: path.write_bytes(json_lines(FRAMES)), {}),
    "e.jsonl.gz": (WORDS, lambda path: path.write_bytes(gzip.compress(json_lines(WORDS))), {}),
    "f.csv": (TEXTS, lambda path: path.write_bytes(table(TEXTS)), {}),
    "g.csv": (WORDS, lambda path: path.write_bytes(b"\xef\xbb\xbf" + table(WORDS)), {"task": "tag"}),
    "h.tsv": (TEXTS, lambda path: path.write_bytes(table(TEXTS, "\t")), {}),
    "i.csv": (IDS, lambda path: path.write_bytes(table(IDS)), {"task": "tag", "kind": "ids"}),
    "j.npz": (IDS, lambda path: write_npz(path, **padded(IDS)), {}),
    "k.npz": (IDS, lambda path: write_npz(path, **end_to_end(IDS)), {}),
    "l.npz": (FRAMES, lambda path: write_npz(path, **padded(FRAMES, np.nan)), {}),
    "m.npz": (FRAMES, lambda path: write_npz(path, **end_to_end(FRAMES)), {}),
    "n": (IDS, lambda path: write_npy(path, **padded(IDS)), {}),
    "o.npz": (TEXTS, lambda path: write_npz(
        path, inputs=np.array([" ".join(x) for x, _ in TEXTS]), labels=np.array([y for _, y in TEXTS])), {}),
    "p.parquet": (WORDS, lambda path: write_parquet(path, WORDS), {}),
    "q.parquet": (IDS, lambda path: write_parquet(path, IDS), {}),
    "r.parquet": (FRAMES, lambda path: write_parquet(path, FRAMES), {}),
    "s.parquet": (TEXTS, lambda path: write_parquet(path, TEXTS), {}),
    "t.conllu": (WORDS, lambda path: path.write_bytes(treebank(WORDS)), {}),
    "u.conllu.gz": (WORDS, lambda path: path.write_bytes(
        gzip.compress(treebank(WORDS).replace(b"\n", b"\r\n"))), {}),
    "v.txt": (TEXTS, lambda path: path.write_text("".join(f"{' '.join(x)}\t{y}\r\n" for x, y in TEXTS)), {}),
    "w": (WORDS, lambda path: write_saved(path, WORDS), {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_each_form_comes_back_as_it_was(tmp_path, form):
    examples, write, given = FORMS[form]
    write(tmp_path / form)
    convert([tmp_path / form], tmp_path / "out", Schema(**given, **NOTHING_HELD_OUT))
    assert examples_of(tmp_path / "out") == {"train": in_words(examples)}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([form, "out"])


@pytest.mark.parametrize("form", [*FORMS, "groups.csv"])
def test_in_blocks_of_a_few_bytes_it_is_the_same(tmp_path, monkeypatch, form):
    given = {"group": "g", "inputs": ["x"], "labels": "y"} if form == "groups.csv" else FORMS[form][2]
    if form == "groups.csv":
        (tmp_path / form).write_text("g,x,y\n1,1,a\n1,2,b\n2,3,a\n3,4,a\n3,5,b\n")
    else:
        FORMS[form][1](tmp_path / form)
    schema = Schema(**given, **NOTHING_HELD_OUT)
    whole = convert([tmp_path / form], tmp_path / "whole", schema)
    for reader in ("rows", "readers.csv_rows", "readers.arrays", "readers.arrow"):
        monkeypatch.setattr(f"workbench.data.convert.{reader}.BLOCK", 6)
    told = []
    parts = convert([tmp_path / form], tmp_path / "parts", schema, progress=lambda *one: told.append(one))
    assert parts.fingerprint == whole.fingerprint
    assert sum(what == "reading" for what, _, _ in told) > 1


@pytest.mark.parametrize("form", ["a.jsonl", "b.json", "c.ndjson", "p.parquet", "q.parquet"])
def test_the_short_cut_by_pyarrow_makes_the_same_bytes(tmp_path, monkeypatch, form):
    write = FORMS[form][1]
    write(tmp_path / form)
    reader = readers_room.READERS[Path(form).suffix]
    short, called = reader.packed, []
    object.__setattr__(reader, "packed", lambda *given: called.append(short(*given)) or called[-1])
    try:
        one = convert([tmp_path / form], tmp_path / "one", Schema())
        assert called[0] is not None
        object.__setattr__(reader, "packed", None)
        assert convert([tmp_path / form], tmp_path / "two", Schema()).fingerprint == one.fingerprint
    finally:
        object.__setattr__(reader, "packed", short)


def test_records_are_those_of_protocol_buffers_and_tensorflow_reads_them(tmp_path):
    draw = np.random.default_rng(0)
    for tag in (True, False):
        for width in (None, 1, 3):
            lengths = np.array([0, 1, 2, 400, 7] if tag else [1, 2, 400, 7])
            tokens = int(lengths.sum())
            inputs = draw.integers(0, 2**31, tokens) >> draw.integers(0, 31, tokens)
            if width:
                inputs = draw.normal(size=(tokens, width)).astype(np.float32)
            labels = draw.integers(0, 300, tokens if tag else len(lengths))
            path = tmp_path / "a.tfrecord"
            path.write_bytes(framed(lengths, inputs, labels, tag=tag))
            read = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
            ends = np.cumsum(lengths)[:-1]
            tags = np.split(labels, ends) if tag else [np.array(one) for one in labels]
            wanted = [
                to_sequence_example(Encoded(*one)) for one in zip(np.split(inputs, ends), tags, strict=True)
            ]
            assert [tf.train.SequenceExample.FromString(record) for record in read] == wanted


def test_checksums_of_every_length():
    data = np.random.default_rng(0).bytes(1000)
    records = [data[:size] for size in range(4, 700)] + [data * 5000]
    for record, found in list(zip(records, masked_checksums(records), strict=True))[::37]:
        assert found == _reference(record)


def _reference(data):
    """CRC-32C a bit at a time, masked."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


# -- options


def made(folder, content, name="a.jsonl", **given):
    (folder / name).write_bytes(content)
    return convert([folder / name], folder / "out", Schema(**{**NOTHING_HELD_OUT, **given}))


def test_a_series_is_the_rows_of_a_group(tmp_path):
    rows = "run,x,y,state\n1,0.5,1,a\n1,2,-1.5,b\n2,3,4,b\n"
    made(tmp_path, rows.encode(), "a.csv", group="run", inputs=["x", "y"], labels="state")
    assert examples_of(tmp_path / "out")["train"] == [
        ([[0.5, 1.0], [2.0, -1.5]], ["a", "b"]),
        ([[3.0, 4.0]], ["b"]),
    ]


def test_a_label_that_is_one_in_each_group(tmp_path):
    rows = "run,word,state\n1,no,bad\n1,good,bad\n2,good,fine\n"
    made(tmp_path, rows.encode(), "a.csv", group="run", inputs="word", labels="state", task="classify")
    assert examples_of(tmp_path / "out")["train"] == [(["no", "good"], "bad"), (["good"], "fine")]


def test_splits_by_name_by_word_and_by_column(tmp_path):
    for name, (inputs, _) in zip(("my-train.jsonl", "my-dev.jsonl", "third"), WORDS, strict=True):
        (tmp_path / name).write_bytes(json_lines([(inputs, ["A"] * len(inputs))]))
    (tmp_path / "third").rename(tmp_path / "third.jsonl")
    given = [tmp_path / "my-train.jsonl", tmp_path / "my-dev.jsonl", f"test={tmp_path}/third.jsonl"]
    convert(given, tmp_path / "out", Schema())
    assert {split: len(of) for split, of in examples_of(tmp_path / "out").items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }
    parts = ("train", "dev", "test", "Validation")
    rows = [{"inputs": "a b" + " a" * i, "labels": "x", "part": part} for i, part in enumerate(parts)]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest = convert([tmp_path / "b.jsonl"], tmp_path / "two", Schema(split="part"))
    assert {split: info.examples for split, info in manifest.splits.items()} == {
        "train": 1,
        "validation": 2,
        "test": 1,
    }


def test_examples_that_are_alike_are_held_out_together_whatever_the_file(tmp_path):
    """Whichever form they have and in whatever order; the seed draws another part."""
    examples = [([f"w{i}", f"v{i % 7}"], ["A", "B"]) for i in range(300)] * 2
    one = made(tmp_path, json_lines(examples), validation_share=0.2)
    held_out = {tuple(inputs) for inputs, _ in examples_of(tmp_path / "out")["validation"]}
    trained = {tuple(inputs) for inputs, _ in examples_of(tmp_path / "out")["train"]}
    # a symbol of validation alone is the unknown: told by the other, and by how many there are
    assert 2 * 300 * 0.1 < one.splits["validation"].examples < 2 * 300 * 0.3
    assert one.splits["validation"].examples % 2 == 0
    assert len(trained) == one.splits["train"].examples // 2
    assert all(word == "<unk>" for word, _ in held_out)
    (tmp_path / "b.csv").write_bytes(table(examples[::-1]))
    two = convert([tmp_path / "b.csv"], tmp_path / "two", Schema(task="tag", validation_share=0.2))
    assert two.splits == one.splits
    three = convert(
        [tmp_path / "b.csv"], tmp_path / "three", Schema(task="tag", validation_share=0.2, seed=1)
    )
    assert three.vocabulary != two.vocabulary


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"max_length": 2}, [("bc", "01")]),
        ({"max_length": 2, "over_length": "split"},
         [("ab", "01"), ("c", "0"), ("bc", "01"), ("aa", "00"), ("aa", "00")]),
        ({"min_count": 5}, [("aUU", "010"), ("UU", "01"), ("aaaa", "0000")]),
    ],
)  # fmt: skip
def test_lengths_and_rare_symbols(tmp_path, given, wanted):
    rows = json_lines([("abc", "010"), ("bc", "01"), ("aaaa", "0000")])
    manifest = made(tmp_path, rows, tokens="characters", task="tag", **given)
    found = [("".join(x), "".join(y)) for x, y in examples_of(tmp_path / "out")["train"]]
    assert [(x.replace("<unk>", "U"), y) for x, y in found] == wanted
    left = given.get("over_length"), len(wanted)
    assert (manifest.dropped, manifest.cut) == {
        (None, 1): ({"over_length": 2}, {}), ("split", 5): ({}, {"examples": 2, "pieces": 4}), (None, 3): ({}, {}),
    }[left]  # fmt: skip


def test_classes_vocabulary_and_what_is_left_to_padding(tmp_path):
    manifest = made(
        tmp_path, json_lines(IDS), classes=["x", "y", "z"], vocabulary=[f"s{i}" for i in range(400)], first_class=1,
        compression="GZIP", shards=2,
    )  # fmt: skip
    assert manifest.labels == ["<pad>", "x", "y", "z"]
    assert [shard.file for shard in manifest.shards] == [
        f"train-0000{i}-of-00002.tfrecord.gz" for i in (0, 1)
    ]
    assert not manifest.class_zero_in_use
    wanted = [([f"s{i}" for i in x], ["xyz"[k] for k in y]) for x, y in IDS]
    assert examples_of(tmp_path / "out")["train"] == wanted


def test_labels_that_are_the_names_of_folders(tmp_path):
    for folder, text in (("pos", "so good\nfine\n"), ("neg", "no good\n")):
        (tmp_path / "in" / "train" / folder).mkdir(parents=True)
        (tmp_path / "in" / "train" / folder / "a.txt").write_text(text)
    convert([tmp_path / "in"], tmp_path / "out", Schema(labels="@folder", **NOTHING_HELD_OUT))
    wanted = [(["no", "good"], "neg"), (["so", "good"], "pos"), (["fine"], "pos")]
    assert examples_of(tmp_path / "out") == {"train": wanted}


def test_what_datasets_saved_with_its_splits_and_class_names(tmp_path):
    numbered = [(inputs, [n % 2 for n in range(len(inputs))]) for inputs, _ in WORDS]
    for split in ("train", "validation"):
        write_saved(tmp_path / "in" / split, numbered[: 2 if split == "train" else 3], ["EVEN", "ODD"])
    (tmp_path / "in" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    convert([tmp_path / "in"], tmp_path / "out", Schema())
    found = examples_of(tmp_path / "out")
    assert [len(found[split]) for split in ("train", "validation")] == [2, 3]
    assert found["train"][0] == (["the", "dog", "barks"], ["EVEN", "ODD", "EVEN"])


def test_names_that_are_numbers_are_in_their_order_and_true_is_a_name(tmp_path):
    assert made(tmp_path, b"inputs,labels\na,10\nb,9\nc,2\n", "a.csv").labels == ["2", "9", "10"]
    lines = b'{"inputs": "a", "labels": true}\n{"inputs": "b", "labels": false}\n'
    (tmp_path / "b.jsonl").write_bytes(lines)
    assert convert([tmp_path / "b.jsonl"], tmp_path / "two", Schema(**NOTHING_HELD_OUT)).labels == [
        "false",
        "true",
    ]


def test_empty_examples(tmp_path):
    rows = json_lines([([], []), (["a"], ["X"])])
    assert made(tmp_path, rows).splits["train"].histogram == {0: 1, 1: 1}
    manifest = convert([tmp_path / "a.jsonl"], tmp_path / "two", Schema(empty="drop", **NOTHING_HELD_OUT))
    assert (manifest.splits["train"].histogram, manifest.dropped) == ({1: 1}, {"empty": 1})


def test_words_without_a_tag_are_left_out_and_counted(tmp_path):
    content = treebank([*WORDS, (["x"], ["_"])]).replace(b"2\tcat", b"1-2\tacat" + b"\t_" * 8 + b"\n2\tcat")
    assert made(tmp_path, content, "a.conllu").dropped == {"no_label": 1}
    assert examples_of(tmp_path / "out")["train"] == WORDS
    lemmas = (
        content.replace(b"dog\t_", b"dog\tDOG")
        .replace(b"barks\t_", b"barks\tBARK")
        .replace(b"the\t_", b"the\tTHE")
    )
    (tmp_path / "b.conllu").write_bytes(lemmas[: lemmas.index(b"\n\n") + 2])
    convert([tmp_path / "b.conllu"], tmp_path / "two", Schema(inputs="lemma", **NOTHING_HELD_OUT))
    assert examples_of(tmp_path / "two")["train"] == [(["THE", "DOG", "BARK"], ["D", "N", "V"])]


def test_many_blocks_and_processes_make_the_same_bytes_as_one(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    examples = [
        ([f"w{i}" for i in draw.integers(0, 99, n)], ["A", "B"] * n) for n in draw.integers(1, 9, 400)
    ]
    examples = [(inputs, labels[: len(inputs)]) for inputs, labels in examples]
    (tmp_path / "a.jsonl").write_bytes(json_lines(examples))
    schema = Schema(shards=3, min_count=2)
    one = convert([tmp_path / "a.jsonl"], tmp_path / "one", schema)
    monkeypatch.setattr("workbench.data.convert.rows.BLOCK", 1000)
    told = []
    two = convert(
        [tmp_path / "a.jsonl"], tmp_path / "two", schema, progress=lambda *given: told.append(given)
    )
    assert two.fingerprint == one.fingerprint
    assert [what for what, _, _ in told].count("writing") == len(two.shards) == 6
    size = (tmp_path / "a.jsonl").stat().st_size
    assert [one for one in told if one[0] == "reading"][-1] == ("reading", size, size)
    three = convert([tmp_path / "a.jsonl"], tmp_path / "three", schema, processes=2)
    assert three.fingerprint == one.fingerprint


# -- faults


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


OBJECT = b'{"inputs": ["a", "b"], "labels": ["X", "Y"]}\n'


@pytest.mark.parametrize(
    ("name", "content", "given", "parts"),
    [
        # JSON lines
        ("a.jsonl", OBJECT + b'{"inputs": ["a"]\n', {}, ["a.jsonl: line 2", "no JSON"]),
        ("a.jsonl", OBJECT[:-1] + OBJECT + b"\n", {}, ["line 1", "Extra data"]),
        ("a.jsonl", OBJECT + b"null\n", {}, ["line 2", "an object a line"]),  # pyarrow's reader would crash
        ("a.jsonl", OBJECT[:-1] + b" null\n", {}, ["line 1", "Extra data"]),
        ("a.jsonl", OBJECT + b"\n\n[1]\n", {}, ["line 4", "an object a line"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["a"], "labels": ["X"], "labels": ["Y"]}', {}, ["line 2", "there twice"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["a"], "label": ["X"]}', {}, ["line 2: labels = missing", "label?"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["a"], "labels": []}', {}, ["line 2", "labels = 0", "each of 1 tokens"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["a", 3], "labels": ["X", "Y"]}', {}, ["line 2: inputs[1] = 3"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["a", null], "labels": ["X", "Y"]}', {}, ["line 2: inputs[1] = None"]),
        ("a.jsonl", OBJECT + b'{"inputs": null, "labels": ["X", "Y"]}', {}, ["line 2: inputs = None"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["\\ud800"], "labels": ["X"]}', {}, ["line 2: inputs[0]", "no Unicode"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["\xff"], "labels": ["X"]}', {}, ["line 2", "byte 0xff", "no UTF-8"]),
        ("a.jsonl", b"[" * 100_000, {}, ["line 1", "no JSON"]),
        ("a.jsonl", b'{"inputs": [' + b"9" * 5000 + b'], "labels": [1]}', {}, ["line 1", "no JSON"]),
        ("a.jsonl", b'{"inputs": [4, 3000000000], "labels": [1, 1]}', {}, ["inputs[1] = 3000000000", "32 bits"]),
        ("a.jsonl", b'{"inputs": [4, -1], "labels": [1, 1]}', {}, ["line 1: inputs[1] = -1", "begin at 0"]),
        ("a.jsonl", b'{"inputs": [4, 2.5], "labels": [1, 1]}', {}, ["line 1: inputs[1] = 2.5", "features"]),
        ("a.jsonl", b'{"inputs": [4, true], "labels": [1, 1]}', {}, ["line 1: inputs[1] = True"]),
        ("a.jsonl", b'{"inputs": [4], "labels": [-1]}', {}, ["line 1: labels[0] = -1"]),
        ("a.jsonl", b'{"inputs": [4], "labels": -1}', {}, ["line 1: labels = -1"]),
        ("a.jsonl", b'{"inputs": [4], "labels": 0.5}', {}, ["line 1: labels = 0.5", "whole number"]),
        ("a.jsonl", b'{"inputs": [4], "labels": null}', {}, ["line 1: labels = None"]),
        ("a.jsonl", b'{"inputs": [4], "labels": 5}', {"classes": ["x"]}, ["labels = 5", "the classes, 0 to 0"]),
        ("a.jsonl", b'{"inputs": [4], "labels": 0}', {"vocabulary": ["x"]}, ["inputs[0] = 4", "the vocabulary"]),
        ("a.jsonl", b'{"inputs": "a", "labels": "y"}', {"classes": ["x"]}, ["labels = y", "outside the classes x"]),
        ("a.jsonl", b'{"inputs": [[1, NaN]], "labels": 0}', {}, ["line 1: inputs[0] = [1.0, nan]", "not finite"]),
        ("a.jsonl", b'{"inputs": [[1e99]], "labels": 0}', {}, ["line 1: inputs[0] = [inf]", "not finite"]),
        ("a.jsonl", b'{"inputs": [[1, 2], [1]], "labels": 0}', {}, ["line 1: inputs[1] = 1 values", "must have 2"]),
        ("a.jsonl", b'{"inputs": [[1, 2]], "labels": 0}\n{"inputs": [[1]], "labels": 0}', {}, ["line 2", "[T, 2]"]),
        ("a.jsonl", b'{"inputs": [[1, "x"]], "labels": 0}', {}, ["line 1: inputs[0] = ", "must be numbers"]),
        ("a.jsonl", b'{"inputs": [], "labels": 0}', {}, ["line 1: length = 0", "cannot be classified"]),
        ("a.jsonl", b'{"inputs": [1], "labels": 0, "n": 2}', {"lengths": "n"}, ["lengths = 2", "from 0 to 1"]),
        ("a.jsonl", b'{"inputs": [1], "labels": 0, "n": "x"}', {"lengths": "n"}, ["lengths = x"]),
        ("a.jsonl", b'{"inputs": [1], "labels": 0, "s": "no"}', {"split": "s"}, ["line 1: split = no", "train"]),
        ("a.jsonl", OBJECT + b'{"inputs": [1], "labels": [2]}', {}, ["line 2: inputs[0] = 1"]),
        ("a.jsonl", OBJECT + b'{"inputs": ["a"], "labels": [2]}', {}, ["line 2: labels[0] = 2"]),
        ("a.jsonl", b"", {}, ["a.jsonl: file = empty"]),
        ("a.jsonl", b"\n\n", {}, ["no example to train on"]),
        ("a.jsonl", OBJECT, {"max_length": 1}, ["no example to train on", "over_length"]),
        ("a.jsonl", OBJECT, {"max_length": 1, "over_length": "keep"}, ["line 1: length = 2", "is keep"]),
        ("a.jsonl", b"\x1f\x8b" + b"x" * 50, {}, ["a.jsonl", "get the file again"]),
        ("a.jsonl", gzip.compress(OBJECT * 99)[:-20], {}, ["a.jsonl", "ends too early"]),
        ("a.jsonl", b"PAR1" + b"x" * 50, {}, ["a.jsonl: file = a Parquet file"]),
        ("a.jsonl", OBJECT.decode().encode("utf-16"), {}, ["a text in UTF-16"]),
        # CSV
        ("a.csv", b"text,labels\na,b\n", {}, ["line 1: inputs = missing", "there is text, labels"]),
        ("a.csv", b"inputs;labels\na;b\n", {}, ["give --delimiter"]),
        ("a.csv", b"inputs,labels\na,b\nc\n", {}, ["line 3: columns = 1", "the head has 2"]),
        ("a.csv", b'inputs,labels\na,b\n"c,d\ne,f\n', {}, ["unexpected end of data"]),
        ("a.csv", b'inputs,labels\n"a"b,c\n', {}, ["line 2", "no CSV"]),
        ("a.csv", b"inputs,inputs\na,b\n", {}, ["head = inputs"]),
        ("a.csv", b"inputs,labels\na,\xff\n", {}, ["byte 0xff", "no UTF-8"]),
        ("a.csv", b"inputs,labels\n,x\n", {}, ["line 2: length = 0"]),
        ("a.csv", b"inputs,labels\na b,x\n", {"task": "tag"}, ["line 2: labels = 1", "each of 2 tokens"]),
        ("a.csv", b"inputs,labels\n1 x,y\n", {"kind": "ids"}, ["line 2: inputs", "whole numbers"]),
        ("a.csv", b"inputs,labels\n1 2,y\n", {"kind": "features"}, ["must be numbers"]),
        ("a.csv", b"inputs,x,labels\n1,2,y\n", {"inputs": ["inputs", "x"]}, ["name the group"]),
        ("a.csv", b"g,inputs,labels\n1,a,b\n2,a,b\n1,a,b\n", {"group": "g"}, ["g = 1 of its", "sort the file"]),
        ("a.csv", b"g,inputs,labels\n1,a,b\n1,a,c\n", {"group": "g", "task": "classify"},
         ["line 2: labels = b and c", "must be one in all rows of g 1"]),
        ("a.csv", b"g,x,labels\n1,2,b\n1,,b\n", {"group": "g", "inputs": ["x"]}, ["inputs[1] = ['']"]),
        # text and CoNLL-U
        ("a.txt", b"a b\tX\nc d\n", {}, ["line 2", "one tab"]),
        ("a.txt", b"a\tX\n", {"lengths": "n"}, ["columns = n", "a text has none"]),
        ("a.conllu", treebank(WORDS).replace(b"2\tdog", b"3\tdog"), {}, ["line 3", "next word is 2"]),
        ("a.conllu", treebank(WORDS).replace(b"\t_\n", b"\n"), {}, ["line 2", "9 columns"]),
        ("a.conllu", treebank(WORDS).replace(b"\tdog\t", b"\t\t"), {}, ["line 3", "one is empty"]),
        ("a.conllu", treebank(WORDS), {"labels": "pos"}, ["pos = missing", "there is id, form"]),
        ("a.conllu", b"just words\n", {}, ["line 1", "not CoNLL-U"]),
        # NumPy
        ("a.npz", b"PK\x03\x04" + b"x" * 60, {}, ["cannot be read as NumPy arrays"]),
        ("a.npz", b"", {}, ["a.npz: file = empty"]),
        ("a.parquet", b"PAR1" + b"x" * 60, {}, ["cannot be read as Parquet"]),
        ("a.npy", b"", {}, ["one array", "give the folder"]),
        ("a.xlsx", b"", {}, [".xlsx", "is read by its suffix"]),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_left(tmp_path, name, content, given, parts):
    (tmp_path / name).write_bytes(content)
    refused(
        lambda: convert([tmp_path / name], tmp_path / "out", Schema(**{**NOTHING_HELD_OUT, **given})), *parts
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda one: one.pop("lengths"), ["lengths = missing", "an array `lengths` of 3"]),
        (lambda one: one.pop("inputs"), ["inputs = missing", "there is labels, lengths"]),
        (lambda one: one.update(labels=one["labels"][:2]), ["labels: shape = (2, 3)", "must begin with 3"]),
        (lambda one: one.update(lengths=one["lengths"][:2]), ["inputs: shape", "as many tokens"]),
        (lambda one: one.update(lengths=one["lengths"] + 1), ["example 0: lengths = 4", "from 0 to 3"]),
        (lambda one: one.update(lengths=-one["lengths"]), ["example 0: lengths = -3"]),
        (lambda one: one.update(lengths=one["lengths"] * 1.0), ["must be whole numbers"]),
        (
            lambda one: one.update(inputs=np.array([[1], [2, 3], [4]], object)),
            ["padded, with an array `lengths`"],
        ),
        (lambda one: one.update(inputs=np.asfortranarray(one["inputs"])), ["columns first"]),
        (lambda one: one.update(inputs=np.array(3)), ["must have an axis"]),
        (lambda one: one.update(inputs=one["inputs"] * 1j), ["dtype = complex128"]),
        (lambda one: one.update(inputs=one["inputs"][:, :, None, None]), ["must be"]),
    ],
    ids=lambda _: "",
)
def test_arrays_that_are_not_a_batch(tmp_path, change, parts):
    arrays = padded(IDS)
    change(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    refused(lambda: convert([tmp_path / "a.npz"], tmp_path / "out"), *parts)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def write_classes(path, names, labels):
    """A Parquet file whose labels are `datasets`' ClassLabel."""
    made = pyarrow.table({"inputs": [["a", f"b{i}"] for i in range(len(labels))], "labels": labels})
    about = {"info": {"features": {"labels": {"names": names, "_type": "ClassLabel"}}}}
    parquet.write_table(made.replace_schema_metadata({"huggingface": json.dumps(about)}), path)


@pytest.mark.parametrize("given", [{}, {"classes": ["no", "yes"]}])
def test_files_that_number_their_classes_unlike_are_refused(tmp_path, given):
    write_classes(tmp_path / "train.parquet", ["neg", "pos"], [0, 1, 1])
    write_classes(tmp_path / "dev.parquet", ["pos", "neg"], [0, 1])
    both = [tmp_path / "train.parquet", tmp_path / "dev.parquet"]
    refused(
        lambda: convert(both, tmp_path / "out", Schema(**given)),
        "dev.parquet: classes = pos, neg",
        "neg, pos",
    )
    write_classes(tmp_path / "dev.parquet", ["neg", "pos"], [0, 1])
    assert convert(both, tmp_path / "out", Schema(**given)).labels == given.get("classes", ["neg", "pos"])


def test_classes_given_in_another_order_than_the_file_has_are_refused(tmp_path):
    write_classes(tmp_path / "a.parquet", ["neg", "pos"], [0, 1, 1])
    refused(
        lambda: convert([tmp_path / "a.parquet"], tmp_path / "out", Schema(classes=["pos", "neg"])),
        "a.parquet: classes = neg, pos",
        "another order",
    )


def test_as_many_tokens_as_examples_are_read_by_the_task_that_is_given(tmp_path):
    path, schema = tmp_path / "a.npz", {"empty": "drop", **NOTHING_HELD_OUT}
    np.savez(path, inputs=np.array([5, 6, 7]), lengths=np.array([2, 0, 1]), labels=np.array([0, 1, 1]))
    refused(lambda: convert([path], tmp_path / "out", Schema(**schema)), "a.npz", "task", "--task")
    convert([path], tmp_path / "classify", Schema(task="classify", **schema))
    assert examples_of(tmp_path / "classify")["train"] == [(["5", "6"], "0"), (["7"], "1")]
    convert([path], tmp_path / "tag", Schema(task="tag", **schema))
    assert examples_of(tmp_path / "tag")["train"] == [(["5", "6"], ["0", "1"]), (["7"], ["1"])]


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_what_labels_are_is_not_told_by_the_size_of_a_block(tmp_path, monkeypatch, task):
    """Of the first block, of one example of one token, there are as many tokens as examples."""
    monkeypatch.setattr("workbench.data.convert.readers.arrays.BLOCK", 16)
    inputs, lengths = np.arange(2, 11), np.array([1, 2, 2, 2, 2])
    labels = np.arange(9) % 2 if task == "tag" else np.array([0, 1, 0, 1, 1])
    np.savez(tmp_path / "a.npz", inputs=inputs, lengths=lengths, labels=labels)
    assert convert([tmp_path / "a.npz"], tmp_path / "out", Schema(**NOTHING_HELD_OUT)).task == task
    ends = np.cumsum(lengths)[:-1]
    tags = np.split(labels, ends) if task == "tag" else labels
    wanted = [(x.tolist(), y.tolist()) for x, y in zip(np.split(inputs, ends), tags, strict=True)]
    assert examples_of(tmp_path / "out")["train"] == in_words(wanted)


def test_arrays_end_to_end_labelled_by_their_name(tmp_path):
    np.savez(tmp_path / "good.npz", inputs=np.array([5, 6, 7]), lengths=np.array([2, 1]))
    convert([tmp_path / "good.npz"], tmp_path / "out", Schema(labels="@file", **NOTHING_HELD_OUT))
    assert examples_of(tmp_path / "out")["train"] == [(["5", "6"], "good"), (["7"], "good")]


def test_lengths_by_another_name(tmp_path):
    for name, arrays in (("a.npz", padded(IDS)), ("b.npz", end_to_end(IDS))):
        arrays["n"] = arrays.pop("lengths")
        np.savez(tmp_path / name, **arrays)
        convert([tmp_path / name], tmp_path / f"of-{name}", Schema(lengths="n", **NOTHING_HELD_OUT))
        assert examples_of(tmp_path / f"of-{name}")["train"] == in_words(IDS)


def test_features_that_may_be_padded_or_end_to_end_are_refused(tmp_path):
    """[3, 2], lengths of 3 in all: three examples of two steps, or three steps of two numbers."""
    features = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    np.savez(tmp_path / "a.npz", inputs=features, lengths=np.array([2, 0, 1]), labels=np.array([0, 1, 1]))
    schema = Schema(empty="drop", **NOTHING_HELD_OUT)
    refused(
        lambda: convert([tmp_path / "a.npz"], tmp_path / "out", schema), "inputs: shape = (3, 2)", "[N, T, D]"
    )


@pytest.mark.parametrize(
    ("name", "content", "given", "parts"),
    [
        ("a.csv", b"inputs,labels\na b,pos\nb c,\nc,neg\n", {}, ["line 3: labels = ''"]),
        ("a.csv", b"inputs,labels\na b,pos\nb c, \nc,neg\n", {}, ["line 3: labels = ' '"]),
        ("a.csv", b"g,inputs,labels\n1,a,X\n1,b,\n", {"group": "g"}, ["line 2: labels[1] = ''"]),
        ("a.txt", b"a b\tpos\nb c\t\n", {}, ["line 2: labels = ''"]),
        ("a.jsonl", b'{"inputs": "a", "labels": "x"}\n{"inputs": "b", "labels": ""}', {}, ["line 2: labels = ''"]),
        ("a.jsonl", b'{"inputs": ["a"], "labels": ""}', {"task": "classify"}, ["line 1: labels = ''"]),
        ("a.jsonl", b'{"inputs": ["a", "b"], "labels": ["X", ""]}', {}, ["line 1: labels[1] = ''"]),
        ("a.jsonl", b'{"inputs": ["a"], "labels": null}', {}, ["line 1: labels = None"]),
        ("a.parquet", [(["a"], "x"), (["b"], "")], {}, ["row 1: labels = ''"]),
        ("a.parquet", [(["a"], "x"), (["b"], None)], {}, ["row 1: labels = None"]),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_an_empty_label_names_no_class(tmp_path, name, content, given, parts):
    path = tmp_path / name
    write_parquet(path, content) if isinstance(content, list) else path.write_bytes(content)
    refused(lambda: convert([path], tmp_path / "out", Schema(**given, **NOTHING_HELD_OUT)), *parts)


def test_an_empty_name_is_a_class_where_the_classes_have_it(tmp_path):
    content = b"inputs,labels\na b,pos\nb c,\n"
    assert made(tmp_path, content, "a.csv", classes=["", "pos"]).splits["train"].label_counts == (1, 1)


@pytest.mark.parametrize("kind", [None, "features", "ids", "symbols"])
def test_one_column_of_numbers_is_what_is_said_of_it(tmp_path, kind):
    values = ["3", "5", "7"] if kind == "ids" else ["0.5", "0.7", "1.5"]
    rows = "g,x,labels\n" + "".join(f"{g},{x},a\n" for g, x in zip("112", values, strict=True))
    given = {"group": "g", "inputs": "x", "kind": kind}
    if kind is None:
        refused(
            lambda: made(tmp_path, rows.encode(), "a.csv", **given), "a.csv", "x = 0.5", "--kind features"
        )
        return
    made(tmp_path, rows.encode(), "a.csv", **given)
    inputs = (
        [np.float32([[0.5], [0.7]]).tolist(), [[1.5]]] if kind == "features" else [values[:2], values[2:]]
    )
    assert [x for x, _ in examples_of(tmp_path / "out")["train"]] == inputs


def test_a_column_of_words_may_have_numbers_in_it(tmp_path):
    made(tmp_path, b"g,x,labels\n1,3,a\n1,apples,b\n2,4,a\n", "a.csv", group="g", inputs="x")
    assert [x for x, _ in examples_of(tmp_path / "out")["train"]] == [["3", "apples"], ["4"]]


@pytest.mark.parametrize(
    ("given", "parts"),
    [({"split": "s"}, ["1: split = None"]), ({"lengths": "n"}, ["1: lengths = None"])],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_null_is_no_split_and_no_length(tmp_path, name, given, parts):
    rows = [{"inputs": [4, 2], "labels": k, "s": "train", "n": 2} for k in (0, 1)]
    rows[name.endswith("parquet")] |= {"s": None, "n": None}  # line 1, row 1
    if name == "a.jsonl":
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    refused(lambda: convert([tmp_path / name], tmp_path / "out", Schema(**given)), *parts)


@pytest.mark.parametrize(
    ("name", "option"),
    [("t.conllu", one) for one in ("split", "lengths", "group")] + [("a.jsonl", "group"), ("j.npz", "group")],
)
def test_an_option_that_a_format_has_not_is_refused(tmp_path, name, option):
    FORMS[name][1](tmp_path / name)
    refused(
        lambda: convert([tmp_path / name], tmp_path / "out", Schema(**{option: "x"})), name, f"{option} = x"
    )


def test_arrays_of_letters_that_are_none(tmp_path):
    inputs = np.array([0x61, 0x110000], np.uint32).view("U1")
    write_npy(tmp_path / "in", inputs=inputs, labels=np.array([0, 1]))
    refused(lambda: convert([tmp_path / "in"], tmp_path / "out"), "inputs: letter = 0x110000")


@pytest.mark.parametrize(("column", "wanted"), [("upos", 2), ("xpos", 2), ("feats", 3), ("misc", 3)])
def test_a_column_of_a_treebank_that_has_nothing_to_say(tmp_path, column, wanted):
    """An underscore is no part of speech; it is a word without features."""
    words = [["1", "a", "_", *["X"] * 7], ["1", "b", "_", *["X"] * 7], ["1", "c", "_", *["_"] * 7]]
    content = "\n\n".join("\t".join(one) for one in words) + "\n\n"
    manifest = made(tmp_path, content.encode(), "a.conllu", labels=column)
    assert manifest.splits["train"].examples == wanted
    assert manifest.dropped == ({"no_label": 1} if wanted == 2 else {})


def test_a_folder_as_treebanks_are_given_out(tmp_path):
    """Its licence, what to read, and the bare text of each split lie beside."""
    folder = tmp_path / "UD_English-Toy"
    folder.mkdir()
    for split, of in (("train", WORDS[:2]), ("dev", WORDS[2:])):
        (folder / f"en_toy-ud-{split}.conllu").write_bytes(treebank(of).replace(b"naps", b"barks"))
        (folder / f"en_toy-ud-{split}.txt").write_text("the dog barks")
    for name in ("LICENSE.txt", "README.md", "stats.xml"):
        (folder / name).write_text("of words")
    manifest = convert([folder], tmp_path / "out")
    assert {split: info.examples for split, info in manifest.splits.items()} == {"train": 2, "validation": 1}
    (folder / "more.csv").write_bytes(table(TEXTS))
    refused(lambda: convert([folder], tmp_path / "two"), "folder = .conllu, .csv", "name the files")


@pytest.mark.parametrize("bad", ["inputs", "labels"])
@pytest.mark.parametrize("lists", [True, False])
def test_strings_of_parquet_that_are_no_text(tmp_path, bad, lists):
    def strings(values):
        """As strings, unchecked."""
        return pyarrow.array(values, pyarrow.binary()).view(pyarrow.string())

    inputs = strings([b"a", b"caf\xe9" if bad == "inputs" else b"b", b"c"])
    labels = strings([b"X", b"\xff" if bad == "labels" else b"Y", b"X"])
    if lists:
        inputs = pyarrow.ListArray.from_arrays([0, 1, 2, 3], inputs)
    parquet.write_table(pyarrow.table({"inputs": inputs, "labels": labels}), tmp_path / "a.parquet")
    byte = "0xe9" if bad == "inputs" else "0xff"
    refused(
        lambda: convert([tmp_path / "a.parquet"], tmp_path / "out"), f"a.parquet: row 1: {bad}", byte, "UTF-8"
    )


@pytest.mark.parametrize(
    "words", [["x" * 300 + ".csv"], ["train=" + "x" * 300], ["a.csv", "--out", "x" * 300]]
)
def test_a_name_that_no_file_can_have(tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(table(TEXTS))
    words = words if "--out" in words else [*words, "--out", "out"]
    assert command.main([*words, "--processes", "1"]) == 2
    assert "File name too long" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("what", ["exists", "is_dir", "iterdir", "is_file"])
def test_a_path_that_may_not_be_looked_at(tmp_path, capsys, monkeypatch, what):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(table(TEXTS))

    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as changed:
        changed.setattr(Path, what, forbidden)
        code = command.main([f"{tmp_path}/in", "--out", str(tmp_path / "out"), "--processes", "1"])
    assert (code, "Permission denied" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EMFILE])
def test_only_a_full_disk_is_told_to_be_emptied(tmp_path, monkeypatch, code):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))

    def failing(*_):
        raise OSError(code, os.strerror(code), "of/this.name")

    monkeypatch.setattr("workbench.data.convert.write_shard", failing)
    with pytest.raises(DataError) as caught:
        convert([tmp_path / "a.csv"], tmp_path / "out")
    full = code in (errno.ENOSPC, errno.EDQUOT)
    assert (os.strerror(code) in str(caught.value), "free space" in str(caught.value)) == (True, full)
    assert full or "of/this.name" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_true_and_false_are_names_of_each_token_too(tmp_path):
    wanted = [(["a", "b"], ["true", "false"]), (["c"], ["false"])]
    examples = [(["a", "b"], [True, False]), (["c"], [False])]
    made(tmp_path, json_lines(examples))
    assert examples_of(tmp_path / "out")["train"] == wanted
    write_parquet(tmp_path / "b.parquet", examples)
    flags = np.array([True, False, False])
    np.savez(tmp_path / "c.npz", inputs=np.array(["a", "b", "c"]), lengths=np.array([2, 1]), labels=flags)
    for name in ("b.parquet", "c.npz"):
        convert([tmp_path / name], tmp_path / f"of-{name}", Schema(**NOTHING_HELD_OUT))
        assert examples_of(tmp_path / f"of-{name}")["train"] == wanted


@pytest.mark.parametrize(
    ("content", "given", "parts"),
    [
        (json_lines(FRAMES), {"vocabulary": ["a", "b"]}, ["vocabulary", "inputs are features"]),
        (json_lines(FRAMES), {"min_count": 2}, ["min_count = 2", "inputs are features"]),
        (json_lines(IDS), {"min_count": 2}, ["min_count = 2", "inputs are ids"]),
        (json_lines(WORDS), {"vocabulary": ["a", "b"]}, ["vocabulary", "inputs are symbols"]),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_what_is_given_and_would_not_be_used_is_refused(tmp_path, content, given, parts):
    refused(lambda: made(tmp_path, content, **given), "schema", *parts)


def test_a_file_s_split_and_a_column_of_splits_are_not_both_said(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("inputs,labels,part\nx,A,train\ny,B,dev\n")
    given = [tmp_path / "a.csv", f"validation={tmp_path}/b.csv"]
    refused(lambda: convert(given, tmp_path / "out", Schema(split="part")), "validation=", "split = part")
    splits = {"train": str(tmp_path / "a.csv")}
    refused(lambda: convert([], tmp_path / "out", Schema(split="part", splits=splits)), "split = part")


# -- the schema, the command, and ends that nobody chose


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"task": "tagging"}, ["task = tagging", "tag, classify"]),
        ({"validation_share": 1}, ["validation_share = 1", "at most 0.9"]),
        ({"delimiter": ",,"}, ["delimiter = ',,'", "one character"]),
        ({"classes": ["a", "a"]}, ["classes[1] = a", "each once"]),
        ({"kind": "symbols", "vocabulary": ["a"]}, ["vocabulary", "or give ids"]),
        ({"min_count": "2"}, ["min_count = 2", "a whole number"]),
    ],
)
def test_a_schema_is_checked_when_it_is_made(given, parts):
    refused(lambda: Schema(**given), *parts)


def test_a_schema_in_yaml_names_files_beside_it(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "names.txt").write_text("good\nbad\n")
    (tmp_path / "in" / "a.csv").write_bytes(table(TEXTS))
    (tmp_path / "in" / "s.yaml").write_text(
        "splits: {train: a.csv}\nclasses: names.txt\nvalidation_share: 0\n"
    )
    manifest = convert([], tmp_path / "out", Schema(**read_schema(tmp_path / "in" / "s.yaml")))
    assert manifest.labels == ["good", "bad"]
    assert examples_of(tmp_path / "out") == {"train": TEXTS}
    for text, parts in [
        ("[1", ["no YAML"]),
        ("a", ["a mapping"]),
        ("inptus: a", ["inptus = a", "did you mean inputs?"]),
        ("splits: [a]", ["splits = ['a']", "a mapping"]),
        ("classes: none.txt", ["none.txt: classes"]),
        ("splits: {dev: a.csv}", ["none is for training"]),
        ("splits: {trian: a.csv}", ["split = trian"]),
    ]:
        (tmp_path / "in" / "s.yaml").write_text(text)
        refused(
            lambda: convert([], tmp_path / "x", Schema(**read_schema(tmp_path / "in" / "s.yaml"))), *parts
        )


def test_the_command_ends_in_what_to_type(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_bytes(table([*TEXTS, ([], "good")]).replace(b"inputs", b"text"))
    words = [
        "reviews.csv",
        "--inputs",
        "text",
        "--empty",
        "drop",
        "--validation-share",
        "0",
        "--processes",
        "1",
    ]
    assert command.main([*words, "--out", "my reviews"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "my reviews: task classify, a vocabulary of 6, classes bad, good",
        "  train: 3 examples, 6 tokens, the longest 3",
        "  no validation split: nothing is evaluated on what was not trained on",
        "  left out, empty: 1",
        "Train on it:",
        "python -m workbench data=tfrecord 'data.path=my reviews'",
    ]
    assert command.main([*words, "--out", "my reviews"]) == 2
    assert "folder = exists" in capsys.readouterr().err
    assert command.main(["none.csv", "--out", "x"]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert command.main(["--out", "x"]) == 2
    assert "name them, before --inputs" in capsys.readouterr().err


def test_an_interruption_leaves_nothing(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.data.convert.write_shard", interrupted)
    assert command.main([str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--processes", "1"]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


_KILLED = """
import os, sys
from workbench.data import convert as room
def killed(job):
    os.kill(os.getpid(), 9)
room.write_shard = killed
room.convert([sys.argv[1]], sys.argv[2])
"""


def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))
    words = [sys.executable, "-c", _KILLED, str(tmp_path / "a.csv"), str(tmp_path / "out")]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.converting", "a.csv"]
    convert([tmp_path / "a.csv"], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out"]
    verify_examples(tmp_path / "out")


def test_a_process_that_is_killed_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))
    monkeypatch.setattr("workbench.data.convert.jobs", lambda *_, **__: [9])
    monkeypatch.setattr("workbench.data.convert.write_shard", os._exit)  # a new process knows it by its name
    refused(
        lambda: convert([tmp_path / "a.csv"], tmp_path / "out", processes=2),
        "one of them = ended",
        "--processes 1",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_two_conversions_to_one_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))
    with building(tmp_path / "out") as (work, _):
        refused(lambda: convert([tmp_path / "a.csv"], tmp_path / "out"), "is being written", "name another")
        (work / MANIFEST).write_text("{}")
    assert (tmp_path / "out" / MANIFEST).read_text() == "{}"


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.data.convert.write_shard", full)
    refused(lambda: convert([tmp_path / "a.csv"], tmp_path / "out"), "No space left", "nothing is left")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("names", "contents", "parts"),
    [
        (["a-train.csv", "a-dev.csv"], [TEXTS, [(["so"], "new")]], ["a-dev.csv: line 2: labels = new"]),
        (["a-train.csv", "a-dev.csv"], [TEXTS, TEXTS[::-1]], ["splits.validation = 3", "are those of train"]),
        (["a-dev.csv", "a-test.csv"], [TEXTS, TEXTS], ["none is for training"]),
        (["a-train.csv", "a-train.csv"], [TEXTS, TEXTS], ["twice", "name it once"]),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_splits_that_do_not_go_together(tmp_path, names, contents, parts):
    for name, examples in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(table(examples))
    refused(lambda: convert([tmp_path / name for name in names], tmp_path / "out"), *parts)


@pytest.mark.slow  # the quick test reads the batches' examples: `examples_of`
def test_the_workbench_trains_on_it_at_once(tmp_path):
    draw = np.random.default_rng(0)
    examples = [([f"w{i}" for i in draw.integers(0, 9, n)], ["A", "B"] * n) for n in draw.integers(1, 9, 60)]
    (tmp_path / "a.jsonl").write_bytes(json_lines([(x, y[: len(x)]) for x, y in examples]))
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "COLUMNS": "200"}

    def typed(*words):
        words = [sys.executable, "-m", *words]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    last = typed("workbench.convert", "a.jsonl", "--out", "out").splitlines()[-1].split()
    small = (
        "data.batch_size=16 cell.units=8 model.embedding_size=8 measure.warmup_steps=1 measure.quiet_steps=1"
    )
    assert "accuracy" in typed(*last[2:], *small.split())
