"""One step of an RNN on a padded batch: the only place where lengths act inside a loop.

A runner prepares a `Sequence`, calls `advance` once a step, and gives the stacked outputs to `finish`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepCell, Stepper, build, compute_dtype, output_size, stepper
from workbench.cells.vectorized import inside_map
from workbench.masking import copy_state, zero_past_end
from workbench.rnn.checks import (
    as_tensors,
    check_inputs,
    check_sequence_length,
    computed,
    given_states,
    nan_where_wrong,
)
from workbench.rnn.keras_dropout import draw_masks, forget_masks


class Sequence(NamedTuple):
    """What a runner walks over, time first, and how."""

    cell: Any
    inputs: Any  # [steps, B, ...], nested; projected already where the cell is in one-step form
    states: Any  # the initial states
    zeros: Any  # an output of zeros, [B, ...]
    run: Stepper  # (inputs of a step, states) -> (output, new states)
    sequence_length: tf.Tensor | None  # [B] int32
    steps: Any  # how many steps to compute: the batch's longest example, or T
    time_steps: Any  # T


def prepare(
    cell: Any,
    inputs: Any,
    sequence_length: Any,
    initial_state: Any,
    training: bool,
    time_major: bool,
    cut: bool,
) -> Sequence:
    """Checks what came in, zeroes padded inputs, and projects the inputs of all steps in one product.

    `cut`: leave away the steps past the batch's longest example, so that not even their projection is
    computed.
    """
    inputs = as_tensors(inputs)
    check_inputs(cell, inputs, time_major)
    first = tf.nest.flatten(inputs)[0]
    time_axis = 0 if time_major else 1
    time_steps = first.shape[time_axis]
    time_steps = tf.shape(first)[time_axis] if time_steps is None else time_steps
    batch = first.shape[1 - time_axis]
    batch = tf.shape(first)[1 - time_axis] if batch is None else batch
    length = check_sequence_length(sequence_length, batch, time_steps)
    if length is not None:
        inputs = tf.nest.map_structure(swap_time, inputs) if time_major else inputs
        length, inputs = nan_where_wrong(length, inputs, time_steps)
        time_major = False
    # The calls that a vectorized map makes one run as many steps: its loops end for all of them at once.
    longest = length is None or inside_map()
    steps = time_steps if longest else tf.reduce_max(tf.concat([length, [0]], 0))

    def arrange(tensor: tf.Tensor) -> tf.Tensor:
        """Time first, padding zero; cut as soon as can be, so that nothing is done to what is cut."""
        if length is not None:
            tensor = zero_past_end(tensor[:, :steps] if cut else tensor, length)
        return tensor if time_major else swap_time(tensor)

    inputs = tf.nest.map_structure(arrange, inputs)
    inputs = tf.nest.map_structure(lambda x: computed(cell, x), inputs)
    build(cell, tf.nest.map_structure(lambda x: tuple(x.shape[1:]), inputs))
    states = given_states(cell, initial_state, batch)
    zeros = tf.nest.map_structure(lambda n: tf.zeros([batch, n], compute_dtype(cell)), output_size(cell))
    if isinstance(cell, StepCell) and cell.has_step(training):
        inputs, run = _projected(cell, inputs)
    else:
        draw_masks(cell, batch, training)
        run = stepper(cell, training)
    return Sequence(cell, inputs, states, zeros, run, length, steps, time_steps)


def _projected(cell: StepCell, inputs: Any) -> tuple[tf.Tensor, Stepper]:
    """The projection of all steps' inputs, and the step that takes one of it."""
    weights = cell.step_weights()
    return weights.project(inputs), lambda projected, states: cell.step(
        projected, states, weights.small, weights.product
    )


def advance(sequence: Sequence, time: Any, inputs: Any, states: Any) -> tuple[Any, Any]:
    """One step at `time`: an example past its end puts out zero and keeps its state."""
    output, new_states = sequence.run(inputs, states)
    if sequence.sequence_length is None:
        output = tf.nest.pack_sequence_as(sequence.zeros, tf.nest.flatten(output))
        return output, tf.nest.pack_sequence_as(states, tf.nest.flatten(new_states))
    running = time < sequence.sequence_length
    return copy_state(running, output, sequence.zeros), copy_state(running, new_states, states)


def finish(sequence: Sequence, outputs: Any, states: Any, time_major: bool) -> tuple[Any, Any]:
    """After the last step: stacked outputs [T, B, ...] in the caller's layout, and the states."""
    forget_masks(sequence.cell)
    outputs = outputs if time_major else tf.nest.map_structure(swap_time, outputs)
    return tied((outputs, states), sequence.steps, sequence.cell, sequence.inputs)


def tied(tensors: Any, steps: Any, cell: Any, inputs: Any) -> Any:
    """The same tensors, of a loop of so many steps; where it ran none, with gradients of zeros and not None.

    Outside a graph such a loop has read no weight and no input.
    """
    if tf.get_static_value(steps) != 0:
        return tensors
    weights = getattr(cell, "trainable_variables", ())
    if not weights and isinstance(cell, StepCell) and cell.has_step(training=False):
        weights = cell.step_weights()  # of a form, which has no variables of its own
    read = [tf.convert_to_tensor(one) for one in tf.nest.flatten([list(weights), inputs])]
    nothing = tf.add_n(
        [
            tf.cast(tf.reduce_sum(tf.reshape(one, [-1])[:0]), tf.float32)
            for one in read
            if one.dtype.is_floating
        ]
        or [tf.zeros([])]
    )
    return tf.nest.map_structure(
        lambda one: one + tf.cast(nothing, one.dtype) if one.dtype.is_floating else one, tensors
    )


def swap_time(tensor: tf.Tensor) -> tf.Tensor:
    """[B, T, ...] <-> [T, B, ...]."""
    return tf.transpose(tensor, [1, 0, *range(2, tensor.shape.rank)])
