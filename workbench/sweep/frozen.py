"""The frozen grid as a file: every job with its whole config, what was skipped and why, and what was typed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.provenance import without_passwords
from workbench.sweep.folders import lasting
from workbench.sweep.grid import Job, Plan, Skipped, Tree

NAME = "grid.json"
_HOW = ("workbench.", "tracking", "hydra/launcher", "hydra.launcher")
"""How a sweep is run and recorded, as against what it runs: never taken from the record."""


@dataclass(frozen=True)
class Typed:
    """What a person typed to start a sweep, less how it was to be run and recorded."""

    overrides: tuple[str, ...] = ()
    config_folders: tuple[str, ...] = ()

    @classmethod
    def of(cls, overrides: Sequence[str], config_folders: Sequence[str] = ()) -> Typed:
        """The overrides that say what is run.

        >>> Typed.of(["seed=1,2", "workbench.resume=true", "tracking=server"]).overrides
        ('seed=1,2',)
        """
        return cls(tuple(o for o in overrides if not is_how(o)), tuple(map(lasting, config_folders)))


def is_how(override: str) -> bool:
    """Whether an override says how a sweep is run or recorded, and not what."""
    return override.lstrip("+~").startswith(_HOW)


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
