"""The arms of a sweep: which runs count, which parameters tell the arms apart, and what to call them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from workbench.claims.blocks import as_number
from workbench.record import FACTS, LARGEST, Run, data_of, normalise, one_of_each_job
from workbench.record.tags import BLOCK, RESUMED_FROM

VARIANTS = ("name", "unroll")
"""Options that say which variant of their group is chosen."""
WORDS = {("rnn.pass_lengths", "true"): "lengths", ("rnn.pass_lengths", "false"): "no lengths"}
"""Values that have words of their own."""
_OWN = ("seed", "repeat")
"""Parameters that tell no arm from another; nor do FACTS, of runs that the workbench made."""


def counted(runs: Sequence[Run]) -> list[Run]:
    """The runs that a mean may be taken over: of every job the one that counts, if it has numbers.

    Sorted by block, so that nothing depends on the order in which the runs came.
    """
    return [run for run in of_jobs(runs) if run.has_numbers]


def of_jobs(runs: Sequence[Run]) -> list[Run]:
    """Of every job of the arms the run that counts, by the rule of the claims, be it one without numbers.

    The throw-away block, the control again and what was superseded are none.
    """
    own = [run for run in runs if normalise(run.params.get("repeat", "0")) == "0"]
    chosen = [run for run in one_of_each_job(data_of(own)) if not run.repeat]
    return sorted(chosen, key=lambda run: (block(run), run.run_id))


def block(run: Run) -> float:
    """The block of a run: its tag, else its seed; infinite where it has neither, or one that is no number."""
    return as_number(run.tags.get(BLOCK) or run.params.get("seed"))


def telling(runs: Sequence[Run], varying: Sequence[str]) -> list[str]:
    """The fewest of the varying parameters that tell the arms apart: names first, what only follows them left out.

    Of two that tell the same arms apart the one that bears on a result is taken: how it is measured comes last.

    >>> params = [("20", "synthetic", "batch"), ("", "code", "batch"), ("20", "synthetic", "global")]
    >>> names = ["data.mean", "data.name", "padding.name"]
    >>> telling([Run("", "", dict(zip(names, one))) for one in params], names)
    ['data.name', 'padding.name']
    """
    chosen: list[str] = []
    groups = 1
    for name in sorted(varying, key=_rank):
        told = len({tuple(run.params.get(one, "") for one in (*chosen, name)) for run in runs})
        if told > groups:
            chosen.append(name)
            groups = told
    return chosen


def _rank(name: str) -> tuple[int, str]:
    if name.endswith((".name", ".unroll", ".mask")):
        return 0, name
    if name in {known for known, _ in WORDS}:
        return 1, name
    return (3 if name.startswith("measure.") else 2), name


def unsaid(runs: Sequence[Run], names: Sequence[str]) -> dict[str, str]:
    """What arms differ in beside what their labels say: values that most arms do not have, by the arm's label.

    How an arm is measured is left out, and what all arms of one variant have (a cell's own options).
    """
    others = [one for one in varying_parameters(runs) if one not in names and not one.startswith("measure.")]
    found: dict[str, list[str]] = {}
    arms = by_arm(runs, names)
    for name in others:
        values = {arm: of_arm[0].params.get(name, "") for arm, of_arm in arms.items()}
        there = [value for value in values.values() if value]
        if len(there) < len(values):
            continue  # an option of some variants alone
        most = Counter(there).most_common(1)[0][0]
        for arm, value in values.items():
            if value != most:
                found.setdefault(arm, []).append(f"{name}={value}")
    return {arm: ", ".join(texts) for arm, texts in found.items()}


def label(run: Run, names: Sequence[str], usual: Mapping[str, str] | None = None) -> str:
    """What a run's arm is called: its values, in the order of the names, less those that are `usual`.

    A value that does not say itself what it is (a number, a yes or no) brings its name along.
    """
    told = [name for name in names if not usual or usual.get(name) != run.params.get(name, "")]
    return ", ".join(_named(name, run.params.get(name, "")) for name in told or names) or "all runs"


def usual(runs: Iterable[Run], names: Sequence[str]) -> dict[str, str]:
    """Of each option that most arms have in one way, that way: it need not be said of each of them.

    Variants (which cell, which padding) and what has words of its own are always said.
    """
    known = {tuple(run.params.get(name, "") for name in names) for run in runs}
    found = {}
    for name, values in zip(names, zip(*known, strict=True), strict=False):
        value, count = Counter(values).most_common(1)[0]
        said = name.rpartition(".")[2] in VARIANTS or (name, value.lower()) in WORDS
        if not said and 2 * count > len(known):
            found[name] = value
    return found


def by_arm(runs: Iterable[Run], names: Sequence[str]) -> dict[str, list[Run]]:
    """The runs of each arm, by its label; labels sorted, numbers in them by their size."""
    runs = list(runs)
    ways = usual(runs, names)
    arms: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        arms.setdefault(tuple(run.param(name) or "" for name in names), []).append(run)
    labels = {values: label(of_arm[0], names, ways) for values, of_arm in arms.items()}
    counts = Counter(labels.values())
    found: dict[str, list[Run]] = {}
    for values, of_arm in arms.items():
        name = labels[values]
        if counts[name] > 1:  # two options of one name, of other groups: by their whole names
            name = ", ".join(f"{key}={one or 'none'}" for key, one in zip(names, values, strict=True))
        found[name] = of_arm
    return dict(sorted(found.items(), key=lambda item: _numbers_by_size(item[0])))


def _numbers_by_size(label: str) -> list[tuple[float, str]]:
    """A key to sort labels by.

    >>> sorted(["units=128", "units=16", "gru", "units=16, layers=2"], key=_numbers_by_size)
    ['gru', 'units=16', 'units=16, layers=2', 'units=128']
    """
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", label)
    return [(float(part), "") if number % 2 else (-1.0, part) for number, part in enumerate(parts)]


def by_data(runs: Sequence[Run]) -> tuple[list[str], list[tuple[str, dict[str, list[Run]]]]]:
    """The runs of each data set by arm, arms named by what differs there; and the parameters that name any."""
    panels: list[tuple[str, dict[str, list[Run]]]] = []
    names: list[str] = []
    for data in sorted({run.params.get("data.name", "") for run in runs}):
        part = [run for run in runs if run.params.get("data.name", "") == data]
        own = telling(part, varying_parameters(part))
        names += [one for one in own if one not in names]
        panels.append((data, by_arm(part, own)))
    return names, panels


def by_block(runs: Iterable[Run]) -> dict[float, list[Run]]:
    """The runs of each block, blocks sorted; those of none are left out."""
    found: dict[float, list[Run]] = {}
    for run in runs:
        if math.isfinite(block(run)):
            found.setdefault(block(run), []).append(run)
    return dict(sorted(found.items()))


def varying_parameters(runs: Sequence[Run]) -> list[str]:
    """Parameters that differ between runs, apart from seeds, repeats and what a run finds out for itself."""
    ours = any(run.key_without is None for run in runs)
    names = sorted({name for run in runs for name in run.params} - {*_OWN, *(FACTS if ours else ())})
    return [name for name in names if len({run.params.get(name, "") for run in runs}) > 1]


def value(run: Run, metric: str) -> float | None:
    """A metric's value; None where it is missing, not finite, recorded as infinite, or timed of a part of a run."""
    found = run.metrics.get(metric)
    of_a_part = RESUMED_FROM in run.tags and run.untimed(metric)
    return found if found is not None and abs(found) < LARGEST and not of_a_part else None


def values(runs: Iterable[Run], metric: str) -> list[float]:
    """The values of those runs that have one."""
    return [found for run in runs if (found := value(run, metric)) is not None]


def short_names(arms: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What arms may be called where their sweep is known: what tells them apart, less what most of them have.

    >>> short_names({"cell=lstm padding=batch": {"cell.name": "lstm", "seed": "1"}, "x": {"cell.name": "gru"}})
    {'cell=lstm padding=batch': 'lstm', 'x': 'gru'}
    """
    runs = {arm: Run("", "", dict(params)) for arm, params in arms.items()}
    names = telling(list(runs.values()), varying_parameters(list(runs.values())))
    ways = usual(runs.values(), names)
    short = {arm: label(run, names, ways) for arm, run in runs.items()}
    counts = Counter(short.values())
    return {arm: name if len(short) > 1 and counts[name] == 1 else arm for arm, name in short.items()}


def heading(name: str) -> str:
    """What a parameter is called over a table: its group where it chooses a variant, else its own name.

    >>> [heading(one) for one in ("padding.name", "rnn.unroll", "cell.units")]
    ['padding', 'rnn', 'units']
    """
    group, _, last = name.rpartition(".")
    return group if last in VARIANTS and group else last


def _named(name: str, text: str) -> str:
    if words := WORDS.get((name, text.lower())):
        return words
    text = text.removesuffix(".0")  # a table that lacks some of its whole numbers has them as floats
    plain = text.lower() in ("true", "false", "none", "null", "") or not text[0].isalpha()
    return f"{name.rpartition('.')[2]}={text or 'none'}" if plain else text
