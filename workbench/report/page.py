"""The page of a sweep (Markdown) and the folder it lies in; equal input gives equal bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.claims import Verdict
from workbench.record import Run, gate
from workbench.report import arms, figures, growth, numbers, said, state, tables
from workbench.report.curves import Curve
from workbench.report.html import page_html
from workbench.wording import counted

# claims/README.md, section 3: what a timed window must be
FEWEST_BATCHES = 200  # or a whole epoch
FEWEST_WARMUP_STEPS = 20

_DIRTY = {"true": " (with changes not committed)", "unknown": " (git could not say what was not committed)"}

METHOD = """\
1. A replicate is a block (a seed); the arms of a pair share it and all else but what the claim names.
2. The effect is the mean over blocks of the paired difference (of logarithms for ratios), with its t interval.
3. The interval is held against the smallest effect worth the name, declared before the first run: wholly inside
   what is claimed is reproduced, wholly outside contradicted, else inconclusive.
4. Holm's correction keeps the chance of any false verdict in the whole table at its level; failed pairs count
   against a claim, and nothing is dropped as an outlier.
"""
_IN_A_SWEEP = """\
5. The number of pairs was fixed before; order inside a block is random and balanced; the control is run once more
   (A/A), and where it differs from itself no measured verdict stands."""
_OF_OTHERS = """\
5. The number of pairs is that of the claims file. The runs were made elsewhere: in which order, and what the
   control run again gives (A/A), is not known."""


def write_report(
    folder: str | Path,
    verdicts: Sequence[Verdict],
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    curves: Sequence[Curve] = (),
) -> list[Path]:
    """Write verdicts.json, verdicts.csv, report.md, report.html and figures/ into `folder`; the files written.

    The folder may be there already; a figure that there is no longer data for is taken away.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures.write_figures(folder / "figures", verdicts, runs, curves)
    names = list(dict.fromkeys(path.stem for path in drawn))
    texts = {
        "verdicts.json": verdicts_json(verdicts),
        "verdicts.csv": tables.verdict_csv(verdicts),
        "report.md": page_markdown(verdicts, runs, facts, names),
        "report.html": page_html(
            verdicts,
            runs,
            facts,
            warnings=warnings(runs, facts),
            details=evidence(verdicts, runs, facts),
            curves=curves,
            stands=[(facts.get("stands") or {}).get(one.claim) for one in verdicts],
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for stale in {*(folder / "figures").glob("*.svg"), *(folder / "figures").glob("*.png")} - {*drawn}:
        if figures.is_ours(stale.stem):
            stale.unlink()
    return [*(folder / name for name in texts), *drawn]


def verdicts_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JSON text, keys sorted, numbers as computed."""
    rows = [one.to_json() for one in verdicts]
    return json.dumps(rows, sort_keys=True, indent=1, allow_nan=False) + "\n"


def page_markdown(
    verdicts: Sequence[Verdict],
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    drawn: Sequence[str] | None = None,
) -> str:
    """The page: answers first, then the evidence, what is missing from it, the method, and the facts.

    `drawn`: the names of the figures beside it, where they are known already.
    """
    names = figures.drawn(verdicts, runs) if drawn is None else drawn
    sections = [
        ("", _opening(verdicts, runs, facts)),
        ("Verdicts", _verdicts(verdicts)),
        ("Runs", _arms(runs)),
        ("Figures", "\n\n".join(f"![{figures.caption(name)}](figures/{name}.svg)" for name in names)),
        *evidence(verdicts, runs, facts),
    ]
    parts = [f"## {title}\n\n{text}" if title else text for title, text in sections if text]
    return "\n\n".join(parts) + "\n"


def evidence(
    verdicts: Sequence[Verdict], runs: Sequence[Run], facts: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What stands below the answers, as Markdown: each section's title and text, empty where it has nothing."""
    return [
        ("By condition (not judged)", _breakdown(verdicts)),
        ("Less padding, as the lengths foretold it (not judged)", _foretold(verdicts, facts)),
        ("Growth with the steps (not judged)", _growth(runs)),
        ("If the machine's state is taken out (not judged)", _adjusted(verdicts, facts)),
        ("To be known beside the verdicts", _flags(verdicts)),
        ("Skipped combinations", tables.skipped_markdown(facts.get("skipped") or ())),
        ("Failures", tables.failures_markdown(facts.get("failures") or ())),
        ("Method", _method(verdicts, _OF_OTHERS if facts.get("of_others") else _IN_A_SWEEP)),
        ("Facts", _facts(runs, facts)),
    ]


def warnings(runs: Sequence[Run], facts: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the verdicts."""
    failed = facts.get("failures")
    failures = f"{counted(len(failed), 'job')} failed, named below." if failed else ""
    notes = map(str, facts.get("notes") or ())
    told = str(facts.get("state") or "") or often_disturbed(runs)  # the second where no state was recorded
    return [one for one in (told, short_window(runs, facts), short_warmup(runs), *notes, failures) if one]


def often_disturbed(runs: Sequence[Run]) -> str:
    """What to warn of where a tenth of the timed runs or more that count were disturbed; empty where not."""
    timed = state.timed(arms.counted(runs))
    if not state.is_often_disturbed(timed):
        return ""
    found = sum(bool(run.disturbance) for run in timed)
    return (
        f"{found} of {counted(len(timed), 'timed run')} had a disturbed window (other programs took CPU, or the "
        "machine changed its speed): the speeds are noisy."
    )


def short_window(runs: Sequence[Run], facts: Mapping[str, Any]) -> str:
    """What to warn of where the timed window was shorter than it must be; empty where it was not."""
    if facts.get("window_is_epoch"):
        return ""
    batches = arms.values(arms.counted(runs), "speed/batches")
    if not batches or min(batches) >= FEWEST_BATCHES:
        return ""
    return (
        f"The timed window was {min(batches):.0f} batches in the shortest arm, neither a whole epoch nor "
        f"{FEWEST_BATCHES} batches: which batches fell into it adds noise to the speeds. Use scale=full for more."
    )


def short_warmup(runs: Sequence[Run]) -> str:
    """What to warn of where training was timed sooner than it may be, naming the arms; else empty."""
    counted = arms.counted(runs)
    steps = arms.values(counted, "speed/warmup_steps")
    if not steps or min(steps) >= FEWEST_WARMUP_STEPS:
        return ""
    names = arms.telling(counted, arms.varying_parameters(counted))
    short = {
        arm
        for arm, of_arm in arms.by_arm(counted, names).items()
        if any(value < FEWEST_WARMUP_STEPS for value in arms.values(of_arm, "speed/warmup_steps"))
    }
    return (
        f"The warm-up before the timed window was {min(steps):.0f} steps at the shortest, fewer than "
        f"{FEWEST_WARMUP_STEPS}, in {'; '.join(sorted(short))}: the first steps are slower, "
        "and their cost may lie in these speeds."
    )


def disturbed(runs: Sequence[Run]) -> str:
    """How many timed runs the calibration gate finds disturbed, by block with ids; empty where none was timed.

    All attempts and the control again are looked at, those set aside among them; the throw-away block is not.
    """
    timed = state.timed([run for run in runs if not run.is_thrown_away])
    if not timed:
        return ""
    found = [run for run in timed if run.disturbance]
    if not found:
        return f"none of {len(timed)} timed runs"
    by_block = [
        f"block {block:.0f}: {len(group)} ({', '.join(sorted(run.run_id[:8] for run in group))})"
        for block, group in arms.by_block(found).items()
    ]
    aside = sum(run.requeued for run in found)
    words = f" ({aside} of them set aside and run again)" if aside else ""
    return f"{len(found)} of {len(timed)} timed runs{words}: {'; '.join(by_block)}"


def _opening(verdicts: Sequence[Verdict], runs: Sequence[Run], facts: Mapping[str, Any]) -> str:
    lines = [f"# {facts.get('name') or 'Sweep'}: what was found", ""]
    if facts.get("question"):
        lines += [str(facts["question"]), ""]
    lines.append(_count(verdicts))
    for one in tables.claimed(verdicts):
        of = "blocks" if one.kind == "exact" else "pairs"
        size = f" ({said.sentence(one)}; {numbers.pairs_words(one)} {of})" if one.pairs else ""
        look = f": {words}" if (words := said.look(one)) else ""
        lines.append(f"- {_line(one.statement or one.claim)} **{one.label}**{size}{look}")
    if len(lines) > 3 and lines[-1].startswith("- "):
        lines.insert(lines.index(_count(verdicts)) + 1, "")
    for warning in warnings(runs, facts):
        lines += ["", f"> **Note.** {_line(warning)}"]
    return "\n".join(lines)


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    return f"{tables.verdict_markdown(verdicts)}\n\n{tables.instrument_line(verdicts)}"


def _count(verdicts: Sequence[Verdict]) -> str:
    rows = tables.claimed(verdicts)
    if not rows:
        return "No claim was judged."
    counts = Counter(one.verdict for one in rows)
    words = [f"{number} {word}" for word, number in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    return f"Of {counted(len(rows), 'claim')}: {', '.join(words)}."


def _arms(runs: Sequence[Run]) -> str:
    table = f"Mean ± standard deviation over blocks.\n\n{tables.runs_markdown(runs)}"
    beside = tables.unsaid_words(runs)
    return f"{table}\n\nWhat the names do not say: {_line(beside)}." if beside else table


def _breakdown(verdicts: Sequence[Verdict]) -> str:
    table = tables.breakdown_markdown(verdicts)
    return table and f"A condition picked after the runs is not a claim.\n\n{table}"


def _foretold(verdicts: Sequence[Verdict], facts: Mapping[str, Any]) -> str:
    """Beside each judged speed of two paddings the gain that the histogram of lengths foretold."""
    judged = {one.claim: one for one in verdicts}
    rows = [
        (
            f"`{one.claim}`",
            f"{one.ideal:.2f}x",
            numbers.effect_words(judged[one.claim]),
            numbers.NOTHING if one.realised is None else f"{one.realised:.0%}",
        )
        for one in facts.get("foretold") or ()
    ]
    if not rows:
        return ""
    words = (
        "The ideal is the ratio of the valid shares of all positions: what is gained where each position costs the "
        "same. The last column is the realised share of it, on the scale of logarithms."
    )
    return f"{words}\n\n{tables.markdown(['claim', 'ideal', 'as judged', 'realised'], rows)}"


def _growth(runs: Sequence[Run]) -> str:
    """The lines of cost against steps, where arms ran with three lengths or more."""
    rows = []
    for one in growth.growths(runs):
        slope = f"{numbers.number(one.slope)} [{', '.join(map(numbers.number, one.interval))}]"
        rows.append((one.arm, one.metric, numbers.number(one.base), slope, numbers.percent(one.explained)))
    if not rows:
        return ""
    words = (
        "Base and growth of a line fitted in each block, means over the blocks with the growth's 95% interval; the "
        "share of variance that it explains is that of the block where it is least."
    )
    return f"{words}\n\n{tables.markdown(['arm', 'metric', 'base', 'for each step', 'explained'], rows)}"


def _adjusted(verdicts: Sequence[Verdict], facts: Mapping[str, Any]) -> str:
    """Beside each judged timing what it would be at equal calibration."""
    judged = {one.claim: one for one in verdicts}
    rows = [
        (
            f"`{one.claim}`",
            numbers.effect_words(judged[one.claim]),
            numbers.sized(one.effect, one.interval, judged[one.claim]),
            f"{one.slope:.2g}",
        )
        for one in facts.get("adjusted") or ()
    ]
    if not rows:
        return ""
    words = (
        "A regression on the calibration products beside the timed windows: the effect had both arms been "
        "calibrated alike. Where the two differ by much, the machine's state had a part in the effect."
    )
    head = ["claim", "as judged", "at equal calibration", "% for each % of calibration"]
    return f"{words}\n\n{tables.markdown(head, rows)}"


def _method(verdicts: Sequence[Verdict], how_run: str) -> str:
    looks = next((one.looks for one in verdicts if one.looks), ())
    if not looks:
        return METHOD + how_run if verdicts else ""
    return (
        f"{METHOD}{how_run}\n6. The table was judged at {numbers.listed(looks)} pairs, as declared before, each "
        f"time with a share of 1/{len(looks)} of the error;\n   "
        "what was decided stayed so, and only the arms of open claims went on."
    )


def _flags(verdicts: Sequence[Verdict]) -> str:
    """Each flag once, with the rows that it stands beside."""
    beside: dict[str, list[str]] = {}
    for one in verdicts:
        for flag in one.flags:
            beside.setdefault(flag, []).append(one.claim)
    return "\n".join(
        f"- {_line(flag)} ({'all rows' if len(names) == len(verdicts) > 1 else ', '.join(names)})"
        for flag, names in beside.items()
    )


def _facts(runs: Sequence[Run], facts: Mapping[str, Any]) -> str:
    by_gate = (
        f"disturbed, by the calibration gate (calibrations {gate.CALIBRATION_SPREAD:.0%} apart, or foreign CPU "
        f"over {gate.FOREIGN_CPU:.0%})"
    )
    rows = [(label, text) for label, text in [*_fact_rows(facts), (by_gate, disturbed(runs))] if text]
    return tables.markdown(["", ""], rows) if rows else ""


def _fact_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    def text(name: str) -> str:
        value = facts.get(name)
        return "" if value is None else str(value)

    commit = text("commit")
    yield "sweep", text("sweep")
    yield "command", f"`{text('command')}`" if text("command") else ""
    yield "started", text("started")
    resumed = facts.get("resumed") or 0
    pauses = f", pauses included (resumed {resumed} time{'s' if resumed > 1 else ''})" if resumed else ""
    yield "took", f"{text('minutes')} minutes{pauses}" if text("minutes") else ""
    yield "scale", text("scale")
    yield "planned pairs", text("planned")
    yield "machine", text("machine")
    yield (
        "versions",
        ", ".join(f"{name} {which}" for name, which in sorted((facts.get("versions") or {}).items())),
    )
    dirty = next((words for which, words in _DIRTY.items() if which in text("dirty").split(" and ")), "")
    yield "commit", commit and f"{commit}{dirty}"
    of_one = commit and " and " not in commit  # else resumed with other code: no checkout has all of it
    again = [f"`git checkout {commit[:12]}`, then the command"] if of_one and text("command") else []
    again += (
        [f"from its records, where they are: `python -m workbench.rerun {text('sweep')}`"]
        if text("sweep")
        else []
    )
    yield "to repeat it", "; ".join(again)
    yield "claims (SHA-256)", text("claims_sha")


def _line(text: str) -> str:
    return " ".join(text.split())
