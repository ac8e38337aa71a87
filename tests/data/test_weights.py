"""Weights of steps and of examples: from a file or Python to the loss, whatever the padding and batch size."""

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

from workbench.data.convert import Schema, convert
from workbench.data.encode import Encoded
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, from_json, load_manifest
from workbench.data.pipeline import batches
from workbench.data.records import framed
from workbench.data.sequence_example import to_sequence_example
from workbench.data.shards import index_shards, write_dataset
from workbench.data.sources import Example
from workbench.data.verify import read_split, verify_examples
from workbench.options.data import PARSES, TFRecord
from workbench.options.loss import Loss
from workbench.options.padding import SCHEMAS as PADDINGS
from workbench.training import batch_loss

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import NOTHING_HELD_OUT, treebank, write_npz

LINES = [("ab", [0, 1]), ("a", [1]), ("bab", [1, 0, 0]), ("", []), ("bb", [0, 0])]
OF_STEPS = [[0.5, 2.0], [0.0], [1.0, 0.25, 3.0], [], [1.5, 1.0]]
OF_EXAMPLES = [0.5, 2.0, 0.0, 1.0, 3.0]


def weighted(kind, lines=LINES):
    given_weights = OF_STEPS if kind == "step" else OF_EXAMPLES
    return [Example(list(x), y, w) for (x, y), w in zip(lines, given_weights, strict=True)]


def weights_of(folder):
    """The training examples' weights, as they are stored."""
    manifest, found = verify_examples(folder), []
    for chunk in read_split(folder, "train", manifest):
        if manifest.weights == "step":
            found += [one.tolist() for one in np.split(chunk.weights, np.cumsum(chunk.lengths)[:-1])]
        else:
            found += chunk.weights.tolist()
    return manifest.weights, found


@pytest.fixture(scope="module", params=["step", "example"])
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("weighted") / request.param
    write_dataset(weighted(request.param), made, name="own", labels=["x", "y"])
    return made


def test_they_come_back(folder):
    assert weights_of(folder) == (folder.name, OF_STEPS if folder.name == "step" else OF_EXAMPLES)


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
        LINES, OF_STEPS if folder.name == "step" else OF_EXAMPLES, strict=True
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
        ([Example("a", [0], 1.0), Example("a", [1])], "tag", "none and of the example"),
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


# -- convert


def json_lines(weights, **more):
    rows = (
        {"inputs": list(x), "labels": y, "w": w, **more} for (x, y), w in zip(LINES, weights, strict=True)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_of(path):
    path.write_bytes(
        b"g,x,y,w\n" + "".join(
            f"{n},{x},{y},{w}\n"
            for n, ((tokens, labels), weights) in enumerate(zip(LINES, OF_STEPS, strict=True))
            for x, y, w in zip(tokens, labels, weights, strict=True)
        ).encode()
    )  # fmt: skip


def ids_of(path, *, flat=False, of_steps=True):
    lines = [[1 + "ab".index(one) for one in tokens] for tokens, _ in LINES]
    lengths, labels = np.array([len(line) for line in lines]), [y for _, y in LINES]
    if flat:
        arrays = {
            name: np.concatenate(of) for name, of in (("inputs", lines), ("labels", labels), ("w", OF_STEPS))
        }
        arrays = {name: of.astype(int) if name != "w" else of for name, of in arrays.items()}
    else:
        arrays = {
            "inputs": np.zeros((5, 3), int),
            "labels": np.zeros((5, 3), int),
            "w": np.full((5, 3), np.nan),
        }
        for row, of in enumerate(zip(lines, labels, OF_STEPS, strict=True)):
            for name, values in zip(("inputs", "labels", "w"), of, strict=True):
                arrays[name][row, : len(values)] = values
    if not of_steps:
        arrays["w"] = np.array(OF_EXAMPLES)
    write_npz(path, **arrays, lengths=lengths)


NOT_EMPTY = [one for one in OF_STEPS if one]
FILES = {
    "a.jsonl": (lambda p: p.write_text(json_lines(OF_STEPS)), {}, ("step", OF_STEPS)),
    "b.jsonl": (lambda p: p.write_text(json_lines(OF_EXAMPLES)), {}, ("example", OF_EXAMPLES)),
    "c.csv": (rows_of, {"group": "g", "inputs": "x", "labels": "y", "kind": "symbols"}, ("step", NOT_EMPTY)),
    "d.npz": (ids_of, {}, ("step", OF_STEPS)),
    "e.npz": (lambda p: ids_of(p, flat=True), {}, ("step", OF_STEPS)),
    "f.npz": (lambda p: ids_of(p, of_steps=False), {}, ("example", OF_EXAMPLES)),
    "g.npz": (lambda p: ids_of(p, flat=True, of_steps=False), {}, ("example", OF_EXAMPLES)),
    "h.csv": (lambda p: p.write_text("x,y,w\na b,X Y,0.5 2\na,Y,1\n"),
              {"inputs": "x", "labels": "y", "task": "tag"}, ("step", [[0.5, 2], [1]])),
    "i.csv": (lambda p: p.write_text("x,y,w\na b,X,0.5\na,Y,1\n"), {"inputs": "x", "labels": "y"},
              ("example", [0.5, 1])),
    "j.txt.jsonl": (lambda p: p.write_text('{"inputs": ["a"], "w": 0.5}\n{"inputs": ["b", "a"], "w": 2}\n'),
                    {"task": "next"}, ("example", [0.5, 2])),
}  # fmt: skip


@pytest.mark.parametrize("form", FILES)
def test_files_of_people(tmp_path, form):
    write, options, right = FILES[form]
    write(tmp_path / form)
    convert([tmp_path / form], tmp_path / "out", Schema(weights="w", **options, **NOTHING_HELD_OUT))
    assert weights_of(tmp_path / "out") == right


def test_parquet_and_a_part_held_out(tmp_path):
    import pyarrow
    from pyarrow import parquet

    lines = [[f"t{i}", f"t{i + 1}"] for i in range(50)]
    weights = [[i, 0.5] for i in range(50)]
    table_of = pyarrow.table({"inputs": lines, "labels": [["A", "B"]] * 50, "w": weights})
    parquet.write_table(table_of, tmp_path / "a.parquet")
    manifest = convert([tmp_path / "a.parquet"], tmp_path / "out", Schema(weights="w", validation_share=0.3))
    assert set(manifest.splits) == {"train", "validation"}
    for split in manifest.splits:
        for chunk in read_split(tmp_path / "out", split, manifest):
            firsts = [manifest.vocabulary[i] for i in chunk.inputs[::2]]
            for name, weight in zip(firsts, chunk.weights[::2], strict=True):
                assert name in ("<unk>", f"t{int(weight)}")


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (
            '{"inputs": ["a", "b"], "labels": ["X", "Y"], "w": [1]}',
            {},
            r"line 1: weights = \[1\]: must be one for each",
        ),
        (
            '{"inputs": ["a"], "labels": ["X"], "w": -1}',
            {},
            "line 1: weights = -1.0: must be a number, 0 or more",
        ),
        ('{"inputs": ["a"], "labels": ["X"], "w": null}', {}, "line 1: weights = "),
        ('{"inputs": ["a"], "labels": ["X"], "w": "heavy"}', {}, "line 1: weights = heavy: must be numbers"),
        ('{"inputs": ["a"], "labels": "X", "w": [1]}', {}, 'of the task "classify" an example has one'),
        ('{"inputs": ["a"], "labels": ["X"]}', {}, "w = missing"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, options, text):
    (tmp_path / "a.jsonl").write_text(content + "\n")
    with pytest.raises(DataError, match=text):
        convert([tmp_path / "a.jsonl"], tmp_path / "out", Schema(weights="w", **options, **NOTHING_HELD_OUT))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", b"a\tX\n", "a text has none"),
        ("a.conllu", treebank([(["a"], ["X"])]), "is no option of this format"),
    ],
)
def test_forms_that_have_none_say_so(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=text):
        convert([tmp_path / name], tmp_path / "out", Schema(weights="w", **NOTHING_HELD_OUT))
