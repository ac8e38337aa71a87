"""Weights and states of TF 1.15's cells into ours and back: the only place that knows its names and orders.

TF 1.15 keeps one joint kernel [D + H, gates * H] where we have `kernel` above `recurrent_kernel`, orders an
LSTM's gates i, c, f, o where we (as Keras) have i, f, c, o, and an LSTM's states (c, h) where we have [h, c].
LAYOUTS says so cell by cell; one engine below reads it, in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from workbench.cells.base import state_sizes
from workbench.cells.basic_rnn import BasicRNNCell
from workbench.cells.coupled_lstm import CoupledLSTMCell
from workbench.cells.grid_lstm import BidirectionalGridLSTMCell, GridLSTMCell
from workbench.cells.gru import GRUCell
from workbench.cells.layer_norm_lstm import LayerNormLSTMCell
from workbench.cells.lstm import LSTMCell
from workbench.cells.nas import NASCell
from workbench.cells.time_freq_lstm import TimeFreqLSTMCell
from workbench.cells.ugrnn import UGRNNCell
from workbench.cells.wrappers import AttentionWrapper, DropoutWrapper, MultiRNNCell, ResidualWrapper


class Variable(NamedTuple):
    """One variable of TF 1.15, made of blocks of ours.

    Its rows are those of `ours`, one below the other; its columns the `blocks` of theirs, each being one of the
    `of` equal parts into which our columns fall. `shape` is TF 1.15's where it is not simply that.
    """

    name: str
    ours: tuple[str, ...]
    blocks: tuple[int, ...] = (0,)
    of: int = 1
    shape: tuple[int, ...] | None = None


class Child(NamedTuple):
    """A cell inside a wrapper: its path in ours, its scope in TF 1.15 ("" for none), its place in the states."""

    cell: Any
    path: str
    scope: str = ""
    state: int | None = None


@dataclass(frozen=True)
class Layout:
    """What a cell is in TF 1.15: its variables, the cells inside, and its own states from ours."""

    variables: Sequence[Variable] = ()
    children: Sequence[Child] = ()
    states: Callable[[Any], list[Any]] = tf.nest.flatten


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


def tf1_states(cell: Any, states: Any) -> list[Any]:
    """A cell's states, flat, in the order in which TF 1.15 flattens them."""
    layout = _layout(cell)
    if not layout.children:
        return layout.states(states)
    inner = {child.state: child.cell for child in layout.children}
    if None in inner:  # the wrapper adds no state
        return tf1_states(inner[None], states)
    parts = (tf1_states(inner[i], s) if i in inner else tf.nest.flatten(s) for i, s in enumerate(states))
    return [state for part in parts for state in part]


def weight_paths(cell: Any) -> dict[str, Any]:
    """A built cell's variables by path: "kernel", or "cells/0/kernel" inside a wrapper."""
    if not cell.built:
        raise ValueError(f"{type(cell).__name__} has no weights yet: call build((None, input_size)) first.")
    layout = _layout(cell)
    own = {name: getattr(cell, name) for variable in layout.variables for name in variable.ours}
    inner = {child.path + k: v for child in layout.children for k, v in weight_paths(child.cell).items()}
    return {**inner, **own}


# ------------------------------------------------------------ what each cell is in TF 1.15
I_C_F_O = ((0, 2, 1, 3), 4)
KERNELS = ("kernel", "recurrent_kernel")


def _c_h(states: Any) -> list[Any]:
    h, c = states
    return [c, h]


def _basic_rnn(cell: Any) -> Layout:
    return Layout([Variable("kernel", KERNELS), Variable("bias", ("bias",))])


def _gru(cell: Any) -> Layout:
    if cell.reset_after:
        raise ValueError(
            "TF 1.15's GRUCell resets before the product: use reset_after=False for its weights."
        )
    r_z, n = ((1, 0), 3), ((2,), 3)
    return Layout(
        [
            Variable("gates/kernel", KERNELS, *r_z),
            Variable("gates/bias", ("bias",), *r_z),
            Variable("candidate/kernel", KERNELS, *n),
            Variable("candidate/bias", ("bias",), *n),
        ]
    )


def _lstm(cell: Any) -> Layout:
    variables = [Variable("kernel", KERNELS, *I_C_F_O), Variable("bias", ("bias",), *I_C_F_O)]
    if cell.use_peepholes:
        variables += [Variable(f"w_{gate}_diag", (f"peephole_{gate}",)) for gate in "ifo"]
    if cell.num_proj:
        variables.append(Variable("projection/kernel", ("projection_kernel",)))
    return Layout(variables, states=_c_h)


def _coupled_lstm(cell: Any) -> Layout:
    c_f_o = ((1, 0, 2), 3)
    variables = [Variable("W_0", KERNELS, *c_f_o), Variable("B", ("bias",), *c_f_o)]
    if cell.use_peepholes:
        variables += [Variable(f"W_{gate.upper()}_diag", (f"peephole_{gate}",)) for gate in "fo"]
    if cell.num_proj:
        variables.append(Variable("W_P_0", ("projection_kernel",)))
    return Layout(variables, states=_c_h)


def _layer_norm_lstm(cell: Any) -> Layout:
    scopes = {"input": "i", "transform": "c", "forget": "f", "output": "o", "state": "state"}
    norms = [
        Variable(f"{scope}/{k}", (f"{k}_{ours}",))
        for scope, ours in scopes.items()
        for k in ("gamma", "beta")
    ]
    return Layout([Variable("kernel", KERNELS, *I_C_F_O), *norms], states=_c_h)


def _nas(cell: Any) -> Layout:
    variables = [Variable(name, (name,)) for name in KERNELS]
    if cell.use_bias:
        variables.append(Variable("bias", ("bias",)))
    if cell.num_proj:
        variables.append(Variable("projection_weights", ("projection_kernel",)))
    return Layout(variables, states=_c_h)


def _blocks_c_h(states: Any, units: int) -> list[Any]:
    h, c = ([*tf.split(s, s.shape[-1] // units, axis=-1)] for s in states)
    return [part for pair in zip(c, h, strict=True) for part in pair]


def _time_freq_lstm(cell: Any) -> Layout:
    variables = [Variable("W_0", KERNELS, *I_C_F_O), Variable("B", ("bias",), *I_C_F_O)]
    if cell.use_peepholes:
        variables += [Variable(f"W_{gate.upper()}_diag", (f"peephole_{gate}",)) for gate in "ifo"]
    return Layout(variables, states=lambda states: [tf.concat(_blocks_c_h(states, cell.units), -1)])


def _grid_lstm(cell: Any) -> Layout:
    order = ((0, 1, 2), 3) if cell.couple_gates else I_C_F_O
    variables = []
    for part, _ in cell.parts():
        way, _, n = part.rpartition("_")
        scope = f"{way}/" if way else ""
        for lstm in cell.lstms:
            kernels = tuple(f"{lstm}_{name}_{part}" for name in KERNELS)
            variables.append(Variable(f"{scope}W_{lstm[0]}_{n}_0", kernels, *order))
            variables.append(Variable(f"{scope}B_{lstm[0]}_{n}", (f"{lstm}_bias_{part}",), *order))
        for name in cell.peepholes(part) if cell.use_peepholes else []:
            lstm, _, gate, memory = name.removesuffix(f"_{part}").split("_")
            variables.append(Variable(f"{scope}W_{gate.upper()}_diag_{lstm}{memory[0]}_{n}", (name,)))
    return Layout(variables, states=lambda states: _blocks_c_h(states, cell.units))


def _multi(cell: Any) -> Layout:
    """A shared cell's variables are in the scope of the first layer that has it."""
    first = [next(j for j, other in enumerate(cell.cells) if other is one) for one in cell.cells]
    return Layout(children=[Child(c, f"cells/{i}/", f"cell_{first[i]}", i) for i, c in enumerate(cell.cells)])


def _wrapped(cell: Any) -> Layout:
    return Layout(children=[Child(cell.cell, "cell/")])


def _attention(cell: Any) -> Layout:
    numbers = iter(cell.query_names)
    sizes = state_sizes(cell.cell)
    order = tf1_states(cell.cell, tf.nest.map_structure(lambda _: next(numbers), sizes))
    rows, columns = cell.past_kernel.shape
    return Layout(
        [
            Variable("kernel", ("input_kernel",)),
            Variable("bias", ("input_bias",)),
            Variable("attention/attn_w", ("past_kernel",), shape=(1, 1, rows, columns)),
            Variable("attention/attn_v", ("score_vector",)),
            Variable("attention/kernel", tuple(order)),
            Variable("attention/bias", ("query_bias",)),
            Variable("attn_output_projection/kernel", ("output_kernel",)),
            Variable("attn_output_projection/bias", ("output_bias",)),
        ],
        [Child(cell.cell, "cell/", state=0)],
    )


LAYOUTS: dict[type, Callable[[Any], Layout]] = {
    BasicRNNCell: _basic_rnn,
    GRUCell: _gru,
    LSTMCell: _lstm,
    CoupledLSTMCell: _coupled_lstm,
    LayerNormLSTMCell: _layer_norm_lstm,
    NASCell: _nas,
    UGRNNCell: _basic_rnn,
    TimeFreqLSTMCell: _time_freq_lstm,
    GridLSTMCell: _grid_lstm,
    BidirectionalGridLSTMCell: _grid_lstm,
    MultiRNNCell: _multi,
    DropoutWrapper: _wrapped,
    ResidualWrapper: _wrapped,
    AttentionWrapper: _attention,
}


def _layout(cell: Any) -> Layout:
    for kind in type(cell).__mro__:
        if kind in LAYOUTS:
            return LAYOUTS[kind](cell)
    known = ", ".join(sorted(kind.__name__ for kind in LAYOUTS))
    raise ValueError(f"TF 1.15's names are not known for {type(cell).__name__}, only for {known}.")


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
    layout, places = _layout(cell), []
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
