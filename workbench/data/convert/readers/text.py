"""Text: an example a line, its inputs, a tab, and its labels; no tab where the file's name says the label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workbench.data.convert.rows import Block, Part, Reader, Row, label_of_name, line_of, line_parts, text_of
from workbench.data.convert.schema import FILE, FOLDER, Schema
from workbench.data.errors import DataError


def rows(block: Block, schema: Schema) -> list[Row]:
    """The lines of a block; those of nothing are passed over."""
    label, found = label_of_name(schema, block.path), []
    for number, raw in enumerate(text_of(block).split("\n"), block.first):
        line = line_of(raw, block, number)
        if not line or line.isspace():
            continue
        if label is not None:
            found.append(Row(number, line, label))
            continue
        inputs, tab, labels = line.partition("\t")
        if not tab or "\t" in labels:
            raise DataError(
                block.where(number), "line", line[:100],
                f"must be inputs, one tab, labels; or take --labels {FILE} or {FOLDER} for what the file or its "
                "folder is called",
            )  # fmt: skip
        found.append(Row(number, inputs, labels))
    return found


def _parts(path: Path, schema: Schema) -> Iterator[Part]:
    named = [name for name in schema.columns if name not in ("inputs", "labels")]
    if named:
        raise DataError(
            path, "columns", ", ".join(named), "a text has none: inputs, a tab, labels (a .csv or .tsv has)"
        )
    return line_parts(path, "a text")


READER = Reader("line", _parts, rows)
