"""Dropout of Keras' own cells in packed order: a mask of the whole batch, of which a step takes the first rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from workbench.cells.base import innermost
from workbench.rnn.keras_dropout import draw_masks, forget_masks

_METHODS = ("get_dropout_mask", "get_recurrent_dropout_mask")


@contextmanager
def masks_of_rows(cell: Any, order: tf.Tensor, training: bool) -> Iterator[None]:
    """Within, each Keras cell in a cell has one mask for the run, in packed order, cut to the rows that a step has.

    `order` [B] holds the examples' numbers, the longest first; they stand so at all steps, and each keeps its mask.
    """

    def in_order(mask: tf.Tensor) -> tf.Tensor:
        return tf.gather(mask, order)

    draw_masks(cell, tf.shape(order)[0], training)
    cells = [inner for inner in innermost(cell) if training and hasattr(inner, _METHODS[0])]
    try:
        for inner in cells:
            for method in _METHODS:
                drawn = getattr(inner, method)(None)
                setattr(
                    inner, method, _cut(None if drawn is None else tf.nest.map_structure(in_order, drawn))
                )
        yield
    finally:
        for inner in cells:
            for method in _METHODS:
                if method in vars(inner):
                    delattr(inner, method)
        forget_masks(cell)


def _cut(masks: Any) -> Callable[[tf.Tensor], Any]:
    """The first rows of one mask, or of each in a list of one for each gate; None where nothing is dropped."""

    def first_rows(step_input: tf.Tensor) -> Any:
        rows = tf.shape(step_input)[0]
        return None if masks is None else tf.nest.map_structure(lambda mask: mask[:rows], masks)

    return first_rows
