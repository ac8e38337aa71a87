"""A run held against its record from another machine: level V2, where bits are not promised.

Counts (tokens, batches, parameters, nodes) must be equal as integers. The loss of a step may differ by the
order of sums, which training magnifies: `PER_STEP` relative for each step up to `LAST_STEP`. What was learnt in
the end must be as near as that, or lie where the first machine's other seeds let it be expected: inside the
prediction interval of their values, at 95% over all numbers together. What a clock or the system measures is
another machine's, and is not judged; nor are digests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workbench.claims.statistics import prediction_interval
from workbench.record import METRICS, Run, counted, data_of
from workbench.report.comparison import FEWEST, LEVEL, Compared, reasons

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
    names = sorted({*recorded, *again})
    judged = sum(_is_judged(name, recorded.get(name), again.get(name)) for name in names)
    level = 1 - (1 - LEVEL) / max(judged, 1)  # of all of them together
    near = PER_STEP * min(recorded.get("data/batches", 1.0), LAST_STEP)
    found = [_metric(name, recorded.get(name), again.get(name), seeds, level, near) for name in names]
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


def _is_judged(name: str, a: float | None, b: float | None) -> bool:
    """Whether a number that both have is held against other seeds."""
    if a is None or b is None or _is_same(a, b):
        return False
    is_measured = _is_measured(name) or name == "loss/step"
    return not is_measured and not (float(a).is_integer() and float(b).is_integer())


def _metric(
    name: str,
    a: float | None,
    b: float | None,
    seeds: Sequence[Mapping[str, float]],
    level: float,
    near: float,
) -> Compared:
    is_measured = _is_measured(name) or name == "loss/step"
    if (a is None or b is None) and not (name in METRICS and METRICS[name].noisy):
        return Compared(name, a, b, "different", "only one of the two has it")
    if a is not None and b is not None and _is_same(a, b):
        return Compared(name, a, b, "equal")
    if a is None or b is None or is_measured:
        return Compared(name, a, b, "not judged", "measured, of another machine")
    if float(a).is_integer() and float(b).is_integer():
        return Compared(name, a, b, "different", "a count: must be equal")
    if abs(b - a) <= near * abs(a):
        return Compared(name, a, b, "within noise", f"relative tolerance {near:.0e}")
    values = [one[name] for one in seeds if name in one]
    if len(values) <= FEWEST:
        return Compared(
            name, a, b, "not judged", f"{len(values)} other seeds recorded, too few for an interval"
        )
    low, high = prediction_interval(values, 1, level)
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


def compare_results(first: Sequence[Run], second: Sequence[Run]) -> list[str]:
    """In lines: the runs of two results that are of the same job, by what level V2 says of each kind of number."""
    one, other = _by_job(first), _by_job(second)
    both = [(one[job], other[job]) for job in one if job in other]
    alone = len(one) + len(other) - 2 * len(both)
    lines = [
        f"{len(both)} runs of the same job in both results, the throw-away block left out"
        + (f"; {alone} are in one only" if alone else "")
    ]
    if not both:
        return lines
    orders = [
        a.tags["digest.order"] == b.tags.get("digest.order") for a, b in both if "digest.order" in a.tags
    ]
    lines.append(f"order of examples: equal in {sum(orders)} of {len(orders)}")
    found = [(a, row) for a, b in both for row in compare_elsewhere(a.metrics, b.metrics, ((), ()))]
    known = [
        (a, row) for a, row in found if not _is_measured(row.name) and None not in (row.recorded, row.again)
    ]
    numbers = [(a, row) for a, row in known if not row.name.startswith("correctness/")]
    counts: list[tuple[Run, Compared]] = []
    rest: list[tuple[Run, Compared]] = []
    for a, row in numbers:
        (counts if all(float(value).is_integer() for value in (row.recorded, row.again)) else rest).append(
            (a, row)
        )
    lines.append(_counts([row for _, row in counts]))
    lines += [_distance("losses", [each for each in rest if each[1].name.startswith("loss/")])]
    lines += [_distance("other numbers", [each for each in rest if not each[1].name.startswith("loss/")])]
    busy = [sum(bool(run.disturbance) for run in side) for side in zip(*both, strict=True)]
    lines.append(
        f"timings: not judged run by run; the machine was busy in {busy[0]} and {busy[1]} of the runs"
    )
    return [*filter(None, lines), *(f"not the same: {why}" for why in reasons(*both[0]))]


def _by_job(runs: Sequence[Run]) -> dict[object, Run]:
    """The run that counts of each job that has one with numbers, by what it is a run of."""
    data = data_of(runs)
    arms: dict[object, set[str]] = {}
    for run in data:
        arms.setdefault(run.key, set()).add(run.arm)
    jobs: dict[object, list[Run]] = {}
    for run in data:  # arms may differ in what a key leaves out, as in where data lies
        key = run.key if len(arms[run.key]) == 1 else run.key_in_sweep
        jobs.setdefault((key, run.repeat), []).append(run)
    kept = {job: counted(tries) for job, tries in jobs.items()}
    return {job: run for job, run in kept.items() if run and run.has_numbers}


def _is_measured(name: str) -> bool:
    return name not in METRICS or METRICS[name].noisy


def _counts(rows: Sequence[Compared]) -> str:
    names = sorted({row.name for row in rows if row.judgement != "equal"})
    return f"counts: {sum(row.judgement == 'equal' for row in rows)} of {len(rows)} numbers equal" + (
        f"; not {', '.join(names)}" if names else ""
    )


def _distance(what: str, rows: Sequence[tuple[Run, Compared]]) -> str:
    """The largest relative difference, and for which number; held against the tolerance of the run's steps."""
    if not rows:
        return ""
    far = [(_apart(row), run, row.name) for run, row in rows]
    largest, run, name = max(far, key=lambda each: each[0])
    within = sum(
        size <= PER_STEP * min(each.metrics.get("data/batches", 1.0), LAST_STEP) for size, each, _ in far
    )
    words = f"{what}: {within} of {len(rows)} within {PER_STEP:g} a step of training, relative; the largest"
    at = f" ({name}, block {run.block}, {run.arm})" if largest else ""
    return f"{words} difference is {largest:.1e}{at}"


def _apart(row: Compared) -> float:
    """How far apart two values are: relative, or plain where a quotient has no meaning (an error of rounding)."""
    a, b = row.recorded, row.again
    return abs(b - a) / ((max(abs(a), abs(b)) or 1.0) if METRICS[row.name].scale == "ratio" else 1.0)
