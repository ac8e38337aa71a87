"""Parquet files, and folders that Hugging Face's `datasets` has saved, by pyarrow: it comes with MLflow.

`save_to_disk` writes Arrow streams beside a `state.json` that lists them; `datasets` itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.convert import columns
from workbench.data.convert.layout import Layout, Packed
from workbench.data.convert.rows import BLOCK, Block, Part, Reader, Row, label_of_name, no_column
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError

STATE, INFO, OF_SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_ROWS = 4096


def rows(block: Block, schema: Schema) -> list[Row]:
    """The rows of a record batch."""
    pyarrow = _pyarrow(block.path)
    table = pyarrow.ipc.open_stream(block.payload).read_all()
    label = label_of_name(schema, block.path)

    def column(name: str | list[str] | None) -> list[Any]:
        return [None] * len(table) if name is None else _values(table.column(name), str(name), block)

    labels = [label] * len(table) if label is not None else column(schema.labels)
    numbers = range(block.first, block.first + len(table))
    others = (column(name) for name in (schema.lengths, schema.split, schema.weights))
    return [Row(*one) for one in zip(numbers, column(schema.inputs), labels, *others, strict=True)]


def _values(column: Any, name: str, block: Block) -> list[Any]:
    """A column as Python has it, or DataError with the row that it cannot."""
    found: list[Any] = []
    try:
        for one in column:  # as to_pylist does
            found.append(one.as_py())
    except (ValueError, ArithmeticError, LookupError, TypeError, NotImplementedError) as error:
        value, remedy = str(error), "cannot be read: write the file again"
        if isinstance(error, UnicodeDecodeError):
            value, remedy = f"byte {error.object[error.start]:#04x}", "no UTF-8: write its strings as text"
        raise DataError(block.where(block.first + len(found)), name, value, remedy) from None
    return found


def packed(block: Block, layout: Layout) -> Packed | None:
    """The columns as they are, where they are lists of strings or whole numbers."""
    schema = layout.schema
    other = schema.lengths, schema.split, schema.weights, label_of_name(schema, block.path)
    if schema.kind == "features" or any(one is not None for one in other):
        return None
    pyarrow = _pyarrow(block.path)
    table = pyarrow.ipc.open_stream(block.payload).read_all().combine_chunks()
    inputs, labels = (table.column(name).combine_chunks() for name in (schema.inputs, schema.labels))
    numbers = np.arange(block.first, block.first + len(table))
    try:
        return columns.packed(inputs, labels, numbers, block, layout)
    except pyarrow.ArrowException:  # strings that are no UTF-8: for `rows` to say
        return None


def classes(path: Path, schema: Schema) -> list[str] | None:
    """The names of the classes, where `datasets` wrote them."""
    feature = _features(path).get(str(schema.labels), {})
    for _ in range(2):  # a ClassLabel, or a sequence of such, which some versions write as a list
        feature = feature[0] if isinstance(feature, list) and feature else feature
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            return list(map(str, names)) if isinstance(names, list) else None
        feature = feature.get("feature", {}) if isinstance(feature, Mapping) else {}
    return None


def _features(path: Path) -> Mapping[str, Any]:
    try:
        if path.is_dir():
            found = json.loads((path / INFO).read_text(encoding="utf-8"))["features"]
        else:
            of_schema = _parquet(path).schema_arrow.metadata or {}
            found = json.loads(of_schema[b"huggingface"])["info"]["features"]
        return found if isinstance(found, Mapping) else {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError, NotImplementedError):
        return {}  # of a damaged file `_parts` says so


def splits_of(folder: Path) -> dict[str, Path]:
    """split -> folder, of what a `DatasetDict` saved."""
    try:
        names = json.loads((folder / OF_SPLITS).read_text(encoding="utf-8"))["splits"]
        return {str(name): folder / str(name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(folder / OF_SPLITS, "file", str(error), "damaged: save the data set again") from None


def _parts(path: Path, schema: Schema) -> Iterator[Part]:
    pyarrow = _pyarrow(str(path))
    if schema.group is not None or isinstance(schema.inputs, list):
        raise DataError(path, "group", schema.group or "not given", "rows are grouped of a CSV only: one row an "
                        "example, with a list of its steps")  # fmt: skip
    first = 0
    try:
        for batch in _of_folder(path, pyarrow) if path.is_dir() else _of_parquet(path, schema):
            wanted = [name for name in schema.columns if name is not None]
            there = batch.schema.names
            for name in wanted:
                if name not in there:
                    raise no_column(str(path), name, there)
                if there.count(name) > 1:
                    raise DataError(path, "columns", name, "is the name of two columns: give each its own")
            batch = batch.select(list(dict.fromkeys(wanted)))
            rows = max(1, min(_ROWS, len(batch) * BLOCK // max(1, batch.nbytes)))
            for start in range(0, len(batch), rows):
                part = batch.slice(start, rows)
                sink = pyarrow.BufferOutputStream()
                with pyarrow.ipc.new_stream(sink, part.schema) as writer:
                    writer.write_batch(part)
                yield Part(first, sink.getvalue().to_pybytes(), part.nbytes)
                first += len(part)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(path, "file", said, "cannot be read as Parquet or Arrow: get it again") from None


def _of_parquet(path: Path, schema: Schema) -> Iterator[Any]:
    file = _parquet(path)
    names = file.schema_arrow.names
    for name in schema.columns:
        if name not in names:
            raise no_column(str(path), name, names)
    yield from file.iter_batches(batch_size=_ROWS, columns=schema.columns)


def _parquet(path: Path) -> Any:
    _pyarrow(str(path))
    from pyarrow import parquet

    return parquet.ParquetFile(path)


def _of_folder(folder: Path, pyarrow: Any) -> Iterator[Any]:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        names = [str(one["filename"]) for one in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(folder / STATE, "file", str(error), "damaged: save the data set again") from None
    if isinstance(state, dict) and state.get("_indices_data_files"):
        raise DataError(folder / STATE, "_indices_data_files", "there", "save `dataset.flatten_indices()`")
    for name in names:
        if Path(name).name != name:
            raise DataError(folder / STATE, "filename", name, "must lie in the folder")
        with pyarrow.memory_map(str(folder / name)) as source:
            yield from pyarrow.ipc.open_stream(source)


def _pyarrow(path: str) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise DataError(
            path, "pyarrow", "not installed", "it reads Parquet and saved data sets: pip install pyarrow"
        ) from None
    return pyarrow


READER = Reader("row", _parts, rows, packed=packed)
