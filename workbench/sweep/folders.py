"""Folders of a person's own configuration files, as --config-dir and `hydra.searchpath` name them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from workbench.config import ConfigError, Problem

_PACKAGE = "pkg://"


def lasting(place: str) -> str:
    """A place as it means the same from another folder: a path is made absolute, a package keeps its name.

    >>> lasting("pkg://lab.conf"), lasting("file:///a/b")
    ('pkg://lab.conf', '/a/b')
    """
    return place if place.startswith(_PACKAGE) else os.path.abspath(place.removeprefix("file://"))


def folder(place: str) -> Path:
    """The folder that is meant.

    Raises:
        ConfigError: there is none.
    """
    if place.startswith(_PACKAGE):
        try:
            spec = importlib.util.find_spec(place.removeprefix(_PACKAGE).replace("/", "."))
        except Exception as error:  # a name that is none, or whatever the package above it raises
            remedy = f"is no package with files ({error})"
            raise ConfigError([Problem("hydra.searchpath", place, remedy)]) from error
        if spec and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
        raise ConfigError([Problem("hydra.searchpath", place, "is no package with files")])
    if not os.path.isdir(found := lasting(place)):
        raise ConfigError([Problem("--config-dir", place, "is not a folder")])
    return Path(found)
