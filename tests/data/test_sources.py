"""The three sources: what they yield, what they count, what they refuse."""

import gzip
import hashlib
import io
import keyword
import re
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

from workbench.data.encode import encode
from workbench.data.errors import DataError
from workbench.data.pipeline import batches, plan_batches
from workbench.data.shards import open_dataset, prepare, verify_examples
from workbench.data.sources import SOURCES, Corpus, Example
from workbench.data.sources.python_source import CLASSES, find_files, logical_lines
from workbench.data.sources.synthetic import labels_of
from workbench.data.sources.ud_conllu import KNOWN, UPOS
from workbench.options.data import SCHEMAS, PythonSource, Synthetic, TFRecord, UniversalDependencies
from workbench.options.padding import SCHEMAS as PADDINGS
from workbench.options.padding import Padding

NO_LIMITS = {"train": None, "validation": None}


def read(name, task="tag", seed=0, **options):
    corpus = SOURCES[name].read(SCHEMAS[name](**options, split_seed=seed), task, NO_LIMITS)
    return corpus, {split: list(examples) for split, examples in corpus.splits.items()}


def classes(text):
    letters = {name: name[0] for name in CLASSES} | {"number": "d"}
    return [(line, "".join(letters[CLASSES[c]] for c in of)) for line, of in logical_lines(text)]


# -- python_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", [("x = 1", "nwowd")]),
        ("x=1;y", [("x=1;y", "nodon")]),
        ("if a:\n    b  # c\n", [("if a:", "kkwno"), ("b  # c", "nwwccc")]),
        ("# alone\nx\n", [("# alone", "ccccccc"), ("x", "n")]),
        ("\n\n  \nx\n\n", [("x", "n")]),
        ("f(a, # b\n  1)\n", [("f(a, # b\n  1)", "nonowcccwwwdo")]),
        ("a + \\\n  b\n", [("a + \\\n  b", "nwowwwwwn")]),
        ("'''a\n b'''\n", [("'''a\n b'''", "ssssssssss")]),
        ("é = 'ü'\n", [("é = 'ü'", "nwowsss")]),
        ("f'{x!r}a{1}'\n", [("f'{x!r}a{1}'", "s" * 12)]),  # as a string, with any Python
        ("a = f'{b}' + c\n", [("a = f'{b}' + c", "nwow" + "s" * 6 + "wown")]),
        ("f\"{f'{a}'}{{\"\n", [("f\"{f'{a}'}{{\"", "s" * 13)]),
        ("match = lambda: 1j\n", [("match = lambda: 1j", "nnnnnwowkkkkkkowdd")]),
        ("def f():\n\tpass\n", [("def f():", "kkkwnooo"), ("pass", "kkkk")]),
        ("", []),
    ],
)
def test_logical_lines(text, expected):
    assert classes(text) == expected


def test_classes_of_a_real_file_are_those_of_its_tokens():
    """Against a plain count: characters of each class, f-strings apart, in a file of the standard library."""
    text = Path(keyword.__file__).read_text() + Path(tokenize.__file__).read_text()
    assert " f'" not in text
    assert ' f"' not in text
    expected = dict.fromkeys(("keyword", "name", "number", "string", "comment", "operator"), 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type].lower().replace("op", "operator")
        kind = "keyword" if kind == "name" and keyword.iskeyword(token.string) else kind
        if kind in expected:
            expected[kind] += len(token.string)
    counts = np.bincount(np.frombuffer(b"".join(of for _, of in logical_lines(text)), np.uint8), minlength=7)
    assert dict(zip(CLASSES[1:], counts[1:].tolist(), strict=True)) == expected


@pytest.mark.parametrize("text", ["x = (\n", "'''a\n", "if x:\n  a\n b\n"])
def test_what_is_not_python_is_refused(text):
    with pytest.raises((SyntaxError, tokenize.TokenError)):
        list(logical_lines(text))


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "lib" / "some_package"
    (folder / "tests").mkdir(parents=True)
    for i in range(9):
        (folder / f"m{i}.py").write_text(f"x{i} = {i}\n" * 3)
    (folder / "same.py").write_text("x1 = 1\n" * 3)
    (folder / "latin.py").write_bytes("# coding: latin-1\ny = 'é'\n".encode("latin-1"))
    (folder / "wrong.py").write_text("x = (\n")
    (folder / "undeclared.py").write_bytes("y = 'é'\n".encode("latin-1"))
    (folder / "tests" / "t.py").write_text("raise SystemExit  # never imported\n")
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    return folder


def test_a_package_is_read_not_imported(package):
    corpus, splits = read("python_source", package="some_package", validation_share=0.25)
    assert "some_package" not in sys.modules
    assert corpus.dropped == {"files_duplicate": 1, "files_not_tokenised": 2}
    lines = {split: [example.inputs for example in examples] for split, examples in splits.items()}
    assert not set(lines["train"]) & set(lines["validation"]), "files are not shared"
    assert sorted(lines["train"] + lines["validation"]) == sorted(
        [f"x{i} = {i}" for i in range(9)] * 3
        + ["# coding: latin-1", "y = 'é'", "raise SystemExit('imported')"]
    )
    _, with_tests = read("python_source", package="some_package", tests=True)
    assert "raise SystemExit  # never imported" in [
        e.inputs for e in with_tests["train"] + with_tests["validation"]
    ]


def test_lines_per_file_are_drawn_and_counted(package):
    corpus, splits = read("python_source", package="some_package", lines_per_file=1)
    assert corpus.dropped["lines_per_file"] == 9 * 2 + 1
    assert sum(map(len, splits.values())) == 11


def test_a_small_data_set_and_any_first_part_of_it_is_of_many_files(tmp_path, monkeypatch):
    folder = tmp_path / "lib" / "many_files"
    folder.mkdir(parents=True)
    for i in range(300):
        (folder / f"m{i}.py").write_text(f"x{i} = 1\n" * 50)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    made = prepare(PythonSource(package="many_files", cache_dir=tmp_path, max_examples=640))
    manifest = verify_examples(made)
    lines = {}
    for split in manifest.splits:
        lines[split] = [
            "".join(manifest.vocabulary[i] for i in row[:length])
            for batch in batches(made, split, TFRecord(), Padding("batch"), shuffle=False)
            for row, length in zip(batch["inputs"].numpy(), batch["length"].numpy(), strict=True)
        ]
    assert (len(lines["train"]), len(set(lines["train"]))) == (576, 128)
    assert (len(lines["validation"]), len(set(lines["validation"]))) == (64, 30), "a tenth of the files"
    assert max(map(lines["train"].count, lines["train"])) == 5, "as many of each file"
    # 64 draws from 128 files without replacement of lines: 50 different ones are expected
    assert len(set(lines["train"][:64])) > 40


def test_the_seed_orders_files_and_leaves_the_splits(package):
    one, other = (read("python_source", package="some_package", seed=seed)[1] for seed in (1, 2))
    for split in one:
        first, second = ([example.inputs for example in of[split]] for of in (one, other))
        assert sorted(first) == sorted(second)
    assert [e.inputs for e in one["train"]] != [e.inputs for e in other["train"]]


def test_the_fingerprint_follows_the_files(package):
    source = SOURCES["python_source"]
    options = PythonSource(package="some_package")
    before = source.fingerprint(options)
    assert before == source.fingerprint(options)
    (package / "m0.py").write_text("x0 = 7\n")
    assert source.fingerprint(options) != before


def test_packages_that_are_not_there():
    for name in ("no_such_package", "no.such", ""):
        with pytest.raises(DataError, match="data=python_source: package"):
            find_files(name, False)
    with pytest.raises(DataError, match="cannot be split"):
        read("python_source", package="typing_extensions")


@pytest.mark.slow  # quick: the small sources here; tests/reproducibility trains on it
def test_the_standard_library(tmp_path):
    folder = prepare(PythonSource(cache_dir=tmp_path, max_examples=300, max_length=120))
    manifest = verify_examples(folder)
    assert {name: split.examples for name, split in manifest.splits.items()} == {
        "train": 270,
        "validation": 30,
    }
    assert manifest.labels == CLASSES
    assert manifest.class_zero_in_use
    assert manifest.longest <= 120
    assert manifest.dropped["over_length"] > 0
    assert manifest.source["info"]["files_read"] < manifest.source["info"]["files"]


# -- ud_english_ewt

SENTENCE = """# sent_id = {n}
# text = don't go
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tGo{n}\tgo\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tthere\tthere\tADV\tRB\t_\t_\t_\t_\t_
"""


def treebank(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, count in files.items():
        text = "\n".join(SENTENCE.format(n=n) for n in range(count)) + "\n"
        (folder / f"xx_some-ud-{name}.conllu").write_text(text)
    return folder


def test_words_of_a_treebank(tmp_path):
    corpus, splits = read(
        "ud_english_ewt", path=treebank(tmp_path / "tb", train=3, dev=2, test=1), lowercase=True
    )
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 3, "validation": 2}
    assert sorted(example.inputs for example in splits["train"]) == [
        ["do", "n't", f"go{n}"] for n in range(3)
    ]
    assert splits["train"][0].labels == ["AUX", "PART", "VERB"]
    assert corpus.labels == UPOS
    assert corpus.info["multiword_tokens"] == corpus.info["empty_nodes"] == 5
    assert corpus.info["checksums"].startswith("other")
    _, splits = read("ud_english_ewt", path=tmp_path / "tb", test=True)
    assert [example.inputs for example in splits["test"]] == [["do", "n't", "Go0"]]
    with pytest.raises(DataError, match="no test file among them"):
        read("ud_english_ewt", path=treebank(tmp_path / "none", train=3, dev=2), test=True)


def test_gzip_a_list_and_no_dev_file(tmp_path):
    folder = treebank(tmp_path / "tb", train=60, test=1)
    plain = folder / "xx_some-ud-train.conllu"
    before = read("ud_english_ewt", path=plain)[1]
    assert 0 < len(before["validation"]) < 20
    assert len(before["train"]) + len(before["validation"]) == 60
    (folder / "xx_some-ud-train.conllu.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match="is there twice"):
        read("ud_english_ewt", path=folder)
    paths = plain, f"{plain}.gz"
    prints = {SOURCES["ud_english_ewt"].fingerprint(UniversalDependencies(path=path)) for path in paths}
    assert len(prints) == 1, "compression and place do not count"
    plain.unlink()
    assert read("ud_english_ewt", path=folder)[1] == before


def test_sentences_that_cannot_be_used_are_counted_or_refused(tmp_path):
    file = tmp_path / "mine.conllu"
    file.write_text("1\ta\t_\t_\n\n# nothing\n\n" + "\n".join(SENTENCE.format(n=n) for n in range(30)))
    corpus, _ = read("ud_english_ewt", path=file)
    assert corpus.dropped == {"no_upos": 1, "no_words": 1}
    file.write_bytes(b"1\t\xff\xfe\n")
    with pytest.raises(DataError, match="encoding"):
        read("ud_english_ewt", path=file)
    (tmp_path / "broken.conllu.gz").write_bytes(gzip.compress(b"x" * 999)[:-9])
    with pytest.raises(DataError, match="truncated"):
        read("ud_english_ewt", path=tmp_path / "broken.conllu.gz")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"<!DOCTYPE html>\n", ["file = an HTML or XML page", "download the file itself"]),
        (b"version https://git-lfs.github.com/spec/v1\n", ["a Git LFS pointer", "git lfs pull"]),
        (b"PK\x03\x04", ["a ZIP archive", "unpack"]),
        ("1\ta".encode("utf-16"), ["a text in UTF-16", "a text in UTF-8"]),
        (b"", ["file = empty"]),
        (gzip.compress(b"<html>", mtime=0), ["an HTML or XML page"]),
    ],
)
def test_a_file_that_is_no_treebank_is_called_what_it_is(tmp_path, content, parts):
    file = tmp_path / "xx-train.conllu"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read("ud_english_ewt", path=file)
    for part in [str(file), *parts]:
        assert part in str(caught.value)


def test_one_file_in_two_splits_of_a_treebank(tmp_path):
    folder = treebank(tmp_path / "tb", train=3)
    (folder / "xx_some-ud-dev.conllu.gz").write_bytes(
        gzip.compress((folder / "xx_some-ud-train.conllu").read_bytes())
    )
    with pytest.raises(DataError, match=r"path = xx_some-ud-train.conllu: has the content of xx_some-ud-dev"):
        prepare(UniversalDependencies(path=folder, cache_dir=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_gzip_is_told_by_the_bytes_not_by_the_name(tmp_path):
    plain = treebank(tmp_path / "tb", train=3) / "xx_some-ud-train.conllu"
    before = read("ud_english_ewt", path=plain)[1]
    plain.write_bytes(gzip.compress(plain.read_bytes()))
    assert read("ud_english_ewt", path=plain)[1] == before


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("1 nonsense", ["line = 1 nonsense", "separated by tabs"]),
        ("1\tgo", ["line = 1\tgo", "columns ID, FORM, LEMMA, UPOS"]),
        ("one\tgo\tgo\tVERB", ["line = one\tgo"]),
        ("1\t\tgo\tVERB", ["line = 1\t\tgo"]),
        ("1\tgo\tgo\tVRB", ["UPOS = VRB", "outside the universal tags ADJ", "_ where a word has none"]),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, parts):
    file = tmp_path / "mine.conllu"
    file.write_text(SENTENCE.format(n=1) + "\n\n# a second\n" + line + "\n\n" + SENTENCE.format(n=2))
    with pytest.raises(DataError) as caught:
        read("ud_english_ewt", path=file)
    for part in ["mine.conllu: line 11: ", *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize("path", [None, "", "nowhere"])
def test_without_a_path_the_message_says_where_to_get_it(path):
    with pytest.raises(DataError) as caught:
        SOURCES["ud_english_ewt"].fingerprint(UniversalDependencies(path=path))
    for part in ("UniversalDependencies/UD_English-EWT", *KNOWN.values()):
        assert part in str(caught.value)


@pytest.mark.slow  # quick: a treebank of a few sentences
def test_the_english_web_treebank(tmp_path):
    folder = Path(__file__).parents[3] / "shared" / "data" / "ud_english_ewt"
    if not folder.exists():
        pytest.skip("needs a copy of UD_English-EWT at ../shared/data/ud_english_ewt")
    words = {}
    for name, sha in KNOWN.items():
        content = gzip.decompress((folder / f"{name}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == sha
        words[name.split("-")[-1].split(".")[0]] = len(re.findall(rb"(?m)^\d+\t", content))
    made = prepare(UniversalDependencies(path=folder, cache_dir=tmp_path))
    manifest = verify_examples(made)
    assert {name: (split.examples, split.tokens) for name, split in manifest.splits.items()} == {
        "train": (12_544, words["train"]),
        "validation": (2_001, words["dev"]),
    }
    assert manifest.source["info"]["checksums"].startswith("match")
    assert str(folder.parent) not in (made / "manifest.json").read_text()
    for padding, least in (("bucket", 0.95), ("pooled", 0.99)):
        planned = plan_batches(made, "train", TFRecord(), PADDINGS[padding]())
        area = sum(len(batch.indices) * batch.padded_length for batch in planned)
        assert manifest.splits["train"].tokens / area >= least, padding


# -- synthetic


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_labels_by_a_plain_loop(task):
    _, splits = read("synthetic", task=task, examples=30, mean=6, classes=5, vocabulary=4)
    for example in splits["train"]:
        x = [6, *example.inputs, 7]
        seen, expected = 0, []
        for t in range(1, len(x) - 1):
            seen += x[t] == 2
            expected.append((x[t - 1] + x[t] + x[t + 1] + seen % 2) % 5)
        if task == "tag":
            assert list(example.labels) == expected
        else:
            assert example.labels == (x[1] + x[-2] + seen % 2) % 5


def test_a_label_needs_past_and_future():
    ids = np.array([3, 4, 5, 4, 3])
    before = labels_of(ids, 8, 3)
    for t in range(5):
        other = ids.copy()
        other[t] += 1
        changed = set(np.flatnonzero(labels_of(other, 8, 3) != before))
        assert changed == {s for s in (t - 1, t, t + 1) if 0 <= s < 5}
    assert (labels_of(np.array([2, 4, 5, 4, 3]), 8, 3) != before).tolist()[3:] == [True, True], (
        "parity reaches far"
    )


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"lengths": "fixed", "mean": 7}, lambda n: set(n) == {7}),
        ({"lengths": "uniform", "minimum": 3, "longest": 6}, lambda n: set(n) == {3, 4, 5, 6}),
        ({"lengths": "uniform", "longest": 19}, lambda n: abs(n.mean() - 10) < 1),
        ({"lengths": "geometric", "mean": 20}, lambda n: abs(n.mean() - 20) < 2 and n.min() == 1),
        (
            {"lengths": "geometric", "mean": 3, "minimum": 0},
            lambda n: n.min() == 0 and abs(n.mean() - 3) < 0.5,
        ),
        ({"lengths": "geometric", "mean": 20, "longest": 30}, lambda n: n.max() == 30),
        (
            {"lengths": "one_outlier", "longest": 1000},
            lambda n: sorted(n)[-1] == 1000 and sorted(n)[-2] < 500,
        ),
        ({"lengths": "one_outlier", "longest": 200}, lambda n: sorted(n)[-1] == 200 and sorted(n)[-2] < 100),
    ],
)
def test_lengths(options, check):
    _, splits = read("synthetic", examples=1500, **options)
    assert check(np.array([len(example.inputs) for example in splits["train"]]))


def test_the_outlier_survives_max_examples(tmp_path):
    folder = prepare(Synthetic(lengths="one_outlier", longest=1000, cache_dir=tmp_path, max_examples=50))
    splits = open_dataset(folder).splits
    assert splits["train"].histogram[1000] == 1
    assert splits["validation"].longest < 500


def test_features_are_the_ids_in_another_form():
    _, ids = read("synthetic", examples=20)
    corpus, vectors = read("synthetic", examples=20, features=5)
    assert corpus.feature_size == 5
    table = {}
    for one, other in zip(ids["train"], vectors["train"], strict=True):
        assert other.inputs.dtype == np.float32
        np.testing.assert_array_equal(one.labels, other.labels)
        for symbol, vector in zip(one.inputs, other.inputs, strict=True):
            np.testing.assert_array_equal(table.setdefault(int(symbol), vector), vector)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": 2, "minimum": 3}, "mean = 2"),
        ({"lengths": "one_outlier", "longest": 30}, "longest = 30: is no outlier"),
        ({"task": "classify", "minimum": 0}, "cannot be classified"),
    ],
)
def test_synthetic_refusals(options, message):
    with pytest.raises(DataError, match=message):
        read("synthetic", **options)


# -- encode


def corpus_of(*lengths):
    return Corpus(
        {"train": [Example("abcdefghij"[:n], list(range(n))) for n in lengths]}, labels=list("0123456789")
    )


def test_too_long_examples_are_dropped_split_or_refused():
    dropped = encode(corpus_of(3, 9, 4, 8), name="x", max_length=4)
    assert [len(example.inputs) for example in dropped.splits["train"]] == [3, 4]
    assert dropped.dropped == {"over_length": 2}
    cut = encode(corpus_of(3, 9, 4, 8), name="x", max_length=4, over_length="split")
    assert [example.labels.tolist() for example in cut.splits["train"]] == [
        [0, 1, 2], [0, 1, 2, 3], [4, 5, 6, 7], [8], [0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7],
    ]  # fmt: skip
    assert cut.cut == {"examples": 2, "pieces": 5}
    assert cut.dropped == {}
    with pytest.raises(DataError, match="max_length = 4: an example has 9 tokens and over_length is keep"):
        encode(corpus_of(3, 9), name="x", max_length=4, over_length="keep")
    assert len(encode(corpus_of(3, 9), name="x", over_length="keep").splits["train"]) == 2
    with pytest.raises(DataError, match=r"empty, dropped: \{'over_length': 2\}"):
        encode(corpus_of(3, 9), name="x", max_length=2)


def test_the_vocabulary_is_the_training_splits():
    corpus = Corpus({"train": [Example("aab", "XXY")], "validation": [Example("abz", "XYX")]})
    encoded = encode(corpus, name="x")
    assert encoded.vocabulary == ["<pad>", "<unk>", "a", "b"]
    assert encoded.splits["validation"][0].inputs.tolist() == [2, 3, 1]
    corpus.splits["validation"] = [Example("a", "Z")]
    with pytest.raises(DataError, match=r"validation\[0\]: labels = Z: outside the classes X, Y"):
        encode(corpus, name="x")


def test_a_corpus_with_marks_of_its_own_has_each_once():
    """Penn Treebank and WikiText write <unk>: it is the unknown symbol, as rare ones are."""
    corpus = Corpus(
        splits={"train": iter([Example(["a", "<unk>", "a", "<pad>", "<unk>"], ["X"] * 5)])},
        labels=["X"],
        min_count=2,
    )
    found = encode(corpus, name="x")
    assert found.vocabulary == ["<pad>", "<unk>", "a"]
    assert found.splits["train"][0].inputs.tolist() == [2, 1, 2, 1, 1]


def test_a_treebanks_files_are_split_by_any_usual_name(tmp_path):
    for name, count in (("train", 3), ("valid", 2)):
        treebank(tmp_path, **{name: count})
    _, splits = read("ud_english_ewt", path=tmp_path)
    assert {split: len(of) for split, of in splits.items()} == {"train": 3, "validation": 2}
    (next(tmp_path.glob("*train*"))).unlink()
    treebank(tmp_path, test=1)
    with pytest.raises(DataError, match="none is for training"):
        read("ud_english_ewt", path=tmp_path)


def test_two_spaces_are_part_of_a_word_and_of_no_column(tmp_path):
    lines = ["# global.columns = ID FORM UPOS LEMMA", "1\tDr.  X\tDr.\tNOUN", "2\ta  b\t_\tVERB"]
    file = tmp_path / "x-ud-train.conllu"
    file.write_text("\n".join(lines) + "\n\n")
    _, splits = read("ud_english_ewt", path=file)
    assert splits["train"] + splits.get("validation", []) == [Example(["Dr.  X", "a  b"], ["NOUN", "VERB"])]


def test_sentences_of_the_same_words_are_held_out_together(tmp_path):
    """Whatever else their lines say, or what was learnt would be measured on what it was learnt from."""
    text = "".join(
        f"1\tword{n}\t_\tNOUN\t_\t_\t_\t_\t_\t{misc}\n\n"
        for n in range(100)
        for misc in ("_", "SpaceAfter=No")
    )
    file = tmp_path / "x-ud-train.conllu"
    file.write_text(text)
    _, splits = read("ud_english_ewt", path=file, validation_share=0.3)
    held, kept = ({tuple(one.inputs) for one in splits[name]} for name in ("validation", "train"))
    assert held
    assert not held & kept
