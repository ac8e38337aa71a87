"""A claim and the runs of a sweep -> pairs of runs that share all but what the claim names, or a refusal.

A pair is treatment and control of one block and one condition. Its key is every param of the groups that describe
the experiment, less the groups in which the arms name different values, plus the seed. Nothing is matched by name
or by order, and nothing that does not match is dropped in silence (README.md, sections 2.1, 2.5 and 2.6).
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.claims.blocks import as_number, blocks_of
from workbench.claims.declaration import Claim
from workbench.claims.runs import PairingError
from workbench.claims.schema import parse_where
from workbench.identity import unlike
from workbench.record import METRICS, Run, counted, normalise
from workbench.record.run import ARM
from workbench.wording import did_you_mean

Condition = tuple[tuple[str, str], ...]
OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
OPERATORS |= {"==": operator.eq, "!=": operator.ne}


@dataclass(frozen=True)
class Pair:
    """Treatment and control of one block and condition; `y` is the effect, NaN with the reason in `failure`.

    A run that is not there is None; so is the control of an exact claim that is held against a value.
    """

    block: str
    condition: Condition
    treatment: Run | None
    control: Run | None
    y: float
    failure: str = ""
    failed_arm: str = ""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that there are, treatment first."""
        return tuple(run for run in (self.treatment, self.control) if run)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(run.run_id for run in self.runs)

    @property
    def failed_ids(self) -> tuple[str, ...]:
        """The ids of the runs at fault."""
        at_fault = {"treatment": (self.treatment,), "control": (self.control,)}
        runs = at_fault.get(self.failed_arm, (self.treatment, self.control))
        return tuple(run.run_id for run in runs if run)


@dataclass(frozen=True)
class Pairs:
    """All pairs of a claim: one for each counted block and condition, failed ones included."""

    planned: int
    blocks: tuple[str, ...]
    conditions: tuple[Condition, ...]
    pairs: tuple[Pair, ...]
    unused: Mapping[str, int]
    notes: tuple[str, ...]
    missing: str = ""

    @property
    def complete(self) -> tuple[str, ...]:
        """The blocks without a failed pair."""
        failed = {pair.block for pair in self.pairs if pair.failure}
        return tuple(block for block in self.blocks if block not in failed)

    def effects(self) -> NDArray[np.float64]:
        """[complete blocks, conditions]; [0, 1] where no condition is left."""
        if not self.conditions:
            return np.zeros((0, 1))
        at = {(pair.block, pair.condition): pair.y for pair in self.pairs}
        rows = [[at[block, condition] for condition in self.conditions] for block in self.complete]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.conditions))


def pair(claim: Claim, runs: Sequence[Run], planned: int) -> tuple[Pairs, Pairs | None]:
    """The claim's pairs, and those outside its `where` if it has an `elsewhere`; `runs` as read_runs gives them."""
    arms: dict[str, Mapping[str, Any]] = {"treatment": claim.treatment}
    if "value" not in claim.control:
        arms["control"] = claim.control
    blocks, surplus = blocks_of(claim.block, _of_blocks(claim, arms, runs), planned)
    unused = {"in blocks beyond the planned": 0, "other values of `over`": 0, "later attempts": 0}
    cells: dict[tuple[str, Condition, str], dict[Any, list[Run]]] = {}
    conditions = _conditions(claim)
    for arm, values in arms.items():
        for run in runs:
            if run.repeat or not belongs(claim, values, run):
                continue
            block = run.value(claim.block)
            condition = tuple((name, run.param(name) or "null") for name in claim.over)
            if block in surplus:
                unused["in blocks beyond the planned"] += 1
            elif condition not in conditions:
                unused["other values of `over`"] += 1
            else:
                cells.setdefault((str(block), condition, arm), {}).setdefault(run.key_in_sweep, []).append(
                    run
                )
    unused["later attempts"] = sum(
        max(0, sum(not run.lacking(claim.metric) for run in attempts) - 1)  # one that died has nothing to use
        for keys in cells.values()
        for attempts in keys.values()
    )
    notes: dict[str, None] = {}
    pairs = []
    for block, condition in itertools.product(blocks, conditions):
        found = {arm: _only(claim, arm, block, condition, cells) for arm in arms}
        pairs.append(_pair(claim, block, condition, found, notes))
    none = [arm for arm in arms if not any(cell[2] == arm for cell in cells)]
    whole = Pairs(
        planned=planned,
        blocks=blocks,
        conditions=conditions,
        pairs=tuple(pairs),
        unused={name: number for name, number in unused.items() if number},
        notes=tuple(notes),
        missing="; ".join(_no_runs(claim, arm, arms[arm], runs) for arm in none),
    )
    return _divide(claim, whole) if claim.where else (whole, None)


def _of_blocks(claim: Claim, arms: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> list[Run]:
    """The runs whose blocks are the claim's: all of a sweep; of runs that nobody planned those of the arms."""
    return [
        run
        for run in runs
        if run.key_without is None or any(belongs(claim, values, run) for values in arms.values())
    ]


def concerns(claim: Claim, run: Run) -> bool:
    """Whether a run is one of the claim's, in whatever block: of an arm, or of its planted difference."""
    arms = [claim.treatment, claim.control, *([claim.as_planted.treatment] if claim.assay else [])]
    condition = tuple((name, run.param(name) or "null") for name in claim.over)
    return condition in _conditions(claim) and any(
        "value" not in values and belongs(claim, values, run) for values in arms
    )


def belongs(claim: Claim, values: Mapping[str, Any], run: Run) -> bool:
    """Whether a run is of an arm."""
    return has(run, values) and not is_set_apart(claim, values, run)


def is_set_apart(claim: Claim, values: Mapping[str, Any], run: Run) -> bool:
    """Whether a run has a planted difference that neither the arm nor `over` names: it is then none of it."""
    return any(
        has(run, planted)
        and any(
            name not in claim.over and normalise(values.get(name)) != normalise(one)
            for name, one in planted.items()
        )
        for planted in claim.planted
    )


def effect(scale: str, treatment: float, control: float) -> float:
    """The effect of one pair: log(t/c) or t - c; infinite or NaN where a ratio has no logarithm."""
    if scale == "difference":
        return treatment - control
    if treatment == control:
        return 0.0
    if treatment < 0 or control < 0:
        return math.nan
    if not treatment or not control:
        return math.inf if treatment else -math.inf
    return math.log(treatment) - math.log(control)


def _conditions(claim: Claim) -> tuple[Condition, ...]:
    values = [[(name, normalise(one) or "null") for one in many] for name, many in claim.over.items()]
    return tuple(itertools.product(*values))


def has(run: Run, values: Mapping[str, Any]) -> bool:
    """Whether a run's params are these, whatever else it has."""
    return all((run.param(name) or "null") == (normalise(one) or "null") for name, one in values.items())


def _only(claim: Claim, arm: str, block: str, condition: Condition, cells: Mapping[Any, Any]) -> Run | None:
    """The attempt that counts of the one key that the arm has in this block and condition."""
    keys = _with_the_dead(cells.get((block, condition, arm), {}))
    if len(keys) > 1:
        varying = _differences(*map(dict, keys))
        if len(varying) > 1:  # an arm is called by what varies, unless a key leaves that out (data.path)
            varying.pop(ARM, None)
        raise PairingError(
            f"claim {claim.name}: the {arm} has {len(keys)} runs in block {block}{_words(condition)}, because "
            + "; ".join(f"{name} varies ({', '.join(values)})" for name, values in varying.items())
            + "; name it in `over`, or fix it in both arms"
        )
    return counted(next(iter(keys.values())), claim.metric) if keys else None


def _with_the_dead(keys: Mapping[Any, list[Run]]) -> Mapping[Any, list[Run]]:
    """Runs by key, what died before all of its params were recorded by the one key that it can have been of."""
    if len(keys) < 2:
        return keys
    whole = {key: runs for key, runs in keys.items() if any(run.has_result for run in runs)}
    if not whole:  # all died: those that had said most
        whole = {key: keys[key] for key in keys if not any(set(key) < set(other) for other in keys)}
    for key, runs in keys.items():
        if key not in whole:
            of = [one for one in whole if set(key) <= set(one)]
            if len(of) != 1:
                return keys
            whole[of[0]] = sorted([*whole[of[0]], *runs], key=lambda run: run.order)
    return whole


def _pair(
    claim: Claim, block: str, condition: Condition, found: dict[str, Run | None], notes: dict[str, None]
) -> Pair:
    treatment, control = found["treatment"], found.get("control")
    if treatment and control:
        _refuse_other_differences(claim, block, treatment, control)
        if not treatment.failure(claim.metric) and not control.failure(claim.metric):
            if why := made_on_two_machines(claim, treatment, control):
                return Pair(block, condition, treatment, control, math.nan, failure=why, failed_arm="both")
            _refuse_unequal(claim, block, treatment, control, notes)
            _refuse_unlike(claim, block, treatment, control)
    made = Pair(block, condition, treatment, control, math.nan)
    failures = {arm: run.failure(claim.metric) if run else "no run" for arm, run in found.items()}
    failed = {arm: failure for arm, failure in failures.items() if failure}
    if failed:
        arm = next(iter(failed)) if len(failed) == 1 else "both"
        return replace(made, failure=" and ".join(dict.fromkeys(failed.values())), failed_arm=arm)
    against = control.metrics[claim.metric] if control else float(claim.control["value"])
    assert treatment is not None
    y = effect(claim.scale, treatment.metrics[claim.metric], against)
    if not math.isfinite(y) and claim.kind == "measured":
        why = (
            f"no ratio of {treatment.metrics[claim.metric]:g} to {against:g}; `scale: difference` needs none"
        )
        return replace(made, failure=why, failed_arm="both")
    return replace(made, y=y)


def _refuse_other_differences(claim: Claim, block: str, treatment: Run, control: Run) -> None:
    named = {*claim.treatment, *claim.control}
    free = {
        _group(name)
        for name in named
        if normalise(claim.treatment.get(name)) != normalise(claim.control.get(name))
    }
    keys = [dict(treatment.key), dict(control.key)]
    if not (treatment.has_result and control.has_result):  # of what died not all was recorded
        keys = [{name: key[name] for name in key if name in keys[0].keys() & keys[1].keys()} for key in keys]
    other = {name: values for name, values in _differences(*keys).items() if _group(name) not in free}
    if other:
        raise PairingError(
            f"claim {claim.name}: in block {block} the arms differ in more than they name: "
            + "; ".join(f"{name} ({values[0]} against {values[1]})" for name, values in other.items())
            + f" (runs {treatment.run_id}, {control.run_id}); name it in both arms, or run them alike"
        )


def _group(name: str) -> str:
    """What is free with a param that tells the arms apart: the others of its group, which a name with a dot is of.

    >>> _group("padding.name"), _group("model")
    ('padding.', 'model')
    """
    group, dot, _ = name.partition(".")
    return group + dot


def _refuse_unequal(claim: Claim, block: str, treatment: Run, control: Run, notes: dict[str, None]) -> None:
    for name in claim.equal:
        values = treatment.value(name), control.value(name)
        if values == (None, None):
            notes[f"not checked to be equal, as no run records it: {name}"] = None
        elif values[0] != values[1]:
            raise PairingError(
                f"claim {claim.name}: in block {block} {name} must be equal in both arms and is {values[0]} in the "
                f"treatment (run {treatment.run_id}) and {values[1]} in the control (run {control.run_id})"
            )


def made_on_two_machines(claim: Claim, treatment: Run, control: Run) -> str:
    """Why runs of two machines, or two devices of one, are no pair, be it that a block went on elsewhere.

    Empty where they are one, and where arms are devices.
    """
    devices = treatment.value("device"), control.value("device")
    if "device" in claim.equal and None not in devices and devices[0] != devices[1]:
        return f"made on two devices, {devices[0]} and {devices[1]}"
    timed = claim.metric in METRICS and METRICS[claim.metric].noisy
    if not timed and treatment.value("threads") == control.value("threads"):
        return ""
    apart = treatment.other_machine(control)
    return f"made on two machines: {apart}" if apart else ""


def _refuse_unlike(claim: Claim, block: str, treatment: Run, control: Run) -> None:
    """Runs of other code, libraries or settings are no pair, whatever their configurations say."""
    if treatment.key_without is not None:
        return  # what the tags of others' runs mean is not known
    if found := unlike(treatment.tags, control.tags):
        raise PairingError(
            f"claim {claim.name}: in block {block} the arms were not made alike: "
            + "; ".join(f"{name} ({values[0]} against {values[1]})" for name, values in found.items())
            + f" (runs {treatment.run_id}, {control.run_id}); run the block's jobs again alike "
            "(workbench.resume=true workbench.changed=rerun)"
        )


def _differences(*keys: Mapping[str, str]) -> dict[str, list[str]]:
    """Params that are not alike in all keys, with the values in the keys' order, each once."""
    names = sorted({name for key in keys for name in key})
    found = {name: list(dict.fromkeys(key.get(name, "not recorded") for key in keys)) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def _divide(claim: Claim, whole: Pairs) -> tuple[Pairs, Pairs | None]:
    """The conditions inside `where`, and those outside; a condition is in it or not, in every block alike."""
    inside = []
    for condition in whole.conditions:
        answers: dict[bool, str] = {}
        for one in whole.pairs:
            if one.condition == condition and (answer := _holds(claim, one)) is not None:
                answers.setdefault(answer, one.block)
        if len(answers) > 1:
            raise PairingError(
                f"claim {claim.name}: `where` holds in block {answers[True]} and not in block {answers[False]}"
                f"{_words(condition)}; put the bound where it divides conditions, not blocks"
            )
        if not answers:
            _refuse_unknown(claim, condition, whole)
        if True in answers or not answers:
            inside.append(condition)
    row = _restrict(whole, tuple(inside))
    outside = tuple(condition for condition in whole.conditions if condition not in inside)
    return row, _restrict(whole, outside) if claim.elsewhere else None


def _holds(claim: Claim, one: Pair) -> bool | None:
    """Whether a pair meets `where`; None where it may, and a quantity of it is not recorded in either run."""
    holds: bool | None = True
    for text in claim.where:
        name, sign, bound = parse_where(text)
        values = {run.value(name) for run in one.runs} - {None}
        if len(values) > 1:
            raise PairingError(
                f"claim {claim.name}: {name} differs between the arms in block {one.block} "
                f"({' and '.join(sorted(map(str, values)))}); `where` needs what is fixed before the arm"
            )
        if not values:
            holds = None
            continue
        value = values.pop()
        sides = (value, normalise(bound)) if sign in ("==", "!=") else (as_number(value), float(bound))
        if not OPERATORS[sign](*sides):
            return False
    return holds


def _refuse_unknown(claim: Claim, condition: Condition, whole: Pairs) -> None:
    """Raise where runs that have finished do not record what `where` asks of them: it would hold in silence."""
    runs = [
        run
        for one in whole.pairs
        if one.condition == condition
        for run in (one.treatment, one.control)
        if run and run.finished and run.metrics  # those of a plan have no metrics yet
    ]
    for name in (parse_where(text)[0] for text in claim.where):
        if runs and all(run.value(name) is None for run in runs):
            known = sorted({one for run in runs for one in (*run.params, *run.metrics)})
            raise PairingError(
                f"{claim.at('where')}: where: no run records {name}{_words(condition)}; name what they have"
                f"{did_you_mean(name, known)}"
            )


def _restrict(whole: Pairs, conditions: tuple[Condition, ...]) -> Pairs:
    gone = sum(len(one.run_ids) for one in whole.pairs if one.condition not in conditions)
    missing = whole.missing or ("" if conditions else "no runs on this side of `where`")
    unused = {**whole.unused, **({"on the other side of `where`": gone} if gone else {})}
    pairs = tuple(one for one in whole.pairs if one.condition in conditions)
    return replace(whole, conditions=conditions, pairs=pairs, unused=unused, missing=missing)


def _no_runs(claim: Claim, arm: str, values: Mapping[str, Any], runs: Sequence[Run]) -> str:
    for name, one in values.items():
        there = sorted({value for run in runs if (value := run.param(name)) is not None})
        wanted = str(normalise(one))
        if wanted not in there:
            seen = f"the runs have {', '.join(there)}" if there else "no run records it"
            yaml = isinstance(one, bool) and {"yes", "no", "on", "off"} & {*there}
            quoted = "; YAML reads yes, no, on and off as truth values: put them in quotes" if yaml else ""
            return f"no runs of the {arm} {name}={wanted}; {seen}{did_you_mean(wanted, there)}{quoted}"
    return f"no runs of the {arm} {', '.join(f'{name}={one}' for name, one in values.items())}"


def _words(condition: Condition) -> str:
    return f" ({', '.join(f'{name}={value}' for name, value in condition)})" if condition else ""
