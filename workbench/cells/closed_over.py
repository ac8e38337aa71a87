"""What a function of somebody's own reads beside its arguments, as an activation may."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

_SETTLED = (bool, int, float, complex, str, bytes, type(None))
_OF_LIBRARIES = ("keras", "tensorflow", "numpy", "math", "builtins")
_UNNAMED = {"globals", "vars", "getattr", "eval", "exec"}
"""By these a function may read what it does not name."""


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
    """Every value but functions that say no more, and modules and classes of libraries."""
    if id(function) in seen or (isinstance(function, types.ModuleType | type) and _is_of_a_library(function)):
        return
    seen.add(id(function))
    if isinstance(function, functools.partial):
        for part in (function.func, *function.args, *function.keywords.values()):
            yield from _read(part, seen)
    elif _is_of_a_library(function) and not getattr(function, "__closure__", None):
        return
    elif inspect.isfunction(function):
        made_of = list(function.__defaults__ or ())
        if _is_of_a_library(function):  # which may have been made of somebody's own function
            made_of += inspect.getclosurevars(function).nonlocals.values()
            made_of = [part for part in made_of if inspect.isfunction(part)]
        else:
            made_of += [*(function.__kwdefaults__ or {}).values(), *vars(function).values()]
            made_of += _named(function)
        for part in made_of:
            yield from _read(part, seen)
    else:
        yield function


def _named(function: Any) -> Iterator[Any]:
    """What a function, and those defined in it, read by name: globals, and of modules and classes their attributes.

    A module or class of which no attribute is named stands for itself, as does a way to read what is not named.
    """
    names = _names(function.__code__)
    known = inspect.getclosurevars(function).nonlocals | function.__globals__
    for name in sorted(names & set(known)):
        value = known[name]
        if not isinstance(value, types.ModuleType | type) or _is_of_a_library(value):
            yield value
            continue
        inside = [getattr(value, one) for one in sorted(names) if hasattr(value, one)]
        yield from inside or [value]
    if names & _UNNAMED:
        yield [function]


def _names(code: types.CodeType) -> set[str]:
    """All names of a function's code, and of the functions defined in it."""
    inside = [_names(one) for one in code.co_consts if isinstance(one, types.CodeType)]
    return set(code.co_names + code.co_freevars).union(*inside)


def _is_of_a_library(function: Any) -> bool:
    """A function, class or module of Keras, TensorFlow, NumPy or Python; no object of theirs, as a layer."""
    if isinstance(function, types.ModuleType):
        return function.__name__.partition(".")[0] in _OF_LIBRARIES
    if isinstance(function, types.BuiltinFunctionType):
        return function.__self__ is None or isinstance(function.__self__, types.ModuleType)
    module = getattr(function, "__module__", None) or ""
    return (inspect.isroutine(function) or isinstance(function, type)) and module.partition(".")[
        0
    ] in _OF_LIBRARIES
