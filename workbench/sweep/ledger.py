"""Jobs x records -> what is done, what is to do, what has changed since: no process is started, nothing written.

A job is done where a run of it has a result, of the same identity (config, data fingerprint, code): it FINISHED,
or diverged, which is a result that no other run replaces (`claims.runs.counted`) and which would only come again. A
run that died, failed otherwise or was set aside leaves its job to do; one with a result as something else has
changed, and a person decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from workbench.claims import normalise
from workbench.config import EXPERIMENT_GROUPS, flatten
from workbench.identity import NOT_IDENTITY, SOURCE, changes, identity, makers
from workbench.record import ARM, DIVERGED, arm_of
from workbench.sources import digest_now
from workbench.sweep.gate import WATCHED
from workbench.sweep.grid import Job, Plan, Tree

SUPERSEDED = "workbench.superseded"
REQUEUED = "workbench.requeued"
ANOTHER = "another run of its block was disturbed"

Key = tuple[int, str, int]
"""Block, arm, repeat: one job of a sweep."""


@dataclass(frozen=True)
class Attempt:
    """What the ledger reads of a recorded run."""

    run_id: str
    status: str
    key: Key
    attempt: int
    identity: str
    made_by: Mapping[str, str]
    """Code, sources, versions and settings (`workbench.identity`)."""
    fingerprint: str
    is_requeued: bool
    is_superseded: bool
    watched: Mapping[str, float]
    """Of its metrics those that the calibration gate looks at."""
    diverged: str = ""
    """How, where it has."""

    @property
    def has_result(self) -> bool:
        """Whether its job need not be run again."""
        return self.status == "FINISHED" or bool(self.diverged)


@dataclass(frozen=True)
class Changed:
    """A finished run of a job that would now be something else."""

    job: Job
    run: Attempt
    why: str
    is_unlike: bool
    """Whether what would make its numbers now is something else: it pairs with no run of now."""


@dataclass
class Ledger:
    """The state of a sweep."""

    done: dict[tuple[int, int], Attempt] = field(default_factory=dict)
    """Job number and attempt -> its run that has a result; the first, where there are several."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Block -> the attempt to go on with; 1 where the block was never set aside."""
    todo: list[Job] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    again: list[Changed] = field(default_factory=list)
    """Those of them that a person has decided to run again."""
    unsettled: list[str] = field(default_factory=list)
    """Runs of a block that is half set aside: the sweep was ended between two of them."""
    open: list[Attempt] = field(default_factory=list)
    """Runs that nobody has closed."""

    def finished(self, job: Job) -> Attempt | None:
        """The run of a job that has a result, in the attempt that its block is at."""
        return self.done.get((job.number, self.attempts.get(job.block, 1)))


def ledger(
    jobs: Sequence[Job],
    runs: Iterable[Attempt],
    fingerprints: Mapping[int, str],
    made_by: Callable[[Tree], Mapping[str, str]],
) -> Ledger:
    """Hold the jobs against the runs. `fingerprints` (of data, by job number) and `made_by` are those of now."""
    by_key: dict[Key, list[Attempt]] = {}
    found = Ledger()
    for run in runs:
        if run.status == "RUNNING":
            found.open.append(run)
        if not run.is_superseded:
            by_key.setdefault(run.key, []).append(run)
    _settle(found, by_key)
    for job in jobs:
        at = found.attempts.setdefault(job.block, 1)
        fingerprint = fingerprints[job.number]
        makes = made_by(job.tree)
        now = identity(job.tree, EXPERIMENT_GROUPS, fingerprint, makes)
        for run in by_key.get(key_of(job), []):
            if not run.has_result:
                continue
            others = _made_otherwise(run, makes)
            if run.identity == now and not others:
                found.done.setdefault((job.number, run.attempt), run)
            elif run.attempt == at:
                data = ["the data"] if run.fingerprint != fingerprint else []
                why = " and ".join([*others, *data] or ["the configuration"])
                found.changed.append(Changed(job, run, why, is_unlike=bool(others)))
        if (job.number, at) not in found.done:
            found.todo.append(job)
    return found


def key_of(job: Job) -> Key:
    """Which job of its sweep this is, whatever its number."""
    return job.block, job.arm, job.repeat


def attempts(runs: pd.DataFrame) -> list[Attempt]:
    """The runs of a sweep, its parent apart, oldest first."""
    if runs.empty:
        return []
    rows = runs.sort_values("start_time").to_dict("records")
    return [_attempt(row) for row in rows if row.get("tags.workbench.kind") == "run"]


def differences(planned: Plan, now: Plan) -> list[str]:
    """In words, in what a plan made now is another grid than the frozen one; nothing where it is the same.

    What has no bearing on a result (where the data lies, how often is logged) is no difference, nor is the
    order of the jobs: the frozen one stands.
    """
    words = []
    old, new = _seeds(planned), _seeds(now)
    if old != new:
        words.append(f"blocks: planned with seeds {_listed(old)}, now {_listed(new)}")
    before, after = _arms(planned), _arms(now)
    words += [f"{_named(arm)}: no longer in the grid" for arm in before if arm not in after]
    words += [f"{_named(arm)}: new in the grid" for arm in after if arm not in before]
    for arm in before:
        if arm in after and (fields := config_differences(before[arm], after[arm])):
            words.append(f"{_named(arm)}: {', '.join(fields)}")
    return words


def config_differences(old: Tree, new: Tree) -> list[str]:
    """The fields that bear on a result and are not the same, with both values.

    >>> config_differences({"cell": {"units": 8}}, {"cell": {"units": 16}})
    ['cell.units was 8, is 16']
    """
    first, second = bearing(old), bearing(new)
    return [
        f"{name} was {_shown(first.get(name))}, is {_shown(second.get(name))}"
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name) or (name in first) != (name in second)
    ]


def _settle(found: Ledger, by_key: Mapping[Key, Sequence[Attempt]]) -> None:
    """Which attempt each block is at; where one of its runs was set aside, all of that attempt were to be."""
    for (block, _, _), runs in by_key.items():
        for run in runs:
            if run.is_requeued:
                found.attempts[block] = max(found.attempts.get(block, 1), run.attempt + 1)
    for (block, _, _), runs in by_key.items():
        for run in runs:
            if run.has_result and not run.is_requeued and run.attempt < found.attempts.get(block, 1):
                found.unsettled.append(run.run_id)


def _made_otherwise(run: Attempt, made_by: Mapping[str, str]) -> list[str]:
    """In words, what made a run's numbers and is not the same now; also files that only the run itself had met."""
    met = [name for name in run.made_by if name.startswith(SOURCE) and name not in made_by]
    there = {name: digest for name in met if (digest := digest_now(name.removeprefix(SOURCE)))}
    return changes(run.made_by, {**there, **made_by})


def _attempt(row: Mapping[Any, Any]) -> Attempt:
    def text(column: str) -> str:
        value = row.get(column)
        return value if isinstance(value, str) else ""

    def tag(name: str) -> str:
        return text(f"tags.workbench.{name}")

    watched = {name: row.get(f"metrics.{name}", math.nan) for name in WATCHED}
    return Attempt(
        run_id=str(row["run_id"]),
        status=str(row["status"]),
        key=(int(tag("block") or 0), arm_of(text(f"tags.{ARM}")), int(tag("repeat") or 0)),
        attempt=int(tag("attempt") or 1),
        identity=tag("identity"),
        made_by=makers({name.removeprefix("tags."): text(name) for name in map(str, row) if text(name)}),
        fingerprint=text("params.data.fingerprint"),
        is_requeued=tag("requeued") == "true",
        is_superseded=bool(text(f"tags.{SUPERSEDED}")),
        watched={name: float(value) for name, value in watched.items() if not math.isnan(value)},
        diverged=tag("error") or "diverged" if text(f"tags.{DIVERGED}") == "true" else "",
    )


def _seeds(plan: Plan) -> list[int]:
    return [seed for _, seed in sorted({(job.block, job.tree["seed"]) for job in plan.jobs if job.block})]


def _arms(plan: Plan) -> dict[tuple[str, int], Tree]:
    """The arms of a plan, each with the config of one of its jobs; the throw-away block has none of its own."""
    return {(job.arm, job.repeat): job.tree for job in reversed(plan.jobs)}


def bearing(tree: Tree) -> dict[str, str | None]:
    """The fields of a configuration that bear on its result, seed and repeat apart, as text that compares."""
    flat = flatten(
        {group: tree[group] for group in (*EXPERIMENT_GROUPS, "label", "environment") if group in tree}
    )
    return {name: normalise(value) for name, value in flat.items() if name not in NOT_IDENTITY}


def _named(arm: tuple[str, int]) -> str:
    return f"{arm[0]}{' (control again)' if arm[1] else ''}"


def _listed(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 6 else ", ".join(map(str, seeds))


def _shown(value: str | None) -> str:
    return "null" if value is None else value
