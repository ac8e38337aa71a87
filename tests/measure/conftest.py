from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Source:
    """Batches that take time to come: of `lengths`, one batch each, after `waits` seconds of the clock."""

    def __init__(self, clock: Clock, lengths: list[list[int]], waits: list[float], steps: int = 4):
        self.clock, self.lengths, self.waits, self.steps = clock, lengths, waits, steps
        self.calls = 0

    def __call__(self) -> Iterator[dict[str, Any]]:
        self.calls += 1
        for lengths, wait in zip(self.lengths, self.waits, strict=True):
            self.clock.advance(wait)
            inputs = np.zeros((len(lengths), self.steps), np.int32)
            yield {"inputs": inputs, "labels": inputs, "length": np.array(lengths, np.int32)}


@pytest.fixture
def source(clock: Clock) -> Source:
    """Three batches of two examples: 3, 7 and 4 valid tokens, 8 positions each; they come after 1, 2 and 3 ms."""
    return Source(clock, [[1, 2], [3, 4], [4, 0]], [0.001, 0.002, 0.003])
