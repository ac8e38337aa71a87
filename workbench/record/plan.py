"""The frozen grid: every job with its whole config, what was skipped and why, and what was typed; as a file too."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from typing import Any

from workbench.config import flatten
from workbench.provenance import without_passwords
from workbench.record.run import Key

Tree = dict[str, Any]
NAME = "grid.json"
_NOT_PARAMS = ("sweep.", "workbench.", "tracking.")


@dataclass(frozen=True)
class Job:
    """One run, composed and frozen. Block 0 is thrown away; `repeat` 1 is the A/A arm."""

    number: int
    arm: str
    block: int
    repeat: int
    tree: Tree

    @property
    def key(self) -> Key:
        """Which job of its sweep it is, whatever its number."""
        return self.block, self.arm, self.repeat

    @property
    def params(self) -> dict[str, Any]:
        """What of its configuration its run has as parameters."""
        described = {key: value for key, value in self.tree.items() if f"{key}." not in _NOT_PARAMS}
        found = {key: value for key, value in flatten(described).items() if key != "data.cache_dir"}
        return {_recordable(key): value for key, value in found.items()}


def _recordable(name: str) -> str:
    """A param's name as MLflow takes it: other signs, as labels in `loss.class_weights` have them, by their number.

    >>> _recordable("loss.class_weights.PRP$")
    'loss.class_weights.PRP:24'
    """
    found = re.sub(r"[^/\w.\- :]", lambda sign: f":{ord(sign[0]):x}", name)
    return (found if posixpath.normpath(found) == found else found.replace("/", ":2f"))[:250]


@dataclass(frozen=True)
class Skipped:
    """A combination of the grid that cannot run, and why."""

    arm: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep in the order in which they run."""

    jobs: list[Job]
    skipped: list[Skipped]
    blocks: int
    throw_away: bool
    merged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Typed:
    """What a person typed to start a sweep, less how it was to be run and recorded."""

    overrides: tuple[str, ...] = ()
    config_folders: tuple[str, ...] = ()


def plan_json(plan: Plan, typed: Typed | None = None) -> str:
    """The frozen grid, without passwords."""
    typed = typed or Typed()
    jobs = [
        {
            "number": j.number,
            "arm": j.arm,
            "block": j.block,
            "repeat": j.repeat,
            "config": publishable(j.tree),
        }
        for j in plan.jobs
    ]
    found = {
        "jobs": jobs,
        "skipped": [{"arm": s.arm, "reason": s.reason} for s in plan.skipped],
        "blocks": plan.blocks,
        "throw_away": plan.throw_away,
        "overrides": list(typed.overrides),
        "config_folders": list(typed.config_folders),
    }
    return json.dumps(found, indent=1, sort_keys=True)


def read_plan(text: str) -> tuple[Plan, Typed]:
    """A frozen grid read back: the inverse of `plan_json`."""
    found = json.loads(text)
    jobs = [
        Job(one["number"], one["arm"], one["block"], one["repeat"], one["config"]) for one in found["jobs"]
    ]
    blocks = found.get("blocks", len({job.block for job in jobs} - {0}))
    plan = Plan(
        jobs,
        [Skipped(one["arm"], one["reason"]) for one in found["skipped"]],
        blocks,
        found.get("throw_away", any(job.block == 0 for job in jobs)),
    )
    return plan, Typed(tuple(found.get("overrides", ())), tuple(found.get("config_folders", ())))


def publishable(tree: Tree) -> Tree:
    """The tree without passwords: the child needs none, since it does not talk to the tracking server."""
    return {**tree, "tracking": {**tree["tracking"], "uri": without_passwords(tree["tracking"]["uri"])}}
