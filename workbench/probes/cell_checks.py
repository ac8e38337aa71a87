"""The conformance suite for a cell, public: `check_cell(cell)` says whether anyone's own cell can be trusted.

A cell is run over a padded batch by every runner, and compared with a plain Python loop that takes each example
alone, without its padding. Whatever the padding holds and however long it is, nothing may differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from workbench.cells.base import initial_states, output_size
from workbench.rnn import RNNS
from workbench.rnn.table import EVERYWHERE

LENGTHS = (3, 1, 0, 2)


class CellError(AssertionError):
    """A cell failed a check; the message names the check, the runner, and what differs by how much."""


class Run(NamedTuple):
    """What one run over a batch gave: all that must not depend on padding, as flat lists of arrays."""

    outputs: list[np.ndarray]
    states: list[np.ndarray]
    grad_inputs: list[np.ndarray]
    grad_weights: list[np.ndarray]


def check_cell(
    cell: Any,
    *,
    input_size: Any = 6,
    rnns: Mapping[str, Callable[..., Any]] = EVERYWHERE,
    seed: int = 0,
) -> None:
    """Runs every check of CHECKS on a cell, and of RUNNER_CHECKS with every runner; raises CellError at the first.

    `cell` follows Keras' cell contract; `input_size` is the size D of its inputs [B, D], or a nest of sizes.
    The cell is built if it was not, and its weights are drawn anew by `seed`, so hand in one for the purpose.
    Tolerances follow its dtype: float64 shows most.

        check_cell(MyCell(5, dtype="float64"))
    """
    batch = Batch(cell, input_size, seed)
    for check in CHECKS.values():
        check(batch)
    for name, rnn in rnns.items():
        for check_in in RUNNER_CHECKS.values():
            check_in(batch, name, rnn)


class Batch:
    """A cell with drawn weights, and a padded batch for it."""

    def __init__(self, cell: Any, input_size: Any = 6, seed: int = 0) -> None:
        self.cell, self.input_size, self.random = cell, input_size, np.random.default_rng(seed)
        self.dtype = np.dtype(getattr(cell, "compute_dtype", None) or keras.config.floatx())
        self.near = {"float64": 1e-9, "float32": 2e-5}.get(self.dtype.name, 2e-2)
        if not cell.built:
            cell.build(tf.nest.map_structure(lambda n: (None, n), input_size))
        for variable in cell.trainable_variables:
            variable.assign(self.random.uniform(-0.6, 0.6, variable.shape))
        self.lengths = np.array(LENGTHS, "int32")
        self.inputs = self.draw(len(LENGTHS), max(LENGTHS))
        self._runs: dict[Any, Run] = {}

    def draw(self, *leading: int) -> Any:
        """Random inputs [*leading, D] in the cell's dtype."""
        return tf.nest.map_structure(
            lambda n: self.random.normal(size=(*leading, n)).astype(self.dtype), self.input_size
        )

    def run(self, rnn: Callable[..., Any]) -> Run:
        """The batch as it is, by a runner; kept, since most checks hold something against it."""
        if rnn not in self._runs:
            self._runs[rnn] = _run(self, rnn, self.inputs, self.lengths)
        return self._runs[rnn]

    def name(self) -> str:
        """What an error calls the cell."""
        return type(self.cell).__name__


# ------------------------------------------------------------ checks of the cell alone
def check_contract(batch: Batch) -> None:
    """One call: the output is of `output_size`, the new states are nested and shaped as the initial ones."""
    cell = batch.cell
    inputs = tf.nest.map_structure(lambda x: tf.constant(x[:, 0]), batch.inputs)
    states = initial_states(cell, len(LENGTHS))
    output, new_states = cell(inputs, states)
    sizes = tf.nest.flatten(output_size(cell))
    shapes = [tuple(o.shape) for o in tf.nest.flatten(output)]
    if shapes != [(len(LENGTHS), size) for size in sizes]:
        raise CellError(f"{batch.name()}: outputs have shapes {shapes}, but output_size is {sizes}.")
    before, after = (
        [(tuple(s.shape), s.dtype.name) for s in tf.nest.flatten(n)] for n in (states, new_states)
    )
    if before != after:
        raise CellError(f"{batch.name()}: a step turns states {before} into {after}; they must stay alike.")


def check_config(batch: Batch) -> None:
    """`from_config(get_config())` makes a cell of the same config that computes the same from the same weights."""
    cell = batch.cell
    again = type(cell).from_config(cell.get_config())
    if again.get_config() != cell.get_config():
        raise CellError(f"{batch.name()}: {cell.get_config()} comes back as {again.get_config()}.")
    again.build(tf.nest.map_structure(lambda n: (None, n), batch.input_size))
    shapes, shapes_again = ([w.shape for w in one.weights] for one in (cell, again))
    if shapes != shapes_again:
        raise CellError(f"{batch.name()}: weights {shapes} come back from the config as {shapes_again}.")
    again.set_weights(cell.get_weights())
    inputs = tf.nest.map_structure(lambda x: tf.constant(x[:, 0]), batch.inputs)
    states = initial_states(cell, len(LENGTHS))
    _compare(batch, "get_config", "a cell made from its config", cell(inputs, states), again(inputs, states))


def check_saving(batch: Batch) -> None:
    """`keras.layers.RNN(cell)` gives what a plain loop gives; its model saves to `.keras` and loads."""
    if not isinstance(batch.input_size, int):
        return  # keras.layers.RNN takes one tensor
    cell = type(batch.cell).from_config(batch.cell.get_config())
    source = keras.Input((None, batch.input_size), dtype=batch.dtype.name)
    model = keras.Model(
        source, keras.layers.RNN(cell, return_sequences=True, dtype=cell.dtype_policy)(source)
    )
    cell.set_weights(batch.cell.get_weights())
    expected = np.stack([_alone(batch, i, None)[0][0] for i in range(len(LENGTHS))])
    _compare(
        batch, "keras.layers.RNN", "outputs of examples among others and alone", expected, model(batch.inputs)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
    _compare(batch, "saving", "outputs of the loaded model", expected, loaded(batch.inputs))


def check_gradients(batch: Batch) -> None:
    """Every trainable weight has a finite gradient."""
    run = batch.run(RNNS["dynamic"])
    for variable, gradient in zip(batch.cell.trainable_variables, run.grad_weights, strict=True):
        if not np.all(np.isfinite(gradient)):
            raise CellError(f"{batch.name()}: the gradient of {variable.path} is not finite.")
        if not np.any(gradient):
            raise CellError(f"{batch.name()}: no gradient reaches {variable.path}.")


# ------------------------------------------------------------ checks of the cell in a runner
def check_alone(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Outputs, states and gradients of a padded batch are those of each example alone, and zero past the end."""
    run = batch.run(rnn)
    for i, length in enumerate(LENGTHS):
        outputs, states = _alone(batch, i, length)
        what = f"example of length {length} among others and alone"
        _compare(batch, name, f"outputs of an {what}", outputs, [o[i, :length] for o in run.outputs])
        _compare(batch, name, f"state of an {what}", states, [s[i] for s in run.states])
        if any(np.any(o[i, length:]) for o in run.outputs):
            raise CellError(f"{batch.name()}, {name}: outputs past an example's end are not zero.")
        if any(np.any(g[i, length:]) for g in run.grad_inputs):
            raise CellError(f"{batch.name()}, {name}: a gradient reaches inputs past an example's end.")
    pieces = [
        _run(batch, rnn, _cut(batch.inputs, i, length), None, rows=[i])
        for i, length in enumerate(LENGTHS)
        if length
    ]
    summed = [np.sum(g, 0) for g in zip(*(piece.grad_weights for piece in pieces), strict=True)]
    _compare(batch, name, "gradient of the weights and the sum of each example's", summed, run.grad_weights)


def check_padding(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Longer padding, and padding of NaN or of large numbers, change nothing."""
    base = batch.run(rnn)
    longer = tf.nest.map_structure(lambda x: np.pad(x, [(0, 0), (0, 3), (0, 0)]), batch.inputs)
    other = _run(batch, rnn, longer, batch.lengths)
    _same_run(batch, name, "with longer padding", base, other)
    for content in (np.nan, 1e4):
        filled = tf.nest.map_structure(np.copy, longer)
        for array in tf.nest.flatten(filled):
            for i, length in enumerate(LENGTHS):
                array[i, length:] = content
        _same_run(batch, name, f"with padding of {content}", base, _run(batch, rnn, filled, batch.lengths))


def check_order(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Permuting the examples permutes the results."""
    order = np.array([2, 0, 3, 1])
    inputs = tf.nest.map_structure(lambda x: x[order], batch.inputs)
    run = _run(batch, rnn, inputs, batch.lengths[order], rows=order)
    back = np.argsort(order)
    undone = run._replace(
        outputs=[o[back] for o in run.outputs],
        states=[s[back] for s in run.states],
        grad_inputs=[g[back] for g in run.grad_inputs],
    )
    _same_run(batch, name, "permuted", batch.run(rnn), undone)


def check_graph(batch: Batch, name: str, rnn: Callable[..., Any]) -> None:
    """Inside tf.function, with lengths that are not known while tracing, nothing changes."""
    base = batch.run(rnn)
    traced = tf.function(lambda x, n: _tensors(batch, rnn, x, n, range(len(LENGTHS))), autograph=False)
    tensors = traced(tf.nest.map_structure(tf.constant, batch.inputs), tf.constant(batch.lengths))
    _same_run(batch, name, "inside tf.function", base, Run(*tf.nest.map_structure(_array, tensors)))


CHECKS: dict[str, Callable[[Batch], None]] = {
    "contract": check_contract,
    "config": check_config,
    "saving": check_saving,
    "gradients": check_gradients,
}
RUNNER_CHECKS: dict[str, Callable[[Batch, str, Callable[..., Any]], None]] = {
    "alone": check_alone,
    "padding": check_padding,
    "order": check_order,
    "graph": check_graph,
}


# ------------------------------------------------------------ running and comparing
def _cotangent(rows: Any, tensor: tf.Tensor, position: int) -> tf.Tensor:
    """What the gradient weighs a result with: given by example, step and unit alone, so equal under padding."""
    shape = tensor.shape
    row = np.reshape(np.asarray(list(rows), float), (-1, *[1] * (len(shape) - 1)))
    phase = np.zeros(shape[1:])
    for i, axis in enumerate(np.indices(shape[1:])):
        phase = phase + (1.3 + i) * axis
    return tf.constant(np.cos(0.7 * row + phase + position), tensor.dtype)


def _tensors(batch: Batch, rnn: Callable[..., Any], inputs: Any, lengths: Any, rows: Any) -> Any:
    variables = [v.value for v in batch.cell.trainable_variables]
    watched = tf.nest.flatten(inputs)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs, states = rnn(batch.cell, inputs, lengths)
        flat = [*tf.nest.flatten(outputs), *tf.nest.flatten(states)]
        total = tf.add_n(
            [tf.reduce_sum(x * _cotangent(rows, x, i)) for i, x in enumerate(flat) if x.dtype.is_floating]
        )
    gradients = tape.gradient(total, [*watched, *variables], unconnected_gradients="zero")
    return (
        tf.nest.flatten(outputs),
        tf.nest.flatten(states),
        gradients[: len(watched)],
        [tf.convert_to_tensor(g) for g in gradients[len(watched) :]],
    )


def _run(batch: Batch, rnn: Callable[..., Any], inputs: Any, lengths: Any, rows: Any = None) -> Run:
    rows = range(len(LENGTHS)) if rows is None else rows
    tensors = _tensors(batch, rnn, tf.nest.map_structure(tf.constant, inputs), lengths, rows)
    return Run(*tf.nest.map_structure(_array, tensors))


def _alone(batch: Batch, row: int, length: int | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A plain loop over one example's valid part: outputs [length, ...], last states."""
    cell, steps = batch.cell, max(LENGTHS) if length is None else length
    states = initial_states(cell, 1)
    collected = []
    for t in range(steps):
        step = tf.nest.map_structure(lambda x, t=t: tf.constant(x[row : row + 1, t]), batch.inputs)
        output, states = cell(step, states)
        collected.append([_array(o)[0] for o in tf.nest.flatten(output)])
    flat_states = [_array(s)[0] for s in tf.nest.flatten(states)]
    if not collected:
        return [np.zeros(0)], flat_states
    return [np.stack(steps) for steps in zip(*collected, strict=True)], flat_states


def _cut(inputs: Any, row: int, length: int) -> Any:
    return tf.nest.map_structure(lambda x: x[row : row + 1, :length], inputs)


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tf.convert_to_tensor(tensor))


def _same_run(batch: Batch, name: str, change: str, one: Run, other: Run) -> None:
    steps = min(one.outputs[0].shape[1], other.outputs[0].shape[1])
    for what, a, b in zip(Run._fields, one, other, strict=True):
        if what in ("outputs", "grad_inputs"):
            a, b = [x[:, :steps] for x in a], [x[:, :steps] for x in b]
        _compare(batch, name, f"{what} {change}", a, b)


def _compare(batch: Batch, name: str, what: str, expected: Any, found: Any) -> None:
    for e, f in zip(tf.nest.flatten(expected), tf.nest.flatten(found), strict=True):
        e, f = _array(e), _array(f)
        if e.size == 0 and f.size == 0:
            continue
        if not np.allclose(e, f, rtol=batch.near, atol=batch.near):
            worst = np.max(np.abs(np.asarray(e, float) - np.asarray(f, float)))
            raise CellError(
                f"{batch.name()}, {name}: {what} differ by {worst:.3g} (allowed: {batch.near:.0e})."
            )
