"""Overrides -> frozen, checked, ordered jobs. Everything is composed before the first job starts."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.claims import normalise
from workbench.config import HIGHEST_SEED, ConfigError, Problem, Top, flatten, load
from workbench.options.schema import QUOTES, check
from workbench.record.plan import Job, Plan, Skipped, Tree
from workbench.sweep.asked import as_written, lacking, same_value
from workbench.sweep.compose import Composed, Composer
from workbench.sweep.honoured import PARAMS, wrong_environment
from workbench.sweep.outline import Outline
from workbench.sweep.overrides import Choices, Given, of_values, parsed, require_few, swept

_ONE_FOR_ALL = ("name", "tracking", "workbench", "sweep")
_ONE_VALUE = (*_ONE_FOR_ALL, "repeat")
_ONE_VALUE_UNDER = ("hydra", "tracking.", "workbench.", "sweep.")


@dataclass(frozen=True)
class Grid:
    """The arms of a sweep: what the overrides and the experiment's grids come to, each composed once."""

    arms: dict[str, Tree]
    skipped: list[Skipped]
    seeds: list[int] | None
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each arm was asked to have, by dotted name."""
    merged: list[str] = field(default_factory=list)
    """Combinations that are arms already, in words."""
    names: set[str] = field(default_factory=set)
    """What arms and what is skipped are called."""
    of_seed: list[tuple[str, str]] = field(default_factory=list)
    """Keys, and their texts, that refer to the seed or the repeat."""

    @property
    def base(self) -> Tree:
        """The first arm: it has what is one for all, as the name, the claims and the first block's seed."""
        return next(iter(self.arms.values()))


def expand(compose: Composer, overrides: Sequence[str]) -> Grid:
    """Compose every combination of the swept overrides and of the experiment's own grids.

    A combination that is impossible only as a whole is skipped with its reason; any other problem refuses the
    sweep.

    Raises:
        ConfigError: with every problem of every combination, each once.
    """
    given = compose.read(overrides)
    _require_axes(swept(given))
    outline = Outline.of(compose, given)
    grids = [_axes({**outline.params, **grid}, given, compose.choices) for grid in _grids(outline)]
    seeds = _seeds(
        [axes.pop("seed") for axes in grids if "seed" in axes and axes["seed"].is_swept], len(grids)
    )
    blocks = _blocks(outline.sweep.blocks, seeds, given)
    combinations = sum(math.prod(len(one.words) for one in axes.values()) for axes in grids)
    _require_few(combinations * blocks, given)
    found, known, fatal = Grid({}, [], seeds), dict[str, str](), list[Problem]()
    for axes in grids:
        for places in itertools.product(*(range(len(one.words)) for one in axes.values())):
            fatal += [one for one in _take(found, known, compose, axes, places) if one not in fatal]
    if fatal:
        raise ConfigError(fatal)
    assert combinations == len(found.arms) + len(found.merged) + len(found.skipped), "an arm was lost"
    if not found.arms:
        raise ConfigError([Problem("sweep.grids", s.arm, s.reason) for s in found.skipped])
    _require_one_seed_and_no_repeat(found)
    return found


def _take(
    found: Grid, known: dict[str, str], compose: Composer, axes: Mapping[str, Given], places: Sequence[int]
) -> list[Problem]:
    """Compose one combination and put it where it belongs; what is wrong with it that refuses the sweep."""
    tree, wrong, composed = checked(
        compose, [one.words[place] for one, place in zip(axes.values(), places, strict=True)]
    )
    if fatal := [*_overwritten(axes, places, composed), *(one for one in wrong if not one.skip)]:
        return fatal
    text = json.dumps(tree, sort_keys=True)
    if text in known:
        names = [*itertools.islice(_names(axes, places), 3)]
        twin = "given twice" if known[text] in names else f"the same as {known[text]}"
        what = "runs" if known[text] in found.arms else "is skipped"
        found.merged.append(f"{known[text] if known[text] in names else names[0]} is {twin}, and {what} once")
        return []
    arm = known[text] = next(name for name in _names(axes, places) if name not in found.names)
    found.names.add(arm)
    if wrong:
        found.skipped.append(Skipped(arm, "; ".join(map(str, wrong))))
    else:
        found.arms[arm], found.asked[arm] = tree, composed.asked
        found.of_seed.extend(one for one in composed.of_seed if one not in found.of_seed)
    return []


def _names(axes: Mapping[str, Given], places: Sequence[int]) -> Iterator[str]:
    """What a combination may be called, the shortest first; the last ones tell any two apart."""
    chosen = [
        (key, one, place) for (key, one), place in zip(axes.items(), places, strict=True) if one.is_swept
    ]
    titles = {key: one.titles[place] for key, one, place in chosen}
    quoted = " ".join(one.in_quotes(place) for _, one, place in chosen)
    yield from filter(None, (_title(titles, axes), " ".join(titles.values()), quoted))
    yield from (f"{quoted} ({n})" for n in itertools.count(2))


def _overwritten(axes: Mapping[str, Given], places: Sequence[int], composed: Composed) -> list[Problem]:
    """Values of axes that another override of the same combination changes: the arm would bear a wrong name."""
    words = [one.words[place] for one, place in zip(axes.values(), places, strict=True) if one.is_swept]
    return [
        Problem(key, value, f"is an axis, and another override sets {key} too; give it in one place")
        for one in map(parsed, words)
        for key, value in flatten({one.key_or_group: one.value()}).items()
        if any(key == name or key.startswith(f"{name}.") for name in composed.typed)
        and not same_value(composed.typed.get(key), value)
    ]


def plan(
    grid: Grid,
    *,
    blocks: int,
    throw_away: bool,
    control: str | None = None,
    order_seed: int = 0,
    looks: Sequence[int] = (),
) -> Plan:
    """Order the jobs: the block (seed) varies slowest; inside it the arms stand in a random, balanced order.

    `looks`: at which numbers of blocks the sweep is judged, where that is not once; the order is balanced from one
    to the next. `control` names the arm that is run once more in every block (the A/A arm).

    Raises:
        ConfigError: a job does not hold a value that was asked for.
    """
    seeds = grid.seeds or [grid.base["seed"] + k for k in range(blocks)]
    places = [(arm, 0) for arm in grid.arms] + ([(control, 1)] if control else [])
    rng = random.Random(order_seed)
    ends = [0, *looks] if looks and looks[-1] == len(seeds) else [0, len(seeds)]
    parts = [after - before for before, after in itertools.pairwise(ends)]
    order = [row for part in parts for row in balanced_orders(len(places), part, rng)]
    rows: list[tuple[int, int, list[int]]] = []
    if throw_away:
        first = list(range(len(grid.arms)))
        random.Random(order_seed + 1).shuffle(first)
        rows.append((0, _unused_seed(seeds), first))
    rows += [(k + 1, seed, order[k]) for k, seed in enumerate(seeds)]
    jobs: list[Job] = []
    for block, seed, row in rows:
        for position in row:
            arm, repeat = places[position]
            tree = {**grid.arms[arm], "seed": seed, "repeat": repeat}
            jobs.append(Job(len(jobs), arm, block, repeat, tree))
    require_asked(jobs, grid)
    return Plan(jobs, grid.skipped, len(seeds), throw_away, tuple(grid.merged))


def require_asked(jobs: Sequence[Job], grid: Grid) -> None:
    """Raise ConfigError where a frozen job lacks a value that its arm, or its block's seed, was asked to have."""
    wrong: list[Problem] = []
    for job in jobs:
        asked, where = dict(grid.asked[job.arm]), f"job {job.number} ({job.arm}, block {job.block})"
        first = asked.pop("seed", None)  # in a sweep that of its first block
        if job.block and grid.seeds:
            asked["seed"] = grid.seeds[job.block - 1]
        elif job.block == 1 and first is not None:
            asked["seed"] = first
        if job.repeat:
            asked["repeat"] = job.repeat
        wrong += [one for one in lacking(asked, job.tree, where) if one not in wrong]
        wrong += [one for one in check(Top, {"seed": job.tree["seed"]})[1] if one not in wrong]
        if any(job.tree[key] != grid.arms[job.arm][key] for key in ("seed", "repeat")):
            remedy = (
                "follows what differs between the jobs of an arm, whose values are frozen once; take it out"
            )
            wrong += [one for one in (Problem(*of, remedy) for of in grid.of_seed) if one not in wrong]
    if wrong:
        raise ConfigError(wrong[:5])


def checked(compose: Composer, words: Sequence[str]) -> tuple[Tree, list[Problem], Composed]:
    """A composition with every default filled in, and what is wrong with it, each value as it was typed."""
    composed = compose.composed(words)
    tree, wrong = load(composed.tree)
    wrong = as_written(wrong, words) or wrong_environment(tree["environment"])
    return tree, wrong, composed


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


def _require_axes(axes: Sequence[Given]) -> None:
    """Raise ConfigError where values that bear on no result are to be compared."""
    for one in axes:
        remedy = ""
        if one.key == "experiment":
            names = ",".join(text.partition("=")[2] for text in one.words)
            remedy = f"each has a grid of its own: sweep.experiments=[{names}] runs them one after another"
        elif one.key.startswith(f"{PARAMS}."):
            remedy = f"type {one.key.removeprefix(f'{PARAMS}.')}={one.values}, which is such an axis"
        elif one.key in _ONE_VALUE or one.key.startswith(_ONE_VALUE_UNDER):
            remedy = "says how a sweep is run or recorded, and is the same for all its jobs; give one value"
        if remedy:
            raise ConfigError([Problem(one.key, one.values, remedy)])


def _require_one_seed_and_no_repeat(grid: Grid) -> None:
    if repeat := next((tree["repeat"] for tree in grid.arms.values() if tree["repeat"]), 0):
        remedy = "a sweep counts its repeats itself, where its claims ask for the control again; leave it out"
        raise ConfigError([Problem("repeat", repeat, remedy)])
    if len(seeds := dict.fromkeys(tree["seed"] for tree in grid.arms.values())) > 1:
        remedy = "differs between arms, but a seed is a block, and every arm runs in each; give one, or -m seed=1,2"
        raise ConfigError([Problem("seed", ",".join(map(str, seeds)), remedy)])
    first, *others = ({key: tree[key] for key in _ONE_FOR_ALL} for tree in grid.arms.values())
    for other in (flatten(other) for other in others):
        for key, value in flatten(first).items():
            if other.get(key) != value:
                remedy = f"is {other.get(key)} in another arm, but is one for all jobs: let it follow none"
                raise ConfigError([Problem(key, value, remedy)])


def _require_few(jobs: int, given: Sequence[Given]) -> None:
    axes = ", ".join(f"{one.key} has {len(one.words)}" for one in given if len(one.words) > 1)
    require_few(jobs, "sweep", f"({jobs} jobs)", f": {axes}" if axes else "")


def _grids(outline: Outline) -> list[dict[str, Any]]:
    """The grids of an experiment; none of them says how the sweep is run."""
    grids = outline.sweep.grids or [{}]
    for where, grid in [(PARAMS, outline.params), *(("sweep.grids", grid) for grid in grids)]:
        for key, values in grid.items():
            name = str(key).lstrip("+~")
            if name in (*_ONE_VALUE, "experiment") or name.startswith(_ONE_VALUE_UNDER):
                remedy = f"is one for all jobs of a sweep, and no axis of {where}: give it in the file itself"
                raise ConfigError([Problem(name, values, remedy)])
    return list(grids)


def _axes(grid: Mapping[str, Any], given: Sequence[Given], choices: Choices) -> dict[str, Given]:
    """The axes of a grid, then all that the command line gives, which replaces the grid's own."""
    typed = {one.key for one in given}
    axes = {}
    for key, values in grid.items():
        if (name := str(key).lstrip("+~")) not in typed:
            axes[name] = of_values(str(key), values, choices)
    for number, one in enumerate(given):
        axes[one.key if one.key not in axes else f"{one.key} {number}"] = one
    return axes


def _title(titles: Mapping[str, str], axes: Mapping[str, Given]) -> str:
    """What tells a combination from others of its grid, which groups it takes, what its model is; no more."""
    kept = [
        title
        for key, title in titles.items()
        if len(axes[key].words) > 1
        or "." not in key
        or not key.startswith(("data.", "measure.", "training."))
    ]
    return " ".join(kept) or "defaults"


def _blocks(blocks: int | None, seeds: Sequence[int] | None, given: Sequence[Given]) -> int:
    """How many blocks there are, as far as the configuration says; refused where it says two things."""
    typed = {one.key for one in given}
    if seeds and blocks and len(seeds) != blocks and ("sweep.blocks" in typed or "seed" not in typed):
        listed = ",".join(map(str, seeds))
        remedy = f"seed={listed} names {len(seeds)}, for a seed is a block; give one of the two"
        raise ConfigError([Problem("sweep.blocks", blocks, remedy)])
    return len(seeds) if seeds else blocks or 1


def _seeds(given: Sequence[Given], grids: int) -> list[int] | None:
    """The seeds of the blocks, in each of which every arm runs; None where no grid and no sweep names them."""
    if not given:
        return None
    if len(given) < grids or any(one.words != given[0].words for one in given):
        values = " and ".join(dict.fromkeys(one.values for one in given))
        remedy = "a seed is a block, and every arm runs in each block: give all grids the same seeds"
        raise ConfigError([Problem("seed", values, remedy)])
    typed = [(text.partition("=")[2], parsed(text).value()) for text in given[0].words]
    wrong = [
        replace(problem, value=text, remedy=problem.remedy.removesuffix(QUOTES))
        for text, value in typed
        for problem in check(Top, {"seed": value})[1]
    ]
    if wrong:
        raise ConfigError(wrong)
    seeds = [value for _, value in typed]
    if len(set(seeds)) != len(seeds):
        raise ConfigError([Problem("seed", given[0].values, "a seed is a block: name each once")])
    return seeds


def _unused_seed(seeds: Sequence[int]) -> int:
    """The next seed that no block has; where there is none above, one below."""
    upwards = range(max(seeds) + 1, HIGHEST_SEED + 1)
    return next(seed for seed in itertools.chain(upwards, range(HIGHEST_SEED)) if seed not in seeds)
