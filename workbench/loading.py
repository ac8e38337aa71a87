"""In a run's process: a person's own modules are read from their source, and held against what was planned.

What a process imports is digested from the very bytes that are compiled: a stale .pyc, whose source was changed
within a second and by no byte of length, is passed over, and a file that is edited while it is read is found out.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from pathlib import Path
from types import CodeType
from typing import Self

from workbench.identity import changes
from workbench.modules import find, import_path, is_own, source_name
from workbench.provenance import environment, versions
from workbench.sources import digest, digest_now, sources_of


class ChangedError(RuntimeError):
    """Something that makes the numbers is not what the sweep was planned with."""


class Loading:
    """A context in which own modules are read from source; `planned` says what each file is to be.

    A file that is not as planned raises ChangedError where it is imported. `own_package` is own wherever it lies.
    """

    def __init__(self, planned: Mapping[str, str], own_package: str = "") -> None:
        self._planned, self._own_package = planned, own_package
        self._path = import_path()
        self._read: dict[str, str] = {}
        self._changed: list[str] = []

    def __enter__(self) -> Self:
        loading, through_cache = self, SourceFileLoader.get_code

        def get_code(loader: SourceFileLoader, module: str) -> CodeType | None:
            path = loader.get_filename(module)
            if not loading._is_own(module, path):
                return through_cache(loader, module)
            data = loader.get_data(path)
            loading._take(loading._name(module, path, is_package=loader.is_package(module)), path, data)
            loading.require_as_planned()
            # autograph and tracebacks read sources again, later: they are to find what was compiled
            lines = decode_source(data).splitlines(keepends=True)
            linecache.cache[path] = (len(data), None, lines, path)
            return loader.source_to_code(data, path)

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]
        return self

    def __exit__(self, *_: object) -> None:
        del SourceFileLoader.get_code  # a loader's own is its class's

    def require_as_planned(self) -> None:
        """Raise ChangedError where an own module that was imported, by whatever loader, is not as planned."""
        if self._changed:
            raise ChangedError(_words(self._changed))

    def loaded(self) -> dict[str, str]:
        """The own files that this process has imported, each with its digest.

        Raises:
            ChangedError: one is not as planned, be it that whoever imported it has caught that error.
        """
        for module in list(sys.modules.values()):
            spec = getattr(module, "__dict__", {}).get("__spec__")  # asks a lazy module for nothing
            if spec is None or not spec.has_location or not self._is_own(spec.name, spec.origin):
                continue
            is_package = spec.submodule_search_locations is not None
            name = self._name(spec.name, spec.origin or "", is_package=is_package)
            if name not in self._read and (data := _data(spec.loader, spec.origin or "")) is not None:
                self._take(name, spec.origin or "", data)
        self.require_as_planned()
        return dict(self._read)

    def _is_own(self, module: str, path: str | None) -> bool:
        return is_own(path, module) or module.partition(".")[0] == self._own_package

    def _name(self, module: str, path: str, *, is_package: bool) -> str:
        """As a record has it: by the module, where that leads to the file again; else, as of a folder that some
        source has put on the path by itself, where it lies."""
        name = source_name(module, path, is_package=is_package)
        if name in self._planned or ((found := find(module, self._path)) and _is_same(found.origin, path)):
            return name
        return source_name("", path, is_package=False)

    def _take(self, name: str, path: str, data: bytes) -> None:
        self._read[name] = digest(data)
        if self._planned.get(name, self._read[name]) != self._read[name]:
            self._changed.append(f"{name} ({path})")


@dataclass(frozen=True)
class MadeBy:
    """What is to make a run's numbers (`workbench.identity`), as it was planned.

    `met` are files that other jobs of the sweep have imported, though nobody could see that beforehand.
    """

    planned: Mapping[str, str]
    met: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls, target: str | None, code: str) -> Self:
        """As it is here and now, for a run that nobody planned; `code` is the workbench's."""
        found = sources_of(target)
        return cls({"code.sha256": code, **{f"source.{one.name}": one.digest for one in found}})

    @property
    def _files(self) -> dict[str, str]:
        both = {**self.met, **self.planned}
        return {name.partition(".")[2]: value for name, value in both.items() if name.startswith("source.")}

    def code(self) -> dict[str, str]:
        """Of the makers what must be one on all machines of a run."""
        return {name: value for name, value in self.planned.items() if name.startswith(("code.", "source."))}

    def require_here(self, code: str) -> None:
        """Raise ChangedError where files, versions or settings are not as planned.

        `code` is of the workbench that this process has imported.
        """
        now = {"code.sha256": code, **versions(), **environment()}
        for name in self.planned:
            kind, _, what = name.partition(".")
            if kind == "source" and (there := digest_now(what)):
                now[name] = there
            elif kind == "environment" and what in os.environ:
                now[name] = os.environ[what]
        if found := changes(self.planned, now):
            raise ChangedError(_words(found))

    def loading(self, target: str | None) -> Loading:
        """A context in which the files are held against this as they are imported."""
        package = (target or "").partition(":")[0].partition(".")[0]
        mine = any(name.startswith((f"{package}/", f"{package}.py")) for name in self._files)
        return Loading(self._files, package if package and mine else "")

    def beside(self, loaded: Mapping[str, str]) -> dict[str, str]:
        """Tags of the files that were imported and not planned."""
        found = {f"source.{name}": digest for name, digest in loaded.items()}
        return {name: digest for name, digest in found.items() if name not in self.planned}


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _words(what: list[str]) -> str:
    return (
        f"{'; '.join(dict.fromkeys(what))}: changed since this sweep was planned, and its runs would not be of one "
        "code: start the sweep again, or go on with it by workbench.resume=true, where workbench.changed says what "
        "becomes of what has finished"
    )


def _data(loader: object, path: str) -> bytes | None:
    """A module's file as it is now; None where it is gone."""
    get_data = getattr(loader, "get_data", None)
    try:
        return bytes(get_data(path)) if get_data else Path(path).read_bytes()
    except OSError:
        return None
