"""A model's variables, as far as they can be found: remembered, moved, and given back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.probes.found_variables import is_seed, layers_of, states_of, variables_of
from workbench.probes.traced import array

Values = list[tuple[Any, np.ndarray]]
"""Variables, each with a value."""


class KeptVariables:
    """The variables of a model, and the values that it was given with and is tried with."""

    def __init__(self, model: Any) -> None:
        self._model, self._is_keras = model, isinstance(model, keras.layers.Layer)
        self._given: Values = []
        self.tried: Values = []

    def all(self) -> list[Any]:
        """All variables that can be found, trainable or not."""
        found = list(self._model.variables) if self._is_keras else list(variables_of(self._model))
        layers = self._model._flatten_layers() if self._is_keras else ()
        for layer in layers:  # what a stateful layer keeps is not among its variables
            found += states_of(layer)
        return [v for v in found if not isinstance(v, tf.Tensor)]

    def trainable(self) -> list[Any]:
        """TensorFlow's variables that are trained."""
        if self._is_keras:
            return [v.value for v in self._model.trainable_variables]
        return [getattr(v, "value", v) if isinstance(v, keras.Variable) else v
                for v in self.all() if getattr(v, "trainable", False)]  # fmt: skip

    def floats(self) -> list[Any]:
        """Variables of floating point."""
        return [v for v in self.all() if "float" in str(v.dtype)]

    def now(self) -> Values:
        """All that can be found as it is now, with TensorFlow's own variables that Keras does not know of."""
        return [(one, array(one)) for one in (*self.all(), *self._held_by_layers())]

    def begin_again(self, before: Values) -> None:
        """After a first call, which may have made variables: the others as before, new states at their start."""
        there = {id(one) for one, _ in before}
        for layer in layers_of(self._model):
            if any(id(one) not in there for one in states_of(layer)) and hasattr(layer, "reset_state"):
                layer.reset_state()
        for variable, value in before:
            variable.assign(value)

    def keep(self) -> None:
        """Remember the values of all variables; biases that are trained and 0 get small numbers, as in training.

        A bias of 0 hides faults: a backward RNN stays at 0 through padding that is 0 (of an LSTM's only the part of
        the forget gate is 1).
        """
        if self._given:
            return
        random = np.random.default_rng(0)
        for variable in self.all():
            value = array(variable)
            self._given.append((variable, value))
            still = (value == 0) if "float" in str(value.dtype) else np.zeros(value.shape, bool)
            is_bias = still.all() or (value.ndim == 1 and still.any() and set(np.unique(value)) == {0, 1})
            if getattr(variable, "trainable", False) and is_bias:
                value = np.where(still, 0.2 * random.normal(size=value.shape), value).astype(value.dtype)
            self.tried.append((variable, value))
        for variable in self._held_by_layers():
            self._given.append((variable, array(variable)))
            self.tried.append(self._given[-1])
        self.restore()

    def restore(self) -> None:
        """Back to the values that the model is tried with."""
        for variable, value in self.tried:
            variable.assign(value)

    def seed(self, more: int = 0) -> None:
        """The generators that layers hold as they were at first, or that many further."""
        for variable, value in self.tried:
            if is_seed(variable):
                variable.assign(value + more if more else value)

    def give_back(self) -> None:
        """Back to the values that the model was given with."""
        for variable, value in self._given:
            variable.assign(value)

    def _held_by_layers(self) -> list[tf.Variable]:
        """TensorFlow's own variables that layers hold, of which Keras does not know."""
        layers = self._model._flatten_layers() if self._is_keras else ()
        return [one for layer in layers for one in vars(layer).values() if isinstance(one, tf.Variable)]
