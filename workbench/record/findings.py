"""What a run's process finds, before anybody records it, and how the numbers of two records compare."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.record.metrics import LARGEST, METRICS
from workbench.record.tags import DIVERGED, DIVERGED_AT, NOT_FINITE
from workbench.wording import did_you_mean


@dataclass
class Findings:
    """What one run found: facts (text, for params), metrics by METRICS' names, and tags."""

    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    """Why the run has failed though it came to its end; empty where it has not."""

    def add(self, values: Mapping[str, float | None]) -> str:
        """Take metrics in; None stands for 'not measured here' and leaves no trace.

        A value that is not finite is no number to compare: its name goes into the tag `workbench.not_finite`,
        and a claim on it counts the run as failed. The first is said in words; nothing where there is none.

        Raises:
            ValueError: a name that METRICS does not declare.
        """
        lost = {}
        for name, value in values.items():
            if name not in METRICS:
                near = did_you_mean(name, METRICS)
                raise ValueError(
                    f"{name} is no metric of workbench.record.METRICS{near} (a new one is declared there)"
                )
            if value is None:
                continue
            if abs(value) < LARGEST:
                self.metrics[name] = float(value)
            else:
                lost[name] = f"{name} is {value:g}"
        if lost:
            self.tags[NOT_FINITE] = " ".join([*self.tags.get(NOT_FINITE, "").split(), *lost])
        first, *others = lost.values() or [""]
        return f"{first} (and {len(others)} more)" if others else first

    def diverge(self, step: int, why: str) -> None:
        """Call the run what it is: diverged, so failed. None of its metrics stays, that none ranks among others."""
        self.metrics.clear()
        self.failure = f"diverged at step {step}: {why}"
        self.tags |= {DIVERGED: "true", DIVERGED_AT: str(step)}


@dataclass(frozen=True)
class Difference:
    """One number of two records that is not the same."""

    name: str
    first: float | None
    second: float | None
    noisy: bool


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> list[Difference]:
    """Every metric on which two records differ, exact ones first; a metric of one record only differs too."""
    found = []
    for name in sorted(set(first) | set(second)):
        a, b = first.get(name), second.get(name)
        same = a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))
        if not same:
            found.append(Difference(name, a, b, name in METRICS and METRICS[name].noisy))
    return sorted(found, key=lambda difference: (difference.noisy, difference.name))
