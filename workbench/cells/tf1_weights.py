"""Weights of TF 1.15's cells into ours and back, by name, as `tf1_layouts.py` says cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from workbench.cells.tf1_layouts import Variable, layout_of


def load_tf1_weights(
    cell: Any, variables: Mapping[str, Any] | str, *, scope: str | None = None, ignore: Sequence[str] = ()
) -> None:
    """Sets a built cell's weights from TF 1.15's variables, by name.

    `variables` maps names to arrays, or is the path of a checkpoint. `scope` keeps only what lies under it
    (`"rnn/multi_rnn_cell/cell_0"`, `"bidirectional_rnn/fw"`); `ignore` drops names by pattern (`"*/Adam*"`).
    What is left must be this cell's variables and no others.

    Raises ValueError naming each variable that is missing, left over, or of another shape than the cell's; the
    cell is then as it was.
    """
    found = _read(variables, scope, ignore)
    weights = {path: variable.value.numpy().copy() for path, variable in weight_paths(cell).items()}
    places = _places(cell, found)
    left_over = sorted(set(found) - {place.name for place in places})
    if left_over:
        raise ValueError(
            f"{type(cell).__name__} has no place for TF 1.15's {', '.join(left_over)}: "
            "pass scope= or ignore= to leave them out."
        )
    for place in places:
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
    return {place.name: _take(place, arrays) for place in _places(cell, names)}


def weight_paths(cell: Any) -> dict[str, Any]:
    """A built cell's variables by path: "kernel", or "cells/0/kernel" inside a wrapper."""
    if not cell.built:
        raise ValueError(f"{type(cell).__name__} has no weights yet: call build((None, input_size)) first.")
    layout = layout_of(cell)
    own = {name: getattr(cell, name) for variable in layout.variables for name in variable.ours}
    inner = {child.path + k: v for child in layout.children for k, v in weight_paths(child.cell).items()}
    return {**inner, **own}


# ------------------------------------------------------------ finding, putting and taking
class Place(NamedTuple):
    """A variable under its full name, and the path of the cell that has it."""

    name: str
    path: str
    variable: Variable


def _read(variables: Mapping[str, Any] | str, scope: str | None, ignore: Sequence[str]) -> dict[str, Any]:
    def wanted(name: str) -> bool:
        inside = scope is None or name.startswith(scope.rstrip("/") + "/")
        return inside and not any(fnmatch(name, pattern) for pattern in ignore)

    if isinstance(variables, Mapping):
        named = {name.removesuffix(":0"): value for name, value in variables.items()}
        return {name: value for name, value in named.items() if wanted(name)}
    reader = tf.train.load_checkpoint(variables)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if wanted(name)}


def _places(cell: Any, names: Iterable[str]) -> list[Place]:
    return _resolve(cell, {name: name for name in names}, "")


def _resolve(cell: Any, names: dict[str, str], path: str) -> list[Place]:
    """`names` maps what follows the scopes already passed to the full name."""
    layout, places = layout_of(cell), []
    if layout.variables:
        scope = _scope(cell, layout.variables, names)
        places = [Place(names.pop(scope + v.name), path, v) for v in layout.variables]
    for child in layout.children:
        inner = names if not child.scope else _below(child.scope, names)
        places += _resolve(child.cell, dict(inner), path + child.path)
    return places


def _below(scope: str, names: Mapping[str, str]) -> dict[str, str]:
    """What lies under the first `scope/` of each name that has one."""
    parts = {name: f"/{name}".partition(f"/{scope}/") for name in names}
    return {rest: names[name] for name, (_, found, rest) in parts.items() if found}


def _scope(cell: Any, table: Sequence[Variable], names: Mapping[str, str]) -> str:
    """The one prefix under which all variables of the table are; else the error says which are not."""
    prefixes = {n[: -len(v.name)] for v in table for n in names if f"/{n}".endswith(f"/{v.name}")}
    missing = {p: [p + v.name for v in table if p + v.name not in names] for p in prefixes}
    whole = sorted(p for p, absent in missing.items() if not absent)
    if len(whole) == 1:
        return whole[0]
    kind = type(cell).__name__
    if whole:
        raise ValueError(f"{kind} could be any of {', '.join(whole)}: pass scope= to choose one.")
    nearest = min(missing.values(), key=len, default=[v.name for v in table])
    raise ValueError(
        f"{kind} misses TF 1.15's {', '.join(nearest)}; there are {', '.join(sorted(names.values())) or 'none'}."
    )


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
    expected = _shape(place, ours)
    if theirs.shape != expected:
        raise ValueError(f"TF 1.15's {place.name} has shape {theirs.shape}, but the cell needs {expected}.")
    theirs, row = theirs.reshape(-1, theirs.shape[-1]), 0
    for blocks in _blocks(place, ours):
        column, height = 0, blocks[0].shape[0]
        for block in blocks:
            block[...] = theirs[row : row + height, column : column + block.shape[1]]
            column += block.shape[1]
        row += height
