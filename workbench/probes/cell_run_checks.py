"""The checks of a cell in a runner: padding, its content, order and company change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.probes.cell_batch import (
    LENGTHS,
    Batch,
    CellError,
    Run,
    alone,
    array,
    compare,
    run,
    same_run,
    tensors,
)
from workbench.rnn import RNNS

DRAWS = 9  # runs that are never all alike where something is drawn, be it one of a few masks


def check_training(batch: Batch) -> None:
    """With training=True a run gives finite outputs of the same shapes, zero past an end, drawn anew in a graph."""

    def trained() -> list[tf.Tensor]:
        inputs = tf.nest.map_structure(tf.constant, batch.inputs)
        return tf.nest.flatten(RNNS["dynamic"](batch.cell, inputs, batch.lengths, training=True)[0])

    found = [np.asarray(array(x), float) for x in trained()]
    for values, base in zip(found, batch.run(RNNS["dynamic"]).outputs, strict=True):
        if values.shape != base.shape or not np.all(np.isfinite(values)):
            raise CellError(
                f"{batch.name()}: with training=True outputs are not finite, or of another shape."
            )
        if any(np.any(values[i, length:]) for i, length in enumerate(LENGTHS)):
            raise CellError(f"{batch.name()}: with training=True outputs past an example's end are not zero.")
    if _same(found, trained()):
        return  # nothing is drawn
    traced = tf.function(trained, autograph=False)
    first = [array(x) for x in traced()]
    if all(_same(first, traced()) for _ in range(DRAWS)):
        raise CellError(
            f"{batch.name()}: with training=True runs differ outside a graph, but not inside: random numbers of "
            "Python or NumPy are drawn once, while tracing. Draw with tf.random or keras.random."
        )


def _same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(array(a), array(b), equal_nan=True) for a, b in zip(one, other, strict=True))


def check_alone(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Outputs, states and gradients of a padded batch are those of each example alone, and zero past the end."""
    whole = batch.run(rnn)
    for i, length in enumerate(LENGTHS):
        outputs, states = alone(batch, i, length)
        what = f"example of length {length} among others and alone"
        compare(batch, name, f"outputs of an {what}", outputs, [o[i, :length] for o in whole.outputs])
        compare(batch, name, f"state of an {what}", states, [s[i] for s in whole.states])
        if any(np.any(o[i, length:]) for o in whole.outputs):
            raise CellError(f"{batch.name()}, {name}: outputs past an example's end are not zero.")
        if any(np.any(g[i, length:]) for g in whole.grad_inputs):
            raise CellError(f"{batch.name()}, {name}: a gradient reaches inputs past an example's end.")
    pieces = [
        run(
            batch,
            rnn,
            tf.nest.map_structure(lambda x, i=i, n=n: x[i : i + 1, :n], batch.inputs),
            None,
            rows=[i],
        )
        for i, n in enumerate(LENGTHS)
        if n
    ]
    summed = [np.sum(g, 0) for g in zip(*(piece.grad_weights for piece in pieces), strict=True)]
    compare(batch, name, "gradient of the weights and the sum of each example's", summed, whole.grad_weights)


def check_padding(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Longer padding, and padding of NaN or of large numbers, change nothing."""
    base = batch.run(rnn)
    longer = tf.nest.map_structure(lambda x: np.pad(x, [(0, 0), (0, 3), (0, 0)]), batch.inputs)
    other = run(batch, rnn, longer, batch.lengths)
    same_run(batch, name, "with longer padding", base, other)
    for content in (np.nan, 1e4):
        filled = tf.nest.map_structure(np.copy, longer)
        for inputs in tf.nest.flatten(filled):
            for i, length in enumerate(LENGTHS):
                inputs[i, length:] = content
        same_run(batch, name, f"with padding of {content}", base, run(batch, rnn, filled, batch.lengths))


def check_order(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Permuting the examples permutes the results."""
    order = np.array([2, 0, 3, 1])
    inputs = tf.nest.map_structure(lambda x: x[order], batch.inputs)
    permuted = run(batch, rnn, inputs, batch.lengths[order], rows=order)
    back = np.argsort(order)
    undone = permuted._replace(
        outputs=[o[back] for o in permuted.outputs],
        states=[s[back] for s in permuted.states],
        grad_inputs=[g[back] for g in permuted.grad_inputs],
    )
    same_run(batch, name, "permuted", batch.run(rnn), undone)


def check_graph(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Inside tf.function, with lengths that are not known while tracing, nothing changes."""
    base = batch.run(rnn)
    traced = tf.function(lambda x, n: tensors(batch, rnn, x, n, range(len(LENGTHS))), autograph=False)
    results = traced(tf.nest.map_structure(tf.constant, batch.inputs), tf.constant(batch.lengths))
    same_run(batch, name, "inside tf.function", base, Run(*tf.nest.map_structure(array, results)))
