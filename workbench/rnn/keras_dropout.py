"""Dropout of Keras' own cells: they keep their masks, which must be drawn before a loop and dropped after it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import innermost


def draw_masks(cell: Any, batch: Any, training: bool) -> None:
    """Has each Keras cell in a cell draw the masks of this run; without training they draw none."""
    forget_masks(cell)
    for inner in innermost(cell) if training else ():
        if hasattr(inner, "get_dropout_mask"):
            inputs, units = inner.kernel.shape[0], inner.recurrent_kernel.shape[0]
            inner.get_dropout_mask(tf.ones([batch, inputs], inner.compute_dtype))
            inner.get_recurrent_dropout_mask(tf.ones([batch, units], inner.compute_dtype))


def forget_masks(cell: Any) -> None:
    """Drops the masks, which belong to the graph in which they were drawn."""
    for inner in innermost(cell):
        if hasattr(inner, "reset_dropout_mask"):
            inner.reset_dropout_mask()
            inner.reset_recurrent_dropout_mask()
