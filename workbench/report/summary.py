"""A single run in a few lines, as the command ends with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from workbench.report import numbers


def summary_lines(
    params: Mapping[str, Any], metrics: Mapping[str, float], run_id: str, where: str
) -> list[tuple[str, str]]:
    """A single run in a few (heading, words): what ran, speed, loss, accuracy, how wrong without lengths, where.

    What was not measured is left out; nothing is made up for it.
    """

    def has(name: str) -> bool:
        return isinstance(metrics.get(name), int | float)

    def said(name: str) -> str:
        return numbers.number(metrics[name]) + numbers.spaced_unit(name)

    budget = params.get("padding.token_budget") not in (None, "", "null")
    shown = {**_RAN, "padding.token_budget": "at most tokens a batch"} if budget else _RAN
    unused = {"data.batch_size"} if budget else set()
    ran = [
        f"{label} {params[name]}"
        for name, label in shown.items()
        if params.get(name) not in (None, "") and name not in unused
    ]
    lines = [("ran", ", ".join(ran) or numbers.NOTHING)]
    if has("speed/valid_tokens_per_s"):
        words = said("speed/valid_tokens_per_s") + " (valid)"
        if has("speed/padded_tokens_per_s"):
            words += f", {said('speed/padded_tokens_per_s')} with padding"
        if has("speed/step_p50_ms"):
            words += f", median step {said('speed/step_p50_ms')}"
        lines.append(("speed", words))
    if has("data/padding_share"):
        words = f"{numbers.percent(metrics['data/padding_share'])} of positions"
        if has("data/predicted_padding_share"):
            words += f" (predicted {numbers.percent(metrics['data/predicted_padding_share'])})"
        lines.append(("padding", words))
    for group in ("loss", "accuracy"):
        show = said if group == "loss" else lambda name: numbers.percent(metrics[name])
        for per in ("token", "example"):
            parts = [
                f"{split} {show(name)}"
                for split in ("validation", "test", "train")
                if has(name := f"{group}/{split}_per_{per}")
            ]
            if parts:
                lines.append((group, f"{', '.join(parts)} (per {per})"))
                break
    if has("perplexity/validation"):
        splits = [split for split in ("validation", "test", "train") if has(f"perplexity/{split}")]
        words = ", ".join(f"{split} {numbers.number(metrics[f'perplexity/{split}'])}" for split in splits)
        lines.append(("perplexity", f"{words} (per token)"))
    wrong = [
        f"{thing} {numbers.number(metrics[without])}"
        + (f" (with lengths {numbers.number(metrics[given])})" if has(given) else "")
        for what, thing in (("output", "outputs"), ("state", "final states"))
        if has(without := f"correctness/max_abs_error_{what}_without_lengths")
        for given in (f"correctness/max_abs_error_{what}_with_lengths",)
    ]
    if not wrong and has("correctness/max_abs_error_output_with_lengths"):
        wrong = ["not known, as no batch that is evaluated has padding"]
    if wrong:
        lines.append(("without lengths", f"largest error: {', '.join(wrong)}"))
    lines.append(("recorded", f"run {run_id} at {where}"))
    return lines


def in_brief(metrics: Mapping[str, float]) -> list[str]:
    """What a finished job found, in few words: its speed, and its validation loss, per token or per example.

    >>> in_brief({"speed/valid_tokens_per_s": 91308.2, "loss/validation_per_token": 1.5559})
    ['91,308 tokens/s', 'loss 1.556']
    """
    losses = (("loss/validation_per_token", "loss"), ("loss/validation_per_example", "loss an example"))
    speed = metrics.get("speed/valid_tokens_per_s")
    found = [] if speed is None else [f"{numbers.number(speed)} tokens/s"]
    words = [f"{label} {numbers.number(metrics[name])}" for name, label in losses if name in metrics]
    return [*found, *words[:1]]


def summary_of_run(
    params: Mapping[str, Any], metrics: Mapping[str, float], run_id: str, where: str
) -> RenderableType:
    """`summary_lines` for a terminal."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for heading, words in summary_lines(params, metrics, run_id, where):
        grid.add_row(heading, Text(words))
    return Panel(Group(grid), title="run", title_align="left", expand=False)


_RAN = {
    "data.name": "data",
    "padding.name": "padding",
    "data.batch_size": "batches of",
    "rnn.unroll": "rnn",
    "rnn.direction": "direction",
    "cell.name": "cell",
    "cell.units": "units",
    "loss.mask": "loss mask",
    "loss.average": "average per",
    "seed": "seed",
}
