"""What a packed kernel starts from: everything checked, built, and in the cell's dtype."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from workbench.cells.base import build, output_size
from workbench.rnn.checks import (
    as_tensors,
    check_inputs,
    check_sequence_length,
    computed,
    given_states,
    nan_where_wrong,
)
from workbench.rnn.step import swap_time


class Received(NamedTuple):
    """A padded batch, batch first, and a cell that is built for it."""

    cell: Any
    inputs: Any  # [B, T, ...], nested; what the padding holds is unknown
    lengths: tf.Tensor  # [B] int32
    states: Any  # the initial states, [B, n], nested
    training: bool
    backwards: bool  # each example's valid part from its end

    @property
    def first(self) -> tf.Tensor:
        """One tensor of the inputs."""
        return tf.nest.flatten(self.inputs)[0]

    @property
    def batch(self) -> Any:
        """B, a number where it is known while tracing."""
        return _size(self.first, 0)

    @property
    def time_steps(self) -> Any:
        """T, a number where it is known while tracing."""
        return _size(self.first, 1)

    def shaped(self, outputs: Any, states: Any) -> tuple[Any, Any]:
        """Results nested as the cell's, with all of their shape that is known while tracing."""
        sizes = tf.nest.flatten(output_size(self.cell))
        known = self.first.shape[:2]
        flat = [tf.ensure_shape(o, [*known, n]) for o, n in zip(tf.nest.flatten(outputs), sizes, strict=True)]
        states = [
            tf.ensure_shape(new, old.shape)
            for new, old in zip(tf.nest.flatten(states), tf.nest.flatten(self.states), strict=True)
        ]
        return (
            tf.nest.pack_sequence_as(output_size(self.cell), flat),
            tf.nest.pack_sequence_as(self.states, states),
        )


def receive(
    cell: Any,
    inputs: Any,
    sequence_length: Any,
    initial_state: Any,
    training: bool,
    time_major: bool,
    backwards: bool,
) -> Received:
    """Checks what came in; ValueError names what is wrong with it."""
    inputs = as_tensors(inputs)
    check_inputs(cell, inputs, time_major)
    if time_major:
        inputs = tf.nest.map_structure(swap_time, inputs)
    inputs = tf.nest.map_structure(lambda x: computed(cell, x), inputs)
    first = tf.nest.flatten(inputs)[0]
    lengths = check_sequence_length(sequence_length, _size(first, 0), _size(first, 1))
    if lengths is None:
        lengths = tf.fill([_size(first, 0)], _size(first, 1))
    else:
        lengths, inputs = nan_where_wrong(lengths, inputs, _size(first, 1))
    build(cell, tf.nest.map_structure(lambda x: (x.shape[0], *x.shape[2:]), inputs))
    inputs = _as_built(cell, inputs)
    states = given_states(cell, initial_state, _size(first, 0))
    return Received(cell, inputs, lengths, states, training, backwards)


def _as_built(cell: Any, inputs: Any) -> Any:
    """Inputs [B, T, D] whose D is not known while tracing have that for which the cell was built."""
    if tf.nest.is_nested(inputs) or inputs.shape.rank != 3 or inputs.shape[-1] is not None:
        return inputs
    built = cell.get_build_config() if isinstance(cell, keras.layers.Layer) else None
    shape = (built or {}).get("input_shape")
    return tf.ensure_shape(inputs, [None, None, shape[-1]]) if shape and len(shape) == 2 else inputs


def _size(tensor: tf.Tensor, axis: int) -> Any:
    known = tensor.shape[axis]
    return tf.shape(tensor)[axis] if known is None else known
