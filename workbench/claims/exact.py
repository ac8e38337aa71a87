"""Exact claims: the relation holds for every pair and every repeat, or one counter-example contradicts it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from workbench.claims import statistics
from workbench.claims.decision import Row, describe
from workbench.claims.pairing import Pair, effect
from workbench.claims.verdict import Verdict
from workbench.record import Run
from workbench.record.metrics import LARGEST

MINIMUM_BLOCKS = 2


def judge_exact(row: Row, runs: Sequence[Run]) -> Verdict:
    """The verdict of an exact row; `runs` are all of the sweep, for the repeats of its keys.

    At least 2 blocks; `tolerance` widens the region (for a ratio as a factor of 1 + tolerance). Failed blocks
    count against it as section 2.6 says. Exact claims have no error rate and stay out of Holm's family.
    """
    with np.errstate(invalid="ignore"):  # infinite ratios of both signs in one block
        made = describe(row, row.pairs.effects().mean(axis=1))
    complete_pairs = [one for one in row.pairs.pairs if not one.failure]
    holding = sum(_holds(row, one.y) for one in complete_pairs)
    made = replace(
        made, agree=holding, finding=f"holds in {holding} of {len(complete_pairs)} pairs: {made.finding}"
    )
    against = [*_counter_examples(row), *_no_numbers(row), *_unequal_repeats(row, runs)]
    if against:
        return replace(made, verdict="contradicted", reasons=tuple(against))
    complete, planned = len(row.pairs.complete), row.pairs.planned
    if row.pairs.missing:
        return replace(made, reasons=(row.pairs.missing,))
    if complete < MINIMUM_BLOCKS:
        return replace(made, reasons=(f"{complete} complete blocks; an exact claim needs {MINIMUM_BLOCKS}",))
    if complete < planned and not statistics.forgives(planned, complete, 1 - row.claim.confidence):
        return replace(made, reasons=(f"{complete} of {planned} planned blocks are complete: too few",))
    return replace(made, verdict="reproduced")


def _counter_examples(row: Row) -> Iterator[str]:
    for pair in row.pairs.pairs:
        if not pair.failure and not _holds(row, pair.y):
            yield f"counter-example in block {pair.block}: {_values(row, pair)} (runs {', '.join(pair.run_ids)})"


def _no_numbers(row: Row) -> Iterator[str]:
    """Pairs of others' runs of which one logged NaN, or what is endless, and the other a number."""
    metric = row.claim.metric
    for pair in row.pairs.pairs:
        runs = pair.runs
        ended = all(run.key_without is not None and run.finished for run in runs)
        wrong = [run for run in runs if run.is_nan(metric) or abs(run.metrics.get(metric, 0.0)) >= LARGEST]
        there = all(run.is_nan(metric) or metric in run.metrics for run in runs)
        if len(runs) == 1 + ("value" not in row.claim.control) and ended and there and len(wrong) == 1:
            value = wrong[0].metrics.get(metric, math.nan)
            yield (
                f"counter-example in block {pair.block}: {metric} is {value!r} in run {wrong[0].run_id} alone "
                f"(runs {', '.join(pair.run_ids)})"
            )


def _unequal_repeats(row: Row, runs: Sequence[Run]) -> Iterator[str]:
    """Later attempts, A/A runs and runs set aside that repeat a pair's own runs and give another value."""
    metric, tolerance = row.claim.metric, _tolerance(row)
    used = {run.run_id: run for pair in row.pairs.pairs for run in pair.runs}
    for first in used.values():
        for run in runs:
            same = run.repeated == first.repeated and run.run_id not in used
            if same and not run.lacking(metric) and not first.lacking(metric):
                apart = effect(row.claim.scale, run.metrics[metric], first.metrics[metric])
                if not abs(apart) <= tolerance + _rounding(tolerance):
                    yield (
                        f"a repeat differs: {metric} is {run.metrics[metric]!r} in run {run.run_id} and "
                        f"{first.metrics[metric]!r} in run {first.run_id}"
                    )


def _holds(row: Row, y: float) -> bool:
    low, high = row.region
    tolerance = _tolerance(row)
    low, high = low - tolerance, high + tolerance
    return bool(low - _rounding(low) <= y <= high + _rounding(high)) and not np.isnan(y)


def _rounding(bound: float) -> float:
    """What a difference or a logarithm of decimals may be off at a bound: 0.9 - 0.8 is below 0.1; nothing at 0."""
    return 1e-9 * abs(bound) if math.isfinite(bound) else 0.0


def _tolerance(row: Row) -> float:
    return math.log1p(row.claim.tolerance) if row.claim.scale == "ratio" else row.claim.tolerance


def _values(row: Row, pair: Pair) -> str:
    metric = row.claim.metric
    control = pair.control.metrics[metric] if pair.control else row.claim.control["value"]
    treatment = pair.treatment.metrics[metric] if pair.treatment else None
    return f"{metric} is {treatment!r} in the treatment and {control!r} in the control"
