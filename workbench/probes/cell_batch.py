"""A cell with drawn weights over a padded batch: running it, alone and by a runner, and comparing the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from workbench.cells.base import initial_states, output_size
from workbench.probes.raised import said

LENGTHS = (3, 1, 0, 2)
NEAR = {"float64": 1e-9, "float32": 2e-5}


class CellError(AssertionError):
    """A cell failed a check; the message names the check, the runner, what differs by how much, and the remedy."""


class Run(NamedTuple):
    """What one run over a batch gave: all that must not depend on padding, as flat lists of arrays."""

    outputs: list[np.ndarray]
    states: list[np.ndarray]
    grad_inputs: list[np.ndarray]
    grad_weights: list[np.ndarray]
    grad_states: list[np.ndarray]  # of the initial states, where some were given


class Batch:
    """A cell with drawn weights, and a padded batch for it.

    `without_gradient` names what is meant to have no gradient: "inputs", "states", or a weight.
    """

    def __init__(
        self, cell: Any, input_size: Any = 6, seed: int = 0, without_gradient: tuple[str, ...] = ()
    ) -> None:
        self.cell, self.input_size, self.random = cell, input_size, np.random.default_rng(seed)
        self.without_gradient = without_gradient
        if not isinstance(cell, keras.layers.Layer):
            what = f"the class {cell.__name__}" if isinstance(cell, type) else f"a {type(cell).__name__}"
            raise CellError(f"a cell is a keras.layers.Layer, made and not yet run; this is {what}.")
        self.dtype = np.dtype(tf.as_dtype(cell.compute_dtype).as_numpy_dtype)
        self.near = NEAR.get(self.dtype.name, 2e-2)
        if not cell.built:
            try:
                cell.build(self.input_shape)
            except Exception as error:
                raise CellError(f"{self.name()}: build({self.input_shape}) raises {said(error)}") from error
        for variable in cell.trainable_variables:
            value = self.random.uniform(-0.6, 0.6, variable.shape)
            constraint = getattr(variable, "constraint", None)
            variable.assign(value if constraint is None else constraint(tf.constant(value, variable.dtype)))
        self.lengths = np.array(LENGTHS, "int32")
        self.inputs = self.draw(len(LENGTHS), max(LENGTHS))
        self._runs: dict[Any, Run] = {}

    @property
    def input_shape(self) -> Any:
        """What the cell is built for: (None, D), nested as the inputs."""
        return tf.nest.map_structure(lambda n: (None, n), self.input_size)

    def draw(self, *leading: int) -> Any:
        """Random inputs [*leading, D] in the cell's dtype."""
        return tf.nest.map_structure(
            lambda n: self.random.normal(size=(*leading, n)).astype(self.dtype), self.input_size
        )

    def step_inputs(self) -> Any:
        """The inputs of the first step, [B, D]."""
        return tf.nest.map_structure(lambda x: tf.constant(x[:, 0]), self.inputs)

    def step_states(self) -> Any:
        """States drawn at random, as the cell's initial ones are shaped; integers stay as they start."""
        return tf.nest.map_structure(
            lambda s: (
                tf.constant(np.random.default_rng(1).normal(0, 0.5, s.shape), s.dtype)
                if s.dtype.is_floating
                else s
            ),
            initial_states(self.cell, len(LENGTHS)),
        )

    def run(self, rnn: Callable[..., Any]) -> Run:
        """The batch as it is, by a runner; kept, since most checks hold something against it."""
        if rnn not in self._runs:
            self._runs[rnn] = run(self, rnn, self.inputs, self.lengths)
        return self._runs[rnn]

    def name(self) -> str:
        """What an error calls the cell."""
        return type(self.cell).__name__


def told(batch: Batch, where: str, check: Callable[..., Any], *args: Any) -> None:
    """Runs a check; whatever else than CellError it raises becomes one, which says what should hold."""
    try:
        check(batch, *args)
    except CellError:
        raise
    except Exception as error:
        holds = (check.__doc__ or "").strip().splitlines()[0]
        raise CellError(
            f"{batch.name()}, {where}: should hold: {holds} But it raises {said(error)}"
        ) from error


# ------------------------------------------------------------ running
def tensors(
    batch: Batch, rnn: Callable[..., Any], inputs: Any, lengths: Any, rows: Any, states: Any = None
) -> Any:
    """A run's outputs, states and gradients, as tensors."""
    variables = [v.value for v in batch.cell.trainable_variables]
    watched = tf.nest.flatten(inputs)
    starts = [] if states is None else [s for s in tf.nest.flatten(states) if s.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch([*watched, *starts])
        outputs, final = rnn(
            batch.cell, inputs, lengths, **({} if states is None else {"initial_state": states})
        )
        total = weighed([*tf.nest.flatten(outputs), *tf.nest.flatten(final)], rows)
    of_inputs, of_weights, of_states = tape.gradient(
        total, (watched, variables, starts), unconnected_gradients="zero"
    )
    return (
        tf.nest.flatten(outputs),
        tf.nest.flatten(final),
        of_inputs,
        [tf.convert_to_tensor(g) for g in of_weights],
        of_states,
    )


def weighed(results: list[tf.Tensor], rows: Any) -> tf.Tensor:
    """A scalar of results [B, ...], each weighed by example, step and unit alone, so equal under padding."""
    return tf.add_n(
        [tf.reduce_sum(x * _cotangent(rows, x, i)) for i, x in enumerate(results) if x.dtype.is_floating]
    )


def _cotangent(rows: Any, tensor: tf.Tensor, position: int) -> tf.Tensor:
    shape = tensor.shape
    row = np.reshape(np.asarray(list(rows), float), (-1, *[1] * (len(shape) - 1)))
    phase = np.zeros(shape[1:])
    for i, axis in enumerate(np.indices(shape[1:])):
        phase = phase + (1.3 + i) * axis
    return tf.constant(np.cos(0.7 * row + phase + position), tensor.dtype)


def run(
    batch: Batch, rnn: Callable[..., Any], inputs: Any, lengths: Any, rows: Any = None, states: Any = None
) -> Run:
    """A runner over inputs [B, T, ...], of which `rows` are the examples' numbers in the batch, from `states`."""
    rows = range(len(LENGTHS)) if rows is None else rows
    inputs, states = (
        nest if nest is None else tf.nest.map_structure(tf.constant, nest) for nest in (inputs, states)
    )
    return Run(*tf.nest.map_structure(array, tensors(batch, rnn, inputs, lengths, rows, states)))


def alone(
    batch: Batch, row: int, length: int | None, inputs: Any = None, states: Any = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A plain loop over one example's valid part: outputs [length, ...], last states.

    The example is of the batch, or of `inputs`, from the initial states of the cell or its own of `states`.
    """
    cell, steps = batch.cell, max(LENGTHS) if length is None else length
    inputs = batch.inputs if inputs is None else inputs
    if states is None:
        states = initial_states(cell, 1)
    else:
        states = tf.nest.map_structure(lambda s: tf.constant(s[row : row + 1]), states)
    collected = []
    for t in range(steps):
        step = tf.nest.map_structure(lambda x, t=t: tf.constant(x[row : row + 1, t]), inputs)
        output, new_states = cell(step, states)
        states = tf.nest.pack_sequence_as(states, tf.nest.flatten(new_states))
        collected.append([array(o)[0] for o in tf.nest.flatten(output)])
    flat_states = [array(s)[0] for s in tf.nest.flatten(states)]
    if not collected:
        return [np.zeros(0) for _ in tf.nest.flatten(output_size(cell))], flat_states
    return [np.stack(steps) for steps in zip(*collected, strict=True)], flat_states


def array(tensor: Any) -> np.ndarray:
    """Whatever it is, in NumPy."""
    return np.asarray(tf.convert_to_tensor(tensor))


# ------------------------------------------------------------ comparing
def same_run(batch: Batch, name: str, change: str, one: Run, other: Run) -> None:
    """Two runs give the same over the steps that both have."""
    steps = min(one.outputs[0].shape[1], other.outputs[0].shape[1])
    for what, a, b in zip(Run._fields, one, other, strict=True):
        if what in ("outputs", "grad_inputs"):
            a, b = [x[:, :steps] for x in a], [x[:, :steps] for x in b]
        compare(batch, name, f"{what} {change}", a, b)


def compare(batch: Batch, name: str, what: str, expected: Any, found: Any, near: float | None = None) -> None:
    """Two nests of arrays are equal within the tolerance of the cell's dtype."""
    near = batch.near if near is None else near
    for e, f in zip(tf.nest.flatten(expected), tf.nest.flatten(found), strict=True):
        e, f = (np.asarray(array(x), float) for x in (e, f))
        if e.size == 0 and f.size == 0:
            continue
        if e.shape != f.shape:
            raise CellError(f"{batch.name()}, {name}: {what} differ in shape: {e.shape} and {f.shape}.")
        if not np.allclose(e, f, rtol=near, atol=near):
            worst = np.max(np.abs(e - f))
            raise CellError(f"{batch.name()}, {name}: {what} differ by {worst:.3g} (allowed: {near:.0e}).")


def attributes(cell: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that a cell, and what is in it, has beside those of every layer."""
    every = vars(keras.layers.Layer())
    for layer in cell._flatten_layers():
        for name, value in vars(layer).items():
            if name not in every:
                yield f"{layer.name}.{name}", value
