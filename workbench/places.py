"""Where conf/ and experiments/ lie, the checkout's or the wheel's; and a kept model, in its run's folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_SHIPPED = PACKAGE / "_shipped"
IS_SHIPPED = _SHIPPED.is_dir()
"""Whether this is an installed wheel, whose conf/ and claims came with a release."""

ROOT = _SHIPPED if IS_SHIPPED else PACKAGE.parent

CONF = ROOT / "conf"

KEPT_MODEL, KEPT_SIGNATURE = "model.keras", "model_signature.json"
"""What a run's process leaves in the run's folder where its model is to be kept."""


def of_this_host() -> Path:
    """Where this host's locks lie: one place for all its processes, also where each job has a TMPDIR of its own."""
    shared = Path("/tmp")  # not /dev/shm, which logind empties when a user logs out
    return shared if os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def parts_of_checkpoint(file: Path) -> tuple[Path, Path]:
    """A job's checkpoint, and the one that is being written."""
    return file, file.with_suffix(".part")


def claims_file(name: str) -> Path | None:
    """The claims.yaml of an experiment, or None where it has none."""
    path = ROOT / "experiments" / name / "claims.yaml"
    return path if path.is_file() else None


def results_folder(name: str, *beside: str) -> Path:
    """Where an experiment's committed results lie; only a checkout has them writable.

    `beside`: what sets them apart from those that the guide's page is made of, as "gpu" or "full".
    """
    return ROOT / "experiments" / name / "-".join(["results", *beside])


def experiments_folder() -> Path:
    """The folder of all experiments."""
    return ROOT / "experiments"


def experiments() -> list[str]:
    """Names that `+experiment=` takes."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
