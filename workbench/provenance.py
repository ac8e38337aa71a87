"""Where a run came from: git, versions, machine, threads."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from workbench.places import IS_SHIPPED, PACKAGE, ROOT

_PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "hydra-core", "mlflow")


def provenance() -> dict[str, str]:
    """What to tag a run with, names below `git.`, `version.` and `machine.`; all values are text."""
    return {**git(), **versions(), **machine(), "code.sha256": code_version()}


@functools.cache
def git() -> dict[str, str]:
    """Commit, branch and whether the tree had changes; empty where there is no git or no checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git.commit": commit,
        "git.branch": _git("rev-parse", "--abbrev-ref", "HEAD") or "",
        "git.dirty": str(bool(changed)).lower(),
    }


def git_diff() -> bytes:
    """The changes since the commit, as a patch that `git apply` takes; empty where there are none."""
    return _git_bytes(["diff", "--binary", "HEAD"], ROOT) or b""


def committed_at(path: Path) -> tuple[str, bool] | None:
    """The last commit of a file and whether the file is as committed; None where git does not know it."""
    commit = _git("log", "-n", "1", "--format=%H", "--", str(path), folder=path.parent)
    if not commit:
        return None
    return commit, not _git("status", "--porcelain", "--", str(path), folder=path.parent)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that bear on a result."""
    found = {"version.python": platform.python_version(), "version.workbench": _own_version()}
    for name in _PACKAGES:
        try:
            found[f"version.{name}"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def machine() -> dict[str, str]:
    """Processor, cores, memory, frequency and what else bears on speed; the host's name is left out."""
    frequency = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return {
        "machine.system": f"{platform.system()} {platform.release()}",
        "machine.cpu": _cpu_model(),
        "machine.cores": str(
            len(psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else [])
            or psutil.cpu_count()
            or 1
        ),
        "machine.memory_gb": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "machine.cgroup_cpu": _read("/sys/fs/cgroup/cpu.max") or "unknown",
        "machine.governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "machine.frequency_khz": frequency or "unknown",
        "machine.aslr": _read("/proc/sys/kernel/randomize_va_space") or "unknown",
    }


@functools.cache
def code_version() -> str:
    """SHA-256 over the package's own source: what an identity means by 'the same code'."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Settings in the environment that change speed or rounding, as the child saw them."""
    names = ("PYTHONHASHSEED", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "OMP_NUM_THREADS")
    return {f"environment.{name}": os.environ[name] for name in names if name in os.environ}


def _own_version() -> str:
    import workbench

    return workbench.__version__


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _git(*arguments: str, folder: Path = ROOT) -> str | None:
    found = _git_bytes(arguments, folder)
    return None if found is None else found.decode(errors="replace").strip()


def _git_bytes(arguments: Sequence[str], folder: Path) -> bytes | None:
    """What git prints; None where there is no git, or where this is a wheel in somebody's repository."""
    if IS_SHIPPED and folder == ROOT:
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def command(module: str = "workbench") -> str:
    """The command line as a person would type it, without passwords."""
    return without_passwords(" ".join(["python", "-m", module, *sys.argv[1:]]))


def without_passwords(text: str) -> str:
    """The text with the user and password of every address in it hidden.

    >>> without_passwords("tracking.uri=postgresql://me:secret@host/db")
    'tracking.uri=postgresql://***@host/db'
    >>> without_passwords("postgresql://host/db?user=me&password=p@ss&sslmode=require")
    'postgresql://host/db?user=me&password=***&sslmode=require'
    """
    in_front = re.sub(r"(\w://)[^/\s]+@", r"\1***@", text)
    return re.sub(r"([?&]password=)[^&\s'\"]+", r"\1***", in_front)
