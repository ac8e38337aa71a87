"""What was typed to start a sweep, as its record keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.record.plan import Typed
from workbench.sweep.folders import lasting

_HOW = ("workbench.", "tracking", "hydra/launcher", "hydra.launcher")
"""How a sweep is run and recorded, as against what it runs: never taken from the record."""


def as_typed(overrides: Sequence[str], config_folders: Sequence[str] = ()) -> Typed:
    """The overrides that say what is run.

    >>> as_typed(["seed=1,2", "workbench.resume=true", "tracking=server"]).overrides
    ('seed=1,2',)
    """
    return Typed(tuple(o for o in overrides if not is_how(o)), tuple(map(lasting, config_folders)))


def is_how(override: str) -> bool:
    """Whether an override says how a sweep is run or recorded, and not what."""
    return override.lstrip("+~").startswith(_HOW)
