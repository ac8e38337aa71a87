"""Tokens and labels end to end, in lists -> arrays, checked: `arrays`. A fault is named by its row and step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.layout import Layout, Packed
from workbench.data.convert.rows import Block
from workbench.data.errors import DataError

_LARGEST = 2**31 - 1


def arrays(
    numbers: np.ndarray, lengths: np.ndarray, inputs: Any, labels: Any, block: Block, layout: Layout
) -> Packed:
    """Examples whose tokens, and labels, lie end to end: in lists, or in arrays and `Numbered`."""
    schema, ends = layout.schema, np.cumsum(lengths)
    is_marked = int(schema.task == "next")  # the mark of the end stands before the first token

    def of_token(flat: int) -> tuple[str, int]:
        """Where a token of all is: the row's name, and its place in it."""
        example = int(np.searchsorted(ends, flat, side="right"))
        place = flat - int(ends[example] - lengths[example])
        return block.where(int(numbers[example])), place - is_marked

    def of_example(flat: int) -> tuple[str, int]:
        return block.where(int(numbers[flat])), -1

    of_label = of_token if schema.labels_steps else of_example
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
            f"outside {of}, 0 to {size - 1}: correct it or extend {of}" if size < _LARGEST
            else f"outside {of}, which begin at 0: correct it",
        )  # fmt: skip


def _named(name: str, place: int) -> str:
    return name if place < 0 else f"{name}[{place}]"
