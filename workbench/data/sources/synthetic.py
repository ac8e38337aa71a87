"""Sequences whose labels need the past and the future, so that errors in masking or direction show.

Symbols are drawn uniformly from `vocabulary` ids, 2 upward (0 is padding, 1 unknown). For the task "tag"

    label[t] = (x[t-1] + x[t] + x[t+1] + parity[t]) mod classes

where parity[t] is that of how many of x[0..t] are id 2. Before the first token stands `vocabulary + 2` and
after the last `vocabulary + 3`: neither is padding's 0, so whoever takes padding for a neighbour is wrong at
the ends. Without x[t+1] a label is a guess, which is what a forward RNN has to make. For "classify"

    label = (x[0] + x[T-1] + parity[T-1]) mod classes

With `features` D, a token is the row of its id in a fixed table of standard normal numbers, float32 [T, D].

Lengths: "fixed" (all `mean`), "uniform" (`minimum` to `longest`), "geometric" (`minimum` plus a geometric number,
so that the mean is `mean`; none above `longest`), and "one_outlier" (geometric, but exactly one example, in
the training split, has `longest`, and none of the others comes near: the guide's 1000 among 20).
`minimum: 0` gives empty sequences, which are legal where the task is "tag".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workbench.data.errors import DataError
from workbench.data.sources import Corpus, Example, Limits, Source, digest, own_options
from workbench.options.data import Synthetic

MARKER = 2
_FIRST_ID = 2


def labels_of(ids: np.ndarray, vocabulary: int, classes: int, task: str = "tag") -> np.ndarray:
    """The rule above.

    >>> labels_of(np.array([2, 3, 2]), vocabulary=4, classes=10).tolist()  # ends: 6 and 7
    [2, 8, 2]
    """
    parity = np.cumsum(ids == MARKER) % 2
    if task == "classify":
        return np.asarray((ids[0] + ids[-1] + parity[-1]) % classes)
    around = np.concatenate([[vocabulary + 2], ids, [vocabulary + 3]])
    return (around[:-2] + ids + around[2:] + parity) % classes


def draw_lengths(options: Synthetic, count: int, draw: np.random.Generator) -> np.ndarray:
    """`count` lengths of the distribution that the options name; the outlier is put in by `read`."""
    kind, mean, low, longest = options.lengths, options.mean, options.minimum, options.longest
    if kind == "fixed":
        return np.full(count, round(mean))
    if kind == "uniform":
        return draw.integers(low, longest + 1, count)
    # one_outlier: what is half of the outlier or more is drawn again
    most = (longest - 1) // 2 if kind == "one_outlier" else longest
    chance = 1 / (mean - low + 1)
    lengths = low + draw.geometric(chance, count) - 1
    while (over := lengths > most).any():
        lengths[over] = low + draw.geometric(chance, int(over.sum())) - 1
    return lengths


def check(options: Synthetic, task: str) -> None:
    """Raise DataError where the options contradict each other."""

    def refuse(name: str, remedy: str) -> None:
        raise DataError("data=synthetic", name, getattr(options, name), remedy)

    if options.mean < options.minimum:
        refuse("mean", f"must not be below minimum, {options.minimum}")
    if options.longest < options.minimum:
        refuse("longest", f"must not be below minimum, {options.minimum}")
    if options.lengths in ("geometric", "fixed") and options.longest < round(options.mean):
        refuse("longest", f"is below the mean, {options.mean:g}, which lengths would not have: give more")
    if options.lengths == "one_outlier" and options.longest < 2 * options.mean:
        refuse("longest", f"is no outlier among sequences of {options.mean}: twice that or more")
    if options.lengths == "one_outlier" and options.minimum > (options.longest - 1) // 2:
        refuse("minimum", f"leaves no length below half of longest={options.longest}: give less")
    if task == "classify" and options.minimum < 1:
        refuse("minimum", 'an empty sequence cannot be classified: 1 or more, or the task "tag"')


def fingerprint(options: Synthetic) -> str:
    """Hash of the options: there is nothing else (the seed is `prepare`'s)."""
    return digest("synthetic", 1, own_options(options))


def read(options: Synthetic, task: str, limits: Limits) -> Corpus:
    """Draw the examples; the splits have random numbers of their own."""
    check(options, task)
    held_out = max(1, round(options.examples * options.validation_share))
    counts = {"train": options.examples - held_out, "validation": held_out}
    size, features = options.vocabulary, options.features
    corpus = Corpus(
        splits={},
        labels=[str(c) for c in range(options.classes)],
        vocabulary=None if features else ["<pad>", "<unk>", *(f"s{i}" for i in range(size))],
        feature_size=features or None,
    )
    for number, (split, count) in enumerate(counts.items()):
        limit = limits.get(split)
        count = count if limit is None else min(count, limit)
        if count:
            corpus.splits[split] = _examples(
                options, task, count, split == "train", [options.split_seed, number]
            )
    return corpus


def _examples(options: Synthetic, task: str, count: int, train: bool, seed: list[int]) -> Iterator[Example]:
    draw = np.random.default_rng(seed)
    lengths = draw_lengths(options, count, draw)
    if train and options.lengths == "one_outlier":
        lengths[draw.integers(count)] = options.longest
    size, features = options.vocabulary, options.features
    table = (
        np.random.default_rng([seed[0], 2]).standard_normal((size + _FIRST_ID, features)).astype(np.float32)
    )
    for length in lengths:
        ids = draw.integers(_FIRST_ID, _FIRST_ID + size, length)
        labels = labels_of(ids, size, options.classes, task)
        yield Example(table[ids] if features else ids, int(labels) if task == "classify" else labels)


SOURCE = Source(
    tasks=("tag", "classify"),
    fingerprint=fingerprint,
    read=read,
)
