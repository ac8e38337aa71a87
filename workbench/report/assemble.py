"""From tracked runs to a report: verdicts, tables, figures, a page; nothing is run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from workbench import claims as claims_room
from workbench.claims import Claim, Verdict
from workbench.places import results_folder
from workbench.record import ARM, METRICS, arm_of
from workbench.report import foretold, history, page, recorded, sensitivity, tables
from workbench.report.recorded import ReportError
from workbench.sweep.conduct import params_of
from workbench.sweep.frozen import NAME, read_plan
from workbench.sweep.grid import Job, Plan
from workbench.sweep.ledger import attempts, key_of
from workbench.tracking import Tracker, as_text

_OWN = ("figures", "report.md", "runs.csv", "verdicts.csv", "verdicts.json")
"""What a report's folder holds."""
_NOT_AGAIN = {"FINISHED": "set aside, and not run again since"}


@dataclass
class Report:
    """A judged sweep and where its files lie."""

    folder: Path
    verdicts: list[Verdict]
    runs: pd.DataFrame
    facts: dict[str, Any]
    exploratory: bool = False
    """Whether it judges by other claims than the sweep was declared with; it then lies beside the declared ones."""
    history: str = ""
    """One line on the A/A arms of all sweeps tracked there; not on the page, which is this sweep's alone."""

    def show(self, console: Console, *, quiet: bool = False) -> None:
        """Print the verdict table, and what failed."""
        if not quiet:
            console.print(tables.runs_table(self.runs))
            for arm, reason in self.facts["skipped"]:
                console.print(f"skipped: {arm}: {reason}", highlight=False, markup=False, soft_wrap=True)
        if self.verdicts:
            console.print(tables.verdict_table(self.verdicts))
        if self.history and (not quiet or "ALARM" in self.history):
            console.print(self.history, highlight=False, markup=False, soft_wrap=True)
        console.print(f"report: {self.folder / 'report.md'}", highlight=False, markup=False, soft_wrap=True)

    def commit_results(self, name: str) -> Path:
        """Copy the report into experiments/NAME/results/, to be committed; what else lies there stays.

        Raises:
            ReportError: it is exploratory and would lie over declared verdicts, or the results hold verdicts on
                claims that it has none on.
        """
        target = results_folder(name)
        if self.exploratory or (any(one.exploratory for one in self.verdicts) and _has_declared(target)):
            raise ReportError(
                f"{target} was left as it is: it holds verdicts on claims that were declared before the runs, and "
                "these are exploratory"
            )
        recorded.refuse_fewer(target, self.verdicts, another=True)
        if self.folder.resolve() == target.resolve():
            return target
        beside, old = target.with_name("results.new"), target.with_name("results.old")
        for left_over in (beside, old):
            shutil.rmtree(left_over, ignore_errors=True)
        shutil.copytree(self.folder, beside)
        if target.exists():
            for other in target.iterdir():
                if other.name not in _OWN:
                    (shutil.copytree if other.is_dir() else shutil.copy2)(other, beside / other.name)
            target.rename(old)
        beside.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        return target


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
    run = recorded.own_run(tracker, experiment, sweep)
    run_id, known = run.info.run_id, run.data.tags.get(recorded.SHA)
    runs = tracker.runs(experiment, sweep)
    parent = runs[runs["run_id"] == run_id].iloc[0]
    children = runs[runs["tags.workbench.kind"] == "run"].reset_index(drop=True)
    planned, _ = read_plan(tracker.read_text(run_id, NAME))
    verdicts = claims_room.judge_table(claims, children) if claims and not children.empty else []
    facts = _facts(parent, children, planned, claims)
    facts["foretold"] = foretold.foretold(claims or (), children, verdicts)
    facts["adjusted"] = sensitivity.adjusted(claims or (), children, verdicts)
    beside = f"exploratory-{facts['claims_sha'][:12]}" if claims and facts["claims_sha"] != known else None
    folder = folder / beside if beside else folder
    recorded.refuse_fewer(folder, verdicts, another=False)
    recorded.refuse_fewer_recorded(tracker, run_id, beside, verdicts)
    shown = with_planned(children, planned.jobs)
    page.write_report(folder, verdicts, shown, facts)
    (folder / "runs.csv").write_text(published(children))
    tracker.artifact(run_id, folder, beside)
    if not beside:
        history.remember(tracker, run_id, verdicts)
    told = history.remembered(tracker) if has_timed_control(verdicts) else []
    return Report(
        folder, verdicts, shown, facts, beside is not None, history.history_line(told, "tracked here")
    )


def has_timed_control(verdicts: Sequence[Verdict]) -> bool:
    """Whether a sweep has an A/A arm that a clock was held beside: to another the others' history says nothing."""
    return any(one.kind == "instrument" and METRICS[one.metric].noisy for one in verdicts)


def with_planned(runs: pd.DataFrame, jobs: Sequence[Job]) -> pd.DataFrame:
    """The runs of a sweep, and a row of status NOT RUN for each of its jobs that no run was ever begun of."""
    begun = {run.key for run in attempts(runs) if not run.is_superseded}
    rows = [
        {
            "run_id": f"(job {job.number})",
            "status": "NOT RUN",
            **{f"params.{name}": as_text(value) for name, value in params_of(job.tree).items()},
            **{f"tags.workbench.{name}": str(getattr(job, name)) for name in ("arm", "block", "repeat")},
            "tags.workbench.kind": "run",
        }
        for job in jobs
        if key_of(job) not in begun
    ]
    return (
        pd.concat([*([] if runs.empty else [runs]), pd.DataFrame(rows)], ignore_index=True) if rows else runs
    )


def published(runs: pd.DataFrame) -> str:
    """The runs as CSV, as `judge_table` takes them, without what names places of this machine."""
    hidden = (
        *("artifact_uri", "experiment_id", "params.data.path", "tags.mlflow."),
        *("tags.workbench.command", "tags.workbench.owner"),
    )
    kept = runs[sorted(column for column in map(str, runs.columns) if not column.startswith(hidden))]
    return str(kept.sort_values("start_time").to_csv(index=False, lineterminator="\n"))


def _facts(
    parent: pd.Series, runs: pd.DataFrame, planned: Plan, claims: Sequence[Claim] | None
) -> dict[str, Any]:
    def tag(name: str) -> str:
        value = parent.get(f"tags.{name}")
        return value if isinstance(value, str) else ""

    left = failed(runs)
    failures = left.reindex(columns=["tags.mlflow.runName", "tags.workbench.error", "status", "run_id"])
    is_epoch = runs.get("tags.window.is_epoch", pd.Series(dtype=str)).dropna()
    return {
        "name": str(parent.get("params.name")),
        "sweep": tag("workbench.sweep"),
        "machine": f"{tag('machine.cpu')}, {tag('machine.cores')} cores, {tag('machine.memory_gb')} GB",
        "versions": {
            column.removeprefix("tags.version."): parent[column]
            for column in sorted(parent.index)
            if column.startswith("tags.version.") and isinstance(parent[column], str)
        },
        "commit": tag("git.commit"),
        "dirty": tag("git.dirty"),
        "command": tag("workbench.command"),
        "started": tag("workbench.started"),
        "minutes": _minutes(parent, runs),
        "scale": tag("workbench.scale"),
        "skipped": [(one.arm, one.reason) for one in planned.skipped],
        "failures": [
            (name, error if isinstance(error, str) else _NOT_AGAIN.get(status, status), run_id)
            for name, error, status, run_id in failures.itertuples(index=False)
        ],
        "planned": int(tag("workbench.planned_pairs") or 0),
        "claims_sha": claims_room.claims_sha(claims) if claims else "",
        "window_is_epoch": bool(len(is_epoch)) and bool((is_epoch == "true").all()),
        "notes": [f"When the sweep was resumed: {kept}."] if (kept := tag("workbench.kept")) else [],
        "resumed": int(tag("workbench.resumed") or 0),
    }


def failed(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of jobs that no attempt finished, the last of each; what died and was run again is left out.

    What was set aside, as its block was disturbed or its job has changed since, does not count as finished.
    """
    if runs.empty:
        return runs
    runs = runs.assign(**{f"tags.{ARM}": runs[f"tags.{ARM}"].map(arm_of)}) if f"tags.{ARM}" in runs else runs
    job = [name for name in ("block", "arm", "repeat") if f"tags.workbench.{name}" in runs]
    keys = runs[[f"tags.workbench.{name}" for name in job]].apply(tuple, axis=1) if job else runs["run_id"]
    aside = runs.get("tags.workbench.requeued", pd.Series(index=runs.index, dtype=object)) == "true"
    finished = set(keys[(runs["status"] == "FINISHED") & ~aside])
    # the key first: pandas gives a frame without rows those of the column that it is assigned
    left = runs.assign(key=keys)[~keys.isin(finished)]
    return left.sort_values("start_time").drop_duplicates("key", keep="last")


def _minutes(parent: pd.Series, runs: pd.DataFrame) -> float:
    ends = runs.get("end_time", pd.Series(dtype=object)).dropna()
    return round((max(ends) - parent["start_time"]).total_seconds() / 60, 1) if len(ends) else 0.0
