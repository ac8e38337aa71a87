"""What lies in a report's folder: made fit to be published, read again, drawn again; pages of others' runs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from workbench import claims as claims_room
from workbench.claims import Claim, Judged, Verdict
from workbench.claims.blocks import as_number
from workbench.claims.foreign import with_own_keys
from workbench.claims.others import known_metrics
from workbench.claims.schema import parse_where
from workbench.places import claims_file
from workbench.record import Run, normalise
from workbench.record import tags as names
from workbench.record.frames import frame_of, read_csv
from workbench.record.run import NOT_RUN
from workbench.report import curves, figures, foretold, page, recorded, sensitivity
from workbench.report.recorded import ReportError

RUNS, FACTS = "runs.csv", "facts.json"
_OF_THE_GUIDE = "quick"  # the scale
_QUOTED: Literal[2] = 2  # csv.QUOTE_NONNUMERIC, of which the type is not told
OWN = (
    "figures",
    "report.html",
    "report.md",
    RUNS,
    "verdicts.csv",
    "verdicts.json",
    FACTS,
    curves.NAME,
)
"""What a report's folder holds."""
_OURS = {name: f"params.{name}" for name in ("seed", "repeat")}
"""What names of others' params are called on a page, where ours of these names are no part of an arm."""
_NOT_ENDED = ("RUNNING", "SCHEDULED")
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
    shown = [*runs, *(Run(status=NOT_RUN, **one) for one in facts.pop("not_run", ()))]
    return page.write_report(
        folder, judged.verdicts, shown, {**facts, **beside_verdicts(claims, judged)}, lines
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

    Raises:
        ReportError: verdicts that lie there would be lost.
    """
    block = claims[0].block
    ignored = {block, *claims[0].runs.get("ignore", ())}
    kept = with_own_keys(claims, runs)
    blocks = sorted({run.params[block] for run in kept})
    are_words = any(math.isinf(as_number(one)) for one in blocks)
    numbered = {one: str(number) if are_words else one for number, one in enumerate(blocks, 1)}
    shown = [
        replace(
            run,
            params={
                "seed": numbered[run.params[block]],
                **{_OURS.get(name, name): one for name, one in run.params.items() if name not in ignored},
            },
        )
        for run in kept
    ]
    recorded.refuse_fewer(folder, verdicts, another=False)
    facts = {
        "name": experiment or Path(claims[0].file).resolve().parent.name,
        "of_others": dict(claims[0].runs),
        "claims_sha": claims_room.claims_sha(claims),
        "failures": [
            (run.tags.get(names.NAME, ""), run.error or run.status, run.run_id)
            for run in shown
            if not run.finished and run.status not in _NOT_ENDED
        ],
    }
    written = page.write_report(folder, verdicts, shown, facts)
    (folder / RUNS).write_text(published(kept, claims, names.NAME))
    (folder / FACTS).write_text(published_facts(facts))
    return written


def beside_verdicts(claims: Sequence[Claim] | None, judged: Judged) -> dict[str, Any]:
    """What is shown beside the verdicts, from the same pairs."""
    return {
        "foretold": foretold.foretold(claims or (), judged),
        "adjusted": sensitivity.adjusted(claims or (), judged),
    }


def read_runs(folder: Path) -> list[Run]:
    """The runs that lie beside a report; those that the workbench did not make by all that they record."""
    runs, of_runs = read_csv(folder / RUNS), metrics_of_others(folder)
    if not of_runs:
        return runs
    return [replace(run, key_without=tuple(of_runs.get("ignore", ()))) for run in runs]


def beside_the_guides(facts: Mapping[str, Any], runs: Sequence[Run]) -> list[str]:
    """What sets results apart from those that the guide's page is made of: "gpu", and another scale than quick."""
    on_gpu = any(run.params.get("device") == "gpu" for run in runs)
    scale = facts.get("scale") or _OF_THE_GUIDE
    return [*(["gpu"] if on_gpu else []), *([scale] if scale != _OF_THE_GUIDE else [])]


def copy_own(folder: Path, target: Path) -> None:
    """Copy what of a folder is a report's, whatever else lies in it."""
    target.mkdir(parents=True, exist_ok=True)
    for name in OWN:
        path = folder / name
        if path.is_dir():
            (target / name).mkdir()
            for one in path.iterdir():
                if figures.is_ours(one.stem):
                    shutil.copy(one, target / name)
        elif path.exists():
            shutil.copy(path, target)


def metrics_of_others(folder: Path) -> Mapping[str, Any] | None:
    """What the claims' file says of the metrics of others' runs; None where the workbench made them."""
    path = folder / FACTS
    found = json.loads(path.read_text()).get("of_others") if path.is_file() else None
    return dict(found) if found else None


def claims_of(folder: Path) -> Path | None:
    """The claims file that a report's folder was judged by, as far as one of the experiments' is known to be it."""
    path = folder / FACTS
    facts = json.loads(path.read_text()) if path.is_file() else {}
    if path.is_file() and not facts.get("claims_sha"):
        return None
    known = [claims_file(one) for one in dict.fromkeys([folder.parent.name, str(facts.get("name"))])]
    there = [one for one in known if one]
    sha = facts.get("claims_sha")
    same = (one for one in there if claims_room.claims_sha(claims_room.load(one)) == sha)
    return next(same, there[0] if there else None)


def published_facts(facts: dict[str, Any]) -> str:
    """The facts of a report as JSON, without the address of this machine's runs."""
    return json.dumps({**facts, "runs_at": ""}, sort_keys=True, indent=1) + "\n"


def published(runs: Sequence[Run], claims: Sequence[Claim] | None = None, *keep: str) -> str:
    """The runs as CSV, as `judge_table` takes them, without what names places of this machine.

    What claims name stays as it is: their file names it too; and so do the tags in `keep`.
    """
    named = {*keep, *(name for claim in claims or () for name in _named(claim))}
    hidden = ("params.data.path", "tags.mlflow.", *(f"tags.{name}" for name in _OF_THIS_MACHINE))
    frame = frame_of(runs)
    shown = [
        column
        for column in map(str, frame.columns)
        if not column.startswith(hidden) or column.partition(".")[2] in named
    ]
    kept = frame[sorted(shown)].copy()
    paths = frame.get("params.data.path")
    if paths is not None and ("data.path" in named or paths.nunique() > 1):  # which of them, and not where
        number = {path: str(n) for n, path in enumerate(sorted({*paths.dropna()}), 1)}
        values = {str(normalise(one)) for claim in claims or () for one in _values(claim, "data.path")}
        kept["params.data.path"] = paths.map(lambda path: path if path in values else number.get(path))
    bare = any("\r" in str(value) for column in kept.columns for value in kept[column].unique())
    kept = kept.sort_values("start_time")
    if bare:  # by a lone \r Python before 3.13 puts no quotes
        return str(kept.to_csv(index=False, lineterminator="\n", quoting=_QUOTED))
    return str(kept.to_csv(index=False, lineterminator="\n"))


def _named(claim: Claim) -> Iterator[str]:
    """The params, tags and metrics that a claim names."""
    yield from (*claim.treatment, *claim.control, *claim.over, *claim.equal, claim.block)
    yield from (parse_where(text)[0] for text in claim.where)


def _values(claim: Claim, name: str) -> list[Any]:
    """The values of a param that a claim's arms and conditions name."""
    arms = [arm[name] for arm in (claim.treatment, claim.control) if name in arm]
    return [*arms, *claim.over.get(name, ())]
