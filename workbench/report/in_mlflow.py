"""What people see of a sweep in MLflow: its name and description, its claims as metrics, a view of its runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.claims import Verdict
from workbench.provenance import without_passwords
from workbench.record import LARGEST, METRICS, Run
from workbench.record.tags import BLOCK, KIND, SWEEP, TITLE
from workbench.report import arms, said, tables
from workbench.tracking import Tracker
from workbench.wording import counted

_NOT_IN_A_NAME = re.compile(r"[^\w. -]")  # MLflow refuses it; a claim's row `elsewhere` has brackets
_ELSEWHERE = ("memory/rss_growth_mb", "speed/graph_build_s")
"""MLflow sorts its columns by name: with these, speed would stand where few screens reach."""
NOTE = "mlflow.note.content"
_BEGIN, _END = "<!-- workbench -->", "<!-- end of workbench -->"
"""Around what is ours in an experiment's description."""
VIEW = "workbench"
"""The key of the saved view, as an address gives it."""


def show(
    tracker: Tracker, own: Run, verdicts: Sequence[Verdict], runs: Sequence[Run], facts: Mapping[str, Any]
) -> None:
    """Name and describe a sweep's own run, and log each claim's effect.

    Of the newest sweep describe its experiment too, and save a view of its runs there.
    """
    found = tables.headline(verdicts) if verdicts else counted(len(arms.counted(runs)), "run")
    tracker.describe(own, f"{found} · {own.sweep}", description(verdicts, runs, facts))
    if effects := claim_metrics(verdicts):
        tracker.log(own.run_id, [(0, effects)])
    name = str(own.params.get("name", ""))
    later = (run.sweep for run in tracker.sweeps(experiment=name) if run.start > own.start)
    if any(tracker.jobs(name, sweep) for sweep in later):
        return
    note = [str(facts.get("question") or ""), f"Last sweep ({own.sweep}): {found}.", _metrics_of(runs)]
    before = tracker.tags_of_experiment(own.experiment).get(NOTE, "")
    tags = {
        NOTE: _with(before, "\n\n".join(text for text in note if text)),
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view(own.sweep, runs)),
    }
    tracker.experiment_tags(own.experiment, tags)


def _with(before: str, ours: str) -> str:
    """A description with our part in it; what a person wrote beside it stays."""
    ours = f"{_BEGIN}\n{ours}\n{_END}"
    if _BEGIN in before and _END in before:
        return before.partition(_BEGIN)[0] + ours + before.rpartition(_END)[2]
    # written before there were marks
    whole = re.search(r"^Last sweep \(\d{8}-\d{6}-\w+\): ", before, re.MULTILINE)
    return f"{before}\n\n{ours}" if before.strip() and not whole else ours


def description(verdicts: Sequence[Verdict], runs: Sequence[Run], facts: Mapping[str, Any]) -> str:
    """A sweep in Markdown, as MLflow shows it: the question, the verdicts, the arms."""
    rows = [
        (one.statement or one.claim, f"**{one.label}**", said.value(one), said.claimed(one))
        for one in tables.claimed(verdicts)
    ]
    claims = tables.markdown(["claim", "verdict", "measured", "claimed"], rows) if rows else ""
    parts = [str(facts.get("question") or ""), claims, tables.instrument_line(verdicts) if rows else ""]
    return "\n\n".join(text for text in (*parts, tables.runs_markdown(runs)) if text)


def claim_metrics(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Each claim's effect and the ends of its interval, as metrics of the sweep's own run."""
    found = {}
    for one in verdicts:
        low, high = one.interval or (None, None)
        for part, value in (("effect", one.effect), ("low", low), ("high", high)):
            if value is not None and abs(value) < LARGEST:
                found[f"claim/{_NOT_IN_A_NAME.sub('', one.claim)[:200]}/{part}"] = value
    return found


def view(sweep: str, runs: Sequence[Run]) -> dict[str, Any]:
    """MLflow's table of runs as a researcher wants it: what was found, what varies, by arm, no throw-away runs.

    As MLflow 3.17 saves a view of its own. What was set aside stands apart: its title says so.
    """
    counted_runs = arms.counted(runs)
    metrics = [one for one in tables.main_metrics(counted_runs) if one not in _ELSEWHERE]
    varying = arms.telling(counted_runs, arms.varying_parameters(counted_runs))
    return {
        "searchFilter": f"tags.`{KIND}` = 'run' and tags.`{BLOCK}` != '0' and tags.`{SWEEP}` = '{sweep}'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [
            "attributes.`Duration`",
            *(f"metrics.`{name}`" for name in metrics),
            *(f"params.`{name}`" for name in varying),
        ],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": TITLE}],
        },
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "groupsExpanded": {},
        "autoRefreshEnabled": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
    }


def address(server: str, experiment: str) -> str:
    """Where a browser finds the view of an experiment, by its id, on a server."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs?{query}"


def where(tracker: Tracker, own: Run) -> str:
    """The address of a sweep's view on a server; of a database the command that starts one and opens it."""
    if tracker.uri.startswith(("http://", "https://")):
        return address(without_passwords(tracker.uri), own.experiment)
    known = tracker.uri == f"sqlite:///{Path('mlruns/mlflow.db').resolve()}"
    name = [one] if (one := str(own.params.get("name", ""))) else []
    uri = [] if known else ["--uri", without_passwords(tracker.uri)]
    return shlex.join(["python", "-m", "workbench.ui", *name, *uri])


def _metrics_of(runs: Sequence[Run]) -> str:
    """What the columns of the view are: meaning, unit, which way is better."""
    counted_runs = arms.counted(runs)
    rows = [
        (f"`{name}`", METRICS[name].meaning, METRICS[name].unit.replace("1", "–", 1), said.better(name))
        for name in tables.main_metrics(counted_runs)
    ]
    return tables.markdown(["metric", "what it is", "unit", ""], rows) if rows else ""
