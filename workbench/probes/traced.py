"""What a call of a model gives, and the model traced once for every shape."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.cells.keras_state import scopes_kept
from workbench.probes.padded import Padded

_DRAW = ("Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal", "LogUniformCandidateSampler",
         "UniformCandidateSampler", "PyFunc", "PyFuncStateless", "EagerPyFunc")  # fmt: skip


@dataclass
class Ran:
    """What a call gave: tensors with Keras' masks, and the same as arrays."""

    nest: Any
    tensors: list[Any]
    arrays: list[np.ndarray]
    additional: list[tuple[str, float]]  # losses that the model adds by itself


class Graph:
    """A model traced once, with free axes of examples and steps; a call as `Subject.run`, Keras' masks included."""

    def __init__(self, call: Callable[[Any, Any, Any], Any], batch: Padded) -> None:
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
            nest = call(tf.nest.pack_sequence_as(batch.structure, inputs), lengths, steps)
            self._shape = nest
            flat = [tf.convert_to_tensor(x) for x in tf.nest.flatten(nest) if x is not None]
            masks = [getattr(x, "_keras_mask", None) for x in flat]
            self._masked = [m is not None for m in masks]
            return flat, [m for m in masks if m is not None]

        self._function = tf.function(traced, input_signature=signature, autograph=False)

    @cached_property
    def draws(self) -> bool:
        """Has it ops whose numbers follow from TensorFlow's global seed?"""
        graph = self._function.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        names = {node.op for node in nodes}
        return any(name in _DRAW or ("Random" in name and "Stateless" not in name) for name in names)

    def __call__(self, batch: Padded) -> Ran:
        """The model over a batch."""
        return ran_of(self.nest([tf.constant(x) for x in batch.inputs], batch), [])

    def nest(self, inputs: list[Any], batch: Padded) -> Any:
        """The model's own result for a batch that is fed as these tensors."""
        with quiet():
            flat, masks = self._function(
                inputs, tf.constant(batch.lengths, tf.int32), tf.constant(batch.steps, tf.int32)
            )
        left = iter(masks)
        for x, masked in zip(flat, self._masked, strict=True):
            if masked:
                x._keras_mask = next(left)
        found = iter(flat)
        return tf.nest.map_structure(lambda x: None if x is None else next(found), self._shape)


def ran_of(nest: Any, additional: list[tuple[str, float]]) -> Ran:
    """What a call gave, flat."""
    flat = [x for x in tf.nest.flatten(nest) if x is not None]
    flat = [x.to_tensor() if isinstance(x, tf.RaggedTensor) else tf.convert_to_tensor(x) for x in flat]
    return Ran(nest, flat, [array(x) for x in flat], additional)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries warn of, and leave behind: a check tries what they warn about, and what fails."""
    with scopes_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tensors(nest: Any) -> Any:
    """A nest of arrays as tensors."""
    return tf.nest.map_structure(tf.constant, nest)


def array(tensor: Any) -> np.ndarray:
    """Whatever it is, in NumPy."""
    return np.asarray(tf.convert_to_tensor(tensor))
