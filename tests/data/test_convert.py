"""python -m workbench.convert: people's files come back as what they are."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from workbench.data.convert import Schema, convert
from workbench.data.convert import readers as readers_room
from workbench.data.encode import Encoded
from workbench.data.records import framed, masked_checksums
from workbench.data.sequence_example import to_sequence_example

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import (
    FORMS,
    IDS,
    NOTHING_HELD_OUT,
    TEXTS,
    WORDS,
    examples_of,
    in_words,
    json_lines,
    made,
    table,
    treebank,
    write_saved,
)


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


@pytest.mark.parametrize("task", [None, "classify"])
def test_a_group_whose_label_is_the_name_of_its_folder_has_that_one(tmp_path, task):
    for folder, rows in (("walk", "run,x\n1,0.5\n1,2\n2,3\n"), ("run", "run,x\n1,8\n")):
        (tmp_path / "in" / "train" / folder).mkdir(parents=True)
        (tmp_path / "in" / "train" / folder / "a.csv").write_text(rows)
    schema = Schema(labels="@folder", group="run", inputs=["x"], task=task, **NOTHING_HELD_OUT)
    convert([tmp_path / "in"], tmp_path / "out", schema)
    wanted = [([[8.0]], "run"), ([[0.5], [2.0]], "walk"), ([[3.0]], "walk")]
    assert examples_of(tmp_path / "out") == {"train": wanted}


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


@pytest.mark.parametrize("name", ["A.TSV", "a.Csv", "A.TSV.GZ"])
def test_a_suffix_in_capitals_is_that_suffix(tmp_path, name):
    content = table(TEXTS, delimiter="\t" if "TSV" in name else ",")
    made(tmp_path, gzip.compress(content) if name.endswith("GZ") else content, name)
    assert examples_of(tmp_path / "out") == {"train": TEXTS}


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
