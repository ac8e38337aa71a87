"""A run held against its record from another machine: level V2, where bits are not promised.

Counts (tokens, batches, parameters, nodes) must be equal as integers. The loss of a step may differ by the
order of sums, which training magnifies: `PER_STEP` relative for each step up to `LAST_STEP`. What was learnt in
the end must lie where the first machine's other seeds let it be expected: inside the 95% prediction interval of
their values. What a clock or the system measures is another machine's, and is not judged; nor are digests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workbench.claims.statistics import prediction_interval
from workbench.record import METRICS, Run
from workbench.report.comparison import FEWEST, LEVEL, Compared

PER_STEP, LAST_STEP = 1e-5, 100
"""Relative tolerance of a loss, times its step: 1e-5 at step 1, 1e-3 at step 100."""

History = Sequence[tuple[int, float]]


def compare_elsewhere(
    recorded: Mapping[str, float],
    again: Mapping[str, float],
    losses: tuple[History, History],
    seeds: Sequence[Mapping[str, float]] = (),
) -> list[Compared]:
    """Every metric of two runs, and the losses of their first steps.

    `losses` are (step, loss) as logged by each of the two; `seeds` the metrics of runs of the same arm with other
    seeds, all on the machine of the record.
    """
    found = [
        _metric(name, recorded.get(name), again.get(name), seeds) for name in sorted({*recorded, *again})
    ]
    return [*found, *_steps(*losses)]


def other_seeds(runs: Sequence[Run], arm: str, block: int) -> list[Mapping[str, float]]:
    """The metrics of an arm's finished runs in the other blocks of its sweep; no repeats, nothing set aside."""
    found = {
        run.block: run.metrics
        for run in runs
        if run.is_job
        and run.has_numbers
        and run.arm == arm
        and not run.repeat
        and run.block not in (0, block)
    }
    return list(found.values())


def _metric(name: str, a: float | None, b: float | None, seeds: Sequence[Mapping[str, float]]) -> Compared:
    if a is None or b is None:
        return Compared(name, a, b, "different", "only one of the two has it")
    if _is_same(a, b):
        return Compared(name, a, b, "equal")
    if name not in METRICS or METRICS[name].noisy or name == "loss/step":
        return Compared(name, a, b, "not judged", "measured, of another machine")
    if float(a).is_integer() and float(b).is_integer():
        return Compared(name, a, b, "different", "a count: must be equal")
    values = [one[name] for one in seeds if name in one]
    if len(values) <= FEWEST:
        return Compared(
            name, a, b, "not judged", f"{len(values)} other seeds recorded, too few for an interval"
        )
    low, high = prediction_interval(values, 1, LEVEL)
    why = f"{len(values)} other seeds expect {low:.6g} to {high:.6g}"
    return Compared(name, a, b, "within noise" if low <= b <= high else "different", why)


def _is_same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _steps(first: History, second: History) -> list[Compared]:
    """The logged losses up to the last step that has a tolerance, each against its own."""
    other, found = dict(second), []
    for step, a in first:
        if step > LAST_STEP:
            continue
        b, name = other.get(step), f"loss/step {step}"
        if b is None:
            found.append(Compared(name, a, b, "different", "only one of the two has it"))
        elif _is_same(a, b):
            found.append(Compared(name, a, b, "equal"))
        else:
            is_near = abs(b - a) <= PER_STEP * step * abs(a)
            why = f"relative tolerance {PER_STEP * step:.0e}"
            found.append(Compared(name, a, b, "within noise" if is_near else "different", why))
    return found
