"""The static form: every example at every step, frozen past its end. The one that an outer `jit_compile` takes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.masking import reverse_valid
from workbench.rnn.packing.received import Received
from workbench.rnn.step import advance, finish, prepare


def run_masked(received: Received) -> tuple[Any, Any]:
    """All steps of a batch, for any cell, in shapes that are known while tracing: `(outputs [B, T, ...], states)`.

    XLA knows no rows that come and go, so padded steps are computed here and thrown away.
    """
    inputs, lengths = received.inputs, received.lengths
    if received.backwards:
        inputs = reverse_valid(inputs, lengths)
    run = prepare(received.cell, inputs, lengths, received.states, received.training, False, cut=False)
    arrays = tf.nest.map_structure(
        lambda zero: tf.TensorArray(zero.dtype, received.time, element_shape=zero.shape), run.zeros
    )

    def body(t: Any, states: Any, arrays: Any) -> tuple:
        output, states = advance(run, t, tf.nest.map_structure(lambda x: x[t], run.inputs), states)
        return t + 1, states, tf.nest.map_structure(lambda array, o: array.write(t, o), arrays, output)

    _, states, arrays = tf.while_loop(
        lambda t, *_: t < received.time, body, (0, run.states, arrays), maximum_iterations=received.time
    )
    outputs = finish(run, tf.nest.map_structure(lambda array: array.stack(), arrays), time_major=False)
    return (reverse_valid(outputs, lengths) if received.backwards else outputs), states
