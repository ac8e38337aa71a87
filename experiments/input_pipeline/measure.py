"""Reading, padding and waiting for batches: ours beside the guide's pipeline, interleaved; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tensorflow as tf

from experiments.about import typed
from experiments.timing import quartiles, rounds, step_seconds
from workbench.data.held import hold_parsed
from workbench.data.manifest import Manifest
from workbench.data.pipeline import batches, plan_batches
from workbench.data.sequence_example import parse_one
from workbench.data.shards import open_dataset, prepare
from workbench.model import SequenceModel
from workbench.options.cell import LSTM
from workbench.options.data import Built, PythonSource, TFRecord, UniversalDependencies
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import Optimizer
from workbench.options.padding import SCHEMAS, Padding
from workbench.options.rnn import SCHEMAS as RNNS
from workbench.options.training import Training
from workbench.provenance import machine, versions
from workbench.repositories import git
from workbench.training import make_train_step, train

BATCH = 32
MOST = 15_000  # examples of a data set, both splits
STEPS = 150  # of training, for the share of waiting
PADDINGS = ("global", "batch", "bucket", "pooled")


def guide(folder: Path, manifest: Manifest, *, parallel: bool) -> tf.data.Dataset:
    """Parse one example after the other, then pad: the guide's way, or with all that tf.data can add to it."""
    shapes = {
        "inputs": [None] if manifest.inputs == "ids" else [None, manifest.feature_size],
        "labels": [None] if manifest.task == "tag" else [],
        "length": [],
    }
    records = tf.data.TFRecordDataset(
        [str(folder / s.file) for s in manifest.shards if s.split == "train"], manifest.compression or None
    )
    if not parallel:
        return records.map(lambda record: parse_one(record, manifest)).padded_batch(BATCH, shapes)
    parsed = records.map(lambda record: parse_one(record, manifest), num_parallel_calls=tf.data.AUTOTUNE)
    return parsed.padded_batch(BATCH, shapes).prefetch(tf.data.AUTOTUNE)


def stored(folder: Path, parse: str) -> Iterable[Any]:
    """An epoch of the training split in stored order, each batch padded to its longest."""
    return batches(folder, "train", TFRecord(batch_size=BATCH, parse=parse), Padding("batch"), shuffle=False)


def pipelines(folder: Path, manifest: Manifest) -> dict[str, Callable[[], Iterable[Any]]]:
    """An epoch of the training split, in stored order, by each way to read it."""
    plain, parallel = (guide(folder, manifest, parallel=parallel) for parallel in (False, True))

    def ours(parse: str) -> Callable[[], Iterable[Any]]:
        return lambda: stored(folder, parse)

    def first() -> Iterable[Any]:
        hold_parsed.cache_clear()
        return ours("cached")()

    return {
        "guide": lambda: plain,
        "guide, parallel map and prefetch": lambda: parallel,
        "data.parse=one": ours("one"),
        "data.parse=vectorised": ours("vectorised"),
        "data.parse=cached, first epoch (read, checked, parsed)": first,
        "data.parse=cached": ours("cached"),
    }


def check_equal(ways: dict[str, Callable[[], Iterable[Any]]]) -> None:
    """Refuse to time pipelines whose batches differ."""
    reference = [{name: np.asarray(value) for name, value in batch.items()} for batch in ways["guide"]()]
    for name, way in ways.items():
        for batch, expected in zip(way(), reference, strict=True):
            for part, values in expected.items():
                np.testing.assert_array_equal(batch[part], values, err_msg=f"{name}: {part}")


def reading(folder: Path, manifest: Manifest, turns: int) -> list[dict[str, Any]]:
    """A row a pipeline: examples/s, and how many times the guide's in the same round, median and quartiles."""
    ways = pipelines(folder, manifest)
    check_equal(ways)
    examples = manifest.splits["train"].examples
    calls = {name: lambda _, way=way: sum(1 for _ in way()) for name, way in ways.items()}
    times = rounds(calls, 1, seconds=0, least=turns, most=turns, seed=1)
    rows = []
    for name, taken in times.items():
        low, middle, high = quartiles(times["guide"], taken)
        rows.append(
            {
                "pipeline": name,
                "examples_per_s": round(examples / step_seconds(taken)),
                "ratio": round(middle, 2),
                "low": round(low, 2),
                "high": round(high, 2),
            }
        )
    return rows


def efficiency(folder: Path, manifest: Manifest) -> list[dict[str, Any]]:
    """A row a padding and batch size: valid tokens over B x T, summed over an epoch; exact."""
    rows = []
    for padding in PADDINGS:
        row: dict[str, Any] = {"padding": padding}
        for size in (BATCH, 128):
            planned = plan_batches(
                folder, "train", TFRecord(batch_size=size), SCHEMAS[padding](padding), seed=1
            )
            area = sum(len(batch.indices) * batch.padded_length for batch in planned)
            row |= {
                f"efficiency_{size}": round(manifest.splits["train"].tokens / area, 4),
                f"batches_{size}": len(planned),
            }
        rows.append(row)
    return rows


def waiting(folder: Path, manifest: Manifest, rnn: str) -> list[dict[str, Any]]:
    """A row a pipeline: the share of training (LSTM, 128 units) that the step waits for its batch."""
    model = SequenceModel(
        LSTM(units=128),
        RNNS[rnn](),
        Model(embedding_size=64),
        task="tag",
        classes=len(manifest.labels),
        vocabulary_size=len(manifest.vocabulary),
    )
    step = make_train_step(model, Optimizer("adam", 1e-3, clip_norm=1.0), Loss("length"))
    padded = {
        padding: batches(folder, "train", TFRecord(batch_size=BATCH), SCHEMAS[padding](padding), seed=1)
        for padding in ("batch", "pooled")
    }
    ways: dict[str, Iterable[Any]] = {
        "guide": guide(folder, manifest, parallel=False),
        "guide, parallel map and prefetch": guide(folder, manifest, parallel=True),
        "data.parse=vectorised": stored(folder, "vectorised"),
        "data.parse=cached": padded["batch"],
        "data.parse=cached, padding=pooled": padded["pooled"],
    }
    for made in padded.values():  # graphs and kernels are made before anything is timed
        for batch in islice(made, 40):
            step(batch)
    rows = []
    for name, way in ways.items():
        result = train(step, lambda _, way=way: way, Training(max_steps=STEPS))
        rows.append(
            {
                "pipeline": name,
                "rnn": rnn,
                "train_s": round(result.seconds, 2),
                "wait_share": round(result.input_wait_s / result.seconds, 4),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as Markdown."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
    return [*lines, *(f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows), ""]


def main() -> None:
    """Measure and write results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--treebank", help="folder of UD_English-EWT; without it Python source alone is read")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    begin = time.perf_counter()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        building: dict[str, Any] = {"cache_dir": cache, "max_examples": MOST, "max_length": 200}
        sources: list[Built] = [PythonSource(**building, lines_per_file=None)]
        if given.treebank:
            sources.append(UniversalDependencies(**building, path=given.treebank, lowercase=True))
        for source in sources:
            name, folder = source.name, prepare(source)
            manifest = open_dataset(folder)
            found[name] = {
                "fingerprint": manifest.fingerprint,
                "examples": manifest.splits["train"].examples,
                "tokens": manifest.splits["train"].tokens,
                "reading": reading(folder, manifest, given.rounds),
                "efficiency": efficiency(folder, manifest),
            }
        found[name]["waiting"] = [
            row for rnn in ("dynamic", "packed") for row in waiting(folder, manifest, rnn)
        ]
    facts = {
        **machine(),
        **versions(),
        **git(),
        "command": typed("experiments/input_pipeline/measure.py"),
    }
    facts["setting"] = f"batches of {BATCH}, {given.rounds} rounds, files in the page cache"
    facts["minutes"] = str(round((time.perf_counter() - begin) / 60, 1))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "input.json").write_text(json.dumps({"facts": facts, "data": found}, indent=1) + "\n")
    lines = []
    for name, of in found.items():
        lines += [f"## {name}: {of['examples']:,} examples, {of['tokens']:,} tokens", ""]
        for part in ("reading", "efficiency", "waiting"):
            lines += table(of[part]) if part in of else []
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    (given.out / "input.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
