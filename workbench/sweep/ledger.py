"""Jobs x records -> what is done, what is to do, what has changed since: no process is started, nothing written.

A job is done where a run of it has a result, of the same identity (config, data fingerprint, code): it FINISHED,
or diverged, which is a result that no other run replaces (`record.counted`) and which would only come again. A
run that died, failed otherwise or was set aside leaves its job to do; one with a result as something else has
changed, and a person decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workbench.config import flatten
from workbench.identity import GROUPS, NOT_IDENTITY, SOURCE, changes, identity
from workbench.record import Key, Run, normalise
from workbench.record.plan import Job, Plan, Tree
from workbench.sources import digest_now

ANOTHER = "another run of its block was disturbed"


@dataclass(frozen=True)
class Changed:
    """A finished run of a job that would now be something else."""

    job: Job
    run: Run
    why: str
    is_unlike: bool
    """Whether what would make its numbers now is something else: it pairs with no run of now."""


@dataclass
class Ledger:
    """The state of a sweep."""

    done: dict[tuple[int, int], Run] = field(default_factory=dict)
    """Job number and attempt -> its run that has a result; the first, where there are several."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Block -> the attempt to go on with; 1 where the block was never set aside."""
    todo: list[Job] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    again: list[Changed] = field(default_factory=list)
    """Those of them that a person has decided to run again."""
    unsettled: list[str] = field(default_factory=list)
    """Runs of a block that is half set aside: the sweep was ended between two of them."""
    open: list[Run] = field(default_factory=list)
    """Runs that nobody has closed."""

    def finished(self, job: Job) -> Run | None:
        """The run of a job that has a result, in the attempt that its block is at."""
        return self.done.get((job.number, self.attempts.get(job.block, 1)))


def ledger(
    jobs: Sequence[Job],
    runs: Iterable[Run],
    fingerprints: Mapping[int, str],
    made_by: Callable[[Tree], Mapping[str, str]],
) -> Ledger:
    """Hold the jobs against their runs, oldest first.

    `fingerprints` (of data, by job number) and `made_by` are those of now.
    """
    by_key: dict[Key, list[Run]] = {}
    found = Ledger()
    for run in runs:
        if run.status == "RUNNING":
            found.open.append(run)
        if not run.superseded:
            by_key.setdefault(run.job, []).append(run)
    _settle(found, by_key)
    for job in jobs:
        at = found.attempts.setdefault(job.block, 1)
        fingerprint = fingerprints[job.number]
        makes = made_by(job.tree)
        now = identity(job.tree, fingerprint, makes)
        for run in by_key.get(job.key, []):
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


def _settle(found: Ledger, by_key: Mapping[Key, Sequence[Run]]) -> None:
    """Which attempt each block is at; where one of its runs was set aside, all of that attempt were to be."""
    for (block, _, _), runs in by_key.items():
        for run in runs:
            if run.requeued:
                found.attempts[block] = max(found.attempts.get(block, 1), run.attempt + 1)
    for (block, _, _), runs in by_key.items():
        for run in runs:
            if run.has_result and not run.requeued and run.attempt < found.attempts.get(block, 1):
                found.unsettled.append(run.run_id)


def _made_otherwise(run: Run, made_by: Mapping[str, str]) -> list[str]:
    """In words, what made a run's numbers and is not the same now; also files that only the run itself had met."""
    met = [name for name in run.made_by if name.startswith(SOURCE) and name not in made_by]
    there = {name: digest for name in met if (digest := digest_now(name.removeprefix(SOURCE)))}
    return changes(run.made_by, {**there, **made_by})


def _seeds(plan: Plan) -> list[int]:
    return [seed for _, seed in sorted({(job.block, job.tree["seed"]) for job in plan.jobs if job.block})]


def _arms(plan: Plan) -> dict[tuple[str, int], Tree]:
    """The arms of a plan, each with the config of one of its jobs; the throw-away block has none of its own."""
    return {(job.arm, job.repeat): job.tree for job in reversed(plan.jobs)}


def bearing(tree: Tree) -> dict[str, str | None]:
    """The fields of a configuration that bear on its result, seed and repeat apart, as text that compares."""
    flat = flatten({group: tree[group] for group in (*GROUPS, "label", "environment") if group in tree})
    return {name: normalise(value) for name, value in flat.items() if name not in NOT_IDENTITY}


def _named(arm: tuple[str, int]) -> str:
    return f"{arm[0]}{' (control again)' if arm[1] else ''}"


def _listed(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 6 else ", ".join(map(str, seeds))


def _shown(value: str | None) -> str:
    return "null" if value is None else value
