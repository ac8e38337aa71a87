"""Training speed foretold for each way of batching: some steps are timed in processes of their own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from workbench import step_cost
from workbench.advice import Advice, Planned, planned
from workbench.config import problems
from workbench.data.lengths import Histogram
from workbench.sweep.compose import Composer

POINTS, PROCESSES = 6, 3
"""Batches timed for each way of batching, and in how many processes: one can be slower than the next all its life,
by a fifth."""
_MODULE = "workbench.timed_steps"


class TimedModel(NamedTuple):
    """What of a data set its model depends on; `vocabulary` of ids, or `features` a step."""

    task: str
    classes: int
    vocabulary: int | None
    features: int | None


def foretold(
    histogram: Histogram,
    rows: Sequence[Advice],
    overrides: Sequence[str],
    model: TimedModel,
    *,
    after_each: Callable[[], None] = lambda: None,
) -> list[float]:
    """Valid tokens a second of each row, for the model that the overrides compose.

    `after_each` is called after each of the processes that time: a benchmark measures runs in between.

    Raises:
        ValueError: overrides that do not compose, or that choose what is compared or cannot be timed alone.
    """
    epochs = [planned(histogram, row.options, row.batch_size) for row in rows]
    points = [step_cost.sampled(epoch, POINTS) for epoch in epochs]
    batches = [one for some in points for one in some]
    seconds = iter(timed(batches, overrides, model, processes=PROCESSES, after_each=after_each))
    costs = [
        step_cost.fitted([one.features for one in some], [statistics.median(next(seconds)) for _ in some])
        for some in points
    ]
    return [cost.tokens_per_second(epoch) for cost, epoch in zip(costs, epochs, strict=True)]


def timed(
    batches: Sequence[Planned],
    overrides: Sequence[str],
    model: TimedModel,
    *,
    processes: int = 1,
    passes: int = 1,
    after_each: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """Seconds of a training step on each batch, in each pass of each process; the order of each is drawn anew.

    Raises:
        ValueError: as `foretold`.
    """
    tree = Composer()([*overrides])
    chosen = [one for one in overrides if one.lstrip("+~").split("=")[0].split(".")[0] in ("padding", "data")]
    if chosen:
        raise ValueError(f"{chosen[0]}: data and padding are what is compared; give the model's own")
    if found := [one for one in problems(tree) if not one.skip]:
        raise ValueError("; ".join(map(str, found)))
    if tree["rnn"]["unroll"] == "static":
        raise ValueError(
            "rnn=static: each length is a graph of its own, which takes longer than all its steps"
        )
    if tree["training"]["strategy"] != "none":
        raise ValueError(
            f"training.strategy={tree['training']['strategy']}: one replica is what can be timed"
        )
    shapes = [[one.padded_length, one.lengths.tolist()] for one in batches]
    asked = {"tree": tree, **model._asdict(), "batches": shapes, "passes": passes}
    of_each = []
    for seed in range(processes):
        of_each.append(_timed({**asked, "seed": seed}))
        after_each()
    return [[one for passes in of_batch for one in passes] for of_batch in zip(*of_each, strict=True)]


def _timed(asked: object) -> list[list[float]]:
    done = subprocess.run(
        [sys.executable, "-m", _MODULE], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if done.returncode:
        if done.returncode < 0:
            raise ValueError(
                f"the steps could not be timed: ended by signal {-done.returncode}; out of memory?"
            )
        why = done.stderr.strip().splitlines()
        raise ValueError(
            f"the steps could not be timed: {why[-1] if why else f'exit code {done.returncode}'}"
        )
    seconds: list[list[float]] = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
    return seconds
