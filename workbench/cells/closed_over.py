"""What a function of somebody's own reads beside its arguments, as an activation may."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

_SETTLED = (bool, int, float, complex, str, bytes, type(None))
_OF_LIBRARIES = ("keras", "tensorflow", "numpy", "math", "builtins")


def closed_over(function: Any) -> tuple[Any, ...] | None:
    """The plain numbers and words that a function reads from outside, those that it calls included.

    None where it reads anything else, as a tensor, a list or an object: what that holds may be another thing at the
    next call, and a tensor may have a gradient, which would be lost in what is compiled apart.

    >>> slope = 0.1
    >>> closed_over(lambda z: max(z, slope * z)), closed_over(abs), closed_over([1].index)
    ((0.1,), (), None)
    """
    found: list[Any] = []
    for value in _read(function, set()):
        if not isinstance(value, _SETTLED):
            return None
        found.append(value)
    return tuple(found)


def _read(function: Any, seen: set[int]) -> Iterator[Any]:
    """Every value that is no module, class or function, of whose kind nothing more is to be known."""
    if id(function) in seen or isinstance(function, types.ModuleType | type):
        return
    seen.add(id(function))
    if isinstance(function, functools.partial):
        for part in (function.func, *function.args, *function.keywords.values()):
            yield from _read(part, seen)
    elif _is_of_a_library(function) and not getattr(function, "__closure__", None):
        return
    elif inspect.isfunction(function):
        read = inspect.getclosurevars(function)
        made_of = [*read.nonlocals.values(), *(function.__defaults__ or ())]
        if _is_of_a_library(function):  # which may have been made of somebody's own function
            made_of = [part for part in made_of if inspect.isfunction(part)]
        else:
            made_of += [*read.globals.values(), *(function.__kwdefaults__ or {}).values()]
        for part in made_of:
            yield from _read(part, seen)
    else:
        yield function


def _is_of_a_library(function: Any) -> bool:
    """A function of Keras, TensorFlow, NumPy or Python; no object of theirs, as a layer."""
    if isinstance(function, types.BuiltinFunctionType):
        return function.__self__ is None or isinstance(function.__self__, types.ModuleType)
    module = getattr(function, "__module__", None) or ""
    return inspect.isroutine(function) and module.partition(".")[0] in _OF_LIBRARIES
