"""python -m workbench.convert --task next: the tokens that follow are the labels, whatever the file is."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.convert import main
from workbench.data.convert import Schema, convert
from workbench.data.errors import DataError
from workbench.data.shards import write_dataset
from workbench.data.sources import Example
from workbench.data.verify import read_split, verify_examples

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import NOTHING_HELD_OUT, table, treebank, write_npz, write_parquet, write_saved

LINES = [["to", "be", "or"], ["not", "to"], ["be"]]
TAGGED = [(line, ["X"] * len(line)) for line in LINES]
LABELLED = [(line, "X") for line in LINES]
IDS = [[3, 4, 2], [4], [2, 2]]
NAMES = ["<pad>", "<unk>", "a", "b", "c"]


def padded(lines):
    lengths = np.array([len(line) for line in lines])
    inputs = np.zeros((len(lines), lengths.max()), np.int64)
    for row, line in zip(inputs, lines, strict=True):
        row[: len(line)] = line
    return {"inputs": inputs, "lengths": lengths}


FORMS = {
    "a.txt": lambda path: path.write_text("".join(" ".join(line) + "\n" for line in LINES)),
    "b.txt.gz": lambda path: path.write_bytes(gzip.compress(b"to be\tor\nnot to\nbe\n")),  # a tab is a space
    "c.jsonl": lambda path: path.write_text("".join(json.dumps({"inputs": one}) + "\n" for one in LINES)),
    "d.csv": lambda path: path.write_bytes(table(LABELLED)),
    "e.parquet": lambda path: write_parquet(path, TAGGED),
    "f.conllu": lambda path: path.write_bytes(treebank(TAGGED)),
    "g": lambda path: write_saved(path, TAGGED),
    "h.npz": lambda path: write_npz(path, inputs=np.array([" ".join(line) for line in LINES])),
}


def pairs(folder):
    """(inputs, labels) of the training examples, as symbols."""
    manifest, found = verify_examples(folder), []
    assert (manifest.task, manifest.first_class, manifest.labels) == ("next", 1, manifest.vocabulary)
    for chunk in read_split(folder, "train", manifest):
        ends = np.cumsum(chunk.lengths)[:-1]
        for one in zip(np.split(chunk.inputs, ends), np.split(chunk.labels, ends), strict=True):
            found.append(tuple([manifest.vocabulary[i] for i in of] for of in one))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_each_form_predicts_the_next_token(tmp_path, form):
    FORMS[form](tmp_path / form)
    convert([tmp_path / form], tmp_path / "out", Schema(task="next", **NOTHING_HELD_OUT))
    assert pairs(tmp_path / "out") == [(["</s>", *line], [*line, "</s>"]) for line in LINES]


@pytest.mark.parametrize("flat", [False, True])
def test_ids_with_their_vocabulary(tmp_path, flat):
    arrays = padded(IDS)
    if flat:
        arrays["inputs"] = np.concatenate(IDS)
    write_npz(tmp_path / "a.npz", **arrays)
    convert([tmp_path / "a.npz"], tmp_path / "out", Schema(task="next", vocabulary=NAMES, **NOTHING_HELD_OUT))
    lines = [[NAMES[i] for i in line] for line in IDS]
    assert pairs(tmp_path / "out") == [(["</s>", *line], [*line, "</s>"]) for line in lines]


@pytest.mark.parametrize(("most", "over"), [(None, "drop"), (3, "split"), (3, "drop")])
def test_it_is_what_write_dataset_makes(tmp_path, most, over):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"inputs": one}) + "\n" for one in LINES))
    own = convert(
        [tmp_path / "a.jsonl"], tmp_path / "out",
        Schema(task="next", max_length=most, over_length=over, shards=1, **NOTHING_HELD_OUT),
    )  # fmt: skip
    same = write_dataset(
        [Example(line) for line in LINES], tmp_path / "same", name="same", task="next", max_length=most,
        over_length=over,
    )  # fmt: skip
    assert own.fingerprint == same.fingerprint


def test_characters_and_a_part_held_out(tmp_path):
    lines = [f"line {i}" for i in range(60)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    manifest = convert([tmp_path / "a.txt"], tmp_path / "out", Schema(task="next", tokens="characters"))
    assert set(manifest.splits) == {"train", "validation"}
    assert {"</s>", "l"} <= {*manifest.vocabulary}
    found = pairs(tmp_path / "out")
    assert all("".join(labels[:-1]) in lines and labels[-1] == "</s>" for _, labels in found)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"labels": "y"}, 'labels = y: of the task "next"'),
        ({"classes": ["a"]}, "the tokens that follow are the labels"),
        ({"kind": "features"}, "predicts ids"),
        ({"inputs": ["x", "y"]}, "predicts ids"),
        ({"kind": "ids"}, "vocabulary = missing"),
    ],
)
def test_what_has_no_next_token_is_refused(given, text):
    with pytest.raises(DataError, match=text.replace("(", r"\(")):
        Schema(task="next", **given)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [([[1.5], [2.5]], "predicts ids"), ([3, 4], "needs one of its ids"), ([0.5], "predicts")],
)
def test_inputs_that_are_found_to_be_none_are_refused(tmp_path, inputs, text):
    (tmp_path / "a.jsonl").write_text(json.dumps({"inputs": inputs}) + "\n")
    with pytest.raises(DataError, match=text):
        convert([tmp_path / "a.jsonl"], tmp_path / "out", Schema(task="next", **NOTHING_HELD_OUT))
    assert not (tmp_path / "out").exists()


def test_the_id_of_padding_is_no_token(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"inputs": [2, 0]}\n')
    schema = Schema(task="next", vocabulary=NAMES, **NOTHING_HELD_OUT)
    with pytest.raises(DataError, match=r"line 1: inputs\[1\] = 0: is the id of padding"):
        convert([tmp_path / "a.jsonl"], tmp_path / "out", schema)


def test_the_command(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("to be or not to be\nthat is the question\n" * 3)
    given = [str(tmp_path / "a.txt"), "--task", "next", "--out", str(tmp_path / "out"), "--processes", "1"]
    assert main([*given, "--validation-share", "0"]) == 0
    assert "task next" in capsys.readouterr().out
