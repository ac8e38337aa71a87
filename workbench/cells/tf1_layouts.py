"""What each cell is in TF 1.15: its variables' names, gate orders and states, as a table.

TF 1.15 keeps one joint kernel [D + H, gates * H] where we have `kernel` above `recurrent_kernel`, orders an
LSTM's gates i, c, f, o where we (as Keras) have i, f, c, o, and an LSTM's states (c, h) where we have [h, c].
`tf1_weights.py` reads the table, in both directions; nothing else knows TF 1.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """What a cell is in TF 1.15: its variables, the cells inside, and its own states from ours.

    `renamed`: what another of TF 1.15's classes, with the same weights, calls the variables.
    """

    variables: Sequence[Variable] = ()
    children: Sequence[Child] = ()
    states: Callable[[Any], list[Any]] = tf.nest.flatten
    renamed: Sequence[Mapping[str, str]] = ()

    def spellings(self) -> list[Sequence[Variable]]:
        """The variables under each of the names that they may have, the usual ones first."""
        others = ([v._replace(name=names[v.name]) for v in self.variables] for names in self.renamed)
        return [self.variables, *others]


def tf1_states(cell: Any, states: Any) -> list[Any]:
    """A cell's states, flat, in the order in which TF 1.15 flattens them."""
    layout = layout_of(cell)
    if not layout.children:
        return layout.states(states)
    inner = {child.state: child.cell for child in layout.children}
    if None in inner:  # the wrapper adds no state
        return tf1_states(inner[None], states)
    parts = (tf1_states(inner[i], s) if i in inner else tf.nest.flatten(s) for i, s in enumerate(states))
    return [state for part in parts for state in part]


I_C_F_O = ((0, 2, 1, 3), 4)
KERNELS = ("kernel", "recurrent_kernel")
GRU_BLOCK_V1 = {  # contrib's GRUBlockCell; GRUBlockCellV2 has GRUCell's names
    "gates/kernel": "w_ru",
    "gates/bias": "b_ru",
    "candidate/kernel": "w_c",
    "candidate/bias": "b_c",
}


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
        ],
        renamed=[GRU_BLOCK_V1],
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
    for part, *_ in cell.parts():
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
    try:
        order = tf1_states(cell.cell, tf.nest.map_structure(lambda _: next(numbers), sizes))
    except AttributeError as error:  # a name cannot be split, as the states of such a cell would have to be
        raise ValueError(
            f"TF 1.15's attention over {type(cell.cell).__name__} is not known: its states are cut otherwise."
        ) from error
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


def layout_of(cell: Any) -> Layout:
    """A cell's layout, or that of the nearest of its parents that has one."""
    for kind in type(cell).__mro__:
        if kind in LAYOUTS:
            return LAYOUTS[kind](cell)
    known = ", ".join(sorted(kind.__name__ for kind in LAYOUTS))
    raise ValueError(f"TF 1.15's names are not known for {type(cell).__name__}, only for {known}.")
