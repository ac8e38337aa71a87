"""Verdicts and runs as tables: for the terminal (rich), for a page (Markdown), for a spreadsheet (CSV)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from workbench.claims import NOT_ASSESSABLE, Verdict
from workbench.record import METRICS, Run
from workbench.record.metrics import OURS
from workbench.report import arms, said
from workbench.report.numbers import (
    NOTHING,
    decimals,
    effect_words,
    pairs_words,
    rounded,
    sized,
)
from workbench.wording import counted

# What a line of the table of runs shows, where it was measured.
MAIN_METRICS = {
    "speed/valid_tokens_per_s": "speed",
    "data/padding_share": "padding",
    "loss/validation_per_token": "validation loss",
    "loss/validation_per_example": "validation loss",
    "accuracy/validation_per_token": "accuracy",
    "accuracy/validation_per_example": "accuracy",
    "perplexity/validation": "perplexity",
    "accuracy/test_per_token": "test accuracy",
    "accuracy/test_per_example": "test accuracy",
    "memory/rss_growth_mb": "memory growth",
    "speed/graph_build_s": "graph build",
}
"""Of what is measured per token and per example the first that there is."""
_SHARES = (
    "data/padding_share",
    *(name for name in MAIN_METRICS if name.startswith("accuracy/")),
)  # in percent
_CSV = [
    one.name
    for one in fields(Verdict)
    if one.name not in ("interval", "decision_interval", "by_condition", "tolerance", "looks", "look")
]
_CSV[1:1] = ["label"]
_CSV += ["interval_low", "interval_high", "decision_low", "decision_high"]


WORDS = ("reproduced", "contradicted", "inconclusive", NOT_ASSESSABLE)
"""What a verdict may say of a claim."""


# -- verdicts


def verdict_markdown(verdicts: Sequence[Verdict]) -> str:
    """The same for a page, with the whole finding; ends without a newline."""
    rows = [
        (
            f"`{one.claim}`" + (f": {one.statement}" if one.statement else ""),
            f"**{one.label}**",
            said.value(one),
            said.claimed(one),
            pairs_words(one),
            "; ".join((one.finding, *said.reasons(one))),
        )
        for one in claimed(verdicts)
    ]
    if not rows:
        return "No claim was judged."
    head = ["claim", "verdict", f"measured [{level(verdicts)} interval]", "claimed", "pairs", "finding"]
    return markdown(head, rows)


def verdict_csv(verdicts: Sequence[Verdict]) -> str:
    """The verdicts, A/A included, as CSV text: a line each, every field flat, numbers as computed."""
    columns = [*_CSV, "look"] if any(one.looks for one in verdicts) else _CSV
    frame = pd.DataFrame([_flat(one) for one in verdicts], columns=columns)
    return frame.to_csv(index=False, lineterminator="\n")


def instrument_line(verdicts: Sequence[Verdict]) -> str:
    """What the A/A arm says: the control, run once more, against itself."""
    rows = [one for one in verdicts if one.kind == "instrument"]
    if not rows:
        return "A/A: the sweep has no control that was run again; the instrument is unchecked."
    row = rows[0]
    again = f"A/A: {row.label}: {said.title(row.metric)} of the control run once more is"
    line = f"{again} {effect_words(row)} of the control"
    if row.scale != "ratio":
        line = f"{again} off by {effect_words(row)}"
    return "; ".join((f"{line} ({pairs_words(row)} pairs)", *row.reasons))


def breakdown_markdown(verdicts: Sequence[Verdict]) -> str:
    """Each claim by its conditions. "Not judged": a condition picked after the runs is not a claim.

    Empty where no claim has more than one condition.
    """
    rows = []
    for one in claimed(verdicts):
        for part in one.by_condition:
            condition = ", ".join(f"{name}={value}" for name, value in part["condition"].items())
            judged = "judged (every condition must hold)" if part.get("judged") else "not judged"
            size = sized(part["effect"], part["interval"], one)
            rows.append((f"`{one.claim}`", condition, size, str(part["pairs"]), judged))
    if not rows:
        return ""
    return markdown(["claim", "condition", f"effect [{level(verdicts)} interval]", "pairs", ""], rows)


def headline(verdicts: Sequence[Verdict]) -> str:
    """How many claims came out how: "9 claims: 6 reproduced, 2 contradicted, 1 inconclusive"."""
    rows = claimed(verdicts)
    if not rows:
        return "no claim was judged"
    counts = ((word, sum(one.verdict == word for one in rows)) for word in WORDS)
    return (
        f"{counted(len(rows), 'claim')}: {', '.join(f'{number} {word}' for word, number in counts if number)}"
    )


def claimed(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts on claims: all but the A/A row."""
    return [one for one in verdicts if one.kind != "instrument"]


# -- runs


def runs_markdown(runs: Sequence[Run]) -> str:
    """The same as Markdown."""
    summary, names, metrics = summarised(runs)
    if not summary:
        return "No run finished."
    titles = [" / ".join(map(arms.heading, names)) or "arm", "n", *map(head, metrics)]
    return markdown(titles, [(arm, str(count), *cells) for arm, count, cells in summary])


def unsaid_words(runs: Sequence[Run]) -> str:
    """What the arms of `runs_markdown` differ in beside what they are called by; empty where that is all."""
    runs = arms.of_jobs(runs)
    found = arms.unsaid(runs, arms.telling(runs, arms.varying_parameters(runs)))
    return "; ".join(f"{arm}: {text}" for arm, text in found.items())


Summary = list[tuple[str, int, list[str]]]


def summarised(
    runs: Sequence[Run], varying: Sequence[str] | None = None
) -> tuple[Summary, list[str], list[str]]:
    """For each arm: its name, its number of runs that finished, a cell for each main metric that any run has."""
    runs = arms.of_jobs(runs)
    names = arms.telling(runs, arms.varying_parameters(runs) if varying is None else varying)
    metrics = main_metrics(run for run in runs if run.has_numbers)
    table = []
    for arm, of_arm in arms.by_arm(runs, names).items():
        group = [run for run in of_arm if run.has_numbers]
        table.append((arm, len(group), [_mean(arms.values(group, one), len(group), one) for one in metrics]))
    return table, names, metrics


def main_metrics(runs: Iterable[Run]) -> list[str]:
    """The main metrics that any of the runs has, and those that a file names of runs that others made.

    What is told per token is not told per example too.
    """
    runs = list(runs)
    titles: dict[str, str] = {}
    of_others = {name: name for name in METRICS if name not in OURS}
    for name, title in (MAIN_METRICS | of_others).items():
        if arms.values(runs, name):
            titles.setdefault(title, name)
    return list(titles.values())


def title(metric: str) -> str:
    """What a main metric is called; one of others' runs by its name."""
    return MAIN_METRICS.get(metric, metric)


def skipped_markdown(skipped: Sequence[tuple[Any, str]]) -> str:
    """The combinations that a sweep left out, each with its reason."""
    if not skipped:
        return "None."
    return markdown(["combination", "why it was skipped"], [(_overrides(one), why) for one, why in skipped])


def failures_markdown(failures: Sequence[Sequence[Any]]) -> str:
    """The jobs that failed, each with its reason and its run."""
    if not failures:
        return "None."
    rows = [(str(job), _plain(str(why)), str(run)) for job, why, run in failures]
    return markdown(["job", "why it failed", "run"], rows)


def _plain(text: str) -> str:
    r"""A text whose letters mean nothing to Markdown.

    >>> print(_plain("<Tensor _x>: y*"))
    \<Tensor \_x>: y\*
    """
    return re.sub(r"([\\`*_<\[])", r"\\\1", text)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line ends inside cells cannot break it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(one) for one in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def level(verdicts: Iterable[Verdict]) -> str:
    """The confidence of the rows' own intervals."""
    return f"{100 * next((one.confidence for one in verdicts), 0.95):.3g}%"


def head(metric: str, between: str = ", ") -> str:
    """A main metric's column: its name and its unit."""
    unit = "%" if metric in _SHARES else METRICS[metric].unit
    return title(metric) + (f"{between}{unit}" if unit != "1" else "")


def _mean(values: Sequence[float], runs: int, metric: str) -> str:
    if not values:
        return NOTHING
    known = np.array(values) * (100 if metric in _SHARES else 1)
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    if spread < 1e-9 * abs(known.mean()):
        spread = 0.0  # the same number, but for its last bits
    digits = decimals(spread)
    words = rounded(float(known.mean()), digits)
    if math.isfinite(spread):
        words += f" ± {rounded(spread, digits)}"
    return words + (f" (n {len(known)})" if len(known) < runs else "")


def _overrides(one: Any) -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, Mapping):
        return ", ".join(f"{name}={value}" for name, value in one.items())
    return ", ".join(map(str, one))


def _flat(one: Verdict) -> dict[str, Any]:
    low, high = one.interval or (None, None)
    thin_low, thin_high = one.decision_interval or (None, None)
    return {
        **one.to_json(),
        "interval_low": low,
        "interval_high": high,
        "decision_low": thin_low,
        "decision_high": thin_high,
        "failed": len(one.failed),
        "reasons": "; ".join(one.reasons),
        "flags": "; ".join(one.flags),
    }
