"""What a runner is given, held against what its cell takes, before anything runs: ValueError in words.

What is not known while tracing is asserted when the graph runs; inside an outer `jit_compile`, where XLA runs no
assertion, an example of a wrong length comes out as NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import StepCell, check_is_cell, compute_dtype, initial_states, innermost
from workbench.cells.xla import inside_jit


class StateError(ValueError):
    """An initial state that its cell cannot start from; the message begins with the argument's name."""


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Within, a state refused as one argument is refused as another: the one that the caller knows it by."""
    try:
        yield
    except StateError as error:
        argument, problem = str(error).split(" ", 1)
        raise StateError(f"{names.get(argument, argument)} {problem}") from None


def as_tensors(inputs: Any) -> Any:
    """Inputs, nested, as tensors; ValueError for what is none."""

    def convert(value: Any) -> tf.Tensor:
        if isinstance(value, tf.RaggedTensor):
            raise ValueError(
                "inputs are ragged: pass inputs.to_tensor() with sequence_length=inputs.row_lengths()."
            )
        if isinstance(value, keras.KerasTensor):
            raise ValueError(
                "inputs are symbolic, but a runner is a function of tensors: in a functional model use the layer "
                "workbench.rnn.PackedRNN, or keras.layers.RNN."
            )
        try:
            return tf.convert_to_tensor(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"inputs must be tensors, not {type(value).__name__}: {error}") from error

    return tf.nest.map_structure(convert, inputs)


def check_inputs(cell: Any, inputs: Any, time_major: bool) -> None:
    """Refuses inputs without a time axis, of several batches or lengths, or not of the kind that the cell takes."""
    check_is_cell("a runner", cell)
    layout = "[T, B, ...]" if time_major else "[B, T, ...]"
    tensors = tf.nest.flatten(inputs)
    if not tensors:
        raise ValueError(f"inputs must be {layout}, a tensor or a nest of such, not {inputs!r}.")
    if tensors[0].shape.rank == 0 and isinstance(inputs, (list, tuple)):
        raise ValueError(
            f"inputs are numbers in Python lists, which read as a nest of inputs: pass np.array(inputs), {layout}."
        )
    for tensor in tensors:
        if tensor.shape.rank is None or tensor.shape.rank < 2:
            raise ValueError(f"inputs must be {layout}, not of shape {tensor.shape}.")
        if not tensor.shape[:2].is_compatible_with(tensors[0].shape[:2]):
            raise ValueError(
                f"inputs must be of one batch and one T, {layout}, but some are {tensors[0].shape[:2]} and "
                f"others {tensor.shape[:2]}."
            )
    inner = next(innermost(cell))
    if not isinstance(inner, OF_FLOATS):
        return
    kind = type(inner).__name__
    if tf.nest.is_nested(inputs) or tensors[0].shape.rank != 3:
        found = ", ".join(str(tensor.shape) for tensor in tensors)
        if tf.nest.is_nested(inputs) and len(tensors) == 1:
            found = f"a {type(inputs).__name__} of {found}"
        raise ValueError(f"inputs of {kind} are one tensor {layout[:-4]}D], not {found}.")
    if tensors[0].shape[-1] is None and not inner.built:
        raise ValueError(
            f"inputs of {kind} are {tensors[0].shape}: D must be known while tracing, as the weights are "
            "made for it; tf.ensure_shape gives it."
        )
    if not tensors[0].dtype.is_floating:
        raise ValueError(
            f"inputs of {kind} must be floating, not {tensors[0].dtype.name}: embed ids first, or cast them."
        )


OF_FLOATS = (StepCell, keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)


def check_sequence_length(sequence_length: Any, batch: Any, time_steps: Any) -> tf.Tensor | None:
    """Lengths as int32 [B], each from 0 to T."""
    if sequence_length is None:
        return None
    length = tf.convert_to_tensor(sequence_length)
    if not length.dtype.is_integer:
        raise ValueError(f"sequence_length must be integers, not {length.dtype.name}: cast them to int32.")
    known_batch = tf.get_static_value(batch)
    shape = [None if known_batch is None else int(known_batch)]
    if length.shape.rank != 1 or not length.shape.is_compatible_with(shape):
        raise ValueError(
            f"sequence_length must be one length for each example, [{shape[0] or 'B'}], not {length.shape}."
        )
    known, limit = tf.get_static_value(length), tf.get_static_value(time_steps)
    length = tf.cast(length, tf.int32)
    checks = []
    if None in (known_batch, length.shape[0]):
        message = "sequence_length must be one length for each example"
        checks.append(tf.debugging.assert_equal(tf.shape(length)[0], batch, message))
    if known is not None and limit is not None:
        wrong = [int(n) for n in known if n < 0 or n > limit]
        if wrong:
            raise ValueError(
                f"sequence_length has {wrong[0]}, but the inputs have T={int(limit)} steps: 0 to T is right."
            )
    else:
        message = "sequence_length must be from 0 to T, the inputs' number of steps"
        checks.append(tf.debugging.assert_non_negative(length, message))
        checks.append(tf.debugging.assert_less_equal(length, time_steps, message))
    return _after(checks, length)


def nan_where_wrong(length: tf.Tensor, inputs: Any, time_steps: Any) -> tuple[tf.Tensor, Any]:
    """Lengths and inputs [B, T, ...], nested; inside an outer jit NaN in those whose length is not 0 to T."""
    if not inside_jit() or tf.get_static_value(length) is not None:
        return length, inputs
    wrong = (length < 0) | (length > time_steps)

    def spoil(tensor: tf.Tensor) -> tf.Tensor:
        if not tensor.dtype.is_floating:
            return tensor
        rows = tf.reshape(wrong, [-1, *[1] * (tensor.shape.rank - 1)])
        return tf.where(rows, tf.constant(float("nan"), tensor.dtype), tensor)

    return tf.where(wrong, time_steps, length), tf.nest.map_structure(spoil, inputs)


def nested_as(cell: Any, states: Any) -> Any:
    """Flat initial states, or a single one, in the cell's own structure; what does not fit stays, to be refused."""
    own = initial_states(cell, 1)
    flat = [states] if not tf.nest.is_nested(states) else states
    is_flat = isinstance(flat, (list, tuple)) and not any(map(tf.nest.is_nested, flat))
    if states is None or not is_flat or len(flat) != len(tf.nest.flatten(own)):
        return states
    return tf.nest.pack_sequence_as(own, list(flat))


def given_states(cell: Any, initial_state: Any, batch: Any) -> Any:
    """The initial states that were given, or else the cell's own, in the cell's structure and compute dtype.

    Floating states of another width are cast, as inputs are; all else that differs is a StateError.
    """
    own = initial_states(cell, batch)
    if initial_state is None:
        return own
    if not _nested_alike(own, initial_state):
        raise StateError(
            f"initial_state is {_shown(initial_state)}, but {type(cell).__name__} starts from {_shown(own)}."
        )
    pairs = zip(tf.nest.flatten(initial_state), tf.nest.flatten(own), strict=True)
    return tf.nest.pack_sequence_as(
        own, [_given_state(cell, given, right, initial_state, own, batch) for given, right in pairs]
    )


def _nested_alike(own: Any, given: Any) -> bool:
    """Whether states are nested alike; a list may be a tuple, but no dict, whose order is another."""
    if isinstance(own, Mapping):
        same = isinstance(given, Mapping) and own.keys() == given.keys()
        return same and all(_nested_alike(own[key], given[key]) for key in own)
    if isinstance(own, (list, tuple)):
        same = isinstance(given, (list, tuple)) and len(own) == len(given)
        return same and all(map(_nested_alike, own, given))
    return not isinstance(given, (Mapping, list, tuple))


def _given_state(cell: Any, given: Any, right: Any, all_given: Any, own: Any, batch: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(given)
    kinds_differ = tensor.dtype != right.dtype and not (tensor.dtype.is_floating and right.dtype.is_floating)
    if kinds_differ or not tensor.shape.is_compatible_with(right.shape):
        raise StateError(
            f"initial_state has {_spec(tensor)} where {type(cell).__name__} has {_spec(right)}: it is "
            f"{_shown(all_given)}, and {_shown(own)} is right."
        )
    tensor, checks = tf.cast(tensor, right.dtype), []
    if tensor.shape.rank and None in (tensor.shape[0], right.shape[0]):
        message = "initial_state must have one row for each example"
        checks = [tf.debugging.assert_equal(tf.shape(tensor)[0], batch, message)]
    return tf.ensure_shape(_after(checks, tensor), right.shape)


def computed(cell: Any, tensor: tf.Tensor) -> tf.Tensor:
    """In the cell's compute dtype; integers stay what they are."""
    return tf.cast(tensor, compute_dtype(cell)) if tensor.dtype.is_floating else tensor


def _after(checks: list[Any], tensor: tf.Tensor) -> tf.Tensor:
    checks = [check for check in checks if check is not None]  # outside a graph they have run already
    if not checks:
        return tensor
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def _spec(tensor: Any) -> str:
    tensor = tf.convert_to_tensor(tensor)
    sizes = ["B" if n is None else str(n) for n in tensor.shape] if tensor.shape.rank is not None else ["?"]
    return f"{tensor.dtype.name} [{', '.join(sizes)}]"


def _shown(nest: Any) -> str:
    """A nest of tensors as their dtypes and shapes."""
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, (list, tuple)):
        return "[" + ", ".join(map(_shown, nest)) + "]"
    try:
        return _spec(nest)
    except (TypeError, ValueError):
        return repr(nest)
