"""CoNLL-U: a word a line, its columns between tabs; a line of nothing ends a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from workbench.data.convert.rows import (
    UNLABELLED,
    Block,
    Part,
    Reader,
    Row,
    line_of,
    line_parts,
    no_column,
    refuse,
    text_of,
)
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_PARTS_OF_SPEECH = ("upos", "xpos")  # of which "_" says that there is none; a word may have no features
_NOT_A_WORD = re.compile(r"[0-9]+[-.][0-9]+")  # the range of a multiword token, an empty node


def rows(block: Block, schema: Schema) -> list[Row]:
    """The sentences of a block, each by the line of its first word; one without words is passed over."""
    columns = _column(schema.inputs, block), _column(schema.labels or schema.inputs, block)
    unlabelled = "_" if COLUMNS[columns[1]] in _PARTS_OF_SPEECH else None
    found: list[Row] = []
    inputs: list[str] = []
    labels: list[str] = []
    expected = start = 1
    for number, raw in enumerate([*text_of(block).split("\n"), ""], block.first):
        line = line_of(raw, block, number)
        if not line.strip():
            if inputs:
                found.append(Row(start, inputs, UNLABELLED if unlabelled in labels else labels))
            inputs, labels, expected = [], [], 1
            continue
        if line[0] == "#":
            continue
        cells = line.split("\t")
        if cells[0] != str(expected):
            if _NOT_A_WORD.fullmatch(cells[0]) and len(cells) == len(COLUMNS):
                continue
            raise _fault(block, number, line, f"the sentence's next word is {expected}")
        if len(cells) != len(COLUMNS) or not (cells[columns[0]] and cells[columns[1]]):
            raise _fault(
                block, number, line, f"{len(cells)} columns" if len(cells) != len(COLUMNS) else "one is empty"
            )
        start = number if expected == 1 else start
        expected += 1
        inputs.append(cells[columns[0]])
        labels.append(cells[columns[1]])
    return found


def _column(name: object, block: Block) -> int:
    if str(name).lower() not in COLUMNS:
        raise no_column(block.path, str(name), COLUMNS)
    return COLUMNS.index(str(name).lower())


def _fault(block: Block, number: int, line: str, what: str) -> DataError:
    listed = ", ".join(COLUMNS).upper()
    return DataError(
        block.where(number),
        "line",
        line[:100],
        f"{what}: not CoNLL-U, which has columns {listed}, separated by tabs",
    )


def _parts(path: Path, schema: Schema) -> Iterator[Part]:
    refuse(path, schema, "lengths", "split", "weights", "group")
    return line_parts(path, "CoNLL-U", b"\n\n", b"\n\r\n")


READER = Reader("line", _parts, rows, "form", "upos")
