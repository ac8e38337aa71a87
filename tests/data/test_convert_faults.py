"""python -m workbench.convert: what a file has that cannot be taken is said, and nothing is left."""

from __future__ import annotations

import errno
import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from workbench import convert as command
from workbench.data.convert import Schema, convert, spool
from workbench.data.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import (
    FORMS,
    FRAMES,
    IDS,
    NOTHING_HELD_OUT,
    OBJECT,
    TEXTS,
    WORDS,
    end_to_end,
    examples_of,
    in_words,
    json_lines,
    made,
    padded,
    refused,
    table,
    treebank,
    write_npy,
    write_parquet,
)


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
        ("a.jsonl", b'{"\x80inputs": ["a"], "labels": ["X"], "inputs": ["b"]}', {}, ["byte 0x80", "no UTF-8"]),
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
        ("a.jsonl", gzip.compress(OBJECT * 99, mtime=0)[:-20], {}, ["a.jsonl", "ends too early"]),
        ("a.jsonl", b"PAR1\x15\x04" + b"x" * 50, {}, ["a.jsonl: file = a Parquet file"]),
        ("a.jsonl", OBJECT.decode().encode("utf-16"), {}, ["a text in UTF-16"]),
        # CSV
        ("a.csv", b"text,labels\na,b\n", {}, ["line 1: inputs = missing", "there is text, labels"]),
        ("a.csv", b"inputs;labels\na;b\n", {}, ["give --delimiter"]),
        ("a.csv", b"inputs,labels\na,b\nc\n", {}, ["line 3: columns = 1", "the head has 2"]),
        ("a.csv", b'inputs,labels\na,b\n"c,d\ne,f\n', {}, ["unexpected end of data"]),
        ("a.csv", b'inputs,labels\n"a"b,c\n', {}, ["line 2", "no CSV"]),
        ("a.csv", b"inputs,inputs\na,b\n", {}, ["head = inputs"]),
        ("a.csv", b"inputs,labels\na,\xff\n", {}, ["line 2: ", "byte 0xff", "no UTF-8"]),
        ("a.csv", b"inputs,labels\r\n" + b"a,b\r\n" * 3000 + b"a,\xff\r\n", {}, ["line 3002: ", "byte 0xff"]),
        ("a.csv", b"inputs,labels\ra,b\ra,\xff\r", {}, ["line 3: ", "byte 0xff"]),
        ("a.csv", b"inputs,labels\n,x\n", {}, ["line 2: length = 0"]),
        ("a.csv", b"inputs,labels\na b,x\n", {"task": "tag"}, ["line 2: labels = 1", "each of 2 tokens"]),
        ("a.csv", b"inputs,labels\n1 x,y\n", {"kind": "ids"}, ["line 2: inputs", "whole numbers"]),
        ("a.csv", b"inputs,labels\n1 1_000,y\n", {"kind": "ids"}, ["line 2: inputs", "whole numbers"]),
        ("a.csv", b"inputs,labels\n1 2,y\n", {"kind": "features"}, ["must be numbers"]),
        ("a.csv", b"inputs,x,labels\n1,2,y\n", {"inputs": ["inputs", "x"]}, ["name the group"]),
        ("a.csv", b"g,inputs,labels\n1,a,b\n2,a,b\n1,a,b\n", {"group": "g"}, ["g = 1 of its", "sort the file"]),
        ("a.csv", b"g,inputs,labels\n1,a,b\n1,a,c\n", {"group": "g", "task": "classify"},
         ["line 2: labels = b and c", "must be one in all rows of g 1"]),
        ("a.csv", b"g,x,labels\n1,2,b\n1,,b\n", {"group": "g", "inputs": ["x"]}, ["line 3: x = ''"]),
        ("a.csv", b"g,x,y,labels\n1,2,3,b\n1,4,five,b\n", {"group": "g", "inputs": ["x", "y"]},
         ["line 3: y = 'five'", "must be numbers"]),
        ("a.csv", b"g,x,y,labels\n1,2,3,b\n1,4,1_000,b\n", {"group": "g", "inputs": ["x", "y"]},
         ["line 3: y = '1_000'", "must be numbers"]),
        ("a.jsonl", b'{"inputs": [["1", "2"], ["3", "1_0"]], "labels": [1, 1]}', {"kind": "features"},
         ["line 1: inputs[1]", "must be numbers"]),
        ("a.jsonl", b'{"inputs": [[1, "2"], [3, "1_0"]], "labels": [1, 1]}', {"kind": "features"},
         ["line 1: inputs[1]", "must be numbers"]),
        ("a.csv", b"inputs,labels,w\na,b,1_000\n", {"weights": "w"}, ["line 2: weights", "must be numbers"]),
        ("a.csv", b"g,x,labels\n1,2,b\n1,nan,b\n", {"group": "g", "inputs": "x", "kind": "features"},
         ["line 3: x = 'nan'", "not finite"]),
        ("a.csv", b"g,inputs,labels\n1,a,X\n1,,Y\n", {"group": "g"}, ["line 3: inputs = ''", "fill it in"]),
        ("a.csv", b"g,inputs\n1,a\n1,\n", {"group": "g", "task": "next"}, ["line 3: inputs = ''"]),
        ("a.csv", b"g,inputs,labels\n1,a,X\n,b,Y\n,c,Y\n", {"group": "g"}, ["line 3: g = ''", "no example"]),
        # text and CoNLL-U
        ("a.txt", b"a b\tX\nc d\n", {}, ["line 2", "one tab"]),
        ("a.txt", b"a b\rc\rd e\r", {"task": "next"}, ["line 1: line = 'a b' and more", r"`tr '\r' '\n'`"]),
        ("a.txt", b"a\tX\r\nb\tX\rc\tX\r\n", {}, ["line 2: line = 'b\\tX' and more", "carriage return"]),
        ("a.conllu", b"# a\r" + treebank(WORDS).replace(b"\n", b"\r"), {}, ["line = '# a' and", "line ends"]),
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


def test_columns_that_nobody_asked_for_may_be_called_alike(tmp_path):
    """As those without a name that a spreadsheet leaves; of Parquet too."""
    (tmp_path / "a.csv").write_text("inputs,,labels,\na b,1,x,2\nc,,y,\n")
    made = pyarrow.table([["a b", "c"], ["x", "y"], ["1", ""], ["2", ""]], ["inputs", "labels", "b", "b"])
    parquet.write_table(made, tmp_path / "a.parquet")
    one, other = (convert([tmp_path / f"a.{of}"], tmp_path / of, Schema()) for of in ("csv", "parquet"))
    assert one.fingerprint == other.fingerprint
    parquet.write_table(made.rename_columns(["inputs", "labels", "labels", "b"]), tmp_path / "b.parquet")
    refused(
        lambda: convert([tmp_path / "b.parquet"], tmp_path / "out", Schema()),
        "columns = labels",
        "two columns",
    )


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


@pytest.mark.parametrize("given", [["pos", "neg"], ["neutral", "neg", "pos"]])
def test_classes_given_in_another_order_than_the_file_has_are_refused(tmp_path, given):
    write_classes(tmp_path / "a.parquet", ["neg", "pos"], [0, 1, 1])
    refused(
        lambda: convert([tmp_path / "a.parquet"], tmp_path / "out", Schema(classes=given)),
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
        ("a.csv", b"inputs,labels\na b,pos\nb c, \nc,neg\n", {}, ["line 3: labels = ''"]),
        ("a.csv", b"g,inputs,labels\n1,a,X\n1,b,\n", {"group": "g"}, ["line 3: labels = ''"]),
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


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", b"inputs,labels\n\"['the', 'dog']\",x\n['barks'],y\n", ["line 2: inputs", "as Python prints it"]),
        ("a.csv", b"inputs,labels\n[1 2 3],x\n[4],y\n", ["line 2: inputs", "JSON lines"]),
        ("a.txt", b"c\tZ\na b\tX Y\n", ["line 2: labels = 'X Y'", "task tag", "task classify"]),
        ("a.jsonl", b'{"inputs": "a b", "labels": "X Y"}', ["line 1: labels", "a word for each token"]),
        ("a.tsv", b"inputs\tlabels\na\tX\nb\tY\n\nc\tX\n", ["line 4: rows = ''", "--group"]),
        ("a.csv", b"inputs,labels\na,1\nb,1.0\n", ["labels = '1.0'", "'1' written otherwise"]),
        ("a.jsonl", b'{"inputs": "a", "labels": "x"}\n{"inputs": "b", "labels": "x "}', ["is 'x' written"]),
        ("a.jsonl", b'{"inputs": "a", "labels": null}\n{"inputs": "b", "labels": "x"}', ["line 1", "no class"]),
        ("a.jsonl", b'{"inputs": "a", "labels": "x"}\n{"inputs": "b", "labels": null}', ["line 2", "no class"]),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_what_would_be_read_as_something_else_without_a_word_is_refused(tmp_path, name, content, parts):
    refused(lambda: made(tmp_path, content, name), *parts)


def test_a_share_that_is_far_from_what_was_asked_for_is_said(tmp_path, capsys):
    """Examples that are alike are held out together: half of a log may be one line."""
    rows = {"alike": ["the same words"] * 400, "unlike": [f"a{n} b{n}" for n in range(400)]}
    said = {}
    for name, texts in rows.items():
        lines = [f"{text},{'xy'[n % 2]}" for n, text in enumerate([*texts, *map(str, range(100, 200))])]
        (tmp_path / f"{name}.csv").write_text("\n".join(["inputs,labels", *lines]))
        for seed in "0", "5", "7":
            out = tmp_path / name / seed
            options = ["--kind", "symbols", "--validation-share", "0.5", "--seed", seed, "--out", str(out)]
            assert command.main([str(tmp_path / f"{name}.csv"), *options]) == 0
        said[name] = capsys.readouterr().out.count("are held out where 50% were to be")
    assert said == {"alike": 3, "unlike": 0}


def test_blanks_around_a_label_of_a_csv_are_none_of_it(tmp_path):
    assert made(tmp_path, b"inputs,labels\na, up\nb,up \nc,up\n", "a.csv").labels == ["up"]


def test_empty_lines_of_texts_and_at_the_end_are_passed_over(tmp_path):
    for name, content in (
        ("a.csv", b"inputs,labels\na b,x\n\nc,y\n"),
        ("b.csv", b"inputs,labels\na,x\nb,y\n\n\n"),
    ):
        (tmp_path / name).mkdir()
        assert made(tmp_path / name, content, name).splits["train"].examples == 2


def test_a_text_in_brackets_and_a_label_of_several_words_are_taken_where_others_are_not_so(tmp_path):
    made(tmp_path, b"inputs,labels\n[laughs],New York\nno [sighs],Paris\n", "a.csv")
    assert made(tmp_path / "out", b"c\tZ\na b\tX Y\n", "a.txt", task="tag").task == "tag"


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


def test_a_disk_that_becomes_full_in_the_first_pass_is_told_to_be_emptied(tmp_path, monkeypatch):
    """NumPy says of a write that was cut short how much it asked for, and no number of an error."""
    (tmp_path / "a.csv").write_bytes(table(TEXTS))

    def full(*_):
        raise OSError("1048576 requested and 8192 written")

    monkeypatch.setattr(spool.np, "save", full)
    with pytest.raises(DataError, match="free space there"):
        convert([tmp_path / "a.csv"], tmp_path / "out")
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
