"""Calls timed in interleaved rounds, and what that says: medians, and paired ratios with interval or quartiles.

For measurements in one process: peers, cell_cost, unroll_ablation's protocol, input_pipeline. What is measured by
runs of the workbench is interleaved by their sweep's blocks instead.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

from workbench.claims.statistics import interval

Call = Callable[[int], object]
PAUSE = 0.005
"""Seconds between two arms: threads that one library left spinning are asleep when the next one starts."""
SHORT = 0.05
"""Seconds below which a call is made once untimed before: training steps follow each other, with warm caches."""


def rounds(
    arms: Mapping[str, Call],
    batches: int,
    *,
    seconds: float,
    least: int = 6,
    most: int = 20,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], object] = time.sleep,
) -> dict[str, np.ndarray]:
    """Times all arms on all batches, turn after turn; seconds of a call, [turns, batches] for each arm.

        for each turn: for each batch: for each arm, in an order drawn anew:
            pause; where its last call was short, call it once untimed; time it on the batch

    Turns go on until `seconds` have passed, at least `least` and at most `most`. Arms must be warm.
    """
    taken = {name: np.zeros((most, batches)) for name in arms}
    last = dict.fromkeys(arms, 0.0)
    order, shuffle = list(arms), random.Random(seed)
    begin, done = clock(), 0
    gc.collect()
    gc.disable()
    try:
        while done < least or (done < most and clock() - begin < seconds):
            for batch in range(batches):
                shuffle.shuffle(order)
                for name in order:
                    pause(PAUSE)
                    if last[name] < SHORT:
                        arms[name](batch)
                    start = clock()
                    arms[name](batch)
                    taken[name][done, batch] = last[name] = clock() - start
            done += 1
    finally:
        gc.enable()
    return {name: values[:done] for name, values in taken.items()}


def step_seconds(taken: np.ndarray) -> float:
    """Seconds a step: the median of the turns for each batch, then the mean over the batches."""
    return float(np.median(taken, axis=0).mean())


def ratio(above: np.ndarray, below: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """How many times as long `above` takes as `below`, and the interval: paired by turns, t of the log-ratios.

    Both are [turns, batches] of the same rounds; a turn's time is the sum over its batches.

    >>> ratio(np.array([[2.0], [2.0], [2.0]]), np.array([[1.0], [1.0], [1.0]]))
    (2.0, 2.0, 2.0)
    """
    y = np.log(above.sum(1)) - np.log(below.sum(1))
    low, high = interval(y, confidence)
    return float(np.exp(y.mean())), float(np.exp(low)), float(np.exp(high))


def quartiles(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """How many times as long `above` takes as `below`, paired by turns: lower quartile, median, upper quartile."""
    low, middle, high = statistics.quantiles((above.sum(1) / below.sum(1)).tolist(), n=4)
    return low, middle, high
