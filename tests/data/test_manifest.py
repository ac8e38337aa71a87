"""A manifest that is wrong is refused with file, field, value and remedy."""

import json

import pytest

from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, from_json, load_manifest, require_free_class_zero

MINIMAL = {
    "version": 1,
    "name": "theirs",
    "task": "tag",
    "inputs": "ids",
    "vocabulary": ["<pad>", "<unk>", "a"],
    "labels": ["A", "B"],
    "splits": {"train": {"examples": 2, "tokens": 5, "longest": 3, "histogram": {"2": 1, "3": 1}}},
    "shards": [{"split": "train", "file": "a.tfrecord", "examples": 2, "bytes": 10, "sha256": "00"}],
}


def changed(**changes):
    return json.loads(json.dumps(MINIMAL)) | changes


def test_a_minimal_manifest_is_enough_and_survives_a_round_trip(tmp_path):
    manifest = from_json(MINIMAL)
    assert manifest.longest == 3
    assert manifest.class_zero_in_use
    manifest.write(tmp_path)
    assert load_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    ("counts", "first_class", "in_use"),
    [([], 0, True), ([3, 2], 0, True), ([0, 5], 0, False), ([], 1, False)],
)
def test_a_sign_mask_needs_class_zero_free(tmp_path, counts, first_class, in_use):
    train = {**MINIMAL["splits"]["train"], "label_counts": counts}
    manifest = from_json(changed(splits={"train": train}, first_class=first_class))
    if not in_use:
        require_free_class_zero(manifest, tmp_path)
        return
    with pytest.raises(DataError) as caught:
        require_free_class_zero(manifest, tmp_path)
    for part in (
        MANIFEST,
        "labels[0] = A",
        "class 0 is in use",
        "loss=length",
        "loss.accept_class_zero=true",
    ):
        assert part in str(caught.value)


def test_the_fingerprint_is_of_the_content_not_of_names_and_places():
    one = from_json(MINIMAL).fingerprint
    assert (
        from_json(changed(name="ours", source={"name": "x"}, dropped={"over_length": 3})).fingerprint == one
    )
    moved = changed(shards=[{**MINIMAL["shards"][0], "file": "b.tfrecord"}])
    assert from_json(moved).fingerprint == one
    for change in ({"labels": ["A", "C"]}, {"shards": [{**MINIMAL["shards"][0], "sha256": "01"}]}):
        assert from_json(changed(**change)).fingerprint != one


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([], ["must be a JSON object"]),
        (changed(version=2), ["version = 2", "this program reads version 1"]),
        (
            {"manifest_version": 3, "icons": []},
            ["version = missing", "no manifest of the workbench", "icons"],
        ),
        (changed(version=True), ["version = True"]),
        (changed(feature_names={"length": None}), ["feature_names.length = None"]),
        (changed(feature_names={"inputs": ""}), ["feature_names.inputs = "]),
        (
            changed(feature_names={"inputs": "labels"}),
            ["feature_names.labels = labels", "inputs is called so"],
        ),
        (changed(verzion=2), ["verzion = 2", "unknown", "fields are name, task"]),
        ({k: v for k, v in MINIMAL.items() if k != "labels"}, ["labels = missing"]),
        (changed(labels="AB"), ["labels = AB", "must be list"]),
        (changed(labels=["A", 3]), ["labels", "list of strings"]),
        (changed(labels=[]), ["labels = []", "name the classes"]),
        (changed(labels=["<pad>"], first_class=1), ["labels", "no class is left"]),
        (changed(task="tagging"), ["task = tagging", "'tag', 'classify'"]),
        (changed(inputs="words"), ["inputs = words"]),
        (changed(inputs="features"), ["feature_size = None"]),
        (changed(vocabulary=[]), ["vocabulary = empty"]),
        (changed(compression="ZSTD"), ["compression = ZSTD"]),
        (changed(first_class=True), ["first_class = True", "must be int"]),
        (changed(feature_names={"tokens": "inputs"}), ["feature_names.tokens"]),
        (
            changed(shards=[{**MINIMAL["shards"][0], "file": "/etc/passwd"}]),
            ["shards[0].file = /etc/passwd", "inside"],
        ),
        (
            changed(shards=[{**MINIMAL["shards"][0], "split": "dev"}], splits=MINIMAL["splits"]),
            ["splits.train.examples"],
        ),
        (changed(shards=[{**MINIMAL["shards"][0], "bytes": -1}]), ["shards[0].bytes = -1"]),
        (changed(shards=[3]), ["shards[0] = 3", "must be an object"]),
        (
            changed(splits={"train": {**MINIMAL["splits"]["train"], "tokens": 6}}),
            ["splits.train.tokens = 6", "says 5"],
        ),
        (changed(splits={"train": {**MINIMAL["splits"]["train"], "histogram": {"x": 1}}}), ["whole numbers"]),
        *[
            (
                changed(splits={"train": {**MINIMAL["splits"]["train"], "histogram": histogram}}),
                ["whole numbers"],
            )
            for histogram in (
                {"2": 1.5},
                {"2": True},
                {"2": -1},
                {"-2": 1},
                {"2.5": 1},
                {"9" * 5000: 1},
                {"2": float("inf")},
            )
        ],
        (
            changed(splits={"train": {**MINIMAL["splits"]["train"], "label_counts": [3, 2.5]}}),
            ["splits.train.label_counts = 2.5"],
        ),
        (changed(splits={}), ["splits.train.examples = 0", "an empty data set"]),
        (
            changed(splits={"train": {"examples": 0, "tokens": 0, "longest": 0, "histogram": {}}}),
            ["an empty data set"],
        ),
        (changed(fingerprint="abc"), ["fingerprint = abc", "edited after it was written"]),
        (
            changed(
                task="classify",
                splits={"train": {"examples": 2, "tokens": 3, "longest": 3, "histogram": {"0": 1, "3": 1}}},
            ),
            ["splits.train.histogram.0 = 1", "cannot be classified"],
        ),
    ],
)
def test_refusals(tmp_path, content, parts):
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        load_manifest(tmp_path)
    for part in [MANIFEST, *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"version": 1, "splits": {"train": {}, "train": {}}}']
)
def test_no_json(tmp_path, raw):
    (tmp_path / MANIFEST).write_bytes(raw)
    with pytest.raises(DataError, match="unreadable"):
        load_manifest(tmp_path)
