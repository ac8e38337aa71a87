"""The checks of a cell by itself: its contract, one step of it, its gradient, its configuration, saving it."""

from __future__ import annotations

import inspect
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.cells.base import initial_states, output_size
from workbench.probes.cell_batch import (
    LENGTHS,
    Batch,
    CellError,
    alone,
    array,
    attributes,
    compare,
    said,
    weighed,
)
from workbench.rnn import RNNS


def check_contract(batch: Batch) -> None:
    """`cell(inputs, states)` gives (output, new_states), of `output_size` and `state_size`, in the cell's dtype."""
    cell, size = batch.cell, len(LENGTHS)
    if getattr(cell, "state_size", None) is None:
        raise CellError(f"{batch.name()} has no state_size: set self.state_size in __init__.")
    try:
        states = initial_states(cell, size)
    except Exception as error:
        raise CellError(
            f"{batch.name()}: get_initial_state(batch_size={size}), as Keras calls it, raises {said(error)}"
        ) from error
    sizes = tf.nest.flatten(cell.state_size)
    starts = [tuple(s.shape) for s in tf.nest.flatten(states)]
    if starts != [(size, n) for n in sizes]:
        raise CellError(
            f"{batch.name()}: get_initial_state(batch_size={size}) has shapes {starts}, but state_size is {sizes}: "
            "make them agree."
        )
    try:
        result = cell(batch.step_inputs(), states)
    except Exception as error:
        raise CellError(
            f"{batch.name()}: a call on inputs {_shapes(batch.step_inputs())} and states {_shapes(states)}, as "
            f"state_size={cell.state_size} has them, raises {said(error)}"
        ) from error
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise CellError(
            f"{batch.name()}: call must return (output, new_states), but returns {_described(result)}."
        )
    output, new_states = result
    wanted = [((size, n), batch.dtype.name) for n in tf.nest.flatten(output_size(cell))]
    if _described(output) != wanted:
        raise CellError(
            f"{batch.name()}: outputs have shapes and dtypes {_described(output)}, but output_size and dtype say "
            f"{wanted}: set self.output_size (by default it is the first state's size), and compute in "
            "self.compute_dtype."
        )
    if _described(states) != _described(new_states):
        raise CellError(
            f"{batch.name()}: a step turns states {_described(states)} into {_described(new_states)}; "
            "they must stay alike: return what state_size says."
        )


def check_repeat(batch: Batch) -> None:
    """Outside training a step is a function of inputs, states and weights: it draws, counts and keeps nothing."""
    cell, inputs, states = batch.cell, batch.step_inputs(), batch.step_states()
    with tf.GradientTape() as tape:
        first = cell(inputs, states)
    read = [v for v in tape.watched_variables() if not any(v is w.value for w in cell.trainable_variables)]
    if read:
        raise CellError(
            f"{batch.name()}: a step reads {', '.join(v.name for v in read)}, which is not among the cell's "
            "trainable_variables, so it is neither trained nor saved: make it by self.add_weight in build."
        )
    before = {name: (value, _size(value)) for name, value in attributes(cell)}
    weights = [array(v) for v in cell.variables]
    second = cell(inputs, states)
    after = dict(attributes(cell))
    changed = [n for n, v in after.items() if n not in before or _changed(before[n], v)]
    moved = [
        v.path for v, old in zip(cell.variables, weights, strict=False) if not np.array_equal(array(v), old)
    ]
    kept = f" It changes {', '.join([*changed, *moved])}." if changed or moved else ""
    alike = all(
        np.array_equal(array(a), array(b), equal_nan=True)
        for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True)
    )
    if not alike:
        raise CellError(
            f"{batch.name()}: two calls on the same inputs and states differ.{kept} What is random belongs under "
            "`training`, what is remembered into the states."
        )
    if kept:
        raise CellError(
            f"{batch.name()}: a step must change nothing but its states.{kept} In a graph that would happen while "
            "tracing only, or in padded steps too: keep it in the states."
        )


def check_rows(batch: Batch) -> None:
    """A step of one example is what it is among others."""
    inputs, states = batch.step_inputs(), batch.step_states()
    whole = tf.nest.flatten(batch.cell(inputs, states))
    for i in range(len(LENGTHS)):
        one = tf.nest.map_structure(lambda x, i=i: x[i : i + 1], (inputs, states))
        for a, b in zip(tf.nest.flatten(batch.cell(*one)), whole, strict=True):
            if not np.allclose(array(a)[0], array(b)[i], rtol=batch.near, atol=batch.near):
                raise CellError(
                    f"{batch.name()}: a step of example {i} alone is not what it is among others: a cell must not "
                    "look across the batch axis (no mean over axis 0, no use of an example's number)."
                )


def check_memory(batch: Batch) -> None:
    """What a step saw changes what a later one gives: the states carry it."""

    def last(inputs: Any) -> list[np.ndarray]:
        states = initial_states(batch.cell, len(LENGTHS))
        for t in range(max(LENGTHS)):
            step = tf.nest.map_structure(lambda x, t=t: tf.constant(x[:, t]), inputs)
            output, new_states = batch.cell(step, states)
            states = tf.nest.pack_sequence_as(states, tf.nest.flatten(new_states))
        return [array(o) for o in tf.nest.flatten(output)]

    other = tf.nest.map_structure(lambda x: np.concatenate([1 - x[:, :1], x[:, 1:]], 1), batch.inputs)
    if all(np.array_equal(a, b) for a, b in zip(last(batch.inputs), last(other), strict=True)):
        raise CellError(
            f"{batch.name()}: nothing is carried from step to step: what the first saw does not change what the "
            "last gives. Read `states` in call, and return the new ones, or, where no memory is meant, pass "
            "skip=('memory',)."
        )


def check_trace(batch: Batch) -> None:
    """A step is traced for a batch of any size, and computes the same."""
    inputs, states = batch.step_inputs(), batch.step_states()
    like = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), (inputs, states))
    step = tf.function(lambda x, s: tf.nest.flatten(batch.cell(x, s)), input_signature=like, autograph=False)
    try:
        traced = step(inputs, states)
    except Exception as error:
        raise CellError(
            f"{batch.name()}: inside tf.function, with a batch size of None, a step raises {said(error)} In a "
            "graph use TensorFlow's operations: no .numpy(), no `if` on a tensor (tf.where, tf.cond), tf.shape for "
            "the batch size."
        ) from error
    expected = tf.nest.flatten(batch.cell(inputs, states))
    compare(batch, "tf.function", "a step in a graph and outside one", expected, traced)


def check_config(batch: Batch) -> None:
    """`from_config(get_config())` makes a cell of the same config that computes the same from the same weights."""
    cell = batch.cell
    again = _again(batch)
    if type(cell).from_config.__func__ is keras.layers.Layer.from_config.__func__:
        kept = inspect.signature(type(cell).__init__).parameters.values()
        options = [p.name for p in kept if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][1:]
        lost = [name for name in options if name not in cell.get_config()]
        if lost:
            raise CellError(
                f"{batch.name()}: get_config lacks {', '.join(lost)}, an argument of __init__, so a loaded cell "
                "would have its default: put it in."
            )
    if again.get_config() != cell.get_config():
        raise CellError(f"{batch.name()}: {cell.get_config()} comes back as {again.get_config()}.")
    again.build(batch.input_shape)
    shapes, shapes_again = ([w.shape for w in one.weights] for one in (cell, again))
    if shapes != shapes_again:
        raise CellError(f"{batch.name()}: weights {shapes} come back from the config as {shapes_again}.")
    again.set_weights(cell.get_weights())
    inputs, states = batch.step_inputs(), batch.step_states()
    compare(
        batch,
        "get_config",
        "a cell and one made from its config",
        cell(inputs, states),
        again(inputs, states),
    )


def check_dtype(batch: Batch) -> None:
    """A cell computes in float64 and in float32 alike, or refuses a dtype when it is made."""
    cell, other = batch.cell, "float32" if batch.dtype.name == "float64" else "float64"
    try:
        again = type(cell).from_config(_with_dtype(cell.get_config(), other))
    except Exception as error:
        raised = error.__context__ or error  # Keras wraps what __init__ raises
        if isinstance(raised, (ValueError, NotImplementedError)):
            return  # it says so itself
        raise
    remedy = "cast to self.compute_dtype, not to a fixed one, or refuse the dtype in __init__ by a ValueError"
    inputs, states = (
        tf.nest.map_structure(lambda x: tf.cast(x, other) if x.dtype.is_floating else x, nest)
        for nest in (batch.step_inputs(), batch.step_states())
    )
    try:
        again.build(batch.input_shape)
        again.set_weights(cell.get_weights())
        found = again(inputs, states)
    except Exception as error:
        raise CellError(
            f"{batch.name()}: made with dtype={other!r}, a step raises {said(error)}; {remedy}."
        ) from error
    dtypes = sorted({x.dtype.name for x in tf.nest.flatten(found) if x.dtype.is_floating})
    if dtypes != [other]:
        raise CellError(f"{batch.name()}: made with dtype={other!r}, a step gives {dtypes}; {remedy}.")
    expected = cell(batch.step_inputs(), batch.step_states())
    compare(batch, "dtype", f"a step in {batch.dtype} and in {other}", expected, found, max(batch.near, 1e-4))


def check_saving(batch: Batch) -> None:
    """`keras.layers.RNN(cell)` gives what a plain loop does, masked or not; its model saves and loads."""
    if not isinstance(batch.input_size, int):
        return  # keras.layers.RNN takes one tensor
    cell = _again(batch)
    source = keras.Input((None, batch.input_size), dtype=batch.dtype.name)
    options = {"return_sequences": True, "zero_output_for_mask": True, "dtype": cell.dtype_policy}
    layer = keras.layers.RNN(cell, **options)
    model = keras.Model(source, layer(source))
    cell.set_weights(batch.cell.get_weights())
    expected = np.stack([alone(batch, i, None)[0][0] for i in range(len(LENGTHS))])
    compare(
        batch, "keras.layers.RNN", "outputs of examples among others and alone", expected, model(batch.inputs)
    )
    mask = np.arange(max(LENGTHS)) < batch.lengths[:, None]
    masked = layer(tf.constant(batch.inputs), mask=tf.constant(mask))
    compare(batch, "keras.layers.RNN", "outputs with a mask and without", expected * mask[..., None], masked)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        try:
            loaded = keras.saving.load_model(path)
        except TypeError as error:
            missing = said(error).partition(" Make sure")[0]
            raise CellError(
                f"{batch.name()}: a model that has it saves, but does not load: {missing} Decorate the class "
                "(and functions of yours that its config names) with "
                "@keras.saving.register_keras_serializable(package='yours'), or pass "
                f"custom_objects={{{batch.name()!r}: {batch.name()}}}."
            ) from error
    compare(batch, "saving", "outputs of the loaded model", expected, loaded(batch.inputs))


def check_gradients(batch: Batch) -> None:
    """Inputs, states and trainable weights have a finite gradient, but for what is said to have none."""
    sources = _sources(batch)
    with tf.GradientTape() as tape:
        tape.watch([tensor for _, tensor in sources])
        inputs, states = _rebuilt(batch, sources)
        results = tf.nest.flatten(batch.cell(inputs, states))
        total = weighed(results, range(len(LENGTHS)))
    gradients = tape.gradient(total, [t for _, t in sources], unconnected_gradients="zero")
    # A weight may act from the second step on only (on states that a first step makes), so a whole run decides.
    weights = zip(batch.cell.trainable_variables, batch.run(RNNS["dynamic"]).grad_weights, strict=True)
    named = [*zip([n for n, _ in sources], map(array, gradients), strict=True)]
    named += [(variable.path, gradient) for variable, gradient in weights]
    used = set()
    for name, gradient in named:
        meant = [pattern for pattern in batch.without_gradient if _names(pattern, name)]
        used |= set(meant)
        if not np.all(np.isfinite(gradient)):
            raise CellError(f"{batch.name()}: the gradient of {name} is not finite.")
        if not np.any(gradient) and not meant:
            raise CellError(
                f"{batch.name()}: no gradient reaches {name}. If a tf.stop_gradient, a rounding or a weight "
                f"without use is meant, pass without_gradient=({name.rpartition('/')[2]!r},) to check_cell."
            )
        if np.any(gradient) and meant:
            raise CellError(
                f"{batch.name()}: without_gradient names {meant[0]!r}, but {name} has a gradient."
            )
    unused = sorted(set(batch.without_gradient) - used)
    if unused:
        names = ", ".join(name for name, _ in named)
        raise CellError(f"{batch.name()}: without_gradient names {unused[0]!r}; there are {names}.")


def check_derivative(batch: Batch) -> None:
    """A step's gradient is the slope of what it computes, by a difference quotient along a random direction.

    A ReLU has kinks, at some of which the slope changes on the way (a long one in float32): the mean of the slopes
    along the way is the quotient all the same.
    """
    sizes = {"float64": (1e-6, 1e-5, 1), "float32": (1e-2, 2e-2, 32)}
    if batch.dtype.name not in sizes or batch.without_gradient:
        return  # too coarse to tell; or the gradient is said to be another one
    step, near, parts = sizes[batch.dtype.name]
    sources = [*_sources(batch), *((v.path, v.value) for v in batch.cell.trainable_variables)]
    random = np.random.default_rng(2)
    ways = [random.normal(size=t.shape) for _, t in sources]
    count = len(sources) - len(batch.cell.trainable_variables)
    starts = [array(v) for v in batch.cell.trainable_variables]

    def moved(by: float) -> list[tuple[str, tf.Tensor]]:
        for variable, start, way in zip(batch.cell.trainable_variables, starts, ways[count:], strict=True):
            variable.assign(start + by * way)
        return [
            (name, t + tf.constant(by * way, t.dtype))
            for (name, t), way in zip(sources[:count], ways[:count], strict=True)
        ]

    def total(given: list[tuple[str, tf.Tensor]]) -> tf.Tensor:
        return weighed(tf.nest.flatten(batch.cell(*_rebuilt(batch, given))), range(len(LENGTHS)))

    def slope_at(by: float) -> float:
        given = moved(by)
        variables = [variable.value for variable in batch.cell.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch([t for _, t in given])
            value = total(given)
        gradients = tape.gradient(value, [*(t for _, t in given), *variables], unconnected_gradients="zero")
        return sum(float(np.sum(array(g) * way)) for g, way in zip(gradients, ways, strict=True))

    try:
        quotient = float(total(moved(step)) - total(moved(-step))) / (2 * step)
        middles = step * (np.arange(parts) * 2 + 1 - parts) / parts
        slope = float(np.mean([slope_at(by) for by in middles]))
    finally:
        for variable, start in zip(batch.cell.trainable_variables, starts, strict=True):
            variable.assign(start)
    if not abs(slope - quotient) <= near * max(abs(quotient), abs(slope), 1.0):
        raise CellError(
            f"{batch.name()}: by its gradient a step's results rise by {slope:.6g} along a random direction, by a "
            f"difference quotient by {quotient:.6g}: mend the gradient (tf.custom_gradient?), or, where it is "
            "meant as a surrogate, pass skip=('derivative',)."
        )


# ------------------------------------------------------------ what the checks share
def _described(nest: Any) -> list[tuple[Any, str]]:
    """Shapes and dtypes, flat."""
    return [
        (tuple(x.shape), x.dtype.name) if isinstance(x, tf.Tensor) else ((), type(x).__name__)
        for x in tf.nest.flatten(nest)
    ]


def _shapes(nest: Any) -> list[Any]:
    return [tuple(x.shape) for x in tf.nest.flatten(nest)]


def _again(batch: Batch) -> Any:
    try:
        return type(batch.cell).from_config(batch.cell.get_config())
    except Exception as error:
        raise CellError(
            f"{batch.name()}: from_config(get_config()) raises {said(error)}; get_config must "
            "have every argument of __init__: return {**super().get_config(), 'units': self.units, ...}."
        ) from error


def _with_dtype(config: Any, dtype: str) -> Any:
    """A config whose dtype, and that of what it holds, is another."""
    if isinstance(config, dict):
        return {k: dtype if k == "dtype" else _with_dtype(v, dtype) for k, v in config.items()}
    return [_with_dtype(item, dtype) for item in config] if isinstance(config, (list, tuple)) else config


def _size(value: Any) -> int | None:
    return len(value) if isinstance(value, (list, dict, set, tuple)) else None


def _changed(before: tuple[Any, int | None], new: Any) -> bool:
    """Whether an attribute is another object, or has grown; numbers and texts go by their value."""
    old, size = before
    if isinstance(old, (bool, int, float, str, type(None))):
        return type(old) is not type(new) or old != new
    return old is not new or size != _size(new)


def _sources(batch: Batch) -> list[tuple[str, tf.Tensor]]:
    """The floating inputs and states of one step, named."""
    return [
        (kind if len(flat) == 1 else f"{kind}/{i}", tensor)
        for kind, flat in (
            ("inputs", tf.nest.flatten(batch.step_inputs())),
            ("states", tf.nest.flatten(batch.step_states())),
        )
        for i, tensor in enumerate(flat)
        if tensor.dtype.is_floating
    ]


def _rebuilt(batch: Batch, sources: list[tuple[str, tf.Tensor]]) -> tuple[Any, Any]:
    """Inputs and states as the cell takes them, the floating ones replaced."""
    values = iter([tensor for _, tensor in sources])
    nests = []
    for nest in (batch.step_inputs(), batch.step_states()):
        flat = [next(values) if x.dtype.is_floating else x for x in tf.nest.flatten(nest)]
        nests.append(tf.nest.pack_sequence_as(nest, flat))
    return nests[0], nests[1]


def _names(pattern: str, name: str) -> bool:
    """ "states" names states/0 too, "kernel" any path that ends so."""
    return fnmatch(name, pattern) or name.startswith(pattern + "/") or name.endswith("/" + pattern)
