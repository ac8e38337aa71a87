"""Anyone's examples, checked one by one before anything is made of them: `each`. Plain NumPy.

Every fault is a DataError that names the split and the example's number in it, the field, the value and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import count
from typing import Any, Literal

import numpy as np

from workbench.data.errors import DataError
from workbench.data.manifest import SPLITS
from workbench.data.sources import Example
from workbench.data.split_names import OTHER_NAMES

Kind = Literal["symbols", "ids", "features"]
_END = object()
LARGEST_WEIGHT = 1e30
"""Of sums of larger ones, times a loss, float32 has no room."""
_WEIGHTS = f"must be a number, 0 or more (0 leaves it out of the loss; {LARGEST_WEIGHT:g} is the most)"


def whole_numbers(texts: Sequence[str]) -> list[int]:
    """Numbers of plain digits. Python's own reading takes `1_000` and the digits of every script.

    Raises:
        ValueError: one is none.

    >>> whole_numbers(["7", " -12 "])
    [7, -12]
    """
    if not _is_plain("".join(texts)):
        raise ValueError(f"{texts!r} are no whole numbers")
    return [int(text) for text in texts]


def _items(values: Any) -> Sequence[Any]:
    """What a list holds; of an array what may be text: of numbers nothing need be looked at."""
    if isinstance(values, np.ndarray):
        return [str(one) for one in values.astype(str).ravel()] if values.dtype.kind in "USO" else ()
    return values if isinstance(values, (list, tuple)) else ()


def _is_plain(text: str) -> bool:
    return text.isascii() and "_" not in text


def plain_numbers(steps: Any) -> None:
    """Raise where a text, in a list or an array, is not of plain digits; NumPy, as Python, takes more than that.

    Raises:
        ValueError: one is not: `1_000`, or digits of another script.

    >>> plain_numbers([["1e-3", "2"], [0.5, "nan"]])
    """
    for step in _items(steps):
        row = _items(step) if isinstance(step, (list, tuple, np.ndarray)) else (step,)
        if not _is_plain("".join([one for one in row if isinstance(one, str)])):
            raise ValueError(f"{step!r} are no numbers of plain digits")


def check_splits(splits: Iterable[str], where: str) -> None:
    """Raise DataError for a split that the workbench would not know what to do with."""
    for split in splits:
        if split not in SPLITS:
            meant = " call it validation" if str(split).lower() in OTHER_NAMES else ""
            raise DataError(
                where,
                "splits",
                split,
                f"splits are {', '.join(SPLITS)}; another would not be used:{meant or ' rename it'}",
            )


def check_names(names: object, field: str, where: str) -> list[str]:
    """`names` as a list of different strings that can be written, or DataError."""
    if isinstance(names, (Mapping, Set)):  # the order of which says nothing of ids
        raise DataError(where, field, names, "must be a list of names in the order of their ids")
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise DataError(where, field, names, "must be a list of names")
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise DataError(where, f"{field}[{i}]", name, f"must be a string: write {str(name)!r}")
        check_unicode(name, f"{field}[{i}]", where)
        if name in seen:
            raise DataError(where, f"{field}[{i}]", name, f"is {field}[{seen[name]}] too: each once")
        seen[name] = i
    return list(seen)


def check_unicode(symbol: str, field: str, where: str) -> None:
    """Raise DataError for a string that is not Unicode text (half of a surrogate pair)."""
    try:
        symbol.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            where,
            field,
            ascii(symbol),
            f"is no Unicode text ({error.reason}): decode the file by its encoding",
        ) from None


def each(
    examples: object, where: str, *, task: str, feature_size: int | None
) -> Iterator[tuple[Example, Kind | None]]:
    """The examples of one split, with arrays where they are numbers, and what each one's inputs are.

    An exception that the iterable itself raises is named with the number of the example and kept as its cause.
    """
    if isinstance(examples, (str, bytes, Example)) or not isinstance(examples, Iterable):
        raise DataError(where, "examples", type(examples).__name__, "must be an iterable of Example")
    iterator = iter(examples)
    for number in count():
        place = f"{where}[{number}]"
        try:
            example = next(iterator, _END)
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                place,
                "examples",
                f"{type(error).__name__}: {error}",
                "the iterable itself failed here; nothing is written",
            ) from error
        if example is _END:
            return
        if not isinstance(example, Example):
            raise DataError(place, "example", type(example).__name__, "must be an Example(inputs, labels)")
        inputs, kind = _inputs(example.inputs, place, feature_size)
        labels = _labels(example.labels, place, task, len(inputs))
        yield Example(inputs, labels, _weights(example.weights, place, task, len(inputs))), kind


def _inputs(inputs: Any, where: str, feature_size: int | None) -> tuple[Any, Kind | None]:
    """Inputs as a string, a list of strings, or an array; None where there are none to tell by."""
    if feature_size is not None:
        return _features(inputs, where, feature_size), "features"
    if isinstance(inputs, str):
        check_unicode(inputs, "inputs", where)
        return inputs, "symbols" if inputs else None
    values = _sequence(inputs, "inputs", where)
    if not len(values):
        return values, None
    if all(isinstance(value, str) for value in values):
        for i, value in enumerate(values):
            check_unicode(value, f"inputs[{i}]", where)
        return [*map(str.__str__, values)], "symbols"
    return _whole(
        values,
        "inputs",
        where,
        "inputs are symbols (strings) or ids (whole numbers), not both; for floats give feature_size",
    ), "ids"


def _labels(labels: Any, where: str, task: str, length: int) -> Any:
    if task == "next":
        if labels is None or not np.size(labels) or (isinstance(labels, str) and not labels):
            return ()
        raise DataError(
            where, "labels", labels, 'of the task "next" they are the tokens that follow: leave them out'
        )
    if task == "classify":
        if isinstance(labels, str):
            check_unicode(labels, "labels", where)
            return str.__str__(labels)  # of an Enum of texts its value
        if isinstance(labels, np.ndarray) and not labels.ndim:
            labels = labels[()]
        if not isinstance(labels, (int, np.integer)) or isinstance(labels, bool):
            raise DataError(
                where, "labels", labels, 'task "classify" has one label an example, a name or a class id'
            )
        return int(labels)
    if isinstance(labels, (int, np.integer, float)) or labels is None:
        raise DataError(where, "labels", labels, f'task "tag" has a label for each of {length} tokens')
    if not isinstance(labels, str):
        labels = _sequence(labels, "labels", where)
    if len(labels) != length:
        raise DataError(where, "labels", len(labels), f"must be one for each of {length} tokens")
    if all(isinstance(label, str) for label in labels):
        for i, label in enumerate(labels):
            check_unicode(label, f"labels[{i}]", where)
        return [*map(str.__str__, labels)]
    return _whole(labels, "labels", where, "labels are names or class ids (whole numbers), not both")


def check_weights(weights: np.ndarray, where: str, of: str, name: str = "weights") -> None:
    """Raise DataError for one that is no number, less than 0, or too large. `of`: step or example."""
    right = are_weights(weights)
    if not right.all():
        at = int(np.argmin(right))
        field = f"{name}[{at}]" if of == "step" else name
        raise DataError(where, field, float(weights.reshape(-1)[at]), _WEIGHTS)


def are_weights(values: np.ndarray) -> np.ndarray:
    """Which of some values can be weights."""
    return (values >= 0) & (values <= LARGEST_WEIGHT)  # of NaN neither is true


def as_weights(values: Any, where: str) -> np.ndarray:
    """Numbers, or a text of some, as float64, not checked yet; or DataError."""
    given = values.split() if isinstance(values, str) else values
    refused = DataError(where, "weights", values, "must be numbers, 0 or more")
    if given is None or (isinstance(given, (list, tuple)) and any(one is None for one in given)):
        raise refused
    try:
        plain_numbers(given)
        return np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise refused from None


def some_weigh(weights: np.ndarray | None) -> bool:
    """Whether one is so large that float32, which takes the smallest for 0, learns by it; or there are none."""
    return weights is None or bool((weights >= 1 / LARGEST_WEIGHT).any())


def check_some_weigh(some: bool, where: str, split: str) -> None:
    """Raise DataError where of a whole split all weights are 0, or next to it."""
    if not some:
        raise DataError(where, "weights", f"0 in all of splits.{split}", "nothing of it would count in the loss: "
                        f"give what counts {1 / LARGEST_WEIGHT:g} or more, or leave the weights out")  # fmt: skip


def weighed(example: Example) -> str:
    """What an example's weights are of: step, example, or nothing."""
    return "" if example.weights is None else "step" if np.ndim(example.weights) else "example"


def _weights(weights: Any, where: str, task: str, length: int) -> Any:
    """Float32 [T] or [], or None."""
    if weights is None:
        return None
    found = as_weights(weights, where)
    if found.ndim and task != "tag":
        raise DataError(where, "weights", found.shape, f'of the task "{task}" an example has one: a number')
    if found.ndim and found.shape != (length,):
        raise DataError(where, "weights", found.shape, f"must be one for each of {length} tokens, or one")
    check_weights(found.reshape(-1), where, "step" if found.ndim else "example")
    return found.astype(np.float32)


def _features(inputs: Any, where: str, size: int) -> np.ndarray:
    try:
        kind = np.asarray(inputs).dtype
    except (TypeError, ValueError):  # rows of several sizes: told below
        kind = np.dtype(object)
    if kind.kind in "cmM":
        remedy = "must be real numbers: give magnitudes, or real and imaginary parts side by side; of dates a count"
        raise DataError(where, "inputs", f"of {kind}", remedy)
    try:
        plain_numbers(inputs)
        found = np.array(inputs, np.float32)  # a copy: who gives it may fill it anew for the next example
    except (TypeError, ValueError):
        rows = list(inputs) if isinstance(inputs, Iterable) else []
        odd = next((i for i, row in enumerate(rows) if np.ndim(row) != 1 or len(row) != size), None)
        if odd is not None and np.ndim(rows[odd]) == 1:
            raise DataError(
                where, f"inputs[{odd}]", f"{len(rows[odd])} values", f"must have {size}"
            ) from None
        raise DataError(where, "inputs", inputs, f"must be numbers, [T, {size}]") from None
    if not found.size:
        return np.zeros((0, size), np.float32)
    if found.ndim != 2 or found.shape[1] != size:
        raise DataError(
            where, "inputs", found.shape, f"must be [{len(found)}, {size}], feature_size numbers a token"
        )
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        token = int(np.argmin(finite))
        raise DataError(
            where,
            f"inputs[{token}]",
            found[token].tolist(),
            "not finite, and would make the loss so: leave the example out, or give it a number",
        )
    return found


def _sequence(values: Any, field: str, where: str) -> Any:
    """Whole numbers as an array, anything else as a list."""
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise DataError(where, field, values.shape, "must have one axis: one value for each token")
        return values if values.dtype.kind in "iu" else values.tolist()
    if isinstance(values, bytes):
        return np.frombuffer(values, np.uint8)
    if isinstance(values, Iterable):
        return list(values)
    raise DataError(where, field, values, "must be a sequence, one value for each token")


def _whole(values: Sequence[Any], field: str, where: str, remedy: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values.astype(np.int64)
    for i, value in enumerate(values):
        if not isinstance(value, (int, np.integer)) or isinstance(value, (bool, np.bool_)):
            raise DataError(where, f"{field}[{i}]", value, remedy)
        if not -(2**31) <= value < 2**31:
            raise DataError(where, f"{field}[{i}]", value, "must fit in 32 bits: renumber")
    return np.array(values, np.int64)
