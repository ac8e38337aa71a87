"""JSON lines: an object a line, by its keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.convert import columns
from workbench.data.convert.layout import Layout, Packed
from workbench.data.convert.rows import (
    Block,
    Part,
    Reader,
    Row,
    label_of_name,
    line_parts,
    no_column,
    refuse,
    text_of,
)
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError


def rows(block: Block, schema: Schema) -> list[Row]:
    """The objects of a block; lines of nothing are passed over."""
    label, found = label_of_name(schema, block.path), []
    of_labels = None if label is not None else schema.labels
    keys = (schema.inputs, of_labels, schema.lengths, schema.split, schema.weights)
    if isinstance(keys[0], list):
        raise DataError(block.path, "inputs", keys[0], "of JSON lines one key has the inputs: name one")
    for number, line in enumerate(text_of(block).split("\n"), block.first):
        if not line or line.isspace():
            continue
        try:
            one = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise DataError(block.where(number), "line", line[:100], f"no JSON ({error}); {_HOW}") from None
        if not isinstance(one, dict):
            raise DataError(block.where(number), "line", line[:100], _HOW)
        try:
            inputs, labels, length, split, weights = (key and one[key] for key in keys)
        except KeyError as error:
            raise no_column(block.where(number), str(error.args[0]), one) from None
        found.append(Row(number, inputs, labels if label is None else label, length, split, weights))
    return found


_HOW = "must be an object a line (of one array: `jq -c '.[]'`)"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


_BEHIND_AN_OBJECT = re.compile(rb"\}[ \t\r]*[^ \t\r\n,\]}]")


def packed(block: Block, layout: Layout) -> Packed | None:
    """By pyarrow, where inputs (and labels) are lists and it finds no fault."""
    schema = layout.schema
    other = schema.lengths, schema.split, schema.weights, label_of_name(schema, block.path)
    if schema.kind == "features" or any(one is not None for one in other):
        return None
    try:
        import pyarrow
        from pyarrow import json as reader
    except ImportError:
        return None
    token, names = (
        pyarrow.string() if schema.kind == "symbols" else pyarrow.int64(),
        (schema.inputs, schema.labels),
    )
    data: bytes = block.payload
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if data[:1] != b"{" or data.count(b"\n{") != lines - 1 or _BEHIND_AN_OBJECT.search(data):
        return None  # not plainly an object a line: pyarrow 25 crashes at one that is `null`
    if not data.isascii():
        text_of(block)  # of keys that it passes over pyarrow does not see what is no UTF-8
    for label in (pyarrow.string(), pyarrow.int64()):
        of_labels = pyarrow.list_(label) if schema.task == "tag" else label
        wanted = pyarrow.schema([(names[0], pyarrow.list_(token)), (names[1], of_labels)])
        options = reader.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        try:
            table = reader.read_json(
                pyarrow.BufferReader(data),
                reader.ReadOptions(use_threads=False, block_size=len(data) + 1),
                options,
            ).combine_chunks()
            if len(table) != lines:
                return None
            numbers = np.arange(block.first, block.first + len(table))
            inputs, labels = (table.column(name).combine_chunks() for name in names)
            return columns.packed(inputs, labels, numbers, block, layout)
        except pyarrow.ArrowException:
            continue
    return None


def _parts(path: Path, schema: Schema) -> Iterator[Part]:
    refuse(path, schema, "group")
    return line_parts(path, "JSON lines")


READER = Reader("line", _parts, rows, packed=packed)
