"""Hydra's glue: overrides -> one composed, resolved tree; sweep overrides -> their values."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from workbench.config import ConfigError, Problem, flatten
from workbench.config.schema import not_among, unknown_key
from workbench.places import CONF


class Composer:
    """Composes configurations from conf/, and from folders of the user's own before it."""

    def __init__(self, folders: Sequence[str] = (), config_name: str = "config") -> None:
        for folder in folders:
            if not os.path.isdir(folder):
                raise ConfigError([Problem("--config-dir", folder, "is not a folder")])
        self._config_name, self.folders = config_name, list(folders)
        paths = ",".join(f"'file://{os.path.abspath(folder)}'" for folder in folders)
        self._bases: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}
        self._extra = [f"hydra.searchpath=[{paths}]"] if folders else []

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The composed tree, interpolations resolved.

        Raises:
            ConfigError: an override that does not parse, or names a key or a file that is not there.
        """
        return self.with_params(overrides)[0]

    def with_params(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The composed tree, and `hydra.sweeper.params` of the same composition."""
        try:
            groups, values = self._divided(overrides)
            base, params = self._base(groups)
            config = copy.deepcopy(base)
            parsed = OverridesParser.create().parse_overrides(values)
            ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
            tree = OmegaConf.to_container(config, resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError([self._explained(error, overrides)]) from error
        return tree, dict(params)  # type: ignore[return-value]

    def _base(self, groups: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
        """The composition of a choice of files, and its `hydra.sweeper.params`; made once for each choice.

        A file is read, merged and ordered by Hydra in some 45 ms; what sets single values, as most of a large
        grid does, is then applied by Hydra to a copy, as it would be in a composition of its own.
        """
        key = tuple(groups)
        if key not in self._bases:
            config = self._composed(groups)
            params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
            with open_dict(config):
                del config["hydra"]
            self._bases[key] = config, params  # type: ignore[assignment]
        return self._bases[key]

    def _divided(self, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
        """Overrides that choose files (or concern Hydra itself), and those that set values."""
        folders = [CONF, *map(Path, self.folders)]
        groups: list[str] = []
        values: list[str] = []
        for text in overrides:
            name = text.lstrip("+~").partition("=")[0].partition("@")[0]
            is_file = name.startswith("hydra") or any((folder / name).is_dir() for folder in folders)
            (groups if is_file else values).append(text)
        return groups, values

    def hydra(self, overrides: Sequence[str]) -> DictConfig:
        """Hydra's own part of a composition: which launcher, and its options."""
        try:
            return self._composed(overrides).hydra
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError([self._explained(error, overrides)]) from error

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        with (
            warnings.catch_warnings(),
            initialize_config_dir(str(CONF), version_base="1.3", job_name="workbench"),
        ):
            # our files of launchers have the names of the plugins' own, which check them: as it should be
            warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against", UserWarning)
            return hydra_compose(self._config_name, [*self._extra, *overrides], return_hydra_config=True)

    def _explained(self, error: Exception, overrides: Sequence[str]) -> Problem:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = " ".join(
            line for line in lines if not line.startswith(("set the env", "full_key", "object_type"))
        )
        for text in overrides:
            key, _, value = text.lstrip("+~").partition("=")
            if f"'{key}'" in message and "Could not override" in message:
                if key.startswith("hydra."):
                    return Problem(key, value, f"Hydra has no such key; +{key}={value} adds it")
                return Problem(key, value, self._no_such_key(key, value, [o for o in overrides if o != text]))
            if f"Could not find '{key}/{value}'" in message:
                return Problem(key, value, not_among(value, self._choices(key), key))
        message = message or f"{type(error).__name__}: {error.__cause__!r}"
        return Problem("override", " ".join(overrides) or "(none)", message)

    def _no_such_key(self, key: str, value: str, others: Sequence[str]) -> str:
        """What keys there are with the other overrides, which say what each group's choice is."""
        try:
            tree = self(others)
        except ConfigError:
            tree = self([])
        known = flatten(tree)
        node: Any = tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node == {}:
            return f"it is there, but holds no such entry yet; +{key}={value} adds it"
        sections = {".".join(name.split(".")[:-1]) for name in known}
        group = key.partition(".")[0]
        choice = next((text for text in others if text.startswith(f"{group}=")), None)
        if choice and key in flatten(self([])):
            kept = [name for name in known if name.startswith(f"{group}.")]
            return f"no such key; {choice} is chosen, which has {', '.join(sorted(kept))}"
        return unknown_key(key, sorted({*known, *sections} - {""}))

    def _choices(self, group: str) -> list[str]:
        folders = [CONF, *map(Path, self.folders)]
        own = {"basic"} if group == "hydra/launcher" else set()
        return sorted(own | {path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def split_sweeps(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Plain overrides, and the swept ones as key -> overrides of one value each.

    >>> split_sweeps(["seed=1,2", "cell=gru", "data.mean=range(1,3)"])
    (['cell=gru'], {'seed': ['seed=1', 'seed=2'], 'data.mean': ['data.mean=1', 'data.mean=2']})
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError([Problem("override", " ".join(overrides), " ".join(str(error).split()))]) from error
    plain, swept = [], {}
    for override, text in zip(parsed, overrides, strict=True):
        if not override.is_sweep_override():
            plain.append(text)
            continue
        sign = "+" if text.startswith("+") else ""
        key = override.get_key_element()
        swept[key.lstrip("+")] = [
            f"{sign}{key.lstrip('+')}={value}" for value in override.sweep_string_iterator()
        ]
    return plain, swept
