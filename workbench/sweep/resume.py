"""Going on with a sweep that was ended: find it, hold what it planned against what would be planned now, settle.

The same grid ends, each job once; what has finished stays as it is; what died is closed and its job run anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench import claims as claims_room
from workbench import file_lock
from workbench.claims import Claim
from workbench.config import ConfigError, Problem
from workbench.record import ARM, ASIDE, arm_tag
from workbench.report import recorded
from workbench.sweep.conduct import Conductor
from workbench.sweep.frozen import NAME, Typed, read_plan
from workbench.sweep.grid import Job, Plan
from workbench.sweep.journal import OWNER, is_of_another_host
from workbench.sweep.ledger import (
    REQUEUED,
    SUPERSEDED,
    Ledger,
    attempts,
    config_differences,
    differences,
    key_of,
    ledger,
)
from workbench.sweep.origin import Origin
from workbench.tracking import KIND, Tracker, TrackingError

KEPT = "workbench.kept"
RESUMED = "workbench.resumed"
_OWN = ("sweep", "command", "planned_pairs", "scale", "claims_sha", "claims_commit", "claims_committed")


@dataclass(frozen=True)
class Earlier:
    """A recorded sweep: its own run, its frozen grid, what was typed."""

    run_id: str
    sweep: str
    experiment: str
    plan: Plan
    typed: Typed
    tags: dict[str, str]

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags that each of its runs carries, as they were when it started."""
        names = (f"workbench.{name}" for name in _OWN)
        return {name: self.tags[name] for name in names if name in self.tags}


def find(tracker: Tracker, experiment: str, asked: bool | str) -> Earlier | None:
    """The sweep of an id, or the last one of an experiment; None where the experiment has none.

    Raises:
        ConfigError: there is no sweep of this id; or its runs are recorded, but not the grid that they are of.
    """
    by_id = isinstance(asked, str)
    _require_not_deleted(tracker, experiment, asked)
    for run in (
        tracker.sweeps(sweep=asked) if isinstance(asked, str) else tracker.sweeps(experiment=experiment)
    ):
        try:
            plan, typed = read_plan(tracker.read_text(run.info.run_id, NAME))
        except (TrackingError, OSError, ValueError, KeyError, TypeError) as error:
            _require_nothing_run(tracker, run, error)
            continue  # ended before its grid was frozen
        tags = run.data.tags
        name = tracker.experiment_name(run)
        return Earlier(run.info.run_id, tags["workbench.sweep"], name, plan, typed, tags)
    if not by_id:
        return None
    last = [run.data.tags["workbench.sweep"] for run in tracker.sweeps()[:5]]
    remedy = f"no sweep of this id at {tracker.uri}; the last ones: {', '.join(last) or 'none'}"
    raise ConfigError([Problem("workbench.resume", asked, remedy)])


def _require_not_deleted(tracker: Tracker, experiment: str, asked: bool | str) -> None:
    """Raise ConfigError where the sweep that is meant was deleted in MLflow: its jobs would all be run again."""
    of, sweep = (None, asked) if isinstance(asked, str) else (experiment, None)
    left = tracker.sweeps(experiment=of, sweep=sweep)
    gone = tracker.sweeps(experiment=of, sweep=sweep, deleted=True)
    if not gone or (left and not _has_runs_after(tracker, gone[0], left[0])):
        return
    deleted = recorded.what_was_deleted(tracker, experiment=of, sweep=sweep)
    remedy = f"{deleted}, or leave workbench.resume out for a new sweep"
    raise ConfigError([Problem("workbench.resume", asked, remedy)])


def _has_runs_after(tracker: Tracker, deleted: Any, left: Any) -> bool:
    """Whether a deleted sweep is newer than one that is left, and its jobs are not deleted."""
    name = deleted.data.tags["workbench.sweep"]
    newer = deleted.info.start_time > left.info.start_time
    return newer and bool(tracker.find(deleted.info.experiment_id, {"workbench.sweep": name, KIND: "run"}))


def _require_nothing_run(tracker: Tracker, sweep: Any, error: Exception) -> None:
    """Raise ConfigError where jobs of a sweep were run, so that to pass over it would run them all again."""
    name = sweep.data.tags["workbench.sweep"]
    if runs := tracker.find(sweep.info.experiment_id, {"workbench.sweep": name, KIND: "run"}):
        remedy = (
            f"{len(runs)} runs of this sweep are recorded, but {NAME} of its run {sweep.info.run_id} cannot be "
            f"read ({error}); bring its artifacts back, or leave workbench.resume out for "
            "a new sweep"
        )
        raise ConfigError([Problem("workbench.resume", name, remedy)]) from error


def reconcile(
    earlier: Earlier, now: Plan, claims: Sequence[Claim] | None, changed: str, tracker: Tracker
) -> tuple[Plan, list[Claim] | None, list[str]]:
    """The plan to go on with, the claims to judge by, and what is to be said of it.

    Where nothing has changed that is the frozen grid, in its order; the data's place may be another.

    Raises:
        ConfigError: something has changed, and `changed` does not say what is to be done, or cannot be done.
    """
    found = differences(earlier.plan, now)
    sha = claims_room.claims_sha(claims) if claims else ""
    other_claims = sha != earlier.tags.get("workbench.claims_sha", "")
    if other_claims:
        found.append("claims: not the ones that were declared when the sweep started")
    if not found:
        return _as_frozen(earlier.plan, now), list(claims) if claims else None, []
    if changed == "refuse":
        raise _refused(
            earlier,
            "is another sweep than what is asked for now",
            found,
            "keep goes on with the grid as it was planned; rerun takes the present one and runs again what it "
            f"changes; python -m workbench -m workbench.resume={earlier.sweep}, and no more, goes on with it as it "
            "was frozen",
        )
    if changed == "keep":
        kept = (
            recorded.declared(tracker, earlier.experiment, tracker.get(earlier.run_id))
            if other_claims
            else claims
        )
        said = [f"kept as it was planned, though changed since: {one}" for one in found]
        return _as_frozen(earlier.plan, now), list(kept) if kept else None, said
    if other_claims or any(one.startswith("blocks:") for one in found):
        raise _refused(
            earlier,
            "has other claims or other blocks, and then it is another sweep (more pairs are never added to one)",
            found,
            "start a new one, or take workbench.changed=keep",
        )
    return now, list(claims) if claims else None, [f"changed since, and run again: {one}" for one in found]


def take_stock(
    earlier: Earlier,
    jobs: Sequence[Job],
    tracker: Tracker,
    origin: Origin,
    conductor: Conductor | None = None,
) -> Ledger:
    """What is done and what is to do; without a conductor the data is taken to be what it was."""
    runs = attempts(tracker.runs(earlier.experiment, earlier.sweep))
    known = {run.key: run.fingerprint for run in runs}
    fingerprints = {
        job.number: conductor.fingerprint(job) if conductor else known.get(key_of(job), "") for job in jobs
    }
    return ledger(jobs, runs, fingerprints, origin.made_by)


def decide(found: Ledger, earlier: Earlier, changed: str, *, pairs: bool) -> list[str]:
    """Count finished runs that would be something else now as done or as to do; what is to be said of it.

    Where `pairs` are made of a block, one of unlike runs would be refused: of a block that is half done, what made
    otherwise has finished is then to be run again, whatever else is kept.

    Raises:
        ConfigError: there are some, and `changed` does not say what is to be done.
    """
    if not found.changed:
        return []
    counts = Counter(one.why for one in found.changed)
    words = [f"{number} finished jobs: {why} changed" for why, number in counts.items()]
    if changed == "refuse":
        arms = sorted({one.job.arm for one in found.changed})
        words.append(f"arms: {'; '.join(arms[:5])}{'; ...' if len(arms) > 5 else ''}")
        raise _refused(
            earlier,
            "has finished jobs that would now be something else",
            words,
            "keep counts them as they are and runs only the rest; rerun runs them again and sets their numbers "
            "aside",
        )
    said = [f"{one}; {'kept' if changed == 'keep' else 'run again'}" for one in words]
    found.again = list(found.changed)
    if changed == "keep":
        numbers = {one.job.number for one in found.changed}
        others = {job.block for job in found.todo if job.number not in numbers}
        others |= {run.key[0] for run in found.done.values()}
        found.again = [one for one in found.changed if pairs and one.is_unlike and one.job.block in others]
        kept = [one for one in found.changed if one not in found.again]
        for one in kept:
            found.done.setdefault((one.job.number, one.run.attempt), one.run)
        found.todo = [job for job in found.todo if job.number not in {one.job.number for one in kept}]
        if found.again:
            blocks = ", ".join(map(str, sorted({one.job.block for one in found.again})))
            said.append(
                f"{len(found.again)} of them are run again, as block {blocks} was half done: runs that were made "
                "otherwise are no pair"
            )
    return said


def left(
    earlier: Earlier, jobs: Sequence[Job], tracker: Tracker, origin: Origin, changed: str, *, pairs: bool
) -> list[Job]:
    """What is still to be run, as far as it is known before the data is prepared; raises as `decide` does."""
    found = take_stock(earlier, jobs, tracker, origin)
    decide(found, earlier, changed, pairs=pairs)
    return found.todo


def settle(
    found: Ledger,
    earlier: Earlier,
    conductor: Conductor,
    *,
    changed: str,
    take_over: bool,
    said: Sequence[str],
) -> None:
    """Write down what was decided, before the first job: what was half done is completed, what is open closed.

    Raises:
        ConfigError: a run of the sweep is still open, and its process is not known to be gone.
    """
    tracker = conductor.tracker
    for run_id in [earlier.run_id, *(run.run_id for run in found.open)]:
        _close(tracker, run_id, earlier, take_over)
    for run_id in found.unsettled:
        conductor.tag_aside(run_id)
    for one in found.again:
        why, arm = f"{one.why} changed, and the job was run again", arm_tag(one.job.arm, ASIDE)
        tracker.tag(one.run.run_id, {REQUEUED: "true", SUPERSEDED: why, ARM: arm})
    if said and changed == "keep":
        tracker.tag(earlier.run_id, {KEPT: "; ".join(said)[:4000]})


def _close(tracker: Tracker, run_id: str, earlier: Earlier, take_over: bool) -> None:
    """Close a run of the sweep that is still open, if it may be."""
    run = tracker.get(run_id)
    if run.info.status != "RUNNING":
        return
    tag = run.data.tags.get(OWNER, "")
    if not is_of_another_host(tag) or not take_over:
        remedy = (
            f"its run {run_id} is still open and belongs to a process that is alive; wait for it, or end it"
        )
        if is_of_another_host(tag):
            host = tag.split("/")[0] or "an unknown host"
            remedy = (
                f"its run {run_id} is still open and belongs to a process on {host}; wait for it, or, if that is "
                "gone, take workbench.take_over=true"
            )
        raise ConfigError([Problem("workbench.resume", earlier.sweep, remedy)])
    tracker.tag(run_id, {"workbench.error": "taken over when the sweep was resumed"})
    tracker.finish(run_id, "KILLED")


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Be the only process of this host that runs a sweep.

    Raises:
        ConfigError: another one does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock.held(folder / "lock", wait=False))
        except BlockingIOError as error:
            remedy = "another process on this host is running this sweep; wait for it, or end it first"
            raise ConfigError([Problem("workbench.resume", folder.name, remedy)]) from error
        except OSError as error:
            raise ConfigError([Problem("tracking.folder", folder, str(error))]) from error
        yield


def _as_frozen(planned: Plan, now: Plan) -> Plan:
    """The frozen jobs; those that are the same today with today's paths, which do not bear on a result."""
    trees: dict[Any, Any] = {key_of(job): job.tree for job in now.jobs}

    def tree(job: Job) -> Any:
        new = trees.get(key_of(job))
        same = new is not None and new["seed"] == job.tree["seed"] and not config_differences(job.tree, new)
        return new if same else job.tree

    return replace(planned, jobs=[replace(job, tree=tree(job)) for job in planned.jobs])


def _refused(earlier: Earlier, what: str, found: Sequence[str], remedy: str) -> ConfigError:
    lines = "".join(f"\n  {one}" for one in found)
    return ConfigError(
        [
            Problem(
                "workbench.resume", earlier.sweep, f"this sweep {what}:{lines}\n  workbench.changed: {remedy}"
            )
        ]
    )
