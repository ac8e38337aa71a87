"""Weights of TF 1.15's cells into ours and back, by name, as `tf1_layouts.py` says cell by cell."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import numpy as np

from workbench.cells.tf1_checkpoint import read_checkpoint, without_slots
from workbench.cells.tf1_layouts import Layout, Variable, layout_of


def load_tf1_weights(
    cell: Any,
    variables: Mapping[str, Any] | str | os.PathLike[str],
    *,
    scope: str | None = None,
    ignore: Sequence[str] = (),
) -> None:
    """Sets a built cell's weights from TF 1.15's variables, by name.

    `variables` maps names to arrays, or is the path of a checkpoint (or of a folder, for its latest), as
    `tf.train.Saver` or `tf.train.Checkpoint` wrote it. `scope` keeps only what lies under it: "rnn" of a model
    that has more, "bidirectional_rnn/fw" for one direction, "rnn/multi_rnn_cell/cell_0" for one layer. What an
    optimizer or a moving average keeps beside a variable (`.../kernel/Adam`, `beta1_power`, `global_step`) is left
    out by itself; `ignore` drops further names by pattern ("*/my_slot"). What is left must be this cell's
    variables and no others.

        cell = MultiRNNCell([LSTMCell(64), LSTMCell(64)]);  cell.build((None, 32))
        load_tf1_weights(cell, "model.ckpt", scope="rnn")

    Raises one ValueError that names all that is missing, of another shape than the cell's, not of real numbers, or
    left over; the cell is then as it was.
    """
    given = read_checkpoint(variables)
    found = without_slots(_inside(given, scope, ignore))
    weights = {path: variable.value.numpy().copy() for path, variable in weight_paths(cell).items()}
    fit = _fit(cell, found, weights, _head(scope))
    left_over = sorted(set(found) - {place.name for place in fit.places} - fit.candidates)
    shapes = {place.name: (np.shape(found[place.name]), _shape(place, weights)) for place in fit.places}
    faults = {
        "missing": [*fit.missing, *fit.ambiguous],
        "of another shape": [
            f"{name} is {theirs}, the cell needs {ours}"
            for name, (theirs, ours) in shapes.items()
            if theirs != ours
        ],
        "not of real numbers": [
            f"{name} is {dtype}"
            for name, dtype in ((place.name, np.asarray(found[place.name]).dtype) for place in fit.places)
            if dtype.kind not in "fiuV"  # bfloat16 is V
        ],
        "left over": [f"{name} {np.shape(found[name])}" for name in left_over],
    }
    if any(faults.values()):
        raise ValueError(_complaint(cell, scope, given, faults))
    for place in fit.places:
        _put(place, np.asarray(found[place.name]), weights)
    for path, variable in weight_paths(cell).items():
        variable.assign(weights[path])


def tf1_variables(
    cell: Any, names: Iterable[str], values: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The reverse: a cell's weights as TF 1.15's variables, under the `names` that a checkpoint gives them.

    `values` replaces the weights by something else of the same shapes, such as their gradients, under the
    paths of `weight_paths(cell)`.
    """
    if values is None:
        values = {path: variable.value.numpy() for path, variable in weight_paths(cell).items()}
    arrays = {path: np.asarray(value) for path, value in values.items()}
    names = list(names)
    fit = _fit(cell, names, arrays)
    if fit.missing or fit.ambiguous:
        raise ValueError(
            _complaint(cell, None, dict.fromkeys(names), {"missing": [*fit.missing, *fit.ambiguous]})
        )
    return {place.name: _take(place, arrays) for place in fit.places}


def weight_paths(cell: Any) -> dict[str, Any]:
    """A built cell's variables by path: "kernel", or "cells/0/kernel" inside a wrapper."""
    if not cell.built:
        raise ValueError(f"{type(cell).__name__} has no weights yet: call build((None, input_size)) first.")
    layout = layout_of(cell)
    own = {name: getattr(cell, name) for variable in layout.variables for name in variable.ours}
    inner = {child.path + k: v for child in layout.children for k, v in weight_paths(child.cell).items()}
    return {**inner, **own}


# ------------------------------------------------------------ finding
class Place(NamedTuple):
    """A variable under its full name, and the path of the cell that has it."""

    name: str
    path: str
    variable: Variable


class Fit(NamedTuple):
    """Where each variable was found; what was not found, or in several scopes, in words."""

    places: list[Place]
    missing: list[str]
    ambiguous: list[str]
    candidates: set[str]  # the names in those several scopes


def _head(scope: str | None) -> str:
    return scope.strip("/") + "/" if scope else ""


def _inside(given: Mapping[str, Any], scope: str | None, ignore: Sequence[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in given.items()
        if name.startswith(_head(scope)) and not any(fnmatch(name, pattern) for pattern in ignore)
    }


def _fit(cell: Any, names: Iterable[str], ours: Mapping[str, np.ndarray], within: str = "") -> Fit:
    fit = Fit([], [], [], set())
    _resolve(cell, dict.fromkeys(names, 0), "", within, ours, fit)
    return fit


def _resolve(
    cell: Any, names: dict[str, int], path: str, within: str, ours: Mapping[str, np.ndarray], fit: Fit
) -> None:
    """Finds a cell's variables. `names` says of each name at which letter what is left to match begins, `within`
    is the scope that was passed, as far as it is known."""
    layout = layout_of(cell)
    if layout.variables:
        table, scopes = _spelling(layout, names)
        whole = [scope for scope, absent in scopes.items() if not absent]
        if len(whole) > 1:
            fit.ambiguous.append(
                f"{type(cell).__name__} could be any of {', '.join(whole)}: pass scope= to choose one"
            )
            for variable in table:
                for scope in whole:
                    names.pop(scope + variable.name)
                    fit.candidates.add(scope + variable.name)
        else:
            scope = min(scopes, key=lambda s: len(scopes[s]), default=f"{within}*/")
            for variable in table:
                place = Place(scope + variable.name, path, variable)
                if names.pop(place.name, None) is not None:
                    fit.places.append(place)
                else:
                    fit.missing.append(f"{place.name} {_shape(place, ours)}")
    scopes_of_children = {child.scope for child in layout.children}
    for child in layout.children:
        inner, scope = dict(names), within
        if child.scope:
            inner = dict(_below(child.scope, scopes_of_children, names))
            heads = {name[:at] for name, at in inner.items()} or {
                name[:at].removesuffix(f"{other}/") + f"{child.scope}/"
                for other in scopes_of_children
                for name, at in _below(other, scopes_of_children, names)
            }
            scope = heads.pop() if len(heads) == 1 else f"{within}*/{child.scope}/"
        _resolve(child.cell, inner, path + child.path, scope, ours, fit)


def _below(scope: str, siblings: set[str], names: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The names in whose path `scope` comes before any of its siblings; what is left begins behind it."""
    for name, start in names.items():
        at = start
        for part in name[start:].split("/")[:-1]:
            at += len(part) + 1
            if part in siblings:
                if part == scope:
                    yield name, at
                break


def _spelling(layout: Layout, names: Mapping[str, int]) -> tuple[Sequence[Variable], dict[str, list[str]]]:
    """The spelling of a layout that lacks least in some scope, and its scopes."""
    found = [(table, _scopes(table, names)) for table in layout.spellings()]
    return min(found, key=lambda f: min(map(len, f[1].values()), default=len(f[0])))


def _scopes(table: Sequence[Variable], names: Mapping[str, int]) -> dict[str, list[str]]:
    """The scopes that hold any variable of the table, and what each of them lacks."""
    scopes = {
        name[: len(name) - len(variable.name)]
        for variable in table
        for name, start in names.items()
        if f"/{name[start:]}".endswith(f"/{variable.name}")
    }
    return {
        scope: [v.name for v in table if scope + v.name not in names]
        for scope in sorted(scopes, key=lambda s: (len(s), s))
    }


def _complaint(
    cell: Any, scope: str | None, given: Mapping[str, Any], faults: Mapping[str, Sequence[str]]
) -> str:
    """All faults, a line each, and where was looked."""
    listed = [f"\n  {kind}: {fault}" for kind, found in faults.items() for fault in found]
    there = sorted({name.rpartition("/")[0] or "(none)" for name in without_slots(given)})
    there = [*there[:20], f"{len(there) - 20} more"] if len(there) > 20 else there
    return (
        f"{type(cell).__name__} and TF 1.15's variables do not fit:{''.join(listed)}\n"
        f"Looked under scope={scope!r}; there are the scopes {', '.join(there) or '(nothing)'}. "
        "scope= takes a part of them, ignore= leaves names out by pattern."
    )


# ------------------------------------------------------------ putting and taking
def _blocks(place: Place, ours: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The parts of ours that make up theirs, as rows of blocks; views, so that they can be written to."""
    variable = place.variable
    arrays = [np.atleast_2d(ours[place.path + name]) for name in variable.ours]
    return [[np.split(array, variable.of, axis=1)[block] for block in variable.blocks] for array in arrays]


def _shape(place: Place, ours: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    if place.variable.shape is not None:
        return place.variable.shape
    shape = np.block(_blocks(place, ours)).shape
    return shape if ours[place.path + place.variable.ours[0]].ndim > 1 else shape[1:]


def _take(place: Place, ours: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.block(_blocks(place, ours)).reshape(_shape(place, ours))


def _put(place: Place, theirs: np.ndarray, ours: Mapping[str, np.ndarray]) -> None:
    theirs, row = theirs.reshape(-1, theirs.shape[-1]), 0
    for blocks in _blocks(place, ours):
        column, height = 0, blocks[0].shape[0]
        for block in blocks:
            block[...] = theirs[row : row + height, column : column + block.shape[1]]
            column += block.shape[1]
        row += height
