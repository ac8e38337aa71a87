"""The `sweep` and `workbench` sections: what an experiment runs, and how the command behaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.options.schema import option

SWEEP_ID = r"[A-Za-z0-9_][\w.-]*"


@dataclass(frozen=True)
class Sweep:
    """The grid of an experiment, its blocks and its claims."""

    grids: list[dict[str, Any]] = option(
        [], "each a product of `override: values`; the command line's replace theirs"
    )
    experiments: list[str] = option([], "experiments to run one after another in place of a grid of its own")
    blocks: int | None = option(None, "seeds; null: as many pairs as claims.yaml declares, else one", low=1)
    throw_away: bool | None = option(None, "a first block that is never used; null: where there are claims")
    question: str | None = option(None, "what the experiment asks; stands above its answers on the page")
    claims: str | None = option(
        None, "an experiment's name or a claims.yaml; null: that of experiments/<name>/, if any"
    )
    requeue: int = option(
        0,
        "times that a block may run again because the machine was disturbed while it was timed",
        low=0,
        high=2,
    )
    order_seed: int = option(0, "seed of the order of the arms inside the blocks", low=0)


@dataclass(frozen=True)
class Command:
    """How the command behaves; nothing here bears on a result."""

    dry_run: bool = option(False, "plan, list and stop")
    resume: bool | str = option(
        False,
        "go on with a sweep that was ended: true for the last one of this experiment (a new one where there is "
        "none), or its id; what has finished is not run again",
        pattern=SWEEP_ID,
    )
    changed: str = option(
        "refuse",
        "on resume, what finished before and would now be something else (config, data or code): refuse; rerun: "
        "run it again and set its old numbers aside; keep: the sweep as it was planned, its numbers count",
        choices=["refuse", "rerun", "keep"],
    )
    take_over: bool = option(False, "on resume, close what a process of another host left running")
    fail_fast: bool = option(False, "stop at the first job that fails")
    start: str = option(
        "auto",
        "how a job's process starts: forked from a server that has imported TensorFlow (a new one for each "
        "block), or afresh; auto: fork on Linux",
        choices=["auto", "fork", "fresh"],
    )
    launch: str = option(
        "auto",
        "what a task of hydra/launcher is: a job, or a whole block, whose arms then share a host and keep their "
        "order; auto: block where there are claims or blocks may run again, else job",
        choices=["auto", "block", "job"],
    )
    quiet: bool = option(False, "print the verdicts only")
    time_limit_s: float | None = option(
        None,
        "a job that takes longer is ended and recorded as failed; the time in which the store takes what it says "
        "does not count",
        above=0,
    )
    prepare_limit_s: float | None = option(
        21600.0, "a data set that takes longer to make or verify ends the command; null: no limit", above=0
    )
    memory_limit_mb: int | None = option(
        None,
        "data that a job's process may hold; what it asks for beyond that fails, and the job with it",
        low=1,
    )
    commit_results: bool = option(False, "also write the report to experiments/<name>/results/")
