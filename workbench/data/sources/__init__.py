"""Where examples come from: SOURCES is name -> Source. Plain Python, no TensorFlow.

A source is two things: a fingerprint of what it would read (cheap, so that a data set already prepared is found
without reading it again), and `read`, which yields the examples. Its options are its dataclass in
`workbench.options.data`; of these `own_options` are the source's, the others those of building a data set.
`tfrecord`, anyone's data set in the form of `workbench.data.manifest`, is no source: it is opened in place.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from workbench.options.data import Built

Limits = Mapping[str, int | None]
_OF_BUILDING = {field.name for field in fields(Built)} | {"task"}


def own_options(options: Built) -> dict[str, Any]:
    """What only this source has."""
    return {name: value for name, value in vars(options).items() if name not in _OF_BUILDING}


@dataclass(frozen=True)
class Example:
    """One sequence and its labels.

    `inputs`: symbols (a str is a sequence of characters), ids, or a float array [T, D].
    `labels`: for the task "tag" one for each token (class ids, or names), for "classify" one, for
    "next" none: they are the tokens that follow.
    `weights`: how much each token counts in the loss, or the whole example; 0 or more. None: 1. (`write_dataset`
    takes them; the workbench's own sources have none.)
    """

    inputs: Sequence[str] | Sequence[int] | np.ndarray
    labels: Sequence[str] | Sequence[int] | np.ndarray | str | int = ()
    weights: Sequence[float] | np.ndarray | float | None = None


@dataclass
class Corpus:
    """What a source reads. `splits` may be read only once, in an order that is random under the seed.

    `labels`: names of the classes, or None to take those of the training split.
    `vocabulary`: None where inputs are symbols: it is then built from the training split alone, of symbols
    that occur there `min_count` times; a list where inputs are ids.
    `dropped` and `info` grow while `splits` are read; `info` is recorded and must hold no machine's paths.
    """

    splits: dict[str, Iterable[Example]]
    labels: list[str] | None = None
    vocabulary: list[str] | None = None
    min_count: int = 1
    feature_size: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """`read(options, task, limits) -> Corpus`; limits is split -> most examples."""

    tasks: tuple[str, ...]
    fingerprint: Callable[[Any], str]
    read: Callable[[Any, str, Limits], Corpus]
    recorded: Callable[[Any], dict[str, Any]] = own_options  # options as recorded: without paths


_MODULES = {
    "python_source": "python_source",
    "ud_english_ewt": "ud_conllu",
    "synthetic": "synthetic",
    "text": "text",
}


class _Sources(Mapping[str, Source]):
    """Imports a source when it is asked for."""

    def __getitem__(self, name: str) -> Source:
        source: Source = importlib.import_module(f"{__name__}.{_MODULES[name]}").SOURCE
        return source

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


SOURCES: Mapping[str, Source] = _Sources()


def digest(*parts: Any) -> str:
    """SHA-256 of plain values, the same on every machine and Python.

    >>> digest("a", {"b": 1, "c": 2}) == digest("a", {"c": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
