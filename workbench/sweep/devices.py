"""Before the first job: whether this machine has the devices, and room for the processes, that jobs ask for.

This process has no TensorFlow to ask, so a child is started as a job's would be, which sets its devices up as the
job does and then ends. Jobs that take what there is, as by default, ask nothing and cost nothing.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.config import ConfigError, Problem
from workbench.options.rnn import needs_cudnn
from workbench.process.child import run_child
from workbench.provenance import machine
from workbench.record.plan import Job
from workbench.sweep.conduct import Conductor, freeze, variables
from workbench.sweep.fitting import of_jobs

_THREADS_A_CORE, _PROCESSES_A_CORE = 64, 8
"""More of them are taken for a slip of the pen: they wait for each other, and each process takes half a GB."""
_LIMIT_S = 300.0
_ON_THIS_MACHINE = ("joblib", "submitit_local")
_answers: dict[tuple, str] = {}
"""What this machine said; it is asked once in a process, be it a run, a sweep or a series."""


def require_devices(jobs: Iterable[Job], conductor: Conductor | None = None) -> None:
    """Raise where a job cannot run on this machine for want of a device, or asks for more than can be meant.

    Raises:
        ConfigError: with every such problem, and which of the jobs have it.
    """
    jobs = list(jobs)
    found: dict[Problem, list[Job]] = {}
    for job in jobs:
        for problem in _too_many(job.tree) or _missing(job, conductor):
            found.setdefault(problem, []).append(job)
    if found:
        raise ConfigError([of_jobs(problem, have, len(jobs)) for problem, have in found.items()])


def _too_many(tree: Mapping[str, Any]) -> list[Problem]:
    """Threads and replicas of a job that this machine's cores cannot be meant to have."""
    asked = (("training.threads", _THREADS_A_CORE), ("training.workers", _PROCESSES_A_CORE))
    values = {key: tree["training"][key.partition(".")[2]] for key, _ in asked}
    return [_slip(key, values[key], limit) for key, limit in asked if (values[key] or 0) > limit * _cores()]


def _slip(key: str, value: int, a_core: int) -> Problem:
    cores = _cores()
    remedy = f"this machine has {cores} cores; take {cores}. More than {a_core * cores} are taken for a slip"
    return Problem(key, value, remedy)


def _cores() -> int:
    return int(machine()["machine.cores"])


def is_here(launcher: str, hydra: Any) -> bool:
    """Whether a launcher's workers are known to run on this machine."""
    if launcher == "ray":
        return hydra.launcher.ray.init.get("address", "elsewhere") is None and "RAY_ADDRESS" not in os.environ
    return launcher in _ON_THIS_MACHINE


def require_workers(launcher: str, hydra: Any) -> None:
    """Raise ConfigError where a launcher is to start no workers here, more than can be meant, or waits for ever."""
    key, count = "hydra.launcher.n_jobs", hydra.launcher.get("n_jobs")
    if count == 0:
        raise ConfigError([Problem(key, 0, "must be at least 1, or -1 for one a core")])
    if isinstance(count, int) and count > _PROCESSES_A_CORE * _cores():
        raise ConfigError([_slip(key, count, _PROCESSES_A_CORE)])
    if launcher == "ray" and is_here(launcher, hydra):
        ray = hydra.launcher.ray
        for kind, there in (("num_cpus", ray.init.num_cpus or _cores()), ("num_gpus", ray.init.num_gpus)):
            wanted = ray.remote.get(kind) or 0
            if there is not None and wanted > there:
                remedy = f"is what one task takes, and Ray would wait for ever: it has {there}; take no more"
                raise ConfigError([Problem(f"hydra.launcher.ray.remote.{kind}", wanted, remedy)])


def _missing(job: Job, conductor: Conductor | None) -> list[Problem]:
    """What this machine has not that a job needs; where it takes whatever there is, nobody is asked."""
    training, rnn = job.tree["training"], job.tree["rnn"]
    device, divided, cudnn = training["device"], training["strategy"] != "none", needs_cudnn(rnn)
    if device != "gpu" and not cudnn and not (divided and device == "auto"):
        return []
    given = tuple(sorted(variables(job).items()))
    asked = cudnn and (rnn["unroll"], rnn["pass_lengths"])
    parts = device, training["strategy"], training["workers"], asked, given
    if parts not in _answers:
        if conductor:
            conductor.watcher.say("looking for the devices that are asked for")
        _answers[parts] = _asked(job, conductor)
    error = _answers[parts]
    if not error:
        return []
    named, _, remedy = error.partition(": ")
    key, _, value = named.partition("=")
    told = re.fullmatch(r"[\w.]+=\w+", named)
    return [Problem(key, value, remedy) if told else Problem("training.device", device, error)]


def _asked(job: Job, conductor: Conductor | None) -> str:
    """Why a child could not set its devices up as the job's would; empty where it could."""
    with tempfile.TemporaryDirectory(prefix="workbench-devices-") as folder:
        outcome = run_child(
            ["--devices", str(freeze(job.tree, Path(folder)))],
            output=Path(folder) / "output.log",
            on_message=lambda message: None,
            environment=variables(job),
            time_limit_s=_LIMIT_S,
            spawner=conductor.spawner(job, job.block) if conductor else None,
        )
    return "" if outcome.status == "finished" else outcome.error
