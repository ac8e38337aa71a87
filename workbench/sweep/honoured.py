"""What of Hydra's own settings acts here; whatever else is given of them is refused by name, never passed over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from workbench.config import Problem, flatten
from workbench.process.spawner import CREDENTIALS
from workbench.sweep.overrides import Given

PARAMS = "hydra.sweeper.params"
ENVIRONMENT = "hydra.job.env_set"
LAUNCHER = ("hydra/launcher", "hydra.launcher")
_HONOURED = (*LAUNCHER, PARAMS, ENVIRONMENT)
_HYDRAS_OWN = (
    "hydra.runtime",
    "hydra.overrides",
    "hydra.job.override_dirname",
    "hydra.searchpath",
    "hydra.job.config_name",
)
"""What Hydra itself fills in."""
_REMEDIES = {
    r"hydra\.(run|sweep)\b|hydra.output|hydra\.job\.chdir": "tracking.folder says where runs lie",
    r"hydra\.job\.env_copy": "a job has this shell's variables; hydra.job.env_set gives it others",
    r"hydra\.job\.name": "name= names the experiment",
    r"hydra.(sweeper|mode)": "-m makes a sweep; sweep.grids or hydra.sweeper.params are its axes",
    r"hydra.(verbose|job_logging|hydra_logging)": "what a job prints lies in output.log of its folder",
    r"hydra.launcher": "it is of a launcher: choose one too, as hydra/launcher=joblib",
    r"hydra.callbacks": "nothing here calls it",
    r"hydra.searchpath": "it is --config-dir FOLDER, or an override in the command line",
}
_NOT_FOR_A_JOB = {
    **dict.fromkeys(CREDENTIALS, "it would be recorded; a job needs no password"),
    "PYTHONPATH": "it says where the workbench itself is found; set it in the shell",
}


def typed_not_honoured(given: Sequence[Given]) -> list[Problem]:
    """What a command line, or a grid, gives of Hydra's settings that acts nowhere."""
    return [
        _problem(one.key, one.values)
        for one in given
        if re.match(r"hydra\b", one.key) and not _is_under(one.key, _HONOURED)
    ]


def not_honoured(hydra: DictConfig, plain: DictConfig) -> list[Problem]:
    """What files give of Hydra's settings that acts nowhere; `plain` are the settings without them."""
    acts = [*_HONOURED, *_HYDRAS_OWN]
    if hydra.runtime.choices["hydra/launcher"] == "basic":
        acts.remove("hydra.launcher")  # the sweep's own loop runs in its place, and has no options
    before, after = _settings(plain, acts), _settings(hydra, acts)
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    files = [key.replace("/", ".") for key in changed if "/" in key]  # what a file holds goes by its name
    return [_problem(key, after.get(key)) for key in changed if "/" in key or not _is_under(key, files)]


def wrong_environment(variables: dict[str, Any]) -> list[Problem]:
    """Variables that a job cannot be given."""
    ours = {name: "it is the workbench's own" for name in variables if name.startswith("WORKBENCH_")}
    refused = {**_NOT_FOR_A_JOB, **ours}
    return [
        Problem(f"{ENVIRONMENT}.{name}", "***", f"cannot be set for a job: {refused[name]}")
        for name in variables
        if name in refused
    ]


def _settings(hydra: DictConfig, acts: Sequence[str]) -> dict[str, Any]:
    """The settings but those that act."""
    tree = OmegaConf.to_container(hydra, resolve=False)
    assert isinstance(tree, dict)
    chosen = {key: value for key, value in hydra.runtime.choices.items() if str(key).startswith("hydra/")}
    flat = {**flatten({"hydra": tree}), **chosen}
    return {key: value for key, value in flat.items() if not _is_under(key, acts)}


def _is_under(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _problem(key: str, value: Any) -> Problem:
    words = next((words for pattern, words in _REMEDIES.items() if re.match(pattern, key)), "leave it out")
    return Problem(key, value, f"is a setting of Hydra's that does nothing here: {words}")
