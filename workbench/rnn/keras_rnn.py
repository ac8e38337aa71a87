"""Keras' RNN layers as a runner: what a user of Keras gets with a mask."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import Cell, KerasForm, keras_form_of, output_size
from workbench.cells.wrappers import MultiRNNCell
from workbench.cells.xla import inside_jit
from workbench.masking import copy_state, sequence_mask, zero_past_end
from workbench.rnn.cudnn import check_size, deterministic, known_lengths, missing_for_cudnn
from workbench.rnn.keras_dropout import draw_masks, forget_masks
from workbench.rnn.packing.kernel import Choice, keep_choice
from workbench.rnn.packing.received import Received, receive
from workbench.rnn.step import swap_time


def keras_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
    use_cudnn: bool | None = None,
) -> tuple[Any, Any]:
    """Runs a cell by Keras' own layer over a batch with a mask.

        layer = keras.layers.LSTM(units, return_sequences=True, return_state=True, zero_output_for_mask=True)
        outputs, *states = layer(inputs, mask=sequence_mask(sequence_length), initial_state=initial_state)

    A cell that Keras has a layer for (LSTM without options, GRU, basic RNN) runs by that layer, with the cell's
    weights in it; any other by `keras.layers.RNN(cell)`; a MultiRNNCell layer by layer. Keras computes every
    step of every example, also past the batch's longest (and a cell's first step once more, to see its shape).
    Arguments and results are `dynamic_rnn`'s, and so are the numbers; what ran is told by `kernels_of(cell)`.
    `use_cudnn`: true and false as Keras takes them; None lets Keras' layer run on cuDNN wherever it can, which
    needs a GPU, no outer jit_compile, and ops that need not be deterministic. There lengths that are known while
    tracing and all of T are no mask, as Keras then takes no longer way than without lengths.

    Raises ValueError for nested inputs and integer states, which Keras' layers do not take, for a cell that draws
    one dropout mask for all steps, and where `use_cudnn` cannot be.

    Source: Keras, https://keras.io/api/layers/recurrent_layers/.
    """
    if tf.nest.is_nested(inputs):
        raise ValueError("inputs are nested, but Keras' RNN layers take one tensor: use another runner.")
    got = receive(cell, inputs, sequence_length, initial_state, training, time_major, False)
    if not all(state.dtype.is_floating for state in tf.nest.flatten(got.states)):
        raise ValueError(
            f"{type(cell).__name__} has states that are no floating numbers, which Keras' RNN layers would make "
            "them: use another runner, or keep such states in the cell's compute dtype."
        )
    got = got._replace(
        inputs=got.inputs if sequence_length is None else zero_past_end(got.inputs, got.lengths)
    )
    full = known_lengths(sequence_length) == {got.first.shape[1]}
    outputs, states = _run(got, masked=sequence_length is not None, full=full, use_cudnn=use_cudnn)
    outputs, states = got.shaped(outputs, states)
    return (tf.nest.map_structure(swap_time, outputs) if time_major else outputs), states


def _run(got: Received, masked: bool, full: bool, use_cudnn: bool | None) -> tuple[Any, Any]:
    if isinstance(got.cell, MultiRNNCell):
        outputs, finals = got.inputs, []
        for cell, state in zip(got.cell.cells, got.states, strict=True):
            layer = got._replace(cell=cell, inputs=outputs, states=state)
            outputs, final = _run(layer, masked, full, use_cudnn)
            finals.append(final)
        return outputs, finals
    if isinstance(got.cell, Cell) and got.cell.draws_once(got.training):
        raise ValueError(
            f"{type(got.cell).__name__} draws one dropout mask for all steps of a run, but Keras' layer calls it "
            "step by step and cannot say where a run begins: use another runner."
        )
    form = keras_form_of(got.cell)
    on_cudnn = _takes_cudnn(got.cell, form, use_cudnn)
    layer = _keras_layer(got.cell, form, on_cudnn)
    name = f"keras.layers.{type(layer).__name__}"
    reason = "with the cell's weights in it" if form else f"around {type(got.cell).__name__}"
    keep_choice(got.cell, Choice(name, f"{reason}, {'on cuDNN' if on_cudnn else 'a loop of TensorFlow'}"))
    inputs, lengths = got.inputs, got.lengths
    if got.first.shape[1] == 0:
        return tf.zeros([got.batch, 0, output_size(got.cell)], inputs.dtype), got.states
    if masked:  # Keras takes no batch without a step
        inputs = tf.pad(inputs, [[0, 0], [0, tf.maximum(1 - tf.shape(inputs)[1], 0)], [0, 0]])
    seen = tf.maximum(lengths, 1) if on_cudnn else lengths  # cuDNN takes no example without a step
    mask = sequence_mask(seen, tf.shape(inputs)[1]) if masked and not (full and on_cudnn) else None
    draw_masks(got.cell, got.batch, got.training)
    with tf.control_dependencies(check_size(inputs, tf.shape(inputs)[1]) if on_cudnn else []):
        outputs, *states = layer(inputs, mask=mask, initial_state=got.states, training=got.training)
    forget_masks(got.cell)
    states = tf.nest.pack_sequence_as(got.states, tf.nest.flatten(states))
    if masked:
        outputs = outputs[:, : got.time_steps]
    if masked and on_cudnn:
        outputs = zero_past_end(outputs, lengths)
        states = copy_state(lengths > 0, states, got.states)
    return outputs, states


def _keras_layer(cell: Any, form: KerasForm | None, on_cudnn: bool) -> Any:
    """A layer of Keras' that computes what the cell does, from the cell's own weights."""
    options = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
    if form is None:
        return keras.layers.RNN(cell, dtype=getattr(cell, "dtype_policy", None), **options)
    if form.layer is not keras.layers.SimpleRNN:
        options["use_cudnn"] = on_cudnn
    layer = _outside(lambda: form.layer(cell.units, dtype=cell.compute_dtype, **form.options, **options))
    for name, weight in form.weights.items():
        setattr(layer.cell, name, weight)
    layer.cell.built = layer.built = True
    return layer


def _outside(make: Callable[[], Any]) -> Any:
    """Makes a layer outside of any tf.function that is being traced, so in a thread of its own.

    Keras' cells make a variable for the seed of their dropout, also without dropout; a function that is traced
    for the second time must make none.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def _takes_cudnn(cell: Any, form: KerasForm | None, use_cudnn: bool | None) -> bool:
    """Whether the layer runs on cuDNN: decided here and told to Keras, which does not say what it took."""
    if use_cudnn is False:
        return False
    missing = missing_for_cudnn(form)
    if missing is None and inside_jit():
        missing = "runs inside an outer jit_compile, and XLA does not have cuDNN's op"
    if missing is None and deterministic():
        missing = "is to be deterministic, and the gradient of CudnnRNNV3 is not (tensorflow #59281)"
    if missing is None and not tf.config.list_logical_devices("GPU"):
        missing = "runs where TensorFlow sees no GPU"
    if use_cudnn and missing:
        raise ValueError(f"use_cudnn=True, but {type(cell).__name__} {missing}: leave use_cudnn at None.")
    return missing is None
