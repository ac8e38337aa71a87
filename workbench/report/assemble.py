"""From tracked runs to a report: verdicts, tables, figures, pages; nothing is run again."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from workbench import claims as claims_room
from workbench.claims import NOT_ASSESSABLE, Claim, Judged, Verdict
from workbench.console import say
from workbench.places import results_folder
from workbench.record import METRICS, Run, unfinished
from workbench.record import tags as names
from workbench.record.plan import NAME, Job, Plan, read_plan
from workbench.record.run import NOT_RUN
from workbench.report import (
    curves,
    history,
    in_mlflow,
    page,
    recorded,
    said,
    state,
    tables,
    terminal,
)
from workbench.report.recorded import ReportError
from workbench.report.results import (
    FACTS,
    OWN,
    RUNS,
    beside_the_guides,
    beside_verdicts,
    copy_own,
    published,
    published_facts,
)
from workbench.tracking import Tracker, as_text
from workbench.wording import counted

_NOT_AGAIN = {"FINISHED": "set aside, and not run again since"}


@dataclass
class Report:
    """A judged sweep and where its files lie."""

    folder: Path
    verdicts: list[Verdict]
    runs: list[Run]
    facts: dict[str, Any]
    exploratory: bool = False
    """Whether it judges by other claims than the sweep was declared with; it then lies beside the declared ones."""
    history: str = ""
    """One line on the A/A arms of all sweeps tracked there; not on the page, which is this sweep's alone."""
    look: str = ""
    """The address of the sweep's view in MLflow, or the command that opens it."""

    def show(self, console: Console, *, quiet: bool = False, full: bool = False) -> None:
        """Print the arms and a line a claim, in `full` all that its verdict says, and where the page lies."""
        if not quiet:
            console.print(terminal.runs_table(self.runs, width=console.width))
            for arm, reason in self.facts["skipped"]:
                say(console, f"skipped: {arm}: {reason}")
        if words := str(self.facts.get("state") or ""):
            style = "bold reverse" if "NOISY" in words else "bold"
            say(console, words, style=style)
        if self.verdicts:
            lines = terminal.verdict_lines(self.verdicts, console.width)
            console.print(terminal.verdict_table(self.verdicts) if full else lines)
            if not full:
                console.print(tables.instrument_line(self.verdicts), highlight=False, soft_wrap=True)
                for one in self.verdicts:
                    if one.looks or one.verdict == NOT_ASSESSABLE:
                        line = f"{one.claim}: {'; '.join(said.reasons(one))}"
                        say(console, line)
            console.print(tables.headline(self.verdicts), style="bold", highlight=False)
        if self.history and (not quiet or "ALARM" in self.history):
            say(console, self.history)
        if self.look and not quiet:
            say(console, f"in MLflow: {self.look}")
        say(console, f"report: {self.folder / 'report.html'}")

    def commit_results(self, name: str) -> Path:
        """Copy the report into experiments/NAME/results/, to be committed; what else lies there stays.

        What was run on a GPU, or at another scale than quick, goes into a folder beside it: results-gpu/,
        results-full/, results-gpu-full/.

        Raises:
            ReportError: it is exploratory and would lie over declared verdicts, or the results hold verdicts on
                claims that it has none on.
        """
        target = results_folder(name, *beside_the_guides(self.facts, self.runs))
        old = _beside(target)[1]
        if old.exists() and not target.exists():  # ended between its two renames
            old.rename(target)
        if self.exploratory or (any(one.exploratory for one in self.verdicts) and _has_declared(target)):
            raise ReportError(
                f"{target} was left as it is: it holds verdicts on claims that were declared before the runs, and "
                "these are exploratory"
            )
        recorded.refuse_fewer(target, self.verdicts, another=True)
        if self.folder.resolve() == target.resolve():
            return target
        beside, old = _beside(target)
        for left_over in (beside, old):
            shutil.rmtree(left_over, ignore_errors=True)
        copy_own(self.folder, beside)
        if target.exists():
            for other in target.iterdir():
                if other.name not in OWN:
                    (shutil.copytree if other.is_dir() else shutil.copy2)(other, beside / other.name)
            target.rename(old)
        beside.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        return target


def _beside(results: Path) -> tuple[Path, Path]:
    """Where new results are made, and where the old ones stand for a moment."""
    return results.with_name(f"{results.name}.new"), results.with_name(f"{results.name}.old")


def _has_declared(results: Path) -> bool:
    """Whether a folder holds verdicts that are not exploratory, or some that cannot be read."""
    path = results / "verdicts.json"
    try:
        return path.is_file() and any(not one.get("exploratory") for one in json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError):
        return True


def report(
    tracker: Tracker, experiment: str, sweep: str, claims: Sequence[Claim] | None, folder: Path
) -> Report:
    """Judge a sweep from its tracked runs, write the report to `folder`, keep it with the sweep's own run.

    By other claims than those that the sweep was declared with the report is exploratory: it goes into a folder
    of its own below `folder`, and in MLflow, and leaves the declared verdicts as they are.

    Raises:
        ReportError: the sweep has no run, or verdicts would be lost.
        PairingError: the runs cannot be compared.
    """
    own = recorded.own_run(tracker, experiment, sweep)
    children = tracker.jobs(experiment, sweep)
    planned, _ = read_plan(tracker.read_text(own.run_id, NAME))
    judged = claims_room.judged_table(claims, children) if claims and children else Judged([], {})
    verdicts, known = judged.verdicts, own.tags.get(names.CLAIMS_SHA)
    facts = _facts(own, children, planned, claims)
    facts["runs_at"] = tracker.runs_at(own)
    facts["state"] = state.instrument_state(verdicts, children)
    beside = f"exploratory-{facts['claims_sha'][:12]}" if claims and facts["claims_sha"] != known else None
    folder = folder / beside if beside else folder
    recorded.refuse_fewer(folder, verdicts, another=False)
    recorded.refuse_fewer_recorded(tracker, own.run_id, beside, verdicts)
    jobs = planned.jobs
    if claims:
        looks = claims_room.looks(claims, own.tags.get(names.SCALE, ""), planned.blocks)
        jobs = claims_room.still_planned(jobs, claims, looks, children)
    left = not_begun(children, jobs)
    shown = [*children, *left]
    if left:
        facts["not_run"] = [_not_run(one) for one in left]
    lines = curves.recorded_curves(tracker, children)
    page.write_report(folder, verdicts, shown, {**facts, **beside_verdicts(claims, judged)}, lines)
    (folder / RUNS).write_text(published(children, claims))
    (folder / curves.NAME).write_text(curves.to_csv(lines))
    (folder / FACTS).write_text(published_facts(facts))
    _keep(tracker, own.run_id, folder, beside)
    if not beside:
        history.remember(tracker, own.run_id, verdicts)
        in_mlflow.show(tracker, own, verdicts, children, facts)
    told = history.remembered(tracker) if has_timed_control(verdicts) else []
    return Report(
        folder,
        verdicts,
        shown,
        facts,
        beside is not None,
        history.history_line(told, "tracked here"),
        in_mlflow.where(tracker, own),
    )


def _not_run(run: Run) -> dict[str, Any]:
    """A job of which no run was begun, as it is kept with the facts: without where its data lies."""
    params = {name: value for name, value in run.params.items() if name != "data.path"}
    return {"run_id": run.run_id, "params": params, "tags": run.tags}


def _keep(tracker: Tracker, run_id: str, folder: Path, beside: str | None) -> None:
    """Keep a report with its sweep's run: its own files, whatever else lies in the folder."""
    if {path.name for path in folder.iterdir()} <= {*OWN}:
        tracker.artifact(run_id, folder, beside)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy_own(folder, Path(scratch))
        tracker.artifact(run_id, Path(scratch), beside)


def has_timed_control(verdicts: Sequence[Verdict]) -> bool:
    """Whether a sweep has an A/A arm that a clock was held beside: to another the others' history says nothing."""
    return any(one.kind == "instrument" and METRICS[one.metric].noisy for one in verdicts)


def not_begun(runs: Sequence[Run], jobs: Sequence[Job]) -> list[Run]:
    """For each of the jobs of a sweep that no run was ever begun of one of status NOT RUN."""
    begun = {run.job for run in runs if not run.superseded}
    return [
        Run(
            run_id=f"(job {job.number})",
            status=NOT_RUN,
            params={name: as_text(value) for name, value in job.params.items() if value is not None},
            tags={
                names.KIND: "run",
                names.ARM: job.arm,
                names.BLOCK: str(job.block),
                names.REPEAT: str(job.repeat),
            },
        )
        for job in jobs
        if job.key not in begun
    ]


def _facts(own: Run, runs: Sequence[Run], planned: Plan, claims: Sequence[Claim] | None) -> dict[str, Any]:
    def tag(name: str) -> str:
        return own.tags.get(name, "")

    is_epoch = [run.tags[names.IS_EPOCH] for run in runs if names.IS_EPOCH in run.tags]
    return {
        "name": str(own.params.get("name")),
        "question": own.params.get("sweep.question") or "",
        "sweep": own.sweep,
        "machine": _machines(runs) or _machine(own),
        "versions": {
            name.removeprefix("version."): _of_runs(runs, own, name)
            for name in sorted(own.tags)
            if name.startswith("version.")
        },
        "commit": _of_runs(runs, own, "git.commit"),
        "dirty": _of_runs(runs, own, "git.dirty"),
        "command": tag(names.COMMAND),
        "started": tag(names.STARTED),
        "minutes": _minutes(own, runs),
        "scale": tag(names.SCALE),
        "skipped": [(one.arm, one.reason) for one in planned.skipped],
        "failures": [
            (run.tags.get(names.NAME, ""), run.error or _NOT_AGAIN.get(run.status, run.status), run.run_id)
            for run in unfinished(runs)
        ],
        "planned": int(tag(names.PLANNED_PAIRS) or 0),
        "claims_sha": claims_room.claims_sha(claims) if claims else "",
        "window_is_epoch": bool(is_epoch) and set(is_epoch) == {"true"},
        "notes": [f"When the sweep was resumed: {kept}."] if (kept := tag(names.KEPT)) else [],
        "resumed": int(tag(names.RESUMED) or 0),
    }


def _of_runs(runs: Sequence[Run], own: Run, tag: str) -> str:
    """A tag as the runs that count have it, which may be of a later start than the sweep's own; all, where several.

    >>> old, new = (Run(one, "FINISHED", tags={"git.commit": one}) for one in ("a1", "b2"))
    >>> _of_runs([new], old, "git.commit"), _of_runs([old, new], old, "git.commit"), _of_runs([], old, "git.commit")
    ('b2', 'a1 and b2', 'a1')
    """
    count = (run for run in runs if run.is_data and run.has_result and not run.requeued)
    said = dict.fromkeys(run.tags[tag] for run in count if tag in run.tags)
    return " and ".join(sorted(said)) or own.tags.get(tag, "")


def _machine(run: Run) -> str:
    cpu, cores, memory = (run.tags.get(f"machine.{one}", "") for one in ("cpu", "cores", "memory_gb"))
    return f"{cpu}, {cores} cores, {memory} GB"


def _machines(runs: Sequence[Run]) -> str:
    """Where the runs themselves were made, which a launcher may have sent elsewhere; empty where none says it.

    >>> one, two = ({"machine.cpu": cpu, "machine.cores": "2", "machine.memory_gb": "8"} for cpu in ("a", "b"))
    >>> _machines([Run("a", "", tags=one), Run("b", "", tags=one)])
    'a, 2 cores, 8 GB'
    >>> _machines([Run("a", "", tags=one), Run("b", "", tags=two), Run("c", "", tags=two)])
    'b, 2 cores, 8 GB (2 runs); a, 2 cores, 8 GB (1 run)'
    """
    number = Counter(_machine(run) for run in runs if "machine.cpu" in run.tags and not run.superseded)
    if len(number) < 2:
        return next(iter(number), "")
    return "; ".join(f"{one} ({counted(count, 'run')})" for one, count in number.most_common())


def _minutes(own: Run, runs: Sequence[Run]) -> float:
    ends = [run.end for run in runs if run.end is not None]
    return round((max(ends) - own.start) / 60, 1) if ends else 0.0
