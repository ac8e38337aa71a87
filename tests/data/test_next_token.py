"""The task "next": labels are the tokens that follow, from `</s>` to `</s>`; and plain text."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.encode import EncodedSet, encode
from workbench.data.errors import DataError
from workbench.data.feed import Feed
from workbench.data.manifest import load_manifest
from workbench.data.shards import open_dataset, prepare, write_dataset
from workbench.data.sources import SOURCES, Corpus, Example
from workbench.options.data import PythonSource, Synthetic, Text, TFRecord, UniversalDependencies
from workbench.options.padding import SCHEMAS as PADDINGS


def encoded(inputs: list[Any], **options: Any) -> EncodedSet:
    vocabulary = options.pop("vocabulary", None)
    corpus = Corpus(splits={"train": [Example(one) for one in inputs]}, vocabulary=vocabulary)
    return encode(corpus, name="mine", task="next", **options)


def words(data: EncodedSet, ids: np.ndarray) -> str:
    return " ".join(data.vocabulary[i] for i in ids)


def test_each_token_and_the_end_are_predicted_once():
    data = encoded([["a", "b", "a"], [], ["a"]])
    pairs = [(words(data, one.inputs), words(data, one.labels)) for one in data.splits["train"]]
    assert pairs == [("</s> a b a", "a b a </s>"), ("</s>", "</s>"), ("</s> a", "a </s>")]
    assert data.labels == data.vocabulary == ["<pad>", "<unk>", "</s>", "a", "b"]
    assert data.first_class == 1


def test_ids_get_an_end_of_their_own():
    data = encoded([np.array([2, 3])], vocabulary=["<pad>", "<unk>", "x", "y"])
    [one] = data.splits["train"]
    assert (one.inputs.tolist(), one.labels.tolist()) == ([4, 2, 3], [2, 3, 4])
    assert data.vocabulary[4] == "</s>"


def test_the_end_that_a_vocabulary_has_is_taken():
    [one] = encoded([[3]], vocabulary=["<pad>", "<unk>", "</s>", "x"]).splits["train"]
    assert (one.inputs.tolist(), one.labels.tolist()) == ([2, 3], [3, 2])


def test_pieces_go_on_where_the_one_before_ended():
    data = encoded([list("abcdefg")], max_length=3, over_length="split")
    pairs = [(words(data, one.inputs), words(data, one.labels)) for one in data.splits["train"]]
    assert pairs == [("</s> a b", "a b c"), ("c d e", "d e f"), ("f g", "g </s>")]


def test_rare_tokens_are_unknown_on_both_sides_and_the_end_never_is():
    corpus = Corpus(splits={"train": [Example("aab")]}, min_count=2)
    data = encode(corpus, name="mine", task="next")
    [one] = data.splits["train"]
    assert data.vocabulary == ["<pad>", "<unk>", "a", "</s>"]
    assert (one.inputs.tolist(), one.labels.tolist()) == ([3, 2, 2, 1], [2, 2, 1, 3])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: encoded([[2, 0]], vocabulary=["<pad>", "<unk>", "x"]), "is the id of padding"),
        (
            lambda: encode(
                Corpus(splits={"train": [Example(np.zeros((1, 2)))]}, feature_size=2),
                name="mine",
                task="next",
            ),
            "predicts ids, and these inputs are features",
        ),
    ],
)
def test_what_has_no_next_id_is_refused(make, text):
    with pytest.raises(DataError, match=text):
        make()


# -- data sets of anyone's, and batches


def test_a_data_set_of_ones_own(tmp_path):
    lines = ["to be or not to be", "that is the question", "to be that"]
    write_dataset([Example(line.split()) for line in lines], tmp_path / "own", name="own", task="next")
    manifest = open_dataset(tmp_path / "own")
    assert (manifest.task, manifest.first_class, manifest.class_zero_in_use) == ("next", 1, False)
    feed = Feed(tmp_path / "own", TFRecord(batch_size=3), PADDINGS["batch"]("batch"), seed=1)
    [batch] = feed.train(0)
    inputs, labels, length = (np.asarray(batch[name]) for name in ("inputs", "labels", "length"))
    for row, steps in enumerate(length):
        np.testing.assert_array_equal(labels[row, : steps - 1], inputs[row, 1:steps])
        assert manifest.vocabulary[labels[row, steps - 1]] == manifest.vocabulary[inputs[row, 0]] == "</s>"
        assert not labels[row, steps:].any()
    said = sorted(
        " ".join(manifest.vocabulary[i] for i in row[: n - 1]) for row, n in zip(labels, length, strict=True)
    )
    assert said == sorted(lines)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=9), min_size=1, max_size=12),
    st.sampled_from([None, (4, "split"), (5, "drop")]),
    st.booleans(),
)
def test_streamed_examples_are_those_that_are_encoded_at_once(tmp_path_factory, lines, most, as_ids):
    options = {} if most is None else {"max_length": most[0], "over_length": most[1]}
    names = ["<pad>", "<unk>", *"abcde"]
    given_lines = [[names.index(one) for one in line] for line in lines] if as_ids else lines
    vocabulary = names if as_ids else None
    if most and most[1] == "drop" and all(len(line) >= most[0] for line in lines):
        return
    folder = tmp_path_factory.mktemp("own") / "set"
    write_dataset(
        [Example(line) for line in given_lines],
        folder,
        name="own",
        task="next",
        vocabulary=vocabulary,
        **options,
    )
    corpus = Corpus(splits={"train": [Example(line) for line in given_lines]}, vocabulary=vocabulary)
    right = encode(corpus, name="own", task="next", **options)
    manifest = open_dataset(folder)
    assert manifest.vocabulary == manifest.labels == right.vocabulary
    feed = Feed(folder, TFRecord(batch_size=50), PADDINGS["batch"]("batch"), seed=1)
    [batch] = feed.train(0)
    inputs, labels, length = (np.asarray(batch[name]) for name in ("inputs", "labels", "length"))
    found = sorted(
        (row[:n].tolist(), its[:n].tolist()) for row, its, n in zip(inputs, labels, length, strict=True)
    )
    assert found == sorted((one.inputs.tolist(), one.labels.tolist()) for one in right.splits["train"])
    counts = np.bincount(np.concatenate([one.labels for one in right.splits["train"]]), minlength=len(names))
    assert manifest.splits["train"].label_counts == tuple(counts[: len(manifest.labels)].tolist())


def test_ids_of_the_next_token_need_their_vocabulary(tmp_path):
    with pytest.raises(DataError, match="needs one of its ids: give it"):
        write_dataset([Example([2, 3])], tmp_path / "own", name="own", task="next")


@pytest.mark.parametrize(
    ("options", "labels", "text"),
    [
        *(({}, labels, "the tokens that follow: leave them out") for labels in ([2], np.array([2, 3]))),
        ({"labels": ["a"]}, (), "they are the vocabulary"),
    ],
)
def test_labels_are_not_given(tmp_path, options, labels, text):
    with pytest.raises(DataError, match=text):
        write_dataset([Example(["a"], labels)], tmp_path / "own", name="own", task="next", **options)


@pytest.mark.parametrize("task", ["tag", "next"])
def test_python_source_as_either_task(tmp_path, task):
    folder = prepare(
        PythonSource(package="pluggy", max_examples=20, max_length=400, task=task, cache_dir=str(tmp_path))
    )
    assert load_manifest(folder).task == task


def test_a_treebank_needs_no_tags_to_be_read_on(tmp_path):
    (tmp_path / "some.conllu").write_text(
        "".join(f"1\tword{i}\t_\t_\t_\t_\t_\t_\t_\t_\n\n" for i in range(20)), encoding="utf-8"
    )
    options = UniversalDependencies(path=str(tmp_path), min_count=1, task="next", validation_share=0.3)
    corpus = SOURCES["ud_english_ewt"].read(options, "next", {})
    assert sum(len(list(of)) for of in corpus.splits.values()) == 20


def test_a_source_that_has_no_next_token_is_refused(tmp_path):
    with pytest.raises(DataError, match="it has tag, classify only"):
        prepare(Synthetic(cache_dir=str(tmp_path)), task="next")


# -- plain text


def texts(options: Text) -> dict[str, list[str]]:
    between = " " if options.tokens == "words" else ""
    corpus = SOURCES["text"].read(options, "next", {})
    return {split: sorted(between.join(one.inputs) for one in of) for split, of in corpus.splits.items()}


@pytest.fixture
def split_files(tmp_path: Path) -> Path:
    for name, text in {
        "ptb.train.txt": "a b\n\n c  d \n",
        "ptb.valid.txt": "e\r\nf",
        "ptb.test.txt": "g",
    }.items():
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def test_files_name_their_split(split_files):
    assert texts(Text(path=str(split_files))) == {"train": ["a b", "c d"], "validation": ["e", "f"]}
    assert texts(Text(path=str(split_files), test=True))["test"] == ["g"]


@pytest.mark.parametrize(
    ("sequences", "tokens", "expected"),
    [
        ("line", "words", ["A b", "c", "d e", "f"]),
        ("paragraph", "words", ["A b c", "d e f"]),
        ("line", "characters", ["A b", "c", "d  e", "f"]),
        ("paragraph", "characters", ["A b\nc", "d  e\nf"]),
    ],
)
def test_what_a_sequence_and_a_token_are(tmp_path, sequences, tokens, expected):
    (tmp_path / "a.txt").write_text("A b\nc\n\n \nd  e\nf\n")
    found = texts(
        Text(path=str(tmp_path / "a.txt"), sequences=sequences, tokens=tokens, validation_share=0.3)
    )
    assert sorted(chain(*found.values())) == expected
    assert set(found) == {"train", "validation"}


def test_indentation_is_of_the_characters(tmp_path):
    (tmp_path / "a.txt").write_text("def f():\n    return x\n\n\n  y\nz\n")
    options = {"path": str(tmp_path / "a.txt"), "tokens": "characters", "validation_share": 0.3}
    found = sorted(chain(*texts(Text(**options)).values()))
    assert found == sorted(["def f():", "    return x", "  y", "z"])
    found = sorted(chain(*texts(Text(sequences="paragraph", **options)).values()))
    assert found == sorted(["def f():\n    return x", "  y\nz"])


def test_where_names_say_the_split_all_must(split_files):
    (split_files / "README.txt").write_text("about\nit")
    with pytest.raises(DataError, match=r"README\.txt: says no split, and other files here do"):
        texts(Text(path=str(split_files)))


def test_whole_files_and_lower_case(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name.upper()} x\n\ny")
    found = texts(Text(path=str(tmp_path), sequences="file", lowercase=True))
    assert sorted(chain(*found.values())) == ["a x y", "b x y", "c x y"]


def test_equal_lines_are_in_one_split(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"line {i % 10}" for i in range(100)))
    found = texts(Text(path=str(tmp_path), validation_share=0.2))
    assert not set(found["train"]) & set(found["validation"])
    assert (len(found["train"]), len(found["validation"])) == (80, 20)


def test_it_is_prepared_once_for_a_copy_elsewhere(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("\n".join(f"line {i}" for i in range(30)))
    made = {
        prepare(Text(path=str(tmp_path / folder), cache_dir=str(tmp_path / "cache")))
        for folder in ("here", "there")
    }
    assert len(made) == 1
    assert str(tmp_path) not in (made.pop() / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("name", "content", "options", "text"),
    [
        ("a.txt", b"caf\xe9 one\ntwo", {}, r"line 1.*convert it with `iconv -t utf-8`"),
        ("a.txt", b"\x1f\x8b\x08rest\xff", {}, "compressed by gzip"),
        ("a.txt", b"one line", {}, "1 different of them, too few to hold one out"),
        ("a.txt", b"", {}, "0 different of them"),
        ("a.md", b"a\nb", {}, r"no \*.txt file there"),
        ("valid.txt", b"a\nb", {}, "none of these is to train on"),
        ("val.txt", b"a\nb", {}, "none of these is to train on"),
        ("a.txt", b"a\nb\nc", {"test": True}, "no test file among them"),
    ],
)
def test_text_that_is_none_is_refused(tmp_path, name, content, options, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=text):
        texts(Text(path=str(tmp_path), **options))


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(DataError, match=r"give data\.path, a text file"):
        texts(Text(path=path))
