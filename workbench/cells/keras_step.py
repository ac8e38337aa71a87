"""Keras' own cells in one-step form: their variables and activations, in the steps that stand here."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, gates
from workbench.cells.basic_rnn import BasicRNNCell
from workbench.cells.gru import GRUCell
from workbench.cells.lstm import LSTMCell
from workbench.cells.pure import is_pure

_HELD_AS = "_workbench_step_form"
"""In the cell itself, past Keras' tracking: a table would keep what an activation keeps, as a model, for ever."""
_MAKE: dict[type, Callable[..., StepCell]] = {
    keras.layers.LSTMCell: lambda theirs, **o: _Lstm(theirs.units, forget_bias=0.0, **o),
    keras.layers.GRUCell: lambda theirs, **o: _Gru(theirs.units, reset_after=theirs.reset_after, **o),
    keras.layers.SimpleRNNCell: lambda theirs, **o: _Basic(theirs.units, **o),
}


def step_form(cell: Any, training: bool) -> StepCell | None:
    """A cell that computes from the variables of a built LSTMCell, GRUCell or SimpleRNNCell of Keras', by one step.

    Regularizers and constraints stay where they are, at the variables. Dropout of the inputs is not in it: that is
    one mask for all steps, which a runner applies at once. None for other cells, whose `call` may do anything, and
    where masks act inside a step: with recurrent dropout in training, and a mask for each gate. Nor where an
    activation is not pure (a layer, a function that reads variables, a tensor, a list or an object, or draws): only
    TensorFlow's own loop reads that anew, and has its gradient.
    """
    if type(cell) not in _MAKE or cell.activity_regularizer is not None:
        return None
    by_gates = getattr(cell, "dropout_mask_count", None) is not None
    if training and (cell.recurrent_dropout or (cell.dropout and by_gates)):
        return None
    if not all(is_pure(one, cell.units, cell.compute_dtype) for one in _activations(cell)):
        return None
    kept = vars(cell).get(_HELD_AS)
    if kept is None or not kept.is_of(cell):
        kept = vars(cell)[_HELD_AS] = _Kept(cell)
    return kept.form


class _Kept:
    """A cell's form, and the options of which it was made, which may be set anew."""

    def __init__(self, cell: Any) -> None:
        self.cell = weakref.ref(cell)
        self.activations, self.policy = _activations(cell), cell.dtype_policy
        self.form = _made(cell)

    def is_of(self, cell: Any) -> bool:
        same = all(one is other for one, other in zip(self.activations, _activations(cell), strict=True))
        return same and self.policy == cell.dtype_policy and self.cell() is cell


def _activations(cell: Any) -> tuple[Any, Any]:
    return cell.activation, getattr(cell, "recurrent_activation", keras.activations.sigmoid)


def _made(cell: Any) -> StepCell:
    zeros = {f"{name}_initializer": "zeros" for name in ("kernel", "recurrent", "bias")}  # they draw no seed
    activation, gate = _activations(cell)
    made = _MAKE[type(cell)](cell, dtype=cell.dtype_policy, activation=activation, name=cell.name, **zeros)
    made.theirs = weakref.ref(cell)
    made.built = True
    made.gate = tf.sigmoid if gate is keras.activations.sigmoid else made.gate_of(gate)
    return made


class _OfKeras(StepCell):
    """What all three read their variables from."""

    theirs: Callable[[], Any]

    @staticmethod
    def gate_of(activation: Any) -> Any:
        """What a step applies to its gates, for Keras' activation of each."""
        return activation

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
    @staticmethod
    def gate_of(activation: Any) -> Any:
        """Of both at once, for one that is not elementwise too, as softmax."""
        return lambda joint: tf.concat([activation(one) for one in gates(joint, 2)], -1)

    def step_weights(self) -> StepWeights:
        return self.in_roles(*self._weights())


class _Basic(_OfKeras, BasicRNNCell):
    def step_weights(self) -> StepWeights:
        kernel, recurrent, bias = self._weights()
        return StepWeights(kernel, bias, [recurrent], [])
