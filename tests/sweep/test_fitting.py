"""A run that cannot be on its data set is refused before any run is, by the data set's manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.config import ConfigError, load
from workbench.data.manifest import Manifest, Shard, SplitInfo
from workbench.record.plan import Job
from workbench.sweep import fitting
from workbench.sweep.compose import Composer


def split_of(histogram: dict[int, int]) -> SplitInfo:
    examples, tokens = sum(histogram.values()), sum(n * count for n, count in histogram.items())
    return SplitInfo(examples, tokens, max(histogram), histogram, (tokens, 0))


def manifest_of(**options: object) -> Manifest:
    made = Manifest(
        name="made",
        task="tag",
        inputs="ids",
        labels=["NOUN", "VERB"],
        splits={"train": split_of({3: 4, 7: 1}), "validation": split_of({0: 2, 5: 1})},
        shards=[Shard(split, str(k), 1, 1, "") for k, split in enumerate(("train", "train", "test"))],
        vocabulary=["", "?", "a"],
    )
    return replace(made, **options)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a run of these overrides on a data set of such a manifest is refused by, or nothing."""

    def refused(overrides: Sequence[str], manifest: Manifest) -> str:
        tree, wrong = load(Composer()(["data=tfrecord", "data.path=x", *overrides]))
        assert not wrong
        monkeypatch.setattr(fitting, "_manifest_in", lambda folder: manifest)
        job = Job(0, "arm", 1, 0, tree)
        try:
            fitting.require_fitting([job, replace(job, block=2)], lambda job: "FOLDER")
        except ConfigError as error:
            return str(error)
        return ""

    return refused


WITHOUT = {"train": split_of({3: 4})}
EMPTY = {**WITHOUT, "validation": split_of({0: 2})}
FROM_ONE = {"train": replace(split_of({3: 4}), label_counts=(0, 12, 0))}
TO_BOUNDARY = ["padding=bucket", "padding.pad_to_boundary=true"]
TWO_REPLICAS = ["training.strategy=mirrored", "training.workers=2"]
CASES = {
    "all is well": ([], {}, ""),
    "the longest has 7": (["padding=global", "padding.length=7"], {}, ""),
    "a boundary that no example is padded to": (
        [*TO_BOUNDARY, "padding.boundaries=[4,8,500]", "padding.token_budget=8"],
        {},
        "",
    ),
    "one example alone over the budget as it is padded": (
        [*TO_BOUNDARY, "padding.boundaries=[4,8]", "padding.token_budget=7"],
        {},
        "padding.token_budget=7: batches are padded to 8 steps, so that one example alone is over it",
    ),
    "one example alone over a replica's share as it is padded": (
        ["padding=global", "padding.length=10", "padding.token_budget=18", *TWO_REPLICAS],
        {},
        "padding.token_budget=18: batches are padded to 10 steps, so that one example alone is over the share of "
        "each of training.workers=2: give 20 or more",
    ),
    "a replica's share of one example as it is padded": (
        ["padding=global", "padding.length=10", "padding.token_budget=20", *TWO_REPLICAS],
        {},
        "",
    ),
    "a budget under the longest of a test split that is not read": (
        ["padding.token_budget=7"],
        {"splits": {"train": split_of({3: 4, 7: 1}), "test": split_of({90: 1})}},
        "",
    ),
    "a budget under the longest of a test split that is read": (
        ["padding.token_budget=7", "data.test=true"],
        {"splits": {"train": split_of({3: 4, 7: 1}), "test": split_of({90: 1})}},
        "padding.token_budget=7: the data set in FOLDER has an example of 90 tokens; give 90 or more",
    ),
    "padded to less than a test split has that is not read": (
        ["padding=global", "padding.length=10"],
        {"splits": {"train": split_of({3: 4, 7: 1}), "test": split_of({90: 1})}},
        "padding.length=10: the data set in FOLDER has an example of 90 tokens; give that or more",
    ),
    "past the last boundary padded to the longest of all": (
        [*TO_BOUNDARY, "padding.boundaries=[4]", "padding.token_budget=30", *TWO_REPLICAS],
        {"splits": {"train": split_of({3: 4, 7: 4}), "validation": split_of({20: 1})}},
        "padding.token_budget=30: batches are padded to 20 steps, so that one example alone is over the share of "
        "each of training.workers=2: give 40 or more",
    ),
    "past the best boundaries padded to the longest of all": (
        [*TO_BOUNDARY, "padding.token_budget=30", *TWO_REPLICAS],
        {"splits": {"train": split_of({3: 4, 7: 4}), "validation": split_of({20: 1})}},
        "",
    ),
    "an example alone past the best boundaries, padded to one of a split that is not read": (
        [*TO_BOUNDARY, "padding.token_budget=15"],
        {"splits": {"train": split_of({3: 4}), "validation": split_of({15: 1}), "test": split_of({16: 1})}},
        "padding.token_budget=15: batches are padded to 16 steps, so that one example alone is over it",
    ),
    "more than the memory": (
        ["data.memory_mb=1"],
        {"splits": {"train": split_of({1000: 400}), "validation": split_of({5: 1})}},
        "data.memory_mb=1: splits.train takes 3 MB when parsed: raise it, or take data.parse=vectorised",
    ),
    "more than the memory, read batch by batch": (
        ["data.memory_mb=1", "data.parse=vectorised"],
        {"splits": {"train": split_of({1000: 400}), "validation": split_of({5: 1})}},
        "",
    ),
    "longer than the padding": (
        ["padding=global", "padding.length=6"], {},
        "padding.length=6: the data set in FOLDER has an example of 7 tokens; give that or more",
    ),
    "no validation split": (
        ["training.keep=best"], {"splits": WITHOUT},
        "training.keep=best: goes by the validation split, and the data set in FOLDER has none; leave it out",
    ),
    "a validation split of empty examples": (
        ["training.patience=2"], {"splits": EMPTY}, "training.patience=2: goes by the validation split",
    ),
    "a validation split": (["training.patience=2"], {}, ""),
    "the last epoch needs none": (["training.keep=last"], {"splits": WITHOUT}, ""),
    "a file a replica": (["training.strategy=mirrored", "training.workers=2"], {}, ""),
    "fewer files than replicas": (
        ["training.strategy=mirrored", "training.workers=4", "data.batch_size=32"], {},
        "training.workers=4: each replica reads files of its own, and the training split in FOLDER has 2;",
    ),
    "both ways before what follows": (
        ["rnn.direction=both"], {"task": "next", "labels": ["", "?", "a"]},
        "rnn.direction=both: has read the token that it is to predict; take rnn.direction=forward for "
        "data.task=next (the task of the data set in FOLDER is next)",
    ),
    "truncated, of one label a sequence": (
        ["training.truncate=5"], {"task": "classify"}, "training.truncate=5: needs a label a step",
    ),
    "weights of labels": (["loss.class_weights={VERB:2}"], {}, ""),
    "weights of no label": (
        ["loss.class_weights={VEB:2}"], {},
        "loss.class_weights={'VEB': 2}: VEB is no label of this data set; must be one of NOUN, VERB; did you mean",
    ),
    "balanced by counts that are not there": (
        ["loss.class_weights=balanced"], {"splits": {"train": replace(split_of({3: 4}), label_counts=())}},
        "loss.class_weights=balanced: this data set's manifest does not count its labels; give the weights",
    ),
    "a real class 0 under a mask by sign": (
        ["loss=sign"], {}, "loss.mask=sign: FOLDER/manifest.json: labels[0] = NOUN: class 0 is in use",
    ),
    "class 0 given up": (["loss=sign", "loss.accept_class_zero=true"], {}, ""),
    "no real class 0": (["loss=sign"], {"first_class": 1, "labels": ["", "NOUN", "VERB"], "splits": FROM_ONE}, ""),
    "a budget under the longest": (
        ["padding.token_budget=6"], {},
        "padding.token_budget=6: the data set in FOLDER has an example of 7 tokens; give 7 or more",
    ),
    "a budget that replicas share": (
        ["padding.token_budget=12", "training.strategy=mirrored", "training.workers=2"], {},
        "padding.token_budget=12: the data set in FOLDER has an example of 7 tokens; give 14 or more",
    ),
    "too many weights": (
        ["loss.class_weights=[1,2,3]"], {}, "loss.class_weights=[1.0, 2.0, 3.0]: 3 numbers for 2 classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused_with_key_value_and_remedy_or_not_at_all(case: str, words: Callable[..., str]) -> None:
    overrides, options, expected = CASES[case]
    found = words(overrides, manifest_of(**options))
    assert found.startswith(expected)
    assert bool(found) == bool(expected)
    assert "\n" not in found


def test_the_jobs_are_named_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_manifest_in", lambda folder: manifest_of())
    trees = {arm: load(Composer()([f"padding={arm}"]))[0] for arm in ("batch", "global")}
    trees["global"] = {**trees["global"], "padding": {**trees["global"]["padding"], "length": 2}}
    jobs = [Job(k, arm, 1, 0, tree) for k, (arm, tree) in enumerate(trees.items())]
    with pytest.raises(ConfigError, match=r"^padding\.length=2: .* that or more \(1 of 2 jobs: global\)$"):
        fitting.require_fitting(jobs, lambda job: "FOLDER")


def test_where_there_is_no_data_set_nothing_is_asked(tmp_path: Path) -> None:
    tree, _ = load(Composer()(["training.keep=best"]))
    fitting.require_fitting([Job(0, "arm", 1, 0, tree)], lambda job: str(tmp_path))
