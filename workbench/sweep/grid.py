"""Overrides -> frozen, checked, ordered jobs. Everything is composed before the first job starts."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.claims import normalise
from workbench.config import ConfigError, Problem, flatten, load
from workbench.sweep.compose import Composer, split_sweeps

Tree = dict[str, Any]
_ONE_VALUE = ("name", "repeat", "tracking", "workbench", "sweep")
_ONE_VALUE_UNDER = ("hydra", "tracking.", "workbench.", "sweep.")


@dataclass(frozen=True)
class Job:
    """One run, composed and frozen. Block 0 is thrown away; `repeat` 1 is the A/A arm."""

    number: int
    arm: str
    block: int
    repeat: int
    tree: Tree


@dataclass(frozen=True)
class Skipped:
    """A combination of the grid that cannot run, and why."""

    arm: str
    reason: str


@dataclass(frozen=True)
class Grid:
    """The arms of a sweep: what the overrides and the experiment's grids come to, each composed once."""

    base: Tree
    arms: dict[str, Tree]
    skipped: list[Skipped]
    seeds: list[int] | None


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep in the order in which they run."""

    jobs: list[Job]
    skipped: list[Skipped]
    blocks: int
    throw_away: bool


def expand(compose: Composer, overrides: Sequence[str]) -> Grid:
    """Compose every combination of the swept overrides and of the experiment's own grids.

    A combination that is impossible only as a whole is skipped with its reason; any other problem refuses the
    sweep.

    Raises:
        ConfigError: with every problem of every combination, each once.
    """
    plain, swept = split_sweeps(overrides)
    _require_axes(swept)
    seeds = _seeds(swept.pop("seed", None))
    base, params = compose.with_params(plain)
    full, wrong = load(base)
    fatal = [problem for problem in wrong if not problem.skip]
    if fatal:
        raise ConfigError(fatal)
    arms: dict[str, Tree] = {}
    skipped: dict[str, Skipped] = {}
    known: set[str] = set()
    for grid in full.get("sweep", {}).get("grids") or [{}]:
        axes = _axes({**params, **grid}, plain, swept)
        _require_axes(axes)
        for combination in map(list, itertools.product(*axes.values())):
            arm = _title(combination, axes)
            if arm in arms or arm in skipped:
                arm = " ".join(combination)
            tree, wrong = load(compose([*plain, *combination]))
            fatal += [problem for problem in wrong if not problem.skip and problem not in fatal]
            if wrong:
                skipped[arm] = Skipped(arm, "; ".join(map(str, wrong)))
            elif (text := json.dumps(tree, sort_keys=True)) not in known:
                known.add(text)
                arms[arm] = tree
    if fatal:
        raise ConfigError(fatal)
    if not arms:
        raise ConfigError([Problem("sweep.grids", s.arm, s.reason) for s in skipped.values()])
    return Grid(full, arms, list(skipped.values()), seeds)


def plan(
    grid: Grid, *, blocks: int, throw_away: bool, control: str | None = None, order_seed: int = 0
) -> Plan:
    """Order the jobs: the block (seed) varies slowest; inside it the arms stand in a random, balanced order.

    `control` names the arm that is run once more in every block (the A/A arm).
    """
    seeds = grid.seeds or [grid.base["seed"] + k for k in range(blocks)]
    places = [(arm, 0) for arm in grid.arms] + ([(control, 1)] if control else [])
    order = balanced_orders(len(places), len(seeds), random.Random(order_seed))
    rows: list[tuple[int, int, list[int]]] = []
    if throw_away:
        first = list(range(len(places) - (1 if control else 0)))
        random.Random(order_seed + 1).shuffle(first)
        rows.append((0, _unused_seed(seeds), first))
    rows += [(k + 1, seed, order[k]) for k, seed in enumerate(seeds)]
    jobs: list[Job] = []
    for block, seed, row in rows:
        for position in row:
            arm, repeat = places[position]
            tree = {**grid.arms[arm], "seed": seed, "repeat": repeat}
            jobs.append(Job(len(jobs), arm, block, repeat, tree))
    return Plan(jobs, grid.skipped, len(seeds), throw_away)


def balanced_orders(arms: int, blocks: int, rng: random.Random) -> list[list[int]]:
    """An order of the arms for each block: rows of random Latin squares, each with its reverse, shuffled.

    With an even number of blocks every arm precedes every other in exactly half of them; over whole squares
    every arm stands in every place equally often.

    >>> orders = balanced_orders(2, 6, random.Random(0))
    >>> sorted(orders)
    [[0, 1], [0, 1], [0, 1], [1, 0], [1, 0], [1, 0]]
    """
    rows: list[list[int]] = []
    while len(rows) < blocks:
        names = rng.sample(range(arms), arms)
        shifts = rng.sample(range(arms), arms)
        for shift in shifts:
            row = [names[(place + shift) % arms] for place in range(arms)]
            rows += [row, row[::-1]]
    rows = rows[:blocks]
    rng.shuffle(rows)
    return rows


def matching_arm(grid: Grid, wanted: Mapping[str, Any]) -> str | None:
    """The first arm whose dotted values are all as wanted."""
    for arm, tree in grid.arms.items():
        flat = flatten(tree)
        if all(normalise(flat.get(key)) == normalise(value) for key, value in wanted.items()):
            return arm
    return None


def _seeds(overrides: Iterable[str] | None) -> list[int] | None:
    if overrides is None:
        return None
    seeds = []
    for text in overrides:
        value = text.partition("=")[2]
        if not value.isdigit():
            raise ConfigError([Problem("seed", value, "must be a whole number, at least 0")])
        seeds.append(int(value))
    if len(set(seeds)) != len(seeds):
        raise ConfigError([Problem("seed", ",".join(map(str, seeds)), "a seed is a block: name each once")])
    return seeds


def _require_axes(axes: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError where values that bear on no result are to be compared."""
    for key, given in axes.items():
        if len(given) > 1 and (key in _ONE_VALUE or key.startswith(_ONE_VALUE_UNDER)):
            values = ",".join(text.partition("=")[2] for text in given)
            remedy = "says how a sweep is run or recorded, and is the same for all its jobs; give one value"
            raise ConfigError([Problem(key, values, remedy)])


def _axes(
    grid: Mapping[str, Any], plain: Sequence[str], swept: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The axes of a grid, each a list of overrides; what the command line gives replaces the grid's own."""
    given = {text.lstrip("+~").partition("=")[0] for text in plain}
    axes = {key: _values(key, values) for key, values in grid.items() if key not in given}
    return axes | {key: list(values) for key, values in swept.items()}


def _title(combination: Sequence[str], axes: Mapping[str, Sequence[str]]) -> str:
    """What tells a combination from others of its grid, which groups it takes, what its model is; no more."""
    kept = [
        text
        for (key, values), text in zip(axes.items(), combination, strict=True)
        if len(values) > 1 or "." not in key or not key.startswith(("data.", "measure.", "training."))
    ]
    return " ".join(kept) or "defaults"


def _values(key: str, values: Any) -> list[str]:
    if isinstance(values, list | tuple):
        return [f"{key}={_written(value)}" for value in values]
    _, swept = split_sweeps([f"{key}={_written(values)}"])
    return swept.get(key, [f"{key}={_written(values)}"])


def _written(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unused_seed(seeds: Sequence[int]) -> int:
    return next(seed for seed in itertools.count(max(seeds) + 1) if seed not in seeds)
