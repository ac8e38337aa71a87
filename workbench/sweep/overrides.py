"""Overrides as typed, in Hydra's grammar -> what is given for each key, each value as an override of its own."""

from __future__ import annotations

import functools
import itertools
import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
)

from workbench.config import ConfigError, Problem
from workbench.options.schema import ABSENT

MOST_JOBS = 10_000
"""More jobs than a sweep may have: at some seconds each it would take days."""

_NESTED = "a sweep inside a sweep; name all the values in one list"

Choices = Callable[[str], list[str]]
"""The files of a group, for a glob."""


@dataclass(frozen=True)
class Given:
    """What is given for a key: its values as overrides of one value each, and as a person reads them."""

    key: str
    sign: str
    words: tuple[str, ...]
    titles: tuple[str, ...]
    is_swept: bool = False

    def in_quotes(self, place: int) -> str:
        """A title with every text in quotes."""
        return f"{self.key}={shown(parsed(self.words[place])._value, in_quotes=True)}"

    @property
    def values(self) -> str:
        """The values as they were typed."""
        return ",".join(text.partition("=")[2] for text in self.words)

    def signed(self, sign: str) -> Given:
        """The same with another sign."""
        return replace(
            self, sign=sign, words=tuple(sign + text.removeprefix(self.sign) for text in self.words)
        )


def read(overrides: Sequence[str], choices: Choices = lambda group: []) -> list[Given]:
    """What is given for each key. A later override of a swept key, or a sweep over a given one, stands alone.

    >>> [one.words for one in read(["seed=1,2", "cell=gru", "data.mean=range(1,3)"])]
    [('seed=1', 'seed=2'), ('cell=gru',), ('data.mean=1', 'data.mean=2')]
    >>> [one.words for one in read(["cell=lstm,gru", "cell=ugrnn"])]
    [('cell=ugrnn',)]

    Raises:
        ConfigError: with every override that is not in the grammar, or whose values cannot be listed.
    """
    found: list[Given] = []
    wrong: list[Problem] = []
    for text in overrides:
        try:
            one = _given(text, choices)
        except ConfigError as error:
            wrong += error.problems
            continue
        earlier = [other for other in found if other.key == one.key]
        if (
            one.is_swept
            or any(other.is_swept for other in earlier)
            or _is_chosen_again(one, earlier, choices)
        ):
            found = [other for other in found if other.key != one.key]
            adding = next((other.sign for other in earlier if other.sign in ("+", "++")), "")
            one = one.signed(one.sign or adding)
        found.append(one)
    if wrong:
        raise ConfigError(wrong)
    return found


def _is_chosen_again(one: Given, earlier: Sequence[Given], choices: Choices) -> bool:
    """Whether another file of the same group is chosen, as against values set in it, or a group taken out."""
    both = [*earlier, one]
    return (
        bool(earlier)
        and not one.sign.startswith(("+", "~"))
        and not any(other.sign == "~" or isinstance(parsed(other.words[0]).value(), dict) for other in both)
        and bool(choices(one.key))
    )


def plain(given: Sequence[Given]) -> list[str]:
    """The overrides of one value."""
    return [text for one in given if not one.is_swept for text in one.words]


def first(given: Sequence[Given]) -> list[str]:
    """The overrides of the first combination."""
    return [one.words[0] for one in given]


def swept(given: Sequence[Given]) -> list[Given]:
    """What several values, or a sweep of one, are given for."""
    return [one for one in given if one.is_swept]


def of_values(key: str, values: Any, choices: Choices) -> Given:
    """What an experiment file gives for a key: a list's items as they are, a text in Hydra's grammar."""
    sign = key[: len(key) - len(key.lstrip("+~"))]
    if isinstance(values, str):
        return replace(_given(f"{key}={values}", choices), is_swept=True)
    items = list(values) if isinstance(values, list | tuple) else [values]
    return _axis(key[len(sign) :], sign, items)


@functools.lru_cache(4096)
def parsed(text: str) -> Override:
    """One override, taken apart by Hydra.

    Raises:
        ConfigError: it is not in the grammar.
    """
    key, equals, value = text.partition("=")
    try:
        found = OverridesParser.create().parse_override(text)
    except Exception as error:  # Hydra's, and what escapes from its parser
        message = " ".join(str(error).partition("\nAvailable")[0].split()) or type(error).__name__
        if "incompatible with Union" in message and re.search(
            r"\((?:.*\W)?(range|glob|interval|choice)\(", value
        ):
            raise ConfigError([Problem(key, value, _NESTED)]) from error
        message = re.sub(r" expecting \{.*", "", message)  # the parser's names of all that might stand there
        remedy = f"is not in Hydra's grammar ({message})"
        if equals:
            remedy += f"; a text with special characters stands in quotes, as '{key}=\"...\"'"
        else:
            remedy += "; an override is KEY=VALUE, and `python -m workbench --help` says what there is"
        raise ConfigError([Problem(key or "''", value if equals else ABSENT, remedy)]) from error
    if not found.key_or_group:
        raise ConfigError([Problem("''", value, "has no key; an override is KEY=VALUE")])
    return found


def shown(value: Any, *, in_quotes: bool = False) -> str:
    """A value as a person reads it: nothing escaped; or with every text in quotes, which tells "1" from 1."""
    if in_quotes and isinstance(value, str | QuotedString):
        return json.dumps(value if isinstance(value, str) else value.text, ensure_ascii=False)
    if isinstance(value, QuotedString):
        mark = "'" if value.quote is Quote.single else '"'
        return f"{mark}{value.text}{mark}"
    if isinstance(value, list):
        return f"[{','.join(shown(one, in_quotes=in_quotes) for one in value)}]"
    if isinstance(value, dict):
        pairs = (f"{shown(key)}:{shown(one, in_quotes=in_quotes)}" for key, one in value.items())
        return f"{{{','.join(pairs)}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _given(text: str, choices: Choices) -> Given:
    override = parsed(text)
    sign = text[: len(text) - len(text.lstrip("+~"))]
    key = override.get_key_element().lstrip("+~")
    if override.is_sweep_override():
        return _axis(key, sign, _elements(override, key, text.partition("=")[2], choices))
    return Given(key, sign, (text,), (f"{key}={shown(override._value)}",))


def _axis(key: str, sign: str, elements: Sequence[Any]) -> Given:
    if not elements:
        raise ConfigError([Problem(key, "[]", "names no value: there would be nothing to run")])
    words = tuple(f"{sign}{key}={_written(one)}" for one in elements)
    return Given(key, sign, words, tuple(f"{key}={shown(one)}" for one in elements), is_swept=True)


def _elements(override: Override, key: str, typed: str, choices: Choices) -> list[Any]:
    """The values of a sweep; shuffled ones in an order that is the same each time."""
    value = override._value
    if isinstance(value, IntervalSweep):
        remedy = "an interval has no values to go through; give values, or range(START,STOP,STEP)"
        raise ConfigError([Problem(key, typed, remedy)])
    if isinstance(value, Glob):
        there = choices(override.key_or_group)
        found: list[Any] = list(value.filter(there))
        if not found:
            remedy = (
                f"matches none of {', '.join(there)}" if there else "glob takes a group's files, and this"
            )
            raise ConfigError([Problem(key, typed, remedy if there else f"{remedy} is no group")])
    elif isinstance(value, RangeSweep):
        require_few(_length(value, key, typed), key, typed)
        found = list(itertools.islice(value.range(), MOST_JOBS + 1))
    else:
        assert isinstance(value, ChoiceSweep)
        found = list(value.list)
        if any(isinstance(one, Sweep | Glob) for one in found):
            raise ConfigError([Problem(key, typed, _NESTED)])
    if getattr(value, "shuffle", False):
        random.Random(typed).shuffle(found)
    if not found:
        raise ConfigError([Problem(key, typed, "names no value: there would be nothing to run")])
    return found


def _length(value: RangeSweep, key: str, typed: str) -> float:
    """How many values a range has, without going through them."""
    start, stop, step = (Decimal(str(one)) for one in (value.start, value.stop, value.step))
    if not (start.is_finite() and step.is_finite() and step) or stop.is_nan():
        raise ConfigError([Problem(key, typed, "a range needs numbers, and a step that is not 0")])
    steps = (stop - start) / step
    return math.inf if steps.is_infinite() and steps > 0 else max(0, math.ceil(steps)) if steps > 0 else 0


def require_few(jobs: float, key: str, typed: str, axes: str = "") -> None:
    """Raise ConfigError where there would be more jobs than a sweep may have."""
    if jobs > MOST_JOBS:
        remedy = f"a sweep has {MOST_JOBS} jobs at most, and this has {jobs:g}; take fewer values{axes}"
        raise ConfigError([Problem(key, typed, remedy)])


def _written(value: Any) -> str:
    """A value in Hydra's grammar, such that it is read back as it is."""
    text: str = Override._get_value_element_as_str(value)
    try:
        back = OverridesParser.create().parse_rule(text, "value")
    except Exception:  # Hydra's, and what escapes from its parser
        back = None
    if _same(back, value):
        return text
    return str(Override._get_value_element_as_str(_in_quotes(value)))


def _same(back: Any, value: Any) -> bool:
    if isinstance(value, list | dict):
        return bool(back == value) and repr(back) == repr(value)
    return type(back) is type(value) and bool(back == value or back != back)


def _in_quotes(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_quotes(one) for one in value]
    if isinstance(value, dict):
        return {key: _in_quotes(one) for key, one in value.items()}
    return QuotedString(value, Quote.single) if isinstance(value, str) else value
