"""A cell as one step: written once, without a gradient, and run by every runner.

    h, [h] = cell.step(projected, [h], weights, product)

`projected` [B, K] is the step's slice of x @ kernel + bias, which a runner makes for all steps in one
product. `product(i, operand, plus=None)` is operand @ recurrent[i] (+ plus). All else in a step is
elementwise or acts on each row alone, with `weights`, the cell's small per-unit vectors. So a runner may drop
finished examples, save what the backward pass needs, and form each matrix's gradient in one product, and
never asks which cell it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

Product = Callable[..., tf.Tensor]
register = keras.saving.register_keras_serializable(package="workbench")


class StepWeights(NamedTuple):
    """A cell's weights as tensors of its compute dtype, in the roles that a runner knows."""

    kernel: tf.Tensor  # [D, K]
    bias: tf.Tensor  # [K]
    recurrent: list[tf.Tensor]  # matrices, as product(i, ...) numbers them
    small: list[tf.Tensor]  # per-unit vectors, `weights` of step()

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """inputs [..., D] @ kernel + bias: [..., K]."""
        return tf.matmul(inputs, self.kernel) + self.bias

    def product(self, i: int, operand: tf.Tensor, plus: tf.Tensor | None = None) -> tf.Tensor:
        """operand @ recurrent[i] (+ plus)."""
        result = tf.matmul(operand, self.recurrent[i])
        return result if plus is None else result + plus


class Cell(keras.layers.Layer):
    """What every cell here is: a Keras cell whose options are kept for `get_config`.

    A subclass sets `state_size` (an int, or a list of them) and `output_size`, and writes
    `call(inputs [B, D], states, training=False) -> (output [B, output_size], new_states)`. States are a list.
    `options` are the subclass's own arguments; initialisers, activations and cells are serialised as Keras
    does.
    """

    state_size: Any
    output_size: int

    def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._options = options

    def get_initial_state(self, batch_size: Any = None) -> Any:
        """Zeros in the structure of `state_size`, [batch_size, n] each."""
        sizes = [self.state_size] if isinstance(self.state_size, int) else self.state_size
        return tf.nest.map_structure(lambda n: tf.zeros([batch_size, n], self.compute_dtype), list(sizes))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this cell again."""
        return {**super().get_config(), **{k: _serialised(v) for k, v in self._options.items()}}


class StepCell(Cell):
    """A cell that is written as one step; `call` is made from it.

    A subclass sets `projection_width` (K), `state_size` and `output_size` in `__init__`, makes its variables
    in `build`, gives them their roles in `step_weights`, and writes `step`.
    """

    projection_width: int

    def __init__(
        self,
        units: int,
        options: dict[str, Any],
        *,
        activation: Any = "tanh",
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        check_positive("units", units)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        common = {
            "units": units,
            "activation": self.activation,
            "kernel_initializer": self.kernel_initializer,
            "recurrent_initializer": self.recurrent_initializer,
            "bias_initializer": self.bias_initializer,
        }
        super().__init__({**common, **options}, **kwargs)
        self.units = units

    def step(
        self,
        projected: tf.Tensor,
        states: Sequence[tf.Tensor],
        weights: Sequence[tf.Tensor],
        product: Product,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One step: `(output, new_states)`; see the module's text for the arguments."""
        raise NotImplementedError(f"{type(self).__name__} has no step()")

    def step_weights(self) -> StepWeights:
        """The variables in their roles, read once before a loop."""
        raise NotImplementedError(f"{type(self).__name__} has no step_weights()")

    def call(
        self, inputs: tf.Tensor, states: Sequence[tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, list]:
        """One step from inputs [B, D], as Keras calls a cell."""
        weights = self.step_weights()
        return self.step(weights.project(inputs), list(states), weights.small, weights.product)

    def read(self, variable: Any) -> tf.Tensor:
        """A variable as a tensor of the compute dtype, inside or outside `call`."""
        return tf.cast(tf.convert_to_tensor(variable), self.compute_dtype)

    def add_kernel(self, name: str, rows: int, columns: int) -> Any:
        """A matrix [rows, columns] that starts by `kernel_initializer`."""
        return self.add_weight(shape=(rows, columns), name=name, initializer=_again(self.kernel_initializer))

    def add_recurrent(self, name: str, rows: int, columns: int) -> Any:
        """A matrix [rows, columns] that starts by `recurrent_initializer`."""
        return self.add_weight(
            shape=(rows, columns), name=name, initializer=_again(self.recurrent_initializer)
        )

    def add_vector(self, name: str, size: int, initializer: Any = None) -> Any:
        """A vector [size] that starts by `bias_initializer`, or the one given."""
        initializer = self.bias_initializer if initializer is None else initializer
        return self.add_weight(shape=(size,), name=name, initializer=_again(initializer))


def gates(joint: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Splits [B, count * units] into the gates' own tensors."""
    return tf.split(joint, count, axis=-1)


def clip(value: tf.Tensor, bound: float | None) -> tf.Tensor:
    """Clips to [-bound, bound]; None leaves it as it is."""
    return value if bound is None else tf.clip_by_value(value, -bound, bound)


def check_positive(name: str, value: Any, *, whole: bool = True, optional: bool = False) -> None:
    """Refuses an option that is not a positive number (`whole`: an integer; `optional`: None is fine)."""
    if optional and value is None:
        return
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
        kind = "integer" if whole else "number"
        raise ValueError(f"{name} must be a positive {kind}{' or None' if optional else ''}, not {value!r}.")


def _again(initializer: Any) -> Any:
    """A fresh copy, since an initialiser object gives the same numbers each time it is called."""
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.clone()
    return initializer


def _serialised(value: Any) -> Any:
    if isinstance(value, keras.initializers.Initializer):
        return keras.initializers.serialize(value)
    if isinstance(value, keras.layers.Layer):
        return keras.saving.serialize_keras_object(value)
    if callable(value):
        return keras.activations.serialize(value)
    return value
