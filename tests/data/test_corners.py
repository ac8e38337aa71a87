"""Files and options that few people have, whose numbers were once silently wrong."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

from tests.data.files_of_people import NOTHING_HELD_OUT, examples_of
from workbench import advice
from workbench.convert import main
from workbench.data.convert import Schema, convert
from workbench.data.convert.schema import lines
from workbench.data.errors import DataError
from workbench.data.shards import write_dataset
from workbench.data.sources import Example, synthetic, ud_conllu
from workbench.options.data import Synthetic
from workbench.options.padding import Global
from workbench.sweep.overrides import parsed
from workbench.wording import typed


def test_an_empty_sequence_of_the_next_token_is_dropped_where_it_is_to_be(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"inputs": one}) + "\n" for one in (["a", "b"], [], ["b"])))
    for empty, number in (("keep", 3), ("drop", 2)):
        schema = Schema(task="next", empty=empty, **NOTHING_HELD_OUT)
        manifest = convert([file], tmp_path / empty, schema)
        assert manifest.splits["train"].examples == number
        assert manifest.dropped == ({"empty": 1} if empty == "drop" else {})


def test_a_space_may_be_a_name_of_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("<pad>\n<unk>\na\n \nb\n\n")
    file = tmp_path / "a.jsonl"
    file.write_text('{"inputs": [2, 3, 4], "labels": "x"}\n')
    words = [str(file), "--out", str(tmp_path / "out"), "--vocabulary", str(tmp_path / "names.txt")]
    assert main([*words, "--kind", "ids", "--validation-share", "0"]) == 0
    assert examples_of(tmp_path / "out") == {"train": [(["a", " ", "b"], "x")]}


def test_a_token_that_is_a_quote_swallows_no_rows(tmp_path: Path) -> None:
    """A quote opens a cell, also in a file of tabs, where few people think of it."""
    rows = ["s\ttoken\ttag", '1\t"\tA', "1\tb\tB", '2\t"\tA', "2\tc\tB"]
    file = tmp_path / "a.tsv"
    file.write_text("\n".join(rows) + "\n")
    schema = Schema(task="tag", group="s", inputs="token", labels="tag", **NOTHING_HELD_OUT)
    with pytest.raises(DataError, match=r"goes on over lines.*four of them"):
        convert([file], tmp_path / "out", schema)
    file.write_text("\n".join(row.replace('\t"\t', '\t""""\t') for row in rows) + "\n")
    convert([file], tmp_path / "out", schema)
    assert examples_of(tmp_path / "out")["train"] == [(['"', "b"], ["A", "B"]), (['"', "c"], ["A", "B"])]


def test_a_text_that_opens_a_quote_swallows_no_rows(tmp_path: Path) -> None:
    rows = ["text\tlabel", '"I came ,\tpos', 'and I saw . "\tneg', "fine\tpos"]
    file = tmp_path / "a.tsv"
    file.write_text("\n".join(rows) + "\n")
    schema = Schema(inputs="text", labels="label", **NOTHING_HELD_OUT)
    with pytest.raises(DataError, match=r"line 3: text = .*goes on over lines, as a quote opens it"):
        convert([file], tmp_path / "out", schema)
    file.write_text('text\tlabel\n"of two\nlines"\tpos\nfine\tneg\n')  # as pandas writes it
    convert([file], tmp_path / "out", schema)
    assert [label for _, label in examples_of(tmp_path / "out")["train"]] == ["pos", "neg"]


@pytest.mark.parametrize("lengths", ["geometric", "fixed"])
def test_a_mean_that_lengths_cannot_have_is_refused(lengths: str) -> None:
    with pytest.raises(DataError, match="is below the mean, 500"):
        synthetic.check(Synthetic(examples=20, mean=500, lengths=lengths), "tag")


def test_a_treebank_may_begin_with_a_mark_of_bytes(tmp_path: Path) -> None:
    text = "1\tdog\t_\tNOUN\t_\t_\t_\t_\t_\t_\n\n"
    for name, mark in (("a", b""), ("b", b"\xef\xbb\xbf")):
        (tmp_path / f"{name}.conllu").write_bytes(mark + text.encode())
    blocks = [[one.text for one in ud_conllu._blocks(tmp_path / f"{name}.conllu")] for name in "ab"]
    assert blocks[0] == blocks[1]


def test_advice_pads_globally_to_the_longest_of_all_splits() -> None:
    histogram = {2: 90, 10: 10}
    (own, *_), (all_splits, *_) = (advice.advise(histogram, [10], longest=most) for most in (None, 40))
    assert (own.options, all_splits.options) == (Global(), Global(length=40))
    assert all_splits.share == pytest.approx(1 - np.average([2, 10], weights=[90, 10]) / 40)
    assert advice.advise(histogram, [10], longest=10)[0] == own
    with pytest.raises(ValueError, match="--budget 20: is less than the longest example has, 40 steps"):
        advice.advise(histogram, [10], [20], longest=40)


@pytest.mark.parametrize(
    "name",
    [
        "reviews",
        "reviews (1)",
        "a,b",
        "2024",
        "null",
        "[x]",
        "it's",
        "a=b",
        "b\\",
        "ä",
        'say "so"',
        "a${b}",
        "données",
    ],
)
def test_a_folder_of_any_name_is_typed_so_that_hydra_reads_it(name: str) -> None:
    (word,) = shlex.split(shlex.quote(typed("data.path", name)))
    override = parsed(word)
    assert not override.is_sweep_override()
    assert OmegaConf.create({"path": override.value()}).path == name


def test_quoted_texts_of_several_lines_with_commas_are_what_quotes_are_for(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["text", "stars", "note"],
                ["Great product, loved it.\nWould buy again.", "good", "a, b\nc"],
                ["No.", "bad", ""],
            ]
        )
    convert([path], tmp_path / "out", Schema(inputs="text", labels="stars", **NOTHING_HELD_OUT))
    assert [label for _, label in examples_of(tmp_path / "out")["train"]] == ["good", "bad"]


def test_an_empty_line_among_names_is_refused_and_at_their_end_is_not(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("<pad>\na\n\n\n")
    assert lines(path, "vocabulary") == ["<pad>", "a"]
    path.write_text("<pad>\n\nb\n")
    with pytest.raises(DataError, match=r"words.txt, line 2.*vocabulary.*move all ids after it"):
        lines(path, "vocabulary")


@pytest.mark.parametrize(
    "inputs",
    [
        np.ones((2, 3), np.complex64),
        [np.ones(3, np.complex64)] * 2,
        [np.ones(3, np.float64), np.ones(3, np.complex64)],
        [[np.complex64(1j)] * 3] * 2,
        tf.ones((2, 3), tf.complex64),
        np.ones((2, 3), "datetime64[D]"),
    ],
    ids=["complex", "rows of complex", "a row of complex", "numbers", "a tensor", "dates"],
)
def test_features_whose_numbers_would_be_cut_are_refused(inputs, tmp_path) -> None:
    """NumPy casts complex numbers to real ones with a warning, and their imaginary part is gone."""
    with pytest.raises(DataError, match=r"= of (complex64|complex128|datetime64\[D\]): must be real numbers"):
        write_dataset([Example(inputs, [0, 1])], tmp_path / "d", name="d", feature_size=3)
