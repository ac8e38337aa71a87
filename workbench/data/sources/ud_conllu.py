"""Part-of-speech tagging from CoNLL-U files, of the English Web Treebank or any other treebank.

`path` is a folder, a file, or a list of files, `*.conllu` or `*.conllu.gz`. Which split a file is, its name
says (train, dev, test: Universal Dependencies' own names do); the dev file is the validation split. The test
file is left alone unless `test: true`. A treebank with no dev file has its sentences split by hash.

A token is a syntactic word, as UD has it: the range line of a multiword token ("1-2 don't") is left out, since
its words follow it, and so are empty nodes ("8.1"), which stand for what was not said; both are counted in the
manifest's source info. Labels are the 17 universal tags; a sentence with a word that has none (`_`) is dropped
as `no_upos`. Sentences without words are dropped as `no_words`. A line that is no CoNLL-U, and a tag that is
none of the 17, are refused with file and line. Columns are what tabs separate, as UD says: two spaces are part of a
word.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from workbench.data.errors import DataError
from workbench.data.file_kind import GZIP, kind_of, remedy_of
from workbench.data.sources import Corpus, Example, Limits, Source, digest, own_options
from workbench.data.split_names import split_of_name
from workbench.options.data import UniversalDependencies

UPOS = [
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
    "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
]  # fmt: skip
KNOWN = {  # SHA-256 of the uncompressed files of UD_English-EWT that results here were made with
    "en_ewt-ud-dev.conllu": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
    "en_ewt-ud-test.conllu": "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
    "en_ewt-ud-train.conllu": "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
}
WHERE = (
    "give data.path, a folder with *.conllu or *.conllu.gz files. The English Web Treebank is the repository "
    "UniversalDependencies/UD_English-EWT on GitHub, every treebank is on universaldependencies.org; the "
    "files' SHA-256, uncompressed: " + ", ".join(f"{name} {sha}" for name, sha in sorted(KNOWN.items()))
)
FIELDS = ("id", "form", "lemma", "upos")  # the columns that are read
_ID = re.compile(r"[0-9]+([-.][0-9]+)?")


class _Token(NamedTuple):
    """What is read of a line."""

    id: str
    form: str
    upos: str

    @property
    def is_word(self) -> bool:
        """Not the range of a multiword token, nor an empty node."""
        return self.id.isdigit()


class _Block(NamedTuple):
    """A sentence's lines, and where they are: the file's name, and the number of the first in it."""

    file: str
    line: int
    text: str

    def where(self, line: int) -> str:
        """What a message calls the block's line, counted from 0."""
        return f"{self.file}: line {self.line + line}"


def find_files(path: object) -> dict[str, list[Path]]:
    """The CoNLL-U files at `path` by split ("train", "validation", "test"; "all" where a name says nothing)."""
    if not path:
        raise DataError("data=ud_english_ewt", "path", repr(path), WHERE)
    given = [path] if isinstance(path, (str, Path)) else list(path)  # type: ignore[call-overload]
    files: dict[str, Path] = {}
    for one in (Path(place).expanduser() for place in given):
        if one.is_dir():
            found = [file for file in sorted(one.iterdir()) if file.name.endswith((".conllu", ".conllu.gz"))]
        elif one.is_file():
            found = [one]
        else:
            raise DataError("data=ud_english_ewt", "path", str(one), f"no such file or folder: {WHERE}")
        for file in found:
            name = file.name.removesuffix(".gz")
            if name in files:
                raise DataError(
                    file, "path", name, f"is there twice, {files[name].name} too: give one of them"
                )
            files[name] = file
    if not files:
        raise DataError("data=ud_english_ewt", "path", str(path), f"no CoNLL-U file there: {WHERE}")
    by_split: dict[str, list[Path]] = {}
    for name, file in sorted(files.items()):
        by_split.setdefault(split_of_name(name) or "all", []).append(file)
    if len(files) > 1 and not {"train", "all"} & set(by_split):
        names = ", ".join(sorted(files))
        raise DataError(
            "data=ud_english_ewt", "path", names, "none is for training: name it so, as in en-ud-train.conllu"
        )
    if len(files) == 1:
        by_split = {"all": [file for files_ in by_split.values() for file in files_]}
    return by_split


def fingerprint(options: UniversalDependencies) -> str:
    """Hash of the options, without the path, and of the files' names and contents."""
    files = find_files(options.path)
    rest = {name: value for name, value in own_options(options).items() if name != "path"}
    sums = {split: [[f.name.removesuffix(".gz"), _sha(f)] for f in of] for split, of in files.items()}
    seen: dict[str, str] = {}
    for name, sha in (one for of in sums.values() for one in of):
        if sha in seen:
            raise DataError("data=ud_english_ewt", "path", name, f"has the content of {seen[sha]}, and what is "
                            "learned on one must not be measured on the other: leave one out")  # fmt: skip
        seen[sha] = name
    return digest("ud_conllu", 2, rest, sums)


def recorded(options: UniversalDependencies) -> dict[str, Any]:
    """The options without the path, which is a machine's."""
    files = find_files(options.path)
    return {**own_options(options), "path": sorted(file.name for of in files.values() for file in of)}


def read(options: UniversalDependencies, task: str, limits: Limits) -> Corpus:
    """Sentences in an order drawn by the seed; parsed only as they are needed."""
    files = find_files(options.path)
    corpus = Corpus(splits={}, labels=list(UPOS), min_count=options.min_count)
    sums = {file.name.removesuffix(".gz"): _sha(file) for of in files.values() for file in of}
    same = all(KNOWN.get(name) == value for name, value in sums.items())
    corpus.info = {
        "checksums": "match the English Web Treebank known here"
        if same
        else "other than the files known here",
        "sha256": sums,
        "multiword_tokens": 0,
        "empty_nodes": 0,
    }
    blocks = {split: [b for file in of for b in _blocks(file)] for split, of in files.items()}
    train = blocks.get("train", []) + blocks.get("all", [])
    if "validation" in blocks:
        parts = {"train": train, "validation": blocks["validation"]}
    else:
        border = options.validation_share * 2.0**32
        parts = {"train": [], "validation": []}
        for block in train:
            words = "\n".join(
                token.form for token in _tokens(block) if token.is_word
            )  # alike ones stay together
            held_out = int(hashlib.sha256(words.encode()).hexdigest()[:8], 16) < border
            parts["validation" if held_out else "train"].append(block)
        if not parts["validation"]:
            del parts["validation"]
    if options.test:
        if "test" not in blocks:
            names = ", ".join(sorted(sums))
            raise DataError(
                "data=ud_english_ewt", "test", names, "no test file among them: add it, or test=false"
            )
        parts["test"] = blocks["test"]
    for split, sentences in parts.items():
        order = sorted(range(len(sentences)), key=lambda i: digest(options.split_seed, split, i))
        corpus.splits[split] = _examples(
            [sentences[i] for i in order], corpus, options.lowercase, tagged=task == "tag"
        )
    return corpus


def _examples(blocks: list[_Block], corpus: Corpus, lower: bool, *, tagged: bool = True) -> Iterator[Example]:
    for block in blocks:
        tokens = _tokens(block)
        words = [token for token in tokens if token.is_word]
        for token in tokens:
            if not token.is_word:
                corpus.info["multiword_tokens" if "-" in token.id else "empty_nodes"] += 1
        if not words:
            corpus.dropped["no_words"] = corpus.dropped.get("no_words", 0) + 1
        elif tagged and any(token.upos == "_" for token in words):
            corpus.dropped["no_upos"] = corpus.dropped.get("no_upos", 0) + 1
        else:
            forms = [token.form.lower() if lower else token.form for token in words]
            yield Example(forms, [token.upos for token in words] if tagged else ())


def _tokens(block: _Block) -> list[_Token]:
    """The lines of a sentence.

    Raises:
        DataError: a line is no word's, or a word's tag is none; it is named.
    """
    found = []
    for i, line in enumerate(block.text.split("\n")):
        if line.startswith("#") or not line.strip():
            continue
        columns = line.rstrip("\r").split("\t")
        if len(columns) < len(FIELDS) or not _ID.fullmatch(columns[0]) or not columns[1]:
            raise DataError(
                block.where(i),
                "line",
                line,
                f"not CoNLL-U, which has columns {', '.join(FIELDS).upper()} and more, separated by tabs: mend "
                "the file",
            )
        if columns[0].isdigit() and columns[3] not in ("_", *UPOS):
            raise DataError(
                block.where(i),
                "UPOS",
                columns[3],
                f"outside the universal tags {', '.join(UPOS)}: correct it, or _ where a word has none",
            )
        found.append(_Token(columns[0], columns[1], columns[3]))
    return found


def _blocks(file: Path) -> list[_Block]:
    """The file's sentences as text."""
    try:
        text = _content(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(file, "encoding", str(error), "CoNLL-U is UTF-8: convert the file") from None
    if "\r" in text and "\n" not in text:
        raise DataError(
            file,
            "line ends",
            "carriage returns",
            "are those of old Macs: convert them, e.g. by `tr '\\r' '\\n'`",
        )
    blocks, line, end = [], 1, 0
    for gap in [*re.finditer(r"\r?\n[ \t]*\r?\n", text), None]:
        block = text[end : gap.start() if gap else len(text)]
        if block.strip():
            blocks.append(_Block(file.name, line, block))
        if gap:
            line += text.count("\n", end, gap.end())
            end = gap.end()
    return blocks


def _content(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        if kind_of(content[:1024]) == GZIP:
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise DataError(file, "file", str(error), "unreadable or truncated: get the file again") from None
    kind = kind_of(content[:1024])
    if kind not in ("a CoNLL-U file", "a text", ""):
        remedy = remedy_of(kind, "give *.conllu or *.conllu.gz files")
        raise DataError(file, "file", kind, f"not CoNLL-U, which is a text in UTF-8: {remedy}")
    return content


def _sha(file: Path) -> str:
    return hashlib.sha256(_content(file)).hexdigest()


SOURCE = Source(
    tasks=("tag", "next"),
    fingerprint=fingerprint,
    read=read,
    recorded=recorded,
)
