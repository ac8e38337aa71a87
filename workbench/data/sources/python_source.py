"""Logical lines of Python source as sequences of characters, each labelled with its token's class.

Real, offline and exact: `package` is "stdlib" (the installed standard library) or any installed package, which
is found, not imported. What a sequence is:

- One logical line, a statement or a compound statement's header, as `tokenize` splits it. Its indentation and
  its closing newline are left out; newlines and backslashes inside it (brackets, triple quotes, continuation)
  stay. Comments inside a line belong to it. A comment alone on its line is a sequence of its own.
- The class of a character is that of the token it lies in; between tokens it is whitespace. Keywords are the
  reserved ones (`match`, `case`, `type` and `_` are names). An f-string is a string from quote to quote, what
  stands in its braces included: Python 3.12 and later tokenise that too, 3.11 does not, and the labels are the
  same with both.
- Files are read in the encoding that they declare. A file that does not tokenise is left out and counted in
  `dropped` as `files_not_tokenised`; so is the second of two equal files, as `files_duplicate`. Folders called
  test or tests are read with `tests: true` only, as CPython's hold files that are wrong on purpose.
- Files are taken 128 at a time, in an order drawn by the seed, and give a line each in turn, their own lines in
  drawn order too: also a small data set has lines of a hundred files and more.
- Whole files go to one split: those with the smallest content hashes are the validation split. A short line
  such as `else:` of course occurs in both.

Class 0, whitespace, is a real class and in use: `first_class=1` shifts the labels by one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import itertools
import keyword
import os
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from workbench.data.errors import DataError
from workbench.data.sources import Corpus, Example, Limits, Source, digest, own_options
from workbench.options.data import PythonSource

CLASSES = ["whitespace", "keyword", "name", "number", "string", "comment", "operator"]
_WHITESPACE, _KEYWORD, _NAME, _NUMBER, _STRING, _COMMENT, _OPERATOR = range(7)
_CLASS_OF_TYPE = {
    tokenize.NAME: _NAME,
    tokenize.NUMBER: _NUMBER,
    tokenize.STRING: _STRING,
    tokenize.COMMENT: _COMMENT,
    tokenize.OP: _OPERATOR,
}
# Python 3.12 has f-strings, 3.14 t-strings too, in three kinds of tokens
_OPENING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}
_KEYWORDS = frozenset(keyword.kwlist)
_TOGETHER = 128  # files that give a line each in turn; tokenising them takes half a second
_OUTSIDE = {"site-packages", "dist-packages", "__pycache__"}
_TESTS = {"test", "tests", "idle_test"}


class _File(NamedTuple):
    name: str  # relative to the package: the same on every machine
    path: Path
    sha256: str


def logical_lines(text: str) -> Iterator[tuple[str, bytes]]:
    r"""Each logical line of `text` and the classes of its characters.

    >>> for line, classes in logical_lines("if x:\n    y = 'a'  # b\n"):
    ...     print(line, [CLASSES[c][0] for c in classes])
    if x: ['k', 'k', 'w', 'n', 'o']
    y = 'a'  # b ['n', 'w', 'o', 'w', 's', 's', 's', 'w', 'w', 'c', 'c', 'c']

    Raises SyntaxError (IndentationError included) or tokenize.TokenError where `text` is not Python.
    """
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    classes = bytearray(len(text))
    first: int | None = None  # where the current logical line begins
    last = 0
    depth, opened = 0, 0  # of f-strings within f-strings
    for kind, string, (row, column), (end_row, end_column), _ in tokenize.generate_tokens(
        io.StringIO(text).readline
    ):
        start, end = starts[row - 1] + column, starts[end_row - 1] + end_column
        if kind in _OPENING:
            if not depth:
                opened = start
                first = start if first is None else first
            depth += 1
        elif kind in _CLOSING:
            depth -= 1
            if not depth:
                classes[opened:end] = bytes([_STRING]) * (end - opened)
                last = end
        elif depth:
            continue
        elif kind == tokenize.NEWLINE or (
            kind == tokenize.NL and first is not None and _alone(classes, first, last)
        ):
            if first is not None:
                yield text[first:last], bytes(classes[first:last])
            first = None
        elif kind in _CLASS_OF_TYPE:
            if text[start:end] != string:
                raise SyntaxError(f"token {string!r} is not where tokenize says, line {row}")
            its = _KEYWORD if kind == tokenize.NAME and string in _KEYWORDS else _CLASS_OF_TYPE[kind]
            classes[start:end] = bytes([its]) * (end - start)
            first = start if first is None else first
            last = end
        elif kind == tokenize.ERRORTOKEN and not string.isspace():
            raise SyntaxError(f"{string!r} is no token, line {row}")


def _alone(classes: bytearray, first: int, last: int) -> bool:
    """Is all that the line has so far one comment? Then the newline that is not a NEWLINE ends it."""
    return classes[first] == _COMMENT and classes.count(_COMMENT, first, last) == last - first


def find_files(package: str, tests: bool) -> list[_File]:
    """The package's .py files by name; nothing is imported."""
    files = []
    for root in _roots(package):
        for path in [root] if root.is_file() else _walk(root, _OUTSIDE if tests else _OUTSIDE | _TESTS):
            name = path.relative_to(root).as_posix() if path != root else path.name
            try:
                files.append(_File(name, path, hashlib.sha256(path.read_bytes()).hexdigest()))
            except OSError as error:
                raise DataError(
                    path, "file", str(error), "cannot be read: choose another data.package"
                ) from None
    if not files:
        raise DataError(
            "data=python_source",
            "package",
            package,
            "has no .py files here: choose another installed package",
        )
    return sorted(files, key=lambda file: file.name)


def _walk(root: Path, leave_out: set[str]) -> Iterator[Path]:
    """The .py files under `root`, without the folders of these names."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in leave_out]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _roots(package: str) -> list[Path]:
    if package == "stdlib":
        return [Path(sysconfig.get_path("stdlib"))]
    top, _, rest = package.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):
        spec = None
    if spec is not None and spec.submodule_search_locations:
        roots = [
            Path(place).joinpath(*rest.split(".")) if rest else Path(place)
            for place in spec.submodule_search_locations
        ]
        return [root if root.is_dir() else root.with_suffix(".py") for root in roots]
    if spec is not None and spec.origin and spec.origin.endswith(".py"):
        return [Path(spec.origin)]
    try:
        files = importlib.metadata.distribution(package).files or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        files = []
    tops = {
        Path(str(file.locate())).parents[len(file.parts) - 2]
        for file in files
        if file.suffix == ".py" and len(file.parts) > 1
    }
    if not tops:
        raise DataError(
            "data=python_source",
            "package",
            package,
            'not installed in this environment: use "stdlib" or the name of an installed package',
        )
    return sorted(tops)


def fingerprint(options: PythonSource) -> str:
    """Hash of the options, the files' names and contents, and the Python whose `tokenize` reads them."""
    files = find_files(options.package, options.tests)
    return digest(
        "python_source",
        2,
        own_options(options),
        list(sys.version_info[:2]),
        [[f.name, f.sha256] for f in files],
    )


def read(options: PythonSource, task: str, limits: Limits) -> Corpus:
    """Lines of the package's files; files in an order drawn by the seed, and read only as they are needed."""
    files = find_files(options.package, options.tests)
    unique = {file.sha256: file for file in reversed(files)}
    total = len(files)
    by_hash = [unique[key] for key in sorted(unique)]
    held_out = max(1, round(len(by_hash) * options.validation_share))
    if len(by_hash) <= held_out:
        raise DataError(
            "data=python_source",
            "package",
            options.package,
            f"{len(by_hash)} files cannot be split into train and validation: choose a larger package",
        )
    dropped = {"files_duplicate": total - len(by_hash)} if total > len(by_hash) else {}
    corpus = Corpus(splits={}, labels=list(CLASSES), min_count=options.min_count, dropped=dropped)
    corpus.info = {
        "package": options.package,
        "python": sys.version.split()[0],
        "files": total,
        "files_read": 0,
    }
    for split, files in {"train": by_hash[held_out:], "validation": by_hash[:held_out]}.items():
        files = sorted(files, key=lambda file: digest(options.split_seed, "files", file.sha256))
        corpus.splits[split] = _examples(files, corpus, options)
    return corpus


def _examples(files: list[_File], corpus: Corpus, options: PythonSource) -> Iterator[Example]:
    for start in range(0, len(files), _TOGETHER):
        together = [_drawn_lines(file, corpus, options) for file in files[start : start + _TOGETHER]]
        for turn in itertools.zip_longest(*together):
            yield from (Example(*line) for line in turn if line is not None)


def _drawn_lines(file: _File, corpus: Corpus, options: PythonSource) -> list[tuple[str, bytes]]:
    """The file's lines in an order drawn by the seed, at most `lines_per_file`; counts what is not."""
    try:
        with tokenize.open(file.path) as stream:
            lines = list(logical_lines(stream.read()))
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
        corpus.dropped["files_not_tokenised"] = corpus.dropped.get("files_not_tokenised", 0) + 1
        return []
    corpus.info["files_read"] += 1
    order = sorted(range(len(lines)), key=lambda i: digest(options.split_seed, "lines", file.sha256, i))
    most = options.lines_per_file
    if most is not None and len(lines) > most:
        corpus.dropped["lines_per_file"] = corpus.dropped.get("lines_per_file", 0) + len(lines) - most
        order = order[:most]
    return [lines[i] for i in order]


SOURCE = Source(
    tasks=("tag", "next"),
    fingerprint=fingerprint,
    read=read,
)
