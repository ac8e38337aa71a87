"""Checks a tree of plain values against dataclasses: unknown keys, types, ranges, choices.

A schema is a dataclass whose fields are made by `option`. The check never stops at the first problem, and
every problem names the key, the value that came, and what would be right.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from workbench.former_names import former_name, former_option
from workbench.wording import did_you_mean

QUOTES = ": put it in quotes"
LONGEST_NAME = 100
ABSENT: Any = object()
"""The value of a `Problem` whose key came without one."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration.

    `skip` is true for a combination that is impossible only as a whole: a sweep leaves it out and says so, a
    single run refuses it.
    """

    key: str
    value: Any
    remedy: str
    skip: bool = False

    def __str__(self) -> str:
        given = "" if self.value is ABSENT else f"={_shown(self.value)}"
        return f"{self.key}{given}: {self.remedy}"


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    pattern: str | None = None,
    needed: bool = False,
) -> Any:
    """A field of a schema: its default, its meaning, and the values it may have.

    `low` and `high` belong to the range, `above` does not. Numbers in a list are each held against the range.
    What is `needed` and still null is refused before anything starts.
    """
    limits = {"help": help, "low": low, "above": above, "high": high, "choices": choices, "pattern": pattern}
    limits["needed"] = needed
    if isinstance(default, list | dict):
        frozen = default
        return dataclasses.field(default_factory=lambda: type(frozen)(frozen), metadata=limits)
    return dataclasses.field(default=default, metadata=limits)


def check(schema: type, tree: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[Problem]]:
    """The values of `tree` with the schema's defaults filled in, and everything that is wrong with them.

    >>> @dataclass
    ... class Training:
    ...     epochs: int = option(1, "passes over the data", low=1)
    >>> check(Training, {"epoch": 3}, "training")[1][0].remedy
    'no such key; did you mean training.epochs?'
    """
    known = {field.name: field for field in dataclasses.fields(schema)}
    values: dict[str, Any] = {}
    problems = [
        Problem(_join(prefix, key), value, unknown_key(key, known, prefix))
        for key, value in tree.items()
        if key not in known
    ]
    for name, field in known.items():
        key = _join(prefix, name)
        if name not in tree:
            value, missing = _default(field)
            if missing:
                problems.append(Problem(key, None, "required, but not given"))
            values[name] = value
            continue
        values[name], wrong = _checked(schema, field, tree[name], key)
        problems += wrong
    return values, problems


@dataclass(frozen=True)
class Options:
    """What a variant of a conf group may be told. It is checked when it is made, whoever makes it.

    Its first field names the variant, and its file's SCHEMAS have the class of each.

    >>> from workbench.options.padding import Pooled
    >>> Pooled(pool=3).own()
    {'pool': 3, 'batch_price': 64}
    >>> Pooled(pool=0)
    Traceback (most recent call last):
    ValueError: padding.pool=0: must be at least 1
    """

    def __post_init__(self) -> None:
        kind, group = type(self), type(self).__module__.rpartition(".")[2]
        schemas, wrong = sys.modules[kind.__module__].SCHEMAS, []
        for field in dataclasses.fields(self):
            key = f"{group}.{field.name}"
            value, found = _checked(kind, field, getattr(self, field.name), key)
            object.__setattr__(self, field.name, value)  # 20 is 20.0 where that is meant, a path is text
            wrong += found
        key, variant = next(iter(vars(self).items()))
        if variant not in schemas:
            wrong.append(Problem(f"{group}.{key}", variant, not_among(variant, schemas, group)))
        elif schemas[variant] is not kind:
            remedy = f"is of {schemas[variant].__name__}, not of {kind.__name__}"
            wrong.append(Problem(f"{group}.{key}", variant, remedy))
        if wrong:
            raise ValueError("\n".join(map(str, wrong)))

    def own(self) -> dict[str, Any]:
        """What this variant has beside what every variant of its group has."""
        of_all = next(
            kind for kind in reversed(type(self).__mro__) if issubclass(kind, Options) and kind is not Options
        )
        common = {field.name for field in dataclasses.fields(of_all)}
        return {name: value for name, value in vars(self).items() if name not in common}


def _checked(schema: type, field: dataclasses.Field, given: Any, key: str) -> tuple[Any, list[Problem]]:
    """The value as the field has it, and what is wrong with it."""
    hint = _hints(schema)[field.name]
    value, wrong = _typed(given, hint)
    if wrong:
        return value, [Problem(key, given, _must_be(hint, given))]
    return value, [Problem(key, value, wrong) for wrong in _outside(value, field.metadata, key)]


@cache
def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _default(field: dataclasses.Field) -> tuple[Any, bool]:
    if field.default is not dataclasses.MISSING:
        return field.default, False
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory(), False
    return None, True


def _typed(value: Any, hint: Any) -> tuple[Any, bool]:
    """`value` as the type hint asks, and whether it cannot be. Int becomes float, a path text."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value, False
    if origin in (typing.Union, types.UnionType):
        for one in typing.get_args(hint):
            result, wrong = _typed(value, one)
            if not wrong:
                return result, False
        return value, True
    if hint is types.NoneType:
        return value, value is not None
    if origin is list:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value, True
        items = [_typed(item, typing.get_args(hint)[0]) for item in value]
        return [item for item, _ in items], any(wrong for _, wrong in items)
    if origin is dict:
        return (dict(value), False) if isinstance(value, Mapping) else (value, True)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value), False
    if isinstance(value, bool) and hint is not bool:
        return value, True
    if hint is str and isinstance(value, os.PathLike):
        return os.fspath(value), False
    return value, not isinstance(value, hint)


def _outside(value: Any, limits: Mapping[str, Any], key: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return list(dict.fromkeys(wrong for item in value for wrong in _outside(item, limits, key)))
    choices = limits.get("choices")
    if choices is not None and value not in choices:
        return [not_among(value, choices, key)]
    pattern = limits.get("pattern")
    if pattern is not None and isinstance(value, str) and not re.fullmatch(pattern, value):
        return ["must be letters, digits, `_`, `-` and `.` only, and begin with none of the last two"]
    if pattern is not None and isinstance(value, str) and len(value.encode()) > LONGEST_NAME:
        return [f"must be at most {LONGEST_NAME} bytes long: folders and files are named by it"]
    if isinstance(value, float) and not math.isfinite(value):
        return ["must be a finite number"]
    wrong = []
    if limits.get("low") is not None and value < limits["low"]:
        wrong.append(f"must be at least {limits['low']}")
    if limits.get("above") is not None and value <= limits["above"]:
        wrong.append(f"must be more than {limits['above']}")
    if limits.get("high") is not None and value > limits["high"]:
        wrong.append(f"must be at most {limits['high']}")
    return wrong


def not_among(value: Any, choices: Iterable[Any], group: str = "") -> str:
    """The remedy where `value` is none of `choices`, with the nearest of them, or what it is of a `group`."""
    choices = list(choices)
    known = former_name(group, value, map(str, choices))
    if known:
        return f"must be one of {', '.join(map(_shown, choices))}; {known}"
    return f"must be one of {', '.join(map(_shown, choices))}{did_you_mean(value, choices)}"


def unknown_key(key: str, known: Iterable[str], prefix: str = "") -> str:
    """The remedy where `key` is none of `known`, with the nearest of them."""
    known = list(known)
    *path, name = _join(prefix, key).split(".")
    former = former_option(".".join(path), name)
    if former:
        return f"no such key; {former}"
    near = did_you_mean(key, known, _join(prefix, ""))
    if near:
        return f"no such key{near}"
    where = f"{prefix} has" if prefix else "there are"
    return f"no such key; {where} {', '.join(sorted(known))}"


def _must_be(hint: Any, value: Any) -> str:
    """The remedy for a value of another type; a number or a word of YAML's that was meant as text needs quotes."""
    is_text = hint is str or str in typing.get_args(hint)
    scalar = isinstance(value, bool | int | float)
    return f"must be {_spelled(hint)}" + (QUOTES if is_text and scalar else "")


def _spelled(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        types.NoneType: "null",
        dict: "a mapping",
    }
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spelled(one) for one in typing.get_args(hint))
    if origin is list:
        return f"a list, each {_spelled(typing.get_args(hint)[0])}"
    if origin is dict:
        return "a mapping"
    return names.get(hint, str(hint))


def _join(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
