"""The static RNN: one copy of the cell for each step, made while tracing."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.rnn.step import Sequence, advance, finish, prepare


def static_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
) -> tuple[Any, Any]:
    """Unrolls a cell over all T steps of the inputs, so that the graph holds T copies of it.

        for t in range(T):
            output[t], state = cell(input[t], state)

    `inputs` is [B, T, ...] (or a nest of such), `sequence_length` int [B] or None. Past an example's end the
    output is zero and the state is copied through; past the batch's longest nothing is computed.
    Returns `(outputs [B, T, ...], final_state)`.

    Raises ValueError where T is not known while tracing: the graph is built for one T and takes no other.

    Source: the guide, "rnn vs. dynamic_rnn"; TF 1.15's static_rnn.
    """
    sequence = prepare(cell, inputs, sequence_length, initial_state, training, time_major, cut=False)
    if not isinstance(sequence.time_steps, int):
        raise ValueError(
            "static_rnn unrolls a fixed number of steps, but T, the time axis of the inputs, is None "
            "(unknown while tracing): pad to one length, or use dynamic_rnn."
        )
    outputs, states = [], sequence.states
    # Unstacked, not indexed: an index's gradient is as large as all steps together.
    steps = [tf.unstack(tensor, sequence.time_steps) for tensor in tf.nest.flatten(sequence.inputs)]
    for time, flat in enumerate(zip(*steps, strict=True)):
        inputs = tf.nest.pack_sequence_as(sequence.inputs, flat)
        output, states = _advance_or_stop(sequence, time, inputs, states)
        outputs.append(output)
    if outputs:
        stacked = tf.nest.map_structure(lambda *steps: tf.stack(steps), *outputs)
    else:
        stacked = tf.nest.map_structure(lambda zero: zero[tf.newaxis][:0], sequence.zeros)
    return finish(sequence, stacked, states, time_major)


def _advance_or_stop(sequence: Sequence, time: int, inputs: Any, states: Any) -> tuple[Any, Any]:
    """A step while the batch's longest example runs; after it zeros, and the states as they are."""

    def step() -> tuple[Any, Any]:
        return advance(sequence, time, inputs, states)

    if sequence.steps is sequence.time_steps:
        return step()
    return tf.cond(time < sequence.steps, step, lambda: (sequence.zeros, states))
