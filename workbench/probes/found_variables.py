"""The variables of any callable: in its closure, its arguments, its attributes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


def is_seed(variable: Any) -> bool:
    """Is it the state of one of Keras' generators of random numbers?"""
    return "seed_generator" in str(getattr(variable, "path", variable.name))


def states_of(layer: Any) -> list[Any]:
    """What a stateful layer keeps from call to call, which is not among its variables."""
    states = getattr(layer, "states", None)
    if states is None:
        return []
    return [one for one in tf.nest.flatten(states) if isinstance(one, keras.Variable)]


def layers_of(thing: Any) -> list[Any]:
    """The Keras layers that can be found in a model, or in a callable."""
    if isinstance(thing, keras.layers.Layer):
        return list(thing._flatten_layers())
    found: list[Any] = []
    for _ in variables_of(thing, layers=found):
        pass
    return found


def variables_of(
    thing: Any, depth: int = 3, seen: set[int] | None = None, layers: list[Any] | None = None
) -> Iterator[Any]:
    """Variables in a callable's closure, in its arguments and attributes; the layers met go into `layers`."""
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
        if isinstance(thing, keras.layers.Layer):
            for layer in thing._flatten_layers():
                if layers is not None:
                    layers.append(layer)
                yield from states_of(layer)
        if not isinstance(thing, keras.layers.Layer):
            for value in vars(thing).values():
                yield from variables_of(value, depth - 1, seen, layers)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from variables_of(value, depth - 1, seen, layers)
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from variables_of(value, depth - 1, seen, layers)
    elif callable(thing):
        python = getattr(thing, "python_function", thing)
        inner = inspect.unwrap(getattr(python, "__func__", python))
        for cell in getattr(inner, "__closure__", None) or ():
            try:
                yield from variables_of(cell.cell_contents, depth - 1, seen, layers)
            except ValueError:  # a cell that is empty
                continue
        names = getattr(getattr(inner, "__code__", None), "co_names", ())
        for name in names:
            if name in getattr(inner, "__globals__", {}):
                value = inner.__globals__[name]
                if isinstance(
                    value, tf.Variable | keras.Variable | keras.layers.Layer | tf.Module | dict | list
                ):
                    yield from variables_of(value, depth - 1, seen, layers)
        for owner in (getattr(python, "__self__", None), getattr(thing, "func", None)):
            if owner is not None:
                yield from variables_of(owner, depth - 1, seen, layers)
        for value in (
            [*vars(thing).values()] if hasattr(thing, "__dict__") and not inspect.isfunction(thing) else []
        ):
            yield from variables_of(value, depth - 1, seen, layers)
