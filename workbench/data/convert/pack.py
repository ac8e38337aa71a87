"""Rows -> examples in arrays, each checked: `pack`, what one process makes of a block in the first pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.data.convert.flat import arrays
from workbench.data.convert.layout import Layout, Packed
from workbench.data.convert.rows import UNLABELLED, Block, Row
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError
from workbench.data.given import as_weights, check_weights, plain_numbers, whole_numbers
from workbench.data.manifest import SPLITS
from workbench.data.next_token import END, marked, with_end
from workbench.data.sources import Example
from workbench.data.split_names import split_named


def pack(rows: Sequence[Row], block: Block, layout: Layout) -> tuple[Packed, int]:
    """The block's examples, each checked, and how many rows say that they have no label.

    Raises:
        DataError: with the row, the field and what came.
    """
    schema = layout.schema
    read, tag, is_next = _INPUTS[str(schema.kind)], schema.labels_steps, schema.task == "next"
    end = with_end(schema.vocabulary)[1] if is_next else END
    numbers: list[int] = []
    lengths: list[int] = []
    all_inputs: list[Any] = []
    all_labels: list[Any] = []
    all_weights: list[np.ndarray] = []
    splits: list[int] = []
    for row in rows:
        if row.labels is UNLABELLED:
            continue
        inputs = read(row.inputs, schema, layout.width, block, row.number)
        labels = _tags(row.labels, schema, block, row.number) if tag and not is_next else row.labels
        length = len(inputs)
        most = length
        if row.length is not None or schema.lengths is not None:
            length = _length(row.length, length, block.where(row.number))
            if tag and not is_next and len(labels) == len(inputs):
                labels = labels[:length]
            inputs = inputs[:length]
        if is_next:
            one = marked(Example(inputs), end, block.where(row.number))
            inputs, labels, length = one.inputs, one.labels, length + 1
        if tag and len(labels) != length:
            raise _unlike(block.where(row.number), len(labels), length)
        _check_named(labels, schema, block.where(row.number))
        if layout.weights:
            all_weights.append(_weights(row.weights, layout.weights, most, length, block.where(row.number)))
        numbers.append(row.number)
        lengths.append(length)
        if schema.kind == "features":
            all_inputs.append(inputs)
        else:
            all_inputs.extend(inputs)
        if tag:
            all_labels.extend(labels)
        else:
            all_labels.append(_name(labels))
        splits.append(split_code(row.split, block, row.number, said=schema.split is not None))
    flat: Any = all_inputs
    if schema.kind == "features":
        flat = np.concatenate([np.zeros((0, layout.width or 1), np.float32), *all_inputs])
    made = arrays(np.array(numbers, np.int64), np.array(lengths, np.int64), flat, all_labels, block, layout)
    weights = np.concatenate([np.zeros(0, np.float32), *all_weights]) if layout.weights else None
    made = made._replace(splits=np.array(splits, np.int8), weights=weights)
    return made, len(rows) - len(numbers)


def split_code(given: Any, block: Block, number: int, *, said: bool) -> int:
    """A split's place in SPLITS; -1 where examples are to be divided. `said`: whether each example says its own."""
    if said:
        return SPLITS.index(split_named(given, block.where(number)))
    return -1 if block.split is None else SPLITS.index(block.split)


def _unlike(where: str, labels: int, length: int) -> DataError:
    return DataError(where, "labels", labels, f"must be one for each of {length} tokens")


def _check_named(labels: Any, schema: Schema, where: str) -> None:
    """Raise DataError where a label is empty, as a cell is that nobody filled in, and no class is called so."""
    remedy = "names no class: leave the example out, or give it a label"
    if labels is None or (isinstance(labels, float) and math.isnan(labels)):
        raise DataError(where, "labels", labels, remedy)
    if isinstance(labels, str):
        if schema.task != "tag" and not labels.strip() and labels not in (schema.classes or ()):
            raise DataError(where, "labels", repr(labels), remedy)
    elif schema.task == "tag" and "" in labels and "" not in (schema.classes or ()):
        raise DataError(where, f"labels[{list(labels).index('')}]", "''", remedy)


def _length(value: Any, most: int, where: str) -> int:
    try:
        length = whole_numbers([value])[0] if isinstance(value, str) else value
    except ValueError:
        length = None
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= most:
        raise DataError(
            where, "lengths", value, f"must be a whole number from 0 to {most}, the tokens that there are"
        )
    return length


def _weights(value: Any, of: str, most: int, length: int, where: str) -> np.ndarray:
    """A row's weights, float32 [length] or [1]; those of `most` steps are cut, as the others are padding's."""
    found = np.atleast_1d(as_weights(value, where))
    wanted = length if of == "step" else 1
    if of == "step" and found.shape == (most,):
        found = found[:length]
    if found.shape != (wanted,):
        remedy = f"must be one for each of {length} tokens" if of == "step" else "must be one number"
        remedy += "" if (found.size > 1) == (of == "step") else ", as of the examples before or after it"
        raise DataError(where, "weights", value if found.size < 5 else found.shape, remedy)
    check_weights(found, where, of)
    return found.astype(np.float32)


# -- what a row's values are


def _symbols(value: Any, schema: Schema, width: int | None, block: Block, number: int) -> Sequence[str]:
    if isinstance(value, str):
        return value.split() if schema.tokens == "words" else value
    return _list(value, "inputs", block, number)


def _ids(value: Any, schema: Schema, width: int | None, block: Block, number: int) -> Sequence[int]:
    if isinstance(value, str):
        value = value.split()
    value = _list(value, "inputs", block, number)
    if value and isinstance(value[0], str):
        try:
            return whole_numbers(value)
        except (TypeError, ValueError):
            raise DataError(block.where(number), "inputs", value[:5], "must be ids, whole numbers") from None
    return value


def _features(value: Any, schema: Schema, width: int | None, block: Block, number: int) -> np.ndarray:
    wanted = f"must be numbers, [T, {width}]"
    if isinstance(value, str):
        wanted += (
            "; a text holds none: give a row a step and the group (CSV), or JSON lines, Parquet or NumPy"
        )
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or isinstance(value, dict):
        raise DataError(block.where(number), "inputs", value, wanted)
    if not len(value):
        return np.zeros((0, width or 1), np.float32)
    try:
        plain_numbers(value)
        with np.errstate(over="ignore"):
            found = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise _odd_step(value, width, block.where(number), wanted) from None
    if found.ndim == 1 and width == 1:
        found = found[:, np.newaxis]
    if found.ndim != 2 or found.shape[1] != width:
        raise DataError(block.where(number), "inputs", found.shape, wanted)
    return found


def _odd_step(value: Any, width: int | None, where: str, wanted: str) -> DataError:
    """Which step keeps an example from being numbers."""
    for i, step in enumerate(value):
        if isinstance(step, (list, tuple, np.ndarray)) and len(step) != width:
            return DataError(where, f"inputs[{i}]", f"{len(step)} values", f"must have {width}")
        try:
            plain_numbers([step])
            np.asarray(step, np.float32)
        except (TypeError, ValueError, OverflowError):
            return DataError(
                where, f"inputs[{i}]", step, "must be numbers: correct it, or leave the example out"
            )
    return DataError(where, "inputs", value, wanted)


_INPUTS: dict[str, Callable[..., Any]] = {"symbols": _symbols, "ids": _ids, "features": _features}


def _tags(value: Any, schema: Schema, block: Block, number: int) -> Sequence[Any]:
    if isinstance(value, str):
        return value.split() if schema.tokens == "words" else value
    value = _list(value, "labels", block, number)
    return list(map(_name, value)) if bool in set(map(type, value)) else value


def _name(label: Any) -> Any:
    """True and false are names, as JSON writes them."""
    return str(label).lower() if isinstance(label, bool) else label


def _list(value: Any, name: str, block: Block, number: int) -> Any:
    if type(value) is list:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    raise DataError(block.where(number), name, value, "must be a sequence, one value for each token")
