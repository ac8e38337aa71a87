"""Examples of a source -> arrays of ids, ready to be written: vocabulary, labels, max_length. Plain NumPy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from workbench.data.errors import DataError
from workbench.data.manifest import PAD, UNKNOWN, SplitInfo
from workbench.data.next_token import END, with_next_tokens
from workbench.data.sources import Corpus, Example

OverLength = Literal["drop", "split", "keep"]
OVER_LENGTH = ("drop", "split", "keep")


@dataclass(frozen=True)
class Encoded:
    """`inputs` int64 [T] or float32 [T, D]; `labels` int64 [T] (task "tag") or [] (task "classify"); `weights`
    float32 [T] (of the steps) or [] (of the example), or None."""

    inputs: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None


@dataclass
class EncodedSet:
    """A data set in memory: what `shards` writes."""

    splits: dict[str, list[Encoded]]
    labels: list[str]
    vocabulary: list[str] = field(default_factory=list)
    feature_size: int | None = None
    first_class: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)


def encode(
    corpus: Corpus,
    *,
    name: str,
    task: str = "tag",
    max_length: int | None = None,
    over_length: str = "drop",
    limits: Mapping[str, int | None] | None = None,
    first_class: int = 0,
) -> EncodedSet:
    """Read `corpus` to its end or to `limits` (split -> most examples) and turn symbols and labels into ids.

    Examples longer than `max_length` are dropped and counted, split into pieces of at most that and counted,
    or, with "keep", refused: it says that there are none. `limits` count what is kept, pieces too.
    The vocabulary is made from the training split alone: padding, unknown, then by falling frequency.
    """
    if over_length not in OVER_LENGTH:
        raise DataError(name, "over_length", over_length, f"must be one of {', '.join(OVER_LENGTH)}")
    if max_length is not None and max_length < 1:
        raise DataError(name, "max_length", max_length, "must be 1 or more, or none for no limit")
    if first_class not in (0, 1):
        raise DataError(name, "first_class", first_class, "must be 0, or 1 to leave class 0 to padding")
    if over_length == "split" and task == "classify":
        raise DataError(name, "over_length", over_length, "a piece has no label of its own: drop, or tag")
    if task == "next":
        corpus, first_class = with_next_tokens(corpus, name), 1
    limits = limits or {}
    # how often each reason was met; a source counts its own as it is read
    cut = {"examples": 0, "pieces": 0}
    kept = {
        split: list(_within(examples, limits.get(split), max_length, over_length, name, corpus.dropped, cut))
        for split, examples in corpus.splits.items()
    }
    if not kept.get("train"):
        raise DataError(
            name,
            "splits.train",
            f"empty, dropped: {corpus.dropped}",
            "no example to train on: widen max_length "
            "or max_examples, lower validation_share, or give more data",
        )
    for split in [split for split, examples in kept.items() if not examples]:
        raise DataError(
            name,
            f"splits.{split}",
            f"empty, dropped: {corpus.dropped}",
            "no example in this split: set validation_share to 0 if none is wanted, else give more data",
        )
    vocabulary = corpus.vocabulary
    if vocabulary is None and corpus.feature_size is None:
        vocabulary = build_vocabulary(
            (example.inputs for example in kept["train"]),
            corpus.min_count,
            always=(END,) if task == "next" else (),
        )
        to_id = {symbol: i for i, symbol in enumerate(vocabulary)}
        to_id[PAD] = to_id[UNKNOWN]
    else:
        to_id = None
    if task == "next":
        labels = list(vocabulary or [])
    else:
        labels = list(corpus.labels) if corpus.labels is not None else _label_names(kept["train"], task)
    to_class = {label: i for i, label in enumerate(labels)}
    encoded = {
        split: [
            _encode(
                example,
                to_id,
                to_class,
                vocabulary,
                corpus.feature_size,
                task,
                first_class,
                f"{name}: {split}[{i}]",
            )
            for i, example in enumerate(examples)
        ]
        for split, examples in kept.items()
    }
    return EncodedSet(
        splits=encoded,
        labels=labels if task == "next" else [PAD] * first_class + labels,
        first_class=first_class,
        vocabulary=list(vocabulary or []),
        feature_size=corpus.feature_size,
        dropped=dict(corpus.dropped),
        cut=cut if cut["examples"] else {},
    )


def build_vocabulary(
    sequences: Iterable[Iterable[object]], min_count: int, always: Sequence[str] = ()
) -> list[str]:
    """Padding, unknown, then the symbols that occur `min_count` times or more, the most frequent first.

    Those of `always` are in it however rare they are.

    >>> build_vocabulary(["abba", "ac"], min_count=2)
    ['<pad>', '<unk>', 'a', 'b']
    """
    counts: Counter[object] = Counter()
    for sequence in sequences:
        counts.update(sequence)
    for own in (PAD, UNKNOWN):  # in the data these are unknown symbols
        counts.pop(own, None)
    frequent = [str(symbol) for symbol, count in counts.items() if count >= min_count or symbol in always]
    return [PAD, UNKNOWN, *sorted(frequent, key=lambda symbol: (-counts[symbol], symbol))]


def split_info(examples: Sequence[Encoded], classes: int) -> SplitInfo:
    """Counts of a split."""
    labels = np.concatenate(
        [np.atleast_1d(example.labels) for example in examples] or [np.zeros(0, np.int64)]
    )
    lengths = Counter(len(example.inputs) for example in examples)
    return SplitInfo.of(lengths, np.bincount(labels, minlength=classes).tolist())


def _within(
    examples: Iterable[Example],
    limit: int | None,
    max_length: int | None,
    over_length: str,
    name: str,
    dropped: dict[str, int],
    cut: dict[str, int],
) -> Iterator[Example]:
    """Examples not longer than max_length, `limit` of them at most."""
    given = 0
    if limit == 0:
        return
    for example in examples:
        if example.weights is not None:
            remedy = "a source has none: write_dataset and convert take them"
            raise DataError(name, "weights", example.weights, remedy)
        length = len(example.inputs)
        if max_length is None or length <= max_length:
            pieces = [example]
        elif over_length == "drop":
            dropped["over_length"] = dropped.get("over_length", 0) + 1
            continue
        elif over_length == "keep":
            raise DataError(
                name,
                "max_length",
                max_length,
                f"an example has {length} tokens and over_length is keep: "
                "raise max_length, or let over_length drop or split",
            )
        else:
            starts = range(0, length, max_length)
            pieces = [
                Example(example.inputs[i : i + max_length], example.labels[i : i + max_length])  # type: ignore[index]
                for i in starts
            ]
            cut["examples"] += 1
            cut["pieces"] += len(pieces)
        for piece in pieces:
            yield piece
            given += 1
            if given == limit:
                return


def _label_names(examples: Sequence[Example], task: str) -> list[str]:
    if task == "classify":
        return sorted({str(example.labels) for example in examples})
    return sorted({str(label) for example in examples for label in example.labels})  # type: ignore[union-attr]


def _encode(
    example: Example,
    to_id: Mapping[str, int] | None,
    to_class: Mapping[str, int],
    vocabulary: Sequence[str] | None,
    feature_size: int | None,
    task: str,
    first_class: int,
    where: str,
) -> Encoded:
    length = len(example.inputs)
    inputs: np.ndarray
    if feature_size is not None:
        inputs = np.asarray(example.inputs, np.float32)
        if inputs.shape != (length, feature_size) and length:
            raise DataError(where, "inputs", inputs.shape, f"must be [{length}, {feature_size}]")
        inputs = inputs.reshape(length, feature_size)
    else:
        inputs = _ids(example.inputs, to_id, vocabulary, where)
    if task == "next":
        return Encoded(inputs, _ids(example.labels, to_id, vocabulary, where))
    if task == "classify":
        if not length:
            raise DataError(
                where, "length", 0, 'an empty sequence cannot be classified: leave it out, or use "tag"'
            )
        labels = _classes([example.labels], to_class, where)
        labels = labels.reshape(())
    else:
        labels = _classes(example.labels, to_class, where)
        if labels.shape != (length,):
            raise DataError(where, "labels", labels.shape, f"must be one for each of {length} tokens")
    check_range(labels, len(to_class), where, "labels", "the classes")
    return Encoded(inputs, labels + first_class)


def _ids(
    symbols: object, to_id: Mapping[str, int] | None, vocabulary: Sequence[str] | None, where: str
) -> np.ndarray:
    """Symbols as ids, those that the vocabulary lacks as unknown; ids as they are."""
    assert isinstance(symbols, Sequence | np.ndarray)
    if to_id is not None:
        return np.fromiter((to_id.get(str(symbol), 1) for symbol in symbols), np.int64, len(symbols))
    ids = np.asarray(symbols, np.int64).reshape(len(symbols))
    check_range(ids, len(vocabulary or ()), where, "inputs", "the vocabulary")
    return ids


def _classes(labels: object, to_class: Mapping[str, int], where: str) -> np.ndarray:
    """Labels as class ids; bytes are class ids already."""
    if isinstance(labels, bytes):
        return np.frombuffer(labels, np.uint8).astype(np.int64)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    assert isinstance(labels, Iterable)
    ids = []
    for label in labels:
        if isinstance(label, str) and label not in to_class:
            raise DataError(
                where, "labels", label, f"outside the classes {', '.join(to_class)}: correct or add it"
            )
        ids.append(to_class[label] if isinstance(label, str) else int(label))
    return np.array(ids, np.int64)


def check_range(values: np.ndarray, size: int, where: str, field: str, of: str, first: int = 0) -> None:
    """Raise DataError naming the first of `values` outside first..size-1."""
    if values.size and (values.min() < first or values.max() >= size):
        flat = values.reshape(-1)
        place = int(np.argmax((flat < first) | (flat >= size)))
        raise DataError(
            where,
            f"{field}[{place}]",
            int(flat[place]),
            f"outside {of}, {first} to {size - 1}: correct it or extend {of}",
        )
