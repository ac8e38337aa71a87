"""The packed loop for any cell: the tape differentiates its `call`, on the examples that still run."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import compute_dtype, output_size, stepper
from workbench.cells.custom_gradient import custom_gradient
from workbench.cells.xla import never_clustered
from workbench.rnn.packing.keras_masks import masks_of_rows
from workbench.rnn.packing.order import Chain, pack, take, unpack
from workbench.rnn.packing.received import Received
from workbench.rnn.packing.rows import join_rows, row_array
from workbench.rnn.step import tied


@never_clustered
def run_autodiff(received: Received) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """All steps of a batch, for any cell: `(outputs [B, T, ...], states)`, each in one row.

    A step sees the rows of the examples that run, longest first, so fewer from step to step. What a cell draws
    at random is drawn for those rows.
    """
    packing = pack(received.lengths, received.time_steps, chains=1, backwards=received.backwards)
    (chain,) = packing.chains
    steps = tf.nest.map_structure(lambda x: _steps(x, chain), received.inputs)
    run = stepper(received.cell, received.training)
    sizes = tf.nest.flatten(output_size(received.cell))

    @never_clustered
    def body(t: Any, states: list[tf.Tensor], outputs: list[tf.TensorArray]) -> tuple:
        rows = chain.rows[t]
        inputs = tf.nest.map_structure(lambda array: array.read(t), steps)
        part = tf.nest.pack_sequence_as(received.states, [_known(state[:rows], state) for state in states])
        output, new_states = run(inputs, part)
        states = [
            tf.ensure_shape(tf.concat([new, old[rows:]], 0), old.shape)
            for new, old in zip(tf.nest.flatten(new_states), states, strict=True)
        ]
        made = zip(outputs, map(tf.convert_to_tensor, tf.nest.flatten(output)), strict=True)
        outputs = [a.write(t, tf.cast(o, a.dtype) if o.dtype.is_floating else o) for a, o in made]
        return t + 1, states, outputs

    arrays = [row_array(compute_dtype(received.cell), chain.steps, size) for size in sizes]
    states = [_moved(state, chain.examples, packing.place) for state in tf.nest.flatten(received.states)]
    with masks_of_rows(received.cell, chain.examples, received.training):
        _, states, arrays = tf.while_loop(lambda t, *_: t < chain.steps, body, (0, states, arrays))
    outputs = [
        unpack([join_rows(array, size)], packing.packed) for array, size in zip(arrays, sizes, strict=True)
    ]
    states = [_moved(state, packing.place, chain.examples) for state in states]
    return tied((outputs, states), chain.steps, received.cell, received.inputs)


def _steps(inputs: tf.Tensor, chain: Chain) -> tf.TensorArray:
    """The packed rows of each step: in an array, since a slice's gradient is as large as all steps together."""
    packed = take(tf.reshape(inputs, [-1, *inputs.shape[2:]]), chain.source)
    shape = [None, *packed.shape[1:]]
    array = tf.TensorArray(packed.dtype, chain.steps + 1, infer_shape=False, element_shape=shape)
    return array.split(packed, tf.concat([chain.rows, [0]], 0))  # no array is split into nothing


def _moved(state: tf.Tensor, order: tf.Tensor, back: tf.Tensor) -> tf.Tensor:
    """state[order], whose gradient is a gather too (TensorFlow's own would be IndexedSlices)."""

    @custom_gradient
    def move(state: tf.Tensor) -> Any:
        return tf.gather(state, order), lambda d_state: _moved(d_state, back, order)

    return move(state)


def _known(rows: tf.Tensor, of: tf.Tensor) -> tf.Tensor:
    """The shape but for the number of rows, which changes from step to step."""
    return tf.ensure_shape(rows, [None, *of.shape[1:]])
