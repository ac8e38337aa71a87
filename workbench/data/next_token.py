"""The task "next": each token predicts the one that follows it.

    a b c  ->  inputs  </s> a b c
               labels  a b c </s>

A mark of the end stands before the first token too, as in the Penn Treebank's language models: each token of the
sequence is predicted once, and that it ends. An empty sequence predicts its end. Cut into pieces, each piece's
labels go on where its inputs end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

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
    vocabulary, end = corpus.vocabulary, END
    if vocabulary is not None:
        vocabulary = vocabulary if END in vocabulary else [*(vocabulary or [PAD, UNKNOWN]), END]
        end = vocabulary.index(END)  # type: ignore[assignment]
    splits: dict[str, Iterable[Example]] = {
        split: _marked(examples, end, f"{name}: {split}") for split, examples in corpus.splits.items()
    }
    # the counts of what is dropped grow as the splits are read: they stay those of the corpus
    return replace(corpus, splits=splits, vocabulary=vocabulary, labels=None)


def _marked(examples: Iterable[Example], end: Any, where: str) -> Iterator[Example]:
    for number, example in enumerate(examples):
        tokens = _tokens(example.inputs)
        if end != END and 0 in tokens:
            raise DataError(
                f"{where}[{number}]",
                f"inputs[{list(tokens).index(0)}]",
                0,
                "is the id of padding: no token has it",
            )
        yield Example([end, *tokens], [*tokens, end])


def _tokens(inputs: Any) -> Sequence[Any]:
    return inputs.tolist() if isinstance(inputs, np.ndarray) else inputs
