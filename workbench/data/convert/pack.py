"""Rows -> arrays: what one process makes of a block in the first pass. `settle`, then `pack`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.rows import UNLABELLED, Block, Row
from workbench.data.convert.schema import Schema, split_named
from workbench.data.errors import DataError

_LARGEST = 2**31 - 1


class Layout(NamedTuple):
    """What every example must be: `task` and `kind` of the schema are settled; `width` numbers a step of features."""

    schema: Schema
    width: int | None


class Packed(NamedTuple):
    """Examples of one split end to end. `inputs` are places in `symbols`, ids, or float32 [tokens, D]; `labels` are
    places in `names`, or class ids where that is None. `numbers` are those of their rows."""

    numbers: np.ndarray
    lengths: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    symbols: list[str] | None
    names: list[str] | None


@dataclass
class _Split:
    """The examples of one split as they come."""

    numbers: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)


class Left(NamedTuple):
    """Reason -> examples left out, and examples cut with their pieces."""

    dropped: dict[str, int]
    cut: dict[str, int]


def settle(rows: Sequence[Row], block: Block, schema: Schema) -> Layout | None:
    """What the first examples are; None where they do not tell.

    A list of labels is one a token; a list of strings is of symbols, of whole numbers ids, of others features.
    """
    task, kind, width = schema.task, schema.kind, None
    for row in rows:
        if task is None and row.labels is not UNLABELLED:
            task = "tag" if _is_list(row.labels) else "classify"
        value = row.inputs
        if isinstance(value, str):
            kind = kind or "symbols"
        elif width is None and _is_list(value) and len(value):
            kind = kind or _kind(value[0], block.where(row.number))
            width = len(value[0]) if _is_list(value[0]) else 1
    if task is None or kind is None or (kind == "features" and width is None):
        return None
    return layout_of(dataclasses.replace(schema, task=task, kind=kind), width)


def layout_of(schema: Schema, width: int | None) -> Layout:
    """A schema whose task and kind are settled, with what only then can be checked."""
    if schema.task == "classify" and schema.over_length == "split":
        raise DataError("schema", "over_length", "split", "a piece has no label of its own: drop, or tag")
    return Layout(schema, width)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _kind(first: Any, where: str) -> str:
    if isinstance(first, str):
        return "symbols"
    if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
        return "ids"
    if isinstance(first, (float, np.floating)) or _is_list(first):
        return "features"
    raise DataError(where, "inputs[0]", first, "must be a symbol (string), an id (whole number), or a step's numbers")


def pack(rows: Sequence[Row], block: Block, layout: Layout) -> tuple[dict[str, Packed], Left]:
    """The block's examples by split, each checked.

    Raises:
        DataError: with the row, the field and what came.
    """
    schema, left = layout.schema, Left({}, {"examples": 0, "pieces": 0})
    found: dict[str, _Split] = {}
    read = _INPUTS[str(schema.kind)]
    tag = schema.task == "tag"
    for row in rows:
        if row.labels is UNLABELLED:
            _count(left.dropped, "no_label")
            continue
        inputs = read(row.inputs, schema, layout.width, block, row.number)
        labels = _tags(row.labels, schema, block, row.number) if tag else row.labels
        length = len(inputs)
        if row.length is not None:
            length = _length(row.length, length, block.where(row.number))
            if tag and len(labels) == len(inputs):
                labels = labels[:length]
            inputs = inputs[:length]
        if tag and len(labels) != length:
            raise DataError(
                block.where(row.number), "labels", len(labels), f"must be one for each of {length} tokens"
            )
        if not length:
            if schema.empty == "drop":
                _count(left.dropped, "empty")
                continue
            if not tag:
                remedy = "an empty sequence cannot be classified: leave it out (--empty drop)"
                raise DataError(block.where(row.number), "length", 0, remedy)
        split = split_named(row.split, block.where(row.number)) if row.split is not None else block.split
        of = found.setdefault(split or _divided(inputs, schema), _Split())
        if schema.max_length is None or length <= schema.max_length:
            _add(of, row.number, inputs, labels)
        elif schema.over_length == "keep":
            remedy = "is longer than max_length and over_length is keep: raise it, or drop or split such"
            raise DataError(block.where(row.number), "length", length, remedy)
        elif schema.over_length == "drop":
            _count(left.dropped, "over_length")
        else:
            for start in range(0, length, schema.max_length):
                end = start + schema.max_length
                _add(of, row.number, inputs[start:end], labels[start:end])
                left.cut["pieces"] += 1
            left.cut["examples"] += 1
    return {split: _packed(of, block, layout) for split, of in found.items() if of.lengths}, left


def _add(of: _Split, number: int, inputs: Any, labels: Any) -> None:
    of.numbers.append(number)
    of.lengths.append(len(inputs))
    of.inputs.append(inputs)
    of.labels.append(labels)


def _count(into: dict[str, int], reason: str) -> None:
    into[reason] = into.get(reason, 0) + 1


def _length(value: Any, most: int, where: str) -> int:
    try:
        length = int(value) if isinstance(value, str) else value
    except ValueError:
        length = None
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= most:
        raise DataError(where, "lengths", value, f"must be a whole number from 0 to {most}, the tokens that there are")
    return length


def _divided(inputs: Any, schema: Schema) -> str:
    """The split of an example by what its inputs are: examples that are alike are in the same."""
    if isinstance(inputs, np.ndarray):
        content = inputs.tobytes()
    else:
        content = "\x1f".join(map(str, inputs)).encode("utf-8", "surrogatepass")
    drawn = hashlib.blake2b(content, digest_size=8, key=schema.seed.to_bytes(8, "little")).digest()
    return "validation" if int.from_bytes(drawn, "little") < schema.validation_share * 2.0**64 else "train"


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
            return [int(one) for one in value]
        except (TypeError, ValueError):
            raise DataError(block.where(number), "inputs", value[:5], "must be ids, whole numbers") from None
    return value


def _features(value: Any, schema: Schema, width: int | None, block: Block, number: int) -> np.ndarray:
    wanted = f"must be numbers, [T, {width}]"
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or isinstance(value, dict):
        raise DataError(block.where(number), "inputs", value, wanted)
    if not len(value):
        return np.zeros((0, width or 1), np.float32)
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        odd = next((i for i, one in enumerate(value) if np.ndim(one) and len(one) != width), None)
        if odd is not None:
            raise DataError(
                block.where(number), f"inputs[{odd}]", f"{len(value[odd])} values", f"must have {width}"
            ) from None
        raise DataError(block.where(number), "inputs", value, wanted) from None
    if found.ndim == 1 and width == 1:
        found = found[:, np.newaxis]
    if found.ndim != 2 or found.shape[1] != width:
        raise DataError(block.where(number), "inputs", found.shape, wanted)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        step = int(np.argmin(finite))
        raise DataError(
            block.where(number), f"inputs[{step}]", found[step].tolist(),
            "not finite, and would make the loss so: leave the example out, or give it a number",
        )  # fmt: skip
    return found


_INPUTS: dict[str, Callable[..., Any]] = {"symbols": _symbols, "ids": _ids, "features": _features}


def _tags(value: Any, schema: Schema, block: Block, number: int) -> Sequence[Any]:
    if isinstance(value, str):
        return value.split() if schema.tokens == "words" else value
    return _list(value, "labels", block, number)


def _list(value: Any, name: str, block: Block, number: int) -> Any:
    if type(value) is list:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    raise DataError(block.where(number), name, value, "must be a sequence, one value for each token")


# -- from lists to arrays


def _packed(of: _Split, block: Block, layout: Layout) -> Packed:
    schema = layout.schema
    lengths = np.array(of.lengths, np.int64)
    ends = np.cumsum(lengths)
    symbols = None

    def row_of(flat: int) -> tuple[str, int]:
        """Where a token of all is: the row's name, and its place in it."""
        example = int(np.searchsorted(ends, flat, side="right"))
        return block.where(of.numbers[example]), flat - int(ends[example] - lengths[example])

    if schema.kind == "features":
        inputs = np.concatenate(of.inputs) if of.inputs else np.zeros((0, layout.width or 1), np.float32)
    else:
        flat = [token for one in of.inputs for token in one]
        if schema.kind == "symbols":
            symbols, inputs = _numbered(flat, "inputs", row_of)
        else:
            inputs = _whole(flat, "inputs", row_of)
            size = len(schema.vocabulary) if schema.vocabulary is not None else _LARGEST
            _check_within(inputs, size, "the vocabulary", "inputs", row_of)
    if schema.task == "tag":
        labels_flat, of_label = [label for one in of.labels for label in one], row_of
    else:
        labels_flat = [str(one).lower() if isinstance(one, bool) else one for one in of.labels]

        def of_label(flat: int) -> tuple[str, int]:
            return block.where(of.numbers[flat]), -1

    names = None
    if labels_flat and isinstance(labels_flat[0], str):
        names, labels = _numbered(labels_flat, "labels", of_label)
    else:
        labels = _whole(labels_flat, "labels", of_label)
        size = len(schema.classes) if schema.classes is not None else _LARGEST
        _check_within(labels, size, "the classes", "labels", of_label)
    if names is not None and schema.classes is not None:
        known = set(schema.classes)
        for i, name in enumerate(names):
            if name not in known:
                where, place = of_label(int(np.argmax(labels == i)))
                listed = ", ".join(schema.classes[:10])
                raise DataError(where, _named("labels", place), name, f"outside the classes {listed}: correct or add it")
    return Packed(np.array(of.numbers, np.int64), lengths, inputs, labels, symbols, names)


def _numbered(
    flat: list[str], name: str, row_of: Callable[[int], tuple[str, int]]
) -> tuple[list[str], np.ndarray]:
    """The different strings in the order in which they come, and each one's place among them."""
    if not set(map(type, flat)) <= {str}:
        at = next(i for i, one in enumerate(flat) if type(one) is not str)
        where, place = row_of(at)
        raise DataError(where, _named(name, place), flat[at], "must be a string, as in the other examples")
    places = {one: i for i, one in enumerate(dict.fromkeys(flat))}
    found = np.fromiter(map(places.__getitem__, flat), np.int32, len(flat))
    try:
        "".join(places).encode()
    except UnicodeEncodeError:
        odd = next(i for one, i in places.items() if any("\ud800" <= letter <= "\udfff" for letter in one))
        where, place = row_of(int(np.argmax(found == odd)))
        raise DataError(
            where, _named(name, place), ascii(list(places)[odd]), "is no Unicode text: decode the file by its encoding"
        ) from None
    return list(places), found


def _whole(flat: list[Any], name: str, row_of: Callable[[int], tuple[str, int]]) -> np.ndarray:
    if set(map(type, flat)) <= {int}:
        try:
            found = np.array(flat, np.int64)
            if not found.size or (found.min() >= -_LARGEST - 1 and found.max() <= _LARGEST):
                return found
        except OverflowError:
            pass
    for at, one in enumerate(flat):
        where, place = row_of(at)
        if type(one) is not int:
            kinds = "names (strings) or class ids" if name == "labels" else "symbols (strings), ids or features"
            raise DataError(
                where, _named(name, place), one, f"must be a whole number, as in the other examples; {name} are {kinds}"
            )
        if not -_LARGEST <= one <= _LARGEST:
            raise DataError(where, _named(name, place), one, "must fit in 32 bits: renumber")
    raise AssertionError("no fault")


def _check_within(
    values: np.ndarray, size: int, of: str, name: str, row_of: Callable[[int], tuple[str, int]]
) -> None:
    if values.size and (values.min() < 0 or values.max() >= size):
        at = int(np.argmax((values < 0) | (values >= size)))
        where, place = row_of(at)
        raise DataError(
            where, _named(name, place), int(values[at]),
            f"outside {of}, 0 to {size - 1}: correct it or extend {of}" if size < _LARGEST else "must be 0 or more",
        )  # fmt: skip


def _named(name: str, place: int) -> str:
    return name if place < 0 else f"{name}[{place}]"
