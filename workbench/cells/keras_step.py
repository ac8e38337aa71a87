"""Keras' own cells in one-step form: their variables and activations, in the steps that stand here."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights
from workbench.cells.basic_rnn import BasicRNNCell
from workbench.cells.gru import GRUCell
from workbench.cells.lstm import LSTMCell

_MADE: weakref.WeakKeyDictionary[Any, StepCell] = weakref.WeakKeyDictionary()
_MAKE: dict[type, Callable[..., StepCell]] = {
    keras.layers.LSTMCell: lambda theirs, **o: _Lstm(theirs.units, forget_bias=0.0, **o),
    keras.layers.GRUCell: lambda theirs, **o: _Gru(theirs.units, reset_after=theirs.reset_after, **o),
    keras.layers.SimpleRNNCell: lambda theirs, **o: _Basic(theirs.units, **o),
}


def step_form(cell: Any, training: bool) -> StepCell | None:
    """A cell that computes from the variables of a built LSTMCell, GRUCell or SimpleRNNCell of Keras', by one step.

    Regularizers and constraints stay where they are, at the variables. Dropout of the inputs is not in it: that is
    one mask for all steps, which a runner applies at once. None for other cells, whose `call` may do anything, and
    where masks act inside a step: with recurrent dropout in training, and a mask for each gate.
    """
    if type(cell) not in _MAKE or cell.activity_regularizer is not None:
        return None
    by_gates = getattr(cell, "dropout_mask_count", None) is not None
    if training and (cell.recurrent_dropout or (cell.dropout and by_gates)):
        return None
    if cell not in _MADE:
        names = ("activation", "kernel_initializer", "recurrent_initializer", "bias_initializer", "name")
        options = {name: getattr(cell, name) for name in names}  # a new initializer would draw a seed
        made = _MAKE[type(cell)](cell, dtype=cell.dtype_policy, **options)
        made.theirs = weakref.ref(cell)  # so that the table above lets both go
        made.built = True
        gate = getattr(cell, "recurrent_activation", keras.activations.sigmoid)
        made.gate = tf.sigmoid if gate is keras.activations.sigmoid else gate
        _MADE[cell] = made
    return _MADE[cell]


class _OfKeras(StepCell):
    """What all three read their variables from."""

    theirs: Callable[[], Any]

    def _weights(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Kernel, recurrent kernel and bias; zeros for a bias that is not there."""
        theirs = self.theirs()
        kernel, recurrent = self.read(theirs.kernel), self.read(theirs.recurrent_kernel)
        if theirs.bias is not None:
            return kernel, recurrent, self.read(theirs.bias)
        twice = [2] if getattr(theirs, "reset_after", False) else []
        return kernel, recurrent, tf.zeros([*twice, self.projection_width], kernel.dtype)


class _Lstm(_OfKeras, LSTMCell):
    def step_weights(self) -> StepWeights:
        kernel, recurrent, bias = self._weights()
        return StepWeights(kernel, bias, [recurrent], [])


class _Gru(_OfKeras, GRUCell):
    def step_weights(self) -> StepWeights:
        return self.in_roles(*self._weights())


class _Basic(_OfKeras, BasicRNNCell):
    def step_weights(self) -> StepWeights:
        kernel, recurrent, bias = self._weights()
        return StepWeights(kernel, bias, [recurrent], [])
