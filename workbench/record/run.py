"""A tracked run as everything but its own process sees it, and what it counts for.

What is a run's own: status, params, metrics, and the tags of `TAGS`. A record that the workbench did not make may
lack any of the tags: it is then data, of no block and of no sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from workbench.identity import GROUPS, NOT_IDENTITY, makers
from workbench.record import tags as names
from workbench.record.gate import disturbance
from workbench.record.metrics import LARGEST, METRICS
from workbench.record.values import normalise

NEVER_KEY = (*NOT_IDENTITY, "data.fingerprint", "data.longest", "data.task")
"""What bears on no result does not matter, as where the data lay and how often is logged, and what a run finds out
about its data only a finished run records; what the data was is held equal by `equal`, which names it in its
refusal."""
FACTS = ("device", "threads", "task", "data.fingerprint")
"""Params that a run finds out for itself: no arm is told from another by them, and one that failed lacks them."""
ARM = "(arm)"
"""What stands in a run's key for the name of its arm."""
NOT_RUN = "NOT RUN"
"""The status of a job that no run was ever begun of, where a table shows it among runs."""

Key = tuple[int, str, int]
"""Block, arm, repeat: one job of a sweep."""


@dataclass(frozen=True)
class Run:
    """A run as it is recorded: params and tags as text, metrics as numbers (absent where NaN), times in seconds."""

    run_id: str
    status: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    start: float = 0.0
    """Since 1970, UTC; 0 where it is not recorded."""
    end: float | None = None
    experiment: str = ""
    """The id of its experiment."""
    is_deleted: bool = False
    no_numbers: frozenset[str] = frozenset()
    """The metrics that MLflow has as NaN: of a run that the workbench did not make a result, and none that a re-run
    may replace. (Its own diverge. A table cannot tell NaN from nothing.)"""
    key_without: tuple[str, ...] | None = None
    """Of a run that the workbench did not make: the params that its key leaves out, of all; None: it made it."""

    # -- what it is

    @property
    def kind(self) -> str:
        """`run`, `sweep` or `rerun`; empty where the workbench did not make it."""
        return self.tags.get(names.KIND, "")

    @property
    def is_job(self) -> bool:
        """Whether it is one of a sweep's own runs of jobs, or a single run."""
        return self.kind == "run"

    @property
    def sweep(self) -> str:
        """The id of its sweep."""
        return self.tags.get(names.SWEEP, "")

    @property
    def arm(self) -> str:
        """Its arm, whatever it is of it."""
        return names.arm_of(self.tags.get(names.ARM, ""))

    @property
    def block(self) -> int:
        """The block of its sweep."""
        return self._whole(names.BLOCK)

    @property
    def repeat(self) -> int:
        """0 for the run itself, 1 or more for the A/A arm's."""
        return self._whole(names.REPEAT)

    @property
    def attempt(self) -> int:
        """Which run of its block it is, from 1."""
        return self._whole(names.ATTEMPT) or 1

    @property
    def job(self) -> Key:
        """Which job of its sweep it is a run of."""
        return self.block, self.arm, self.repeat

    @cached_property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What the run is a run of: every param of the describing groups, the seed, and the label."""
        if self.key_without is not None:
            return tuple((k, v) for k, v in sorted(self._normal.items()) if k not in self.key_without)
        return tuple(
            (name, value)
            for name, value in sorted(self._normal.items())
            if name in ("seed", "label") or (name.split(".")[0] in GROUPS and name not in NEVER_KEY)
        )

    @property
    def key_in_sweep(self) -> tuple[tuple[str, str], ...]:
        """The key, and the arm where there is one: arms may differ in what a key leaves out, as where data lies."""
        return (*self.key, (ARM, self.arm)) if self.arm else self.key

    @property
    def repeated(self) -> tuple[object, ...]:
        """What a repeat of the run is one of: its key, its arm, and the data (task, content) beside it."""
        return self.key_in_sweep, self._normal.get("data.task"), self._normal.get("data.fingerprint")

    @property
    def order(self) -> tuple[float, float, str]:
        """By attempt, then by start; the id only breaks ties."""
        return float(self.tags.get(names.ATTEMPT) or 0), self.start, self.run_id

    @property
    def seconds(self) -> float:
        """From its start to its end, by the clocks of who began and closed it; 0 where it has no end yet."""
        return 0.0 if self.end is None else max(0.0, self.end - self.start)

    @property
    def identity(self) -> str:
        """The hash of all that its result follows from."""
        return self.tags.get(names.IDENTITY, "")

    @cached_property
    def made_by(self) -> dict[str, str]:
        """Code, sources, versions and settings (`workbench.identity`)."""
        return makers(self.tags)

    @property
    def machine(self) -> dict[str, str]:
        """What tells machines apart, as far as it is recorded: another one computes at another pace."""
        told = ("machine.cpu", "machine.cores", "device.device_name")
        return {name: self.tags[name] for name in told if name in self.tags}

    def other_machine(self, other: Run) -> str:
        """Where another run was made on another machine, as far as both say: in which they differ; else empty."""
        one, two = self.machine, other.machine
        if self.value("device") != other.value("device"):  # arms may be a GPU and a CPU of one machine
            one.pop("device.device_name", None)
        found = (
            f"{name} is {one[name]} and {two[name]}" for name in one if one[name] != two.get(name, one[name])
        )
        return next(found, "")

    @property
    def fingerprint(self) -> str:
        """What its data was."""
        return self.params.get("data.fingerprint", "")

    @property
    def error(self) -> str:
        """Why it did not finish."""
        return self.tags.get(names.ERROR, "")

    # -- what it counts for

    @property
    def finished(self) -> bool:
        """Whether it came to its end, and its end was recorded."""
        return self.status == "FINISHED"

    @property
    def diverged(self) -> bool:
        """Whether its loss, weights or evaluation became no number."""
        return self._yes(names.DIVERGED)

    @property
    def requeued(self) -> bool:
        """Whether it was set aside, before its metric was read."""
        return self._yes(names.REQUEUED)

    @property
    def superseded(self) -> bool:
        """Whether what it ran has changed since, and its job was run again."""
        return names.SUPERSEDED in self.tags

    @property
    def has_result(self) -> bool:
        """Whether its job need not be run again: it finished, or diverged, which would only come again."""
        return self.finished or self.diverged

    @property
    def has_numbers(self) -> bool:
        """Whether a mean may be taken over it."""
        return self.finished and not self.diverged and not self.requeued

    @property
    def is_thrown_away(self) -> bool:
        """Whether it is of the throw-away block."""
        return normalise(self.tags.get(names.BLOCK)) == "0"

    @property
    def is_data(self) -> bool:
        """Whether claims may be judged by it: no sweep's own run, no rerun, not thrown away, not superseded.

        One of the workbench's that has no kind yet died while it was opened.
        """
        half_open = not self.kind and self.tags.get(names.MADE_BY) == "workbench"
        apart = half_open or self.kind in ("sweep", "rerun")
        return not apart and not self.is_thrown_away and not self.superseded

    @property
    def disturbance(self) -> str:
        """What the calibration gate finds of its timed window; empty where nothing."""
        return disturbance(self.metrics)

    def failure(self, metric: str) -> str:
        """Why the run gives a pair no number for the metric; empty where it does.

        A run that was set aside gives none, though it has one: where the gate set all attempts of a key aside,
        the pair has failed.
        """
        return self.lacking(metric) or ("set aside by the calibration gate" if self.requeued else "")

    def lacking(self, metric: str) -> str:
        """Why the run has no number for the metric; empty where it has."""
        if self.diverged:
            return "diverged"
        if not self.finished:
            return f"status {self.status}"
        if self.is_nan(metric):
            return f"{metric} is no number"
        if metric not in self.metrics:
            return f"no {metric}"
        if untimed := self.untimed(metric):
            return untimed
        return "" if abs(self.metrics[metric]) < LARGEST else f"{metric} is not finite"

    def untimed(self, metric: str) -> str:
        """Why the run's timings and memory must not be used for this metric; empty where they may."""
        noisy = metric in METRICS and METRICS[metric].noisy
        if noisy and metric.startswith("speed/") and names.NOT_ALONE in self.tags:
            return "perhaps timed beside another run"
        if names.RESUMED_FROM in self.tags and (metric.startswith("speed/") or noisy):
            return f"not timed as a whole: resumed from step {self.tags[names.RESUMED_FROM]}"
        return ""

    def is_nan(self, metric: str) -> bool:
        """Whether NaN was recorded of a run that the workbench did not make."""
        return self.key_without is not None and metric in self.no_numbers

    # -- what it holds

    def value(self, name: str) -> str | None:
        """A param, a metric (a name with a slash) or a tag, normalised; None where it is not recorded.

        Of a run that the workbench did not make any name may be any of them; a param goes first, then a metric.
        """
        of_others = self.key_without is not None
        if of_others and name not in self._normal and name in self.metrics:
            return normalise(self.metrics[name])
        if "/" in name and not of_others:
            return normalise(self.metrics.get(name))
        if name in self._normal:
            return self._normal[name]
        for key in (name, f"workbench.{name}"):
            if key in self.tags:
                return normalise(self.tags[key])
        return None

    def param(self, name: str) -> str | None:
        """A param, normalised; None where it is not recorded."""
        return self._normal.get(name)

    @cached_property
    def _normal(self) -> dict[str, str]:
        """What is not set is not there, be it that null was recorded or nothing."""
        known = ((name, normalise(value)) for name, value in self.params.items())
        return {name: text for name, text in known if text not in (None, "null")}

    def _yes(self, tag: str) -> bool:
        return self.tags.get(tag, "").lower() == "true"

    def _whole(self, tag: str) -> int:
        try:
            return int(float(self.tags.get(tag) or 0))
        except ValueError:  # of a record that the workbench did not make
            return 0


def data_of(runs: Sequence[Run]) -> list[Run]:
    """The runs that are data, in an order that does not depend on that of `runs`."""
    return sorted((run for run in runs if run.is_data), key=lambda run: run.order)


def counted(attempts: Sequence[Run], metric: str | None = None) -> Run | None:
    """The attempt of a key that counts: the first that finished, whatever came after it; `metric`: with this one.

    A diverged attempt, or one whose metric is not finite, is a result and counts too (as a failure), so that no
    re-run can replace it; one that died, lacks the metric or was set aside by the calibration gate does not.
    Where none counts, the first attempt stands for the failure, be it only that all were set aside.
    """
    kept = [run for run in attempts if not run.requeued]
    for run in kept:
        has_it = metric is None or metric in run.metrics or run.is_nan(metric)
        if run.diverged or (run.finished and has_it):
            return run
    return next(iter(kept or attempts), None)


def one_of_each_job(runs: Sequence[Run]) -> list[Run]:
    """Of every job the attempt that counts, be it one that failed; `runs` as data_of gives them."""
    jobs: dict[object, list[Run]] = {}
    for run in runs:
        jobs.setdefault((run.tags.get(names.SWEEP), run.repeat, run.key_in_sweep), []).append(run)
    return [one for attempts in jobs.values() if (one := counted(attempts))]


def unfinished(runs: Sequence[Run]) -> list[Run]:
    """The runs of jobs that no attempt finished, the last of each; what died and was run again is left out.

    What was set aside, as its block was disturbed or its job has changed since, does not count as finished.
    """
    finished = {run.job for run in runs if run.finished and not run.requeued}
    last = {run.job: run for run in sorted(runs, key=lambda run: run.start)}
    return sorted((run for job, run in last.items() if job not in finished), key=lambda run: run.start)
