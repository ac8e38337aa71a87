"""What was trained, as a table: medians over epochs and seeds, ratios paired by epoch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.about import made_by
from experiments.timing import ratio

OURS = "accelerate"


def runs_of(found: Mapping[str, Any], task: str, padding: str) -> dict[str, list[list[dict[str, Any]]]]:
    """arm -> seed -> its epochs."""
    arms: dict[str, list[list[dict[str, Any]]]] = {}
    for run in found["runs"]:
        if (run["task"], run["padding"]) == (task, padding):
            arms.setdefault(run["arm"], []).append(run["epochs"])
    return arms


def later(seeds: Sequence[Sequence[Mapping[str, Any]]], what: str) -> list[float]:
    """Of each epoch but the first of each seed, in which graphs are traced and compiled."""
    return [float(epoch[what]) for epochs in seeds for epoch in (epochs[1:] or epochs)]


def target(arms: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> float:
    """The accuracy that every seed of every arm with an RNN came to: the smallest of their best."""
    best = [
        max(e["accuracy"] for e in epochs)
        for arm, seeds in arms.items()
        if arm != "no rnn"
        for epochs in seeds
    ]
    return min(best)


def to_target(seeds: Sequence[Sequence[Mapping[str, Any]]], accuracy: float) -> list[float]:
    """Seconds of training, its first epoch included, until the accuracy was reached; of each seed."""
    taken = []
    for epochs in seeds:
        first = next(i for i, one in enumerate(epochs) if one["accuracy"] >= accuracy)
        taken.append(sum(one["seconds"] for one in epochs[: first + 1]))
    return taken


def line(found: Mapping[str, Any], task: str, padding: str) -> str:
    """A setting in one line."""
    arms = runs_of(found, task, padding)
    seconds = {arm: statistics.median(later(seeds, "seconds")) for arm, seeds in arms.items()}
    return f"{task}, {padding}: " + ", ".join(f"{arm} {s:.1f} s an epoch" for arm, s in seconds.items())


def markdown(found: Mapping[str, Any]) -> str:
    """The tables: of each task and padding a row an arm, then what follows for `accelerate`."""
    text = [
        "# End to end\n",
        f"{made_by('experiments.end_to_end', found)}. "
        f"LSTMs of {found['units']} units in both directions, batches of 32.\n",
        "| task | padding | arm | s an epoch | first epoch | s to the accuracy | accuracy | CPU a second | "
        "longest step | pages from disk | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    said = []
    for task, padding in dict.fromkeys((run["task"], run["padding"]) for run in found["runs"]):
        arms = runs_of(found, task, padding)
        reached = target(arms)
        for arm, seeds in arms.items():
            text.append(_row(task, padding, arm, seeds, reached))
        if OURS in arms:
            said.append(_said(task, padding, arms, reached))
    return "\n".join([*text, "", *said]) + "\n"


def _row(task: str, padding: str, arm: str, seeds: Sequence[Any], reached: float) -> str:
    seconds, last = later(seeds, "seconds"), [epochs[-1]["accuracy"] for epochs in seeds]
    longest = [epoch["longest_step_s"] for epochs in seeds for epoch in epochs[1:] if epoch["longest_step_s"]]
    cells = [
        task,
        padding,
        arm,
        f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
        f"{statistics.median(epochs[0]['seconds'] for epochs in seeds):.1f}",
        "" if arm == "no rnn" else f"{statistics.median(to_target(seeds, reached)):.0f} to {reached:.1%}",
        f"{statistics.mean(last):.1%} ({min(last):.1%} to {max(last):.1%})",
        f"{sum(later(seeds, 'cpu_s')) / sum(seconds):.2f}",
        f"{max(longest):.2f} s" if longest else "",
        f"{sum(later(seeds, 'major_faults')):.0f}",
        f"{max(epochs[-1]['peak_mb'] for epochs in seeds):.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def _said(task: str, padding: str, arms: Mapping[str, Any], reached: float) -> str:
    ours = later(arms[OURS], "seconds")
    parts = []
    for arm in arms:
        if arm in (OURS, "no rnn"):
            continue
        times, low, high = ratio(_turns(arms[arm]), _turns(arms[OURS]))
        to = statistics.median(to_target(arms[arm], reached)) / statistics.median(
            to_target(arms[OURS], reached)
        )
        parts.append(
            f"{times:.1f}x as fast as {arm} an epoch [{low:.1f}, {high:.1f}], {to:.1f}x to the accuracy"
        )
    if "no rnn" in arms:
        share = statistics.median(later(arms["no rnn"], "seconds")) / statistics.median(ours)
        parts.append(f"{share:.0%} of its epoch is what the model takes without an RNN")
    return f"- {task}, {padding} padding: `accelerate` is " + "; ".join(parts) + "."


def _turns(seeds: Sequence[Any]) -> np.ndarray:
    """An epoch of all arms is a turn."""
    return np.array(later(seeds, "seconds"))[:, None]
