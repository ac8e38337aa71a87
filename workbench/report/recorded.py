"""What lies with a sweep: its own run, the claims that it was declared with, the verdicts of its last report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import claims as claims_room
from workbench.claims import Claim, ClaimError, Verdict
from workbench.places import claims_file, experiments
from workbench.record import Run
from workbench.record.tags import CLAIMS_SHA, KIND, PARENT, SWEEP
from workbench.tracking import Tracker, TrackingError

CLAIMS = "claims.yaml"


class ReportError(ValueError):
    """There is nothing to report; the message says what to do."""


def latest_sweep(tracker: Tracker, experiment: str) -> str:
    """The id of the last sweep of an experiment.

    Raises:
        ReportError: there is none, or it was deleted.
    """
    found = tracker.sweeps(experiment=experiment)
    if found:
        return found[0].sweep
    if deleted := what_was_deleted(tracker, experiment=experiment):
        raise ReportError(f"experiment {experiment!r} has no sweep at {tracker.uri} any more: {deleted}")
    known = experiment in experiments()
    first = f"run it first: python -m workbench +experiment={experiment} -m" if known else "run it first"
    raise ReportError(f"experiment {experiment!r} has no sweep at {tracker.uri}; {first}")


def own_run(tracker: Tracker, experiment: str, sweep: str) -> Run:
    """The run of a sweep itself.

    Raises:
        ReportError: there is none, or it was deleted.
    """
    found = tracker.sweeps(experiment=experiment, sweep=sweep)
    if found:
        return found[0]
    if deleted := what_was_deleted(tracker, experiment=experiment, sweep=sweep):
        raise ReportError(f"{sweep!r} cannot be judged: {deleted}")
    runs = tracker.runs(experiment, sweep)
    if not runs:
        raise ReportError(f"experiment {experiment!r} has no run of sweep {sweep!r} at {tracker.uri}")
    if any(PARENT in run.tags for run in runs):
        raise ReportError(
            f"{sweep!r} cannot be judged: its own run is gone for good (`mlflow gc`), and its claims and grid with "
            f"it; its {len(runs)} runs are still recorded"
        )
    raise ReportError(f"{sweep!r} was a single run, not a sweep; there is nothing to judge")


def what_was_deleted(tracker: Tracker, *, experiment: str | None = None, sweep: str | None = None) -> str:
    """In words, what was deleted in MLflow of an experiment's last sweep, or of one, and how it is restored."""
    if experiment and (gone := tracker.deleted_experiment(experiment)):
        return gone
    found = tracker.sweeps(experiment=experiment, sweep=sweep, deleted=True)
    if not found:
        return ""
    name, run_id = found[0].sweep, found[0].run_id
    runs = tracker.find(found[0].experiment, {SWEEP: name, KIND: "run"})
    return (
        f"sweep {name} was deleted in MLflow (its own run; {len(runs)} runs of its jobs are there); restore it by "
        f"{tracker.mlflow(f'runs restore --run-id {run_id}')}"
    )


def declared(tracker: Tracker, experiment: str, own: Run) -> list[Claim] | None:
    """The claims that a sweep was declared with, as they lie with its own run; None where it has none.

    A sweep whose record holds only their hash takes the experiment's own file, where that has this hash.

    Raises:
        ReportError: they are nowhere.
    """
    sha = own.tags.get(CLAIMS_SHA)
    if not sha:
        return None
    run_id, why = own.run_id, "the record holds no such file"
    try:
        names = [name for name in tracker.files(run_id) if name.endswith((".yaml", ".yml"))]
        for name in sorted(names, key=lambda name: name != CLAIMS):
            found = _parsed(tracker.read_text(run_id, name))
            if found and claims_room.claims_sha(found) == sha:
                return found
    except (TrackingError, OSError, UnicodeDecodeError) as error:
        why = str(error)
    if path := claims_file(experiment):
        found = claims_room.load(path)
        if claims_room.claims_sha(found) == sha:
            return found
    raise ReportError(
        f"the claims that sweep {own.sweep} was declared with (SHA-256 {sha[:12]}) "
        f"cannot be read from its run {run_id}: {why}; give their file by --claims, or bring its artifacts "
        "back; nothing was judged or written"
    )


def _parsed(text: str) -> list[Claim] | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CLAIMS
        path.write_text(text)
        try:
            return claims_room.load(path)
        except ClaimError:
            return None


def refuse_fewer(folder: Path, verdicts: Sequence[Verdict], *, another: bool) -> None:
    """Raise ReportError where a folder holds verdicts of claims that these do not judge again.

    With `another` sweep's verdicts, as of committed results, a claim may have been declared anew under its name.
    """
    try:
        held = json.loads((folder / "verdicts.json").read_text())
    except (OSError, ValueError):
        return
    _refuse_lost(held, verdicts, str(folder / "verdicts.json"), another=another)


def refuse_fewer_recorded(tracker: Tracker, run_id: str, at: str | None, verdicts: Sequence[Verdict]) -> None:
    """The same of the verdicts that were kept in MLflow."""
    if not any(name == "verdicts.json" for name in tracker.files(run_id, at)):
        return
    name = "/".join(part for part in (at, "verdicts.json") if part)
    try:
        held = json.loads(tracker.read_text(run_id, name))
    except ValueError:  # cut, by a full disk or a kill
        return
    _refuse_lost(held, verdicts, f"{name} of run {run_id}", another=False)


def _refuse_lost(
    held: Sequence[dict[str, Any]], verdicts: Sequence[Verdict], where: str, *, another: bool
) -> None:
    now = {(one.claim, "" if another else one.sha) for one in verdicts}
    lost = [
        one["claim"]
        for one in held
        if one["kind"] != "instrument" and (one["claim"], "" if another else one["sha"]) not in now
    ]
    if lost:
        raise ReportError(
            f"{where} holds verdicts on {', '.join(sorted(set(lost)))}, and this report has none on these claims: "
            "nothing was written over them; give another --out, or move them away first"
        )
