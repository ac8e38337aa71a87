"""Any model as a function from a padded batch to arrays: Keras models, layers, callables, saved files."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.masking import sequence_mask
from workbench.probes.chance import generators_kept, seed_all, without_chance
from workbench.probes.kept_variables import KeptVariables
from workbench.probes.padded import LENGTH_NAMES, Padded
from workbench.probes.traced import Graph, Ran, quiet, ran_of, tensors

_MANY_STEPS = 24  # from here on a trace of the gradient costs less than the steps one by one
_PUT_IN = 1e6  # times the median magnitude: what is larger stands for minus infinity


class Subject:
    """A model, called the same way each time: same seeds, same weights, no warnings."""

    def __init__(self, model: Any, *, training: bool = False) -> None:
        if isinstance(model, str | os.PathLike):
            model = loaded(Path(model))
        if not callable(model):
            raise ValueError(f"model must be a Keras model, a callable or a .keras file; got {type(model)}.")
        self.model, self.training = model, training
        self.is_keras = isinstance(model, keras.layers.Layer)
        self._switched_off = ExitStack()
        self._switched_off.enter_context(generators_kept())
        self._options = _options(model)
        self.variables = KeptVariables(model)
        self._graph: Graph | None = None
        self._ran: dict[bytes, Ran] = {}
        if training and self.is_keras:
            self._switched_off.enter_context(without_chance(model))

    def close(self) -> None:
        """Give the model back as it was."""
        self._switched_off.close()
        self.variables.give_back()

    def build(self, batch: Padded) -> None:
        """Make the variables, and remember their values as they are at first."""
        if not (self.is_keras and self.model.built):
            # also of a function or a module, whose layers may not be built yet
            before = self.variables.now()
            try:
                self.seed()
                self.call(tensors(batch.nest()), batch.lengths, batch.steps)
            finally:
                self.variables.begin_again(before)
        self.variables.keep()

    def drop_optional_masks(self) -> bool:
        """Give no mask any more that need not be given, as of one [B, T, S]; False where there is none."""
        needed = {n: r for n, r in self._options.items() if r or not self._is_mask(n, r)}
        dropped = len(needed) < len(self._options)
        self._options = needed
        return dropped

    @property
    def is_told(self) -> bool:
        """Does it get lengths or a mask as an argument of their own?"""
        return any(
            name.lower() in LENGTH_NAMES or self._is_mask(name, required)
            for name, required in self._options.items()
        )

    def _is_mask(self, name: str, required: bool) -> bool:
        """Is an argument a mask that is to be given? What a Keras layer calls `mask` Keras itself gives."""
        return "mask" in name.lower() and (required or not (self.is_keras and name == "mask"))

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
            elif self._is_mask(name, required):
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

    def fed(self, inputs: Any, batch: Padded) -> Any:
        """The model's result for tensors that a tape watches; traced where there are many steps to go back."""
        if self._graph is not None and batch.steps >= _MANY_STEPS:
            return self._graph.nest(tf.nest.flatten(inputs), batch)
        return self.call(inputs, batch.lengths, batch.steps)

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
            self.variables.restore()
        if seeded:
            self.seed()
        if self._graph is not None:
            try:
                return self._graph(batch)
            except Exception:
                pass  # eager says why
        nest = self.call(tensors(batch.nest()), batch.lengths, batch.steps)
        return ran_of(nest, [(name, float(value)) for name, value in self.additional()])

    def other_numbers(self, batch: Padded) -> Ran:
        """A run under other seeds."""
        self.variables.restore()
        tf.random.set_seed(1)
        np.random.seed(1)
        self.variables.seed(1)
        ran = self._run(batch, restore=False, seeded=False)
        self.variables.restore()
        return ran

    def forget(self) -> None:
        """Run anew what was run before."""
        self._ran.clear()

    def seed(self) -> None:
        """Every generator as it was at first, whatever else is kept.

        TensorFlow's forgets all kernels with it, half a second for a traced model: not for one that never draws.
        """
        if self._graph is None or self._graph.draws:
            seed_all()
        self.variables.seed()

    def accelerate(self, batch: Padded, base: Ran) -> bool:
        """Trace the model once for every shape, where that gives the same numbers; else (False) it stays eager."""
        if base.additional:
            return False
        graph = Graph(self.call, batch)
        try:
            other = graph(batch)
        except Exception:
            return False
        finally:
            if self.is_keras:
                self.model._clear_losses()
        for one, two in zip(base.arrays, other.arrays, strict=False):
            scale = largest(one)
            if one.shape != two.shape or not np.allclose(
                one.astype(float), two.astype(float), rtol=0, atol=1e-3 * scale + 1e-30, equal_nan=True
            ):
                return False
        if len(base.arrays) == len(other.arrays):
            self._graph = graph
        return self._graph is not None

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
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if unknown := re.search(r"Could not locate (class|function) '([^']+)'", str(error)):
            said = f"the {unknown[1]} {unknown[2]} is not known here."
        raise ValueError(
            f"{path} cannot be loaded: {said} Classes of your own are made known by importing their module "
            "(--import); a Lambda only loads after keras.config.enable_unsafe_deserialization()."
        ) from error


def largest(values: np.ndarray) -> float:
    """The largest magnitude of those numbers that are finite, and none put in for what is ruled out."""
    sizes = np.abs(values.astype(float))
    return float(sizes[np.isfinite(sizes) & ~is_put_in(values)].max(initial=0.0))


def is_put_in(values: np.ndarray) -> np.ndarray:
    """Which numbers stand for minus infinity, as -1e9 in the score of a class that is ruled out.

    They are a million times as large as most: held to their rounding, nothing beside them would be seen.
    """
    sizes = np.abs(values.astype(float))
    there = sizes[np.isfinite(sizes) & (sizes > 0)]
    typical = float(np.median(there)) if there.size else np.inf
    return np.isfinite(sizes) & (sizes > _PUT_IN * typical)


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
        and ("mask" not in p.name.lower() or p.default in (p.empty, None))
    }
