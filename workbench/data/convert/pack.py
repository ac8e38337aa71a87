"""Rows -> arrays: what one process makes of a block in the first pass. `settle` once, then `pack` and `divide`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.rows import UNLABELLED, Block, Row
from workbench.data.convert.schema import Schema, split_named
from workbench.data.errors import DataError
from workbench.data.manifest import SPLITS

_LARGEST = 2**31 - 1


class Layout(NamedTuple):
    """What every example must be: `task` and `kind` are settled; `width` numbers a step of features; `named`:
    whether labels are names, None where there was none to tell by."""

    schema: Schema
    width: int | None
    named: bool | None


class Packed(NamedTuple):
    """Examples end to end. `inputs` are places in `symbols`, ids, or float32 [tokens, D]; `labels` are places in
    `names`, or class ids where that is None, of tokens or [N]. `numbers` are those of their rows; `splits` are
    places in SPLITS, or -1 where it is to be divided."""

    numbers: np.ndarray
    lengths: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    symbols: list[str] | None
    names: list[str] | None
    splits: np.ndarray


class Left(NamedTuple):
    """Reason -> examples left out, and examples cut with their pieces."""

    dropped: dict[str, int]
    cut: dict[str, int]

    def add(self, other: Left) -> None:
        """Count those of a block too."""
        for mine, its in zip(self, other, strict=True):
            for reason, count in its.items():
                mine[reason] = mine.get(reason, 0) + count


def settle(rows: Sequence[Row], block: Block, schema: Schema) -> Layout:
    """What the first examples are; where they do not tell, a label for each of symbols.

    A list of labels is one a token; a list of strings is of symbols, of whole numbers ids, of others features.
    """
    task, kind, width, named = schema.task, schema.kind, None, None
    for row in rows:
        value, label = row.inputs, row.labels
        if label is not UNLABELLED:
            task = task or ("tag" if _is_list(label) else "classify")
            one = label[0] if _is_list(label) and len(label) else label
            if named is None and not _is_list(one):
                named = isinstance(one, (str, bool))
        if isinstance(value, str):
            kind = kind or "symbols"
        elif width is None and _is_list(value) and len(value):
            kind = kind or _kind(value[0], block.where(row.number))
            width = len(value[0]) if _is_list(value[0]) else 1
    schema = dataclasses.replace(schema, task=task or "tag", kind=kind or "symbols")
    if schema.task == "classify" and schema.over_length == "split":
        raise DataError("schema", "over_length", "split", "a piece has no label of its own: drop, or tag")
    return Layout(schema, width or 1, named)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _kind(first: Any, where: str) -> str:
    if isinstance(first, str):
        return "symbols"
    if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
        return "ids"
    if isinstance(first, (float, np.floating)) or _is_list(first):
        return "features"
    raise DataError(
        where, "inputs[0]", first, "must be a symbol (string), an id (whole number), or a step's numbers"
    )


def pack(rows: Sequence[Row], block: Block, layout: Layout) -> tuple[Packed, int]:
    """The block's examples, each checked, and how many rows say that they have no label.

    Raises:
        DataError: with the row, the field and what came.
    """
    schema = layout.schema
    read, tag = _INPUTS[str(schema.kind)], schema.task == "tag"
    numbers: list[int] = []
    lengths: list[int] = []
    all_inputs: list[Any] = []
    all_labels: list[Any] = []
    splits: list[int] = []
    for row in rows:
        if row.labels is UNLABELLED:
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
            raise _unlike(block.where(row.number), len(labels), length)
        numbers.append(row.number)
        lengths.append(length)
        if schema.kind == "features":
            all_inputs.append(inputs)
        else:
            all_inputs.extend(inputs)
        if tag:
            all_labels.extend(labels)
        else:
            all_labels.append(str(labels).lower() if isinstance(labels, bool) else labels)
        splits.append(split_code(row.split, block, row.number))
    flat: Any = all_inputs
    if schema.kind == "features":
        flat = np.concatenate([np.zeros((0, layout.width or 1), np.float32), *all_inputs])
    made = arrays(np.array(numbers, np.int64), np.array(lengths, np.int64), flat, all_labels, block, layout)
    return made._replace(splits=np.array(splits, np.int8)), len(rows) - len(numbers)


def split_code(given: Any, block: Block, number: int) -> int:
    """A split's place in SPLITS; -1 where examples are to be divided."""
    if given is not None:
        return SPLITS.index(split_named(given, block.where(number)))
    return -1 if block.split is None else SPLITS.index(block.split)


def _unlike(where: str, labels: int, length: int) -> DataError:
    return DataError(where, "labels", labels, f"must be one for each of {length} tokens")


def divide(packed: Packed, block: Block, layout: Layout) -> tuple[dict[str, Packed], Left]:
    """The examples of each split, those that are too long or empty dealt with as the schema says."""
    schema, left = layout.schema, Left({}, {"examples": 0, "pieces": 0})
    tag, most = schema.task == "tag", schema.max_length
    keep = np.ones(len(packed.lengths), bool)
    empty = packed.lengths == 0
    if empty.any() and schema.empty == "drop":
        left.dropped["empty"] = int(empty.sum())
        keep &= ~empty
    elif empty.any() and not tag:
        remedy = "an empty sequence cannot be classified: leave it out (--empty drop)"
        raise DataError(block.where(int(packed.numbers[np.argmax(empty)])), "length", 0, remedy)
    splits = np.where(packed.splits >= 0, packed.splits, _drawn(packed, schema))
    over = packed.lengths > most if most is not None else np.zeros_like(keep)
    if over.any() and most is not None:
        if schema.over_length == "keep":
            at = int(np.argmax(over))
            remedy = (
                f"is longer than max_length={most} and over_length is keep: raise it, or drop or split such"
            )
            raise DataError(block.where(int(packed.numbers[at])), "length", int(packed.lengths[at]), remedy)
        if schema.over_length == "drop":
            left.dropped["over_length"] = int(over.sum())
            keep &= ~over
        else:
            pieces = np.maximum(1, -(-packed.lengths // most))
            left.cut.update(examples=int(over.sum()), pieces=int(pieces[over].sum()))
            packed, splits, keep = (
                _in_pieces(packed, pieces, most),
                np.repeat(splits, pieces),
                np.repeat(keep, pieces),
            )
    found = {name: keep & (splits == i) for i, name in enumerate(SPLITS)}
    return {name: _selected(packed, chosen, tag) for name, chosen in found.items() if chosen.any()}, left


def _in_pieces(packed: Packed, pieces: np.ndarray, most: int) -> Packed:
    """Each example as so many of `most` tokens, the last of the rest."""
    lengths = np.full(int(pieces.sum()), most, np.int64)
    last = np.cumsum(pieces) - 1
    lengths[last] = packed.lengths - (pieces - 1) * most
    return packed._replace(numbers=np.repeat(packed.numbers, pieces), lengths=lengths)


def _selected(packed: Packed, chosen: np.ndarray, tag: bool) -> Packed:
    if chosen.all():
        return packed
    tokens = np.repeat(chosen, packed.lengths)
    return packed._replace(
        numbers=packed.numbers[chosen],
        lengths=packed.lengths[chosen],
        inputs=packed.inputs[tokens],
        labels=packed.labels[tokens if tag else chosen],
    )


def _drawn(packed: Packed, schema: Schema) -> np.ndarray:
    """The splits of examples by what their inputs are: those that are alike are in the same."""
    if (packed.splits >= 0).all():
        return packed.splits
    if packed.symbols is not None:
        drawn = [hashlib.blake2b(one.encode(), digest_size=8).digest() for one in packed.symbols]
        values = np.frombuffer(b"".join(drawn), "<u8")[packed.inputs]
    elif packed.inputs.ndim == 2:
        columns = np.ascontiguousarray(packed.inputs, "<f4").view("<u4").astype(np.uint64)
        values = np.zeros(len(columns), np.uint64)
        for column in columns.T:
            values = _mixed(values ^ column)
    else:
        values = _mixed(packed.inputs.astype(np.uint64))
    starts = np.cumsum(packed.lengths) - packed.lengths
    places = np.arange(len(values)) - np.repeat(starts, packed.lengths)
    sums = np.concatenate(
        (np.zeros(1, np.uint64), np.cumsum(_mixed(values + _mixed(places.astype(np.uint64)))))
    )
    whole = _mixed(
        sums[starts + packed.lengths] - sums[starts] + _mixed(np.array(schema.seed + 1, np.uint64))
    )
    train, validation = SPLITS.index("train"), SPLITS.index("validation")
    held_out = whole < np.uint64(schema.validation_share * 2.0**64)
    return np.where(held_out, validation, train).astype(np.int8)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Other 64 bits, each of which depends on all (splitmix64)."""
    with np.errstate(over="ignore"):
        values = np.asarray(values + np.uint64(0x9E3779B97F4A7C15))
        values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _length(value: Any, most: int, where: str) -> int:
    try:
        length = int(value) if isinstance(value, str) else value
    except ValueError:
        length = None
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= most:
        raise DataError(
            where, "lengths", value, f"must be a whole number from 0 to {most}, the tokens that there are"
        )
    return length


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


def arrays(
    numbers: np.ndarray, lengths: np.ndarray, inputs: Any, labels: Any, block: Block, layout: Layout
) -> Packed:
    """Examples whose tokens, and labels, lie end to end: in lists, or in arrays and `Numbered`."""
    schema, ends = layout.schema, np.cumsum(lengths)

    def of_token(flat: int) -> tuple[str, int]:
        """Where a token of all is: the row's name, and its place in it."""
        example = int(np.searchsorted(ends, flat, side="right"))
        return block.where(int(numbers[example])), flat - int(ends[example] - lengths[example])

    def of_example(flat: int) -> tuple[str, int]:
        return block.where(int(numbers[flat])), -1

    of_label = of_token if schema.task == "tag" else of_example
    symbols = names = None
    if schema.kind == "symbols":
        symbols, inputs = _numbered(inputs, "inputs", of_token)
    elif schema.kind == "ids":
        inputs = _whole(inputs, "inputs", of_token)
        size = len(schema.vocabulary) if schema.vocabulary is not None else _LARGEST
        _check_within(inputs, size, "the vocabulary", "inputs", of_token)
    else:
        finite = np.isfinite(inputs).all(axis=1)
        if not finite.all():
            at = int(np.argmin(finite))
            where, place = of_token(at)
            remedy = "not finite, and would make the loss so: leave the example out, or give it a number"
            raise DataError(where, f"inputs[{place}]", inputs[at].tolist(), remedy)
    is_named = isinstance(labels, Numbered) or (len(labels) > 0 and isinstance(labels[0], str))
    if len(labels) and layout.named not in (None, is_named):
        first = labels.names[labels.places[0]] if isinstance(labels, Numbered) else labels[0]
        first = first.item() if isinstance(first, np.integer) else first
        where, place = of_label(0)
        wanted = "a name (string)" if layout.named else "a class id (whole number)"
        raise DataError(where, _named("labels", place), first, f"must be {wanted}, as in the first examples")
    if is_named:
        names, labels = _numbered(labels, "labels", of_label)
    else:
        labels = _whole(labels, "labels", of_label)
        size = len(schema.classes) if schema.classes is not None else _LARGEST
        _check_within(labels, size, "the classes", "labels", of_label)
    if names is not None and schema.classes is not None:
        known = set(schema.classes)
        for i, name in enumerate(names):
            if name not in known:
                where, place = of_label(int(np.argmax(labels == i)))
                listed = ", ".join(schema.classes[:10])
                raise DataError(
                    where, _named("labels", place), name, f"outside the classes {listed}: correct or add it"
                )
    return Packed(numbers, lengths, inputs, labels, symbols, names, np.zeros(0, np.int8))


class Numbered(NamedTuple):
    """Strings as places in the list of the different ones."""

    names: list[str]
    places: np.ndarray


def _numbered(flat: list[str] | Numbered, name: str, row_of: Callable[[int], tuple[str, int]]) -> Numbered:
    """The different strings in the order in which they come, and each one's place among them."""
    if isinstance(flat, Numbered):
        return flat
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
            where,
            _named(name, place),
            ascii(list(places)[odd]),
            "is no Unicode text: decode the file by its encoding",
        ) from None
    return Numbered(list(places), found)


def _whole(flat: Any, name: str, row_of: Callable[[int], tuple[str, int]]) -> np.ndarray:
    if isinstance(flat, np.ndarray) or set(map(type, flat)) <= {int}:
        try:
            found = np.asarray(flat, np.int64)
            if not found.size or (found.min() >= -_LARGEST and found.max() <= _LARGEST):
                return found
        except OverflowError:
            pass
    for at, one in enumerate(flat):
        if type(one) is not int and not isinstance(one, np.integer):
            where, place = row_of(at)
            kinds = (
                "names (strings) or class ids" if name == "labels" else "symbols (strings), ids or features"
            )
            raise DataError(
                where,
                _named(name, place),
                one,
                f"must be a whole number, as in the other examples; {name} are {kinds}",
            )
        if not -_LARGEST <= one <= _LARGEST:
            where, place = row_of(at)
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
            f"outside {of}, 0 to {size - 1}: correct it or extend {of}" if size < _LARGEST else f"outside {of}, which begin at 0: correct it",
        )  # fmt: skip


def _named(name: str, place: int) -> str:
    return name if place < 0 else f"{name}[{place}]"
