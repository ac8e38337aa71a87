"""One point of the map: an epoch's tokens a second by each padding, timed in turns; and what costs foretell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.padding_map import sets
from workbench import foretell, step_cost
from workbench.advice import Planned, planned
from workbench.claims.statistics import interval
from workbench.data.lengths import predict
from workbench.options.padding import Bucket, Global, Padding, Pooled

BATCHES, PASSES = 6, 7
"""Timed of each padding's epoch, evenly over their sizes; and how often each."""
PADDINGS = ("batch", "bucket", "pooled")
"""Held against `global`."""
BATCH_SIZES = (8, 32, 128, 512)
RUNNERS = ("dynamic", "packed")
MODEL = foretell.TimedModel("tag", 10, 100, None)
WAYS = {"global": Global(), "batch": Padding("batch"), "bucket": Bucket(), "pooled": Pooled(pool=200)}
"""As `workbench.advise` has them."""


class Gain(NamedTuple):
    """How many times the valid tokens a second that global padding has, with its 95% interval over the passes."""

    times: float
    low: float
    high: float


class Point(NamedTuple):
    """A set at a batch size under a runner. `timed` are the batches' features with their seconds."""

    lengths: str
    spread: float
    batch_size: int
    runner: str
    gains: dict[str, Gain]
    padding: dict[str, float]
    """Share of padding by padding, `global` too."""
    tokens_per_s: dict[str, float]
    timed: list[tuple[list[float], float]]


def epochs(histogram: Mapping[int, int], size: int) -> dict[str, list[Planned]]:
    """padding -> the batches of some epochs."""
    return {name: planned(histogram, padding, size) for name, padding in WAYS.items()}


def point(name: str, size: int, runner: str) -> Point:
    """Time it: one process, the batches of all paddings in an order drawn anew for each pass."""
    found = sets.lengths(name)
    lengths = sets.histogram(found)
    ways = epochs(lengths, size)
    some = {padding: step_cost.sampled(epoch, BATCHES) for padding, epoch in ways.items()}
    flat = [one for batches in some.values() for one in batches]
    seconds = iter(foretell.timed(flat, [f"rnn={runner}"], MODEL, passes=PASSES))
    taken = {padding: np.array([next(seconds) for _ in batches]) for padding, batches in some.items()}
    speeds = {
        padding: np.array(
            [
                step_cost.fitted([one.features for one in some[padding]], turn).tokens_per_second(
                    ways[padding]
                )
                for turn in taken[padding].T.tolist()
            ]
        )
        for padding in ways
    }
    return Point(
        name,
        sets.spread(found),
        size,
        runner,
        {padding: gain(speeds[padding], speeds["global"]) for padding in PADDINGS},
        {padding: predict(lengths, way, batch_size=size).padding_share for padding, way in WAYS.items()},
        {padding: float(np.median(of)) for padding, of in speeds.items()},
        [
            (one.features, float(np.median(of)))
            for padding, batches in some.items()
            for one, of in zip(batches, taken[padding], strict=True)
        ],
    )


def gain(speeds: np.ndarray, of_global: np.ndarray) -> Gain:
    """Paired by passes: the mean of the log-ratios and their t interval.

    >>> gain(np.array([2.0, 2.0]), np.array([1.0, 1.0]))
    Gain(times=2.0, low=2.0, high=2.0)
    """
    y = np.log(speeds) - np.log(of_global)
    low, high = interval(y, 0.95)
    return Gain(*(float(np.exp(one)) for one in (y.mean(), low, high)))


def cost(points: Sequence[Point]) -> step_cost.StepCost:
    """One cost of a step by its shape, from all that was timed at these points."""
    timed = [one for point in points for one in point.timed]
    return step_cost.fitted(*zip(*timed, strict=True))


def foretold(histogram: Mapping[int, int], size: int, model: step_cost.StepCost) -> dict[str, float]:
    """padding -> its gain over global padding, from the lengths alone, by a cost of steps."""
    speeds = {padding: model.tokens_per_second(epoch) for padding, epoch in epochs(histogram, size).items()}
    return {padding: speeds[padding] / speeds["global"] for padding in PADDINGS}


def alike(point: Point, points: Sequence[Point]) -> list[Point]:
    """Those of its runner and batch size: a step's cost is fitted for one of each."""
    return [one for one in points if (one.runner, one.batch_size) == (point.runner, point.batch_size)]


def foretold_of(point: Point, points: Sequence[Point]) -> dict[str, float]:
    """The gains of a point, by the costs seen at the other sets' points of its batch size alone."""
    others = [one for one in alike(point, points) if one.lengths != point.lengths]
    return foretold(sets.histogram(sets.lengths(point.lengths)), point.batch_size, cost(others))


def to_json(point: Point) -> dict[str, Any]:
    """Plain values; `from_json` is the way back."""
    return {**point._asdict(), "gains": {name: list(one) for name, one in point.gains.items()}}


def from_json(content: Mapping[str, Any]) -> Point:
    """A point as it was written."""
    gains = {name: Gain(*one) for name, one in content["gains"].items()}
    timed = [(features, seconds) for features, seconds in content["timed"]]
    return Point(**{**content, "gains": gains, "timed": timed})
