"""What lies in a report's folder: made fit to be published, read again, drawn again; pages of others' runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import claims as claims_room
from workbench.claims import Claim, Judged, Verdict
from workbench.claims.blocks import as_number
from workbench.claims.foreign import with_own_keys
from workbench.claims.others import known_metrics
from workbench.record import Run
from workbench.record import tags as names
from workbench.record.frames import frame_of, read_csv
from workbench.report import curves, foretold, page, sensitivity
from workbench.report.recorded import ReportError

RUNS, FACTS = "runs.csv", "facts.json"
_OF_THIS_MACHINE = (names.COMMAND, names.FILES, names.OWNER)


def redraw(folder: Path, claims: Sequence[Claim] | None, stands: dict[str, bool] | None = None) -> list[Path]:
    """The pages and figures of a report's folder again, from the runs, facts and curves that lie in it.

    `stands` says of its claims whether they stand if those of all files are one table; it is kept with the facts.

    Raises:
        ReportError: something of it is missing, or its runs give other verdicts than lie there.
    """
    if missing := [name for name in (RUNS, FACTS, "verdicts.json") if not (folder / name).is_file()]:
        raise ReportError(f"{folder} holds no {missing[0]}; give a folder that a report was written to")
    facts = json.loads((folder / FACTS).read_text())
    if bool(claims) != bool(facts["claims_sha"]) or (
        claims and claims_room.claims_sha(claims) != facts["claims_sha"]
    ):
        raise ReportError(
            f"{folder} was judged by other claims (SHA-256 {facts['claims_sha'][:12] or 'none'}); give their file "
            "by --claims"
        )
    if stands is not None:
        facts["stands"] = stands
        (folder / FACTS).write_text(published_facts(facts))
    runs = read_csv(folder / RUNS)
    of_runs = facts.get("of_others")
    with known_metrics(of_runs):
        judged = claims_room.judged_table(claims, runs) if claims else Judged([], {})
    if page.verdicts_json(judged.verdicts) != (folder / "verdicts.json").read_text():
        raise ReportError(f"{folder}: its runs.csv gives other verdicts than its verdicts.json holds")
    if of_runs and claims:
        with known_metrics(of_runs):
            return of_others(folder, judged.verdicts, claims, runs, facts["name"])
    lines = curves.read_curves(folder)
    return page.write_report(
        folder, judged.verdicts, runs, {**facts, **beside_verdicts(claims, judged)}, lines
    )


def of_others(
    folder: Path,
    verdicts: Sequence[Verdict],
    claims: Sequence[Claim],
    runs: Sequence[Run],
    experiment: str | None = None,
) -> list[Path]:
    """The page of runs that the workbench did not make, which is a report's as far as they tell.

    Their block stands as the seed, by which a page tells repeats of an arm apart: a number, or else its place.
    """
    block, ignored = claims[0].block, claims[0].runs.get("ignore", ())
    kept = with_own_keys(claims, runs)
    blocks = sorted({run.params[block] for run in kept})
    if any(math.isinf(as_number(one)) for one in blocks):
        numbered = {one: str(number) for number, one in enumerate(blocks, 1)}
    else:
        numbered = {one: one for one in blocks}
    shown = [
        replace(
            run, params={"seed": numbered[run.params[block]], **_without(run.params, block, "seed", *ignored)}
        )
        for run in kept
    ]
    facts = {
        "name": experiment or Path(claims[0].file).resolve().parent.name,
        "of_others": dict(claims[0].runs),
        "claims_sha": claims_room.claims_sha(claims),
        "failures": [
            (run.tags.get(names.NAME, ""), run.error or run.status, run.run_id)
            for run in shown
            if not run.finished
        ],
    }
    written = page.write_report(folder, verdicts, shown, facts)
    (folder / RUNS).write_text(published(kept))
    (folder / FACTS).write_text(published_facts(facts))
    return written


def _without(params: Mapping[str, str], *left_out: str) -> dict[str, str]:
    return {name: value for name, value in params.items() if name not in left_out}


def beside_verdicts(claims: Sequence[Claim] | None, judged: Judged) -> dict[str, Any]:
    """What is shown beside the verdicts, from the same pairs."""
    return {
        "foretold": foretold.foretold(claims or (), judged),
        "adjusted": sensitivity.adjusted(claims or (), judged),
    }


def read_runs(folder: Path) -> list[Run]:
    """The runs that lie beside a report; those that the workbench did not make by all that they record."""
    runs, path = read_csv(folder / RUNS), folder / FACTS
    of_runs = json.loads(path.read_text()).get("of_others") if path.is_file() else None
    if not of_runs:
        return runs
    return [replace(run, key_without=tuple(of_runs.get("ignore", ()))) for run in runs]


def published_facts(facts: dict[str, Any]) -> str:
    """The facts of a report as JSON, without the address of this machine's runs."""
    return json.dumps({**facts, "runs_at": ""}, sort_keys=True, indent=1) + "\n"


def published(runs: Sequence[Run]) -> str:
    """The runs as CSV, as `judge_table` takes them, without what names places of this machine."""
    hidden = ("params.data.path", "tags.mlflow.", *(f"tags.{name}" for name in _OF_THIS_MACHINE))
    frame = frame_of(runs)
    kept = frame[sorted(column for column in map(str, frame.columns) if not column.startswith(hidden))].copy()
    paths = frame.get("params.data.path")
    if paths is not None and paths.nunique() > 1:  # which of them, and not where
        number = {path: str(n) for n, path in enumerate(sorted({*paths.dropna()}), 1)}
        kept["params.data.path"] = paths.map(number)
    return str(kept.sort_values("start_time").to_csv(index=False, lineterminator="\n"))
