"""What is one for all jobs of a sweep, read before any of them is composed: no rule of a job is held to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.config import GROUPS, SECTIONS, ConfigError, load
from workbench.config.rules import address
from workbench.config.sweep import Command, Sweep
from workbench.config.tracking import Tracking
from workbench.sweep.asked import as_written
from workbench.sweep.compose import Composer
from workbench.sweep.overrides import Given, first

_SECTIONS = ("name", "tracking", "sweep", "workbench")


@dataclass(frozen=True)
class Outline:
    """How a sweep is called, run and recorded, and the axes that its files give."""

    name: str
    tracking: Tracking
    sweep: Sweep
    workbench: Command
    params: dict[str, Any]

    @classmethod
    def of(cls, compose: Composer, given: Sequence[Given]) -> Outline:
        """Composed with the first value of each axis; other sections need not be right, nor be resolved.

        Raises:
            ConfigError: with all that is wrong in these sections.
        """
        words = first(given)
        sections, params = compose.only(words, _SECTIONS)
        full, wrong = load(sections)
        wrong = [one for one in wrong if one.key.partition(".")[0] in _SECTIONS] or address(full)
        if wrong:
            raise ConfigError(as_written(wrong, words))
        return cls(
            full["name"],
            GROUPS["tracking"][full["tracking"]["name"]](**full["tracking"]),
            SECTIONS["sweep"](**full["sweep"]),
            SECTIONS["workbench"](**full["workbench"]),
            params,
        )
