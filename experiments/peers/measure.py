"""Jobs one after another, each in a process of its own; what comes of it as rows, with the machine's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from experiments.peers.processes import Processes, sees_gpu
from experiments.peers.rows import Row, rows_of
from experiments.peers.settings import ARMS, TORCH, Job, can, in_order, on_gpu
from experiments.peers.worker import Machine, Measured, Outcome, has_torch, run_alone, run_job, run_memory
from workbench.provenance import environment, machine, versions
from workbench.repositories import git

NO_TORCH = "PyTorch is not installed: pip install torch"


def select(jobs: Sequence[Job], only: str | None, arms: str | None) -> list[Job]:
    """The jobs whose name has one of the texts of `only`, with the arms of `arms`, both separated by commas."""
    if only:
        texts = [text.strip() for text in only.split(",")]
        chosen = [job for job in jobs if any(text in job.setting.name for text in texts)]
        if not chosen:
            names = ", ".join(job.setting.name for job in jobs)
            raise ValueError(f"--only {only}: no setting has that in its name; there are {names}")
        jobs = chosen
    if not arms:
        return list(jobs)
    wanted = [name.strip() for name in arms.split(",")]
    unknown = [name for name in wanted if name not in ARMS]
    if unknown:
        raise ValueError(f"--arms {arms}: {', '.join(unknown)} is no arm; there are {', '.join(ARMS)}")
    return [_with_arms(job, wanted) for job in jobs]


def _with_arms(job: Job, wanted: Sequence[str]) -> Job:
    arms = [arm for arm in wanted if can(arm, job.setting)]
    goals = [goal for goal in job.goals if goal.arm in arms]
    return replace(
        job,
        arms=in_order(arms),
        goals=tuple(goal for goal in goals if goal.peer is None or goal.peer in arms),
        memory=tuple(arm for arm in job.memory if arm in arms),
        alone=tuple(arm for arm in job.alone if arm in arms),
    )


def measure(
    jobs: Sequence[Job], threads: int, seconds: float, device: str, console: Console
) -> tuple[list[Row], dict[str, str]]:
    """Rows of all jobs, and what they were measured on."""
    processes = Processes()
    gpu = device != "cpu" and processes.run(sees_gpu)
    if device == "gpu" and not gpu:
        raise SystemExit("--device gpu: TensorFlow sees none here; look at nvidia-smi, or take --device cpu")
    given = Machine(threads, gpu, seconds)
    rows: list[Row] = []
    jobs = on_gpu(jobs) if gpu else jobs
    for number, job in enumerate(jobs, 1):
        console.print(f"[{number}/{len(jobs)}] {job.setting.name}", markup=False)
        outcome = _one(processes, job, given)
        rows += rows_of(job, outcome, threads, "gpu" if gpu else "cpu")
    facts = {
        **machine(), **versions(), **git(), **environment(),
        "threads": str(threads),
        "device": "GPU" if gpu else "CPU" if device == "cpu" else "CPU; TensorFlow saw no GPU to measure on",
        "PyTorch": torch_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    return rows, facts


def _one(processes: Processes, job: Job, given: Machine) -> Outcome:
    torch = has_torch()
    measured = replace(job, arms=tuple(arm for arm in job.arms if torch or arm not in TORCH))
    try:
        outcome: Outcome = processes.run(run_job, measured, given)
    except Exception as error:  # told in the table; the other settings are measured
        reason = f"{type(error).__name__}: {error}"
        outcome = Outcome(job.setting, {arm: Measured(arm, refused=reason) for arm in measured.arms})
    for arm in job.arms:
        outcome.arms.setdefault(arm, Measured(arm, refused=NO_TORCH))
    for arm in job.memory:
        if torch or arm not in TORCH:
            try:
                outcome.arms[arm].memory_mb = processes.run(run_memory, arm, job.setting, given).memory_mb
            except Exception as error:
                outcome.arms[arm].refused = f"memory: {type(error).__name__}: {error}"
    for arm in job.alone:
        if torch:
            try:
                outcome.alone[arm] = processes.run(run_alone, arm, job.setting, given, fresh=True)
            except Exception as error:
                outcome.alone[arm] = Measured(arm, refused=f"{type(error).__name__}: {error}")
    return outcome


def torch_version() -> str:
    """PyTorch's version, or that it is not there."""
    if not has_torch():
        return NO_TORCH
    from importlib.metadata import version

    return version("torch")
