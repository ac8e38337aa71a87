"""Where a module lies, found without importing it or its packages; and whose it is.

A module is a person's own where it lies outside of Python, of installed packages and of the workbench.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import os
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workbench.places import IS_SHIPPED, PACKAGE

_GENERATED = "__autograph_generated_file"
_SITES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_PYTHONS_OWN = (
    importlib.machinery.BuiltinImporter,
    importlib.machinery.FrozenImporter,
    importlib.machinery.PathFinder,
)


@dataclass(frozen=True)
class Found:
    """A module that was found and not imported; without `origin` it has no file (built in, or a bare folder)."""

    module: str
    origin: str
    loader: Any
    folders: Sequence[str] | None
    """Where the modules of a package are looked for; None where it is no package."""

    @property
    def name(self) -> str:
        """What a record calls its file."""
        return source_name(self.module, self.origin, is_package=self.folders is not None)

    def data(self) -> bytes:
        """Its file, be it in an archive."""
        return bytes(self.loader.get_data(self.origin))


def find(module: str, path: Sequence[str] | None = None) -> Found | None:
    """A module by its dotted name, as a run's process would find it; `path`: where it looks, if not there."""
    parts, found = module.split("."), None
    path = import_path() if path is None else path
    for n in range(len(parts)):
        found = _find(".".join(parts[: n + 1]), path, is_top=n == 0)
        if found is None or (found.folders is None and n + 1 < len(parts)):
            return None
        path = list(found.folders or [])
    return found


def import_path() -> list[str]:
    """Where a run's process looks for modules: what `python -m` puts first, then this process' path."""
    here = [] if os.environ.get("PYTHONSAFEPATH") else [os.getcwd()]
    ours = [] if IS_SHIPPED else [str(PACKAGE.parent)]
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return list(dict.fromkeys(os.path.abspath(path) for path in [*here, *ours, *known, *sys.path]))


def source_name(module: str, origin: str, *, is_package: bool) -> str:
    """What a module's file is called in a record: from where it is imported, so that a folder may be moved.

    >>> source_name("lab.steps", "/home/me/lab/steps.py", is_package=False)
    'lab/steps.py'
    >>> source_name("plugin", "/home/me/anything.py", is_package=False)
    '/home/me/anything.py'
    """
    package, _, last = (module, "", "__init__") if is_package else module.rpartition(".")
    file = Path(origin).name
    if file.partition(".")[0] != last:
        return re.sub(r"[^\w./ :-]", "_", os.path.normpath(origin))[-200:]  # it becomes the name of a tag
    return "/".join([*package.split("."), file] if package else [file])


def module_of(name: str) -> str:
    """The module of a name that `source_name` made.

    >>> module_of("lab/__init__.py"), module_of("lab/fast.cpython-311-x86_64-linux-gnu.so")
    ('lab', 'lab.fast')
    """
    *folders, file = name.split("/")
    last = file.partition(".")[0]
    return ".".join(folders if last == "__init__" else [*folders, last])


def is_own(origin: str | None, module: str = "") -> bool:
    """Whether a module's file is a person's own; what TensorFlow's autograph writes is nobody's."""
    if not origin or not os.path.isabs(origin) or module.startswith(_GENERATED):
        return False
    places = (*_python(), f"{PACKAGE}{os.sep}")
    ways = (
        lambda path: path,
        os.path.realpath,
    )  # the second asks the disk: only for what the first lets through
    return not any(way(origin).startswith(places) or _is_installed(way(origin)) for way in ways)


def release(found: Found) -> str | None:
    """The version that stands for an installed package's files; empty for what comes with Python.

    None where its files must stand for themselves: a person's own, installed from a folder or a repository, or
    by no installer.
    """
    where = found.origin or next(iter(found.folders or []), "")
    if not where or (where.startswith(_python()) and not _is_installed(where)):
        return ""
    return _version(found.module) if _is_installed(where) else None


@cache
def _version(package: str) -> str | None:
    try:
        installed = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(package)
        if not names:
            return None
        installed = importlib.metadata.distribution(names[0])
    told = json.loads(installed.read_text("direct_url.json") or "{}")
    return None if "dir_info" in told or "vcs_info" in told else installed.version


def _is_installed(path: str) -> bool:
    return any(site in path for site in _SITES) or path.startswith(_with_releases())


@cache
def _with_releases() -> tuple[str, ...]:
    """Folders of the path that an installer has filled, whatever their name (`pip install --target`)."""
    folders = [path for path in sys.path if os.path.isdir(path) and any(Path(path).glob("*.dist-info"))]
    return tuple(f"{os.path.abspath(path)}{os.sep}" for path in folders)


@cache
def _python() -> tuple[str, ...]:
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return tuple(f"{path}{os.sep}" for folder in folders for path in (folder, os.path.realpath(folder)))


def _find(module: str, path: Sequence[str], *, is_top: bool) -> Found | None:
    if is_top and any(finder.find_spec(module) for finder in _PYTHONS_OWN[:2]):
        return Found(module, "", None, None)
    portions: list[str] = []
    for folder in path:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(module) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return _found(spec)
        if spec is not None:
            portions += spec.submodule_search_locations or []
    if portions:
        return Found(module, "", None, portions)
    return _of_another_finder(module) if is_top else None


def _of_another_finder(module: str) -> Found | None:
    """What no folder of the path has: a package that is installed as editable has a finder of its own."""
    for finder in sys.meta_path:
        spec = None if finder in _PYTHONS_OWN else finder.find_spec(module, None)
        if spec is not None:
            return _found(spec)
    return None


def _found(spec: importlib.machinery.ModuleSpec) -> Found:
    folders = spec.submodule_search_locations
    known = None if folders is None else list(getattr(folders, "_path", folders))
    return Found(spec.name, (spec.origin or "") if spec.has_location else "", spec.loader, known)
