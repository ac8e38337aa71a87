"""Between the passes: blocks of examples on disk, with numbers given to symbols as they come. `Spool`.

A worker saves the arrays of a block, whose symbols and label names are counted from 0 in each block; the parent
gives each its number in the whole, counts it, and saves the numbers beside. When all are counted, `finish` says
which id and class each number becomes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench.data.convert.layout import Packed
from workbench.data.errors import DataError
from workbench.data.given import some_weigh
from workbench.data.manifest import PAD, UNKNOWN, SplitInfo
from workbench.data.next_token import END

MOST_SYMBOLS = 2_000_000
MOST_CLASSES = 1_000_000
MOST_IDS = 10_000_000


class Saved(NamedTuple):
    """A block's examples of one split, saved: what of them the parent counts."""

    stem: str
    split: str
    first: int
    """The number of the first row."""
    examples: int
    values: int
    lengths: tuple[list[int], list[int]]
    """Different lengths, and how often each comes."""
    symbols: list[str] | None
    symbol_counts: np.ndarray
    names: list[str] | None
    first_of_name: list[int]
    """The row in which each first comes."""
    label_counts: np.ndarray
    largest: int
    weighs: bool
    """Whether a weight is above 0, or there are none."""


def save(packed: Packed, folder: Path, number: int, split: str, *, tag: bool) -> Saved:
    """Write a block's arrays; of symbols those in training are counted: they make the vocabulary."""
    stem, symbols = f"{number:08d}-{split}", packed.symbols
    is_ids = symbols is None and packed.inputs.dtype != np.float32
    inputs = packed.inputs.astype(np.int32) if is_ids else packed.inputs
    with (folder / f"{stem}.npy").open("wb") as stream:
        for array in (packed.lengths, inputs, packed.labels.astype(np.int32), packed.weights):
            if array is not None:
                np.save(stream, array)
    symbol_counts = np.zeros(len(symbols or ()), np.int64)
    if symbols and split == "train":
        symbol_counts = np.bincount(packed.inputs, minlength=len(symbols))
    first_of_name: list[int] = []
    if packed.names is not None:
        places, at = np.unique(packed.labels, return_index=True)
        examples = np.searchsorted(np.cumsum(packed.lengths), at, side="right") if tag else at
        of_place = dict(zip(places.tolist(), packed.numbers[examples].tolist(), strict=True))
        first_of_name = [of_place.get(place, -1) for place in range(len(packed.names))]
    lengths, times = np.unique(packed.lengths, return_counts=True)
    return Saved(
        stem=stem,
        split=split,
        first=int(packed.numbers[0]),
        examples=len(packed.lengths),
        values=int(packed.inputs.size),
        lengths=(lengths.tolist(), times.tolist()),
        symbols=symbols,
        symbol_counts=symbol_counts,
        names=packed.names,
        first_of_name=first_of_name,
        label_counts=np.bincount(packed.labels, minlength=max(1, len(packed.names or ())))
        if _bounded(packed)
        else np.zeros(0, np.int64),
        largest=int(packed.inputs.max(initial=0)) if is_ids else 0,
        weighs=some_weigh(packed.weights),
    )


def _bounded(packed: Packed) -> bool:
    return packed.names is not None or int(packed.labels.max(initial=0)) <= MOST_CLASSES


class Final(NamedTuple):
    """The manifest's `vocabulary`, `labels` and `splits`, and which id and class each number is."""

    vocabulary: list[str]
    labels: list[str]
    splits: dict[str, SplitInfo]
    ids: np.ndarray | None
    classes: np.ndarray | None


@dataclass
class Spool:
    """The blocks saved so far, and what is counted of them."""

    folder: Path
    divided: bool = False
    """Whether validation is a part of what was given for training: its classes are known then."""
    blocks: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """split -> (stem, examples) of each block, in order."""
    values: Counter[str] = field(default_factory=Counter)
    weigh: set[str] = field(default_factory=set)
    """The splits of which something counts in the loss."""
    _lengths: dict[str, Counter[int]] = field(default_factory=dict)
    _symbols: dict[str, int] = field(default_factory=dict)
    _counts: np.ndarray = field(default_factory=lambda: np.zeros(1 << 10, np.int64))
    _names: dict[str, int] = field(default_factory=dict)
    _labels: dict[str, np.ndarray] = field(default_factory=dict)
    _elsewhere: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Label name -> split and place where it first came, outside training."""
    _named: set[bool] = field(default_factory=set)
    _largest: int = 1

    def add(self, saved: Saved, where: Callable[[int], str]) -> None:
        """Count a block, and save the numbers of its symbols and names. `where`: what its rows are called."""
        place = where(saved.first)
        self.blocks.setdefault(saved.split, []).append((saved.stem, saved.examples))
        self.values[saved.split] += saved.values
        self.weigh |= {saved.split} if saved.weighs else set()
        self._lengths.setdefault(saved.split, Counter()).update(dict(zip(*saved.lengths, strict=True)))
        self._largest = max(self._largest, saved.largest)
        numbers = [np.zeros(0, np.int32), np.zeros(0, np.int32)]
        if saved.symbols is not None:
            numbers[0] = _given(self._symbols, saved.symbols)
            if len(self._symbols) > MOST_SYMBOLS:
                what = f"{len(self._symbols):,} different symbols"
                remedy = f"{MOST_SYMBOLS:,} are the most: are tokens split right (--tokens)? else give ids"
                raise DataError(place, "inputs", what, remedy)
            self._counts = _grown(self._counts, len(self._symbols))
            np.add.at(self._counts, numbers[0], saved.symbol_counts)
        labels = saved.label_counts
        if labels.any():
            self._named.add(saved.names is not None)
        if len(self._named) > 1:
            raise DataError(
                place, "labels", "names and class ids", "one data set has one of them: make them alike"
            )
        if saved.names is not None:
            numbers[1] = _given(self._names, saved.names)
            if len(self._names) > MOST_CLASSES:
                what = f"{len(self._names):,} different names"
                raise DataError(place, "labels", what, f"{MOST_CLASSES:,} are the most: is it the labels?")
            labels = np.zeros(len(self._names), np.int64)
            np.add.at(labels, numbers[1], saved.label_counts)
            if saved.split != "train":
                for name, row in zip(saved.names, saved.first_of_name, strict=True):
                    if row >= 0:  # a block's names are those of all its splits
                        self._elsewhere.setdefault(name, (saved.split, where(row)))
        elif not len(labels):
            raise DataError(
                place, "labels", "a class id over a million", "renumber them, or write them as names"
            )
        so_far = _grown(self._labels.get(saved.split, np.zeros(0, np.int64)), len(labels))
        so_far[: len(labels)] += labels
        self._labels[saved.split] = so_far
        with (self.folder / f"{saved.stem}.numbers.npy").open("wb") as stream:
            for array in numbers:
                np.save(stream, array)

    def finish(
        self, name: str, *, kind: str, min_count: int, first_class: int, classes: list[str] | None,
        vocabulary: list[str] | None, is_next: bool = False,
    ) -> Final:  # fmt: skip
        """Vocabulary, classes and counts of the whole, of which each split has an example.

        With `is_next` the classes of symbols are the vocabulary itself.
        """
        to_id = None
        if kind == "symbols":
            vocabulary, to_id = self._vocabulary(min_count, always=END if is_next else None)
        elif kind == "ids" and vocabulary is None:
            if self._largest >= MOST_IDS:
                remedy = "so many names would be made up for it: renumber them, or give vocabulary"
                raise DataError(name, "inputs", self._largest, remedy)
            vocabulary = [PAD, UNKNOWN, *map(str, range(2, self._largest + 1))]
        to_class: np.ndarray | None
        if is_next and to_id is not None:
            numbers = [self._symbols.get(one) for one in self._names]
            to_class = np.array([1 if one is None else to_id[one] for one in numbers], np.int64)
            names, first_class = vocabulary or [], 0
        else:
            names, to_class = self._classes(name, classes)
            first_class = 0 if is_next else first_class
        splits = {}
        for split in self.blocks:
            counts = np.zeros(first_class + len(names), np.int64)
            found = self._labels[split]
            used = np.flatnonzero(found)
            np.add.at(counts, first_class + (used if to_class is None else to_class[used]), found[used])
            splits[split] = SplitInfo.of(self._lengths[split], counts.tolist())
        if to_class is not None:
            to_class = to_class + first_class
        elif first_class:
            to_class = np.arange(len(names)) + first_class
        return Final(vocabulary or [], [PAD] * first_class + names, splits, to_id, to_class)

    def _vocabulary(self, min_count: int, always: str | None = None) -> tuple[list[str], np.ndarray]:
        """Padding, unknown, then by falling frequency in training; and each number's id, 1 of the rare.

        `always` is in it however rare it is.
        """
        symbols = list(self._symbols)
        counts = self._counts[: len(symbols)].tolist()
        own = {self._symbols.get(PAD), self._symbols.get(UNKNOWN)}  # in the data these are unknown symbols
        frequent = [
            i
            for i, count in enumerate(counts)
            if (count >= min_count or symbols[i] == always) and i not in own
        ]
        frequent.sort(key=lambda i: (-counts[i], symbols[i]))
        to_id = np.ones(len(symbols), np.int32)
        to_id[frequent] = np.arange(2, 2 + len(frequent))
        return [PAD, UNKNOWN, *(symbols[i] for i in frequent)], to_id

    def _classes(self, where: str, classes: list[str] | None) -> tuple[list[str], np.ndarray | None]:
        """Names of the classes, and which is the class of each number; None where labels are class ids."""
        if True not in self._named:
            largest = max(
                (int(np.max(np.flatnonzero(of), initial=0)) for of in self._labels.values()), default=0
            )
            return (classes if classes is not None else [str(i) for i in range(largest + 1)]), None
        if classes is None:
            seen = [
                set(np.flatnonzero(self._labels[one]).tolist()) for one in self.blocks if self._known(one)
            ]
            known = set().union(*seen)
            classes = [name for name, i in self._names.items() if i in known]
            numeric = all(name.isascii() and name.isdecimal() for name in classes)
            classes.sort(key=lambda name: (len(name) if numeric else 0, name))
            _refuse_alike(where, classes)
        place = {name: i for i, name in enumerate(classes)}
        for name, (split, row) in self._elsewhere.items():
            if name not in place:
                remedy = f"is in {split}, and in no example of training: give the classes, or correct it"
                raise DataError(row, "labels", name, remedy)
        return classes, np.array([place.get(name, 0) for name in self._names], np.int64)

    def _known(self, split: str) -> bool:
        """Whether the split's labels say which classes there are."""
        return split == "train" or (self.divided and split == "validation")


def _refuse_alike(where: str, classes: list[str]) -> None:
    """Raise DataError where two classes are one, written in two ways: blanks around it, or 1 and 1.0."""
    written: dict[str | float, str] = {}
    for name in classes:
        alike: str | float = name.strip()
        with suppress(ValueError):
            alike = float(name)
        if alike == alike and written.setdefault(alike, name) != name:
            remedy = f"is {written[alike]!r} written otherwise: write it one way, or say by `classes` that both are"
            raise DataError(where, "labels", repr(name), remedy)


def _given(numbers: dict[str, int], names: list[str]) -> np.ndarray:
    return np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int32, len(names))


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    if len(array) >= size:
        return array
    larger = np.zeros(max(size, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger
