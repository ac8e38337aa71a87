"""A cell's weights in a layer of Keras' own, for a program that has no workbench."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from workbench.cells.base import Cell, KerasForm, keras_form_of
from workbench.cells.wrappers import MultiRNNCell


def keras_layer(cell: Any, **options: Any) -> keras.layers.Layer:
    """A built `keras.layers.LSTM`, `GRU` or `SimpleRNN` with a built cell's weights, which gives the same numbers.

        load_tf1_weights(cell, "model.ckpt", scope="rnn")
        layer = keras_layer(cell, return_sequences=True)

    Keras' LSTM has no forget bias beside its bias, so the cell's is added to it. Outputs past an example's end are
    zero, as our runners', unless `zero_output_for_mask=False` is among the `options`, which are the layer's own;
    without `return_sequences` the output is that of the last valid step. The layer has the cell's dtype and
    `trainable`. A MultiRNNCell becomes a `keras.layers.RNN` of Keras' cells.

    The weights are copies: what is trained afterwards does not reach the other. Raises ValueError for a cell that
    is not built, or that Keras does not have.
    """
    if not isinstance(cell, Cell):
        raise ValueError(
            f"{type(cell).__name__} is no cell of workbench.cells: keras.layers.RNN(cell) runs it as it is."
        )
    # Without return_sequences Keras would put out the zero of the last step, not the last valid step's output.
    zero = bool(options.get("return_sequences", False))
    own = {"trainable": cell.trainable, "dtype": cell.dtype_policy, "zero_output_for_mask": zero}
    options = own | options
    if isinstance(cell, MultiRNNCell):
        made = {
            id(one): keras_layer(one, dtype=options["dtype"]).cell for one in cell.cells
        }  # a cell that is shared stays one
        stacked = keras.layers.StackedRNNCells([made[id(one)] for one in cell.cells], dtype=options["dtype"])
        return keras.layers.RNN(stacked, **options)
    form = _form(cell)
    layer = form.layer(cell.units, **{name: copied(value) for name, value in form.options.items()}, **options)
    layer.build((None, None, form.weights["kernel"].shape[0]))
    for name, weight in form.weights.items():
        getattr(layer.cell, name).assign(np.asarray(weight))
    return layer


def copied(activation: Any) -> Any:
    """A layer that is an activation (`PReLU()`) anew, with its weights; any other as it is."""
    if not isinstance(activation, keras.layers.Layer):
        return activation
    try:
        copy = type(activation).from_config(activation.get_config())
    except (TypeError, NotImplementedError) as error:
        kind = type(activation).__name__
        raise ValueError(f"{kind} as an activation cannot be copied: give it get_config.") from error
    if activation.built and activation.weights:
        copy.build_from_config(activation.get_build_config())
        copy.set_weights(activation.get_weights())
    return copy


def _form(cell: Cell) -> KerasForm:
    kind = type(cell).__name__
    if not cell.built:
        raise ValueError(f"{kind} has no weights yet: call build((None, input_size)) first.")
    form = keras_form_of(cell, cell.variable_dtype, by_numbers=True)
    if form is None:
        set_here = [f"{name}={getattr(cell, name)!r}" for name in cell.beyond_keras if getattr(cell, name)]
        raise ValueError(
            f"Keras has no layer that computes what {kind} {cell.name} does"
            + (f" with {', '.join(set_here)}" if set_here else "")
            + ": it has the LSTM without peepholes, projection and clipping, the GRU and the basic RNN, unwrapped. "
            "keras.layers.RNN(cell) runs the cell as it is."
        )
    return form
