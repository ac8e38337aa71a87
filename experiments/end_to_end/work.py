"""What every arm is given alike: the treebank's sentences, batches of them, and the first weights. NumPy only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

BATCH = 32
EMBEDDING = 128
PADDINGS = ("batch", "bucket")
_BUCKETS = (8, 16, 24, 32, 48)  # the longest of each; one more for what is longer
_FILES = {"train": "en_ewt-ud-train.conllu", "validation": "en_ewt-ud-dev.conllu"}


class Task(NamedTuple):
    """A label for each word (its part of speech), or one for the sentence (the genre it comes from)."""

    name: str
    each_step: bool
    layers: int


TASKS = {
    "tagger": Task("tagger", each_step=True, layers=1),
    "classifier": Task("classifier", each_step=False, layers=2),
}


class Split(NamedTuple):
    """Sentences: `ids` int32 [T] each, 0 kept for padding; `labels` int32 [T] each, or one number each."""

    ids: list[np.ndarray]
    labels: list[np.ndarray]


class Data(NamedTuple):
    """Both splits of a task."""

    train: Split
    validation: Split
    vocabulary: int
    classes: int


class Batch(NamedTuple):
    """`ids` int32 [B, T], `lengths` int32 [B], `labels` int32 [B, T] (padded with 0) or [B]."""

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


def treebank(folder: Path, task: Task, sentences: int | None = None) -> Data:
    """The English Web Treebank; words that come once in training are unknown (1)."""
    read = {split: list(_sentences(folder / file)) for split, file in _FILES.items()}
    read["train"] = read["train"][:: max(1, len(read["train"]) // sentences) if sentences else 1][:sentences]
    counts = Counter(word for words, _, _ in read["train"] for word in words)
    known = {word: n for n, word in enumerate((w for w, count in counts.items() if count > 1), 2)}
    column = 1 if task.each_step else 2
    every = (one for split in read.values() for one in split)
    names = sorted({tag for one in every for tag in ([one[2]] if column == 2 else one[1])})
    number = {name: n for n, name in enumerate(names)}
    splits = {}
    for split, all_of in read.items():
        ids = [np.array([known.get(word, 1) for word in words], "int32") for words, _, _ in all_of]
        labels = [
            np.array([number[tag] for tag in one[1]] if task.each_step else number[one[2]], "int32")
            for one in all_of
        ]
        splits[split] = Split(ids, labels)
    return Data(splits["train"], splits["validation"], len(known) + 2, len(names))


def _sentences(file: Path) -> Iterator[tuple[list[str], list[str], str]]:
    """Words, their parts of speech, and the genre, which the name of the sentence begins with."""
    words: list[str] = []
    tags: list[str] = []
    genre = ""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("# sent_id = "):
                genre = line.removeprefix("# sent_id = ").partition("-")[0]
            elif line[0].isdigit() and (columns := line.split("\t"))[0].isdigit():
                words.append(columns[1].lower())
                tags.append(columns[3])
            elif line.isspace() and words:
                yield words, tags, genre
                words, tags = [], []


def batches(split: Split, padding: str, seed: int) -> list[Batch]:
    """An epoch in the order that a seed draws: as it comes, or a batch from sentences of like lengths."""
    order = np.random.default_rng(seed).permutation(len(split.ids)).tolist()
    groups: list[list[int]] = []
    waiting: dict[int, list[int]] = {}
    for i in order:
        bucket = 0 if padding == "batch" else int(np.searchsorted(_BUCKETS, len(split.ids[i])))
        one = waiting.setdefault(bucket, [])
        one.append(i)
        if len(one) == BATCH:
            groups.append(waiting.pop(bucket))
    return [_batch(split, group) for group in (*groups, *waiting.values())]


def _batch(split: Split, group: list[int]) -> Batch:
    lengths = np.array([len(split.ids[i]) for i in group], "int32")
    if split.labels[0].ndim:
        labels = _padded([split.labels[i] for i in group])
    else:
        labels = np.stack([split.labels[i] for i in group])
    return Batch(_padded([split.ids[i] for i in group]), lengths, labels)


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    made = np.zeros((len(rows), max(map(len, rows))), "int32")
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = values
    return made


class Weights(NamedTuple):
    """The first weights: of each layer's both directions (kernel, recurrent kernel, bias), in Keras' layout."""

    embedding: np.ndarray
    rnn: list[list[list[np.ndarray]]]
    dense: list[np.ndarray]


def first_weights(data: Data, task: Task, units: int, seed: int) -> Weights:
    """Uniform in +-1/sqrt(units), the bias of the forget gate 1; embeddings normal by 0.05."""
    draw, bound = np.random.default_rng(seed), units**-0.5

    def uniform(*shape: int) -> np.ndarray:
        return draw.uniform(-bound, bound, shape).astype("float32")

    embedding = (0.05 * draw.normal(size=(data.vocabulary, EMBEDDING))).astype("float32")
    bias = np.repeat(np.float32([0, 1, 0, 0]), units)
    rnn = [
        [[uniform(width, 4 * units), uniform(units, 4 * units), bias.copy()] for _ in range(2)]
        for width in [EMBEDDING, *[2 * units] * (task.layers - 1)]
    ]
    return Weights(embedding, rnn, [uniform(2 * units, data.classes), np.zeros(data.classes, "float32")])
