"""Verdicts again from tracked runs, and what follows from them; nothing is run.

python -m workbench.report NAME                    # the verdicts of its last sweep
python -m workbench.report NAME --plan             # before a sweep: the pairs that each claim needs, and the time
python -m workbench.report FOLDER                  # the pages and figures of a report's folder again
python -m workbench.report NAME --against FOLDER   # another machine's results beside the committed ones
python -m workbench.report FOLDER --against FOLDER # any two results
python -m workbench.report --runs QUERY --claims FILE   # runs that the workbench did not make; --out keeps a page
python -m workbench.report --guide                 # the answer to the guide, from all committed results
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from workbench import claims as claims_room
from workbench.claims import Claim, Verdict
from workbench.claims.others import known_metrics
from workbench.claims.schema import nearest_or_all
from workbench.config.sweep import SWEEP_ID
from workbench.console import command_line, on_stderr, on_stdout, say
from workbench.places import claims_file, experiments_folder, results_folder
from workbench.record import Run
from workbench.record.frames import read_csv
from workbench.record.tags import CLAIMS_SHA
from workbench.report import assemble, decisions, guide, numbers, recorded, results, tables, terminal
from workbench.report.elsewhere import compare_results
from workbench.report.plan import plan_lines, time_line
from workbench.report.replication import replicated
from workbench.tracking import Tracker, TrackingError

_BAD_INPUT = (
    claims_room.ClaimError,
    claims_room.PairingError,
    recorded.ReportError,
    TrackingError,
    OSError,
)


_STORE = "sqlite:///mlruns/mlflow.db"
_USED = {
    "guide": ("commit_results",),
    "runs": ("name", "claims", "uri", "out", "full"),
    "against": ("name",),
    "plan": ("name", "claims", "scale", "sweep", "uri"),
}
"""What there is to do beside judging a sweep, and the arguments that each uses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge and print; 0, 1 where `--against` finds opposite verdicts, 2 where there is nothing to judge."""
    parser = command_line("workbench.report", __doc__)
    parser.add_argument("name", nargs="?", help="the experiment's name, or the folder of a report")
    parser.add_argument("--sweep", help="a sweep's id; the last one where it is not given")
    parser.add_argument(
        "--claims", type=Path, help="another claims.yaml: exploratory, unless the sweep was declared with it"
    )
    parser.add_argument("--uri", default=_STORE, help="MLflow tracking URI")
    parser.add_argument("--out", type=Path, help="where to write; below mlruns/ where it is not given")
    parser.add_argument(
        "--plan", action="store_true", help="what the next sweep can decide; nothing is judged"
    )
    parser.add_argument("--scale", default="quick", help="with --plan: the scale whose pairs are planned")
    parser.add_argument(
        "--against",
        type=Path,
        help="a results folder to hold against NAME's committed one, or the FOLDER named",
    )
    parser.add_argument(
        "--runs",
        metavar="QUERY",
        help="judge the runs that MLflow finds by this filter (\"tags.study = 'c'\"; '' takes all), of "
        "experiment NAME or of all; with --claims, and --out to keep the verdicts",
    )
    parser.add_argument("--full", action="store_true", help="all that each verdict says, not a line a claim")
    parser.add_argument("--guide", action="store_true", help="the page over all experiments")
    parser.add_argument(
        "--commit-results",
        action="store_true",
        help="also copy into experiments/NAME/results/, with --guide write experiments/README.md",
    )
    given = parser.parse_args(arguments)
    if given.name and given.name.startswith("tracking.uri="):  # as python -m workbench takes it
        parser.error(f"{given.name} is no experiment; the store is --uri {given.name.partition('=')[2]} here")
    if given.runs is not None and (given.guide or given.claims is None):
        parser.error("--runs QUERY needs --claims FILE, which says what is judged; and goes without --guide")
    if given.runs is None and given.guide == bool(given.name):
        parser.error("give the name of one experiment, or --guide for all")
    if given.sweep and not re.fullmatch(SWEEP_ID, given.sweep):
        parser.error(f"--sweep {given.sweep!r} is no sweep's id, which is letters, digits, _ . and -")
    if unused := _unused(given, parser):
        parser.error(unused)
    console = on_stdout()
    try:
        if given.guide:
            return _guide(given.commit_results)
        if given.runs is not None:
            claims = claims_room.load(given.claims)
            with known_metrics(claims[0].runs):
                return _others(given, claims, console)
        if given.against:
            return _against(given, console)
        if given.plan:
            return _plan(given, console)
        if any((Path(given.name) / one).is_file() for one in ("facts.json", "verdicts.json")):
            return _redraw(given)
        return _judge(given, console)
    except _BAD_INPUT as error:
        on_stderr().print(str(error), style="red")
        return 2


def _unused(given: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """What was typed and would be passed over; empty where nothing would."""
    mode = next((one for one in _USED if getattr(given, one) not in (None, False)), None)
    if mode is None:
        return "" if given.scale == parser.get_default("scale") else "--scale is for --plan"
    typed = [name for name, value in vars(given).items() if value != parser.get_default(name)]
    unused = [f"--{name.replace('_', '-')}" for name in typed if name not in (mode, *_USED[mode])]
    return f"--{mode} makes no use of {', '.join(unused)}: leave it out" if unused else ""


def _judge(given: argparse.Namespace, console: Console) -> int:
    tracker, sweep = _sweep_of(given)
    own = recorded.own_run(tracker, given.name, sweep)
    claims = claims_room.load(given.claims) if given.claims else recorded.declared(tracker, given.name, own)
    folder = given.out or Path("mlruns").resolve() / "hydra" / given.name / sweep / "report"
    found = assemble.report(tracker, given.name, sweep, claims, folder)
    found.show(console, full=given.full)
    said = _by_which(given, found, own.tags.get(CLAIMS_SHA, ""))
    say(console, said)
    if given.commit_results:
        print(f"copied to {found.commit_results(given.name)}")
    return 0


def _sweep_of(given: argparse.Namespace) -> tuple[Tracker, str]:
    """The store, and the sweep that is meant of it."""
    tracker = Tracker(given.uri, create=False)
    return tracker, given.sweep or recorded.latest_sweep(tracker, given.name)


def _others(given: argparse.Namespace, claims: Sequence[Claim], console: Console) -> int:
    """Verdicts on runs of any origin; MLflow is read and not written."""
    if not claims[0].runs:
        raise claims_room.ClaimError(f"{given.claims}: runs: is not there; --runs needs its metrics")
    try:
        tracker = Tracker(given.uri, create=False)
        if given.name and given.name not in (there := tracker.experiments()):
            near = nearest_or_all(given.name, there)
            raise recorded.ReportError(f"{given.uri} has no experiment {given.name!r}{near}")
        runs = tracker.matching(given.runs, given.name)
    except TrackingError as error:
        if getattr(error.__cause__, "error_code", "") != "INVALID_PARAMETER_VALUE":
            raise
        why = str(error).partition(": ")[2]
        remedy = "a filter of MLflow's compares by = and quotes texts: \"params.scaling = 'none'\""
        raise recorded.ReportError(f"--runs {given.runs!r}: {why}; {remedy}") from error
    if not runs:
        raise recorded.ReportError(f"--runs {given.runs!r}: finds no run at {given.uri}; nothing to judge")
    verdicts = claims_room.judge_table(claims, runs)
    lines = terminal.verdict_lines(verdicts, console.width)
    console.print(terminal.verdict_table(verdicts) if given.full else lines)
    if not given.full:
        console.print(tables.instrument_line(verdicts), highlight=False, soft_wrap=True)
    console.print(tables.headline(verdicts), style="bold", highlight=False)
    said: dict[str, list[str]] = {}
    for one in verdicts:
        for line in dict.fromkeys((*one.reasons, *one.flags)):
            said.setdefault(line, []).append(one.claim)
    for line, of in said.items():
        whose = "" if len(of) == len(verdicts) else f"{', '.join(of)}: "
        say(console, f"{whose}{line}")
    if given.out:
        results.of_others(given.out, verdicts, claims, runs, given.name)
        print(f"report: {given.out / 'report.html'}")
    return 0


def _redraw(given: argparse.Namespace) -> int:
    folder = Path(given.name).resolve()
    for option in ("sweep", "commit_results", "full", "uri"):
        if getattr(given, option) not in (None, False, _STORE):
            word = option.replace("_", "-")
            raise recorded.ReportError(
                f"--{word}: {folder} is a folder, whose pages are drawn again: leave it out"
            )
    path = given.claims or results.claims_of(folder)
    claims = claims_room.load(path) if path else None
    if given.out and given.out.resolve() != folder:
        recorded.refuse_fewer(given.out, _verdicts(folder), another=False)
        with tempfile.TemporaryDirectory() as scratch:  # what is refused leaves nothing there
            drawn = Path(scratch) / "drawn"
            results.copy_own(folder, drawn)
            written = results.redraw(drawn, claims)
            shutil.copytree(drawn, given.out, dirs_exist_ok=True)
        folder = given.out.resolve()
    else:
        written = results.redraw(folder, claims)
    print(f"written: {len(written)} files in {folder}")
    return 0


def _by_which(given: argparse.Namespace, found: assemble.Report, known: str) -> str:
    """By which claims was judged, in a line."""
    if found.exploratory:
        other = "others than the sweep was declared with" if known else "the sweep was declared with none"
        return f"exploratory, beside the declared verdicts: {given.claims} ({other})"
    path = claims_file(given.name)
    changed = path is not None and claims_room.claims_sha(claims_room.load(path)) != known
    what = (
        "is another file by now: --claims {0} judges by it, beside these"
        if known
        else ("declares some: --claims {0} judges by them, as exploratory")
    )
    more = f"; {path} {what.format(path)}" if changed else ""
    words = f"by the claims that the sweep was declared with (SHA-256 {known[:12]})"
    return (words if known else "the sweep was declared with no claims: nothing was judged") + more


def _guide(commit: bool) -> int:
    names = guide.of_the_guide()
    again = guide.instruments({name: experiments_folder() / name / "results" for name in names})
    links = {name: f"{name}/README.md" for name in names}
    found, decided = guide.committed(names), decisions.declared()
    page = guide.write_page(found, links, again, decided)
    if commit:
        target = experiments_folder() / "README.md"
        target.write_text(page)
        pages = {name: f"{name}/results/report.html" for name in names}
        (experiments_folder() / "report.html").write_text(guide.write_html(found, pages, again, decided))
        stands = guide.stands_over_all(found)
        for name in {one.experiment for one in found if one.verdict}:
            own = {claim: still for (of, claim), still in stands.items() if of == name}
            results.redraw(results_folder(name), claims_room.load(claims_file(name) or name), own)
        print(f"written: {target}, report.html beside it, and the pages of all results")
    else:
        print(page)
    return 0


def _plan(given: argparse.Namespace, console: Console) -> int:
    claims = _claims_to_plan(given)
    looks = claims_room.looks(claims, given.scale)
    pairs = looks[-1]
    runs, source = _earlier(given)
    say(console, f"noise from {source}")
    for line in (*plan_lines(claims, runs, pairs, len(looks)), time_line(runs, pairs)):
        say(console, line)
    return 0


def _claims_to_plan(given: argparse.Namespace) -> list[Claim]:
    """Those of a file; else, as of an experiment of one's own, those that its last sweep was declared with."""
    path = given.claims or (None if given.sweep else claims_file(given.name))
    if path is not None:
        return claims_room.load(path)
    try:
        tracker, sweep = _sweep_of(given)
        found = recorded.declared(tracker, given.name, recorded.own_run(tracker, given.name, sweep))
        why = f"and neither does its sweep {sweep}"
    except (TrackingError, recorded.ReportError) as error:
        found, why = None, str(error)
    if not found:
        raise recorded.ReportError(
            f"experiment {given.name!r} declares no claims, {why}; nothing to plan (--claims FILE plans those)"
        )
    return found


def _earlier(given: argparse.Namespace) -> tuple[list[Run], str]:
    """The runs of the last sweep in the store, else of the committed results, and which these are."""
    try:
        tracker, sweep = _sweep_of(given)
        return tracker.jobs(given.name, sweep), f"sweep {sweep}"
    except (TrackingError, recorded.ReportError) as missing:
        committed = results_folder(given.name) / "runs.csv"
        if not committed.is_file():
            return [], f"nowhere yet ({missing})"
        return read_csv(committed), "the committed results, of the machine that they name"


def _against(given: argparse.Namespace, console: Console) -> int:
    own = Path(given.name) if Path(given.name).is_dir() else _committed_like(given.name, given.against)
    first, second = _verdicts(own), _verdicts(given.against)
    effects = [{one.claim: numbers.effect_words(one) for one in side} for side in (first, second)]
    repeated = replicated(first, second)
    head = (
        "claim",
        "answer",
        str(own) if own.is_relative_to(given.name) else "committed",
        "other",
        "effect expected",
    )
    words = {True: "yes", False: "no", None: numbers.NOTHING}
    rows = [
        (
            one.claim,
            one.answer,
            f"{one.first} {effects[0].get(one.claim, '')}",
            f"{one.second} {effects[1].get(one.claim, '')}",
            words[one.within],
        )
        for one in repeated
    ]
    lines = [tables.markdown(head, rows)]
    runs = [folder / "runs.csv" for folder in (own, given.against)]
    if missing := [str(one) for one in runs if not one.is_file()]:
        lines.append(f"the runs were not compared: {' and '.join(missing)} is not there")
    else:
        with known_metrics(results.metrics_of_others(own)):
            lines += compare_results(*map(results.read_runs, (own, given.against)))
    for line in lines:
        say(console, line)
    return 1 if any(one.failed for one in repeated) else 0


def _committed_like(name: str, other: Path) -> Path:
    """The committed results of the scale and device that others are of."""
    path, runs = other / results.FACTS, other / results.RUNS
    facts = json.loads(path.read_text()) if path.is_file() else {}
    kind = results.beside_the_guides(facts, results.read_runs(other) if runs.is_file() else ())
    found = results_folder(name, *kind)
    if kind and not found.is_dir():
        raise recorded.ReportError(
            f"{other} is of {' and '.join(kind)}, and {found} is not there; name the folder to hold it against "
            f"in place of {name}"
        )
    return found


def _verdicts(folder: Path) -> list[Verdict]:
    path = folder / "verdicts.json"
    if not path.is_file():
        raise recorded.ReportError(
            f"{folder} holds no verdicts.json; give a folder that a report was written to"
        )
    return [Verdict.from_json(one) for one in json.loads(path.read_text())]


if __name__ == "__main__":
    sys.exit(main())
