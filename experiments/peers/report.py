"""What was measured, printed and written: goals, ratios, arms, figures, and the machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.peers.figures import write_figures
from experiments.peers.rows import Row, against
from experiments.peers.settings import ARMS, KERAS, PACKED, QUANTITIES, TORCH
from workbench.report.tables import markdown

PEERS = (KERAS, *TORCH, "dynamic")
Line = Sequence[str]


def show(rows: Sequence[Row], facts: Mapping[str, str], console: Console) -> None:
    """Prints goals, ratios and what was slower."""
    for title, head, lines in (
        ("Goals", GOALS, goal_lines(rows)),
        ("rnn=packed, times as fast as", _ratio_head(), ratio_lines(rows)),
        ("Arms", ARMS_HEAD, arm_lines(rows)),
    ):
        if lines:
            table = Table(*head, title=title, box=box.SIMPLE_HEAD, title_justify="left")
            for line in lines:
                table.add_row(*line)
            console.print(table)
    for line in [*closing(rows), *refusals(rows)]:
        console.print(line, markup=False)
    console.print(
        f"{facts.get('machine.cpu')}, {facts['threads']} threads; {facts['device']}; "
        f"PyTorch: {facts['PyTorch']}; {facts['minutes']} minutes",
        markup=False,
    )


def write(rows: Sequence[Row], facts: Mapping[str, str], out: Path) -> None:
    """The rows as JSON at `out`; facts, page and figures in the folder beside it."""
    folder = folder_of(out)
    folder.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(list(rows), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "facts.json").write_text(json.dumps(dict(facts), indent=1) + "\n", encoding="utf-8")
    figures = write_figures(folder, rows)
    page = page_markdown(rows, facts, [path.name for path in figures if path.suffix == ".svg"])
    (folder / "report.md").write_text(page, encoding="utf-8")


def require_writable(out: Path) -> None:
    """Raise where what is measured could not be written in the end."""
    if out.suffix != ".json" or out.is_dir():
        raise ValueError(f"--out {out}: must be a file whose name ends in .json")
    near = next(place for place in (out.resolve(), *out.resolve().parents) if place.exists())
    if near != out.resolve() and not near.is_dir():
        raise ValueError(f"--out {out}: {near} is no folder")
    if not os.access(near, os.W_OK):
        raise ValueError(f"--out {out}: {near} cannot be written to")


def folder_of(out: Path) -> Path:
    """Where the page and the figures of a file of rows lie."""
    return out.with_suffix("")


def commit(out: Path, folder: Path) -> None:
    """Copies what was last measured to where it is committed."""
    if not out.is_file():
        raise FileNotFoundError(f"{out}: nothing was measured yet; run python -m experiments.peers first")
    folder.mkdir(parents=True, exist_ok=True)
    for path in [out, *sorted(folder_of(out).iterdir())]:
        shutil.copyfile(path, folder / path.name)


def page_markdown(rows: Sequence[Row], facts: Mapping[str, str], figures: Iterable[str] = ()) -> str:
    """The page that is committed."""
    met = [row["met"] for row in rows if row["met"] is not None]
    parts = [
        "# Against Keras, TensorFlow 1's runners and PyTorch",
        f"{sum(met)} of {len(met)} goals met. Ratios are of one training step, in brackets their 95% interval; "
        "how all this is measured: [README](../README.md).",
        *closing(rows),
        "## Goals",
        markdown(GOALS, goal_lines(rows)),
        "## How many times as fast as its peers `rnn=packed` is",
        markdown(_ratio_head(), ratio_lines(rows)),
        *(f"![{name}]({name})" for name in figures),
        "## Every arm",
        markdown(ARMS_HEAD, arm_lines(rows)),
        *refusals(rows),
        markdown(("arm", "what it is"), [(name, words) for name, words in ARMS.items()]),
        "## Machine",
        markdown(("", ""), [(name, value) for name, value in facts.items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ------------------------------------------------------------ goals
GOALS = ("setting", "what", "goal", "measured", "")


def goal_lines(rows: Sequence[Row]) -> list[Line]:
    """Every goal, missed ones first."""
    with_goal = sorted((row for row in rows if row["goal"] is not None), key=lambda row: row["met"])
    return [
        (
            row["setting"],
            QUANTITIES[row["quantity"]].format(peer=row["peer"]),
            f"{'≥' if row['at'] == 'least' else '≤'} {row['goal']:g}",
            compared(row),
            verdict(row),
        )
        for row in with_goal
    ]


def verdict(row: Row) -> str:
    """met or missed, and whether the interval leaves it open."""
    if row["ratio"] is None:
        return "not measured"
    word = "met" if row["met"] else "missed"
    if row["low"] is not None and row["low"] < row["goal"] < row["high"]:
        return f"{word}, within noise"
    return word


def compared(row: Row) -> str:
    """A ratio with its interval, or a value."""
    if row["ratio"] is None:
        return "-"
    if row["quantity"] == "error":
        return f"{row['ratio']:.1e}"
    if row["low"] is None:
        return f"{row['ratio']:.3g}"
    return f"{row['ratio']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"


# ------------------------------------------------------------ ratios and arms
def _ratio_head() -> tuple[str, ...]:
    return ("setting", "ms", "valid tokens/s", *PEERS, "share of ceiling")


def ratio_lines(rows: Sequence[Row]) -> list[Line]:
    """A line a setting."""
    lines: list[Line] = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting and row["arm"] == PACKED]
        ratios = {row["peer"]: compared(row) for row in own if row["quantity"] == "speed"}
        if not own or own[0]["ms"] is None:
            continue
        share = own[0]["share_of_ceiling"]
        shown = "-" if share is None else f"{share:.2f}"
        ms, rate = f"{own[0]['ms']:.3g}", f"{own[0]['valid_tokens_per_s']:,}"
        lines.append((setting, ms, rate, *(ratios.get(peer, "-") for peer in PEERS), shown))
    return lines


ARMS_HEAD = (
    "setting", "arm", "ms", "valid tokens/s", "with padding/s", "of ceiling", "MB", "first call, s", "error",
)  # fmt: skip


def arm_lines(rows: Sequence[Row]) -> list[Line]:
    """A line for each arm of each setting."""
    return [
        (
            row["setting"],
            row["arm"],
            _number(row["ms"], ".3g"),
            _number(row["valid_tokens_per_s"], ","),
            _number(row["padded_tokens_per_s"], ","),
            _number(row["share_of_ceiling"], ".2f"),
            _number(row["peak_memory_mb"], ".0f"),
            _number(row["first_call_s"], ".2g"),
            _number(row["error"], ".1e"),
        )
        for row in rows
        if row["quantity"] is None
    ]


def closing(rows: Sequence[Row]) -> list[str]:
    """Where packed is slower than a peer, in a sentence a peer."""
    lines = []
    for peer, measured in against(rows).items():
        slower = [row for row in measured if row["ratio"] < 1]
        which = "; ".join(f"{row['setting']} ({compared(row)})" for row in slower)
        count = f"{len(slower)} of {len(measured)} settings"
        lines.append(f"Slower than {peer} in {count}{': ' if which else ''}{which}.")
    return lines


def refusals(rows: Sequence[Row]) -> list[str]:
    """What could not be measured, and why, each reason once."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["refused"] and row["quantity"] is None:
            reasons.setdefault(row["refused"], []).append(f"{row['arm']} in {row['setting']}")
    return [f"Not measured: {', '.join(which)}: {reason}" for reason, which in reasons.items()]


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
