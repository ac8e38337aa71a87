"""A table of claims and the runs of its sweep -> verdicts: Holm's family, and what may void it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.claims.blocks import planned_pairs, undeclared_pairs
from workbench.claims.decision import Row, Tested, decide, test
from workbench.claims.declaration import Claim, ClaimSet
from workbench.claims.exact import judge_exact
from workbench.claims.foreign import others
from workbench.claims.instrument import is_noisy, judge_instrument
from workbench.claims.pairing import Pairs, pair
from workbench.claims.runs import read_runs
from workbench.claims.statistics import holm
from workbench.claims.verdict import Verdict
from workbench.record import Run
from workbench.record.tags import CLAIMS_COMMITTED, CLAIMS_SHA

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """A judged table: its verdicts, in its order, and the pairs that each claim's own row was made of."""

    verdicts: list[Verdict]
    pairs: dict[str, Pairs]


def judge(claim: Claim, runs: pd.DataFrame | Sequence[Run], *, planned: int | None = None) -> Verdict:
    """The verdict on one claim, corrected for the table it was declared in: `judge_table([claim], runs)[0]`."""
    return judge_table([claim], runs, planned=planned)[0]


def judge_table(
    claims: Sequence[Claim], runs: pd.DataFrame | Sequence[Run], *, planned: int | None = None
) -> list[Verdict]:
    """The verdicts on a table of claims, in its order, from the runs of one sweep.

    A claim with `elsewhere` gives a second row after its own; the A/A arm gives a last row named control_again
    (kind `instrument`). `runs` are typed, or a table with the columns of mlflow.search_runs(): run_id, status,
    start_time, params.*, metrics.*, tags.*. `planned` is the number of planned blocks, by default the sweep's tag,
    else the file's.

    Pure: no random number, no clock, no file; the order of the rows does not matter. PairingError for runs that
    cannot be compared, ClaimError for claims of two tables.
    """
    return judged_table(claims, runs, planned=planned).verdicts


def judged_table(
    claims: Sequence[Claim], runs: pd.DataFrame | Sequence[Run], *, planned: int | None = None
) -> Judged:
    """As judge_table, with the pairs that the verdicts were made of."""
    table = ClaimSet(tuple(claims))
    data = read_runs(runs) if not table.claims[0].runs else others(table.claims, runs)
    if planned is None:
        planned = planned_pairs(table.claims, data)
    rows = [row for claim in table.claims for row in _rows(claim, data, planned)]
    instrument = judge_instrument(table, data, planned)
    tested = {row.name: test(row) for row in rows if row.claim.kind == "measured"}
    measured = _decide_all(tested, table)
    verdicts = []
    for row in rows:
        verdict = measured[row.name] if row.name in measured else judge_exact(row, data)
        if row.claim.kind == "measured":
            if instrument.note:
                verdict = replace(verdict, flags=(*verdict.flags, instrument.note))
            if instrument.failed:
                void = "the instrument failed: the control differs from itself run again (see control_again)"
                verdict = replace(verdict, verdict="inconclusive", reasons=(void, *verdict.reasons))
        if instrument.differing and not is_noisy(row.claim):
            verdict = replace(
                verdict, verdict="inconclusive", reasons=(instrument.differing, *verdict.reasons)
            )
        verdicts.append(verdict)
    verdicts += [instrument.row] if instrument.row else []
    pairs = {row.name: row.pairs for row in rows}
    return Judged(_mark_undeclared(verdicts, table, data, planned), pairs)


def _rows(claim: Claim, runs: Sequence[Run], planned: int) -> list[Row]:
    inside, outside = pair(claim, runs, planned)
    rows = [Row(claim, claim.name, claim.direction, inside)]
    if outside is not None and claim.elsewhere:
        rows.append(Row(claim, f"{claim.name} (elsewhere)", claim.elsewhere, outside))
    return rows


def _decide_all(tested: dict[str, Tested], table: ClaimSet) -> dict[str, Verdict]:
    """Holm over all hypotheses of the file; those of claims that are not judged here stand in it with p = 1."""
    values = [p for one in tested.values() for p in (one.inside, *one.outside)]
    values += [1.0] * (table.family - len(values))
    decided = holm(values, table.alpha)
    verdicts, start = {}, 0
    for name, one in tested.items():
        own = slice(start, start + 1 + len(one.outside))
        verdicts[name] = decide(one, decided.rejected[own], decided.level[own])
        start = own.stop
    return verdicts


def _mark_undeclared(
    verdicts: list[Verdict], table: ClaimSet, runs: Sequence[Run], planned: int
) -> list[Verdict]:
    """`exploratory` where claims or number of pairs are not those declared and committed before the runs."""
    hashes = {run.tags.get(CLAIMS_SHA) for run in runs}
    flags = []
    if hashes - {None, table.sha}:
        flags.append(
            "exploratory: these claims are not the ones that were declared before the runs (another hash)"
        )
    if any(run.tags.get(CLAIMS_COMMITTED, "").lower() == "false" for run in runs):
        flags.append("exploratory: claims.yaml was not committed before the first run")
    if other := undeclared_pairs(table.claims, runs, planned):
        flags.append(f"exploratory: {other}")
    if flags:
        return [replace(one, exploratory=True, flags=(*flags, *one.flags)) for one in verdicts]
    if None in hashes and runs:
        flag = "no hash of the claims is recorded: that they were declared before the runs is not shown"
        return [replace(one, flags=(flag, *one.flags)) for one in verdicts]
    return verdicts
