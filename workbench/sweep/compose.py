"""Hydra's glue: overrides -> one composed, resolved tree, and what was asked for in it."""

from __future__ import annotations

import copy
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from workbench.config import GROUPS, VARIANT_KEY, ConfigError, Problem, flatten
from workbench.options.schema import ABSENT, not_among, unknown_key
from workbench.places import CONF
from workbench.sweep.asked import DELETED, asked_values, lacking, names_that_are_no_text, typed_values
from workbench.sweep.folders import folder, lasting
from workbench.sweep.honoured import ENVIRONMENT, PARAMS, not_honoured, typed_not_honoured
from workbench.sweep.interpolation import resolved, resolved_and_of_seed
from workbench.sweep.overrides import Given, parsed, read

_NAMES = "a name in a mapping is text: in a file write it in quotes, in the command line +KEY.NAME=VALUE"


@dataclass(frozen=True)
class Composed:
    """A composition: the tree, the values that were asked for in it by dotted name, and axes of Hydra's sweeper."""

    tree: dict[str, Any]
    asked: dict[str, Any]
    typed: dict[str, Any]
    """The same before interpolations are resolved."""
    params: dict[str, Any] = field(default_factory=dict)
    of_seed: tuple[tuple[str, str], ...] = ()
    """Keys, and their texts, that refer to the seed or the repeat."""


@dataclass(frozen=True)
class _Base:
    """A choice of files, composed by Hydra."""

    config: DictConfig
    params: dict[str, Any]
    choices: dict[str, Any]
    environment: dict[str, str]
    """`hydra.job.env_set` before its interpolations are resolved."""


class Composer:
    """Composes configurations from conf/, and from folders of the user's own before it."""

    def __init__(self, folders: Sequence[str] = (), config_name: str = "config") -> None:
        self._config_name, self.folders = config_name, [lasting(one) for one in folders]
        self.own_places = [folder(one) for one in folders]
        self._places = [CONF, *self.own_places]
        shown = [one if "://" in one else f"file://{one}" for one in self.folders]
        self.search = [f"hydra.searchpath=[{','.join(map(repr, shown))}]"] if folders else []
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._groups: dict[str, list[str]] = {}
        self._variants_of: dict[tuple[str, str], Any] = {}

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The composed tree, interpolations resolved.

        Raises:
            ConfigError: an override that does not parse, or names a key or a file that is not there.
        """
        return self.composed(overrides).tree

    def composed(self, overrides: Sequence[str]) -> Composed:
        """The composed tree, what was asked for, and `hydra.sweeper.params` of the same composition.

        Raises:
            ConfigError: as above; also where the tree does not hold what an override asks for.
        """
        config, base, values, groups = self._config(overrides)
        if "environment" in config:
            remedy = f"is set by +{ENVIRONMENT}.NAME=VALUE"
            raise ConfigError([Problem("environment", config._get_node("environment"), remedy)])
        if (
            base.environment
        ):  # its interpolations are of the whole configuration, as it is with the values in it
            with open_dict(config):
                config.environment = base.environment
        raw = OmegaConf.to_container(config, resolve=False)
        if wrong := [Problem(key, ABSENT, _NAMES) for key in names_that_are_no_text(raw)]:
            raise ConfigError(wrong)
        tree, of_seed = resolved_and_of_seed(config, base.choices, raw)
        if base.environment:
            tree["environment"] = {name: str(value) for name, value in tree["environment"].items()}
        variables = [one for one in groups if one.key_or_group.startswith(ENVIRONMENT)]
        typed = typed_values([*variables, *values])
        asked = asked_values(typed, flatten(raw), flatten(tree))  # type: ignore[arg-type]
        asked |= self._variants(groups, base)
        if wrong := lacking(asked, tree):
            raise ConfigError(wrong)
        return Composed(tree, asked, typed, base.params, of_seed)

    def only(
        self, overrides: Sequence[str], sections: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sections of the composed tree, and its axes; what other sections refer to need not be there."""
        config, base, _, _ = self._config(overrides)
        raw = OmegaConf.to_container(config, resolve=False)
        there = [name for name in sections if name in config]
        return {name: resolved(config, base.choices, raw, name) for name in there}, base.params

    def read(self, overrides: Sequence[str]) -> list[Given]:
        """What the overrides give for each key; a glob takes the files that there are.

        Raises:
            ConfigError: an override that is not in the grammar, or sets what of Hydra's does nothing here.
        """
        given = read(overrides, self.choices)
        if wrong := typed_not_honoured(given):
            raise ConfigError(wrong)
        return given

    def hydra(self, overrides: Sequence[str]) -> DictConfig:
        """Hydra's own part of a composition: which launcher, and its options."""
        words = [one for text in overrides if not _is_params(one := parsed(text))]
        with self._explained(overrides):
            return self._composed([one.input_line or "" for one in words]).hydra

    def choices(self, group: str) -> list[str]:
        """The files of a group, by name; empty where there is no such group."""
        if group not in self._groups:
            with self._hydra(), _quietly():
                loader = GlobalHydra.instance().config_loader()
                assert isinstance(loader, ConfigLoaderImpl)
                found = loader.get_group_options(group, ObjectType.CONFIG, self._config_name, self.search)
            self._groups[group] = sorted(found)
        return self._groups[group]

    def is_group(self, name: str) -> bool:
        """Whether files are chosen under this name."""
        return any((place / name).is_dir() for place in self._places)

    def _config(self, overrides: Sequence[str]) -> tuple[DictConfig, _Base, list[Override], list[Override]]:
        """The composition before interpolations are resolved; the overrides of values, and those of files."""
        words = [parsed(text) for text in overrides]
        _require_one_file_each(words, self.is_group)
        typed = {key: value for one in words if _is_params(one) for key, value in _params(one).items()}
        words = [one for one in words if not _is_params(one)]
        groups = [one for one in words if self._is_file(one)]
        values = [one for one in words if not self._is_file(one)]
        with self._explained([one.input_line or "" for one in [*groups, *values]]):
            base = self._base([one.input_line or "" for one in groups])
            config = copy.deepcopy(base.config)
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
        if typed:
            base = replace(base, params=_with(base.params, typed))
        return config, base, values, groups

    def _base(self, groups: Sequence[str]) -> _Base:
        """The composition of a choice of files; made once for each choice.

        A file is read, merged and ordered by Hydra in some 45 ms; what sets single values, as most of a large
        grid does, is then applied by Hydra to a copy, as it would be in a composition of its own.
        """
        key = tuple(groups)
        if key not in self._bases:
            config = self._composed(groups)
            if wrong := not_honoured(config.hydra, _plain_hydra(self._config_name)):
                raise ConfigError(wrong)
            params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
            assert isinstance(params, dict)
            choices = dict(config.hydra.runtime.choices)
            variables = OmegaConf.to_container(config.hydra.job.env_set, resolve=False)
            with open_dict(config):
                del config["hydra"]
            self._bases[key] = _Base(config, params, choices, variables)  # type: ignore[arg-type]
        return self._bases[key]

    def _is_file(self, one: Override) -> bool:
        """Whether an override chooses a file, or concerns Hydra itself."""
        is_choice = self.is_group(one.key_or_group) and not isinstance(one.value(), dict)
        return is_choice or one.key_or_group.startswith("hydra")

    def _variants(self, groups: Sequence[Override], base: _Base) -> dict[str, Any]:
        """What each chosen file calls itself: a value over it would make of the choice another one."""
        asked: dict[str, Any] = {}
        for one in groups:
            name, choice = one.key_or_group, one.value()
            if one.is_delete() or one.package is not None or not self.is_group(name):
                continue
            if base.choices.get(name) != choice and choice is not None:
                found = base.choices.get(name)
                raise ConfigError(
                    [Problem(name, choice, f"is asked for, but {name}={found} is what is chosen")]
                )
            if name in GROUPS and isinstance(choice, str):
                key = VARIANT_KEY.get(name, "name")
                asked[f"{name}.{key}"] = self._variant(name, choice, key)
        return asked

    def _variant(self, group: str, choice: str, key: str) -> Any:
        """What a file of a group says under a key, itself or by the files that it takes in."""
        if (group, choice) not in self._variants_of:
            paths = [place / group / f"{choice}.yaml" for place in self._places]
            file = next((path for path in paths if path.is_file()), None)
            said = OmegaConf.to_container(OmegaConf.load(file)) if file else {}
            if not isinstance(said, dict) or not isinstance(said.get(key), str):
                said = self._composed([f"{group}={choice}"])[group]
            self._variants_of[group, choice] = said.get(key)
        return self._variants_of[group, choice]

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="workbench"):
            yield

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        with _quietly(), self._hydra():
            words = [*self.search, *overrides]
            return hydra_compose(self._config_name, words, return_hydra_config=True)

    @contextmanager
    def _explained(self, overrides: Sequence[str]) -> Iterator[None]:
        """Turn whatever Hydra raises into a problem of the one override that it is about."""
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:  # Hydra's, OmegaConf's, YAML's, and what escapes from them
            raise ConfigError([self._problem(error, overrides)]) from error

    def _problem(self, error: Exception, overrides: Sequence[str]) -> Problem:
        """The first override with which the composition fails: those of files come first, as in Hydra."""
        for number, text in enumerate(overrides):
            failed = self._failure(overrides[: number + 1])
            if failed is not None:
                return self._words(failed, text, overrides)
        return Problem("conf", self._config_name, _message(error))

    def _failure(self, overrides: Sequence[str]) -> Exception | None:
        try:
            self._composed(overrides)
        except Exception as error:  # as above
            return error
        return None

    def _words(self, error: Exception, text: str, overrides: Sequence[str]) -> Problem:
        message = _message(error)
        name, equals, typed = text.partition("=")
        key = name.lstrip("+~")
        value = typed if equals else None
        bare = key.partition("@")[0]
        if "Could not override" in message and f"'{key}'" in message:
            if key.startswith(ENVIRONMENT):
                return Problem(key, value, f"no such variable is set yet; +{text} adds it")
            if key.startswith("hydra."):
                return Problem(key, value, f"Hydra has no such key; +{text} adds it")
            if self.choices(bare):
                return Problem(key, value, f"none of this group is chosen by default; type +{text}")
            return Problem(key, value, self._no_such_key(key, typed, [o for o in overrides if o != text]))
        if f"Could not find '{bare}/{typed}'" in message:
            return Problem(key, value, not_among(typed, self.choices(bare), bare))
        return Problem(name, value, message)

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


@functools.cache
def _plain_hydra(config_name: str) -> DictConfig:
    """Hydra's settings where nothing is given."""
    return Composer(config_name=config_name).hydra([])


def _is_params(one: Override) -> bool:
    return one.key_or_group == PARAMS or one.key_or_group.startswith(f"{PARAMS}.")


def _params(one: Override) -> dict[str, Any]:
    """Axes that an override of Hydra's sweeper gives, with their names."""
    value, name = one.value(), one.key_or_group.removeprefix(PARAMS).removeprefix(".")
    if one.is_delete():
        return {name: DELETED}
    if name:
        return {name: value}
    if isinstance(value, dict):
        return {str(key): axis for key, axis in value.items()}
    raise ConfigError([Problem(PARAMS, value, 'must be a mapping, as {cell: "lstm,gru"}')])


def _with(params: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of files with those that are typed over them; `~` takes one out, or without a name all."""
    found = dict(params)
    for key, value in typed.items():
        if value is not DELETED:
            found[key] = value
        elif not key:
            found.clear()
        elif key not in found:
            there = ", ".join(found) or "none"
            raise ConfigError(
                [Problem(f"~{PARAMS}.{key}", ABSENT, f"no such axis is given; there are {there}")]
            )
        else:
            del found[key]
    return found


def _require_one_file_each(words: Sequence[Override], is_group: Callable[[str], bool]) -> None:
    for one in words:
        if isinstance(value := one.value(), list) and is_group(one.key_or_group):
            several = f"sweep.experiments=[{','.join(map(str, value))}] runs each of them as its own sweep"
            more = several if one.key_or_group == "experiment" else "several are swept over with -m, as a,b"
            raise ConfigError([Problem(one.key_or_group, value, f"takes one file; {more}")])


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        # our files of launchers have the names of the plugins' own, which check them: as it should be
        warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against", UserWarning)
        yield


def _message(error: BaseException) -> str:
    """What a library's error says, without where it would look it up and what it calls it."""
    parts = [str(error)]
    while error.__cause__ is not None and not parts[-1].strip():
        error = error.__cause__
        parts.append(str(error))
    lines = [line.strip() for line in parts[-1].splitlines() if line.strip()]
    kept = [line for line in lines if not re.match(r"set the env|full_key|object_type|See https|\^$", line)]
    return " ".join(kept) or f"{type(error).__name__}: {error.__cause__!r}"
