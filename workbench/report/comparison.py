"""A run held against its record, number by number: equal, within noise, or different, and why it may be.

What a clock or the system measures is held against the spread of runs that were equal in everything: the control
against itself in every block of the run's sweep (the A/A arm), and earlier reruns. Between two such runs a
difference is drawn from t with as many degrees of freedom as the spread has; the level of 95% holds for all of a
run's timings together (Bonferroni). Where fewer than 3 degrees of freedom are known, nothing is judged by it; nor
is a timing where either run's machine was busy, or the calibrations beside the two are not equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table
from scipy import stats

from workbench.identity import NOISE, unpacked
from workbench.record import METRICS, Difference, Run, compare
from workbench.record.gate import unequal
from workbench.record.tags import DIVERGED_AT, NOT_ALONE, RERUN_OF, RESUMED_FROM, START

LEVEL = 0.95
FEWEST = 3
"""Degrees of freedom below which a spread is not known."""

Judgement = Literal["equal", "within noise", "different", "not judged"]
_DEVICES = ("device", "threads", "rnn.kernels")
_MOVES_NUMBERS = ("source.", "code.", "version.", "environment.", *_DEVICES, "machine.", START, "git.")
_MOVES_TIMINGS = ("machine.", *_DEVICES, "version.", "environment.", "source.", "code.", START, "git.")
"""What may be a reason, by the beginnings of names: the likeliest first."""
_NO_REASON = (*NOISE, "git.branch", "git.left_out", "machine.frequency_khz")
_WHY_PARAMS = ("device", "threads")


@dataclass(frozen=True)
class Compared:
    """One number (or digest) of a record, the same of the run again, and what it comes to."""

    name: str
    recorded: Any
    again: Any
    judgement: Judgement
    why: str = ""


@dataclass(frozen=True)
class Noise:
    """Spread of one run about equal runs, of log values where all are positive, and its degrees of freedom."""

    spread: float
    freedom: int
    is_log: bool


def compare_runs(
    recorded: Run, again: Run, groups: Sequence[Sequence[Mapping[str, float]]] = ()
) -> list[Compared]:
    """Every number of two runs.

    `groups` are the metrics of runs that are equal in all that bears on a result: a group for each such set.
    """
    first, second = recorded.metrics, again.metrics
    differing = {one.name: one for one in compare(first, second)}
    names = sorted({*first, *second})
    spreads = {name: noise(name, groups) for name in names if name in METRICS and METRICS[name].noisy}
    judged = sum(1 for one in spreads.values() if one is not None)
    busy = unequal(first, second)
    found = [
        Compared(name, first.get(name), second.get(name), "not judged", why)
        if name in differing and (why := recorded.untimed(name) or again.untimed(name))
        else Compared(name, first.get(name), second.get(name), "not judged", busy)
        if busy and _is_timing(name) and name in differing and name in first and name in second
        else _judged(differing[name], spreads.get(name), judged)
        if name in differing
        else Compared(name, first[name], second[name], "equal")
        for name in names
    ]
    digests = sorted(
        name for name in {*recorded.tags, *again.tags} if name.startswith("digest.") or name == DIVERGED_AT
    )
    for name in digests:
        a, b = recorded.tags.get(name), again.tags.get(name)
        found.append(Compared(name, a, b, "equal" if a == b else "different", "must be equal"))
    return found


def noise(name: str, groups: Iterable[Sequence[Mapping[str, float]]]) -> Noise | None:
    """The spread of a metric within groups of equal runs; None where too little is known.

    >>> noise("speed/step_p50_ms", [[{"speed/step_p50_ms": 1.0}, {"speed/step_p50_ms": 1.1}]]) is None
    True
    """
    values = [[one[name] for one in group if name in one] for group in groups]
    values = [group for group in values if len(group) > 1]
    freedom = sum(len(group) - 1 for group in values)
    if freedom < FEWEST:
        return None
    is_log = all(value > 0 for group in values for value in group)
    if is_log:
        values = [[math.log(value) for value in group] for group in values]
    squares = sum((value - sum(group) / len(group)) ** 2 for group in values for value in group)
    return Noise(math.sqrt(squares / freedom), freedom, is_log)


def equal_runs(runs: Sequence[Run], run_ids: Iterable[str]) -> list[list[Mapping[str, float]]]:
    """The metrics of finished runs that were equal: the arms with a repeat in a block, and these runs' reruns.

    `runs` are those of the sweep, and all reruns of its runs. The throw-away block is left out.
    """
    wanted = set(run_ids)
    groups: dict[tuple[Any, ...], list[Mapping[str, float]]] = {}
    for run in runs:
        if not run.finished or run.requeued or run.disturbance or {RESUMED_FROM, NOT_ALONE} & run.tags.keys():
            continue
        if of := run.tags.get(RERUN_OF):
            groups.setdefault((of, *_machine_of(run)), []).append(run.metrics)
        elif run.is_job and run.block:
            groups.setdefault((run.block, run.arm, run.attempt), []).append(run.metrics)
            if run.run_id in wanted:
                groups.setdefault((run.run_id, *_machine_of(run)), []).append(run.metrics)
    return [group for group in groups.values() if len(group) > 1]


def _machine_of(run: Run) -> tuple[Any, ...]:
    """What tells machines apart: of another one a rerun says nothing of this one's noise."""
    return (*run.machine.items(), *map(run.params.get, _WHY_PARAMS))


def reasons(recorded: Run, again: Run, differing: Sequence[Compared] = ()) -> list[str]:
    """In words, what else is not the same in two records, by what is likeliest to have moved what differs.

    A timing is moved by the machine, its devices and threads before a version; any other number by code first.
    """
    timed = bool(differing) and all(_is_timing(one.name) for one in differing)
    order = _MOVES_TIMINGS if timed else _MOVES_NUMBERS
    first, second = (
        {name: value for name, value in unpacked(run.tags).items() if name not in _WHY_PARAMS}
        | {name: run.params[name] for name in _WHY_PARAMS if name in run.params}
        for run in (recorded, again)
    )
    found = []
    for name in {*first, *second}:
        a, b = first.get(name, "not recorded"), second.get(name, "not recorded")
        place = next((k for k, one in enumerate(order) if _begins(name, one)), None)
        if place is not None and name not in _NO_REASON and a != b:
            found.append((place, f"{name} was {_short(a)}, is {_short(b)}"))
    return [words for _, words in sorted(found)]


def _begins(name: str, one: str) -> bool:
    return name.startswith(one) if one.endswith(".") else name == one


def _is_timing(name: str) -> bool:
    return name.startswith("speed/") and name in METRICS and METRICS[name].noisy


def counts(found: Iterable[Compared]) -> str:
    """In words, how many numbers came to what.

    >>> counts([Compared("a", 1, 1, "equal"), Compared("b", 1, 2, "different")])
    '2 numbers: 1 equal, 1 different'
    """
    kinds: tuple[Judgement, ...] = ("equal", "within noise", "not judged", "different")
    numbers = dict.fromkeys(kinds, 0)
    for one in found:
        numbers[one.judgement] += 1
    words = ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number)
    return f"{sum(numbers.values())} numbers: {words}"


def table(found: Iterable[Compared], title: str) -> Table:
    """What is not equal, the worst first."""
    order = ("different", "not judged", "within noise")
    made = Table(title=title, title_justify="left")
    for head in ("number", "recorded", "again", "", "by what"):
        is_number = head in ("recorded", "again")
        made.add_column(head, justify="right" if is_number else "left", no_wrap=head != "by what")
    rows = [one for one in found if one.judgement != "equal"]
    for one in sorted(rows, key=lambda one: (order.index(one.judgement), one.name)):
        made.add_row(one.name, _shown(one.recorded), _shown(one.again), one.judgement, one.why)
    return made


def _judged(differs: Difference, spread: Noise | None, judged: int) -> Compared:
    """What a difference comes to, where `judged` metrics in all are held against their spread."""
    name, a, b = differs.name, differs.first, differs.second
    if a is None or b is None:
        judgement: Judgement = "not judged" if differs.noisy else "different"
        return Compared(name, a, b, judgement, "only one of the two has it")
    if not differs.noisy:
        return Compared(name, a, b, "different", "must be equal")
    if spread is None or (spread.is_log and min(a, b) <= 0):
        return Compared(name, a, b, "not judged", "too few equal runs to know its noise")
    reach = stats.t.isf((1 - LEVEL) / max(judged, 1) / 2, spread.freedom) * math.sqrt(2) * spread.spread
    distance = abs(math.log(b / a)) if spread.is_log else abs(b - a)
    width = f"a factor of {math.exp(reach):.3g}" if spread.is_log else f"{reach:.3g}"
    why = f"equal runs: within {width} (df {spread.freedom})"
    return Compared(name, a, b, "within noise" if distance <= reach else "different", why)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:12]
