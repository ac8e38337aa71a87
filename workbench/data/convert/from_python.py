"""Anyone's examples as a data set: `write_dataset`, by the same two passes as files, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.convert import finished, written
from workbench.data.convert.divide import divide
from workbench.data.convert.flat import arrays
from workbench.data.convert.layout import Layout, Left, Packed
from workbench.data.convert.rows import Block
from workbench.data.convert.schema import Schema
from workbench.data.convert.spool import Spool, save
from workbench.data.convert.workplace import building, in_this_process
from workbench.data.encode import OverLength
from workbench.data.errors import DataError
from workbench.data.given import Kind, check_names, check_splits, each, weighed
from workbench.data.manifest import COMPRESSIONS, SPLITS, Manifest
from workbench.data.next_token import marked, with_end
from workbench.data.sources import Example
from workbench.options.data import TASKS

_EXAMPLES, _VALUES = 4096, 1 << 19  # held at a time


class _Given(Block):
    """Examples of a split, called by their places in it."""

    def where(self, number: int) -> str:
        return f"{self.path}[{number}]"


def write_dataset(
    examples: Mapping[str, Iterable[Example]] | Iterable[Example],
    folder: str | Path,
    *,
    name: str,
    task: str = "tag",
    labels: Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
    feature_size: int | None = None,
    max_length: int | None = None,
    over_length: OverLength = "drop",
    shards: int = 1,
    first_class: int = 0,
    compression: str = "",
) -> Manifest:
    """Write anyone's examples as a data set: `data=tfrecord data.path=FOLDER` then runs on it.

    `examples`: split -> examples ("train", "validation" to evaluate on, "test" to set aside), or the training split
    alone. Inputs are symbols (`vocabulary` is then built), ids (int; their `vocabulary` is given, or made up to
    the largest id), or floats of `feature_size`. `folder` must not exist.
    Examples may have weights, all of them or none, of their steps or of the whole.
    Labels are names or class ids; class ids without `labels` are named by their numbers. The task "next" takes
    none, they are the tokens that follow (`next_token`); its ids come with a vocabulary.
    Some thousands of examples are held at a time, so an iterable may be longer than memory.
    Raises DataError, naming the example, where any of it is wrong; then nothing is written.
    """
    folder, is_next = Path(folder), task == "next"
    if is_next:
        vocabulary, end = _of_next(name, vocabulary, labels, feature_size)
    schema = _schema(
        name,
        task,
        labels,
        vocabulary,
        feature_size,
        max_length,
        over_length,
        shards,
        first_class,
        compression,
    )
    if not isinstance(examples, Mapping):
        examples = {"train": examples}
    check_splits(examples, name)
    kind: Kind | None = "features" if feature_size is not None else None
    weighings: set[str] = set()
    left = Left({}, {"examples": 0, "pieces": 0})
    with building(folder) as (work, spool_folder):
        spool, number = Spool(spool_folder), 0
        for split, of in examples.items():
            where = f"{name}: {split}"
            checked = each(of, where, task=task, feature_size=feature_size)
            if is_next:
                checked = _marked(checked, end, where)
            for first, taken, kinds in _chunks(checked):
                kinds |= {kind} if kind is not None else set()
                if len(kinds) > 1:
                    said = " and ".join(sorted(kinds))
                    raise DataError(name, "inputs", said, "one data set has one of them: make them alike")
                kind = next(iter(kinds), None)
                if is_next and kind == "ids" and vocabulary is None:
                    raise DataError(name, "vocabulary", None, 'the task "next" needs one of its ids: give it')
                for at, one in enumerate(taken):
                    weighings |= {weighed(one)}
                    if len(weighings) > 1:
                        said = " and ".join((one and f"of the {one}") or "none" for one in sorted(weighings))
                        remedy = (
                            "one data set has them of every example alike: make this one like those before"
                        )
                        raise DataError(f"{where}[{first + at}]", "weights", said, remedy)
                unseen = "ids" if vocabulary is not None else "symbols"  # of a chunk without a token
                layout = Layout(schema.of_kind(kind or unseen), feature_size, None, *weighings)
                block = _Given("", where, split, "", first, None, 0)
                divided, of_block = divide(_packed(taken, block, layout), block, layout)
                left.add(of_block)
                for packed in divided.values():
                    spool.add(save(packed, spool_folder, number, split, tag=task != "classify"), block.where)
                number += 1
        none = "symbols" if is_next else "ids"  # what inputs are where there are none
        layout = Layout(schema.of_kind(kind or none), feature_size, None, *weighings)
        final = finished(spool, layout, name, left, examples)
        return written(
            spool, final, layout, left, work, in_this_process, name=name, source={"name": "write_dataset"},
        )  # fmt: skip


def _marked(
    examples: Iterator[tuple[Example, Kind | None]], end: str | int, where: str
) -> Iterator[tuple[Example, Kind | None]]:
    """With the tokens that follow as labels; an empty one is its end alone, of the kind that the end is."""
    for number, (example, kind) in enumerate(examples):
        its: Kind = "ids" if isinstance(end, int) else "symbols"
        yield marked(example, end, f"{where}[{number}]"), kind or its


def _of_next(
    name: str, vocabulary: Sequence[str] | None, labels: Sequence[str] | None, feature_size: int | None
) -> tuple[list[str] | None, str | int]:
    """The vocabulary with the mark of the end, and that mark, as a symbol or an id."""
    if feature_size is not None:
        raise DataError(name, "task", "next", "predicts ids, and these inputs are features: take tag")
    if labels is not None:
        remedy = 'of the task "next" they are the vocabulary: leave them out'
        raise DataError(name, "labels", list(labels)[:5], remedy)
    return with_end(None if vocabulary is None else check_names(vocabulary, "vocabulary", name))


def _schema(
    name: str,
    task: str,
    labels: Sequence[str] | None,
    vocabulary: Sequence[str] | None,
    feature_size: int | None,
    max_length: int | None,
    over_length: str,
    shards: int,
    first_class: int,
    compression: str,
) -> Schema:
    """The arguments as a schema, checked."""
    if task not in TASKS:
        raise DataError(name, "task", task, f"must be one of {', '.join(TASKS)}")
    if shards < 1:
        raise DataError(name, "shards", shards, "must be 1 or more")
    if compression not in COMPRESSIONS:
        raise DataError(name, "compression", compression, 'must be "", "GZIP" or "ZLIB"')
    if feature_size is not None and feature_size < 1:
        raise DataError(name, "feature_size", feature_size, "must be 1 or more, or None for ids and symbols")
    if over_length == "split" and task == "classify":
        raise DataError(name, "over_length", over_length, "a piece has no label of its own: drop, or tag")
    return Schema(
        task=task,
        classes=None if labels is None else check_names(labels, "labels", name),
        vocabulary=None if vocabulary is None else check_names(vocabulary, "vocabulary", name),
        max_length=max_length,
        over_length=over_length,
        shards=shards,
        first_class=first_class,
        compression=compression,
        validation_share=0,
    )


def _chunks(
    examples: Iterator[tuple[Example, Kind | None]],
) -> Iterator[tuple[int, list[Example], set[Kind]]]:
    """Some at a time, with the number of the first and what their inputs are."""
    taken: list[Example] = []
    kinds: set[Kind] = set()
    first = values = 0
    for example, kind in examples:
        taken.append(example)
        kinds |= set() if kind is None else {kind}
        values += np.size(example.inputs) if isinstance(example.inputs, np.ndarray) else len(example.inputs)
        if len(taken) == _EXAMPLES or values >= _VALUES:
            yield first, taken, kinds
            first, taken, kinds, values = first + len(taken), [], set(), 0
    if taken:
        yield first, taken, kinds


def _packed(taken: Sequence[Example], block: Block, layout: Layout) -> Packed:
    """Examples that were checked one by one, end to end."""
    numbers = np.arange(block.first, block.first + len(taken))
    lengths = np.array([len(example.inputs) for example in taken], np.int64)
    inputs: Any = [example.inputs for example in taken]
    inputs = np.concatenate(inputs) if layout.schema.kind == "features" else _flat(inputs)
    labels = [example.labels for example in taken]
    made = arrays(
        numbers, lengths, inputs, _flat(labels) if layout.schema.labels_steps else labels, block, layout
    )
    weights = None
    if layout.weights:
        weights = np.concatenate([np.atleast_1d(np.asarray(one.weights, np.float32)) for one in taken])
    splits = np.full(len(taken), SPLITS.index(str(block.split)), np.int8)
    return made._replace(splits=splits, weights=weights)


def _flat(sequences: Sequence[Any]) -> list[Any]:
    return list(
        chain.from_iterable(one.tolist() if isinstance(one, np.ndarray) else one for one in sequences)
    )
