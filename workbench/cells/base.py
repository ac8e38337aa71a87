"""A cell as one step: written once, without a gradient, and run by every runner.

    h, [h] = cell.step(projected, [h], weights, product)

`projected` [B, K] is the step's slice of x @ kernel + bias, which a runner makes for all steps in one
product. `product(i, operand, plus=None)` is operand @ recurrent[i] (+ plus); a step makes each of them once.
All else in a step is elementwise or acts on each row alone, with `weights`, the cell's small per-unit
vectors. So a runner may drop finished examples, save what the backward pass needs, and form each matrix's
gradient in one product, and never asks which cell it has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.backend.common.variables import AutocastScope

from workbench.cells.pure import is_pure

Product = Callable[..., tf.Tensor]
Stepper = Callable[[Any, Any], tuple[Any, Any]]
register = keras.saving.register_keras_serializable(package="workbench")


class StepWeights(NamedTuple):
    """A cell's weights as tensors of its compute dtype, in the roles that a runner knows."""

    kernel: tf.Tensor  # [D, K]
    bias: tf.Tensor  # [K]
    recurrent: list[tf.Tensor]  # matrices, as product(i, ...) numbers them
    small: list[tf.Tensor]  # per-unit vectors, `weights` of step()

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """inputs [..., D] @ kernel + bias: [..., K]."""
        if inputs.shape[-1] not in (None, self.kernel.shape[0]):
            raise ValueError(
                f"inputs have {inputs.shape[-1]} features, but the cell was built for {self.kernel.shape[0]}."
            )
        return tf.matmul(inputs, self.kernel) + self.bias

    def product(self, i: int, operand: tf.Tensor, plus: tf.Tensor | None = None) -> tf.Tensor:
        """operand @ recurrent[i] (+ plus)."""
        result = tf.matmul(operand, self.recurrent[i])
        return result if plus is None else result + plus


class KerasForm(NamedTuple):
    """A cell as one of Keras' RNN layers has it: the same numbers from the layer with these weights."""

    layer: type  # keras.layers.LSTM, GRU or SimpleRNN
    options: dict[str, Any]  # beside the units
    weights: dict[str, tf.Tensor]  # by their names in the layer's cell; the bias with the forget bias in it


class Cell(keras.layers.Layer):
    """What every cell here is: a Keras cell, whose options are attributes of the same names.

    A subclass sets `state_size` (an int, or a list of them, nested) and `output_size`, and writes `stepper`, or
    `call(inputs [B, D], states, training=False) -> (output [B, output_size], new_states)`. States are a list.
    """

    state_size: Any
    output_size: Any
    numbers_of_parent: bool = False  # of a subclass that computes what its parent does, by other means
    memory_states: tuple[int, ...] = ()  # places of the states that state dropout leaves alone: an LSTM's c
    beyond_keras: tuple[
        str, ...
    ] = ()  # options that no layer of Keras' has: none has a form where one is set

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.activity_regularizer is not None:  # Keras applies it where it calls a layer, never in a loop
            raise ValueError(
                f"activity_regularizer is no option of {type(self).__name__}: it acts on a layer's outputs, so "
                "give it to PackedRNN."
            )

    def _post_build(self) -> None:
        """Keras calls it after `build`."""
        super()._post_build()
        freeze_inside(self)

    def keras_form(self, dtype: Any = None) -> KerasForm | None:
        """This cell as a layer of Keras' own; None where Keras has none that computes the same.

        Weights come in the compute dtype, or in the one given.
        """
        return None

    def draws_once(self, training: bool) -> bool:
        """Whether a stepper draws at random what all its steps share."""
        return False

    def stepper(self, training: bool = False) -> Stepper:
        """`(inputs, states) -> (output, new_states)` for all steps of one run.

        What is the same at every step is made here once: weights joined, a dropout mask drawn.
        """
        return lambda inputs, states: self.call(inputs, states, training=training)

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, Any]:
        """One step, as Keras calls a cell."""
        if self.draws_once(training):
            raise NotImplementedError(
                f"{type(self).__name__} draws one dropout mask for all steps of a run, but keras.layers.RNN calls "
                "it step by step and cannot say where a run begins: use a runner of workbench.rnn.RNNS."
            )
        return self.stepper(training)(inputs, states)

    def get_initial_state(self, batch_size: Any = None) -> Any:
        """Zeros in the structure of `state_size`, [batch_size, n] each."""
        return zero_states(self, batch_size)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this cell again: those of its class's `__init__` and of its parents'."""
        options = [
            name
            for kind in reversed(type(self).__mro__)
            if issubclass(kind, Cell) and "__init__" in vars(kind)
            for name, parameter in inspect.signature(kind.__init__).parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        return {**super().get_config(), **{name: _serialised(getattr(self, name)) for name in options}}

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        """As Keras', but the start of a half is drawn in float32 and rounded, which every initializer can do.

        An orthogonal matrix comes of a QR decomposition, and TensorFlow has none in bfloat16.
        """
        if (kwargs.get("dtype") or self.variable_dtype) in ("bfloat16", "float16"):
            draw = keras.initializers.get(kwargs.get("initializer") or "glorot_uniform")
            kwargs["initializer"] = lambda shape, dtype=None: tf.cast(draw(shape, dtype="float32"), dtype)
        return super().add_weight(*args, **kwargs)

    def read(self, variable: Any, dtype: Any = None) -> tf.Tensor:
        """A variable as a tensor of the compute dtype, or of the one given, inside or outside `call`."""
        with AutocastScope(None):  # in a layer of halves around it Keras would round it first
            value = tf.convert_to_tensor(variable)
        return tf.cast(value, dtype or self.compute_dtype)


class StepCell(Cell):
    """A cell that is written as one step; `call` is made from it.

    A subclass sets `projection_width` (K), `state_size` and `output_size`, makes its variables in `build`,
    gives them their roles in `step_weights`, and writes `step`.
    """

    projection_width: int

    def __init__(
        self,
        units: int,
        *,
        activation: Any = "tanh",
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive("units", units)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

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

    def has_step(self, training: bool) -> bool:
        """Whether `step` is all there is to a step.

        Not where something random acts inside it, nor where an activation of one's own draws, or reads what may be
        another thing at the next call (`is_pure`).
        """
        return is_pure(self.activation, self.units, self.compute_dtype)

    def stepper(self, training: bool = False) -> Stepper:
        """`step` on inputs that are not projected yet."""
        weights = self.step_weights()
        width, columns = getattr(self, "projection_width", None), weights.kernel.shape[-1]
        if width != columns:
            raise ValueError(
                f"{type(self).__name__}.projection_width is {width}, but the kernel of its step_weights has "
                f"{columns} columns."
            )

        def run(inputs: tf.Tensor, states: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            return self.step(weights.project(inputs), list(states), weights.small, weights.product)

        return run

    def add_kernel(self, name: str, rows: int, columns: int) -> Any:
        """A matrix [rows, columns] that starts by `kernel_initializer`."""
        return self.add_weight(shape=(rows, columns), name=name, initializer=again(self.kernel_initializer))

    def add_recurrent(self, name: str, rows: int, columns: int) -> Any:
        """A matrix [rows, columns] that starts by `recurrent_initializer`."""
        return self.add_weight(
            shape=(rows, columns), name=name, initializer=again(self.recurrent_initializer)
        )

    def add_vector(self, name: str, size: int, initializer: Any = None) -> Any:
        """A vector [size] that starts by `bias_initializer`, or the one given."""
        initializer = self.bias_initializer if initializer is None else initializer
        return self.add_weight(shape=(size,), name=name, initializer=again(initializer))

    def raised(self, bias: Any, *by: float, dtype: Any = None) -> tf.Tensor:
        """A bias of several gates with a constant added to each gate's part: `raised(b, 0, forget_bias)`."""
        constant = tf.repeat(tf.constant(by, dtype or self.compute_dtype), self.units)
        return self.read(bias, dtype) + constant


_COMPUTES = ("step", "step_weights", "has_step", "stepper", "call")


def keras_form_of(cell: Any, dtype: Any = None, *, by_numbers: bool = False) -> KerasForm | None:
    """A built cell's `keras_form`; None too where a subclass of the class that gave it computes in its own way.

    `by_numbers`: a way of its own that gives the parent's numbers is no hindrance.
    """
    for kind in type(cell).__mro__ if isinstance(cell, Cell) else ():
        if "keras_form" in vars(kind):
            return cell.keras_form(dtype)
        if any(name in vars(kind) for name in _COMPUTES) and not (
            by_numbers and vars(kind).get("numbers_of_parent")
        ):
            return None
    return None


def stepper(cell: Any, training: bool) -> Stepper:
    """The stepper of any cell, ours or Keras'; as Keras', one that is no layer is not told of training."""
    if isinstance(cell, Cell):
        return cell.stepper(training)
    is_told = isinstance(cell, keras.layers.Layer) and "training" in inspect.signature(cell.call).parameters
    options = {"training": training} if is_told else {}
    return lambda inputs, states: cell(inputs, states, **options)


def build(cell: Any, input_shape: Any) -> None:
    """Makes a cell's variables for inputs of that shape, if they are not there."""
    if not isinstance(cell, keras.layers.Layer) or cell.built:
        return
    try:
        cell.build(input_shape)
    except tf.errors.InvalidArgumentError as error:
        if "Qr" not in str(error):
            raise
        raise ValueError(
            f"{type(cell).__name__} {cell.name} cannot start in {cell.variable_dtype}: TensorFlow makes "
            'no orthogonal matrix in it: give it recurrent_initializer="glorot_uniform", or dtype='
            '"mixed_bfloat16", or take a cell of workbench.cells.'
        ) from error


def freeze_inside(layer: Any) -> None:
    """Freezes all that lies in a frozen layer, as Keras does where `trainable` is set, but not where it is given.

    Called at the end of a constructor, since a layer that was made before, and handed in, would be trained; after
    `build` too, since Keras makes the variables of a frozen layer trainable. Each is told by itself: TensorFlow
    passes over what is set to the value that it has.
    """
    for frozen in [one for one in layer._flatten_layers() if not one.trainable]:
        for inside in frozen._flatten_layers():
            inside.trainable = False
            for variable in inside.variables:
                variable.trainable = False


def check_is_cell(what: str, cell: Any) -> None:
    """Refuses what is no cell, as a name, a class, or a layer that has one; `what` needs it."""
    if isinstance(cell, type):
        raise TypeError(
            f"{what} needs a cell, not the class {cell.__name__}: make one, {cell.__name__}(units)."
        )
    if isinstance(cell, keras.layers.RNN):
        raise TypeError(f"{what} needs a cell, not the layer {type(cell).__name__}: give it layer.cell.")
    if not callable(cell) or not hasattr(cell, "state_size"):
        raise TypeError(
            f"{what} needs a cell with Keras' cell contract (call, state_size), not {cell!r}: take one of "
            "workbench.cells.CELLS, as CELLS['lstm'](units)."
        )
    if type(cell).__hash__ is None:
        raise TypeError(
            f"{what} needs a cell that can be told from others, and {type(cell).__name__} has __eq__ without "
            "__hash__, as a dataclass: give it @dataclass(eq=False)."
        )


def check_dtype_of(what: Any, cell: Any) -> None:
    """Refuses a cell that computes in another dtype than what stands around it; one that names none follows."""
    found = getattr(cell, "compute_dtype", None) or what.compute_dtype
    if found != what.compute_dtype:
        raise ValueError(
            f"{type(what).__name__} computes in {what.compute_dtype}, but {type(cell).__name__} {cell.name} in it "
            f"in {found}: make both of one dtype."
        )


def with_those_inside(cell: Any) -> Iterator[Any]:
    """A cell, and each that it wraps (`cell`) or stacks (`cells`), and so on."""
    yield cell
    for inner in _inside(cell):
        yield from with_those_inside(inner)


def innermost(cell: Any) -> Iterator[Any]:
    """The cells that a cell is made of: itself, or those that it wraps (`cell`) or stacks (`cells`)."""
    return (one for one in with_those_inside(cell) if not _inside(one))


def _inside(cell: Any) -> list[Any]:
    cells, one = getattr(cell, "cells", None), getattr(cell, "cell", None)
    found = [*cells] if isinstance(cells, list | tuple) else []
    return [each for each in [*found, one] if hasattr(each, "state_size")]


def share_a_cell(cells: Iterable[Any]) -> bool:
    """Whether two of the cells are, or have inside, one cell, and so its weights."""
    inside = [{id(inner) for inner in innermost(cell)} for cell in cells]
    return len(set().union(*inside)) < sum(map(len, inside))


def state_sizes(cell: Any) -> list[Any]:
    """A cell's `state_size` as a list, of one where it is a number."""
    return [cell.state_size] if isinstance(cell.state_size, int) else list(cell.state_size)


def compute_dtype(cell: Any) -> tf.DType:
    """What any cell computes in; one without a dtype in Keras' default."""
    return tf.as_dtype(getattr(cell, "compute_dtype", None) or keras.config.floatx())


def zero_states(cell: Any, batch_size: Any) -> Any:
    """Zeros in the structure of any cell's `state_size`; a single state comes as a list of one."""
    dtype = compute_dtype(cell)
    return tf.nest.map_structure(lambda n: tf.zeros([batch_size, n], dtype), state_sizes(cell))


def initial_states(cell: Any, batch_size: Any) -> Any:
    """What any cell starts from, by its own `get_initial_state` where it has one."""
    own = getattr(cell, "get_initial_state", None)
    states = zero_states(cell, batch_size) if own is None else own(batch_size=batch_size)
    return states if tf.nest.is_nested(states) else [states]  # a tensor, as Keras takes a single state


def output_size(cell: Any) -> Any:
    """A cell's `output_size`; without one, Keras' contract is that the first state is the output."""
    size = getattr(cell, "output_size", None)
    return tf.nest.flatten(cell.state_size)[0] if size is None else size


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


def again(initializer: Any) -> Any:
    """A fresh copy of an initialiser without a seed, which gives the same numbers each time it is called.

    Of one that has a seed, or does not tell its options, there is none: it is called as Keras calls it.
    """
    kind = type(initializer)
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    tells = kind.__module__.startswith("keras.") or "get_config" in vars(kind)
    unseeded = tells and initializer.get_config().get("seed", 0) is None
    return initializer.clone() if unseeded else initializer


def _serialised(value: Any) -> Any:
    if isinstance(value, keras.initializers.Initializer):
        return keras.initializers.serialize(value)
    if isinstance(value, keras.layers.Layer):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, (list, tuple)):
        return [_serialised(item) for item in value]
    return keras.activations.serialize(value) if callable(value) else value
