"""What every example of a data set must be, settled by the first; and how examples lie in arrays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.rows import UNLABELLED, Block, Row
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError

_PRINTED_LIST = re.compile(r"\s*\[[^\[\]]*\]\s*")


class Layout(NamedTuple):
    """What every example must be: `task` and `kind` are settled; `width` numbers a step of features; `named`:
    whether labels are names, None where there was none to tell by; `weights`: a manifest's."""

    schema: Schema
    width: int | None
    named: bool | None
    weights: str = ""


class Packed(NamedTuple):
    """Examples end to end. `inputs` are places in `symbols`, ids, or float32 [tokens, D]; `labels` are places in
    `names`, or class ids where that is None, of tokens or [N]. `numbers` are those of their rows; `splits` are
    places in SPLITS, or -1 where it is to be divided; `weights` float32, of tokens or [N], or None."""

    numbers: np.ndarray
    lengths: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    symbols: list[str] | None
    names: list[str] | None
    splits: np.ndarray
    weights: np.ndarray | None = None


class Left(NamedTuple):
    """Reason -> examples left out, and examples cut with their pieces."""

    dropped: dict[str, int]
    cut: dict[str, int]

    def add(self, other: Left) -> None:
        """Count those of a block too."""
        for mine, its in zip(self, other, strict=True):
            for reason, count in its.items():
                mine[reason] = mine.get(reason, 0) + count


def settle(rows: Sequence[Row], block: Block, schema: Schema) -> Layout:
    """What the first examples are; where they do not tell, a label for each of symbols.

    A list of labels is one a token; a list of strings is of symbols, of whole numbers ids, of others features.
    """
    task, kind, width, named = schema.task, schema.kind, None, None
    for row in rows:
        value, label = row.inputs, row.labels
        if label is not UNLABELLED:
            task = task or ("tag" if _is_list(label) else "classify")
            one = label[0] if _is_list(label) and len(label) else label
            if named is None and one is not None and not _is_list(one):
                named = isinstance(one, (str, bool, np.bool_))
        if isinstance(value, str):
            kind = kind or "symbols"
        elif width is None and _is_list(value) and len(value):
            kind = kind or _kind(value[0], block.where(row.number))
            width = len(value[0]) if _is_list(value[0]) else 1
    if (
        schema.tokens != "words"
        and width is not None
        and not any(isinstance(row.inputs, str) for row in rows)
    ):
        remedy = "inputs are lists, whose items are the tokens: leave it out, or give strings"
        raise DataError(block.path, "tokens", schema.tokens, remedy)
    _refuse_printed_lists(rows, block, schema)
    if schema.task is None:
        _refuse_a_word_each(rows, block, schema)
    schema = dataclasses.replace(schema, task=task or "tag", kind=kind or "symbols")
    weights = _weights(rows, block, schema) if schema.weights is not None else ""
    if schema.task == "next":
        return Layout(schema, width or 1, schema.kind == "symbols", weights)
    if schema.task == "classify" and schema.over_length == "split":
        raise DataError("schema", "over_length", "split", "a piece has no label of its own: drop, or tag")
    return Layout(schema, width or 1, named, weights)


def _refuse_printed_lists(rows: Sequence[Row], block: Block, schema: Schema) -> None:
    """Raise DataError where each text is a list as Python prints it: brackets and quotes would be of its tokens."""
    texts = [row.inputs for row in rows if isinstance(row.inputs, str) and row.inputs.strip()]
    if schema.tokens == "words" and texts and all(map(_PRINTED_LIST.fullmatch, texts)):
        remedy = "is a list as Python prints it: write JSON lines, or its tokens with blanks between them"
        at = next(row.number for row in rows if row.inputs == texts[0])
        raise DataError(block.where(at), "inputs", repr(texts[0][:40]), remedy)


def _refuse_a_word_each(rows: Sequence[Row], block: Block, schema: Schema) -> None:
    """Raise DataError where each label has a word for each token: whether it is one label, nobody has said."""
    labelled = [row for row in rows if row.labels is not UNLABELLED]
    pairs = [(row.inputs, row.labels) for row in labelled]
    if schema.tokens != "words" or not all(isinstance(one, str) for pair in pairs for one in pair):
        return
    words = [(len(inputs.split()), len(label.split())) for inputs, label in pairs]
    if all(one == other for one, other in words) and max(words, default=(0, 0))[0] > 1:
        at = max(range(len(words)), key=lambda i: words[i])
        remedy = (
            "has a word for each token, as those of all examples: say that each token has a label (task tag), or "
            "that it is one label of several words (task classify)"
        )
        raise DataError(block.where(labelled[at].number), "labels", repr(pairs[at][1]), remedy)


def _weights(rows: Sequence[Row], block: Block, schema: Schema) -> str:
    """Whether weights are of steps or of examples: a list, or a string of several numbers, says the former."""
    for row in rows:
        if _is_list(row.weights) or (isinstance(row.weights, str) and len(row.weights.split()) > 1):
            if schema.task != "tag":
                remedy = f'of the task "{schema.task}" an example has one: write a number'
                raise DataError(block.where(row.number), "weights", row.weights, remedy)
            return "step"
    return "example"


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _kind(first: Any, where: str) -> str:
    if isinstance(first, str):
        return "symbols"
    if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
        return "ids"
    if isinstance(first, (float, np.floating)) or _is_list(first):
        return "features"
    raise DataError(
        where, "inputs[0]", first, "must be a symbol (string), an id (whole number), or a step's numbers"
    )
