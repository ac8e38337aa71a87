"""Where an experiment's artifacts lie: what its record says, held against what is configured.

MLflow records the place once, absolute. A project that was copied or moved would go on writing into the old one.
Each run's record has a list of its artifacts: by that, file by file, a place is known to have them all.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from workbench.record.tags import FILES, MADE_BY
from workbench.tracking.database import TrackingError
from workbench.tracking.errors import mlflow_command
from workbench.wording import counted

PLACE = "workbench.artifacts"
"""Tag of an experiment: the way from the SQLite file's folder to its artifacts. Both may be copied or moved."""
_LONGEST_TAG = 5000
_NAMED = 3
_BEING_WRITTEN = ".artifact.uploading."

Files = Mapping[str, int]
Runs = Mapping[str, Files | None]
"""What each run's record lists; None for one of before there were lists."""


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
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
    except OSError as error:
        raise TrackingError(
            f"tracking.artifacts={artifacts}: cannot write into {folder} ({error.strerror}); give a place "
            "that can be written"
        ) from error


def files_in(folder: Path) -> Files:
    """Every file below a folder, by its path there, with its bytes."""
    paths = [path for path in sorted(folder.rglob("*")) if not path.name.startswith(_BEING_WRITTEN)]
    return {str(path.relative_to(folder)): path.stat().st_size for path in paths if path.is_file()}


def as_tag(files: Files) -> str:
    """The list of a run's artifacts as its record keeps it: the first ones, where they are very many."""
    kept, room = {}, _LONGEST_TAG
    for name, size in files.items():
        room -= len(json.dumps(name)) + len(str(size)) + 2
        if room < 0:
            break
        kept[name] = size
    return json.dumps(kept, separators=(",", ":"))


def from_record(run: Any) -> Files | None:
    """What a run's record lists. Of one that was deleted, or that the workbench did not make, nothing is missed."""
    if run.info.lifecycle_stage == "deleted":
        return {}
    told = run.data.tags.get(FILES)
    if told is None:
        return None if run.data.tags.get(MADE_BY) == "workbench" else {}
    return dict(json.loads(told))


def way(location: str, database: Path) -> str | None:
    """From a SQLite file's folder to the artifacts, as `PLACE` keeps it."""
    folder = local(location)
    return None if folder is None else os.path.relpath(folder.resolve(), database.parent)


@dataclass(frozen=True)
class Places:
    """An experiment's artifacts at the place of its record, and at another."""

    old: Path
    new: Path
    runs: Runs

    @property
    def missing(self) -> list[str]:
        """What the new place lacks, as RUN/artifacts/FILE: files of the record's lists, and that the old place has.

        Where the old place is gone, a run without a list must have some files at the new one.
        """
        gone, lacking = not self.old.is_dir(), []
        for run, listed in self.runs.items():
            folder = Path(run) / "artifacts"
            there, here = files_in(self.old / folder), files_in(self.new / folder)
            for name, size in {**there, **(listed or {})}.items():
                if here.get(name) not in (size, there.get(name, size)):
                    lacking.append(str(folder / name))
            if listed is None and gone and not here:
                lacking.append(str(folder))
        return lacking

    def refusal(self, name: str, lacking: Sequence[str], configured: Configured) -> str:
        """Why the record cannot name the new place, which lacks these, and what to do."""
        runs = len({Path(one).parts[0] for one in lacking})
        named = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
        new, old = shlex.quote(str(self.new)), shlex.quote(str(self.old))
        if self.old.is_dir():
            how = "r" if any((self.new / one).exists() for one in lacking) else "rn"
            stay = self.old.parent if self.old.name == name else "null"
            remedy = (
                f"copy them (`mkdir -p {new} && cp -{how} {old}/. {new}/`) and type the same again, or take "
                f"tracking.artifacts={stay}"
            )
        else:
            delete = mlflow_command(configured.uri, f"runs delete --run-id {Path(lacking[0]).parts[0]}")
            remedy = (
                f"{self.old} is not there now: bring it back (is its disk mounted?), or copy its content to "
                f"{self.new}, or, where they are lost for good, delete these runs ({delete})"
            )
        where = f"tracking.artifacts={configured.artifacts}: " if configured.artifacts else ""
        return (
            f"{where}experiment {name!r} keeps its artifacts in {self.old}, and {self.new} has not all of them: "
            f"{counted(len(lacking), 'file')} of {counted(runs, 'run')} lacking or of another size ({named}); "
            f"{remedy}, or give another name=..."
        )


@dataclass(frozen=True)
class Place:
    """Where an experiment's artifacts are read and written."""

    location: str
    """What the record says."""
    folder: Path | None
    """Where they lie; None: where the record says, and that is on no disk."""
    moves: bool = False
    """Whether the record is to say so."""
    refusal: str = ""
    """Why nothing may be written."""
    says: str = ""
    """What to say before something is written."""

    def of_run(self, uri: str) -> str:
        """Where the artifacts of a run lie, of which the record says `uri`."""
        if self.folder is None or not uri.startswith(f"{self.location}/"):
            return uri
        if local(self.location) == self.folder:
            return uri
        return self.folder.as_uri() + uri[len(self.location) :]


@dataclass(frozen=True)
class Configured:
    """What is configured: the store, `tracking.artifacts`, and the SQLite file where the store is one."""

    uri: str
    artifacts: Path | None
    database: Path | None

    def place(self, experiment: Any, record: Callable[[], Runs]) -> Place:
        """The place of an experiment; `record` reads its runs' lists, where they have to be known."""
        location, name = experiment.artifact_location, experiment.name
        old = local(location)
        if self._is_server:
            return Place(location, None, says=self._servers(name, location, old))
        if old is None:
            return Place(location, None, refusal=self._on_no_disk(name, location))
        new = below(self.artifacts, name) if self.artifacts else self._moved(experiment, old)
        if new is None or old.resolve() == new.resolve():
            is_lost = not old.is_dir() and any(files != {} for files in record().values())
            return Place(location, old, refusal=_lost(name, old) if is_lost else "")
        both = Places(old, new, record())
        if not (lacking := both.missing):
            return Place(location, new, moves=True)
        refusal = both.refusal(name, lacking, self)
        if old.is_dir():
            return Place(location, old, refusal=refusal if self.artifacts else "")
        return Place(location, new, refusal=refusal)

    @property
    def _is_server(self) -> bool:
        return urlparse(self.uri).scheme in ("http", "https")

    def _servers(self, name: str, location: str, old: Path | None) -> str:
        """A server's experiments lie where the server has them, whatever is configured here."""
        if not self.artifacts or old == self.artifacts / name:
            return ""
        return (
            f"tracking.artifacts={self.artifacts} does nothing here: the server keeps the artifacts of "
            f"experiment {name!r} at {location}"
        )

    def _on_no_disk(self, name: str, location: str) -> str:
        if not self.artifacts:
            return ""
        return (
            f"tracking.artifacts={self.artifacts}: experiment {name!r} keeps its artifacts at {location}; "
            "tracking.artifacts=null leaves them there, or give another name=..."
        )

    def _moved(self, experiment: Any, old: Path) -> Path | None:
        """Where the artifacts would be if they were copied or moved together with the SQLite file."""
        if self.database is None:
            return None
        told = experiment.tags.get(PLACE)
        if told is None:  # a record of before that was kept: as configured by default
            beside = self.database.parent / "artifacts" / experiment.name
            return beside if beside.is_dir() and not old.is_dir() else None
        folder = Path(os.path.normpath(self.database.parent / told))
        return folder if folder.is_dir() or not told.startswith("..") else None


def _lost(name: str, folder: Path) -> str:
    return (
        f"the artifacts of experiment {name!r} lie in {folder}, which is not there now: bring it back (is its disk "
        f"mounted?); where they are lost for good, `mkdir -p {shlex.quote(str(folder))}` goes on without them; or "
        "give another name=..."
    )
