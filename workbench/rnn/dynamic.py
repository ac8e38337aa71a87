"""The dynamic RNN: one loop at run time, whatever the batch's size and length."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.xla import inside_jit
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
    iteration (what is left over is taken one by one, so no further step is computed). Inside an outer `jit_compile`
    the loop is made for T steps, as XLA wants, and still ends with the longest example; take the
    gradient inside that `jit_compile` too, as TensorFlow hands no loop's values over its border.
    Returns `(outputs [B, T, ...], final_state)`.

    Source: the guide, "rnn vs. dynamic_rnn"; TF 1.15's dynamic_rnn.
    """
    if isinstance(unroll_steps, bool) or not isinstance(unroll_steps, int) or unroll_steps < 1:
        raise ValueError(f"unroll_steps must be an integer of at least 1, not {unroll_steps!r}.")
    fixed = inside_jit()
    sequence = prepare(cell, inputs, sequence_length, initial_state, training, time_major, cut=not fixed)
    return finish(sequence, *run_loop(sequence, unroll_steps, fixed=fixed), time_major)


def run_loop(sequence: Sequence, unroll_steps: int = 1, *, fixed: bool = False) -> tuple[Any, Any]:
    """The loop over what was prepared: `(outputs [T, B, ...], final_state)`.

    `fixed`: in arrays and loops made for T steps, whatever the batch's longest: XLA takes no size from lengths, and
    no gradient of a loop without a bound.
    """
    # In arrays, not indexed: an index's gradient is as large as all steps together.
    steps = sequence.inputs
    if fixed and not (isinstance(sequence.time_steps, int) and sequence.time_steps > 0):
        steps = tf.nest.map_structure(_one_more, steps)
    inputs = tf.nest.map_structure(_unstacked, steps)
    size = sequence.time_steps if fixed else sequence.steps
    arrays = tf.nest.map_structure(
        lambda zero: tf.TensorArray(zero.dtype, size + 1, element_shape=zero.shape), sequence.zeros
    )
    arrays = tf.nest.map_structure(lambda a, zero: a.write(size, zero), arrays, sequence.zeros)
    time, states, most = tf.constant(0), sequence.states, size if fixed else None
    if unroll_steps > 1:
        rounds = None if most is None else most // unroll_steps
        time, states, arrays = _loop(sequence, inputs, time, states, arrays, unroll_steps, rounds)
        most = None if most is None else unroll_steps - 1
    _, states, arrays = _loop(sequence, inputs, time, states, arrays, 1, most)
    return tf.nest.map_structure(lambda a: _padded(a.stack(), size, sequence), arrays), states


def _unstacked(tensor: tf.Tensor) -> tf.TensorArray:
    """[steps, B, ...] as an array of steps."""
    array = tf.TensorArray(tensor.dtype, tf.shape(tensor)[0], element_shape=tensor.shape[1:])
    return array.unstack(tensor)


def _one_more(tensor: tf.Tensor) -> tf.Tensor:
    """A step more, never taken: XLA compiles a loop also where it takes no step, but no read of an empty array."""
    return tf.pad(tensor, [[0, 1], *[[0, 0]] * (tensor.shape.rank - 1)])


def _loop(
    sequence: Sequence, inputs: Any, time: Any, states: Any, arrays: Any, steps: int, most: Any
) -> tuple[Any, Any, Any]:
    """Takes `steps` steps an iteration while so many are left, in `most` iterations at the most."""

    def body(time: Any, states: Any, arrays: Any) -> tuple[Any, Any, Any]:
        for _ in range(steps):
            read = tf.nest.map_structure(lambda array, t=time: array.read(t), inputs)
            output, states = advance(sequence, time, read, states)
            arrays = tf.nest.map_structure(lambda a, o, t=time: a.write(t, o), arrays, output)
            time = time + 1
        return time, states, arrays

    return tf.while_loop(
        lambda time, *_: time + steps <= sequence.steps,
        body,
        (time, states, arrays),
        maximum_iterations=most,
    )


def _padded(stacked: tf.Tensor, size: Any, sequence: Sequence) -> tf.Tensor:
    """[size + 1, B, ...], the last of it zeros, to [T, B, ...] with zeros past the longest example."""
    outputs = stacked[:size]
    if size is not sequence.time_steps:
        rest = [[0, sequence.time_steps - size], *[[0, 0]] * (stacked.shape.rank - 1)]
        outputs = tf.pad(outputs, rest)
    return tf.ensure_shape(outputs, [tf.get_static_value(sequence.time_steps), *stacked.shape[1:]])
