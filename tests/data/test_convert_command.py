"""python -m workbench.convert: the schema, the command, and ends that nobody chose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench import convert as command
from workbench.data.convert import Schema, convert
from workbench.data.convert.schema import read_schema
from workbench.data.convert.workplace import building
from workbench.data.manifest import MANIFEST
from workbench.data.verify import verify_examples

sys.path.insert(0, str(Path(__file__).parent))
from files_of_people import TEXTS, examples_of, json_lines, refused, table

# -- the schema, the command, and ends that nobody chose


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"task": "tagging"}, ["task = tagging", "tag, classify"]),
        ({"validation_share": 1}, ["validation_share = 1", "at most 0.9"]),
        ({"delimiter": ",,"}, ["delimiter = ',,'", "one character"]),
        ({"classes": ["a", "a"]}, ["classes[1] = a", "each once"]),
        ({"kind": "symbols", "vocabulary": ["a"]}, ["vocabulary", "or give ids"]),
        ({"seed": 2**64 - 1}, ["seed = 18446744073709551615", "at most 18446744073709551614"]),
        ({"seed": -1}, ["seed = -1", "at least 0"]),
        ({"min_count": "2"}, ["min_count = 2", "a whole number"]),
    ],
)
def test_a_schema_is_checked_when_it_is_made(given, parts):
    refused(lambda: Schema(**given), *parts)


def test_a_schema_in_yaml_names_files_beside_it(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "names.txt").write_text("good\nbad\n")
    (tmp_path / "in" / "a.csv").write_bytes(table(TEXTS))
    (tmp_path / "in" / "s.yaml").write_text(
        "splits: {train: a.csv}\nclasses: names.txt\nvalidation_share: 0\n"
    )
    manifest = convert([], tmp_path / "out", Schema(**read_schema(tmp_path / "in" / "s.yaml")))
    assert manifest.labels == ["good", "bad"]
    assert examples_of(tmp_path / "out") == {"train": TEXTS}
    for text, parts in [
        ("[1", ["no YAML"]),
        ("a", ["a mapping"]),
        ("inptus: a", ["inptus = a", "did you mean inputs?"]),
        ("splits: [a]", ["splits = ['a']", "a mapping"]),
        ("classes: none.txt", ["none.txt: classes"]),
        ("splits: {dev: a.csv}", ["none is for training"]),
        ("splits: {trian: a.csv}", ["split = trian"]),
    ]:
        (tmp_path / "in" / "s.yaml").write_text(text)
        refused(
            lambda: convert([], tmp_path / "x", Schema(**read_schema(tmp_path / "in" / "s.yaml"))), *parts
        )


def test_the_command_ends_in_what_to_type(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_bytes(table([*TEXTS, ([], "good")]).replace(b"inputs", b"text"))
    words = [
        "reviews.csv",
        "--inputs",
        "text",
        "--empty",
        "drop",
        "--validation-share",
        "0",
        "--processes",
        "1",
    ]
    assert command.main([*words, "--out", "my reviews"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "my reviews: task classify, a vocabulary of 6, classes bad, good",
        "  train: 3 examples, 6 tokens, the longest 3",
        "  no validation split: nothing is evaluated on what was not trained on",
        "  left out, empty: 1",
        "Train on it:",
        "python -m workbench data=tfrecord 'data.path=my reviews'",
    ]
    assert command.main([*words, "--out", "my reviews"]) == 2
    assert "folder = exists" in capsys.readouterr().err
    assert command.main(["none.csv", "--out", "x"]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert command.main(["--out", "x"]) == 2
    assert "name them, before --inputs" in capsys.readouterr().err


def test_an_interruption_leaves_nothing(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.data.convert.write_shard", interrupted)
    assert command.main([str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), "--processes", "1"]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


_KILLED = """
import os, sys
from workbench.data import convert as room
def killed(job):
    os.kill(os.getpid(), 9)
room.write_shard = killed
room.convert([sys.argv[1]], sys.argv[2])
"""


def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))
    words = [sys.executable, "-c", _KILLED, str(tmp_path / "a.csv"), str(tmp_path / "out")]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.converting", "a.csv"]
    convert([tmp_path / "a.csv"], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out"]
    verify_examples(tmp_path / "out")


def test_a_process_that_is_killed_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))
    monkeypatch.setattr("workbench.data.convert.jobs", lambda *_, **__: [9])
    monkeypatch.setattr("workbench.data.convert.write_shard", os._exit)  # a new process knows it by its name
    refused(
        lambda: convert([tmp_path / "a.csv"], tmp_path / "out", processes=2),
        "one of them = ended",
        "--processes 1",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_two_conversions_to_one_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))
    with building(tmp_path / "out") as (work, _):
        refused(lambda: convert([tmp_path / "a.csv"], tmp_path / "out"), "is being written", "name another")
        (work / MANIFEST).write_text("{}")
    assert (tmp_path / "out" / MANIFEST).read_text() == "{}"


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(table(TEXTS))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.data.convert.write_shard", full)
    refused(lambda: convert([tmp_path / "a.csv"], tmp_path / "out"), "No space left", "nothing is left")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("names", "contents", "parts"),
    [
        (["a-train.csv", "a-dev.csv"], [TEXTS, [(["so"], "new")]], ["a-dev.csv: line 2: labels = new"]),
        (["a-train.csv", "a-dev.csv"], [TEXTS, TEXTS[::-1]], ["splits.validation = 3", "are those of train"]),
        (["a-dev.csv", "a-test.csv"], [TEXTS, TEXTS], ["none is for training"]),
        (["a-train.csv", "a-train.csv"], [TEXTS, TEXTS], ["twice", "name it once"]),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_splits_that_do_not_go_together(tmp_path, names, contents, parts):
    for name, examples in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(table(examples))
    refused(lambda: convert([tmp_path / name for name in names], tmp_path / "out"), *parts)


@pytest.mark.slow  # the quick test reads the batches' examples: `examples_of`
def test_the_workbench_trains_on_it_at_once(tmp_path):
    draw = np.random.default_rng(0)
    examples = [([f"w{i}" for i in draw.integers(0, 9, n)], ["A", "B"] * n) for n in draw.integers(1, 9, 60)]
    (tmp_path / "a.jsonl").write_bytes(json_lines([(x, y[: len(x)]) for x, y in examples]))
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "COLUMNS": "200"}

    def typed(*words):
        words = [sys.executable, "-m", *words]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    last = typed("workbench.convert", "a.jsonl", "--out", "out").splitlines()[-1].split()
    small = (
        "data.batch_size=16 cell.units=8 model.embedding_size=8 measure.warmup_steps=1 measure.quiet_steps=1"
    )
    assert "accuracy" in typed(*last[2:], *small.split())
