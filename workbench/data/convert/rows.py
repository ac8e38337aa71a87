"""What every reader gives: `Row`s, of `Block`s that a worker makes them from, and what their values may be."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from workbench.data.convert.schema import FILE, FOLDER, Schema
from workbench.data.errors import DataError
from workbench.data.file_kind import kind_of, remedy_of
from workbench.data.split_names import split_of_name
from workbench.data.whose import unopened
from workbench.wording import did_you_mean

BLOCK = 1 << 22  # bytes of a file that are one worker's at a time
LONGEST_LINE = 1 << 26
UNLABELLED: Any = ...
"""The labels of a row that says of itself that it has none: it is left out, and counted."""


class Row(NamedTuple):
    """One example as a file has it. `number` is what a message calls it: a line, a row, an example."""

    number: int
    inputs: Any
    labels: Any
    length: Any = None
    split: Any = None
    weights: Any = None


class Block(NamedTuple):
    """A part of a file; `payload` is the reader's. `unit` is what the numbers count, `bytes` of the file it is."""

    reader: str
    path: str
    split: str | None
    unit: str
    first: int
    payload: Any
    bytes: int

    def where(self, number: int) -> str:
        """What a message calls a row."""
        return f"{self.path}: {self.unit} {number}"


class Part(NamedTuple):
    """Of a file what makes a block, before it is known whose: first number, payload, bytes of the file."""

    first: int
    payload: Any
    bytes: int


@dataclass(frozen=True)
class Reader:
    """`parts(path, schema)` runs in one process and only cuts; `rows(block, schema)` runs in many and parses.

    `packed(block, layout)` is a short cut to what `pack` would make of the rows, where there is one, and None where
    it does not go: what is wrong is left to `rows` and `pack` to say.
    """

    unit: str
    parts: Callable[[Path, Schema], Iterator[Part]]
    rows: Callable[[Block, Schema], list[Row]]
    inputs: str = "inputs"
    labels: str = "labels"
    packed: Callable[[Block, Any], Any] | None = None


@contextmanager
def opened(path: Path, wanted: str) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed where gzip made them; faults are DataErrors. `wanted`: what it is to be."""
    try:
        with path.open("rb") as raw:
            head = raw.read(1024)
            raw.seek(0)
            packed = head[:2] == b"\x1f\x8b"
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            _refuse_other(path, stream.read(1024) if packed else head, wanted)
            stream.seek(0)
            yield stream
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        remedy = unopened(path, error) if path.is_dir() or isinstance(error, PermissionError) else (
            "cannot be read, or ends too early: get the file again"
        )  # fmt: skip
        raise DataError(path, "file", reason, remedy) from None


def _refuse_other(path: Path, head: bytes, wanted: str) -> None:
    kind = kind_of(head)
    texts = ("", "a text", "a CoNLL-U file", "a JSON text")
    if kind not in texts:
        raise DataError(path, "file", kind, remedy_of(kind, f"must be {wanted}, a text in UTF-8"))


def line_parts(path: Path, wanted: str, *ends: bytes) -> Iterator[Part]:
    """A text cut behind one of `ends`, or a line, in parts of BLOCK bytes or so, each with its first line."""
    with opened(path, wanted) as stream:
        line, rest = 1, b""
        while more := stream.read(BLOCK):
            rest += more
            places = [(rest.rfind(one), len(one)) for one in ends or (b"\n",)]
            cut = max(at + size if at >= 0 else 0 for at, size in places)
            if not cut:
                if len(rest) > LONGEST_LINE:
                    raise DataError(
                        path,
                        f"line {line}",
                        f"{len(rest):,} bytes",
                        f"goes on for longer than a line of {wanted}",
                    )
                continue
            yield Part(line, rest[:cut], cut)
            line += rest.count(b"\n", 0, cut)
            rest = rest[cut:]
        if rest:
            yield Part(line, rest, len(rest))


def text_of(block: Block) -> str:
    """A block's bytes as text, or DataError with the line that is none."""
    data: bytes = block.payload
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = block.first + data.count(b"\n", 0, error.start)
        raise DataError(
            block.where(line), "encoding", f"byte {data[error.start]:#04x}", "no UTF-8: convert the file"
        ) from None
    return text.removeprefix("\ufeff") if block.first == 1 else text


def line_of(raw: str, block: Block, number: int) -> str:
    """A line without its end, or DataError where a carriage return is in it: old Macs ended lines so."""
    line = raw.rstrip("\r")
    if "\r" in line:
        shown = line.partition("\r")[0][:100]
        raise DataError(
            block.where(number), "line", f"{shown!r} and more",
            "a carriage return is inside the line: convert the line ends, e.g. by `tr '\\r' '\\n'`",
        )  # fmt: skip
    return line


def label_of_name(schema: Schema, path: str) -> str | None:
    """The label where no column has it: what the file or its folder is called, or nothing (task "next")."""
    if schema.task == "next":
        return ""
    if schema.labels == FOLDER:
        return Path(os.path.abspath(path)).parent.name  # as it is called here, wherever a link leads
    if schema.labels != FILE:
        return None
    name = Path(Path(path).name.removesuffix(".gz")).stem
    rest, _, last = name.rpartition(".")
    return rest if rest and split_of_name(last) else name


def refuse(path: Path, schema: Schema, *options: str) -> None:
    """Raise DataError for an option that means nothing in this format: it would be passed over."""
    for name in options:
        if getattr(schema, name) is not None:
            raise DataError(path, name, getattr(schema, name), "is no option of this format: leave it out")


def no_column(where: str, name: str, there: object) -> DataError:
    """That a column, key or array is not there."""
    names = [str(one) for one in there]  # type: ignore[attr-defined]
    listed = ", ".join(names[:10]) + (" and more" if names[10:] else "")
    remedy = f"there is {listed or 'none'}: say which is which (inputs, labels, weights, ...)"
    remedy += did_you_mean(name, names)
    return DataError(where, name, "missing", remedy)
