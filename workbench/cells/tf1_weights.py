"""Weights of TF 1's cells into ours or Keras' and back, by name, as `tf1_layouts.py` says cell by cell."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import keras
import numpy as np

from workbench.cells.base import innermost
from workbench.cells.tf1_checkpoint import OPAQUE, read_checkpoint, without_slots
from workbench.cells.tf1_finding import Fit, Place, find
from workbench.cells.tf1_layouts import layout_of


def load_tf1_weights(
    cell: Any,
    variables: Mapping[str, Any] | str | os.PathLike[str],
    *,
    scope: str | None = None,
    ignore: Sequence[str] = (),
    forget_bias: float | None = None,
) -> None:
    """Sets a built cell's weights from TF 1's variables, by name; or those of one of Keras' recurrent layers.

    `variables` maps names to arrays, or is the path of a checkpoint (or of a folder, for its latest), as
    `tf.train.Saver` or `tf.train.Checkpoint` wrote it. `scope` keeps only what lies under it: "rnn" of a model
    that has more, "bidirectional_rnn/fw" for one direction, "rnn/multi_rnn_cell/cell_0" for one layer. What an
    optimizer or a moving average keeps beside a variable (`.../kernel/Adam`, `beta1_power`, `global_step`) is left
    out by itself; `ignore` drops further names by pattern ("*/my_slot"). What is left must be this cell's
    variables and no others.

        cell = MultiRNNCell([LSTMCell(64), LSTMCell(64)]);  cell.build((None, 32))
        load_tf1_weights(cell, "model.ckpt", scope="rnn")

        layer = keras.layers.LSTM(64, return_sequences=True);  layer.build((None, None, 32))
        load_tf1_weights(layer, "model.ckpt", scope="rnn", forget_bias=1.0)

    Names are those of TF 1.15 or of any release before. The last part of a variable's scope, where it is named
    after a class (basic_lstm_cell, GRUCell), must be a class with this cell's weights.

    The forget bias is where it belongs: TF 1.15's LSTM adds it at run time, and so does ours, with the cell's own
    `forget_bias`, which a checkpoint does not hold: make the cell with TF 1.15's. cuDNN's LSTM
    (cudnn_compatible_lstm_cell) has none, so what our cell will add is taken off the bias. Keras' LSTM has none
    beside its bias, so TF 1.15's, `forget_bias` (its default there, 1, if not given), is added to the bias.

    Raises one ValueError that names all that is missing, of another shape or class than the cell's, not of real
    numbers, or left over; the cell is then as it was.
    """
    _check_forget_bias(cell, forget_bias)
    given = read_checkpoint(variables)
    found = without_slots(_inside(given, scope, ignore))
    weights = {path: variable.value.numpy().copy() for path, variable in weight_paths(cell).items()}
    fit = find(cell, found, _head(scope), forget_bias)
    theirs = {
        place: [np.asarray(found[name]) for name in (place.name, *place.shards)] for place in fit.places
    }
    used = {name for place in fit.places for name in (place.name, *place.shards)}
    shapes = {place.name: (_joint_shape(arrays), _shape(place, weights)) for place, arrays in theirs.items()}
    faults = {
        "of another class": fit.of_another_class,
        "missing": _missing(fit, weights),
        "of another shape": [
            f"{name} is {shape}, the cell needs {ours}"
            for name, (shape, ours) in shapes.items()
            if shape != ours
        ],
        "not of real numbers": [
            f"{name} is {np.asarray(found[name]).dtype}"
            for name in found
            if name in used and np.asarray(found[name]).dtype.kind not in "fiuV"  # bfloat16 is V
        ],
        "left over": [
            f"{name} {np.shape(found[name])}" for name in sorted(set(found) - used - fit.candidates)
        ],
    }
    if any(faults.values()):
        raise ValueError(_complaint(cell, scope, given, faults, fit.notes))
    for place, arrays in theirs.items():
        _put(place, np.concatenate(arrays) if place.shards else arrays[0], weights)
    for path, variable in weight_paths(cell).items():
        variable.assign(weights[path])


def tf1_variables(
    cell: Any,
    names: Iterable[str],
    values: Mapping[str, Any] | None = None,
    *,
    forget_bias: float | None = None,
) -> dict[str, np.ndarray]:
    """The reverse: a cell's weights as TF 1's variables, under the `names` that a checkpoint gives them.

    `values` replaces the weights by something else of the same shapes, such as their gradients, under the
    paths of `weight_paths(cell)`. `forget_bias` as in `load_tf1_weights`.
    """
    _check_forget_bias(cell, forget_bias)
    weights = values is None
    if values is None:
        values = {path: variable.value.numpy() for path, variable in weight_paths(cell).items()}
    arrays = {path: np.asarray(value) for path, value in values.items()}
    names = list(names)
    fit = find(cell, names, forget_bias=forget_bias)
    faults = {"of another class": fit.of_another_class, "missing": _missing(fit, arrays)}
    if any(faults.values()):
        raise ValueError(_complaint(cell, None, dict.fromkeys(names), faults, fit.notes))
    return {
        name: part for place in fit.places for name, part in _cut(place, _take(place, arrays, summed=weights))
    }


def weight_paths(cell: Any) -> dict[str, Any]:
    """A built cell's variables by path: "kernel", or "cells/0/kernel" inside a wrapper."""
    if not getattr(cell, "built", True):
        shape = "(None, None, input_size)" if isinstance(cell, keras.layers.RNN) else "(None, input_size)"
        raise ValueError(f"{type(cell).__name__} has no weights yet: call build({shape}) first.")
    layout = layout_of(cell)
    own = {name: getattr(cell, name) for variable in layout.variables for name in variable.ours}
    inner = {child.path + k: v for child in layout.children for k, v in weight_paths(child.cell).items()}
    return {**inner, **own}


def _check_forget_bias(cell: Any, forget_bias: float | None) -> None:
    if forget_bias is None:
        return
    if isinstance(forget_bias, bool) or not isinstance(forget_bias, (int, float)):
        raise ValueError(f"forget_bias must be a number or None, not {forget_bias!r}.")
    if not any(isinstance(inner, keras.layers.LSTMCell) for inner in innermost(cell)):
        raise ValueError(
            f"forget_bias={forget_bias!r} says what TF 1's LSTM had, for Keras' LSTM, which has no such option; "
            f"{type(cell).__name__} is none: make the cell with forget_bias={forget_bias!r} instead."
        )


def _head(scope: str | None) -> str:
    return scope.strip("/") + "/" if scope else ""


def _inside(given: Mapping[str, Any], scope: str | None, ignore: Sequence[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in given.items()
        if name.startswith(_head(scope)) and not any(fnmatch(name, pattern) for pattern in ignore)
    }


def _missing(fit: Fit, ours: Mapping[str, np.ndarray]) -> list[str]:
    return [*(f"{place.name} {_shape(place, ours)}" for place in fit.missing), *fit.ambiguous]


def _complaint(
    cell: Any,
    scope: str | None,
    given: Mapping[str, Any],
    faults: Mapping[str, Sequence[str]],
    notes: Sequence[str],
) -> str:
    """All faults, a line each, and where was looked."""
    listed = [f"\n  {kind}: {fault}" for kind, found in faults.items() for fault in found]
    there = sorted({name.rpartition("/")[0] or "(none)" for name in without_slots(given)})
    there = [*there[:20], f"{len(there) - 20} more"] if len(there) > 20 else there
    opaque = [name for name in given if OPAQUE.search(name)][:1]
    notes = [
        *dict.fromkeys(notes),
        *(f"{name} is cuDNN's own form, which is not read here." for name in opaque),
    ]
    return (
        f"{type(cell).__name__} and TF 1.15's variables do not fit:{''.join(listed)}\n"
        f"Looked under scope={scope!r}; there are the scopes {', '.join(there) or '(nothing)'}. "
        f"scope= takes a part of them, ignore= leaves names out by pattern.{''.join(f' {note}' for note in notes)}"
    )


# ------------------------------------------------------------ putting and taking
def _blocks(place: Place, ours: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The parts of ours that make up theirs, as rows of blocks; views, so that they can be written to."""
    variable = place.variable
    arrays = [np.atleast_2d(ours[place.path + name]) for name in variable.ours]
    if variable.rows is not None:
        arrays = [array[row : row + 1] for array in arrays for row in variable.rows[:1]]
    return [[np.split(array, variable.of, axis=1)[block] for block in variable.blocks] for array in arrays]


def _shape(place: Place, ours: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    if place.variable.shape is not None:
        return place.variable.shape
    shape = np.block(_blocks(place, ours)).shape
    vector = place.variable.rows is not None or ours[place.path + place.variable.ours[0]].ndim == 1
    return shape[1:] if vector else shape


def _more(place: Place, width: int) -> np.ndarray:
    """What theirs has added to ours, [width]."""
    more = place.variable.more or (0.0,)
    return np.repeat(np.asarray(more, np.float32), width // len(more))


def _take(place: Place, ours: Mapping[str, np.ndarray], *, summed: bool) -> np.ndarray:
    """Theirs; of weights with all that it sums up, where gradients are those of the first of them."""
    shape = _shape(place, ours)
    taken = np.block(_blocks(place, ours))
    if summed:
        for row in (place.variable.rows or ())[1:]:
            other = place._replace(variable=place.variable._replace(rows=(row,)))
            taken = taken + np.block(_blocks(other, ours))
        if place.variable.more and any(place.variable.more):
            taken = taken + _more(place, taken.shape[1]).astype(taken.dtype)
    return taken.reshape(shape)


def _put(place: Place, theirs: np.ndarray, ours: Mapping[str, np.ndarray]) -> None:
    theirs, row = theirs.reshape(-1, theirs.shape[-1]), 0
    if place.variable.more and any(place.variable.more):
        theirs = theirs - _more(place, theirs.shape[1]).astype(theirs.dtype)
    for other in (place.variable.rows or ())[1:]:
        for block in _blocks(place._replace(variable=place.variable._replace(rows=(other,))), ours)[0]:
            block[...] = 0
    for blocks in _blocks(place, ours):
        column, height = 0, blocks[0].shape[0]
        for block in blocks:
            block[...] = theirs[row : row + height, column : column + block.shape[1]]
            column += block.shape[1]
        row += height


def _joint_shape(shards: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The shape of shards one below the other; of the first, where they do not fit together."""
    first = shards[0].shape
    if len(shards) == 1 or any(s.ndim == 0 or s.shape[1:] != first[1:] for s in shards):
        return first if len(shards) == 1 else tuple(shards[-1].shape)
    return (sum(s.shape[0] for s in shards), *first[1:])


def _cut(place: Place, whole: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The reverse: as TF 1 cut a matrix, the first shards a row longer where it does not come out even."""
    names = (place.name, *place.shards)
    return (
        list(zip(names, np.array_split(whole, len(names)), strict=True))
        if place.shards
        else [(place.name, whole)]
    )
