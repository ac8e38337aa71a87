"""CSV: an example a row by the columns of its head; or, with `group`, a step a row."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.rows import (
    BLOCK,
    LONGEST_LINE,
    Block,
    Part,
    Reader,
    Row,
    label_of_name,
    no_column,
    opened,
)
from workbench.data.convert.schema import FILE, FOLDER, Schema
from workbench.data.errors import DataError
from workbench.data.given import plain_numbers


class _Line(NamedTuple):
    """A row's cells that are read, and the line of the file that it ends in."""

    number: int
    inputs: str | list[str]
    labels: str
    length: str | None
    split: str | None
    weights: str | None
    group: str | None


def rows(block: Block, schema: Schema) -> list[Row]:
    """The rows of a block as examples."""
    label = label_of_name(schema, block.path)
    lines: list[_Line] = [_Line(*line) for line in block.payload]
    if label is not None:
        lines = [line._replace(labels=label) for line in lines]
    if schema.group is None:
        return [Row(*line[:6]) for line in lines]
    _check_filled(lines, block, schema)
    if schema.kind is None:
        _check_words(lines, block, schema)
    found, first = [], 0
    for i in range(1, len(lines) + 1):
        if i == len(lines) or lines[i].group != lines[first].group:
            found.append(_grouped(lines[first:i], block, schema))
            first = i
    return found


def _check_filled(lines: list[_Line], block: Block, schema: Schema) -> None:
    """Raise DataError where a step's cell is empty: nobody filled it in."""
    remedy = "a step's cell is empty: fill it in, or leave the row out"
    tags = schema.task in (None, "tag") and "" not in (schema.classes or ())
    for line in lines:
        for name, cell in _inputs(line, schema):
            if cell == "":
                raise DataError(block.where(line.number), name, "''", remedy)
        if tags and not line.labels:
            raise DataError(block.where(line.number), str(schema.labels), "''", remedy)


def _inputs(line: _Line, schema: Schema) -> Iterator[tuple[str, Any]]:
    """The columns of a step's inputs, and its cells in them."""
    if isinstance(schema.inputs, list):
        yield from zip(schema.inputs, line.inputs, strict=True)
    else:
        yield str(schema.inputs), line.inputs


def _numbers(lines: list[_Line], block: Block, schema: Schema) -> Any:
    """The inputs of a group, as float32 where they are features; or DataError with the line that has no number."""
    values = [line.inputs for line in lines]
    several = isinstance(schema.inputs, list)
    if schema.kind != "features" and not (several and schema.kind is None):
        return values
    with np.errstate(over="ignore"):
        found = _floats(values)
        if found is not None and np.isfinite(found).all():
            return found
        for line in lines:
            for name, cell in _inputs(line, schema):
                number = _floats(cell)
                if number is None or not np.isfinite(number):
                    what = (
                        "must be numbers, as 1000 or 1e-3"
                        if number is None
                        else "not finite, and would make the loss so"
                    )
                    remedy = f"{what}: correct it, or leave the example out"
                    raise DataError(block.where(line.number), name, repr(cell), remedy)
    return values


def _floats(values: object) -> np.ndarray | None:
    try:
        plain_numbers(values if isinstance(values, list) else [values])
        return np.asarray(values, np.float32)
    except ValueError:
        return None


def _check_words(lines: list[_Line], block: Block, schema: Schema) -> None:
    """Raise DataError where a single column has numbers alone: they may be measured, ids, or symbols."""
    values = [line.inputs for line in lines if isinstance(line.inputs, str) and line.inputs.strip()]
    try:
        numbers = [float(one) for one in values]
    except ValueError:
        return
    if numbers:
        remedy = "and the others are numbers: say what they are (--kind features, ids or symbols)"
        raise DataError(block.where(lines[0].number), str(schema.inputs), values[0], remedy)


def _grouped(lines: list[_Line], block: Block, schema: Schema) -> Row:
    """Rows of one group as an example, a step a row."""
    once = {"split": {line.split for line in lines}}
    of_name = schema.task is None and schema.labels in (FILE, FOLDER)  # what a file is called is one label
    if schema.task == "classify" or of_name:
        once["labels"] = {line.labels for line in lines}
    if schema.task in ("classify", "next"):
        once["weights"] = {line.weights for line in lines}
    for name, values in once.items():
        if len(values) > 1:
            said = " and ".join(sorted(map(str, values))[:3])
            raise DataError(
                block.where(lines[0].number), name, said,
                f"must be one in all rows of {schema.group} {lines[0].group}",
            )  # fmt: skip
    labels = lines[0].labels if "labels" in once else [line.labels for line in lines]
    weights: Any = lines[0].weights
    if schema.weights is not None and "weights" not in once:
        weights = [line.weights for line in lines]
    return Row(lines[0].number, _numbers(lines, block, schema), labels, None, lines[0].split, weights)


def _parts(path: Path, schema: Schema) -> Iterator[Part]:
    if schema.group is not None and schema.lengths is not None:
        raise DataError(path, "lengths", schema.lengths, "a group is as long as it has rows: leave it out")
    delimiter = schema.delimiter or ("\t" if ".tsv" in map(str.lower, path.suffixes) else ",")
    groups = _Groups(path, schema.group)
    taken: list[_Line] = []
    size, first = 0, 2
    for line, cells in _lines(path, delimiter, schema):
        length = sum(map(len, line[1])) if isinstance(line[1], list) else len(line[1])
        if size >= BLOCK and groups.begins(line):
            yield Part(first, [tuple(one) for one in taken], size)
            taken, size, first = [], 0, line.number
        groups.add(line)
        taken.append(line)
        size += length + cells
    groups.check()
    if taken:
        yield Part(first, [tuple(one) for one in taken], size)


def _lines(path: Path, delimiter: str, schema: Schema) -> Iterator[tuple[_Line, int]]:
    """The rows of a file, and how many cells each has."""
    csv.field_size_limit(LONGEST_LINE)
    with opened(path, "a CSV") as stream:
        table = csv.reader(
            io.TextIOWrapper(stream, "utf-8-sig", newline=""), delimiter=delimiter, strict=True
        )

        def swallows(cell: str) -> bool:
            """Whether rows seem to lie in a cell: of steps any line, of texts one with a tab.

            A text of several lines with commas in it is what quotes are for.
            """
            return "\n" in cell and (schema.group is not None or (delimiter == "\t" and delimiter in cell))

        try:
            head = next(table, [])
            pick = _picker(path, head, schema)
            blank, between, words = 0, 0, schema.group is None
            for cells in table:
                if len(cells) != len(head):
                    if not cells:
                        blank = table.line_num
                        continue
                    raise DataError(
                        f"{path}: line {table.line_num}", "columns", len(cells),
                        f"the head has {len(head)}: one with the delimiter in it is put in quotes",
                    )  # fmt: skip
                if (at := next((i for i, one in enumerate(cells) if swallows(one)), -1)) >= 0:
                    raise DataError(
                        f"{path}: line {table.line_num}", head[at], repr(cells[at][:40]),
                        "goes on over lines, as a quote opens it: a cell that begins with one is put in quotes, "
                        "its own doubled; a token that is a quote is four of them",
                    )  # fmt: skip
                line = _Line(table.line_num, *pick(cells))
                words = words and isinstance(line.inputs, str) and len(line.inputs.split()) < 2
                between = between or blank
                yield line, len(cells)
            if between and words:
                raise DataError(
                    f"{path}: line {between}", "rows", "''",
                    "ends a sentence, it seems, as each row has one word: give a column that names the sentence "
                    "(--group), or write .conllu or JSON lines; else leave empty lines out",
                )  # fmt: skip
        except csv.Error as error:
            raise DataError(
                f"{path}: line {table.line_num}", "line", str(error),
                'no CSV: a quote in a cell is doubled, and that cell is put in quotes ("")',
            ) from None  # fmt: skip
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: line {_line_of_no_text(path)}", "encoding", f"byte {error.object[error.start]:#04x}",
                "no UTF-8: convert the file",
            ) from None  # fmt: skip


def _line_of_no_text(path: Path) -> int:
    """The first line that is no UTF-8; the reader is ahead of the rows that it gives."""
    with opened(path, "a CSV") as stream:
        lines = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
        for number, line in enumerate(lines, 1):
            if any("\udc80" <= letter <= "\udcff" for letter in line):
                return number
    return 1


def _picker(path: Path, head: list[str], schema: Schema):  # type: ignore[no-untyped-def]
    """From a row's cells to those of a `_Line`."""
    # the others may be called alike, or not at all, as a table with empty columns has them
    for name in schema.columns:
        if head.count(name) > 1:
            raise DataError(path, "head", name, "is the name of two columns: give each its own")

    def at(name: str | None) -> int | None:
        if name is None:
            return None
        if name not in head:
            fault = no_column(f"{path}: line 1", name, head)
            if len(head) == 1 and (mark := next((one for one in ";\t|" if one in head[0]), None)):
                fault = DataError(path, "delimiter", "not given", f"its head has {mark!r}: give --delimiter")
            raise fault
        return head.index(name)

    several = [at(name) for name in schema.inputs] if isinstance(schema.inputs, list) else None
    single = None if several else at(schema.inputs if isinstance(schema.inputs, str) else None)
    labels = at(schema.labels) if label_of_name(schema, str(path)) is None else None
    others = [at(name) for name in (schema.lengths, schema.split, schema.weights, schema.group)]
    group = others[-1]
    if several and group is None:
        raise DataError(path, "inputs", schema.inputs, "several columns are a step's numbers: name the group too, "
                        "the column that is the same in all rows of an example")  # fmt: skip

    def pick(cells: list[str]) -> tuple[object, ...]:
        inputs = [cells[i] for i in several] if several else cells[single]  # type: ignore[index]
        return (
            inputs,
            "" if labels is None else cells[labels].strip(),
            *(None if i is None else cells[i] for i in others),
        )

    return pick


class _Groups:
    """The groups of a file as they come, eight bytes kept of each: one that comes again is refused."""

    def __init__(self, path: Path, name: str | None) -> None:
        self._path, self._name = path, name
        self._now: str | None = None
        self._new: list[bytes] = []
        self._all = np.zeros(0, np.uint64)

    def begins(self, line: _Line) -> bool:
        """Whether this row is the first of an example."""
        return line.group is None or line.group != self._now

    def add(self, line: _Line) -> None:
        """Take a row, or raise DataError where it says no group."""
        if line.group is not None and not line.group.strip():
            raise DataError(
                f"{self._path}: line {line.number}", str(self._name), repr(line.group),
                "names no example: say which one the row is of, or leave it out",
            )  # fmt: skip
        if line.group is not None and line.group != self._now:
            self._now = line.group
            self._new.append(hashlib.blake2b(line.group.encode(), digest_size=8).digest())
            if len(self._new) == 1 << 20:
                self.check()

    def check(self) -> None:
        """Raise DataError where a group has come before."""
        now = np.frombuffer(b"".join(self._new), np.uint64)
        every, counts = np.unique(np.concatenate((self._all, now)), return_counts=True)
        if (counts > 1).any():
            raise DataError(
                self._path, str(self._name), f"{int((counts > 1).sum())} of its values",
                "come again after rows of another: an example's rows must follow each other; sort the file",
            )  # fmt: skip
        self._all, self._new = every, []


READER = Reader("line", _parts, rows)
