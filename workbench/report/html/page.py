"""What a sweep's page shows, in its order: the answers, the evidence, the figures, how to repeat it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markdown_it import MarkdownIt

from workbench.claims import NOT_ASSESSABLE, Verdict
from workbench.record import Run
from workbench.report import arms, figures, numbers, said, tables
from workbench.report.curves import Curve
from workbench.report.html.bars import interval_bar
from workbench.report.html.pictures import inline_svg
from workbench.wording import counted

_HERE = Path(__file__).parent
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_INSTRUMENT = {
    "instrument failed": "The instrument failed, and no measured verdict stands; the control run again",
    "watch": "The instrument was noisy, though not so that verdicts are void; the control run again",
    "inconclusive": "Whether the instrument was quiet is not decided; the control run again",
}
_CLASSES = {
    "reproduced": "yes",
    "contradicted": "no",
    "inconclusive": "open",
    NOT_ASSESSABLE: "open",
    "instrument ok": "yes",
    "watch": "open",
    "instrument failed": "no",
}


@dataclass(frozen=True)
class ClaimRow:
    """A line of the table of claims."""

    name: str
    statement: str
    compared: str
    """Its arms, its metric, and which way is better."""
    verdict: str
    kind: str
    """The colour of its verdict: yes, no or open."""
    measured: str
    claimed: str
    sentence: str
    bar: str
    pairs: str
    overall: str
    against: str
    """What speaks against it, or why it is open."""
    effect: float | None
    place: str = ""
    """Its anchor on the page."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    name: str
    title: str
    svg: str


def page_html(
    verdicts: Sequence[Verdict],
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    *,
    warnings: Sequence[str] = (),
    opening: Sequence[tuple[str, str]] = (),
    details: Sequence[tuple[str, str]] = (),
    curves: Sequence[Curve] = (),
    stands: Sequence[bool | None] | None = None,
    instrument: str | None = None,
) -> str:
    """The page as HTML text, complete in itself; equal input gives equal text.

    `warnings` stand above the answers, and so do the sections of `opening`; `details` are sections below the
    arms, all of them Markdown; `stands` says of each verdict (on a measured claim) whether it stands if the claims
    of all files are corrected as one table; `instrument` is the line on the control, where the verdicts have none.
    """
    still = dict(zip(map(id, verdicts), stands or [], strict=False))
    rows = [_row(one, still.get(id(one))) for one in tables.claimed(verdicts)]
    names = [one.name for one in rows]
    rows = [  # of several experiments two may have one name
        replace(one, place=one.name if names.index(one.name) == number else f"{one.name}-{number}")
        for number, one in enumerate(rows)
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=jinja2.select_autoescape(["html"], default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        name=str(facts.get("name") or "Sweep"),
        question=str(facts.get("question") or ""),
        headline=tables.headline(verdicts) if rows else counted(len(arms.counted(runs)), "run"),
        rows=rows,
        instrument=_instrument(verdicts) if instrument is None else instrument,
        level=tables.level(verdicts),
        banners=[*_instrument_banner(verdicts), *warnings],
        pictures=list(_pictures(verdicts, runs, curves)),
        arms=_arms(runs),
        opening=[(title, _MARKDOWN.render(text)) for title, text in opening if text],
        details=[(title, _MARKDOWN.render(text)) for title, text in details if text],
        links=_links(runs, str(facts.get("runs_at") or "")),
        style=(_HERE / "page.css").read_text(),
        script=(_HERE / "page.js").read_text(),
    )


def _row(one: Verdict, still: bool | None) -> ClaimRow:
    return ClaimRow(
        name=one.claim,
        statement=one.statement or one.claim.replace("_", " "),
        compared=_compared(one),
        verdict=one.label,
        kind=_CLASSES.get(one.verdict, "open"),
        measured=said.value(one),
        claimed=said.claimed(one),
        sentence=said.sentence(one),
        bar=interval_bar(one),
        pairs=_pairs(one),
        overall="" if still is None else "stands" if still else "would not stand",
        against=said.counter_example(one) or "; ".join(said.reasons(one)) or said.undecided(one),
        effect=one.effect if one.effect is not None and math.isfinite(one.effect) else None,
    )


def _compared(one: Verdict) -> str:
    way = said.better(one.metric)
    return f"{said.arms(one)}: {said.title(one.metric)}{f', {way}' if way else ''}"


def _pairs(one: Verdict) -> str:
    """Complete pairs of those planned; of an exact claim in how many it holds, one a block and condition."""
    held = said.held(one)
    return f"{held[0]} of {held[1]} hold" if held else numbers.pairs_words(one)


def _instrument(verdicts: Sequence[Verdict]) -> str:
    return tables.instrument_line(verdicts) if verdicts else ""


def _instrument_banner(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The A/A arm, where it is anything but ok."""
    for one in verdicts:
        if one.kind == "instrument" and one.verdict != "instrument ok":
            yield f"{_INSTRUMENT.get(one.verdict, _INSTRUMENT['inconclusive'])}: {said.sentence(one)}."


def _pictures(verdicts: Sequence[Verdict], runs: Sequence[Run], curves: Sequence[Curve]) -> Iterator[Picture]:
    with matplotlib.rc_context(figures.SIZES):
        for name, figure in figures.all_figures(verdicts, runs, curves):
            caption = figures.caption(name)
            yield Picture(name, caption, inline_svg(figure, name, caption))


def _arms(runs: Sequence[Run]) -> dict[str, Any]:
    summary, names, metrics = tables.summarised(runs)
    return {
        "head": [
            " / ".join(arms.heading(name) for name in names) or "arm",
            "runs",
            *map(tables.head, metrics),
        ],
        "rows": [(arm, count, cells) for arm, count, cells in summary],
        "unsaid": tables.unsaid_words(runs),
    }


def _links(runs: Sequence[Run], base: str) -> list[tuple[str, str, str]]:
    """Of each run that counts its arm, its id, and its address where a tracking server is known."""
    counted_runs = arms.counted(runs)
    names = arms.telling(counted_runs, arms.varying_parameters(counted_runs))
    ways = arms.usual(counted_runs, names)
    return [
        (
            f"{arms.label(run, names, ways)}, block {arms.block(run):g}",
            run.run_id,
            f"{base}/{run.run_id}" if base else "",
        )
        for run in counted_runs
    ]
