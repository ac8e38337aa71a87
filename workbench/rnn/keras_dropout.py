"""Dropout of Keras' own layers and cells: off for a while; masks, drawn before a loop and dropped after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import innermost

_DRAWN: ContextVar[bool] = ContextVar("masks are drawn", default=False)


@contextmanager
def rates_off(owners: Iterable[Any], names: Sequence[str]) -> Iterator[None]:
    """Within, rates of these names are 0 in those layers or cells that have any."""
    with ExitStack() as given_back:
        for one in owners:
            for name in names:
                value = getattr(one, name, None)
                shown = isinstance(getattr(type(one), name, None), property)  # an LSTM shows its cell's
                if isinstance(value, float) and value and not shown:
                    given_back.callback(setattr, one, name, value)
                    setattr(one, name, 0.0)
        yield


@contextmanager
def masks_of_the_layer(cell: Any) -> Iterator[None]:
    """Within, the masks that a layer of Keras' has just drawn are those of the run.

    It draws them for its own cell and those of a stack, but not for one inside another cell.
    """
    drawn = {id(one) for one in _seen_by_keras(cell)}
    for inner in innermost(cell):
        if id(inner) not in drawn:
            forget_masks(inner)
    token = _DRAWN.set(True)
    try:
        yield
    finally:
        _DRAWN.reset(token)


def _seen_by_keras(cell: Any) -> Iterator[Any]:
    if not isinstance(cell, keras.layers.StackedRNNCells):
        yield cell
        return
    for inner in cell.cells:
        yield from _seen_by_keras(inner)


def draws_once(cell: Any) -> bool:
    """Whether a cell draws masks as Keras' do, for inputs and states that are as wide as its two kernels."""
    kernels = (getattr(cell, name, None) for name in ("kernel", "recurrent_kernel"))
    return hasattr(cell, "get_dropout_mask") and all(one is not None for one in kernels)


def draw_masks(cell: Any, batch: Any, training: bool) -> None:
    """Has each Keras cell in a cell draw the masks of this run that are not drawn; without training none."""
    if not _DRAWN.get():
        forget_masks(cell)
    for inner in innermost(cell) if training else ():
        if draws_once(inner):
            inputs, units = inner.kernel.shape[0], inner.recurrent_kernel.shape[0]
            inner.get_dropout_mask(tf.ones([batch, inputs], inner.compute_dtype))
            inner.get_recurrent_dropout_mask(tf.ones([batch, units], inner.compute_dtype))


def forget_masks(cell: Any) -> None:
    """Drops the masks, which belong to the graph in which they were drawn."""
    for inner in innermost(cell):
        if hasattr(inner, "reset_dropout_mask"):
            inner.reset_dropout_mask()
            inner.reset_recurrent_dropout_mask()


def drop_inputs(cell: Any, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """Inputs [B, T, D] under the mask [B, D] of a Keras cell that drops the same of them at every step."""
    if not (training and cell.dropout):
        return inputs
    if cell.dropout >= 1 and not isinstance(cell, keras.layers.SimpleRNNCell):
        return inputs  # Keras' LSTM and GRU then drop nothing
    draw_masks(cell, tf.shape(inputs)[0], training)
    dropped = inputs * tf.cast(cell.get_dropout_mask(inputs[:, 0]), inputs.dtype)[:, tf.newaxis]
    forget_masks(cell)
    return dropped
