"""Where a run came from: versions, machine, settings of the environment."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from workbench.places import PACKAGE

_PACKAGES = ["tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "numpy", "pandas", "scipy"]
_PACKAGES += ["hydra-core", "mlflow"]
_PACKAGES += ["nvidia-cublas-cu12", "nvidia-cublas-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"]
# Not all of TF_ is TensorFlow's (Terraform's tokens begin so), nor KMP_ a person's (joblib sets some by itself).
_TF = [
    "ENABLE",
    "DISABLE",
    "USE",
    "NUM",
    "XLA",
    "GPU",
    "CUDNN",
    "FORCE",
    "DETERMINISTIC",
    "CPU",
    "MLIR",
    "ONEDNN",
]
_OTHERS = ["XLA", "OMP", "GOMP", "MKL", "OPENBLAS", "BLIS", "DNNL", "ONEDNN", "CUBLAS", "CUDNN", "MALLOC"]
_SETTINGS = (
    *(f"TF_{name}_" for name in _TF),
    *(f"{name}_" for name in _OTHERS),
    *(
        "KMP_AFFINITY",
        "KMP_BLOCKTIME",
        "NVIDIA_TF32_OVERRIDE",
        "KERAS_BACKEND",
        "LD_PRELOAD",
        "PYTHONHASHSEED",
    ),
)


def provenance() -> dict[str, str]:
    """What to tag a run with, names below `version.`, `machine.` and `code.`; all values are text."""
    return {**versions(), **machine(), "code.sha256": code_version()}


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


def settings(names: Iterable[str]) -> list[str]:
    """Of variables' names those that change speed or rounding, sorted."""
    return sorted(name for name in names if name.startswith(_SETTINGS))


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Settings in the environment that change speed or rounding, as tags."""
    return {f"environment.{name}": variables[name] for name in settings(variables)}


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


def command(module: str = "workbench") -> str:
    """The command line as a person would type it, without passwords."""
    return without_passwords(" ".join(["python", "-m", module, *sys.argv[1:]]))


def without_passwords(text: str) -> str:
    """The text with the user and password of every address in it hidden.

    >>> without_passwords("tracking.uri=postgresql://me:secret@host/db")
    'tracking.uri=postgresql://***@host/db'
    >>> without_passwords("postgresql://host/db?user=me&password=p@ss&sslmode=require")
    'postgresql://host/db?user=me&password=***&sslmode=require'
    >>> without_passwords("mysql+pymysql://me:se/cret@host/db is away")
    'mysql+pymysql://***@host/db is away'
    """
    text = re.sub(
        r"(?i)([?&;]|%3B)((?:password|passwd|pwd)(?:=|%3D))[^&;\s'\"]+?(?=%3B|[&;\s'\"]|$)", r"\1\2***", text
    )
    text = re.sub(r"((?:postgresql|mysql|mssql|oracle)[\w+]*://)[^\s?'\"]*@", r"\1***@", text)
    return re.sub(r"(\w://)[^/\s]+@", r"\1***@", text)
