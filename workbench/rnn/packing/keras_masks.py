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
def masks_of_rows(cell: Any, batch: Any, training: bool) -> Iterator[None]:
    """Within, each Keras cell in a cell has one mask for the run, cut to as many rows as a step has.

    Examples stand in one order at all steps, so that each keeps its row of the mask.
    """
    draw_masks(cell, batch, training)
    cells = [inner for inner in innermost(cell) if training and hasattr(inner, _METHODS[0])]
    for inner in cells:
        for method in _METHODS:
            setattr(inner, method, _cut(getattr(inner, method)))
    try:
        yield
    finally:
        for inner in cells:
            for method in _METHODS:
                delattr(inner, method)
        forget_masks(cell)


def _cut(whole: Callable[[tf.Tensor], tf.Tensor | None]) -> Callable[[tf.Tensor], tf.Tensor | None]:
    def first_rows(step_input: tf.Tensor) -> tf.Tensor | None:
        mask = whole(step_input)
        rows = tf.shape(step_input)[0]  # one mask, or a list of one for each gate
        return None if mask is None else tf.nest.map_structure(lambda one: one[:rows], mask)

    return first_rows
