"""The fused RNN: all steps of a batch in one op, where a cell has one."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.masking import zero_past_end
from workbench.rnn.step import finish, prepare, swap_time


def fused_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
) -> tuple[Any, Any]:
    """Runs a cell that has `sequence` (the LSTM block cell) over a batch in one op.

        outputs, states of every step = cell.sequence(inputs up to the batch's longest, initial state)

    The op computes every example up to the batch's longest; outputs past an example's end are then set to zero,
    and its final state is taken from its last valid step. Arguments and results are `dynamic_rnn`'s.

    Raises ValueError for a cell without `sequence`.

    Source: TF 1.15's contrib LSTMBlockFusedCell.
    """
    if not hasattr(cell, "sequence"):
        raise ValueError(
            f"fused_rnn needs a cell that runs all steps in one op, as the LSTM block cell; {type(cell).__name__} "
            "does not: use dynamic_rnn or static_rnn."
        )
    run = prepare(cell, inputs, sequence_length, initial_state, training, time_major, cut=True)
    outputs, states = cell.sequence(run.inputs, run.states)
    if run.sequence_length is None:
        states = tf.nest.map_structure(
            lambda every, first: tf.concat([first[tf.newaxis], every], 0)[-1], states, run.states
        )
        return finish(run, outputs, states, time_major)
    outputs = swap_time(zero_past_end(swap_time(outputs), run.sequence_length))
    rest = tf.pad(outputs, [[0, run.time_steps - run.steps], [0, 0], [0, 0]])
    outputs = tf.ensure_shape(rest, [tf.get_static_value(run.time_steps), *outputs.shape[1:]])

    def last(every: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """After `length` steps, the initial state being the one after none."""
        after = swap_time(tf.concat([first[tf.newaxis], every], 0))
        return tf.gather(after, run.sequence_length, batch_dims=1, axis=1)

    return finish(run, outputs, tf.nest.map_structure(last, states, run.states), time_major)
