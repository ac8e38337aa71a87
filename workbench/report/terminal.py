"""Verdicts and runs for a terminal: at any width nothing is cut without a sign."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from workbench.claims import NOT_ASSESSABLE, Verdict
from workbench.record import Run
from workbench.report import arms, said, tables
from workbench.report.drawing import shortened
from workbench.report.numbers import broken, effect_words, finding_word, pairs_words

STYLES = {
    "reproduced": "bold green",
    "contradicted": "bold red",
    "inconclusive": "bold yellow",
    NOT_ASSESSABLE: "bold yellow",
    "instrument ok": "bold green",
    "watch": "bold yellow",
    "instrument failed": "bold red",
}
_CLAIM_WIDTH = 26


def verdict_lines(verdicts: Sequence[Verdict], width: int = 80) -> Table:
    """A line a claim: its verdict, what was measured, what was claimed, its name, cut to `width` with a sign."""
    head = ("verdict", "measured", "claimed")
    rows = [(one, (one.label, said.value(one), said.bound(one))) for one in tables.claimed(verdicts)]
    widths = [max(map(len, (title, *(cells[k] for _, cells in rows)))) for k, title in enumerate(head)]
    room = max(16, width - sum(widths) - 3 * 2)
    table = Table(box=None, pad_edge=False, padding=(0, 1), expand=False)
    for title, longest in zip(head, widths, strict=True):
        table.add_column(title, no_wrap=True, width=longest)
    table.add_column("claim", no_wrap=True, width=room)
    for one, (label, *cells) in rows:
        name = Text(shortened(one.claim.replace("_", " "), room))
        table.add_row(Text(label, STYLES.get(one.verdict, "")), *cells, name)
    return table


def verdict_table(verdicts: Sequence[Verdict], title: str = "Verdicts") -> Table:
    """All that a verdict says, for a terminal of 100 columns: claim, effect with its interval, pairs, finding."""
    table = Table(title=title, caption=tables.instrument_line(verdicts), expand=False, show_lines=True)
    table.title_justify = table.caption_justify = "left"
    table.add_column("claim", width=_CLAIM_WIDTH, overflow="fold")
    table.add_column("verdict", width=12)
    table.add_column(f"effect\n[{tables.level(verdicts)} interval]", width=20, overflow="fold")
    table.add_column("pairs", width=7)
    table.add_column("finding", width=19, overflow="fold")
    for one in tables.claimed(verdicts):
        table.add_row(
            Text.assemble((broken(one.claim, _CLAIM_WIDTH), "bold"), _below(one.statement)),
            Text(one.label, STYLES.get(one.verdict, "")),
            Text.assemble(_short(effect_words(one), 20), _below(broken(one.metric, 20))),
            pairs_words(one),
            Text.assemble(finding_word(one), *(_below(reason) for reason in said.reasons(one))),
        )
    return table


def runs_table(runs: Sequence[Run], varying: Sequence[str] | None = None, width: int = 100) -> Table:
    """A line an arm: mean and standard deviation of the main metrics over its blocks, units in the head.

    Metrics for which `width` columns have no room are named below the table.
    """
    summary, names, metrics = tables.summarised(runs, varying)
    heading = " / ".join(map(arms.heading, names)) or "arm"
    longest = max((len(part) + 1 for arm, _, _ in summary for part in arm.split(", ")), default=3)
    least = max(min(longest, 20), min(len(heading), 20))
    left, shown = width - least - 10, 0
    for place, metric in enumerate(metrics):
        parts = [part for _, _, cells in summary for part in cells[place].split(" ± ")]
        left -= 3 + max(len(part) for part in (*tables.head(metric, "\n").split("\n"), *parts)) + 2
        shown += left >= 0
    table = Table(title="Runs: mean ± standard deviation over blocks", title_justify="left", min_width=46)
    table.add_column(heading, overflow="fold", min_width=least)
    table.add_column("n", justify="right")
    for metric in metrics[:shown]:
        table.add_column(tables.head(metric, "\n"), justify="right", overflow="fold")
    for arm, count, cells in summary:
        table.add_row(Text(arm), str(count), *(one.replace(" ± ", "\n± ") for one in cells[:shown]))
    if not any(count for _, count, _ in summary):
        table.caption = "no run finished"
    elif shown < len(metrics):
        left_out = ", ".join(map(tables.title, metrics[shown:]))
        table.caption, table.caption_justify = f"no room here for {left_out}: the page has them", "left"
    return table


def _short(effect: str, width: int) -> str:
    return effect if len(effect) <= width else effect.replace(" [", "\n[")


def _below(text: str) -> tuple[str, str]:
    return (f"\n{text}" if text else "", "dim")
