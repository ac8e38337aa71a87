"""What a run asks of its data set, held against the manifest: all that can be told before any run is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.class_weights import resolved
from workbench.config import ConfigError, Problem
from workbench.config.rules import impossible
from workbench.data.manifest import Manifest, load_manifest
from workbench.options.loss import Loss
from workbench.record.plan import Tree


def require_fitting(trees: list[tuple[Tree, str]]) -> None:
    """Raise ConfigError where a run cannot be on its data set; of each run its tree, and the folder of its data."""
    manifests: dict[str, Manifest] = {}
    found: dict[str, Problem] = {}
    for tree, folder in trees:
        if folder not in manifests:
            manifests[folder] = load_manifest(folder)
        for check in _CHECKS:
            found |= {str(problem): problem for problem in check(tree, manifests[folder], Path(folder))}
    if found:
        raise ConfigError([*found.values()])


def _shards(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Has each replica a file of the training split to read?"""
    workers = tree["training"]["workers"]
    if workers == 1:
        return []
    files = sum(shard.split == "train" for shard in manifest.shards)
    if files >= workers:
        return []
    remedy = (
        f"each replica reads files of its own, and the training split in {folder} has {files}; take fewer, or "
        "write the data set in more files (data.shards, where it is made here)"
    )
    return [Problem("training.workers", workers, remedy)]


def _validation(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Is there a validation split, where a run is to tell its best epoch by it?"""
    training, split = tree["training"], manifest.splits.get("validation")
    if split is not None and any(split.histogram):
        return []
    remedy = f"goes by the validation split, and the data set in {folder} has none; leave it out"
    asked = [
        key for key, off in (("keep", ("none", "last")), ("patience", (None,))) if training[key] not in off
    ]
    return [Problem(f"training.{key}", training[key], remedy) for key in asked]


def _task(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """What cannot be with the task of shards, which their manifest says and no option."""
    if "task" in tree["data"]:
        return []
    return impossible({**tree, "data": {**tree["data"], "task": manifest.task}})


def _lengths(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Does the longest example go into what it is padded to?"""
    length, longest = tree["padding"].get("length"), manifest.longest
    if length is None or length >= longest:
        return []
    remedy = f"the data set in {folder} has an example of {longest} tokens; give that or more"
    return [Problem("padding.length", length, remedy)]


def _class_weights(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Are the classes that are weighed there?"""
    given, counts = tree["loss"]["class_weights"], manifest.splits["train"].label_counts
    try:
        resolved(Loss(tree["loss"]["mask"], class_weights=given), manifest.labels, counts)
    except ValueError as error:
        return [Problem("loss.class_weights", given, str(error).partition(": ")[2])]
    return []


_CHECKS: tuple[Callable[[Mapping[str, Any], Manifest, Path], list[Problem]], ...] = (
    _shards, _validation, _task, _lengths, _class_weights,
)  # fmt: skip
