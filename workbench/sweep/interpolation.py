"""OmegaConf's interpolations: resolved, or refused with the key that holds them and their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, UnsupportedInterpolationType

from workbench.config import ConfigError, Problem, flatten

_OF_HYDRA = re.compile(r"\$\{\s*hydra:\s*([^}]*?)\s*\}")
_CHOICE = "runtime.choices."
_OF_A_JOB = ("seed", "repeat")
_WATCH = "workbench.watched"
_values: dict[str, Any] = {}
_read: list[str] = []


def _watched(key: str) -> Any:
    _read.append(key)
    return _values[key]


OmegaConf.register_new_resolver(_WATCH, _watched, replace=True)


def _require_choices(raw: Any, choices: Mapping[str, Any], section: str) -> None:
    """Refuse `${hydra:...}` of anything but a choice of file: there is no such thing while a sweep is planned."""
    problems = []
    for key, text in _interpolations(raw, section):
        for name in _OF_HYDRA.findall(str(text)):
            choice = name.removeprefix(_CHOICE)
            if not name.startswith(_CHOICE):
                words = "of Hydra's own values a configuration knows ${hydra:runtime.choices.GROUP} only"
            elif choice not in choices:
                words = f"there is no group {choice}; there are {', '.join(sorted(choices))}"
            else:
                continue
            problems.append(Problem(_as_given(key), text, words))
    if problems:
        raise ConfigError(problems)


def resolved(config: DictConfig, choices: Mapping[str, Any], raw: Any, section: str = "") -> Any:
    """A composed configuration, or a section of it, as plain values; `raw` is it with its interpolations.

    Raises:
        ConfigError: with each key whose interpolation cannot be resolved, and its text.
    """
    instance = HydraConfig.instance()
    before = instance.cfg
    if "${hydra:" in str(raw):
        _require_choices(raw, choices, section)
        instance.cfg = OmegaConf.create({"hydra": {"runtime": {"choices": dict(choices)}}})
    try:
        return _value(config, section)
    except Exception as error:  # OmegaConf's, or a resolver's own
        raise ConfigError(
            _unresolved(config, raw, section) or [Problem("conf", section, str(error))]
        ) from error
    finally:
        instance.cfg = before


def resolved_and_of_seed(
    config: DictConfig, choices: Mapping[str, Any], raw: Any
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """A whole configuration as plain values, and the keys, with their texts, that ask for its seed or repeat.

    In place of both stands what notes that it was asked for: no way of writing an interpolation passes by it.
    `config` is of no further use then.

    Raises:
        ConfigError: as above.
    """
    watched = [key for key in _OF_A_JOB if isinstance(_or_none(config, key), int)]
    for key in watched:
        _values[key] = config[key]
        config[key] = f"${{{_WATCH}:{key}}}"
    _read.clear()
    tree = resolved(config, choices, raw)
    if len(_read) == len(watched):  # each by itself
        return tree, ()
    found = []
    for key, text in _interpolations(raw, ""):
        _read.clear()
        if key not in watched and (resolved(config, choices, raw, key), _read)[1]:
            found.append((_as_given(key), str(text)))
    return tree, tuple(found) or (("an interpolation", "${seed}"),)


def _or_none(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except Exception:  # OmegaConf's, or a resolver's own: said where all is resolved
        return None


def _interpolations(raw: Any, section: str) -> list[tuple[str, Any]]:
    return [
        (key, text)
        for key, text in flatten(raw).items()
        if "${" in str(text) and (not section or key == section or key.startswith(f"{section}."))
    ]


def _value(config: DictConfig, key: str) -> Any:
    node = OmegaConf.select(config, key) if key else config
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _unresolved(config: DictConfig, raw: Any, section: str) -> list[Problem]:
    problems = []
    for key, text in _interpolations(raw, section):
        try:
            _value(config, key)
        except Exception as error:  # as above
            problems.append(Problem(_as_given(key), text, _remedy(error, str(text))))
    return problems


def _remedy(error: Exception, text: str) -> str:
    """What to do about an interpolation that OmegaConf, or a resolver, cannot resolve."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if missing := re.search(r"Environment variable '(\w+)' not found", str(error)):
        name = missing[1]
        return f"the variable {name} is not set; set it, or give a value for then: ${{oc.env:{name},VALUE}}"
    if isinstance(error, UnsupportedInterpolationType):
        return f"there is no resolver of this name; there are {', '.join(_resolvers())}"
    if isinstance(error, InterpolationKeyError):
        name = re.search(r"'([^']*)'", first)
        known = "; of Hydra's own values there is ${hydra:runtime.choices.GROUP}" if "${hydra" in text else ""
        return f"there is no key {name[1] if name else text}{known}"
    return f"cannot be resolved: {first}"


def _resolvers() -> list[str]:
    from omegaconf.basecontainer import BaseContainer

    return sorted(name for name in BaseContainer._resolvers if name != _WATCH)


def _as_given(key: str) -> str:
    """A key as a person gives it: variables of a job's process are Hydra's to set."""
    return re.sub(r"^environment\.", "hydra.job.env_set.", key)
