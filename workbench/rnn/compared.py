"""A model's outputs and gradients on a sample, and how long they take: before and after it was changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from workbench.cells.base import initial_states, with_those_inside
from workbench.cells.keras_state import called, generator_of_keras
from workbench.cells.pure import alike
from workbench.rnn.keras_dropout import forget_masks, rates_off

_NEAR = {"float64": 1e-9, "float32": 1e-4}
_HALVES = ("float16", "bfloat16")
_OF_HALVES = 0.05
_RUNS = 3
_RATES = ("dropout", "recurrent_dropout")


Named = list[tuple[str, np.ndarray]]


class Measured(NamedTuple):
    """Numbers with their names, and the seconds of one forward and backward pass."""

    outputs: Named  # and last the sum of the losses that layers added
    whole: list[np.ndarray]  # outputs that are no floats, as of an argmax
    gradients: Named
    seconds: float
    near: float  # the relative difference that is rounding in the model's dtype


class Comparison(NamedTuple):
    """How far two runs of a model lie apart, and how long each took."""

    differences: str
    alike: bool
    outputs: float  # largest difference, relative to the largest number of its tensor
    gradients: float
    seconds_before: float
    seconds_after: float

    def __str__(self) -> str:
        return (
            f"on the sample: outputs differ by {self.outputs:.1e}, gradients by {self.gradients:.1e} (relative); "
            f"a forward and backward pass took {1e3 * self.seconds_before:.1f} ms before, "
            f"{1e3 * self.seconds_after:.1f} ms after (the least of {_RUNS}, compilation apart): "
            f"{self.seconds_before / self.seconds_after:.1f} times as fast"
        )


def measure(model: Any, sample: Any) -> Measured:
    """Runs a model on a sample without training, and differentiates a sum of its outputs of fixed weights.

    Variables that change when the model is called (states, seeds) are put back, and each pass begins from them.
    On a GPU float32 is not rounded to TF32 meanwhile, since no two orders of summing agree to its three digits.
    """
    kept = _Kept()
    kept.add(model)
    try:
        with _without_tf32():
            return _measured(model, sample, kept)
    finally:
        kept.put_back()


@contextmanager
def _without_tf32() -> Iterator[None]:
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def measure_with_rounding(model: Any, sample: Any) -> Measured:
    """As `measure`, where `near` of a model in halves is what its own rounding makes of this sample.

    How far it lies from itself in float32 is measured. What lies no farther from there differs from the model by at
    most twice that, which in bfloat16 is some 10% of a gradient of few steps.
    """
    measured = measure(model, sample)
    halves = [one for one in model._flatten_layers() if one.compute_dtype in _HALVES]
    if not halves:
        return measured
    try:
        with _in_float32(halves):
            exact = measure(model, sample)
    except (
        TypeError,
        ValueError,
        tf.errors.OpError,
    ):  # what asks for its dtype by name, or keeps states in it
        return measured
    rounding = compare(exact, measured)
    return measured._replace(near=max(measured.near, 2 * max(rounding.outputs, rounding.gradients)))


@contextmanager
def _in_float32(layers: list[Any]) -> Iterator[None]:
    policies = [one._dtype_policy for one in layers]  # the setter would write into a DTypePolicyMap
    try:
        for one in layers:
            one._dtype_policy = keras.dtype_policies.get("float32")
        yield
    finally:
        for one, policy in zip(layers, policies, strict=True):
            one._dtype_policy = policy


class _Kept:
    """Values of what a call may change: variables that are not trained, states of RNNs, Keras' own generator."""

    def __init__(self) -> None:
        self.values: dict[int, tuple[Any, tf.Tensor]] = {}

    def add(self, model: Any) -> None:
        """As they are now, of those that are not kept yet; Keras lists no states among a model's variables."""
        found = list(model.non_trainable_variables)
        for layer in model._flatten_layers():
            found += tf.nest.flatten(getattr(layer, "states", None))
            found += [variable for one in vars(layer).values() for variable in _variables_in(one)]
        if (generator := generator_of_keras()) is not None:
            found.append(generator.state)
        for one in found:
            if isinstance(one, (keras.Variable, tf.Variable)) and id(one) not in self.values:
                self.values[id(one)] = one, tf.identity(one)

    def put_back(self) -> None:
        for variable, value in self.values.values():
            variable.assign(value)


def _variables_in(value: Any, depth: int = 3) -> Iterator[tf.Variable]:
    """TensorFlow's own variables that a layer holds, also in a list, and a generator's state."""
    if isinstance(value, tf.Variable):
        yield value
    elif isinstance(value, tf.random.Generator):
        yield value.state
    elif isinstance(value, (list, tuple, dict)) and depth:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _variables_in(one, depth - 1)


def _build(model: Any, sample: Any) -> None:
    """Makes the variables of a model that was never called, at their first values."""
    try:
        with keras.StatelessScope():
            model(sample)
    except ValueError:  # Keras makes the states of a stateful layer in no such scope
        model(sample)
        for layer in model._flatten_layers():
            for state in tf.nest.flatten(layer.states) if getattr(layer, "stateful", False) else ():
                state.assign(tf.zeros_like(state))  # nested in a stack of cells, which `reset_state` cannot


def _measured(model: Any, sample: Any, kept: _Kept) -> Measured:
    if isinstance(sample, tf.data.Dataset):
        raise TypeError(
            "a sample is inputs of the model, not a Dataset: next(iter(dataset)), less the labels."
        )
    given, sample = sample, _as_inputs(sample)
    try:
        _build(model, sample)
    except Exception as error:
        if isinstance(given, tuple):
            error.add_note(
                "A sample that is a tuple is several inputs; of (inputs, labels) give the inputs alone."
            )
        raise
    kept.add(model)
    floats = [one for one in tf.nest.flatten(sample) if isinstance(one, tf.Tensor) and one.dtype.is_floating]
    weights = [variable.value for variable in model.trainable_variables]
    names = [*(f"input {n}" for n in range(len(floats))), *(v.path for v in model.trainable_variables)]

    def run() -> tuple[list[tf.Tensor], list[Any], list[Any]]:
        kept.put_back()
        with tf.GradientTape() as tape:
            tape.watch(floats)
            made = [one for one in tf.nest.flatten(model(sample), expand_composites=True) if one is not None]
            made = [part for one in made for part in _real(tf.convert_to_tensor(one))]
            outputs = [one for one in made if one.dtype.is_floating]
            total = sum(map(_weighted, outputs), tf.zeros([], tf.float64))
        gradients = tape.gradient(total, [*floats, *weights], unconnected_gradients="zero")
        whole = [one for one in made if not one.dtype.is_floating]
        return [*outputs, _losses(model)], gradients, whole

    compiled = run if getattr(model, "run_eagerly", False) else tf.function(run, autograph=False)
    seconds = []
    for _ in range(_RUNS + 1):
        begin = time.perf_counter()
        outputs, gradients, whole = compiled()
        tf.test.experimental.sync_devices()
        seconds.append(time.perf_counter() - begin)
    dense = [tf.convert_to_tensor(one) for one in gradients]
    made = [[np.asarray(tf.cast(one, tf.float64)) for one in some] for some in (outputs, dense)]
    if not (outputs[:-1] or whole):
        raise ValueError("the model puts out nothing on this sample that could be compared.")
    return Measured(
        [*((f"output {n}", one) for n, one in enumerate(made[0][:-1])), ("its losses", made[0][-1])],
        [np.asarray(one) for one in whole],
        list(zip(names, made[1], strict=True)),
        min(seconds[1:]),
        max(_NEAR.get(dtype, _OF_HALVES) for dtype in _dtypes(model)),
    )


def _as_inputs(sample: Any) -> Any:
    """A nest of tensors; lists of numbers, which read as a nest themselves, are one tensor."""
    if isinstance(sample, (tf.SparseTensor, tf.RaggedTensor)):
        return sample
    if isinstance(sample, Mapping):
        return {name: _as_inputs(one) for name, one in sample.items()}
    if isinstance(sample, (list, tuple)) and sample:
        if all(isinstance(one, (int, float)) for one in tf.nest.flatten(sample)):
            return tf.convert_to_tensor(np.array(sample))
        return type(sample)([_as_inputs(one) for one in sample])
    return tf.convert_to_tensor(sample)


def _real(tensor: tf.Tensor) -> list[tf.Tensor]:
    return [tf.math.real(tensor), tf.math.imag(tensor)] if tensor.dtype.is_complex else [tensor]


def _losses(model: Any) -> tf.Tensor:
    """The sum of the losses that layers have added; no number where one was added inside a loop of a graph."""
    try:
        return tf.add_n([tf.cast(one, tf.float64) for one in model.losses] or [tf.zeros([], tf.float64)])
    except ValueError:  # it is of the loop's graph
        return tf.fill([], tf.constant(np.nan, tf.float64))


def step_is_of_each_row(layer: Any, ways: Sequence[bool] = (False, True)) -> bool:
    """Whether a step of a built layer's cell gives each example what it gives it alone, as five examples show.

    Out of training and in it (`ways`), dropout of Keras' cells apart. Of a cell that takes other than a tensor
    [B, ...] nothing is shown: True; of one whose step fails on the five: False. What the cell keeps is put back.
    """
    built = layer.get_build_config() or {}
    shape = built.get("input_shape") or built.get("shapes_dict", {}).get("sequences_shape")
    if not shape or not all(isinstance(size, int) for size in shape[2:]):
        return True
    cell, random, kept = layer.cell, np.random.default_rng(0), _Kept()
    kept.add(layer)
    with tf.init_scope(), _without_tf32():
        drawn = random.normal(size=(5, *shape[2:]))
        kinds = [tf.cast(drawn, layer.compute_dtype), tf.cast(drawn > 0, tf.int32)]  # numbers, or else ids
        nest, again = initial_states(cell, 5), initial_states(cell, 5)
        begins_alike = all(map(alike, tf.nest.flatten(nest), tf.nest.flatten(again)))
        kept.put_back()
        if not begins_alike:
            return False  # it begins from what it draws
        states = [
            one + tf.cast(random.normal(size=one.shape), one.dtype) if one.dtype.is_floating else one
            for one in map(tf.convert_to_tensor, tf.nest.flatten(nest))
        ]

        def step(inputs: tf.Tensor, rows: slice, training: bool) -> list[Any]:
            given = tf.nest.pack_sequence_as(nest, [one[rows] for one in states])
            kept.put_back()
            forget_masks(cell)
            made = called(lambda one: cell(one, given), inputs[rows], training=training)
            return [tf.convert_to_tensor(one) for one in tf.nest.flatten(made)]

        def is_of_each(inputs: tf.Tensor, training: bool) -> bool:
            together, *alone = (
                step(inputs, rows, training) for rows in [slice(5), *(slice(n, n + 1) for n in range(5))]
            )
            parts = (tf.concat(rows, 0) for rows in zip(*alone, strict=True))
            return all(alike(one, part) for one, part in zip(together, parts, strict=True))

        # each example has a mask of its own, whatever is beside it
        of_keras = (one for one in with_those_inside(cell) if hasattr(one, "get_dropout_mask"))
        with rates_off(of_keras, _RATES):
            for inputs in kinds:
                try:
                    return all(is_of_each(inputs, training) for training in ways)
                except Exception:  # somebody's own cell
                    continue
                finally:
                    kept.put_back()
                    forget_masks(cell)
    return False


def _dtypes(model: Any) -> set[str]:
    """What the layers that have weights compute in."""
    layers = model._flatten_layers(include_self=False)
    found = {one.compute_dtype for one in layers if one.weights and "float" in str(one.compute_dtype)}
    return found or {model.compute_dtype}


def compare(before: Measured, after: Measured) -> Comparison:
    """Both runs, tensor by tensor; one that is small beside the others is held to a thousandth of the largest.

    Whole numbers, and texts, must be equal where nothing else is put out: rounding may decide between two that are
    near.
    """
    found = [
        _furthest(before.outputs[:-1], after.outputs[:-1], 1.0),
        _furthest(before.gradients, after.gradients),
        _furthest(before.outputs[-1:], after.outputs[-1:]),
    ]
    words = ", ".join(f"{name} by {by:.1e}" for name, by in found)
    alike = all(by <= before.near for _, by in found)
    if len(before.outputs) == 1:  # the losses alone
        differ = sum(
            np.sum(one != other) if one.shape == other.shape else max(one.size, other.size)
            for one, other in zip(before.whole, after.whole, strict=True)
        )
        words += f", and {differ} of the whole numbers or texts differ"
        alike = alike and not differ
    return Comparison(words, alike, found[0][1], found[1][1], before.seconds, after.seconds)


def _furthest(before: Named, after: Named, most: float = np.inf) -> tuple[str, float]:
    """The tensor that differs most, and by how much; what is a number in one alone differs more than all.

    Small ones are held to a thousandth of the largest, or of `most`: a large output says nothing of another.
    """
    sizes = [float(np.max(np.abs(one[np.isfinite(one)]), initial=0)) for _, one in before]
    least = 1e-3 * min(max(sizes, default=0), most)
    found = [
        (name, float(np.max(_apart(one, other), initial=0)) / (max(size, least) or 1))
        if one.shape == other.shape
        else (name, np.inf)
        for (name, one), (_, other), size in zip(before, after, sizes, strict=True)
    ]
    return max(found, key=lambda one: np.nan_to_num(one[1], nan=np.inf), default=("nothing", 0.0))


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far apart numbers are: not at all where both are none, or endless alike."""
    with np.errstate(invalid="ignore"):
        return np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, np.abs(other - one))


def _weighted(output: tf.Tensor) -> tf.Tensor:
    """A sum that no softmax makes constant."""
    output = tf.cast(output, tf.float64)
    weights = tf.cos(tf.cast(tf.range(tf.size(output)), tf.float64))
    return tf.reduce_sum(output * tf.reshape(weights, tf.shape(output)))
