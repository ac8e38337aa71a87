"""The task "next": each token predicts the one that follows it.

    a b c  ->  inputs  </s> a b c
               labels  a b c </s>

A mark of the end stands before the first token too, as in the Penn Treebank's language models: each token of the
sequence is predicted once, and that it ends. An empty sequence predicts its end. Cut into pieces, each piece's
labels go on where its inputs end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from workbench.data.errors import DataError
from workbench.data.manifest import PAD, UNKNOWN
from workbench.data.sources import Corpus, Example

END = "</s>"


def with_next_tokens(corpus: Corpus, name: str) -> Corpus:
    """The corpus with the tokens that follow as labels, whatever labels it had.

    Raises:
        DataError: its inputs are features, which have no next id.
    """
    if corpus.feature_size is not None:
        raise DataError(
            name, "task", "next", "predicts ids, and these inputs are features: take tag or classify"
        )
    vocabulary, end = with_end(corpus.vocabulary)
    splits: dict[str, Iterable[Example]] = {
        split: _all_marked(examples, end, f"{name}: {split}") for split, examples in corpus.splits.items()
    }
    # the counts of what is dropped grow as the splits are read: they stay those of the corpus
    return replace(corpus, splits=splits, vocabulary=vocabulary, labels=None)


def with_end(vocabulary: list[str] | None) -> tuple[list[str] | None, str | int]:
    """A vocabulary of ids with the mark of the end, and its id; where there is none yet, the mark itself."""
    if vocabulary is None:
        return None, END
    known = vocabulary if END in vocabulary else [*(vocabulary or [PAD, UNKNOWN]), END]
    return known, known.index(END)


def marked(example: Example, end: str | int, where: str) -> Example:
    """An example's tokens from the end to the last, and as labels those from the first to the end."""
    tokens = example.inputs.tolist() if isinstance(example.inputs, np.ndarray) else example.inputs
    if isinstance(end, int) and 0 in tokens:
        place = f"inputs[{list(tokens).index(0)}]"
        raise DataError(where, place, 0, "is the id of padding: no token has it")
    return Example([end, *tokens], [*tokens, end], example.weights)


def _all_marked(examples: Iterable[Example], end: str | int, where: str) -> Iterator[Example]:
    for number, example in enumerate(examples):
        yield marked(example, end, f"{where}[{number}]")
