"""Keras' recurrent layers as packed ones and back, with their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from workbench.cells import keras_layer
from workbench.cells.base import Cell, freeze_inside, with_those_inside
from workbench.cells.keras_layer import copied
from workbench.cells.wrappers import MultiRNNCell
from workbench.rnn.compared import step_is_of_each_row
from workbench.rnn.packed import BESIDE_ANOTHER

_LAYERS = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN, keras.layers.RNN)
_LAYER_OF: dict[type, type] = {
    keras.layers.LSTMCell: keras.layers.LSTM,
    keras.layers.GRUCell: keras.layers.GRU,
    keras.layers.SimpleRNNCell: keras.layers.SimpleRNN,
}


def from_keras(make: Callable[..., Any], layer: Any, options: dict[str, Any]) -> Any:
    """`make(cell, **options)` with the cell and the options of a built layer of Keras'; `options` go first."""
    if isinstance(layer, keras.layers.Bidirectional):
        return _both_ways(make, layer, options)
    _check(layer)
    names = ("return_sequences", "return_state", "stateful", "name", "trainable", "activity_regularizer")
    own = {name: getattr(layer, name) for name in names}
    if layer.go_backwards:
        own |= {"go_backwards": True, "output_order": "steps"}
    own |= options
    if layer.zero_output_for_mask and not own["return_sequences"]:
        raise ValueError(
            f"layer {layer.name} has zero_output_for_mask=True without return_sequences: it gives zeros for every "
            "example that ends before the batch does, PackedRNN the output of its last valid step. Where that is "
            "meant, set layer.zero_output_for_mask = False first."
        )
    tried = own.get("kernel") != "masked" and _is_foreign(layer.cell)
    if tried and not step_is_of_each_row(layer, ways=(False,)):
        raise ValueError(
            f"a step of {type(layer.cell).__name__} gives an example other numbers beside others than alone, and a "
            'packed step computes only those that still run: from_keras(layer, kernel="masked") computes all.'
        )
    return make(_same_cell(layer.cell), **own)


def _is_foreign(cell: Any) -> bool:
    """Whether a person's own class stands in a cell: what it looks at is not known."""
    return any(
        type(one) not in (*_LAYER_OF, keras.layers.StackedRNNCells)
        and not type(one).__module__.startswith("workbench.")
        for one in with_those_inside(cell)
    )


def _check(layer: Any) -> None:
    """Refuses what is no recurrent layer, computes in a way of its own, keeps its states, or has no weights yet."""
    kind = type(layer).__name__
    if isinstance(layer, keras.layers.TimeDistributed):
        raise ValueError(
            f"from_keras takes no {kind}: give it the layer within, "
            "TimeDistributed(PackedRNN.from_keras(layer.layer))."
        )
    if not isinstance(layer, keras.layers.RNN):
        raise ValueError(f"from_keras takes LSTM, GRU, SimpleRNN, RNN and Bidirectional, not {kind}.")
    for method in ("call", "inner_loop", "__call__"):
        if getattr(type(layer), method) not in [getattr(known, method) for known in _LAYERS]:
            raise ValueError(
                f"from_keras cannot know what {kind}.{method} does beside Keras' own: where its cell does all, "
                "PackedRNN(layer.cell) runs that."
            )
    if not layer.built:
        raise ValueError(
            f"layer {layer.name} has no weights yet: call it once, or layer.build((None, None, D))."
        )


def _same_cell(theirs: Any) -> Any:
    """A cell of the same class, options (how its weights begin among them) and weights."""
    if type(theirs) is keras.layers.StackedRNNCells:
        return _frozen_alike(_stacked(theirs, _same_cell), theirs)
    if not isinstance(theirs, keras.layers.Layer):
        raise ValueError(
            f"{type(theirs).__name__} is no layer of Keras', so no copy can be made of it: PackedRNN(layer.cell) "
            "runs the cell itself."
        )
    config = theirs.get_config()
    cell = type(theirs).from_config(config | _objects(theirs, config))
    cell.build_from_config(theirs.get_build_config())
    _drawing_alike(cell, theirs)
    cell.set_weights(theirs.get_weights())
    for ours, its in zip(cell.weights, theirs.weights, strict=True):
        ours.trainable = its.trainable
    return cell


def _drawing_alike(cell: Any, theirs: Any) -> None:
    """Give a copy the masks that dropout draws, one or one a gate, which no config tells."""
    for name in ("implementation", "dropout_mask_count"):
        if hasattr(theirs, name):
            setattr(cell, name, getattr(theirs, name))


def _objects(theirs: Any, config: dict[str, Any]) -> dict[str, Any]:
    """What a cell of Keras' was given as a function or an object: one that nobody registered has no config.

    A layer is copied, with its weights.
    """
    kinds = ("activation", "initializer", "regularizer", "constraint")
    names = [name for name in config if name.endswith(kinds)] if type(theirs) in _LAYER_OF else []
    return {name: copied(getattr(theirs, name)) for name in names}


def _both_ways(make: Callable[..., Any], layer: Any, options: dict[str, Any]) -> Any:
    """Keras' Bidirectional around two packed layers."""
    if not layer.built:
        raise ValueError(
            f"layer {layer.name} has no weights yet: call it once, or layer.build((None, None, D))."
        )
    names = ("name", "trainable", "activity_regularizer")  # of the layer around both
    own = {name: options.get(name, getattr(layer, name)) for name in names} | {"dtype": layer.dtype_policy}
    options = BESIDE_ANOTHER | {name: value for name, value in options.items() if name not in names}
    forward, backward = (
        from_keras(make, way, options) for way in (layer.forward_layer, layer.backward_layer)
    )
    both = keras.layers.Bidirectional(forward, merge_mode=layer.merge_mode, backward_layer=backward, **own)
    built = layer.get_build_config()
    both.build(built["input_shape"] if "input_shape" in built else built["shapes_dict"]["sequences_shape"])
    both.forward_layer.cell.set_weights(forward.cell.get_weights())  # Keras made that layer anew
    _frozen_alike(both.forward_layer.cell, forward.cell)
    freeze_inside(both)
    return both


def to_keras(packed: Any, options: dict[str, Any]) -> Any:
    """A layer of Keras' own with the cell, the options and copies of the weights of a built packed layer."""
    cell = packed.cell
    if not getattr(cell, "built", True):
        raise ValueError(
            f"layer {packed.name} has no weights yet: call it once, or layer.build((None, None, D))."
        )
    if packed.options["go_backwards"] and packed.return_sequences and packed.output_order == "inputs":
        raise ValueError(
            f"layer {packed.name} goes backwards, and its outputs stand in the order of the inputs, but Keras' "
            "layers put them out as they are computed, from the end of the padded inputs: PackedRNN(layer.cell, "
            'go_backwards=True, return_sequences=True, output_order="steps").to_keras() is one that does.'
        )
    names = ("return_sequences", "return_state", "go_backwards", "name", "trainable", "activity_regularizer")
    options = {**{name: getattr(packed, name) for name in names}, **options}
    options.setdefault("zero_output_for_mask", options["return_sequences"])  # as keras_layer's
    stateful = options.pop("stateful", packed.stateful)
    if isinstance(cell, MultiRNNCell) and any(type(one) in _LAYER_OF for one in cell.cells):
        stack = _stacked(cell, _cell_of_keras)
        layer = _frozen_alike(keras.layers.RNN(stack, **{"dtype": packed.dtype_policy, **options}), cell)
    elif isinstance(cell, Cell):
        layer = _frozen_alike(keras_layer(cell, **options), cell)
    elif type(cell) not in _LAYER_OF:
        layer = keras.layers.RNN(_same_cell(cell), **{"dtype": packed.dtype_policy, **options})
    else:
        own = {name: value for name, value in cell.get_config().items() if name not in ("name", "trainable")}
        own |= _objects(cell, own)
        layer = _filled(_LAYER_OF[type(cell)](**{**own, **options}), cell, cell.get_weights())
    return _keeping_states(layer, packed) if stateful else layer


def _cell_of_keras(cell: Any) -> Any:
    """A cell of Keras' own with the weights of one of ours; a copy of any other."""
    return keras_layer(cell, dtype=cell.dtype_policy).cell if isinstance(cell, Cell) else _same_cell(cell)


def _stacked(cell: Any, copy: Callable[[Any], Any]) -> Any:
    """Keras' stack of copies of the cells of a stack, ours or Keras'."""
    copies: dict[int, Any] = {}  # a cell that is shared stays one
    for one in cell.cells:
        if id(one) not in copies:
            copies[id(one)] = copy(one)
    stack = keras.layers.StackedRNNCells([copies[id(one)] for one in cell.cells], dtype=cell.dtype_policy)
    stack.build(cell.get_build_config()["input_shape"])
    return stack


def _keeping_states(layer: Any, packed: Any) -> Any:
    """The layer made stateful, for the batch that the packed one has states for, which begin from zeros."""
    if packed.states is None:
        raise ValueError(
            f"layer {packed.name} has no states yet: call it once, or layer.build((B, None, D)), or take "
            "to_keras(stateful=False)."
        )
    objects = _objects(layer.cell, layer.get_config())
    if objects:  # of a layer's own class: its penalty is not its cell's
        objects["activity_regularizer"] = layer.activity_regularizer
    made = type(layer).from_config({**layer.get_config(), **objects, "stateful": True})
    made.build(packed.get_build_config()["input_shape"])
    made.cell.set_weights(layer.cell.get_weights())
    _drawing_alike(made.cell, layer.cell)
    return _frozen_alike(made, packed.cell)


def _filled(layer: Any, cell: Any, weights: Any) -> Any:
    """The layer, built for the cell's inputs, with these weights, and what was frozen frozen."""
    layer.build((None, None, cell.kernel.shape[0]))
    layer.set_weights(weights)
    _drawing_alike(layer.cell, cell)
    return _frozen_alike(layer, cell)


def _frozen_alike(layer: Any, cell: Any) -> Any:
    """The layer, or a cell, with what is frozen of the cell frozen."""
    for its, ours in zip(layer.weights, cell.weights, strict=True):
        its.trainable = ours.trainable
    return layer
