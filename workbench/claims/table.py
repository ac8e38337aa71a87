"""A table of claims and the runs of its sweep -> verdicts: Holm's family, and what may void it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from workbench.claims.assay import assayed
from workbench.claims.blocks import looks_of, planned_pairs, undeclared_pairs
from workbench.claims.decision import Row, Tested, decide, test
from workbench.claims.declaration import Claim, ClaimSet
from workbench.claims.exact import judge_exact
from workbench.claims.foreign import with_own_keys
from workbench.claims.instrument import FAILED_AA, Instrument, is_noisy, judge_instrument
from workbench.claims.others import known_metrics
from workbench.claims.pairing import Pairs, pair
from workbench.claims.runs import read_runs
from workbench.claims.statistics import holm_after
from workbench.claims.verdict import Verdict
from workbench.record import Run
from workbench.record.tags import CLAIMS_COMMITTED, CLAIMS_SHA

if TYPE_CHECKING:
    import pandas as pd


DECIDED = ("reproduced", "contradicted")


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
    data = read_runs(runs) if not table.claims[0].runs else with_own_keys(table.claims, runs)
    if planned is None:
        planned = planned_pairs(table.claims, data)
    with known_metrics(table.claims[0].runs):
        found = _through_looks(table, data, looks_of(table.claims, data, planned))
    verdicts = [_voided(verdict, found) for verdict in found.verdicts.values()]
    verdicts += [found.instrument.row] if found.instrument.row else []
    return Judged(_mark_undeclared(verdicts, table, data, planned), found.pairs)


def undecided(
    claims: Sequence[Claim], runs: pd.DataFrame | Sequence[Run], looks: Sequence[int], at: int
) -> list[Claim]:
    """The claims that no look up to number `at` (from 1) has decided: those that the sweep goes on with.

    A function of the runs of these looks alone, so that a sweep that was resumed goes on as one that was not.
    """
    table = ClaimSet(tuple(claims))
    found = _through_looks(table, read_runs(runs), tuple(looks), at)
    return [claim for claim in table.claims if not found.decided >= {*_names(claim)}]


@dataclass
class _Found:
    """What the looks have found, row by row."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)
    decided: set[str] = field(default_factory=set)
    rejected: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    """Of a measured row that is decided: which of its hypotheses were."""
    claims: dict[str, Claim] = field(default_factory=dict)
    instrument: Instrument = field(default_factory=lambda: Instrument(None))
    instruments: dict[str, Instrument] = field(default_factory=dict)
    """Of each row as it was at the look that it was judged at."""


def _through_looks(table: ClaimSet, runs: Sequence[Run], looks: tuple[int, ...], at: int = 0) -> _Found:
    """Judge at each look, until all is decided; up to number `at`, where it is given (README.md, section 2.7)."""
    found = _Found()
    for number, pairs in enumerate(looks[: at or None], 1):
        last = number == len(looks)
        open_rows = [
            row
            for claim in table.claims
            if not found.decided >= {*_names(claim)}
            for row in _rows(claim, runs, pairs)
            if row.name not in found.decided
        ]
        found.instrument = judge_instrument(table, runs, pairs)
        tested = {row.name: test(row) for row in open_rows if row.claim.kind == "measured"}
        measured = _decide_all(tested, table, len(looks), found.rejected)
        for row in open_rows:
            verdict, rejected = measured.get(row.name) or (judge_exact(row, runs), ())
            verdict = assayed(row, verdict, runs, pairs)
            found.claims[row.name], found.pairs[row.name] = row.claim, row.pairs
            found.instruments[row.name] = found.instrument
            void = (rejected and found.instrument.failed) or (
                found.instrument.differing and not is_noisy(row.claim)
            )
            stands = verdict.verdict in DECIDED and (last or not void)
            if len(looks) > 1:
                verdict = replace(verdict, looks=looks, look=number if stands else 0)
            found.verdicts[row.name] = verdict
            if stands:
                found.decided.add(row.name)
                found.rejected |= {row.name: rejected} if rejected else {}
        if len(found.decided) == len(found.verdicts):
            break
    _contradict_exact(found, table, runs, looks[-1])
    order = [name for claim in table.claims for name in _names(claim)]
    found.verdicts = {name: found.verdicts[name] for name in order if name in found.verdicts}
    return found


def _contradict_exact(found: _Found, table: ClaimSet, runs: Sequence[Run], planned: int) -> None:
    """A counter-example to an exact claim counts also where it turned up after the look that decided the claim.

    But not that of an instrument which no longer repeats itself: it decides no more, and takes nothing back.
    """
    for claim in table.claims:
        if claim.kind == "exact" and found.decided & {*_names(claim)}:
            for row in _rows(claim, runs, planned):
                before, later = found.verdicts[row.name], judge_exact(row, runs)
                if before.look and later.verdict == "contradicted" != before.verdict:
                    look = _first_contradicted(row, claim, runs, before.looks)
                    instrument = judge_instrument(table, runs, before.looks[look - 1])
                    if not instrument.differing or is_noisy(claim):
                        found.verdicts[row.name] = replace(later, looks=before.looks, look=look)
                        found.instruments[row.name] = instrument


def _first_contradicted(row: Row, claim: Claim, runs: Sequence[Run], looks: Sequence[int]) -> int:
    """The number of the look that has the first counter-example to an exact row; the last where repeats gave it."""
    for number, pairs in enumerate(looks, 1):
        there = next(one for one in _rows(claim, runs, pairs) if one.name == row.name)
        if judge_exact(there, runs).verdict == "contradicted":
            return number
    return len(looks)


def _voided(verdict: Verdict, found: _Found) -> Verdict:
    """The verdict, or none where the instrument takes it away, as it was at the claim's look."""
    instrument, claim = found.instruments[verdict.claim], found.claims[verdict.claim]
    if claim.kind == "measured":
        if note := found.instrument.note:
            verdict = replace(verdict, flags=(*verdict.flags, note))
        if instrument.failed:
            void = f"{FAILED_AA} (see control_again)"
            verdict = replace(verdict, verdict="inconclusive", reasons=(void, *verdict.reasons))
    if instrument.differing and not is_noisy(claim):
        verdict = replace(verdict, verdict="inconclusive", reasons=(instrument.differing, *verdict.reasons))
    if verdict.verdict == "inconclusive":
        verdict = replace(verdict, look=0)
    return verdict


def _names(claim: Claim) -> tuple[str, ...]:
    """What the rows of a claim are called."""
    return (claim.name, f"{claim.name} (elsewhere)") if claim.elsewhere else (claim.name,)


def _rows(claim: Claim, runs: Sequence[Run], planned: int) -> list[Row]:
    inside, outside = pair(claim, runs, planned)
    rows = [Row(claim, claim.name, claim.direction, inside)]
    if outside is not None and claim.elsewhere:
        rows.append(Row(claim, _names(claim)[1], claim.elsewhere, outside))
    return rows


def _decide_all(
    tested: dict[str, Tested], table: ClaimSet, looks: int, before: Mapping[str, tuple[bool, ...]]
) -> dict[str, tuple[Verdict, tuple[bool, ...]]]:
    """Holm over all hypotheses of the file at one of so many looks; those not judged here stand in it with p = 1.

    With each verdict what was rejected of its hypotheses; `before`: the same of the rows decided earlier.
    """
    values = [p for one in tested.values() for p in (one.inside, *one.outside)]
    earlier: list[bool | None] = [was for rejected in before.values() for was in rejected]
    rest = table.family - len(values) - len(earlier)
    was = [None] * len(values) + earlier + [None] * rest
    decided = holm_after(values + [1.0] * (len(earlier) + rest), table.alpha / looks, was)
    verdicts, start = {}, 0
    for name, one in tested.items():
        own = slice(start, start + 1 + len(one.outside))
        rejected = decided.rejected[own]
        verdicts[name] = decide(one, rejected, decided.level[own]), rejected
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
