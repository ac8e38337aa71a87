"""What makes a sweep's numbers beside configuration and data, as it was before the first job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench.config import ConfigError, Problem
from workbench.identity import SOURCE, makers, packed
from workbench.provenance import environment, machine, provenance
from workbench.repositories import Repositories
from workbench.sources import SourceError, sources_of

NAME = "made_by.json"


@dataclass
class Origin:
    """Taken once, by whoever plans; a launcher's workers get it with their task."""

    common: dict[str, str] = field(default_factory=lambda: {**provenance(), **environment()})
    """Versions, machine, settings and the workbench's code, as tags."""
    repositories: Repositories = field(default_factory=Repositories.now)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each custom cell, and of none, the files with their digests."""
    met: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each the files that its jobs have imported, though no import of them could be seen beforehand."""

    @classmethod
    def of(cls, trees: Iterable[Mapping[str, Any]], config_folders: Iterable[Path] = ()) -> Origin:
        """That of jobs with these configurations.

        Raises:
            ConfigError: a cell's class, or what its module surely imports, is not there.
        """
        trees = list(trees)
        found = cls(repositories=Repositories())
        paths = set(config_folders)
        for target in {_target(tree) for tree in trees}:
            paths |= found._look(target)
        found.repositories = Repositories.now(sorted(paths), _recorded_in(trees[0]) if trees else ())
        return found

    def made_by(self, tree: Mapping[str, Any]) -> dict[str, str]:
        """What makes the numbers of a job, by the names of its tags; a file each, however many."""
        target = _target(tree)
        if target not in self.sources:
            self._look(target)
        sources = {f"{SOURCE}{name}": digest for name, digest in self.sources[target].items()}
        asked = {f"environment.{name}": str(value) for name, value in (tree.get("environment") or {}).items()}
        return {**makers({**self.common, **asked}), **sources}

    def tags(self, tree: Mapping[str, Any]) -> dict[str, str]:
        """All that a job's run is tagged with; the machine is that of this process, be it a launcher's worker."""
        return {**self.common, **machine(), **self.repositories.tags, **packed(self.made_by(tree))}

    def write(self, tree: Mapping[str, Any], folder: Path) -> Path:
        """Write down in a run's folder what its process is to hold against what it finds; and the patches."""
        self.repositories.write(folder)
        path = folder / NAME
        known = {"planned": self.made_by(tree), "met": self.met.get(_target(tree), {})}
        path.write_text(json.dumps(known, indent=1, sort_keys=True))
        return path

    def meet(self, tree: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Take in which files a job has imported: the next one's must be the same."""
        own = {name: value for name, value in tags.items() if name.startswith(SOURCE)}
        self.met.setdefault(_target(tree), {}).update(own)

    def _look(self, target: str) -> set[Path]:
        """Find what a custom cell is made of; where its files lie."""
        try:
            found = sources_of(target or None)
        except SourceError as error:
            raise ConfigError([Problem("cell.target", target, str(error))]) from error
        self.sources[target] = {source.name: source.digest for source in found}
        return {Path(source.path) for source in found if source.path and Path(source.path).is_file()}


def _target(tree: Mapping[str, Any]) -> str:
    return str(tree["cell"].get("target") or "")


def _recorded_in(tree: Mapping[str, Any]) -> list[Path]:
    """Where runs are recorded: what lies there is no source."""
    tracking = tree["tracking"]
    places = [tracking["folder"], tracking["artifacts"], tree["data"].get("cache_dir")]
    uri = urlsplit(tracking["uri"])
    if uri.scheme == "sqlite":
        places += [f"{uri.path[1:]}{more}" for more in ("", "-wal", "-shm", "-journal")]
    return [Path(place) for place in places if place]
