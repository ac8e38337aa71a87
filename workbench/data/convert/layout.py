"""What every example of a data set must be, settled by the first; and how examples lie in arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.rows import UNLABELLED, Block, Row
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError


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
            if named is None and not _is_list(one):
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
    schema = dataclasses.replace(schema, task=task or "tag", kind=kind or "symbols")
    weights = _weights(rows, block, schema) if schema.weights is not None else ""
    if schema.task == "next":
        return Layout(schema, width or 1, schema.kind == "symbols", weights)
    if schema.task == "classify" and schema.over_length == "split":
        raise DataError("schema", "over_length", "split", "a piece has no label of its own: drop, or tag")
    return Layout(schema, width or 1, named, weights)


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
