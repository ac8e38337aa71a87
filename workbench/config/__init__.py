"""The configuration: what is wrong with a composed tree, by the dataclasses of `workbench.options`.

>>> tree, wrong = load({"name": "x", "trainin": {}})
>>> print(wrong[0])
trainin={}: no such key; did you mean training?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from workbench.config import scale
from workbench.config import sweep as sweep_section
from workbench.config import tracking as tracking_group
from workbench.config.rules import impossible
from workbench.options import cell, data, loss, measure, model, optimizer, padding, rnn, training
from workbench.options.schema import Problem, check, not_among, option, unknown_key

__all__ = [
    "GROUPS",
    "HIGHEST_SEED",
    "SECTIONS",
    "VARIANT_KEY",
    "Config",
    "ConfigError",
    "Problem",
    "Top",
    "flatten",
    "load",
    "problems",
]

GROUPS: dict[str, dict[str, type]] = {
    "data": data.SCHEMAS,
    "padding": padding.SCHEMAS,
    "rnn": rnn.SCHEMAS,
    "cell": cell.SCHEMAS,
    "loss": loss.SCHEMAS,
    "model": model.SCHEMAS,
    "optimizer": optimizer.SCHEMAS,
    "training": training.SCHEMAS,
    "measure": measure.SCHEMAS,
    "tracking": tracking_group.SCHEMAS,
    "scale": scale.SCHEMAS,
}
"""conf group -> variant -> schema. The variant is told by the group's `VARIANT_KEY`."""

HIGHEST_SEED = 2**31 - 1
VARIANT_KEY = {"rnn": "unroll", "loss": "mask"}
SECTIONS: dict[str, type] = {"sweep": sweep_section.Sweep, "workbench": sweep_section.Command}


class ConfigError(ValueError):
    """A configuration that cannot run; the message names each key, value and remedy."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


@dataclass(frozen=True)
class Top:
    """Keys that belong to no group."""

    name: str = option("runs", "the experiment's name, also in MLflow", pattern=r"[A-Za-z0-9_][\w.-]*")
    seed: int = option(1, "the run's seed; in a sweep that of its first block", low=0, high=HIGHEST_SEED)
    repeat: int = option(0, "number of a planned repeat (the A/A arm)", low=0)
    label: str = option("", "names an arm where nothing else does (negative control)")
    environment: dict[str, Any] = option({}, "variables of the job's process, from hydra.job.env_set")


@dataclass(frozen=True, kw_only=True)
class Config(Top):
    """A checked configuration: a schema's instance for each group."""

    data: data.Data
    padding: padding.Padding
    rnn: rnn.RNN
    cell: cell.Cell
    loss: loss.Loss
    model: model.Model
    optimizer: optimizer.Optimizer
    training: training.Training
    measure: measure.Measure
    tracking: tracking_group.Tracking
    scale: scale.Scale
    sweep: sweep_section.Sweep
    workbench: sweep_section.Command

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Config:
        """The configuration in a composed tree; raises `ConfigError` with every problem."""
        full, wrong = load(tree)
        if wrong:
            raise ConfigError(wrong)
        parts: dict[str, Any] = {f.name: full[f.name] for f in fields(Top)}
        for group, schemas in GROUPS.items():
            schema = schemas[full[group][VARIANT_KEY.get(group, "name")]]
            parts[group] = schema(**full[group])
        for section, schema in SECTIONS.items():
            parts[section] = schema(**full[section])
        return cls(**parts)


def load(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The tree with every default filled in, and its problems: keys, types, ranges, then combinations."""
    known = {f.name for f in fields(Top)} | set(GROUPS) | set(SECTIONS)
    top = {key: value for key, value in tree.items() if key not in GROUPS and key not in SECTIONS}
    stray = {key: value for key, value in top.items() if key not in known}
    full, wrong = check(Top, {k: v for k, v in top.items() if k not in stray})
    wrong = [Problem(key, value, unknown_key(key, known)) for key, value in stray.items()] + wrong
    for group, schemas in GROUPS.items():
        full[group], more = _group(group, schemas, tree.get(group))
        wrong += more
    for section, schema in SECTIONS.items():
        full[section], more = _section(schema, tree.get(section, {}), section)
        wrong += more
    if not wrong:
        wrong = impossible(full)
    return full, wrong


def problems(tree: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with a composed tree."""
    return load(tree)[1]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of a tree's leaves; lists are leaves.

    >>> flatten({"cell": {"name": "lstm", "units": 64}, "seed": 1})
    {'cell.name': 'lstm', 'cell.units': 64, 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _group(group: str, schemas: Mapping[str, type], tree: Any) -> tuple[dict[str, Any], list[Problem]]:
    key = VARIANT_KEY.get(group, "name")
    if not isinstance(tree, Mapping):
        remedy = f"this group is missing; choose one of {', '.join(schemas)}"
        return {}, [Problem(group, tree, remedy)]
    variant = tree.get(key)
    if not isinstance(variant, str) or variant not in schemas:
        return dict(tree), [Problem(f"{group}.{key}", variant, not_among(variant, schemas, group))]
    return check(schemas[variant], tree, group)


def _section(schema: type, tree: Any, section: str) -> tuple[dict[str, Any], list[Problem]]:
    if not isinstance(tree, Mapping):
        return {}, [Problem(section, tree, "must be a mapping")]
    return check(schema, tree, section)
