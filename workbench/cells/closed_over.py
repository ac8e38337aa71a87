"""What a function of somebody's own reads beside its arguments, as an activation may."""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Iterator, Set
from typing import Any

import numpy as np

SETTLED = (bool, int, float, complex, str, bytes, type(None), np.generic)
_OF_LIBRARIES = ("keras", "tensorflow", "numpy", "math", "builtins")
_UNNAMED = {"globals", "vars", "getattr", "eval", "exec"}
"""By these a function may read what it does not name."""
_ANYTHING = object()
"""Stands for what cannot be told."""


def closed_over(function: Any) -> tuple[Any, ...] | None:
    """The plain numbers and words that a function reads from outside, and the code of the functions that it calls.

    What these read in their turn included. None where it reads anything else, as a tensor, a list or an object: it
    may be or hold another thing at the next call, and a tensor may have a gradient, which would be lost in what is
    compiled apart.

    >>> slope = 0.1
    >>> closed_over(lambda z: max(z, slope * z)), closed_over(abs), closed_over([1].index)
    ((0.1,), (), None)
    """
    found: list[Any] = []
    for value in _read(function, {}, named=False):
        if not isinstance(value, (*SETTLED, types.CodeType)):
            return None
        found.append(value)
    return tuple(found)


def _read(value: Any, seen: dict[int, Any], *, named: bool = True) -> Iterator[Any]:
    """Each number, word and object that a value is or reads; functions, if `named`, by code or name."""
    if isinstance(value, SETTLED):
        yield value
        return
    if id(value) in seen or (isinstance(value, types.ModuleType | type) and _is_of_a_library(value)):
        return
    seen[id(value)] = value
    of_library = _is_of_a_library(value)
    if named and (of_library or inspect.isfunction(value)):
        yield f"{value.__module__}.{value.__qualname__}" if of_library else value.__code__
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *(value.keywords[name] for name in sorted(value.keywords))):
            yield from _read(part, seen)
    elif inspect.isfunction(value):
        for part in _parts(value):
            yield from _read(part, seen, named=not of_library or not _is_of_a_library(part))
    elif not of_library:
        yield value


def _parts(function: Any) -> list[Any]:
    """What a function has from outside: its closure, its defaults, its attributes, and what it names."""
    closure, defaults = _closure(function), list(function.__defaults__ or ())
    if _is_of_a_library(function):  # which may have been made of somebody's own function
        return [part for part in (*closure.values(), *defaults) if inspect.isfunction(part)]
    defaults += [*(function.__kwdefaults__ or {}).values(), *vars(function).values()]
    names = _names(function.__code__)
    known = {name: function.__globals__[name] for name in names & function.__globals__.keys()} | closure
    values = [known[name] for name in sorted(names & known.keys())]
    named = [part for value in values for part in _inside(value, names, ())]
    unnamed = names & _UNNAMED or _imports(function.__code__)
    return [*defaults, *named, *([_ANYTHING] if unnamed else [])]


def _closure(function: Any) -> dict[str, Any]:
    """The variables of a function's closure by name; one that has no value yet may become anything."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            found[name] = _ANYTHING
    return found


def _inside(value: Any, names: Set[str], above: tuple[Any, ...]) -> list[Any]:
    """A value; of somebody's module what in it is named, or the module itself where nothing is."""
    if not isinstance(value, types.ModuleType) or _is_of_a_library(value) or value in above:
        return [value]
    within = [vars(value)[name] for name in sorted(names & set(vars(value)))]
    return [part for one in within for part in _inside(one, names, (*above, value))] or [value]


@functools.lru_cache(1000)
def _names(code: types.CodeType) -> frozenset[str]:
    """All names in a function's code, and in that of the functions defined in it."""
    return frozenset(code.co_names + code.co_freevars).union(*map(_names, _nested(code)))


@functools.lru_cache(1000)
def _imports(code: types.CodeType) -> bool:
    """Does it import something of no library when it runs?"""
    of_its_own = any(
        one.opname == "IMPORT_NAME" and not _is_a_library(one.argval) for one in dis.get_instructions(code)
    )
    return of_its_own or any(map(_imports, _nested(code)))


def _nested(code: types.CodeType) -> list[types.CodeType]:
    return [one for one in code.co_consts if isinstance(one, types.CodeType)]


def _is_of_a_library(value: Any) -> bool:
    """A function, class or module of Keras, TensorFlow, NumPy or Python; no object of theirs, as a layer."""
    if isinstance(value, types.ModuleType):
        return _is_a_library(value.__name__)
    if isinstance(value, types.BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    return (inspect.isroutine(value) or isinstance(value, type)) and _is_a_library(
        getattr(value, "__module__", None) or ""
    )


def _is_a_library(module: str) -> bool:
    return module.partition(".")[0] in _OF_LIBRARIES
