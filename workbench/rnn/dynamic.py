"""The dynamic RNN: one loop at run time, whatever the batch's size and length."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.rnn.step import Sequence, advance, finish, prepare


def dynamic_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
    unroll_steps: int = 1,
) -> tuple[Any, Any]:
    """Runs a cell over a batch in one `tf.while_loop`, bounded by the batch's longest example.

        while t < max(sequence_length):
            output[t], state = cell(input[t], state)

    `inputs` is [B, T, ...] (or a nest of such), `sequence_length` int [B] or None (all T steps). Past an
    example's end the output is zero and the state is copied through. `unroll_steps` steps are taken in an
    iteration (what is left over is taken one by one, so no further step is computed).
    Returns `(outputs [B, T, ...], final_state)`.

    Source: the guide, "rnn vs. dynamic_rnn"; TF 1.15's dynamic_rnn.
    """
    if isinstance(unroll_steps, bool) or not isinstance(unroll_steps, int) or unroll_steps < 1:
        raise ValueError(f"unroll_steps must be an integer of at least 1, not {unroll_steps!r}.")
    sequence = prepare(cell, inputs, sequence_length, initial_state, training, time_major, cut=True)
    # In arrays, not indexed: an index's gradient is as large as all steps together.
    inputs = tf.nest.map_structure(_unstacked, sequence.inputs)
    arrays = tf.nest.map_structure(
        lambda zero: tf.TensorArray(zero.dtype, sequence.steps + 1, element_shape=zero.shape), sequence.zeros
    )
    arrays = tf.nest.map_structure(lambda a, zero: a.write(sequence.steps, zero), arrays, sequence.zeros)
    time, states = tf.constant(0), sequence.states
    if unroll_steps > 1:
        time, states, arrays = _loop(sequence, inputs, time, states, arrays, unroll_steps)
    _, states, arrays = _loop(sequence, inputs, time, states, arrays, 1)
    outputs = tf.nest.map_structure(lambda a: _padded(a.stack(), sequence), arrays)
    return finish(sequence, outputs, time_major), states


def _unstacked(tensor: tf.Tensor) -> tf.TensorArray:
    """[steps, B, ...] as an array of steps."""
    array = tf.TensorArray(tensor.dtype, tf.shape(tensor)[0], element_shape=tensor.shape[1:])
    return array.unstack(tensor)


def _loop(
    sequence: Sequence, inputs: Any, time: Any, states: Any, arrays: Any, steps: int
) -> tuple[Any, Any, Any]:
    """Takes `steps` steps an iteration while so many are left."""

    def body(time: Any, states: Any, arrays: Any) -> tuple[Any, Any, Any]:
        for _ in range(steps):
            read = tf.nest.map_structure(lambda array, t=time: array.read(t), inputs)
            output, states = advance(sequence, time, read, states)
            arrays = tf.nest.map_structure(lambda a, o, t=time: a.write(t, o), arrays, output)
            time = time + 1
        return time, states, arrays

    return tf.while_loop(lambda time, *_: time + steps <= sequence.steps, body, (time, states, arrays))


def _padded(stacked: tf.Tensor, sequence: Sequence) -> tf.Tensor:
    """[steps + 1, B, ...], the last of it zeros, to [T, B, ...] with zeros past the longest example."""
    if sequence.sequence_length is None:
        return stacked[: sequence.steps]
    rest = [[0, sequence.max_length - sequence.steps], *[[0, 0]] * (stacked.shape.rank - 1)]
    padded = tf.pad(stacked[: sequence.steps], rest)
    return tf.ensure_shape(padded, [tf.get_static_value(sequence.max_length), *stacked.shape[1:]])
