"""Plain text to predict the next token of: lines, paragraphs or files, as words or characters.

`path` is a file or a folder of *.txt, in UTF-8. Which split a file is, its name says, as ptb.train.txt and
ptb.valid.txt do (train; validation, valid, val, dev or eval; test); where some names say it, all must. The test
file is left alone unless `test: true`. Without a validation file sequences are held out by a hash of their content,
so that equal ones are in one split.

A sequence is a line, a paragraph (ends with an empty line) or a whole file; those of white space alone are left
out. Words are what stands between white space; characters are all that the sequence has, indentation and line ends
inside it too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.data.errors import DataError
from workbench.data.file_kind import kind_of, remedy_of
from workbench.data.sources import Corpus, Example, Limits, Source, digest, own_options
from workbench.data.split_names import split_of_name
from workbench.options.data import Text

_WHERE = "give data.path, a text file in UTF-8 or a folder of *.txt"
_PARAGRAPHS = re.compile(r"\n(?:[ \t]*\n)+")


def find_files(path: str | None) -> dict[str, list[Path]]:
    """The files at `path` by split; "all" where a name says nothing."""
    if not path:
        raise DataError("data=text", "path", path, _WHERE)
    place = Path(path).expanduser()
    if place.is_file():
        return {"all": [place]}
    if not place.is_dir():
        raise DataError("data=text", "path", path, f"no such file or folder: {_WHERE}")
    by_split: dict[str, list[Path]] = {}
    for file in sorted(place.glob("*.txt")):
        by_split.setdefault(split_of_name(file.stem) or "all", []).append(file)
    if not by_split:
        raise DataError("data=text", "path", path, f"no *.txt file there: {_WHERE}")
    if "all" in by_split and len(by_split) > 1:
        names = ", ".join(file.name for file in by_split["all"])
        raise DataError(
            "data=text",
            "path",
            names,
            "says no split, and other files here do: rename it, or put it elsewhere",
        )
    if not {"train", "all"} & set(by_split):
        names = ", ".join(file.name for files in by_split.values() for file in files)
        raise DataError("data=text", "path", names, "none of these is to train on: add one, or rename one")
    return by_split


def fingerprint(options: Text) -> str:
    """Hash of the options, without the path, and of the files' contents by split, in the order they are read."""
    files = find_files(options.path)
    rest = {name: value for name, value in own_options(options).items() if name != "path"}
    return digest("text", 2, rest, {split: [*map(_sha, of)] for split, of in files.items()})


def recorded(options: Text) -> dict[str, Any]:
    """The options without the path, which is a machine's."""
    files = find_files(options.path)
    return {**own_options(options), "path": sorted(file.name for of in files.values() for file in of)}


def read(options: Text, task: str, limits: Limits) -> Corpus:
    """Sequences in an order drawn by the seed."""
    files = find_files(options.path)
    texts = {split: [one for file in of for one in _sequences(file, options)] for split, of in files.items()}
    parts = {"train": texts.get("train", []) + texts.get("all", [])}
    if "validation" in texts:
        parts["validation"] = texts["validation"]
    else:
        parts["train"], parts["validation"] = _held_out(parts["train"], options)
    if options.test:
        if "test" not in texts:
            raise DataError(
                "data=text",
                "test",
                recorded(options)["path"],
                "no test file among them: add it, or test=false",
            )
        parts["test"] = texts["test"]
    corpus = Corpus(splits={}, min_count=options.min_count)
    corpus.info = {"files": sum(map(len, files.values()))}
    for split, of in parts.items():
        corpus.splits[split] = _examples(of, split, options)
    return corpus


def _examples(texts: list[str], split: str, options: Text) -> Iterator[Example]:
    for i in sorted(range(len(texts)), key=lambda i: digest(options.split_seed, split, i)):
        yield Example(_tokens(texts[i], options))


def _held_out(texts: list[str], options: Text) -> tuple[list[str], list[str]]:
    """Train and validation: those of the smallest hashes, equal ones together."""
    hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
    different = sorted(set(hashes))
    count = max(1, round(options.validation_share * len(different)))
    if len(different) < 2:
        raise DataError(
            "data=text", "sequences", options.sequences, f"the text has {len(different)} different of them, too "
            "few to hold one out: take shorter ones, as line, or give a validation file"
        )  # fmt: skip
    border = different[min(count, len(different) - 1)]
    train = [text for text, its in zip(texts, hashes, strict=True) if its >= border]
    return train, [text for text, its in zip(texts, hashes, strict=True) if its < border]


def _sequences(file: Path, options: Text) -> Iterator[str]:
    text = _text(file)
    if options.lowercase:
        text = text.lower()
    if options.sequences == "line":
        parts = text.split("\n")
    else:
        parts = _PARAGRAPHS.split(text) if options.sequences == "paragraph" else [text]
    yield from (part.strip("\n") for part in parts if part.strip())


def _tokens(text: str, options: Text) -> list[str]:
    return text.split() if options.tokens == "words" else list(text)


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(file, "file", str(error), "cannot be read: check it") from None
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        kind = kind_of(content[:1024])
        if kind not in ("", "a text"):
            raise DataError(file, "file", kind, f"not a text in UTF-8: {remedy_of(kind, _WHERE)}") from None
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            file,
            f"line {line}",
            content[error.start : error.start + 8],
            "not UTF-8: convert it with `iconv -t utf-8`",
        ) from None


def _sha(file: Path) -> str:
    return hashlib.sha256(_text(file).encode()).hexdigest()


SOURCE = Source(tasks=("next",), fingerprint=fingerprint, read=read, recorded=recorded)
