"""Going on with a sweep that was ended: find it, hold what it planned against what would be planned now, settle.

The same grid ends, each job once; what has finished stays as it is; what died is closed and its job run anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import claims as claims_room
from workbench import file_lock
from workbench.claims import Claim
from workbench.config import ConfigError, Problem
from workbench.record import Run, arm_tag
from workbench.record.plan import NAME, Job, Plan, read_plan
from workbench.record.tags import (
    ARM,
    ASIDE,
    CLAIMS_SHA,
    ERROR,
    KEPT,
    KIND,
    OWNER,
    REQUEUED,
    SUPERSEDED,
    SWEEP,
)
from workbench.report import recorded
from workbench.sweep.conduct import Conductor
from workbench.sweep.journal import is_of_another_host, pid_of
from workbench.sweep.ledger import (
    Ledger,
    config_differences,
    differences,
    ledger,
)
from workbench.sweep.origin import Origin
from workbench.sweep.own_run import OwnRun
from workbench.tracking import Tracker, TrackingError


def find(tracker: Tracker, experiment: str, asked: bool | str) -> OwnRun | None:
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
            plan, typed = read_plan(tracker.read_text(run.run_id, NAME))
        except (TrackingError, OSError, ValueError, KeyError, TypeError) as error:
            _require_nothing_run(tracker, run, error)
            continue  # ended before its grid was frozen
        name = tracker.experiment_name(run)
        return OwnRun(run.sweep, name, run.run_id, plan, typed, dict(run.tags))
    if not by_id:
        return None
    last = [run.sweep for run in tracker.sweeps()[:5]]
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


def _has_runs_after(tracker: Tracker, deleted: Run, left: Run) -> bool:
    """Whether a deleted sweep is newer than one that is left, and its jobs are not deleted."""
    jobs = {SWEEP: deleted.sweep, KIND: "run"}
    return deleted.start > left.start and bool(tracker.find(deleted.experiment, jobs))


def _require_nothing_run(tracker: Tracker, sweep: Run, error: Exception) -> None:
    """Raise ConfigError where jobs of a sweep were run, so that to pass over it would run them all again."""
    if runs := tracker.find(sweep.experiment, {SWEEP: sweep.sweep, KIND: "run"}):
        remedy = (
            f"{len(runs)} runs of this sweep are recorded, but {NAME} of its run {sweep.run_id} cannot be "
            f"read ({error}); bring its artifacts back, or leave workbench.resume out for "
            "a new sweep"
        )
        raise ConfigError([Problem("workbench.resume", sweep.sweep, remedy)]) from error


def reconcile(
    own: OwnRun, now: Plan, claims: Sequence[Claim] | None, changed: str, tracker: Tracker | None
) -> tuple[Plan, list[Claim] | None, list[str]]:
    """The plan to go on with, the claims to judge by, and what is to be said of it.

    Of a sweep that was not begun that is what is asked for. Where nothing has changed it is the frozen grid, in
    its order; the data's place may be another.

    Raises:
        ConfigError: something has changed, and `changed` does not say what is to be done, or cannot be done.
    """
    if own.plan is None or tracker is None:
        return now, list(claims) if claims else None, []
    moved = _checkpoints_elsewhere(own.plan, now)
    found = [*differences(own.plan, now), *_another_gate(own.plan, now), *moved]
    sha = claims_room.claims_sha(claims) if claims else ""
    other_claims = sha != own.tags.get(CLAIMS_SHA, "")
    if other_claims:
        found.append("claims: not the ones that were declared when the sweep started")
    if not found:
        return _as_frozen(own.plan, now), list(claims) if claims else None, []
    if changed == "refuse":
        raise _refused(
            own,
            "is another sweep than what is asked for now",
            found,
            "keep goes on with the grid as it was planned; rerun takes the present one and runs again what it "
            f"changes; python -m workbench -m workbench.resume={own.sweep}, and no more, goes on with it as it "
            "was frozen",
        )
    if changed == "keep":
        kept = recorded.declared(tracker, own.experiment, tracker.get(own.run_id)) if other_claims else claims
        said = _said("kept as it was planned, though changed since", found, moved)
        return _as_frozen(own.plan, now), list(kept) if kept else None, said
    if other_claims or any(one.startswith(("blocks:", "sweep.requeue ")) for one in found):
        raise _refused(
            own,
            "has other claims, other blocks or another gate, and then it is another sweep (neither pairs nor rules "
            "are added to one whose numbers are known)",
            found,
            "start a new one, or take workbench.changed=keep",
        )
    return now, list(claims) if claims else None, _said("changed since, and run again", found, moved)


def _said(what: str, found: Sequence[str], moved: Sequence[str]) -> list[str]:
    """What becomes of each thing that has changed; what lies elsewhere is looked for where paths are today."""
    return [f"{one}; these begin anew" if one in moved else f"{what}: {one}" for one in found]


def take_stock(
    runs: Sequence[Run], jobs: Sequence[Job], origin: Origin, conductor: Conductor | None = None
) -> Ledger:
    """What is done and what is to do by a sweep's runs; without a conductor the data is taken to be what it was."""
    known = {run.job: run.fingerprint for run in runs}
    fingerprints = {
        job.number: conductor.fingerprint(job) if conductor else known.get(job.key, "") for job in jobs
    }
    return ledger(jobs, runs, fingerprints, origin.made_by)


def decide(found: Ledger, own: OwnRun, changed: str, *, pairs: bool) -> list[str]:
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
            own,
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
        others |= {run.block for run in found.done.values()}
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


def settle(
    found: Ledger,
    own: OwnRun,
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
    for run_id in filter(None, [own.run_id, *(run.run_id for run in found.open)]):
        _close(tracker, run_id, own, take_over)
    for run_id in found.unsettled:
        conductor.tag_aside(run_id)
    for one in found.again:
        why, arm = f"{one.why} changed, and the job was run again", arm_tag(one.job.arm, ASIDE)
        tracker.tag(one.run.run_id, {REQUEUED: "true", SUPERSEDED: why, ARM: arm})
    if said and changed == "keep":
        tracker.tag(own.run_id, {KEPT: "; ".join(said)[:4000]})


def _close(tracker: Tracker, run_id: str, own: OwnRun, take_over: bool) -> None:
    """Close a run of the sweep that is still open, if it may be."""
    run = tracker.get(run_id)
    if run.status != "RUNNING":
        return
    tag = run.tags.get(OWNER, "")
    if not is_of_another_host(tag) or not take_over:
        remedy = (
            f"its run {run_id} is still open and belongs to a process that is alive (pid {pid_of(tag)}); wait for "
            "it, or end it"
        )
        if is_of_another_host(tag):
            host = tag.split("/")[0] or "an unknown host"
            remedy = (
                f"its run {run_id} is still open and belongs to a process on {host} or in a container so called; "
                "wait for it, or, if that is gone, take workbench.take_over=true"
            )
        raise ConfigError([Problem("workbench.resume", own.sweep, remedy)])
    tracker.tag(run_id, {ERROR: "taken over when the sweep was resumed"})
    tracker.finish(run_id, "KILLED", begun=run.start)


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


def _another_gate(planned: Plan, now: Plan) -> list[str]:
    """In words, that blocks would be sent back by another rule than that declared before any was judged."""
    old, new = (one.jobs[0].tree["sweep"]["requeue"] if one.jobs else 0 for one in (planned, now))
    return [f"sweep.requeue was {old}, is {new}"] if old != new else []


def _checkpoints_elsewhere(planned: Plan, now: Plan) -> list[str]:
    """In words, that checkpoints of jobs which were cut off lie where nobody would look for them."""
    keeps = any(job.tree["training"].get("checkpoint_every") for job in planned.jobs)
    old, new = (one.jobs[0].tree["tracking"]["folder"] if one.jobs else "" for one in (planned, now))
    if not keeps or Path(old).expanduser().absolute() == Path(new).expanduser().absolute():
        return []
    return [f"tracking.folder was {old}, is {new}: jobs that were cut off have their checkpoints below {old}"]


_HOW = ("workbench", "tracking")


def _as_frozen(planned: Plan, now: Plan) -> Plan:
    """The frozen jobs; those that are the same today with today's paths, which do not bear on a result.

    How they are run and recorded is as it is asked for today, of every job.
    """
    trees: dict[Any, Any] = {job.key: job.tree for job in now.jobs}
    how: Any = next(iter(trees.values()), {})

    def tree(job: Job) -> Any:
        new = trees.get(job.key)
        same = new is not None and new["seed"] == job.tree["seed"] and not config_differences(job.tree, new)
        if same:
            return {**(new or {}), "sweep": job.tree["sweep"]}
        return job.tree | {name: (new or how).get(name, job.tree[name]) for name in _HOW}

    return replace(planned, jobs=[replace(job, tree=tree(job)) for job in planned.jobs])


def _refused(own: OwnRun, what: str, found: Sequence[str], remedy: str) -> ConfigError:
    lines = "".join(f"\n  {one}" for one in found)
    return ConfigError(
        [Problem("workbench.resume", own.sweep, f"this sweep {what}:{lines}\n  workbench.changed: {remedy}")]
    )
