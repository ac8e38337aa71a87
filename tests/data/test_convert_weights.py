"""python -m workbench.convert --weights: how much each example, or each of its tokens, counts in the loss."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.data.convert import Schema, convert
from workbench.data.errors import DataError
from workbench.data.verify import read_split

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import (
    NOTHING_HELD_OUT,
    OF_EXAMPLES,
    OF_STEPS,
    TOKENS,
    treebank,
    weights_of,
    write_npz,
)


def json_lines(weights, **more):
    rows = (
        {"inputs": list(x), "labels": y, "w": w, **more} for (x, y), w in zip(TOKENS, weights, strict=True)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_of(path):
    path.write_bytes(
        b"g,x,y,w\n" + "".join(
            f"{n},{x},{y},{w}\n"
            for n, ((tokens, labels), weights) in enumerate(zip(TOKENS, OF_STEPS, strict=True))
            for x, y, w in zip(tokens, labels, weights, strict=True)
        ).encode()
    )  # fmt: skip


def ids_of(path, *, flat=False, of_steps=True):
    lines = [[1 + "ab".index(one) for one in tokens] for tokens, _ in TOKENS]
    lengths, labels = np.array([len(line) for line in lines]), [y for _, y in TOKENS]
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
        ('{"inputs": ["a"], "labels": ["X"], "w": null}', {}, "line 1: weights = None: must be numbers"),
        ('{"inputs": ["a"], "labels": ["X"], "w": [null]}', {}, "line 1: weights = .None.: must be numbers"),
        ('{"inputs": ["a"], "labels": ["X"], "w": 1e39}', {}, r"weights = 1e\+39: .*1e\+30 is the most"),
        ('{"inputs": ["a"], "labels": ["X"], "w": [0]}', {}, "weights = 0 in all of splits.train: nothing"),
        (
            '{"inputs": ["a"], "labels": ["X"], "w": [1e-44]}',
            {},
            "weights = 0 in all of splits.train: nothing",
        ),
        (
            '{"inputs": ["a", "b"], "labels": ["X", "X"], "w": 1}\n{"inputs": ["a"], "labels": ["X"], "w": [1]}',
            {},
            "line 1: weights = 1: must be one for each of 2 tokens, as of the examples before or after it",
        ),
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
