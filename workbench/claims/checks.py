"""Claims held against the composed configs and the planned jobs, so that a slip is found before the first run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workbench.claims.declaration import Claim
from workbench.claims.pairing import is_set_apart, pair
from workbench.claims.runs import PairingError
from workbench.claims.schema import is_number, nearest_or_all, parse_where
from workbench.record import METRICS, Run, normalise
from workbench.record.tags import BLOCK

RECORDED = frozenset({"device", "threads", "task", "data.fingerprint", "data.longest", "data.task"})
"""What `equal` may name that no config has: facts that a run finds out, recorded as its params."""

TAGS = frozenset(
    {
        *(
            "code",
            "device",
            "digest",
            "environment",
            "git",
            "machine",
            "memory",
            "source",
            "version",
            "window",
        ),
        "workbench",
    }
)
"""The first words of the tags that runs carry, which `equal` may name too: version.tensorflow, machine.cpu."""

Config = Mapping[str, object]


def check_against(claims: Sequence[Claim], flat_config: Config) -> list[str]:
    """Problems, one a line with file:line, of names that the composed config (dotted name -> value) lacks.

    Looks at the names in treatment, control, over, where, equal (metrics apart) and block; pass the union of the
    configs where an option brings keys of its own. In `equal`, RECORDED facts and TAGS are known too. An empty
    list means that no name is wrong; `check_arms` looks at the values, `check_pairs` at what differs.
    """
    problems = []
    for claim in claims:
        for at, name in _config_names(claim):
            if name not in flat_config:
                guess = nearest_or_all(name, flat_config)
                problems.append(f"{claim.at(at)}: claim {claim.name}: the config has no {name}{guess}")
        for at, name in _table_names(claim):
            if name not in flat_config:
                guess = nearest_or_all(name, [*flat_config, *(RECORDED if at != "block" else ())])
                problems.append(f"{claim.at(at)}: {at.split('.')[0]}: the config has no {name}{guess}")
    return list(dict.fromkeys(problems))


def check_arms(claims: Sequence[Claim], arms: Mapping[str, Config]) -> list[str]:
    """Problems, one a line with file:line, of runs that a claim needs and that no planned job makes.

    `arms` are the planned jobs: name -> composed config (dotted name -> value). For each claim, arm (treatment,
    control) and condition of `over`, some job must have all the values named, compared as judging compares them
    (`normalise`). What is said is the value that no job has, with the nearest that is there; where each value
    is there and the combination is not, the job that comes nearest.
    """
    asked = _asked(claims, arms)
    problems = (_no_job(claim, arm, wanted, jobs) for claim, arm, wanted, jobs in asked)
    return [one for one in dict.fromkeys(problems) if one]


def check_measured(claims: Sequence[Claim], arms: Mapping[str, Config]) -> list[str]:
    """Problems, one a line with file:line, of metrics that no planned job of an arm records; `arms` as above."""
    problems = []
    for claim, arm, wanted, jobs in _asked(claims, arms):
        needs = METRICS[claim.metric].needs if claim.metric in METRICS else ""
        option = f"measure.{needs}"
        values = [arms[job].get(option, True) for job in jobs if not _missed(wanted, jobs[job])]
        if needs and values and not any(values):
            off, on = _text(values[0]), "true" if isinstance(values[0], bool) else "1 or more"
            problems.append(
                f"{claim.at('metric')}: claim {claim.name}: no job of its {arm} records {claim.metric}, since "
                f"{option}={off}: give {option}={on}, or leave the claim out"
            )
    return list(dict.fromkeys(problems))


def check_pairs(claims: Sequence[Claim], arms: Mapping[str, Config]) -> list[str]:
    """Problems, one a line with file:line, of planned jobs that judging would refuse to pair; `arms` as above.

    The jobs are paired as if they had run, for one block, by the same code as judging: an arm with two jobs under
    one condition, and jobs of a pair that differ in more than the claim names, show before the first run.
    """
    jobs = [as_run(name, config) for name, config in arms.items()]
    problems = []
    for claim in claims:
        try:
            for one in (claim, *([claim.as_planted] if claim.assay else ())):
                pair(one, [replace(job, metrics={claim.metric: 1.0}) for job in jobs], planned=1)
        except PairingError as refused:
            problems.append(f"{claim.at('treatment')}: {refused}")
    return problems


def as_run(name: str, config: Config) -> Run:
    """A planned job as the run of the first block that it will be, without a metric."""
    params = {key: text for key, value in config.items() if (text := normalise(value)) is not None}
    return Run(name, "FINISHED", params | {"seed": "1"}, tags={BLOCK: "1"})


def _at(claim: Claim, arm: str, name: str) -> str:
    """Where a value of an arm stands in the claim; the arm of an assay is the control with what is planted."""
    if arm != "assay":
        return f"{arm}.{name}"
    return f"assay.planted.{name}" if claim.assay and name in claim.assay["planted"] else f"control.{name}"


Named = tuple[str, str, str]  # where it stands in the claim, the config's name, the value as text


def _conditions(claim: Claim) -> Iterator[tuple[Named, ...]]:
    factors = (
        [(f"over.{name}.{number}", name, _text(one)) for number, one in enumerate(values)]
        for name, values in claim.over.items()
    )
    return itertools.product(*factors)


Jobs = Mapping[str, Mapping[str, str]]  # a job's name -> its config, values as text


def _asked(
    claims: Sequence[Claim], arms: Mapping[str, Config]
) -> Iterator[tuple[Claim, str, list[Named], Jobs]]:
    """For each claim, arm of it and condition: the values that a job of it has, and the jobs that may be one."""
    every = {name: {key: _text(value) for key, value in config.items()} for name, config in arms.items()}
    for claim in claims:
        named = {"treatment": claim.treatment, "control": claim.control}
        if claim.assay:
            named["assay"] = claim.as_planted.treatment
        for arm, values in named.items():
            if "value" in values:  # an exact claim held against a number, not against runs
                continue
            jobs = {
                name: job
                for name, job in every.items()
                if not is_set_apart(claim, values, as_run(name, arms[name]))
            }
            wanted = [(_at(claim, arm, name), name, _text(one)) for name, one in values.items()]
            for condition in _conditions(claim):
                yield claim, arm, [*wanted, *condition], jobs


def _missed(wanted: Sequence[Named], job: Mapping[str, str]) -> list[Named]:
    """What a job does not have of what is wanted."""
    return [(at, name, one) for at, name, one in wanted if job.get(name, "null") != one]


def _no_job(claim: Claim, arm: str, wanted: Sequence[Named], jobs: Jobs) -> str:
    """What is wrong where no job has all the wanted values; empty where one has."""
    missed = {job: _missed(wanted, config) for job, config in jobs.items()}
    if not all(missed.values()):  # a job that misses nothing
        return ""
    head = f"claim {claim.name}: no planned job"
    for at, name, one in wanted:
        there = sorted({config.get(name, "null") for config in jobs.values()})
        if one not in there:
            return f"{claim.at(at)}: {head} has {name}={one}{_nearest(one, there)}"
    words = ", ".join(f"{name}={one}" for _, name, one in wanted)
    nearest = min(sorted(missed), key=lambda job: len(missed[job]))
    instead = ", ".join(f"{name}={jobs[nearest].get(name, 'null')}" for _, name, _ in missed[nearest])
    return f"{claim.at(arm)}: {head} has all of {words}; the nearest, {nearest}, has {instead}"


def _nearest(wanted: str, there: Sequence[str]) -> str:
    """The nearest number for a number, else what `nearest_or_all` finds.

    >>> _nearest("100", ["64", "128", "null"]), _nearest("bacth", ["batch", "global"])
    ('; the nearest is 128', '; did you mean batch?')
    """
    numbers = [one for one in there if is_number(one)]
    if is_number(wanted) and numbers:
        return f"; the nearest is {min(numbers, key=lambda one: abs(float(one) - float(wanted)))}"
    return nearest_or_all(wanted, there)


def _text(value: Any) -> str:
    return normalise(value) or "null"


def _config_names(claim: Claim) -> Iterator[tuple[str, str]]:
    for arm in ("treatment", "control", "over"):
        for name in getattr(claim, arm):
            if not (arm == "control" and name == "value"):
                yield f"{arm}.{name}", name
    for name in claim.assay["planted"] if claim.assay else ():
        yield f"assay.planted.{name}", name
    for number, text in enumerate(claim.where):
        if "/" not in parse_where(text)[0]:
            yield f"where.{number}", parse_where(text)[0]


def _table_names(claim: Claim) -> Iterator[tuple[str, str]]:
    """Names in the table's own fields, which all claims of a file share."""
    if "." in claim.block or claim.block == "seed":
        yield "block", claim.block
    for number, name in enumerate(claim.equal):
        is_tag = "." in name and name.split(".")[0] in TAGS
        if "/" not in name and name not in RECORDED and not is_tag:
            yield f"equal.{number}", name
