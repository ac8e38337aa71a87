"""Where an experiment's artifacts lie: what its record says, held against what is configured.

MLflow records the place once, absolute. A project that was copied or moved would go on writing into the old one.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from workbench.database import TrackingError


def local(uri: str) -> Path | None:
    """The folder that an artifact location names; None where it is not on a disk (s3, a server's own).

    >>> local("file:///a%20b/c"), local("/a b/c"), local("s3://bucket/c")
    (PosixPath('/a b/c'), PosixPath('/a b/c'), None)
    """
    address = urlparse(uri)
    if address.scheme == "file":
        return Path(unquote(address.path))
    return None if address.scheme else Path(uri)


def below(artifacts: Path, name: str) -> Path:
    """The folder of an experiment below the configured one.

    Raises:
        TrackingError: its name leads out of it.
    """
    folder = artifacts / name
    if not folder.resolve().is_relative_to(artifacts.resolve()) or folder.resolve() == artifacts.resolve():
        raise TrackingError(f"name={name}: its artifacts would lie outside of tracking.artifacts={artifacts}")
    return folder


def make(folder: Path, artifacts: Path) -> None:
    """Make a folder and write into it once.

    Raises:
        TrackingError: that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrackingError(
            f"tracking.artifacts={artifacts}: cannot write into {folder} ({error.strerror}); give a place "
            "that can be written"
        ) from error


@dataclass(frozen=True)
class Places:
    """Which of an experiment's runs have artifacts at the place of the record, and at the configured one."""

    old: Path
    new: Path
    runs: frozenset[str]

    @property
    def is_one(self) -> bool:
        """Whether both are one folder, by links too."""
        return self.old.resolve() == self.new.resolve()

    def at(self, folder: Path) -> frozenset[str]:
        """The runs that have a folder there."""
        try:
            return self.runs & {path.name for path in folder.iterdir()}
        except OSError:
            return frozenset()

    @property
    def may_move(self) -> bool:
        """Whether the record may name the new place: it has all that the old one has, and does not only seem empty.

        Where the old place is gone, it may be a disk that is not there now: the new one must then have some.
        """
        old, new = self.at(self.old), self.at(self.new)
        return old <= new and bool(new or not self.runs or self.old.is_dir())

    def refusal(self, name: str) -> str:
        """Why not, and what to do."""
        lost = self.at(self.old) - self.at(self.new)
        there = f"{len(lost)} of its runs have theirs there and not here" if lost else "that is not there now"
        remedy = (
            f"copy them (`mkdir -p {self.new} && cp -rn {self.old}/. {self.new}/`) and type the same again, or "
            f"take tracking.artifacts={self.old.parent if self.old.name == name else 'null'}"
            if lost
            else f"bring {self.old} back, or copy its content to {self.new}"
        )
        asked = self.new.parent if self.new.name == name else self.new
        return (
            f"tracking.artifacts={asked}: experiment {name!r} keeps "
            f"its artifacts in {self.old}: {there}; {remedy}, or give another name=..."
        )
