"""Files as people have them, for the tests of convert, and what a data set made of them holds."""

from __future__ import annotations

import csv
import gzip
import io
import json

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from workbench.data.convert import Schema, convert
from workbench.data.errors import DataError
from workbench.data.verify import read_split, verify_examples

WORDS = [
    (["the", "dog", "barks"], ["D", "N", "V"]),
    (["a", "cat"], ["D", "N"]),
    (["the", "cat", "naps"], ["D", "N", "V"]),
]
TEXTS = [(["no", "good"], "bad"), (["so", "good", "so"], "good"), (["fine"], "good")]
IDS = [([3, 5, 2], [0, 1, 1]), ([4, 300], [1, 0]), ([7], [2])]
FRAMES = [([[0.5, 1.0], [2.0, -1.5]], 1), ([[3.0, 4.0]], 0), ([[0.25, 0.5]] * 3, 1)]
NOTHING_HELD_OUT = {"validation_share": 0}
TOKENS = [("ab", [0, 1]), ("a", [1]), ("bab", [1, 0, 0]), ("", []), ("bb", [0, 0])]
OF_STEPS = [[0.5, 2.0], [0.0], [1.0, 0.25, 3.0], [], [1.5, 1.0]]
OF_EXAMPLES = [0.5, 2.0, 0.0, 1.0, 3.0]


def examples_of(folder):
    """split -> (inputs as symbols, ids or floats; labels by name)."""
    manifest, found = verify_examples(folder), {}
    for split in manifest.splits:
        found[split] = []
        for chunk in read_split(folder, split, manifest):
            ends = np.cumsum(chunk.lengths)[:-1]
            tags = np.split(chunk.labels, ends) if manifest.task == "tag" else chunk.labels
            for inputs, labels in zip(np.split(chunk.inputs, ends), tags, strict=True):
                symbols = inputs.tolist()
                if manifest.inputs == "ids":
                    symbols = [manifest.vocabulary[i] for i in symbols]
                names = [manifest.labels[i] for i in np.atleast_1d(labels)]
                found[split].append((symbols, names if manifest.task == "tag" else names[0]))
    return found


def weights_of(folder):
    """The training examples' weights, as they are stored."""
    manifest, found = verify_examples(folder), []
    for chunk in read_split(folder, "train", manifest):
        if manifest.weights == "step":
            found += [one.tolist() for one in np.split(chunk.weights, np.cumsum(chunk.lengths)[:-1])]
        else:
            found += chunk.weights.tolist()
    return manifest.weights, found


def in_words(examples):
    """As `examples_of` gives what was written as numbers."""
    return [
        (
            inputs if isinstance(inputs[0], list) else list(map(str, inputs)),
            list(map(str, labels)) if isinstance(labels, list) else str(labels),
        )
        for inputs, labels in examples
    ]


def json_lines(examples, **keys):
    named = {"inputs": "inputs", "labels": "labels", **keys}
    return "".join(json.dumps({named["inputs"]: i, named["labels"]: k}) + "\n" for i, k in examples).encode()


def table(examples, delimiter=","):
    """A CSV of strings."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["inputs", "labels"])
    for inputs, labels in examples:
        writer.writerow(
            [" ".join(map(str, inputs)), labels if isinstance(labels, str) else " ".join(map(str, labels))]
        )
    return stream.getvalue().encode()


def padded(examples, fill=0):
    lengths = np.array([len(inputs) for inputs, _ in examples])
    inputs = np.full(
        (len(examples), lengths.max(), *np.shape(examples[0][0])[1:]), fill, np.asarray(examples[0][0]).dtype
    )
    for row, (given, _) in zip(inputs, examples, strict=True):
        row[: len(given)] = given
    labels = [label for _, label in examples]
    if isinstance(labels[0], list):
        tags = np.full(inputs.shape[:2], -1)
        for row, given in zip(tags, labels, strict=True):
            row[: len(given)] = given
        labels = tags
    return {"inputs": inputs, "labels": np.array(labels), "lengths": lengths}


def end_to_end(examples):
    return {
        "inputs": np.concatenate([np.array(inputs) for inputs, _ in examples]),
        "labels": np.concatenate([np.atleast_1d(labels) for _, labels in examples]),
        "lengths": np.array([len(inputs) for inputs, _ in examples]),
    }


def write_npz(path, **arrays):
    np.savez(path, **arrays)


def write_npy(path, **arrays):
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)


def write_parquet(path, examples):
    inputs, labels = zip(*examples, strict=True)
    parquet.write_table(pyarrow.table({"inputs": list(inputs), "labels": list(labels)}), path)


def write_saved(path, examples, names=None):
    """As `datasets.Dataset.save_to_disk` does, in two files."""
    path.mkdir(parents=True)
    for i, part in enumerate((examples[:1], examples[1:])):
        inputs, labels = zip(*part, strict=True)
        made = pyarrow.table({"inputs": list(inputs), "labels": list(labels)})
        with (
            pyarrow.OSFile(str(path / f"data-{i}.arrow"), "wb") as sink,
            pyarrow.ipc.new_stream(sink, made.schema) as to,
        ):
            to.write_table(made)
    state = {"_data_files": [{"filename": f"data-{i}.arrow"} for i in (0, 1)]}
    (path / "state.json").write_text(json.dumps(state))
    feature = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "string", "_type": "Value"}
    (path / "dataset_info.json").write_text(json.dumps({"features": {"labels": feature}}))


def treebank(examples):
    lines = []
    for words, tags in examples:
        lines.append("# text = " + " ".join(words))
        lines += [
            f"{i}\t{w}\t_\t{t}" + "\t_" * 6 for i, (w, t) in enumerate(zip(words, tags, strict=True), 1)
        ]
        lines.append("")
    return "\n".join(lines).encode() + b"\n"


FORMS = {
    "a.jsonl": (WORDS, lambda path: path.write_bytes(json_lines(WORDS)), {}),
    "b.json": (TEXTS, lambda path: path.write_bytes(json_lines(TEXTS)), {}),
    "c.ndjson": (IDS, lambda path: path.write_bytes(json_lines(IDS)), {}),
    "d.jsonl": (FRAMES, lambda path: path.write_bytes(json_lines(FRAMES)), {}),
    "e.jsonl.gz": (WORDS, lambda path: path.write_bytes(gzip.compress(json_lines(WORDS))), {}),
    "f.csv": (TEXTS, lambda path: path.write_bytes(table(TEXTS)), {}),
    "g.csv": (WORDS, lambda path: path.write_bytes(b"\xef\xbb\xbf" + table(WORDS)), {"task": "tag"}),
    "h.tsv": (TEXTS, lambda path: path.write_bytes(table(TEXTS, "\t")), {}),
    "i.csv": (IDS, lambda path: path.write_bytes(table(IDS)), {"task": "tag", "kind": "ids"}),
    "j.npz": (IDS, lambda path: write_npz(path, **padded(IDS)), {}),
    "k.npz": (IDS, lambda path: write_npz(path, **end_to_end(IDS)), {}),
    "l.npz": (FRAMES, lambda path: write_npz(path, **padded(FRAMES, np.nan)), {}),
    "m.npz": (FRAMES, lambda path: write_npz(path, **end_to_end(FRAMES)), {}),
    "n": (IDS, lambda path: write_npy(path, **padded(IDS)), {}),
    "o.npz": (TEXTS, lambda path: write_npz(
        path, inputs=np.array([" ".join(x) for x, _ in TEXTS]), labels=np.array([y for _, y in TEXTS])), {}),
    "p.parquet": (WORDS, lambda path: write_parquet(path, WORDS), {}),
    "q.parquet": (IDS, lambda path: write_parquet(path, IDS), {}),
    "r.parquet": (FRAMES, lambda path: write_parquet(path, FRAMES), {}),
    "s.parquet": (TEXTS, lambda path: write_parquet(path, TEXTS), {}),
    "t.conllu": (WORDS, lambda path: path.write_bytes(treebank(WORDS)), {}),
    "u.conllu.gz": (WORDS, lambda path: path.write_bytes(
        gzip.compress(treebank(WORDS).replace(b"\n", b"\r\n"))), {}),
    "v.txt": (TEXTS, lambda path: path.write_text("".join(f"{' '.join(x)}\t{y}\r\n" for x, y in TEXTS)), {}),
    "w": (WORDS, lambda path: write_saved(path, WORDS), {}),
}  # fmt: skip


def made(folder, content, name="a.jsonl", **given):
    (folder / name).write_bytes(content)
    return convert([folder / name], folder / "out", Schema(**{**NOTHING_HELD_OUT, **given}))


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


OBJECT = b'{"inputs": ["a", "b"], "labels": ["X", "Y"]}\n'
