"""The answer to the guide: one page over all experiments, made from their verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from rich.table import Table
from rich.text import Text

from workbench import claims as claims_room
from workbench.claims import Claim, ClaimError, Verdict
from workbench.places import CONF, claims_file, experiments_folder
from workbench.report import decisions, numbers, said, tables
from workbench.report.decisions import Decision
from workbench.report.family import standing
from workbench.report.history import history_line, outside
from workbench.report.html import page_html
from workbench.report.terminal import STYLES

NOT_RUN = "not run yet"
_ID = re.compile(r"([A-Z]\d+)_")
_HEAD = (
    *("claim", "verdict", "over all files", "measured [95% interval]", "claimed", "pairs"),
    *("under which condition", "experiment"),
)


@dataclass(frozen=True)
class Finding:
    """A declared claim and what became of it; no verdict: not run yet."""

    experiment: str
    claim: Claim
    verdict: Verdict | None


@dataclass
class Entry:
    """A claim of the guide in our words, what shows it as a property, and what was found of it."""

    id: str
    section: str = ""
    words: str = ""
    tests: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)


def entries(found: Sequence[Finding]) -> list[Entry]:
    """The guide's claims in its order, then what is ours (id ""), each with its findings.

    A claim belongs to the id with which its name begins: U1_building_is_slower to U1.

    Raises:
        ClaimError: a claim begins with an id that experiments/guide.yaml lacks.
    """
    declared = yaml.safe_load((experiments_folder() / "guide.yaml").read_text())
    table = {
        one: Entry(one, given["section"], given["words"], tuple(given.get("tests", ())))
        for one, given in declared.items()
    }
    table[""] = Entry("", words="Ours")
    for finding in found:
        begins = _ID.match(finding.claim.name)
        key = begins.group(1) if begins else ""
        if key not in table:
            raise ClaimError(
                f"{finding.claim.at('name')}: name: {finding.claim.name} begins with {key}, which is no id of "
                "experiments/guide.yaml; begin it otherwise, or add the id there"
            )
        table[key].findings.append(finding)
    return list(table.values())


def of_the_guide() -> list[str]:
    """The experiments that answer the guide, in its order: those that conf/experiment/guide.yaml runs."""
    return list(yaml.safe_load((CONF / "experiment" / "guide.yaml").read_text())["sweep"]["experiments"])


def committed(names: Sequence[str]) -> list[Finding]:
    """Every declared claim of these experiments with the verdict of its committed results."""
    found = []
    for name in names:
        path = claims_file(name)
        claims = claims_room.load(path) if path else []
        found += findings(name, experiments_folder() / name / "results", claims)
    return found


def findings(name: str, folder: Path, claims: Sequence[Claim]) -> list[Finding]:
    """Claims that an experiment is judged by, with the verdicts that a report left in `folder`.

    A verdict on a claim that was changed since (another hash) is not the claim's: it counts as not run.
    """
    found = folder / "verdicts.json"
    verdicts = [Verdict.from_json(one) for one in json.loads(found.read_text())] if found.is_file() else []
    by_name = {verdict.claim: verdict for verdict in verdicts}
    made = []
    for claim in claims:
        verdict = by_name.get(claim.name)
        if verdict is not None:
            verdict = replace(verdict, tolerance=float(claim.tolerance)) if verdict.sha == claim.sha else None
        made.append(Finding(name, claim, verdict))
    return made


def instruments(folders: Mapping[str, Path]) -> dict[str, Verdict]:
    """The A/A row of each experiment whose report in its folder has one."""
    rows = {}
    for name, folder in folders.items():
        path = folder / "verdicts.json"
        for one in json.loads(path.read_text()) if path.is_file() else []:
            if one["kind"] == "instrument":
                rows[name] = Verdict.from_json(one)
    return rows


def write_page(
    found: Sequence[Finding],
    links: Mapping[str, str],
    again: Mapping[str, Verdict] | None = None,
    decided: Sequence[Decision] = (),
) -> str:
    """The page as Markdown: what to do, then the long table that it rests on.

    `links` leads from an experiment's name to where its report lies, `again` to the A/A row of its sweep, which is
    shown where some verdict of the sweep still is one on a declared claim.
    """
    table = entries(found)
    stands = stands_over_all(found)
    rows: list[Sequence[str]] = []
    for one in table:
        if not (one.id or one.findings):
            continue
        title = f"**{one.id}** {one.words}" if one.id else f"**{one.words}**, which the guide does not make"
        shown = "a property: " + ", ".join(f"[{Path(test).name}](../{test})" for test in one.tests)
        rows.append([title, shown if one.tests else "", "", "", "", "", "", one.section])
        rows += [_row(finding, links, stands) for finding in one.findings]
    judged = [one.verdict for one in found if one.verdict]
    counts = {word: sum(v.verdict == word for v in judged) for word in tables.WORDS}
    if not counts[tables.NOT_ASSESSABLE]:
        del counts[tables.NOT_ASSESSABLE]
    lines = [
        "# What to do with sequences of different lengths, and what of the guide holds",
        "",
        'Denny Britz, "RNNs in TensorFlow, a Practical Guide and Undocumented Features" (WildML, 21 August 2016).',
        "Made by `python -m workbench.report --guide --commit-results` from the verdicts of the experiments beside",
        "it; not to be edited. Every claim was declared before its runs; the smallest effect worth the name, and",
        "why, stand in each experiment's claims.yaml. Verdicts hold for the machine, versions and size of run that",
        "its report names. They are corrected within their experiment's file; `over all files` says which would",
        "stand if the claims of all experiments were corrected as one table (exact claims have no error rate).",
        "",
        f"{len(found)} claims declared, {len(judged)} judged: "
        + ", ".join(f"{number} {word}" for word, number in counts.items())
        + ".",
        "",
    ]
    if decided:
        lines += ["## What to do", ""]
        lines += decisions.page(decided, {one.claim.name: one.verdict for one in found}, links)
        lines += ["## Claim by claim", ""]
    lines += [tables.markdown(_HEAD, rows), ""]
    counts_still = {one.experiment for one in found if one.verdict}
    lines += _again({name: row for name, row in (again or {}).items() if name in counts_still})
    reasons = sorted({one.experiment for one in found if one.verdict and one.verdict.reasons})
    if reasons:
        lines += [
            "Verdicts with a reason beside them (counter-examples of exact claims, failures) in: "
            + ", ".join(f"[{name}]({links[name]})" for name in reasons)
            + ".",
            "",
        ]
    return "\n".join(lines)


def write_html(
    found: Sequence[Finding],
    links: Mapping[str, str],
    again: Mapping[str, Verdict] | None = None,
    decided: Sequence[Decision] = (),
) -> str:
    """The same as one HTML file: what to do, every claim in one table, the effects of all as figures."""
    verdicts = [one.verdict for one in found if one.verdict]
    still = stands_over_all(found)
    what = decisions.page(decided, {one.claim.name: one.verdict for one in found}, links, pictures=False)
    facts = {"name": "RNNs in TensorFlow: the guide, claim by claim", "question": "What of the guide holds?"}
    return page_html(
        verdicts,
        [],
        facts,
        opening=[("What to do", "\n".join(what))],
        details=[("Was the instrument quiet?", "\n".join(_again(again or {})))],
        stands=[still.get((one.experiment, one.claim.name)) for one in found if one.verdict],
        instrument="",
    )


def stands_over_all(found: Sequence[Finding]) -> dict[tuple[str, str], bool]:
    """(experiment, claim) -> whether its verdict stands if the claims of all of them are one table."""
    by_file: dict[str, list[tuple[Claim, Verdict | None]]] = {}
    for finding in found:
        by_file.setdefault(finding.experiment, []).append((finding.claim, finding.verdict))
    return standing(by_file)


def table(found: Sequence[Finding]) -> Table:
    """The same for a terminal: id, claim, verdict, effect."""
    shown = Table(title="The guide's claims", show_lines=False, title_justify="left")
    for head in ("id", "claim", "verdict", "effect [95% interval]"):
        shown.add_column(head, overflow="fold")
    for one in entries(found):
        for number, finding in enumerate(one.findings):
            verdict = finding.verdict
            label = verdict.label if verdict else NOT_RUN
            shown.add_row(
                "" if number else one.id,
                finding.claim.name.removeprefix(f"{one.id}_").replace("_", " "),
                Text(label, STYLES.get(verdict.verdict, "") if verdict else ""),
                numbers.effect_words(verdict) if verdict else "",
            )
    return shown


def _again(rows: Mapping[str, Verdict]) -> list[str]:
    """The control against itself, in each sweep and in all of them."""
    if not rows:
        return []
    lines = ["The control, run once more in every block, against itself (A/A):", ""]
    for name, row in rows.items():
        void = "; no measured verdict of it stands" if row.verdict == "instrument failed" else ""
        size = f"{said.title(row.metric)} {numbers.effect_words(row)}, {numbers.pairs_words(row)} pairs"
        lines.append(f"- {name}: **{row.verdict}**, {size}{void}")
    told = [one for one in map(outside, rows.values()) if one is not None]
    line = history_line(told, "of this page")
    return [*lines, "", *([f"{line}.", ""] if line else [])]


def _row(finding: Finding, links: Mapping[str, str], stands: Mapping[tuple[str, str], bool]) -> Sequence[str]:
    verdict, claim = finding.verdict, finding.claim
    link = f"[{finding.experiment}]({links[finding.experiment]})"
    if verdict is None:
        return [claim.statement, NOT_RUN, "", "", "", "", condition(claim), link]
    words = {True: "stands", False: "would not stand", None: ""}
    return [
        claim.statement,
        f"**{verdict.label}**",
        words[stands.get((finding.experiment, claim.name))],
        said.value(verdict),
        said.claimed(verdict),
        numbers.pairs_words(verdict),
        condition(claim),
        link,
    ]


def condition(claim: Claim) -> str:
    """The conditions under which a claim was judged, with its arms: what its verdict is about.

    >>> from dataclasses import replace
    >>> claim = Claim("x", "", "", "speed/valid_tokens_per_s", {"rnn.unroll": "static"}, {"rnn.unroll": "dynamic"},
    ...     "higher", 1.2, "", over={"cell.units": [64, 128]})
    >>> condition(claim)
    'rnn.unroll=static against rnn.unroll=dynamic; cell.units 64, 128'
    """

    def arm(values: Mapping[str, object]) -> str:
        return ", ".join(str(v) if k == "value" else f"{k}={_written(v)}" for k, v in values.items())

    over = [f"{name} {', '.join(map(_written, values))}" for name, values in claim.over.items()]
    return "; ".join([f"{arm(claim.treatment)} against {arm(claim.control)}", *over, *claim.where])


def _written(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return str(value)
