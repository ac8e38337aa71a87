"""A person's command line: real subprocesses in an empty folder, on a data cache that the session shares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "data=synthetic",
    "data.examples=60",
    "data.longest=12",
    "data.mean=5",
    "data.batch_size=16",
    "cell.units=8",
    "model.embedding_size=8",
    "measure.warmup_steps=1",
    "measure.quiet_steps=1",
)

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of data sets."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def type_in(cache: Path) -> Typed:
    """Types `python -m MODULE ...` in a folder."""

    def typed(folder: Path, *words: str, module: str = "workbench") -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(cache),
            "COLUMNS": "200",
        }
        return subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return typed


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides that make a run tiny."""
    return SMALL
