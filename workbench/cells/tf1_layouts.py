"""What each cell is in TF 1.15: its variables' names, gate orders and states, as a table.

TF 1.15 keeps one joint kernel [D + H, gates * H] where we have `kernel` above `recurrent_kernel`, orders an
LSTM's gates i, c, f, o where we (as Keras) have i, f, c, o, and an LSTM's states (c, h) where we have [h, c].
Keras'
own cells are in the table too. `tf1_names.py` has what other releases called things; `tf1_weights.py` reads the
table,
in both directions; nothing else knows TF 1.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
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
    `of` equal parts into which our columns fall. `shape` is TF 1.15's where it is not simply that. `rows`:
    theirs is
    the sum of these rows of ours (what is loaded goes to the first of them, zeros to the others). `more`: what
    theirs has added to ours, block by block.
    """

    name: str
    ours: tuple[str, ...]
    blocks: tuple[int, ...] = (0,)
    of: int = 1
    shape: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None
    more: tuple[float, ...] | None = None


class Child(NamedTuple):
    """A cell inside a wrapper: its path in ours, its scope in TF 1.15 ("" for none), its place in the states."""

    cell: Any
    path: str
    scope: str = ""
    state: int | None = None


@dataclass(frozen=True)
class Layout:
    """What a cell is in TF 1.15: its variables, the cells inside, and its own states from ours.

    `classes`: TF 1's classes with these weights; a scope that is named after another is not this cell's.
    `by_class`: the variables of one whose weights mean something else. `note`: what to say where variables are
    missing.
    """

    variables: Sequence[Variable] = ()
    children: Sequence[Child] = ()
    states: Callable[[Any], list[Any]] = tf.nest.flatten
    classes: Sequence[str] = ()
    by_class: Mapping[str, Sequence[Variable]] = field(default_factory=dict)
    note: str = ""


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
CUDNN_LSTM = "CudnnCompatibleLSTMCell"
LSTM_CLASSES = ("LSTMCell", "BasicLSTMCell", "LSTMBlockCell", "LSTMBlockFusedCell", CUDNN_LSTM)


def _c_h(states: Any) -> list[Any]:
    h, c = states
    return [c, h]


def _joint(cell: Any) -> list[Variable]:
    return [Variable("kernel", KERNELS), Variable("bias", ("bias",))]


def _basic_rnn(cell: Any) -> Layout:
    return Layout(_joint(cell), classes=["BasicRNNCell"])


def _ugrnn(cell: Any) -> Layout:
    return Layout(_joint(cell), classes=["UGRNNCell"])


def _gru(cell: Any) -> Layout:
    """Of cuDNN's, whose reset comes after the product, TF 1.15 keeps the sum of the two biases of a gate."""
    r_z, n = ((1, 0), 3), ((2,), 3)
    if cell.reset_after:
        return Layout(
            [
                Variable("gates/kernel", KERNELS, *r_z),
                Variable("gates/bias", ("bias",), *r_z, rows=(0, 1)),
                Variable("candidate/input_projection/kernel", ("kernel",), *n),
                Variable("candidate/input_projection/bias", ("bias",), *n, rows=(0,)),
                Variable("candidate/hidden_projection/kernel", ("recurrent_kernel",), *n),
                Variable("candidate/hidden_projection/bias", ("bias",), *n, rows=(1,)),
            ],
            classes=["CudnnCompatibleGRUCell"],
            note="reset_after=True has the weights of TF 1.15's CudnnCompatibleGRUCell; its GRUCell "
            "resets before the product: use reset_after=False for its weights.",
        )
    return Layout(
        [
            Variable("gates/kernel", KERNELS, *r_z),
            Variable("gates/bias", ("bias",), *r_z),
            Variable("candidate/kernel", KERNELS, *n),
            Variable("candidate/bias", ("bias",), *n),
        ],
        classes=["GRUCell", "GRUBlockCell", "GRUBlockCellV2"],
        note="for the weights of TF 1.15's CudnnCompatibleGRUCell (candidate/input_projection) use "
        "reset_after=True.",
    )


def _lstm_variables(cell: Any, more: float) -> list[Variable]:
    bias = Variable("bias", ("bias",), *I_C_F_O, more=(0, 0, more, 0))
    return [Variable("kernel", KERNELS, *I_C_F_O), bias]


def _lstm(cell: Any) -> Layout:
    """The cell adds its forget bias to `bias`, as TF 1.15's do; cuDNN's has none, so that its `bias` is the sum."""
    variables, without = _lstm_variables(cell, 0), _lstm_variables(cell, cell.forget_bias)
    if cell.use_peepholes:
        variables += [Variable(f"w_{gate}_diag", (f"peephole_{gate}",)) for gate in "ifo"]
    if cell.num_proj:
        variables.append(Variable("projection/kernel", ("projection_kernel",)))
    by_class = {CUDNN_LSTM: [*without, *variables[2:]]}
    return Layout(variables, states=_c_h, classes=LSTM_CLASSES, by_class=by_class)


def _coupled_lstm(cell: Any) -> Layout:
    c_f_o = ((1, 0, 2), 3)
    variables = [Variable("W_0", KERNELS, *c_f_o), Variable("B", ("bias",), *c_f_o)]
    if cell.use_peepholes:
        variables += [Variable(f"W_{gate.upper()}_diag", (f"peephole_{gate}",)) for gate in "fo"]
    if cell.num_proj:
        variables.append(Variable("W_P_0", ("projection_kernel",)))
    return Layout(variables, states=_c_h, classes=["CoupledInputForgetGateLSTMCell"])


def _layer_norm_lstm(cell: Any) -> Layout:
    scopes = {"input": "i", "transform": "c", "forget": "f", "output": "o", "state": "state"}
    norms = [
        Variable(f"{scope}/{k}", (f"{k}_{ours}",))
        for scope, ours in scopes.items()
        for k in ("gamma", "beta")
    ]
    variables = [Variable("kernel", KERNELS, *I_C_F_O), *norms]
    return Layout(variables, states=_c_h, classes=["LayerNormBasicLSTMCell"])


def _nas(cell: Any) -> Layout:
    variables = [Variable(name, (name,)) for name in KERNELS]
    if cell.use_bias:
        variables.append(Variable("bias", ("bias",)))
    if cell.num_proj:
        variables.append(Variable("projection_weights", ("projection_kernel",)))
    return Layout(variables, states=_c_h, classes=["NASCell"])


def _blocks_c_h(states: Any, units: int) -> list[Any]:
    h, c = ([*tf.split(s, s.shape[-1] // units, axis=-1)] for s in states)
    return [part for pair in zip(c, h, strict=True) for part in pair]


def _time_freq_lstm(cell: Any) -> Layout:
    variables = [Variable("W_0", KERNELS, *I_C_F_O), Variable("B", ("bias",), *I_C_F_O)]
    if cell.use_peepholes:
        variables += [Variable(f"W_{gate.upper()}_diag", (f"peephole_{gate}",)) for gate in "ifo"]
    return Layout(
        variables,
        states=lambda states: [tf.concat(_blocks_c_h(states, cell.units), -1)],
        classes=["TimeFreqLSTMCell"],
    )


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
    both_ways = "Bidirectional" if isinstance(cell, BidirectionalGridLSTMCell) else ""
    return Layout(
        variables,
        states=lambda states: _blocks_c_h(states, cell.units),
        classes=[f"{both_ways}GridLSTMCell"],
    )


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
        classes=["AttentionCellWrapper"],
    )


def _checked(cell: Any) -> Any:
    """One of Keras' cells, if it computes what one of TF 1.15's does."""
    for option, value in (("recurrent_activation", keras.activations.sigmoid), ("use_bias", True)):
        found = getattr(cell, option, value)
        if found != value:
            shown = getattr(found, "__name__", found)
            raise ValueError(
                f"TF 1.15 has no cell with {option}={shown!r}, as {type(cell).__name__} {cell.name} has."
            )
    return cell


def _keras_lstm(cell: Any, forget_bias: float) -> Layout:
    """Keras' LSTM has the forget bias in `bias`, where TF 1.15 adds it; cuDNN's has none."""
    plain, cudnn = (_lstm_variables(_checked(cell), more) for more in (-forget_bias, 0))
    return Layout(plain, states=_c_h, classes=LSTM_CLASSES, by_class={CUDNN_LSTM: cudnn})


LAYOUTS: dict[type, Callable[[Any], Layout]] = {
    BasicRNNCell: _basic_rnn,
    GRUCell: _gru,
    LSTMCell: _lstm,
    CoupledLSTMCell: _coupled_lstm,
    LayerNormLSTMCell: _layer_norm_lstm,
    NASCell: _nas,
    UGRNNCell: _ugrnn,
    TimeFreqLSTMCell: _time_freq_lstm,
    GridLSTMCell: _grid_lstm,
    BidirectionalGridLSTMCell: _grid_lstm,
    MultiRNNCell: _multi,
    DropoutWrapper: _wrapped,
    ResidualWrapper: _wrapped,
    AttentionWrapper: _attention,
    keras.layers.GRUCell: lambda cell: _gru(_checked(cell)),
    keras.layers.SimpleRNNCell: lambda cell: _basic_rnn(_checked(cell)),
    keras.layers.StackedRNNCells: _multi,
    keras.layers.RNN: _wrapped,
}


def layout_of(cell: Any, forget_bias: float | None = None) -> Layout:
    """A cell's layout, or that of the nearest of its parents that has one; of a layer with a `cell`, that cell's.

    `forget_bias` is what TF 1.15's LSTM had, for Keras' LSTM, which has no option of that name; TF 1.15's
    default is 1.
    """
    if isinstance(cell, keras.layers.LSTMCell):
        return _keras_lstm(cell, 1.0 if forget_bias is None else forget_bias)
    for kind in type(cell).__mro__:
        if kind in LAYOUTS:
            return LAYOUTS[kind](cell)
    if isinstance(cell, keras.layers.Layer) and hasattr(cell, "cell"):
        return _wrapped(cell)
    known = ", ".join(sorted(kind.__name__ for kind in LAYOUTS if kind.__module__.startswith("workbench.")))
    raise ValueError(
        f"TF 1.15's names are not known for {type(cell).__name__}, only for {known}, and Keras' LSTM, GRU and "
        "SimpleRNN (of a Bidirectional give forward_layer and backward_layer, each with its scope)."
    )
