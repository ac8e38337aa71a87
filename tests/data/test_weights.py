"""Weights of steps and of examples: from shards to the loss, whatever the padding and batch size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from workbench.data.encode import Encoded
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, from_json, load_manifest
from workbench.data.pipeline import batches
from workbench.data.records import framed
from workbench.data.sequence_example import to_sequence_example
from workbench.data.shards import index_shards, write_dataset
from workbench.data.sources import Example
from workbench.options.data import PARSES, TFRecord
from workbench.options.loss import Loss
from workbench.options.padding import SCHEMAS as PADDINGS
from workbench.training import batch_loss

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import OF_EXAMPLES, OF_STEPS, TOKENS, weights_of


def weighted(kind):
    given_weights = OF_STEPS if kind == "step" else OF_EXAMPLES
    return [Example(list(x), y, w) for (x, y), w in zip(TOKENS, given_weights, strict=True)]


@pytest.fixture(scope="module", params=["step", "example"])
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("weighted") / request.param
    write_dataset(weighted(request.param), made, name="own", labels=["x", "y"])
    return made


def test_they_come_back(folder):
    assert weights_of(folder) == (folder.name, OF_STEPS if folder.name == "step" else OF_EXAMPLES)


@pytest.mark.covering(1)
@pytest.mark.parametrize("parse", PARSES)
@pytest.mark.parametrize("padding", ["global", "batch"])
def test_a_batch_has_them_padded_with_0(folder, parse, padding):
    made = batches(
        folder, "train", TFRecord(batch_size=3, parse=parse), PADDINGS[padding](padding), shuffle=False
    )
    found = list(made)
    if folder.name == "example":
        assert np.concatenate([batch["weights"] for batch in found]).tolist() == OF_EXAMPLES
    for number, batch in enumerate(found):
        assert made.element_spec["weights"].is_compatible_with(batch["weights"])
        if folder.name == "step":
            assert batch["weights"].shape == batch["inputs"].shape
            for row, right in zip(np.asarray(batch["weights"]), OF_STEPS[3 * number :], strict=False):
                assert row[: len(right)].tolist() == right
                assert not row[len(right) :].any()
    for own, same in zip(found, made.dataset(), strict=True):
        np.testing.assert_array_equal(own["weights"], same["weights"])


class _Scores:
    """A model whose scores of a token are those of its id."""

    task = "tag"
    table = tf.constant(np.random.default_rng(0).normal(size=(4, 2)), tf.float64)

    def __call__(self, batch):
        return tf.gather(self.table, batch["inputs"])


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 6),
    padding=st.sampled_from(["global", "batch"]),
    average=st.sampled_from(["token", "example"]),
)
def test_the_loss_is_scikit_learns_on_the_unpadded(folder, size, padding, average):
    model, total, denominator = _Scores(), 0.0, 0.0
    for batch in batches(folder, "train", TFRecord(batch_size=size), PADDINGS[padding](padding)):
        parts = batch_loss(model, batch, model(batch), Loss("length", average=average))
        if int(parts.valid_tokens):
            total, denominator = total + float(parts.sum), denominator + float(parts.denominator)
    manifest = load_manifest(folder)
    chances = tf.nn.softmax(_Scores.table).numpy()
    each, by = [], []
    for (tokens, labels), weights in zip(
        TOKENS, OF_STEPS if folder.name == "step" else OF_EXAMPLES, strict=True
    ):
        if not tokens:
            continue
        rows = chances[[manifest.vocabulary.index(one) for one in tokens]]
        steps = np.broadcast_to(weights, len(tokens)) if average == "token" or folder.name == "step" else None
        if steps is not None and not np.any(steps):
            continue
        each.append(log_loss(labels, rows, sample_weight=steps, labels=[0, 1]))
        counts = float(np.sum(steps)) if average == "token" else 1.0
        by.append(counts if average == "token" or folder.name == "step" else weights)
    assert total / denominator == pytest.approx(np.average(each, weights=by), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e6, width=32), max_size=6), min_size=1, max_size=9), st.booleans())
def test_a_record_is_what_tensorflow_writes(lines, of_steps):
    lengths = np.array([len(line) for line in lines])
    ids = np.arange(lengths.sum()) % 300
    weights = np.array(
        [w for line in lines for w in line] if of_steps else [len(x) / 3 for x in lines], np.float32
    )
    data = framed(lengths, ids, ids % 2, weights, tag=True, weighed="step" if of_steps else "example")
    ends, at = np.cumsum(lengths), 0
    for number, (start, end) in enumerate(zip(ends - lengths, ends, strict=True)):
        size = int.from_bytes(data[at : at + 8], "little")
        own = weights[start:end] if of_steps else weights[number]
        right = to_sequence_example(Encoded(ids[start:end], ids[start:end] % 2, np.asarray(own)))
        assert tf.train.SequenceExample.FromString(data[at + 12 : at + 12 + size]) == right
        at += size + 16
    assert at == len(data)


def test_a_data_set_without_has_no_trace_of_them(tmp_path):
    manifest = write_dataset([Example("ab", [0, 1])], tmp_path / "own", name="own")
    content = json.loads((tmp_path / "own" / MANIFEST).read_text())
    assert manifest.weights == ""
    assert "weights" not in {*content, *content["feature_names"]}
    [batch] = batches(tmp_path / "own", "train", TFRecord(), PADDINGS["batch"]("batch"))
    assert "weights" not in batch


def test_pieces_keep_theirs(tmp_path):
    examples = [Example("abcde", [0] * 5, [1, 2, 3, 4, 5])]
    write_dataset(examples, tmp_path / "s", name="s", max_length=2, over_length="split")
    assert weights_of(tmp_path / "s") == ("step", [[1, 2], [3, 4], [5]])
    examples = [Example("abcde", [0] * 5, 0.5), Example("a", [0], 2)]
    write_dataset(examples, tmp_path / "e", name="e", max_length=2, over_length="split")
    assert weights_of(tmp_path / "e") == ("example", [0.5, 0.5, 0.5, 2])


@pytest.mark.parametrize(
    ("examples", "task", "text"),
    [
        (
            [Example("ab", [0, 1], [1.0])],
            "tag",
            r"train\[0\]: weights = \(1,\): must be one for each of 2 tokens",
        ),
        ([Example("a", [0], [-1.0])], "tag", r"weights\[0\] = -1.0: must be a number, 0 or more"),
        ([Example("a", [0], float("nan"))], "tag", "weights = nan: must be a number"),
        ([Example("a", [0], "much")], "tag", "must be numbers"),
        ([Example("ab", 0, [1.0, 1.0])], "classify", 'of the task "classify" an example has one'),
        ([Example("ab", (), [1.0, 1.0])], "next", 'of the task "next" an example has one'),
        ([Example("a", [0], [None])], "tag", "must be numbers"),
        ([Example("a", [0], 1e31)], "tag", r"weights = 1e\+31: .* is the most"),
        ([Example("a", [0], 0.0), Example("b", [0], 0)], "tag", "0 in all of splits.train"),
        (
            [Example("a", [0], 1.0), Example("a", [1])],
            "tag",
            r"train\[1\]: weights = none and of the example",
        ),
        ([Example("a", [0], 1.0), Example("a", [1], [2.0])], "tag", "of the example and of the step"),
    ],
)
def test_wrong_ones_are_refused(tmp_path, examples, task, text):
    with pytest.raises(DataError, match=text):
        write_dataset(examples, tmp_path / "own", name="own", task=task)
    assert not (tmp_path / "own").exists()


# -- other people's shards


def floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def written(path, weights, *, in_context=False):
    """A shard of one example of two steps."""
    [example] = [to_sequence_example(Encoded(np.array([1, 2]), np.array([0, 1])))]
    if in_context:
        example.context.feature["importance"].CopyFrom(weights)
    elif weights is not None:
        example.feature_lists.feature_list["importance"].feature.extend(weights)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())


def index(folder, of):
    return index_shards(
        folder, {"train": ["a.tfrecord"]}, name="x", labels=["A", "B"], vocabulary=["p", "a", "b"],
        weights=of, feature_names={"weights": "importance"},
    )  # fmt: skip


def test_shards_of_other_programs(tmp_path):
    written(tmp_path / "s" / "a.tfrecord", [floats(0.5), floats(2)])
    index(tmp_path / "s", "step")
    assert weights_of(tmp_path / "s") == ("step", [[0.5, 2]])
    written(tmp_path / "e" / "a.tfrecord", floats(0.25), in_context=True)
    index(tmp_path / "e", "example")
    assert weights_of(tmp_path / "e") == ("example", [0.25])
    [batch] = batches(tmp_path / "e", "train", TFRecord(parse="one"), PADDINGS["batch"]("batch"))
    assert batch["weights"].numpy().tolist() == [0.25]


@pytest.mark.parametrize(
    ("weights", "in_context", "of", "text"),
    [
        (None, False, "step", "importance = missing: it has inputs, labels; no feature list importance"),
        ([floats(1)], False, "step", "importance = 1: must be one for each of 2 steps"),
        ([floats(1), floats(-2)], False, "step", r"importance\[1\] = -2.0: must be a number, 0 or more"),
        ([floats(1), floats(float("inf"))], False, "step", r"importance\[1\] = inf"),
        ([floats(1), floats(1, 2)], False, "step", r"importance\[1\] = 2 values"),
        (floats(1), True, "step", 'one for the whole example is weights="example"'),
        ([floats(1), floats(2)], False, "example", 'one for each token is weights="step"'),
        (None, False, "example", "importance = missing"),
        (floats(1, 2), True, "example", "2 values: must be one for the whole example"),
        (floats(-1), True, "example", "importance = -1.0"),
        (tf.train.Feature(int64_list=tf.train.Int64List(value=[1])), True, "example", "must be one float"),
    ],
)
def test_shards_that_are_not_as_they_say(tmp_path, weights, in_context, of, text):
    written(tmp_path / "s" / "a.tfrecord", weights, in_context=in_context)
    with pytest.raises(DataError, match=text):
        index(tmp_path / "s", of)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": "steps"}, "weights = steps: must be one of '', 'step', 'example'"),
        ({"weights": "step", "task": "classify"}, 'must be "example"'),
        ({"weights": "step", "feature_names": {"weights": "inputs"}}, "is called so too"),
        ({"feature_names": {"weights": "w"}}, "of what are they"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(tmp_path, change, text):
    write_dataset([Example("ab", [0, 1])], tmp_path / "own", name="own")
    content = json.loads((tmp_path / "own" / MANIFEST).read_text())
    del content["fingerprint"]
    with pytest.raises(DataError, match=text):
        from_json({**content, **change})
