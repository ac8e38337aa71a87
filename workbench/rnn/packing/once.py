"""An op with a gradient of its own, which is refused in words where it is differentiated once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from workbench.cells.base import StepWeights
from workbench.cells.custom_gradient import custom_gradient

Tensors = list[tf.Tensor]
_LOST = (
    "the packed RNN's own gradient was lost: tf.vectorized_map drops it from a tf.function that was traced "
    "outside, and forward mode (tf.autodiff.ForwardAccumulator) knows none. "
    'Take kernel="masked"; of an accelerated model, restore(model)'
)  # what shows where an op is differentiated without its own gradient


class Operands(NamedTuple):
    """All that results depend on; their gradients come in the same form."""

    inputs: tf.Tensor  # [B, T, D]
    states: Tensors  # the initial ones, [B, n] each
    weights: StepWeights


class Results(NamedTuple):
    """All that a gradient comes from; the gradients of results come in the same form."""

    outputs: tf.Tensor  # [B, T, O]
    states: Tensors  # the final ones


def differentiable_once(
    forward: Callable[[Operands], tuple[Results, Any]],
    backward: Callable[[Results, Any], Operands],
    operands: Operands,
) -> Results:
    """`forward(operands) -> (results, saved)`, with `backward(d_results, saved)` as the operands' gradients.

    Raises NotImplementedError where those gradients are differentiated.
    """
    shown: list[Results] = []

    @custom_gradient
    def op(*given: tf.Tensor) -> Any:
        stopped = [tf.raw_ops.PreventGradient(input=tensor, message=_LOST) for tensor in given]
        results, saved = forward(tf.nest.pack_sequence_as(operands, stopped))
        shown.append(results)

        def gradient(*d_results: tf.Tensor) -> Any:
            @custom_gradient
            def once(*inputs: tf.Tensor) -> Any:  # the given tensors too, so that none slips by silently
                stopped = [tf.stop_gradient(tensor) for tensor in inputs[: len(d_results)]]
                gradients = backward(tf.nest.pack_sequence_as(results, stopped), saved)
                return tf.nest.flatten(gradients), _refuse

            return once(*d_results, *given)

        return tf.nest.flatten(results), gradient

    # in a branch of tf.cond a gradient of one's own knows tensors of that branch alone
    results = op(*map(tf.identity, tf.nest.flatten(operands)))
    return tf.nest.pack_sequence_as(shown[0], results)


def _refuse(*_: Any) -> None:
    raise NotImplementedError(
        "the packed RNN has no second derivatives: its gradient is no composition of TensorFlow's own. "
        'Differentiate twice through dynamic_rnn (rnn="dynamic"), whose numbers are the same, or through '
        'kernel="autodiff"; an accelerated model after restore(model).'
    )
