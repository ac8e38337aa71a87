"""Weights and states of TF 1.15's cells into ours and back: the only place that knows its names and orders.

TF 1.15 keeps one joint kernel [D + H, gates * H] where we have `kernel` above `recurrent_kernel`, orders an
LSTM's gates i, c, f, o where we (as Keras) have i, f, c, o, and an LSTM's states (c, h) where we have [h, c].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.cells.basic_rnn import BasicRNNCell
from workbench.cells.gru import GRUCell
from workbench.cells.lstm import LSTMCell


@dataclass(frozen=True)
class Variable:
    """One variable of TF 1.15, made of blocks of ours.

    Its rows are those of `ours`, one below the other; its columns the `blocks` of theirs, each being one of the
    `of` equal parts into which our columns fall. `shape` is TF 1.15's where it differs from what comes out.
    """

    name: str
    ours: tuple[str, ...]
    blocks: tuple[int, ...] = (0,)
    of: int = 1
    shape: tuple[int, ...] | None = None


def load_tf1_weights(
    cell: Any, variables: Mapping[str, Any] | str, *, scope: str | None = None, ignore: Sequence[str] = ()
) -> None:
    """Sets a built cell's weights from TF 1.15's variables, by name.

    `variables` maps names to arrays, or is the path of a checkpoint. `scope` keeps only what lies under it
    (`"rnn/multi_rnn_cell/cell_0"`, `"bidirectional_rnn/fw"`); `ignore` drops names by pattern (`"*/Adam*"`).
    What is left must be this cell's variables and no others.

    Raises ValueError naming each variable that is missing, left over, or of another shape than the cell's.
    """
    found = _read(variables, scope, ignore)
    weights = {key: np.array(value) for key, value in _ours(cell).items()}
    places = _places(cell, found)
    left_over = sorted(set(found) - {name for name, _, _ in places})
    if left_over:
        raise ValueError(
            f"{type(cell).__name__} has no place for TF 1.15's {', '.join(left_over)}: "
            "pass scope= or ignore= to leave them out."
        )
    for name, owner, variable in places:
        _put(name, np.asarray(found[name]), owner, variable, weights)
    for key, variable in _variables(cell).items():
        variable.assign(weights[key])


def tf1_variables(
    cell: Any, names: Iterable[str], values: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The reverse: a cell's weights as TF 1.15's variables, under the `names` that a checkpoint gives them.

    `values` replaces the weights by something else of the same shapes, such as their gradients, by our path
    (`weight_paths(cell)` lists them).
    """
    ours = _ours(cell) if values is None else {k: np.asarray(v) for k, v in values.items()}
    return {
        name: _take(owner, variable, ours) for name, owner, variable in _places(cell, dict.fromkeys(names))
    }


def tf1_states(cell: Any, states: Any) -> list[Any]:
    """A cell's states as a flat list in TF 1.15's order; its own inverse for an LSTM, (c, h) <-> [h, c]."""
    for kind, order in STATE_ORDERS.items():
        if type(cell) is kind:
            return order(cell, states)
    return tf.nest.flatten(states)


def weight_paths(cell: Any) -> dict[str, Any]:
    """Our path -> variable: "kernel", or "cells/0/kernel" inside a wrapper."""
    return _variables(cell)


# ------------------------------------------------------------------ what each cell's variables are
def _joint(name: str, blocks: tuple[int, ...] = (0,), of: int = 1) -> Variable:
    return Variable(name, ("kernel", "recurrent_kernel"), blocks, of)


def _basic_rnn(cell: BasicRNNCell) -> list[Variable]:
    return [_joint("kernel"), Variable("bias", ("bias",))]


def _gru(cell: GRUCell) -> list[Variable]:
    if cell.reset_after:
        raise ValueError(
            "TF 1.15's GRUCell resets before the product: use reset_after=False for its weights."
        )
    r_z = {"blocks": (1, 0), "of": 3}
    return [
        _joint("gates/kernel", **r_z),
        Variable("gates/bias", ("bias",), **r_z),
        _joint("candidate/kernel", (2,), 3),
        Variable("candidate/bias", ("bias",), (2,), 3),
    ]


I_C_F_O = {"blocks": (0, 2, 1, 3), "of": 4}


def _lstm(cell: LSTMCell) -> list[Variable]:
    table = [_joint("kernel", **I_C_F_O), Variable("bias", ("bias",), **I_C_F_O)]
    if cell.use_peepholes:
        table += [Variable(f"w_{gate}_diag", (f"peephole_{gate}",)) for gate in "ifo"]
    if cell.num_proj:
        table.append(Variable("projection/kernel", ("projection_kernel",)))
    return table


LAYOUTS: dict[type, Callable[[Any], list[Variable]]] = {
    BasicRNNCell: _basic_rnn,
    GRUCell: _gru,
    LSTMCell: _lstm,
}


def _swapped(cell: Any, states: Any) -> list[Any]:
    h, c = states
    return [c, h]


STATE_ORDERS: dict[type, Callable[[Any, Any], list[Any]]] = {LSTMCell: _swapped}


# ------------------------------------------------------------------ finding, putting and taking
Place = tuple[str, str, Variable]  # full name in TF 1.15, path of the owning cell in ours, what it is


def _read(variables: Mapping[str, Any] | str, scope: str | None, ignore: Sequence[str]) -> dict[str, Any]:
    if not isinstance(variables, Mapping):
        reader = tf.train.load_checkpoint(variables)
        names = [n for n in reader.get_variable_to_shape_map() if _wanted(n, scope, ignore)]
        return {n: reader.get_tensor(n) for n in names}
    return {
        n.removesuffix(":0"): v for n, v in variables.items() if _wanted(n.removesuffix(":0"), scope, ignore)
    }


def _wanted(name: str, scope: str | None, ignore: Sequence[str]) -> bool:
    inside = scope is None or name.startswith(scope.rstrip("/") + "/")
    return inside and not any(fnmatch(name, pattern) for pattern in ignore)


def _places(cell: Any, names: Iterable[str], path: str = "") -> list[Place]:
    layout = LAYOUTS.get(type(cell))
    if layout is None:
        known = ", ".join(sorted(kind.__name__ for kind in LAYOUTS))
        raise ValueError(f"no layout of TF 1.15 is known for {type(cell).__name__}; known: {known}.")
    table = layout(cell)
    return [(f"{_scope(cell, table, names)}{v.name}", path, v) for v in table]


def _scope(cell: Any, table: list[Variable], names: Iterable[str]) -> str:
    """The one prefix under which all variables of the table are; else the error says which are not."""
    names = list(names)
    prefixes = {n[: -len(v.name)] for v in table for n in names if n == v.name or n.endswith("/" + v.name)}
    missing = {p: [p + v.name for v in table if p + v.name not in names] for p in prefixes}
    whole = sorted(p for p, absent in missing.items() if not absent)
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise ValueError(
            f"{type(cell).__name__} could be any of {', '.join(whole)}: pass scope= to choose one."
        )
    nearest = min(missing.values(), key=len, default=[v.name for v in table])
    raise ValueError(
        f"{type(cell).__name__} misses TF 1.15's {', '.join(nearest)}; there are {', '.join(sorted(names)) or 'none'}."
    )


def _variables(cell: Any) -> dict[str, Any]:
    if not cell.built:
        raise ValueError(f"{type(cell).__name__} has no weights yet: call build((None, input_size)) first.")
    named = [name for v in LAYOUTS[type(cell)](cell) for name in v.ours] if type(cell) in LAYOUTS else []
    return {name: getattr(cell, name) for name in dict.fromkeys(named)}


def _ours(cell: Any) -> dict[str, np.ndarray]:
    return {key: np.asarray(v) for key, v in _variables(cell).items()}


def _blocks(owner: str, variable: Variable, ours: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The parts of ours that make up theirs: a list of rows of blocks, as views."""
    arrays = [ours[owner + name] for name in variable.ours]
    return [[np.split(a, variable.of, axis=-1)[b] for b in variable.blocks] for a in arrays]


def _take(owner: str, variable: Variable, ours: Mapping[str, np.ndarray]) -> np.ndarray:
    rows = [np.concatenate(blocks, -1) for blocks in _blocks(owner, variable, ours)]
    joint = np.concatenate(rows, 0)
    return joint if variable.shape is None else joint.reshape(variable.shape)


def _put(name: str, value: np.ndarray, owner: str, variable: Variable, ours: dict[str, np.ndarray]) -> None:
    expected = _take(owner, variable, ours).shape
    if value.shape != expected:
        raise ValueError(f"TF 1.15's {name} has shape {value.shape}, but the cell needs {expected}.")
    row = 0
    flat = value.reshape(
        _take(owner, Variable(variable.name, variable.ours, variable.blocks, variable.of), ours).shape
    )
    for blocks in _blocks(owner, variable, ours):
        height, column = blocks[0].shape[0] if flat.ndim > 1 else len(flat), 0
        for block in blocks:
            width = block.shape[-1]
            block[...] = (
                flat[..., column : column + width]
                if flat.ndim == 1
                else flat[row : row + height, column : column + width]
            )
            column += width
        row += height
