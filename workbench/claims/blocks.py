"""Which blocks of a sweep count: how many were planned, and which are the first of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from workbench.claims.declaration import Claim, looks
from workbench.claims.runs import PairingError
from workbench.record import Run
from workbench.record.tags import BLOCK, PLANNED_PAIRS


def blocks_of(block: str, runs: Sequence[Run], planned: int) -> tuple[tuple[str, ...], frozenset[str]]:
    """The first `planned` blocks in order, and the ones beyond.

    In the order of the tag workbench.block; else of their values; of runs that the workbench did not make in that
    of their first runs, so that one which is made later moves no block that was judged before (a look's).
    """
    numbers: dict[str, float] = {}
    starts: dict[str, float] = {}
    tagged: dict[float, str] = {}
    for run in runs:
        value, tag = run.value(block), run.tags.get(BLOCK)
        if value is None:
            raise PairingError(
                f"run {run.run_id} has no param {block}, which is the block; record it with each run"
            )
        if tag is not None:
            other = tagged.setdefault(float(tag), value)
            if other != value:
                raise PairingError(
                    f"block {tag} has two values of {block}: {other} and {value}; judge one sweep"
                )
            numbers[value] = min(numbers.get(value, math.inf), float(tag))
        else:
            numbers.setdefault(value, math.inf)
            if run.key_without is not None:  # it was made by nobody's plan
                starts[value] = min(starts.get(value, math.inf), run.start)
    order = sorted(
        numbers, key=lambda value: (numbers[value], starts.get(value, 0.0), as_number(value), value)
    )
    kept = [value for value in order if numbers[value] == math.inf or numbers[value] <= planned][:planned]
    return tuple(kept), frozenset(order) - set(kept)


def planned_pairs(claims: Sequence[Claim], runs: Sequence[Run]) -> int:
    """How many blocks the sweep planned: its tag, else the file's number for the scale that the runs name."""
    tagged = sorted({run.tags[PLANNED_PAIRS] for run in runs if PLANNED_PAIRS in run.tags})
    if len(tagged) > 1:
        raise PairingError(f"the runs disagree on {PLANNED_PAIRS}: {', '.join(tagged)}; judge one sweep")
    if tagged:
        return int(float(tagged[0]))
    if not isinstance(claims[0].pairs, Mapping):
        return looks(claims, "")[-1]
    scales = _scales(runs)
    if len(scales) != 1:
        said = "say none" if not scales else f"say {', '.join(scales)}"
        raise PairingError(
            f"pairs is given for each scale ({', '.join(sorted(claims[0].pairs))}) and the runs {said}; "
            "pass planned=, record the param scale.name, or write one number (pairs: 12)"
        )
    return looks(claims, scales[0])[-1]


def looks_of(claims: Sequence[Claim], runs: Sequence[Run], planned: int) -> tuple[int, ...]:
    """The declared looks of the scale that the runs name (else of any) that end at `planned`; else that alone."""
    ways = (looks(claims, scale, planned) for scale in _declared_scales(claims, runs))
    return next((way for way in ways if len(way) > 1), (planned,))


def undeclared_pairs(claims: Sequence[Claim], runs: Sequence[Run], planned: int) -> str:
    """What to say where the number of pairs is not the declared one; empty where it is.

    Held against the file's number for the scale that the runs name are the number judged by and the one that
    the sweep's tag gives: a number chosen later is a stopping rule (README.md, section 2.7). Where the runs name
    no scale, the number that the file gives for any of its scales will do.
    """
    declared = claims[0].pairs
    allowed = {scale: looks(claims, scale)[-1] for scale in _declared_scales(claims, runs)}
    if isinstance(declared, Mapping):
        words = " or ".join(f"{number} at scale {scale}" for scale, number in allowed.items())
        words = words or f"none at scale {', '.join(_scales(runs))}"
    else:
        words = str(allowed[""])
    tagged = {int(float(run.tags[PLANNED_PAIRS])) for run in runs if PLANNED_PAIRS in run.tags}
    other = sorted({planned, *tagged} - set(allowed.values()))
    if not other:
        return ""
    return f"planned were {' and '.join(map(str, other))} pairs, and the claims declare {words}"


def _declared_scales(claims: Sequence[Claim], runs: Sequence[Run]) -> list[str]:
    """The scales of the file that the runs name, all where they name none; one without a name where it has none."""
    declared = claims[0].pairs
    if not isinstance(declared, Mapping):
        return [""]
    return [scale for scale in _scales(runs) or sorted(declared) if scale in declared]


def _scales(runs: Sequence[Run]) -> list[str]:
    ours = [run for run in runs if run.key_without is None]  # a `scale` of others is what they call so
    return sorted(
        {scale for run in ours if (scale := run.value("scale.name") or run.value("scale"))}
        | {scale for run in runs if (scale := run.value("scale.name"))}
    )


def as_number(value: str | None) -> float:
    """A value as a number; infinite where it is none, so that words sort last."""
    try:
        return float(str(value))
    except ValueError:
        return math.inf
