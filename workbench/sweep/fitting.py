"""What a run asks of its data set, held against the manifest: all that can be told before any run is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.class_weights import resolved
from workbench.config import Config, ConfigError, Problem
from workbench.config.rules import impossible
from workbench.data.errors import DataError
from workbench.data.lengths import settled
from workbench.data.manifest import MANIFEST, Manifest, load_manifest, require_free_class_zero
from workbench.data.padding import plan
from workbench.options.loss import Loss
from workbench.record.plan import Job, Tree


def require_fitting(jobs: Sequence[Job], folder_of: Callable[[Job], str]) -> None:
    """Raise ConfigError where a job cannot be on its data set, whose folder `folder_of` says."""
    manifests: dict[str, Manifest | None] = {}
    found: dict[str, tuple[Problem, list[Job]]] = {}
    for job in jobs:
        folder = folder_of(job)
        if folder not in manifests:
            manifests[folder] = _manifest_in(folder)
        if (manifest := manifests[folder]) is None:
            continue
        for check in _CHECKS:
            for problem in check(job.tree, manifest, Path(folder)):
                found.setdefault(str(problem), (problem, []))[1].append(job)
    if found:
        raise ConfigError([of_jobs(problem, have, len(jobs)) for problem, have in found.values()])


def _manifest_in(folder: str) -> Manifest | None:
    """A data set's manifest; None where a job of a test or a benchmark reads no data set."""
    return load_manifest(folder) if (Path(folder) / MANIFEST).is_file() else None


def of_jobs(problem: Problem, have: list[Job], among: int) -> Problem:
    """A problem with the jobs named that have it, where there are others."""
    if among == 1:
        return problem
    arms = list(dict.fromkeys(job.arm for job in have))
    named = "; ".join(arms[:3]) + ("; ..." if len(arms) > 3 else "")
    return Problem(problem.key, problem.value, f"{problem.remedy} ({len(have)} of {among} jobs: {named})")


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


def _best_by(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Is that measured by which a run is to tell its best epoch?"""
    training = tree["training"]
    if training["best_by"] != "f1" or manifest.task != "next":
        return []
    remedy = f'is not measured of the task "next" (of the data set in {folder}): take loss or accuracy'
    return [Problem("training.best_by", "f1", remedy)]


def _task(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """What cannot be with the task of shards, which their manifest says and no option."""
    if "task" in tree["data"]:
        return []
    said = f" (the task of the data set in {folder} is {manifest.task})"
    wrong = impossible({**tree, "data": {**tree["data"], "task": manifest.task}})
    return [Problem(one.key, one.value, one.remedy + said) for one in wrong]


def _class_zero(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Would a mask by the labels' sign leave out a class that is real?"""
    loss = tree["loss"]
    if loss["mask"] != "sign" or loss["accept_class_zero"]:
        return []
    try:
        require_free_class_zero(manifest, folder)
    except DataError as error:
        return [Problem("loss.mask", "sign", str(error))]
    return []


def _lengths(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Does the longest example go into what it is padded to, and into a batch by itself?"""
    padding, whole = tree["padding"], manifest.longest
    longest = max(manifest.splits[one].longest for one in _read(tree, manifest))
    length, budget, workers = padding.get("length"), padding["token_budget"], tree["training"]["workers"]
    has = f"the data set in {folder} has an example of"
    wrong = []
    if length is not None and length < whole:
        wrong.append(Problem("padding.length", length, f"{has} {whole} tokens; give that or more"))
    train = manifest.splits["train"].histogram
    if budget is None or not train:
        return wrong
    if wrong:
        tree = {**tree, "padding": {**padding, "length": None}}
    config = Config.of(tree)
    of_examples = replace(settled(config.padding, train, config.data.batch_size), token_budget=None)

    def filled(steps: int) -> int:
        """To how many steps an example of so many is padded, in a batch of its own."""
        alone = plan(of_examples, np.array([steps]), np.arange(1), batch_size=1, longest=whole)
        return alone[0].padded_length

    needed = max(filled(longest), filled(max(train)) * workers)
    if budget < needed:
        remedy = f"{has} {longest} tokens; give {needed} or more"
        if budget >= max(longest, max(train) * workers):
            over = f"the share of each of training.workers={workers}" if workers > 1 else "it"
            remedy = (
                f"batches are padded to {filled(longest)} steps, so that one example alone is over {over}: give "
                f"{needed} or more"
            )
        wrong.append(Problem("padding.token_budget", budget, remedy))
    return wrong


def _read(tree: Tree, manifest: Manifest) -> list[str]:
    """The splits that a run reads."""
    asked = ("train", "validation", *(["test"] if tree["data"].get("test") else []))
    return [split for split in asked if split in manifest.splits]


def _class_weights(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Are the classes that are weighed there?"""
    given, counts = tree["loss"]["class_weights"], manifest.splits["train"].label_counts
    try:
        resolved(Loss(tree["loss"]["mask"], class_weights=given), manifest.labels, counts)
    except ConfigError as error:
        return error.problems
    return []


def _memory(tree: Tree, manifest: Manifest, folder: Path) -> list[Problem]:
    """Does each split that is read go into memory, where it is to be parsed once?"""
    data = tree["data"]
    if data["parse"] != "cached":
        return []
    read = _read(tree, manifest)
    needed = {split: manifest.parsed_bytes(split) / 1e6 for split in read}
    wrong = [split for split in read if needed[split] > data["memory_mb"]]
    return [
        Problem(
            "data.memory_mb", data["memory_mb"], f"splits.{split} takes {needed[split]:.0f} MB when parsed: raise "
            "it, or take data.parse=vectorised, which reads the shards batch by batch",
        )
        for split in wrong[:1]
    ]  # fmt: skip


_CHECKS: tuple[Callable[[Tree, Manifest, Path], list[Problem]], ...] = (
    _shards, _validation, _best_by, _task, _class_zero, _lengths, _class_weights, _memory,
)  # fmt: skip
