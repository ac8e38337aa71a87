"""What overrides ask for, by dotted name, and whether a tree has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import Override

from workbench.config import Problem, flatten
from workbench.options.schema import QUOTES
from workbench.sweep.honoured import ENVIRONMENT

DELETED: Any = object()
"""What was asked for a key that an override takes out."""


def lacking(
    asked: Mapping[str, Any], tree: Mapping[str, Any], where: str = "the configuration"
) -> list[Problem]:
    """What was asked for and is not in a tree."""
    flat = flatten(tree)
    return [
        Problem(key, value, f"is asked for, but {where} has {_found(flat, key)}; give {key} once")
        for key, value in asked.items()
        if value is not DELETED and not same_value(flat.get(key, DELETED), value)
    ]


def _found(flat: Mapping[str, Any], key: str) -> str:
    return str(Problem(key, flat[key], "")).removesuffix(": ") if key in flat else f"no {key}"


def same_value(found: Any, asked: Any) -> bool:
    """Whether two values are one; 4 and 4.0 are, 1 and true are not."""
    if isinstance(asked, list) and isinstance(found, list):
        return len(asked) == len(found) and all(map(same_value, found, asked))
    same = found == asked or (found != found and asked != asked)  # NaN is asked for like any other
    return bool(same) and isinstance(found, bool) == isinstance(asked, bool)


def typed_values(words: Sequence[Override]) -> dict[str, Any]:
    """Dotted names and values that overrides ask for, the later over the earlier."""
    typed: dict[str, Any] = {}
    for one in words:
        key, value = one.key_or_group, one.value()
        if key.startswith(ENVIRONMENT):
            key = key.replace(ENVIRONMENT, "environment", 1)
            value = (
                {name: str(text) for name, text in value.items()} if isinstance(value, dict) else str(value)
            )
        above = [name for name in typed if key.startswith(f"{name}.")]
        below = [name for name in typed if name.startswith(f"{key}.")]
        for name in above + ([] if isinstance(value, dict) else below):
            del typed[name]
        typed |= {key: DELETED} if one.is_delete() else flatten({key: value})
    return typed


def asked_values(
    typed: Mapping[str, Any], raw: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """What is typed, an interpolation as what it comes to where it stands in the composition."""
    return {
        key: found.get(key) if "${" in str(value) and raw.get(key) == value else value
        for key, value in typed.items()
    }


def names_that_are_no_text(tree: Any, where: str = "") -> list[str]:
    """Names in mappings, at any depth, that the record could not tell from a text of the same look."""
    if isinstance(tree, list):
        return [name for one in tree for name in names_that_are_no_text(one, where)]
    if not isinstance(tree, Mapping):
        return []
    found = [f"{where}{name}" for name in tree if not isinstance(name, str)]
    return found + [
        more for name, one in tree.items() for more in names_that_are_no_text(one, f"{where}{name}.")
    ]


def as_written(problems: Sequence[Problem], words: Sequence[str]) -> list[Problem]:
    """The problems with each value as it stands in an override, and what that is in quotes."""
    written = {text.lstrip("+~").partition("=")[0]: text.partition("=")[2] for text in words}
    return [_as_written(one, written.get(one.key, "")) for one in problems]


def _as_written(problem: Problem, value: str) -> Problem:
    if not value or "${" in value:
        return problem
    if not problem.remedy.endswith(QUOTES):
        return replace(problem, value=value)
    return replace(problem, value=value, remedy=f"{problem.remedy}: '{problem.key}=\"{value}\"'")
