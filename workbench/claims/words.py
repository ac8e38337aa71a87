"""What a verdict says in words: the arms, the finding, the failures and the flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from workbench.claims import statistics
from workbench.claims.declaration import Claim
from workbench.claims.pairing import Pair, Pairs
from workbench.claims.verdict import Interval, Verdict
from workbench.record import METRICS, normalise

ANSWERED_BY = {"higher": "higher", "not_higher": "higher", "lower": "lower", "not_lower": "lower", "same": ""}
"""The side on which a bound answers the claim."""


def arm(values: Mapping[str, Any]) -> str:
    """An arm as the reader types it.

    >>> arm({"padding.name": "batch", "rnn.pass_lengths": True})
    'padding.name=batch, rnn.pass_lengths=true'
    """
    if "value" in values:
        return f"{values['value']}"
    return ", ".join(f"{name}={normalise(value)}" for name, value in values.items())


def unit(claim: Claim) -> str:
    """The unit of the effect: `times` for a ratio, else the metric's."""
    if claim.scale == "ratio":
        return "times"
    return METRICS[claim.metric].unit if claim.metric in METRICS else ""


def effect_word(interval: Interval, margin: float, direction: str = "same") -> str:
    """What the interval shows, be it claimed or not; all on the scale of the statistic.

    >>> [effect_word(one, 0.2) for one in ((0.3, 0.4), (0.1, 0.4), (0.05, 0.1), (-0.1, 0.1), (-0.3, 0.4))]
    ['higher', 'higher, size open', 'higher, but less than worth the name', 'no difference', 'unresolved']
    >>> effect_word((0.0, 0.0), 0.0), effect_word((0.1, 0.1), 0.0)
    ('no difference', 'higher')
    >>> effect_word((-0.3, 0.1), 0.2, "higher"), effect_word((-0.1, 0.3), 0.2, "higher")
    ('not higher by as much as is worth the name', 'unresolved, but not lower by as much as is worth the name')
    """
    low, high = interval
    if low == high == 0:
        return "no difference"
    if low > 0 or high < 0:
        word, near, far = ("higher", low, high) if low > 0 else ("lower", -high, -low)
        if far < margin:
            return f"{word}, but less than worth the name"
        return word if near > margin else f"{word}, size open"
    if -margin < low and high < margin:
        return "no difference"
    if high < margin or low > -margin:
        bounded = "higher" if high < margin else "lower"
        word = f"not {bounded} by as much as is worth the name"
        return word if ANSWERED_BY[direction] == bounded else f"unresolved, but {word}"
    return "unresolved"


def finding(verdict: Verdict, interval: Interval | None, claim: Claim) -> str:
    """One sentence with its numbers; `interval` is on the scale of the statistic, None where there is none."""
    count = f"{verdict.pairs} of {verdict.planned} pairs"
    if verdict.effect is None:
        return f"no complete pair of {verdict.planned} planned"
    compared = f"{verdict.metric}, {verdict.treatment} against {verdict.control}"
    unit = "" if verdict.unit in ("1", "") else f" {verdict.unit}"
    if interval is None or verdict.interval is None:
        return f"{compared}: {verdict.effect:.4g}{unit} ({count})"
    margin, (low, high) = claim.margin, verdict.interval
    word = effect_word(interval, margin, verdict.direction)
    if (
        verdict.direction == "same"
        and -margin < interval[0]
        and interval[1] < margin
        and word != "no difference"
    ):
        word = f"no difference worth the name ({word})"
    digits = "#.4g" if verdict.scale == "ratio" else ".4g"  # 1.000 times, but a difference of 0
    span = f"{100 * claim.confidence:.4g}% interval {low:{digits}} to {high:{digits}}"
    worth = f"worth the name: {verdict.smallest:g}"
    return f"{word}: {compared}: {verdict.effect:{digits}}{unit} ({span}, {count}; {worth})"


def failure(pair: Pair) -> dict[str, Any]:
    """A failed pair: where, which arm, which runs, why."""
    return {
        "block": pair.block,
        "condition": dict(pair.condition),
        "arm": pair.failed_arm,
        "runs": list(pair.failed_ids),
        "why": pair.failure,
    }


def flags(claim: Claim, pairs: Pairs) -> Iterator[str]:
    """What a reader must know beside the verdict; none of it changes the verdict."""
    if pairs.unused:
        counts = (f"{n} {why if n > 1 else why.removesuffix('s')}" for why, n in sorted(pairs.unused.items()))
        yield f"runs not used: {', '.join(counts)}"
    failed = sorted({one.block for one in pairs.pairs if one.failure})
    if failed:
        runs = dict.fromkeys(run for one in pairs.pairs if one.failure for run in one.failed_ids)
        whys = sorted({f"{one.failed_arm} {one.failure}" for one in pairs.pairs if one.failure})
        yield (
            f"{len(pairs.complete)} of {pairs.planned} blocks complete; failed: {', '.join(whys)}"
            + (f" (runs {', '.join(runs)})" if runs else "")
        )
    if len(pairs.blocks) < pairs.planned:
        yield f"{pairs.planned - len(pairs.blocks)} of {pairs.planned} planned blocks have no runs at all"
    ours = all(run.key_without is None for one in pairs.pairs for run in one.runs)
    if ours and claim.metric.startswith(("loss/", "accuracy/")):
        yield from _diverged(claim, pairs)
    yield from pairs.notes
    yield from _outliers(claim, pairs)


def _diverged(claim: Claim, pairs: Pairs) -> Iterator[str]:
    arms = {
        "treatment": [one.treatment for one in pairs.pairs],
        "control": [one.control for one in pairs.pairs],
    }
    if "value" in claim.control:
        del arms["control"]
    counts = {name: sum(run is not None and run.diverged for run in runs) for name, runs in arms.items()}
    yield "diverged runs: " + ", ".join(
        f"{name} {count} of {len(arms[name])}" for name, count in counts.items()
    )


def _outliers(claim: Claim, pairs: Pairs) -> Iterator[str]:
    effects = pairs.effects()
    if claim.kind == "exact" or len(effects) < 3:
        return
    at = {(one.block, one.condition): one for one in pairs.pairs}
    for block, condition in np.argwhere(statistics.outliers(effects)):
        one = at[pairs.complete[block], pairs.conditions[condition]]
        yield f"block {one.block}: residual beyond 5 MAD, kept (runs {', '.join(one.run_ids)})"
