"""Any model as a function from a padded batch to arrays: Keras models, layers, callables, saved files."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.masking import sequence_mask
from workbench.probes.padded import LENGTH_NAMES, Padded

_RANDOM_RATES = ("rate", "dropout", "recurrent_dropout", "stddev")


@dataclass
class Ran:
    """What a call gave: tensors with Keras' masks, and the same as arrays."""

    nest: Any
    tensors: list[Any]
    arrays: list[np.ndarray]
    additional: list[tuple[str, float]]  # losses that the model adds by itself


class Subject:
    """A model, called the same way each time: same seeds, same weights, no warnings."""

    def __init__(self, model: Any, *, training: bool = False) -> None:
        if isinstance(model, str | os.PathLike):
            model = loaded(Path(model))
        if not callable(model):
            raise ValueError(f"model must be a Keras model, a callable or a .keras file; got {type(model)}.")
        self.model, self.training = model, training
        self.is_keras = isinstance(model, keras.layers.Layer)
        self._switched_off: list[tuple[Any, str, float]] = []
        self._options = _options(model)
        self._original: list[tuple[Any, np.ndarray]] = []
        self._kept: list[tuple[Any, np.ndarray]] = []
        self._graph: Graph | None = None
        self._ran: dict[bytes, Ran] = {}
        if training and self.is_keras:
            self._switched_off = list(_without_chance(model))

    def close(self) -> None:
        """Give the model back as it was."""
        for layer, name, value in self._switched_off:
            setattr(layer, name, value)
        for variable, value in self._original:
            variable.assign(value)

    def build(self, batch: Padded) -> None:
        """Make the variables, and remember their values as they are at first."""
        if not self.is_keras or self.model.built:
            self.keep()
            return
        self.call(tensors(batch.nest()), batch.lengths, batch.steps)
        self.keep()

    # ------------------------------------------------------------ calling
    def call(self, inputs: Any, lengths: Any, steps: int) -> Any:
        """The model's own result, a nest of tensors."""
        options: dict[str, Any] = {}
        if "training" in self._options:
            options["training"] = self.training
        positional = []
        for name, required in self._options.items():
            lower = name.lower()
            if lower in LENGTH_NAMES:
                value = tf.constant(lengths, tf.int32)
            elif "mask" in lower and required:
                value = sequence_mask(tf.constant(lengths, tf.int32), steps)
            else:
                continue
            if required:
                positional.append(value)
            else:
                options[name] = value
        with quiet():
            try:
                return self.model(inputs, *positional, **options)
            except ValueError:
                if not (self.is_keras and _is_functional(self.model) and self.model.built):
                    raise
                # layers may well take other steps than those that an Input declares: behind its check of shapes
                return self.model.call(inputs, *positional, **options)

    def run(self, batch: Padded, *, keep_state: bool = False) -> Ran:
        """The model over a batch, from its first state unless `keep_state`; what was run so is known."""
        if keep_state:
            return self._run(batch, restore=False, seeded=True)
        key = b"".join(x.tobytes() + str(x.shape).encode() for x in [*batch.inputs, batch.lengths])
        if key not in self._ran:
            self._ran[key] = self._run(batch, restore=True, seeded=True)
        return self._ran[key]

    def _run(self, batch: Padded, *, restore: bool, seeded: bool) -> Ran:
        if restore:
            self.restore()
        if seeded:
            self._seed()
        if self._graph is not None:
            try:
                return self._graph(batch)
            except Exception:
                pass  # eager says why
        nest = self.call(tensors(batch.nest()), batch.lengths, batch.steps)
        return _ran(nest, [(name, float(value)) for name, value in self.additional()])

    def other_numbers(self, batch: Padded) -> Ran:
        """A run under other seeds."""
        self.restore()
        tf.random.set_seed(1)
        np.random.seed(1)
        for variable, value in self._kept:
            if _is_seed(variable):
                variable.assign(value + 1)
        ran = self._run(batch, restore=False, seeded=False)
        self.restore()
        return ran

    def forget(self) -> None:
        """Run anew what was run before."""
        self._ran.clear()

    def _seed(self) -> None:
        """Every generator as it was at first, whatever else is kept."""
        seed()
        for variable, value in self._kept:
            if _is_seed(variable):
                variable.assign(value)

    def accelerate(self, batch: Padded, base: Ran) -> None:
        """Trace the model once for every shape, where that gives the same numbers; else each call stays eager."""
        if base.additional:
            return
        graph = Graph(self, batch)
        try:
            other = graph(batch)
        except Exception:
            return
        finally:
            if self.is_keras:
                self.model._clear_losses()
        for one, two in zip(base.arrays, other.arrays, strict=False):
            scale = float(np.abs(np.nan_to_num(one.astype(float))).max(initial=0.0))
            if one.shape != two.shape or not np.allclose(
                one.astype(float), two.astype(float), rtol=0, atol=1e-3 * scale + 1e-30, equal_nan=True
            ):
                return
        if len(base.arrays) == len(other.arrays):
            self._graph = graph

    def longest_run(self, batch: Padded) -> Ran | None:
        """A run over other shapes than those given, or None where the model refuses them."""
        try:
            return self.run(batch)
        except Exception:
            return None

    def additional(self) -> Iterator[tuple[str, Any]]:
        """Losses that the last call added, each with its layer; penalties on weights are not among them."""
        if not self.is_keras:
            return
        for layer in self.model._flatten_layers():
            for loss in layer._get_own_losses():
                if tf.rank(loss) == 0:
                    yield layer.name, loss

    # ------------------------------------------------------------ variables
    def keep(self) -> None:
        """Remember the values of all variables; those that are trained and all 0 get small numbers, as in training.

        A bias of 0 hides faults: a backward RNN stays at 0 through padding that is 0.
        """
        if self._original:
            return
        random = np.random.default_rng(0)
        for variable in self.variables():
            value = array(variable)
            self._original.append((variable, value))
            if getattr(variable, "trainable", False) and "float" in str(value.dtype) and not value.any():
                value = (0.2 * random.normal(size=value.shape)).astype(value.dtype)
            self._kept.append((variable, value))
        self.restore()

    def restore(self) -> None:
        """Back to the values that were remembered."""
        for variable, value in self._kept:
            variable.assign(value)

    def variables(self) -> list[Any]:
        """All variables that can be found, trainable or not."""
        found = list(self.model.variables) if self.is_keras else list(_variables_of(self.model))
        layers = self.model._flatten_layers() if self.is_keras else ()
        for layer in layers:  # what a stateful layer keeps is not among its variables
            found += [
                v
                for v in tf.nest.flatten(getattr(layer, "states", None) or [])
                if isinstance(v, keras.Variable)
            ]
        return [v for v in found if not isinstance(v, tf.Tensor)]

    def trainable(self) -> list[Any]:
        """TensorFlow's variables that are trained."""
        if self.is_keras:
            return [v.value for v in self.model.trainable_variables]
        return [getattr(v, "value", v) if isinstance(v, keras.Variable) else v
                for v in self.variables() if getattr(v, "trainable", False)]  # fmt: skip

    def floats(self) -> list[Any]:
        """Variables of floating point."""
        return [v for v in self.variables() if "float" in str(v.dtype)]


class Graph:
    """A model traced once, with free axes of examples and steps; a call as `Subject.run`, Keras' masks included."""

    def __init__(self, subject: Subject, batch: Padded) -> None:
        self._shape: Any = None
        specs = []
        for x, part in zip(batch.inputs, batch.parts, strict=True):
            shape: list[int | None] = list(x.shape)
            shape[:1] = [None] if shape else []
            for axis in part.axes:
                shape[axis] = None
            specs.append(tf.TensorSpec(shape, x.dtype))
        signature = [specs, tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)]

        def traced(inputs: list[Any], lengths: Any, steps: Any) -> Any:
            nest = subject.call(tf.nest.pack_sequence_as(batch.structure, inputs), lengths, steps)
            self._shape = nest
            flat = [tf.convert_to_tensor(x) for x in tf.nest.flatten(nest) if x is not None]
            masks = [getattr(x, "_keras_mask", None) for x in flat]
            self._masked = [m is not None for m in masks]
            return flat, [m for m in masks if m is not None]

        self._function = tf.function(traced, input_signature=signature, autograph=False)

    def __call__(self, batch: Padded) -> Ran:
        """The model over a batch."""
        with quiet():
            flat, masks = self._function(
                [tf.constant(x) for x in batch.inputs],
                tf.constant(batch.lengths, tf.int32),
                tf.constant(batch.steps, tf.int32),
            )
        left = iter(masks)
        for x, masked in zip(flat, self._masked, strict=True):
            if masked:
                x._keras_mask = next(left)
        found = iter(flat)
        nest = tf.nest.map_structure(lambda x: None if x is None else next(found), self._shape)
        return _ran(nest, [])


def _ran(nest: Any, additional: list[tuple[str, float]]) -> Ran:
    flat = [x for x in tf.nest.flatten(nest) if x is not None]
    flat = [x.to_tensor() if isinstance(x, tf.RaggedTensor) else tf.convert_to_tensor(x) for x in flat]
    return Ran(nest, flat, [array(x) for x in flat], additional)


def loaded(path: Path) -> Any:
    """A Keras model from its file, by Keras' own loading.

    Raises:
        ValueError: there is none, or it cannot be read; lambdas and unknown classes among the reasons.
    """
    if not path.exists():
        raise ValueError(f"{path} is not there.")
    try:
        with quiet():
            return keras.models.load_model(path)
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path} cannot be loaded: {said[0]} Classes of your own are made known by importing their module "
            "(--import); a Lambda only loads after keras.config.enable_unsafe_deserialization()."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries warn of: a check tries what they warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tensors(nest: Any) -> Any:
    """A nest of arrays as tensors."""
    return tf.nest.map_structure(tf.constant, nest)


def array(tensor: Any) -> np.ndarray:
    """Whatever it is, in NumPy."""
    return np.asarray(tf.convert_to_tensor(tensor))


def seed() -> None:
    """The same numbers from every generator."""
    tf.random.set_seed(0)
    np.random.seed(0)


def _is_seed(variable: Any) -> bool:
    return "seed_generator" in str(getattr(variable, "path", variable.name))


def _is_functional(model: Any) -> bool:
    return hasattr(model, "_nodes_by_depth") or isinstance(model, keras.Sequential)


def _options(model: Any) -> Mapping[str, bool]:
    """The names that a model can be called with beside its first argument, and whether each must be given."""
    function: Callable[..., Any] = model
    if isinstance(model, keras.layers.Layer):
        function = model.call
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return {}
    return {
        p.name: p.default is p.empty
        for p in parameters[1:]
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _without_chance(model: Any) -> Iterator[tuple[Any, str, float]]:
    """No dropout and no noise: in training a model draws other numbers for other shapes. Gives what stood there."""
    for layer in model._flatten_layers():
        for name in _RANDOM_RATES:
            value = getattr(layer, name, None)
            if isinstance(value, float) and value:
                yield layer, name, value
                setattr(layer, name, 0.0)


def _variables_of(thing: Any, depth: int = 3, seen: set[int] | None = None) -> Iterator[Any]:
    """Variables in a callable's closure, in its arguments and attributes."""
    seen = set() if seen is None else seen
    if id(thing) in seen or depth < 0:
        return
    seen.add(id(thing))
    if isinstance(thing, tf.Variable | keras.Variable):
        yield thing
    elif isinstance(thing, keras.layers.Layer | tf.Module):
        for variable in thing.variables:
            if id(variable) not in seen:
                seen.add(id(variable))
                yield variable
        if not isinstance(thing, keras.layers.Layer):
            for value in vars(thing).values():
                yield from _variables_of(value, depth - 1, seen)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from _variables_of(value, depth - 1, seen)
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from _variables_of(value, depth - 1, seen)
    elif callable(thing):
        python = getattr(thing, "python_function", thing)
        inner = inspect.unwrap(getattr(python, "__func__", python))
        for cell in getattr(inner, "__closure__", None) or ():
            try:
                yield from _variables_of(cell.cell_contents, depth - 1, seen)
            except ValueError:  # a cell that is empty
                continue
        names = getattr(getattr(inner, "__code__", None), "co_names", ())
        for name in names:
            if name in getattr(inner, "__globals__", {}):
                value = inner.__globals__[name]
                if isinstance(
                    value, tf.Variable | keras.Variable | keras.layers.Layer | tf.Module | dict | list
                ):
                    yield from _variables_of(value, depth - 1, seen)
        for owner in (getattr(python, "__self__", None), getattr(thing, "func", None)):
            if owner is not None:
                yield from _variables_of(owner, depth - 1, seen)
        for value in (
            [*vars(thing).values()] if hasattr(thing, "__dict__") and not inspect.isfunction(thing) else []
        ):
            yield from _variables_of(value, depth - 1, seen)
