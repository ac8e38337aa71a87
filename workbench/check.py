"""What is wrong with how a saved Keras model treats padding, as a table.

python -m workbench.check model.keras --data batch.npz            # arrays by name: inputs, lengths, labels
python -m workbench.check model.keras --data FOLDER               # shards with a manifest, or .npy files by name
python -m workbench.check model.keras --data batch.npz --import my.layers --loss sparse_categorical_crossentropy

Of the arrays `lengths` (or length, sequence_length, ...) says where padding begins, `labels` (or y) and
`sample_weight` are what they are called; every other one is an input. Lengths are an input too where the model has
one of their name.

In Python `workbench.check(model, inputs, lengths)` is `workbench.probes.check`.

Exit code 0: nothing was found; 1: something was; 2: the model or the data cannot be used, and nothing was tried.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from workbench.console import command_line, on_stderr, on_stdout, whole_from_1

if TYPE_CHECKING:
    from workbench.probes import Finding, Findings

_LABELS = ("labels", "label", "y", "targets", "tags")
_WEIGHTS = ("sample_weight", "sample_weights", "weights")


class InputError(ValueError):
    """What was typed, or what lies there, cannot be used; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and print; the exit code."""
    given = _parser().parse_args(arguments)
    console, errors = on_stdout(width=100), on_stderr()
    try:
        found = run(given)
    except (InputError, ValueError, OSError) as error:
        errors.print(str(error), style="red")
        return 2
    if found:
        console.print(table(found))
    if found:
        console.print(f"{len(found)} found", style="bold red", highlight=False)
    elif found.not_tried:
        console.print("nothing found, in what could be tried:", style="bold yellow", highlight=False)
    else:
        words = "nothing found: padding changes nothing that it should not"
        console.print(words, style="bold green", highlight=False)
    for note in found.not_tried:
        console.print(f"- {note}", highlight=False, markup=False)
    return 1 if found else 0


def run(given: argparse.Namespace) -> Findings:
    """What a check of the model and data named finds."""
    if not given.model.is_file():
        raise InputError(f"{given.model} is not there: name a model that model.save(...) wrote.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, os.getcwd())
    for module in given.modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(f"--import {module}: {error}.") from error
    arrays = read(given.data, given.split, given.examples, given.lengths)
    from workbench.probes import Findings, check
    from workbench.probes.subject import loaded

    model = loaded(given.model)
    inputs, lengths, labels, weights = sorted_out(arrays, _input_names(model), given.lengths)
    found = check(
        model, inputs, lengths, labels=labels, sample_weight=weights, loss=given.loss, metrics=given.metric,
        pad_value=given.pad_value, label_pad=given.label_pad, training=given.training,
    )  # fmt: skip
    assert isinstance(found, Findings)
    return found


def table(found: Findings) -> Table:
    """A row a finding: what, where, why, and what to do."""
    made = Table(show_lines=True, expand=False)
    for column in ("kind", "by", "where", "cause", "remedy"):
        made.add_column(column, overflow="fold")
    for one in found:
        texts = (one.kind, f"{one.size:.3g}", one.where, one.cause, one.remedy)
        made.add_row(*map(Text, texts))  # brackets in them are no markup
    return made


def read(data: Path, split: str, examples: int, lengths: str | None = None) -> dict[str, np.ndarray]:
    """Arrays by name, of a few examples of unlike lengths, which stand in the array that `lengths` names.

    Raises:
        InputError: nothing that can be read lies there.
    """
    if data.is_dir() and (data / "manifest.json").exists():
        return _of_shards(data, split, examples)
    if data.is_dir():
        arrays = {path.stem: _load(path) for path in sorted(data.glob("*.npy"))}
        if not arrays:
            raise InputError(f"{data} holds neither a manifest.json nor .npy files.")
    elif data.suffix.lower() == ".npz" and data.is_file():
        loaded = _load(data)
        arrays = {name: loaded[name] for name in loaded.files}
    else:
        raise InputError(f"{data} is neither an .npz file that is there nor a folder.")
    sizes = {name: len(a) if a.ndim else 0 for name, a in arrays.items()}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        said = ", ".join(f"{name}: {n}" for name, n in sizes.items())
        raise InputError(
            f"{data}: every array must hold the same number of examples, one at the least; got {said}."
        )
    name = _lengths_name(arrays, lengths)
    examples_there = next(iter(sizes.values()))
    if name and arrays[name].size != examples_there:
        raise InputError(
            f"{data}: {name} has shape {arrays[name].shape}, and lengths are one for each of {examples_there} "
            "examples: give each sequence its own array, and name the model's by --lengths."
        )
    order = (
        np.argsort(arrays[name].reshape(-1), kind="stable") if name else np.arange(next(iter(sizes.values())))
    )
    chosen = np.sort(order[np.unique(np.linspace(0, len(order) - 1, min(examples, len(order))).astype(int))])
    return {name: a[chosen] for name, a in arrays.items()}


def _load(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        for name in loaded.files:
            loaded[name]
        return loaded
    except Exception as error:
        raise InputError(f"{path} cannot be read as NumPy arrays: {str(error).splitlines()[0]}") from error


def _of_shards(folder: Path, split: str, examples: int) -> dict[str, np.ndarray]:
    from workbench.data.errors import DataError
    from workbench.data.pipeline import batches
    from workbench.options.data import TFRecord
    from workbench.options.padding import Padding

    data = TFRecord(path=str(folder), parse="vectorised", batch_size=examples)
    try:
        batch = next(iter(batches(folder, split, data, Padding("batch"))))
    except (DataError, ValueError) as error:
        raise InputError(str(error)) from error
    return {name: np.asarray(value) for name, value in batch.items() if name != "index"}


def _lengths_name(arrays: Mapping[str, np.ndarray], named: str | None) -> str | None:
    from workbench.probes.padded import LENGTH_NAMES

    if named is not None:
        if named not in arrays:
            raise InputError(f"--lengths {named}: the data have {', '.join(arrays)}.")
        return named
    return next((name for name in arrays if name.lower() in LENGTH_NAMES), None)


def sorted_out(
    arrays: Mapping[str, np.ndarray], wanted: Sequence[str], lengths: str | None = None
) -> tuple[Any, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Inputs, lengths, labels and sample weights; `wanted` are the names of the model's inputs."""
    name = _lengths_name(arrays, lengths)
    if name is None:
        raise InputError(
            f"the data have {', '.join(arrays)}, and none of these says how long each example is: "
            f"call one `lengths`, "
            "or name it by --lengths."
        )
    rest = dict(arrays)
    length = rest[name].reshape(-1)
    if name not in wanted:
        del rest[name]
    labels = next((rest.pop(n) for n in _LABELS if n in rest and n not in wanted), None)
    weights = next((rest.pop(n) for n in _WEIGHTS if n in rest and n not in wanted), None)
    if not rest:
        raise InputError(f"the data have {', '.join(arrays)}, and none of these is an input.")
    if len(rest) == 1 and len(wanted) <= 1:
        return next(iter(rest.values())), length, labels, weights
    missing = [n for n in wanted if n not in rest]
    if missing:
        raise InputError(f"the model's inputs are {', '.join(wanted)}; the data have {', '.join(arrays)}.")
    return ({n: rest[n] for n in wanted} if wanted else rest), length, labels, weights


def _input_names(model: Any) -> list[str]:
    try:
        return [x.name for x in model.inputs or ()]
    except (AttributeError, ValueError, TypeError):
        return []


def _parser() -> argparse.ArgumentParser:
    parser = command_line("workbench.check", __doc__)
    parser.add_argument("model", type=Path, metavar="MODEL.keras", help="a saved Keras model")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE.npz|FOLDER", help="a batch with padding"
    )
    parser.add_argument("--import", dest="modules", action="append", default=[], metavar="MODULE",
                        help="a module that makes your own classes known to Keras; may be given again")  # fmt: skip
    parser.add_argument("--lengths", metavar="NAME", help="which array holds the lengths")
    parser.add_argument("--loss", metavar="NAME", help="a Keras loss, in place of the compiled one")
    parser.add_argument(
        "--metric", metavar="NAME", action="append", help="a Keras metric; may be given again"
    )
    parser.add_argument("--pad-value", type=float, default=0, help="what fills padding (default: 0)")
    parser.add_argument("--label-pad", type=float, help="what fills labels (default: what the data have)")
    parser.add_argument("--training", action="store_true", help="call the model as in training")
    parser.add_argument("--split", default="train", help="of a folder of shards (default: train)")
    parser.add_argument(
        "--examples", type=whole_from_1, default=8, help="how many examples to take (default: 8)"
    )
    return parser


class _Called(ModuleType):
    """Called, this module is `workbench.probes.check`: `workbench.check(model, inputs, lengths)`."""

    def __call__(self, *args: Any, **kwargs: Any) -> list[Finding]:
        from workbench.probes import check

        return check(*args, **kwargs)


sys.modules[__name__].__class__ = _Called

if __name__ == "__main__":
    sys.exit(main())
