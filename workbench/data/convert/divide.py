"""Packed examples -> those of each split, the long and the empty dealt with as the schema says: `divide`."""

from __future__ import annotations

import zlib

import numpy as np

from workbench.data.convert.layout import Layout, Left, Packed
from workbench.data.convert.rows import Block
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError
from workbench.data.manifest import SPLITS


def divide(packed: Packed, block: Block, layout: Layout) -> tuple[dict[str, Packed], Left]:
    """The examples of each split, those that are too long or empty dealt with as the schema says."""
    schema, left = layout.schema, Left({}, {"examples": 0, "pieces": 0})
    tag, most = schema.labels_steps, schema.max_length
    keep = np.ones(len(packed.lengths), bool)
    # with the task "next" an empty sequence still has one step, its end
    empty = packed.lengths == (1 if schema.task == "next" else 0)
    if empty.any() and schema.empty == "drop":
        left.dropped["empty"] = int(empty.sum())
        keep &= ~empty
    elif empty.any() and not tag:
        remedy = "an empty sequence cannot be classified: leave it out (--empty drop)"
        raise DataError(block.where(int(packed.numbers[np.argmax(empty)])), "length", 0, remedy)
    splits = np.where(packed.splits >= 0, packed.splits, _drawn(packed, schema))
    over = packed.lengths > most if most is not None else np.zeros_like(keep)
    if over.any() and most is not None:
        if schema.over_length == "keep":
            at = int(np.argmax(over))
            remedy = (
                f"is longer than max_length={most} and over_length is keep: raise it, or drop or split such"
            )
            raise DataError(block.where(int(packed.numbers[at])), "length", int(packed.lengths[at]), remedy)
        if schema.over_length == "drop":
            left.dropped["over_length"] = int(over.sum())
            keep &= ~over
        else:
            pieces = np.maximum(1, -(-packed.lengths // most))
            left.cut.update(examples=int(over.sum()), pieces=int(pieces[over].sum()))
            packed, splits, keep = (
                _in_pieces(packed, pieces, most, layout.weights),
                np.repeat(splits, pieces),
                np.repeat(keep, pieces),
            )
    found = {name: keep & (splits == i) for i, name in enumerate(SPLITS)}
    of_weights = layout.weights == "step"
    return {
        name: _selected(packed, chosen, tag, of_weights) for name, chosen in found.items() if chosen.any()
    }, left


def _in_pieces(packed: Packed, pieces: np.ndarray, most: int, weighed: str) -> Packed:
    """Each example as so many of `most` tokens, the last of the rest."""
    lengths = np.full(int(pieces.sum()), most, np.int64)
    last = np.cumsum(pieces) - 1
    lengths[last] = packed.lengths - (pieces - 1) * most
    weights = packed.weights
    if weights is not None and weighed == "example":
        weights = np.repeat(weights, pieces)
    return packed._replace(numbers=np.repeat(packed.numbers, pieces), lengths=lengths, weights=weights)


def _selected(packed: Packed, chosen: np.ndarray, tag: bool, weighs_steps: bool) -> Packed:
    if chosen.all():
        return packed
    tokens = np.repeat(chosen, packed.lengths)
    return packed._replace(
        numbers=packed.numbers[chosen],
        lengths=packed.lengths[chosen],
        inputs=packed.inputs[tokens],
        labels=packed.labels[tokens if tag else chosen],
        weights=None if packed.weights is None else packed.weights[tokens if weighs_steps else chosen],
    )


def _drawn(packed: Packed, schema: Schema) -> np.ndarray:
    """The splits of examples by what their inputs are: those that are alike are in the same."""
    if (packed.splits >= 0).all():
        return packed.splits
    if packed.symbols is not None:
        drawn = np.fromiter(
            (zlib.crc32(one.encode()) for one in packed.symbols), np.uint64, len(packed.symbols)
        )
        values = _mixed(drawn)[packed.inputs]
    elif packed.inputs.ndim == 2:
        columns = np.ascontiguousarray(packed.inputs, "<f4").view("<u4").astype(np.uint64)
        values = np.zeros(len(columns), np.uint64)
        for column in columns.T:
            values = _mixed(values ^ column)
    else:
        values = _mixed(packed.inputs.astype(np.uint64))
    starts = np.cumsum(packed.lengths) - packed.lengths
    places = np.arange(len(values)) - np.repeat(starts, packed.lengths)
    sums = np.concatenate(
        (np.zeros(1, np.uint64), np.cumsum(_mixed(values + _mixed(places.astype(np.uint64)))))
    )
    whole = _mixed(
        sums[starts + packed.lengths] - sums[starts] + _mixed(np.array(schema.seed + 1, np.uint64))
    )
    train, validation = SPLITS.index("train"), SPLITS.index("validation")
    held_out = whole < np.uint64(schema.validation_share * 2.0**64)
    return np.where(held_out, validation, train).astype(np.int8)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Other 64 bits, each of which depends on all (splitmix64)."""
    with np.errstate(over="ignore"):
        values = np.asarray(values + np.uint64(0x9E3779B97F4A7C15))
        values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
