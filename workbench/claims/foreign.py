"""Runs that the workbench did not make, as claims take them: a key of all their params, and a block each.

What is a run's own is not known here as it is of the workbench's: every param is part of its key, but those
that the file's `runs.ignore` names, and pairs are refused where they differ in one that no arm names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.claims.declaration import Claim
from workbench.claims.pairing import has
from workbench.claims.runs import PairingError, read_runs
from workbench.claims.schema import is_number, parse_where
from workbench.record import Run
from workbench.record.tags import PARENT
from workbench.wording import did_you_mean

if TYPE_CHECKING:
    import pandas as pd


def with_own_keys(claims: Sequence[Claim], runs: pd.DataFrame | Sequence[Run]) -> list[Run]:
    """The runs with keys of their own.

    Of what has no block is left out what can be no pair's: what is of no arm, the parent of other runs, as of a
    search, and what died before it had one; also a parent with a block where another run has its params, for whose
    first attempt it would pass. A tag that is the block, or that an arm or `over` names, stands among
    the params, and so in the key.

    Raises:
        PairingError: there are none, none records the block, a claim's metric or what its `where` or `over` names,
            two experiments have the same, or a param is written in two ways that are one number.
    """
    table = claims[0]
    ignored = tuple(table.runs.get("ignore", ()))
    named = {table.block: None} | dict.fromkeys(name for claim in claims for name in _naming(claim))
    data = [_with_tags(replace(run, key_without=ignored), named) for run in read_runs(runs)]
    parents = {run.tags[PARENT] for run in data if PARENT in run.tags}
    others = {(run.key, run.param(table.block)) for run in data if run.run_id not in parents}
    kept = [
        run
        for run in data
        if (
            run.param(table.block) is not None
            and (run.run_id not in parents or (run.key, run.param(table.block)) not in others)
        )
        or (_is_of_an_arm(run, claims) and run.run_id not in parents and run.finished)
    ]
    if all(run.param(table.block) is None for run in kept):
        names = sorted({name for run in data for name in run.params})
        raise PairingError(
            f"block={table.block}: none of {len(data)} runs has this param or tag; name the one that tells repeats "
            f"apart (a seed, a fold){did_you_mean(table.block, names)}"
            + (f"; they have {', '.join(names[:20])}" if names else "")
        )
    _refuse_twice(kept, table.block)
    for name in named:
        _refuse_two_texts(kept, name)
    recorded = {name for run in kept for name in run.metrics}
    for claim in claims:
        _refuse_unknown(claim, kept)
        if claim.metric not in recorded:
            raise PairingError(
                f"{claim.at('metric')}: metric={claim.metric}: no run has it; "
                f"they have {', '.join(sorted(recorded)[:20]) or 'none'}{did_you_mean(claim.metric, recorded)}"
            )
    return kept


def _refuse_twice(runs: Sequence[Run], block: str) -> None:
    """Raise where experiments have the same run of the same block: one would pass for another's later attempt."""
    of: dict[tuple[object, str | None], Run] = {}
    for run in runs:
        one = of.setdefault((run.key, run.value(block)), run)
        if one.experiment != run.experiment:
            raise PairingError(
                f"runs {one.run_id} and {run.run_id} have the same params, and are of two experiments (ids "
                f"{one.experiment} and {run.experiment}): name one, or narrow the filter of runs"
            )


def _naming(claim: Claim) -> list[str]:
    """The params that tell a claim's arms and conditions apart."""
    return [name for name in (*claim.treatment, *claim.control, *claim.over) if name != "value"]


def _with_tags(run: Run, names: Iterable[str]) -> Run:
    missing = {name: run.tags[name] for name in names if run.param(name) is None and name in run.tags}
    return replace(run, params={**run.params, **missing}) if missing else run


def _refuse_two_texts(runs: Sequence[Run], name: str) -> None:
    """Raise where texts that are one number are two names, as versions 1.1 and 1.10: they would be one arm."""
    texts: dict[str, str] = {}
    for run in runs:
        if (value := run.param(name)) is not None:
            text = run.params[name].strip()
            if texts.setdefault(value, text) != text and is_number(text):
                raise PairingError(
                    f"{name} is written {texts[value]} and {text}, which are one number, and claims compare "
                    f"numbers: leave the runs of one out (--runs \"params.{name} != '{text}'\"), or record names "
                    f"that are no numbers (v{text})"
                )


def _refuse_unknown(claim: Claim, runs: Sequence[Run]) -> None:
    """Raise where `over` or `where` names what no run records: no pair would be, or it would be passed over."""
    params = {one for run in runs for one in run.params}
    named = [("over", name, Run.param, params) for name in claim.over]
    both = params | {one for run in runs for one in run.metrics}
    named += [("where", parse_where(text)[0], Run.value, both) for text in claim.where]
    for field, name, value, known in named:
        if all(value(run, name) is None for run in runs):
            raise PairingError(
                f"{claim.at(field)}: {field}: no run records {name}{did_you_mean(name, sorted(known))}; "
                f"they have {', '.join(sorted(known)[:20])}"
            )


def _is_of_an_arm(run: Run, claims: Sequence[Claim]) -> bool:
    return any(has(run, arm) for claim in claims for arm in (claim.treatment, claim.control))
