"""What was measured, as rows: one for each arm, and one for each comparison and goal of an arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.peers.settings import ARMS, CEILINGS, KERAS, PACKED, TORCH, Goal, Job
from experiments.peers.worker import Measured, Outcome
from experiments.timing import ratio, step_seconds

Row = dict[str, Any]

MEASURED = (
    "ms", "valid_tokens_per_s", "padded_tokens_per_s", "share_of_ceiling", "peak_memory_mb", "first_call_s",
    "compiles", "error", "turns", "batches", "refused",
)  # fmt: skip
"""What a row says of its arm, whatever it compares."""


@dataclass(frozen=True)
class Compared:
    """A value and, where it comes from rounds, its 95% interval."""

    value: float
    low: float | None = None
    high: float | None = None


def rows_of(job: Job, outcome: Outcome, threads: int, device: str) -> list[Row]:
    """The rows of a job."""
    setting = outcome.setting
    base = {
        "setting": setting.name,
        "cell": setting.cell,
        "batch": setting.batch,
        "units": setting.units,
        "lengths": setting.lengths,
        "both": setting.both,
        "tf32": setting.tf32,
        "device": device,
        "threads": threads,
        "valid_tokens": sum(outcome.valid),
        "padded_tokens": sum(outcome.padded),
        "checked_longest": outcome.checked_longest,
    }
    found = {name: _measured(measured, outcome) for name, measured in outcome.arms.items()}
    rows = [_row(base, name, found[name]) for name in outcome.arms]
    for goal in _with_plain_ratios(job):
        rows.append(_row(base, goal.arm, found[goal.arm], goal, _compare(goal, outcome)))
    for name, measured in outcome.alone.items():
        rows.append(_row(base, f"{name}_alone", _measured(measured, outcome)))
        if PACKED in found:
            against_alone = Goal("speed", float("nan"), f"{name}_alone")
            rows.append(_row(base, PACKED, found[PACKED], against_alone, _unpaired(outcome, measured)))
    return rows


def _unpaired(outcome: Outcome, alone: Measured) -> Compared | None:
    """Against a peer that was timed at another time, so without an interval."""
    ours = outcome.arms[PACKED].taken
    if ours is None or alone.taken is None:
        return None
    return Compared(step_seconds(alone.taken) / step_seconds(ours))


def _with_plain_ratios(job: Job) -> Iterator[Goal]:
    """The goals; and the ratios to which none is set, as goals without a value."""
    yield from job.goals
    aimed = {(goal.quantity, goal.peer) for goal in job.goals}
    if PACKED in job.arms:
        for peer in job.arms:
            if peer not in (PACKED, *CEILINGS, "packed_one_way") and ("speed", peer) not in aimed:
                yield Goal("speed", float("nan"), peer)
    for peer in job.memory:
        if peer != PACKED and PACKED in job.memory and ("memory", peer) not in aimed:
            yield Goal("memory", float("nan"), peer, least=False)


def _compare(goal: Goal, outcome: Outcome) -> Compared | None:
    """The goal's quantity; None where it could not be measured."""
    arm = outcome.arms[goal.arm]
    peer = ceiling(outcome) if goal.quantity == "share_of_ceiling" else outcome.arms.get(goal.peer or "")
    if goal.quantity in ("first_call_s", "compiles", "error"):
        value = getattr(arm, goal.quantity)
        return None if value is None else Compared(float(value))
    if peer is None:
        return None
    if goal.quantity == "memory":
        if not arm.memory_mb or not peer.memory_mb:
            return None
        return Compared(arm.memory_mb / peer.memory_mb)
    if arm.taken is None or peer.taken is None:
        return None
    pair = (arm.taken, peer.taken) if goal.quantity == "time" else (peer.taken, arm.taken)
    return Compared(*ratio(*pair))


def ceiling(outcome: Outcome) -> Measured | None:
    """The faster of the ways in which the products alone were computed."""
    timed = [(step_seconds(arm.taken), arm) for arm in outcome.arms.values() if arm.taken is not None]
    return min(
        ((s, arm) for s, arm in timed if arm.arm in CEILINGS), default=(0, None), key=lambda one: one[0]
    )[1]


def _measured(arm: Measured, outcome: Outcome) -> Row:
    found: Row = dict.fromkeys(MEASURED)
    found |= {"first_call_s": _rounded(arm.first_call_s), "compiles": arm.compiles, "error": arm.error}
    found |= {"peak_memory_mb": _rounded(arm.memory_mb), "refused": arm.refused, "batches": []}
    if arm.taken is None:
        return found
    seconds = step_seconds(arm.taken)
    batches = len(outcome.valid)
    found["ms"] = _rounded(1e3 * seconds)
    found["turns"] = len(arm.taken)
    found["batches"] = [
        {"valid": valid, "padded": padded, "ms": _rounded(1e3 * float(own))}
        for valid, padded, own in zip(
            outcome.valid, outcome.padded, np.median(arm.taken, axis=0), strict=True
        )
    ]
    if arm.arm not in CEILINGS:
        found["valid_tokens_per_s"] = round(sum(outcome.valid) / batches / seconds)
        found["padded_tokens_per_s"] = round(sum(outcome.padded) / batches / seconds)
    fastest = ceiling(outcome)
    if fastest is not None and fastest.taken is not None:
        found["share_of_ceiling"] = _rounded(step_seconds(fastest.taken) / seconds)
    return found


def _row(
    base: Row, arm: str, measured: Row, goal: Goal | None = None, compared: Compared | None = None
) -> Row:
    said: Row = dict.fromkeys(("quantity", "peer", "ratio", "low", "high", "goal", "at", "met"))
    if goal is not None:
        said |= {"quantity": goal.quantity, "peer": goal.peer}
        if goal.value == goal.value:
            said |= {"goal": goal.value, "at": "least" if goal.least else "most", "met": False}
        if compared is not None:
            said |= {"ratio": compared.value, "low": compared.low, "high": compared.high}
            said["met"] = goal.met_by(compared.value) if goal.value == goal.value else None
    return {**base, "arm": arm, **said, **measured}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def against(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """By peer, what packed was held against: a row a setting, those that were measured."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["quantity"] == "speed" and row["peer"] in ("dynamic", KERAS, *TORCH):
            found.setdefault(row["peer"], [])
            if row["ratio"] is not None:
                found[row["peer"]].append(row)
    return {peer: found[peer] for peer in ARMS if peer in found}
