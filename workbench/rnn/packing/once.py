"""An op with a gradient of its own, which is refused in words where it is differentiated once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Tensors = list[tf.Tensor]


def differentiable_once(
    forward: Callable[[Tensors], tuple[Tensors, Any]],
    backward: Callable[[Tensors, Any], Tensors],
    tensors: Sequence[tf.Tensor],
) -> Tensors:
    """`forward(tensors) -> (results, saved)`, with `backward(d_results, saved)` as the tensors' gradients.

    Raises NotImplementedError where those gradients are differentiated.
    """

    @tf.custom_gradient
    def op(*given: tf.Tensor) -> Any:
        results, saved = forward([tf.stop_gradient(t) for t in given])

        def gradient(*d_results: tf.Tensor) -> Any:
            @tf.custom_gradient
            def once(*inputs: tf.Tensor) -> Any:  # the given tensors too, so that none slips by silently
                stopped = [tf.stop_gradient(t) for t in inputs[: len(d_results)]]
                return backward(stopped, saved), _refuse

            return once(*d_results, *given)

        return results, gradient

    return list(op(*tensors))


def _refuse(*_: Any) -> None:
    raise NotImplementedError(
        "the packed RNN has no second derivatives: its gradient is no composition of TensorFlow's own. "
        'Differentiate twice through dynamic_rnn (rnn="dynamic"), whose numbers are the same, or through '
        'kernel="autodiff".'
    )
