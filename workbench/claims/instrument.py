"""The A/A row: the first control run once more in every block, which may void a table (README.md, section 3).

It is judged as `same` with the smallest margin of the table: "instrument ok" where 1 (or 0) lies inside the 95%
interval, "watch" where it lies outside, "instrument failed" where the interval lies wholly beyond the margin;
then no measured claim of the table has a verdict. The row shows the first noisy metric of the table; another
metric whose A/A fails, fails it too. A metric that the workbench does not know counts as noisy. What no clock
measures must be equal to the last bit, or is flagged.

The arm is the bit-identity check as well: the digests of the losses, of the final weights and of the order of the
examples (tags digest.*) must be alike in the control and the control again, on a CPU always, on another device
where op determinism was on (training.deterministic). Where they are not, the row names the runs, and no claim on
a metric that no clock measures (losses, accuracies, correctness, exact claims among them) has a verdict: what
differs between its arms may be what differs between two runs of one config. Claims on speed and memory stand, as
the metric's own A/A judges them. Runs without digests, or of which the device is not recorded, say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.claims import statistics, words
from workbench.claims.blocks import blocks_of
from workbench.claims.decision import Row, describe
from workbench.claims.declaration import Claim, ClaimSet
from workbench.claims.pairing import Pair, Pairs, concerns, effect, made_on_two_machines
from workbench.claims.verdict import Verdict
from workbench.record import METRICS, Run, counted
from workbench.record.metrics import OURS
from workbench.record.tags import DIGEST_OF_LOSSES

NAME = "control_again"
FAILED_AA = "the instrument failed: the control differs from itself run again"
NOT_ALIKE = "the control run again is not bit-identical to the control"
"""How the reasons begin for which a verdict is void."""
OK, WATCH, FAILED = "instrument ok", "watch", "instrument failed"
DIGESTS = {"losses": DIGEST_OF_LOSSES, "weights": "digest.weights", "order of examples": "digest.order"}
"""What must be alike to the last bit in two runs of one config, and the tag that has its hash."""


@dataclass(frozen=True)
class Instrument:
    """The A/A row (None where there is nothing to show) and what to say beside every measured verdict."""

    row: Verdict | None
    note: str = ""
    differing: str = ""  # which runs of one config are not bit-identical; voids what no clock measures

    @property
    def failed(self) -> bool:
        """Whether the table's measured verdicts are void."""
        return self.row is not None and self.row.verdict == FAILED


def judge_instrument(table: ClaimSet, runs: Sequence[Run], planned: int) -> Instrument:
    """Judge the A/A arm of a table by the metrics of its measured claims."""
    measured = [claim for claim in table.claims if claim.kind == "measured"]
    if not table.claims[0].control_again:
        return Instrument(None)
    # of others' runs those of the table: nobody planned their blocks
    runs = [run for run in runs if run.key_without is None or any(concerns(one, run) for one in table.claims)]
    differing = _differing(table.claims[0].block, runs, planned)
    if not measured:
        return Instrument(None, differing=differing)
    if not any(run.repeat for run in runs):
        return Instrument(None, "control_again is declared, but the sweep has no such runs: no A/A check")
    noisy = {claim.metric: claim for claim in reversed(measured) if _may_be_noisy(claim)}
    shown = next((claim for claim in measured if _may_be_noisy(claim)), measured[0])
    rows = {
        metric: _judge(claim, table, runs, planned)
        for metric, claim in {**noisy, shown.metric: shown}.items()
    }
    row = rows.pop(shown.metric)
    for metric, other in rows.items():
        if other.verdict == FAILED:
            row = replace(row, verdict=FAILED, reasons=(*row.reasons, f"{metric}: {other.finding}"))
        elif other.verdict == WATCH:
            row = replace(row, flags=(*row.flags, f"also to watch: {other.finding}"))
    exact = {claim.metric: claim for claim in table.claims if not _may_be_noisy(claim)}
    unequal = [
        line for claim in exact.values() for line in _unequal(_pairs(claim, runs, planned), claim.metric)
    ]
    row = replace(row, flags=(*row.flags, *unequal))
    if differing:
        verdict = row.verdict if is_noisy(shown) else FAILED
        row = replace(row, verdict=verdict, reasons=(*row.reasons, differing))
    return Instrument(row, differing=differing)


def _judge(claim: Claim, table: ClaimSet, runs: Sequence[Run], planned: int) -> Verdict:
    margin = _smallest_margin(claim, table)
    natural = math.exp(margin) if claim.scale == "ratio" else margin
    again = replace(
        claim,
        name=NAME,
        statement="The control, run once more, is no different from the control.",
        treatment={"workbench.repeat": 1},
        direction="same",
        smallest=natural,
        over={},
        scope="average",
        where=(),
        elsewhere=None,
    )
    row = Row(again, NAME, "same", _pairs(claim, runs, planned))
    y = row.pairs.effects().mean(axis=1)
    made = replace(
        describe(row, y), kind="instrument", sha=table.sha, treatment="control again", control="control"
    )
    low, high = map(float, statistics.interval(y, claim.confidence)) if len(y) > 1 else (math.nan, math.nan)
    made = replace(made, finding=words.finding(made, (low, high), again))
    if len(y) < statistics.MINIMUM_BLOCKS:
        return replace(
            made, reasons=(f"{len(y)} complete A/A pairs; at least {statistics.MINIMUM_BLOCKS} are needed",)
        )
    beyond = margin > 0 and (low > margin or high < -margin)
    made = replace(
        made,
        verdict=FAILED if beyond else OK if low <= 0 <= high else WATCH,
        decision_interval=made.interval,
        decided_at=claim.confidence,
    )
    if statistics.constant(y[:, None], claim.scale).any():
        return made
    region = (-margin, margin)
    outside = min(float(p) for p in statistics.p_outside(y, region))
    return replace(made, p_reproduced=float(statistics.p_inside(y, region)), p_contradicted=outside)


def _pairs(claim: Claim, runs: Sequence[Run], planned: int) -> Pairs:
    """(again, first) for every key that was repeated, in the counted blocks; all of a block are averaged."""
    blocks, _ = blocks_of(claim.block, runs, planned)
    first: dict[object, list[Run]] = {}
    again: dict[object, list[Run]] = {}
    for run in runs:
        (again if run.repeat else first).setdefault(run.repeated, []).append(run)
    pairs = []
    for key, attempts in again.items():
        block = attempts[0].value(claim.block)
        lowest = min(run.repeat for run in attempts)
        repeat = counted([run for run in attempts if run.repeat == lowest], claim.metric)
        if block in blocks:
            pairs.append(_pair(claim, str(block), repeat, counted(first.get(key, []), claim.metric)))
    there = {one.block for one in pairs}
    pairs += [
        Pair(block, (), None, None, math.nan, "no run", "A/A") for block in blocks if block not in there
    ]
    return Pairs(planned, blocks, ((),), tuple(_one_a_block(pairs)), {}, ())


def _pair(claim: Claim, block: str, again: Run | None, first: Run | None) -> Pair:
    for run, arm in ((again, "treatment"), (first, "control")):
        failure = run.failure(claim.metric) if run else "no run"
        if failure:
            return Pair(block, (), again, first, math.nan, failure, arm)
    assert again is not None
    assert first is not None
    if why := made_on_two_machines(claim, again, first):
        return Pair(block, (), again, first, math.nan, why, "both")
    y = effect(claim.scale, again.metrics[claim.metric], first.metrics[claim.metric])
    failure = "" if math.isfinite(y) else "no ratio"
    return Pair(block, (), again, first, y, failure, "both" if failure else "")


def _one_a_block(pairs: Sequence[Pair]) -> list[Pair]:
    by_block: dict[str, list[Pair]] = {}
    for one in pairs:
        by_block.setdefault(one.block, []).append(one)
    made = []
    for many in by_block.values():
        failed = [one for one in many if one.failure]
        made.append(failed[0] if failed else replace(many[0], y=float(np.mean([one.y for one in many]))))
    return made


def _smallest_margin(claim: Claim, table: ClaimSet) -> float:
    """The smallest margin above nothing of the claims on this scale (on this metric, for differences); else 0."""
    alike = [
        one.margin
        for one in table.claims
        if one.kind == "measured"
        and one.scale == claim.scale
        and (claim.scale == "ratio" or one.metric == claim.metric)
        and one.margin > 0
    ]
    return min(alike, default=0.0)


def _unequal(pairs: Pairs, metric: str) -> list[str]:
    return [
        f"not bit-identical: {metric} of the control and the control again in block {one.block} "
        f"(runs {', '.join(one.run_ids)})"
        for one in pairs.pairs
        if not one.failure and one.y != 0
    ]


def _differing(block: str, runs: Sequence[Run], planned: int) -> str:
    """Every run of a repeated key that is not bit-identical to the key's first, in one sentence; else nothing."""
    blocks, _ = blocks_of(block, runs, planned)
    repeated = {run.repeated for run in runs if run.repeat}
    alike: dict[object, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.repeat, run.order)):
        is_counted = run.finished and run.value(block) in blocks
        if run.repeated in repeated and is_counted and _digests(run):
            alike.setdefault(run.repeated, []).append(run)
    found = []
    for first, *others in alike.values():
        for run in others:
            pairs = ((word, _digests(run).get(word), _digests(first).get(word)) for word in DIGESTS)
            what = [word for word, one, other in pairs if one and other and one != other]
            if what and _must_be_identical(run, first):
                found.append(
                    f"{', '.join(what)} in block {first.value(block)} (runs {run.run_id}, {first.run_id})"
                )
    if not found:
        return ""
    return f"{NOT_ALIKE}: {'; '.join(found)}"


def _digests(run: Run) -> dict[str, str]:
    return {word: run.tags[tag] for word, tag in DIGESTS.items() if run.tags.get(tag)}


def _must_be_identical(one: Run, other: Run) -> bool:
    device = one.value("device")
    if device is None or device != other.value("device") or one.other_machine(other):
        return False
    return device == "cpu" or all(run.value("training.deterministic") == "true" for run in (one, other))


def _may_be_noisy(claim: Claim) -> bool:
    """Whether a claim's metric is noisy, or is none of the workbench's: what measures it is not known."""
    return is_noisy(claim) or claim.metric not in OURS


def is_noisy(claim: Claim) -> bool:
    """Whether a clock or the operating system measures the claim's metric."""
    return claim.metric in METRICS and METRICS[claim.metric].noisy
