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
_OF_SEED = re.compile(r"\$\{\s*\.*\s*(seed|repeat)\s*\}|:\s*(seed|repeat)\s*[},]")


def _require_choices(raw: Any, choices: Mapping[str, Any], section: str) -> None:
    """Refuse `${hydra:...}` of anything but a choice of file: there is no such thing while a sweep is planned."""
    problems = []
    for key, text in flatten(raw).items():
        if section and not key.startswith(f"{section}."):
            continue
        for name in _OF_HYDRA.findall(str(text)):
            choice = name.removeprefix(_CHOICE)
            if not name.startswith(_CHOICE):
                words = "of Hydra's own values a configuration knows ${hydra:runtime.choices.GROUP} only"
            elif choice not in choices:
                words = f"there is no group {choice}; there are {', '.join(sorted(choices))}"
            else:
                continue
            problems.append(Problem(key, text, words))
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
        node = OmegaConf.select(config, section) if section else config
        return OmegaConf.to_container(node, resolve=True)
    except Exception as error:  # OmegaConf's, or a resolver's own
        raise ConfigError(
            _unresolved(config, raw, section) or [Problem("conf", section, str(error))]
        ) from error
    finally:
        instance.cfg = before


def refers_to_seed(raw: Any) -> tuple[tuple[str, str], ...]:
    """Keys, and their texts, whose value follows the seed or the number of a repeat."""
    return tuple((key, str(text)) for key, text in flatten(raw).items() if _OF_SEED.search(str(text)))


def _unresolved(config: DictConfig, raw: Any, section: str) -> list[Problem]:
    problems = []
    for key, text in flatten(raw).items():
        if "${" in str(text) and (not section or key.startswith(f"{section}.")):
            try:
                node = OmegaConf.select(config, key)
                OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else None
            except Exception as error:  # as above
                problems.append(Problem(key, text, remedy(error, str(text))))
    return problems


def remedy(error: Exception, text: str) -> str:
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

    return sorted(BaseContainer._resolvers)
