"""What a sweep decides before it starts: its configuration, its claims, its jobs in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.claims.instrument import is_noisy
from workbench.claims.pairing import is_set_apart
from workbench.config import Config, ConfigError, Problem, flatten
from workbench.places import claims_file
from workbench.record.plan import Plan
from workbench.sweep.compose import Composer
from workbench.sweep.grid import Grid, expand, matching_arm, plan
from workbench.sweep.overrides import first
from workbench.sweep.own_run import OwnRun

HOW = ("workbench", "tracking")
"""Sections that say how a sweep is run and recorded."""


def plan_sweep(compose: Composer, overrides: Sequence[str]) -> tuple[Config, list[Claim] | None, Plan]:
    """Compose and check everything: the grid, the claims against it, the order."""
    grid = expand(compose, overrides)
    config = Config.of(grid.base)
    declared = _claims(config)
    return config, declared, _plan(config, grid, declared)


def plan_again(compose: Composer, own: OwnRun, overrides: Sequence[str]) -> tuple[Config, Plan]:
    """A recorded sweep as it was frozen; only how it is run and recorded is today's.

    Nothing that it runs is composed again: what a file says today, what time it is and which variables are set
    bears on no job of it.
    """
    assert own.plan is not None
    how, _ = compose.only(first(compose.read([*own.typed.overrides, *overrides])), HOW)
    jobs = [replace(job, tree={**job.tree, **how}) for job in own.plan.jobs]
    one = next(job for job in jobs if not job.repeat)
    names = [text.partition("=")[2] for text in overrides if text.startswith("name=")]
    config = Config.of({**one.tree, "name": names[-1] if names else one.tree["name"]})
    return config, replace(own.plan, jobs=jobs)


def _claims(config: Config) -> list[Claim] | None:
    """Claims by the name of an experiment or by a path; without either, those of the experiment itself."""
    named = config.sweep.claims
    path = claims_file(named or config.name) or named
    return None if path is None else claims_room.load(path)


def _plan(config: Config, grid: Grid, declared: list[Claim] | None) -> Plan:
    blocks, looks = config.sweep.blocks or 1, tuple[int, ...]()
    throw_away, control = bool(config.sweep.throw_away), None
    if declared:
        _refuse_beside_clocks(grid, declared)
        known = {key: value for tree in grid.arms.values() for key, value in flatten(tree).items()}
        arms = {name: flatten(tree) for name, tree in grid.arms.items()}
        wrong = (
            claims_room.check_against(declared, known)
            or claims_room.check_arms(declared, arms)
            or claims_room.check_measured(declared, arms)
            or claims_room.check_pairs(declared, arms)
        )
        if wrong:
            raise claims_room.ClaimError("\n".join(wrong))
        looks = claims_room.looks(declared, config.scale.name, config.sweep.blocks)
        blocks = looks[-1]
        throw_away = config.sweep.throw_away is not False
        control = _control(grid, declared) if declared[0].control_again else None
    return plan(
        grid,
        blocks=blocks,
        throw_away=throw_away,
        control=control,
        order_seed=config.sweep.order_seed,
        looks=looks,
    )


def _refuse_beside_clocks(grid: Grid, declared: list[Claim]) -> None:
    """Raise where a claim compares what a clock measures, and a run would keep its model or end early."""
    claim = next((one for one in declared if is_noisy(one)), None)
    problems = [
        Problem(
            f"training.{key}",
            tree["training"][key],
            f"claim {claim.name} compares {claim.metric}, which is measured by a clock or the system: such runs do "
            f"nothing beside training, and all of it; leave it out (training.{key}={off})",
        )
        for tree in (grid.arms.values() if claim else ())
        for key, off in (("keep", "none"), ("patience", "null"))
        if claim and tree["training"][key] not in (None, "none")
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _control(grid: Grid, declared: list[Claim]) -> str | None:
    """The arm of the first control that is an arm, in its first condition."""
    for claim in declared:
        if "value" not in claim.control:
            condition = {key: values[0] for key, values in claim.over.items()}
            arms = {
                arm: tree
                for arm, tree in grid.arms.items()
                if not is_set_apart(claim, claim.control, claims_room.as_run(arm, flatten(tree)))
            }
            return matching_arm(replace(grid, arms=arms), {**condition, **claim.control})
    return None
