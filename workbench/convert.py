"""Your files as a data set that the workbench trains on: shards with their manifest.

python -m workbench.convert reviews.csv --inputs text --labels stars --out reviews
python -m workbench.convert train=a.jsonl validation=b.jsonl --inputs tokens --labels tags --out tagged
python -m workbench.convert sensors.csv --group run --inputs x y z --labels state --out sensors     # a step a row
python -m workbench.convert arrays.npz --out arrays               # inputs, labels, lengths
python -m workbench.convert treebank/ --out treebank              # CoNLL-U: form, upos
python -m workbench.convert book.txt --task next --out book       # a sequence a line: each token predicts the next
python -m workbench.convert --schema reviews.yaml --out reviews   # the same options in YAML

Read are .csv, .tsv, .jsonl, .parquet, .npz, .conllu and .txt (inputs, a tab, labels), folders of one kind of such
(.txt only where there is no other) or of .npy files, and what Hugging Face's `datasets` saved. A file's name says
its split (train, dev, test), or SPLIT=FILE.

Exit code 0: the folder is there; 2: something is wrong, and nothing was written; 130: interrupted, likewise.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import shlex
import signal
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from workbench.console import command_line, on_stderr, on_stdout, whole_from_1
from workbench.data.convert import Schema, convert
from workbench.data.convert.schema import LISTS, lines, read_schema
from workbench.data.errors import DataError
from workbench.data.manifest import Manifest
from workbench.wording import typed

_FAR = 5
"""Standard deviations by which the share held out may miss what was asked for without a word."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert and print what was written and what to type next; the exit code."""
    given = _parser().parse_args(arguments)
    console, errors = on_stdout(soft_wrap=True, highlight=False), on_stderr()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # closed as truthfully as on Ctrl-C
    try:
        schema = _schema(given)
        with _Bar(errors) as bar:
            manifest = convert(given.sources, given.out, schema, processes=given.processes, progress=bar.show)
    except DataError as error:
        errors.print(str(error), style="red")
        return 2
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was written", style="red")
        return 130
    _print(console, manifest, given.out)
    return 0


class _Bar:
    """A bar, where there is a terminal."""

    def __init__(self, console: Console) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """How far a pass is."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done)


def _schema(given: argparse.Namespace) -> Schema:
    """That of the YAML file, with what the options say in its place."""
    values = read_schema(given.schema) if given.schema else {}
    for field in dataclasses.fields(Schema):
        value = getattr(given, field.name, None)
        if value is not None:
            if field.name == "inputs" and len(value) == 1:
                value = value[0]
            values[field.name] = lines(Path(value), field.name) if field.name in LISTS else value
    return Schema(**values)


def _parser() -> argparse.ArgumentParser:
    parser = command_line("workbench.convert", __doc__)
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="file or folder; SPLIT=FILE says its split"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="the data set; must not exist"
    )
    parser.add_argument("--schema", type=Path, metavar="FILE.yaml", help="what follows, in YAML")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--processes", type=whole_from_1, default=cores, metavar="N", help="default: all cores"
    )
    hints = typing.get_type_hints(Schema)
    for field in dataclasses.fields(Schema):
        if field.name == "splits":
            continue  # SPLIT=FILE
        kinds = [
            one for one in typing.get_args(hints[field.name]) or (hints[field.name],) if one is not type(None)
        ]
        options: dict[str, Any] = {"help": field.metadata["help"], "choices": field.metadata["choices"]}
        if field.name == "inputs":
            options |= {"nargs": "+", "metavar": "NAME"}
        elif field.name in LISTS:
            options |= {"metavar": "FILE"}
        elif options["choices"] is None:
            options |= {"type": kinds[0], "metavar": kinds[0].__name__.upper()}
        parser.add_argument(f"--{field.name.replace('_', '-')}", dest=field.name, **options)
    return parser


def _print(console: Console, manifest: Manifest, folder: Path) -> None:
    inputs = f"a vocabulary of {len(manifest.vocabulary):,}"
    if manifest.feature_size:
        inputs = f"features of {manifest.feature_size}"
    named = ", ".join(manifest.labels)
    classes = f"classes {named}" if len(named) < 60 else f"{len(manifest.labels):,} classes"
    console.print(f"{folder}: task {manifest.task}, {inputs}, {classes}", markup=False)
    for split, info in manifest.splits.items():
        console.print(
            f"  {split}: {info.examples:,} example{'s' if info.examples > 1 else ''}, {info.tokens:,} tokens, "
            f"the longest {info.longest:,}",
            markup=False,
        )
    asked, made = manifest.source.get("validation_share", 0.0), manifest.splits
    if asked and "validation" in made:
        share = made["validation"].examples / (made["train"].examples + made["validation"].examples)
        if abs(share - asked) > _FAR * math.sqrt(asked * (1 - asked) / made["train"].examples):
            words = "examples that are alike stay together; another --seed draws others"
            console.print(f"  {share:.0%} are held out where {asked:.0%} were to be: {words}")
    if "validation" not in manifest.splits:
        console.print("  no validation split: nothing is evaluated on what was not trained on")
    for reason, count in manifest.dropped.items():
        console.print(f"  left out, {reason}: {count:,}", markup=False)
    if manifest.cut:
        console.print(f"  cut: {manifest.cut['examples']:,} examples into {manifest.cut['pieces']:,} pieces")
    console.print("Train on it:")
    console.print(
        f"python -m workbench data=tfrecord {shlex.quote(typed('data.path', str(folder)))}",
        style="bold",
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
