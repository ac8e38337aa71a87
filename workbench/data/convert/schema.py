"""What of a person's files an example is made of: `Schema`, given as options, in YAML, or in Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workbench.data.errors import DataError
from workbench.data.given import check_names
from workbench.data.manifest import COMPRESSIONS, INPUTS, SPLITS
from workbench.options.data import TASKS
from workbench.options.schema import check, option

KINDS = ("symbols", *INPUTS)
FILE, FOLDER = "@file", "@folder"
LISTS = ("classes", "vocabulary")


@dataclass(frozen=True)
class Schema:
    """Where inputs, labels and lengths are in a file, and how they are read.

    `inputs`, `labels`, `lengths`, `weights`, `split`, `group` are names of columns (CSV, Parquet, CoNLL-U), keys
    (JSON lines) or arrays (NumPy); of a text, whose lines are inputs, a tab, and labels, there is nothing to name.
    What is None is found by looking at the first example.

    >>> Schema(inputs="text", labels="stars", task="classify").min_count
    1
    >>> Schema(tokens="letters")
    Traceback (most recent call last):
    workbench.data.errors.DataError: schema: tokens = letters: must be one of words, characters
    """

    inputs: str | list[str] | None = option(
        None, "where inputs are; several columns are the numbers of a step"
    )
    labels: str | None = option(
        None, "where labels are; @file, @folder: what the file, or its folder, is called"
    )
    lengths: str | None = option(None, "where each example's length is; what is behind it is padding")
    weights: str | None = option(
        None, "where weights in the loss are: a number an example, or a list of one a token"
    )
    task: str | None = option(
        None,
        "a label for each token, one for the whole, or none: each token predicts the next",
        choices=TASKS,
    )
    kind: str | None = option(None, "what inputs are", choices=KINDS)
    tokens: str = option("words", "what of a string is a token", choices=["words", "characters"])
    split: str | None = option(None, f"where an example's split is said: {', '.join(SPLITS)}")
    splits: dict[str, Any] | None = option(None, "split: its files, in place of files on the command line")
    group: str | None = option(None, "column that is the same in all rows of an example, each row a step")
    delimiter: str | None = option(None, "between a CSV's columns; a comma, or by a .tsv's name a tab")
    classes: list[str] | None = option(None, "the classes by name; a file with one a line")
    vocabulary: list[str] | None = option(None, "of ids: the symbols; a file with one a line")
    validation_share: float = option(0.1, "held out where no file is for validation", low=0, high=0.9)
    seed: int = option(0, "of the share that is held out", low=0, high=2**64 - 2)
    min_count: int = option(1, "symbols that occur less often in training are one, the unknown", low=1)
    max_length: int | None = option(None, "longest example, in tokens", low=1)
    over_length: str = option(
        "drop", "what happens to a longer one; counted", choices=["drop", "split", "keep"]
    )
    empty: str = option("keep", "what happens to one without tokens; counted", choices=["keep", "drop"])
    first_class: int = option(0, "id of the first class; 1 leaves 0 to padding", low=0, high=1)
    shards: int | None = option(None, "files a split; by its tokens where not given", low=1, high=10_000)
    compression: str = option("", "of the shards; empty: none", choices=COMPRESSIONS)

    def __post_init__(self) -> None:
        values, wrong = check(type(self), vars(self))
        if wrong:
            raise DataError("schema", str(wrong[0].key), _shown(wrong[0].value), wrong[0].remedy)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name in LISTS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_names(value, name, "schema"))
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n"'):
            raise DataError("schema", "delimiter", repr(self.delimiter), "must be one character")
        if self.vocabulary is not None and self.kind in ("symbols", "features"):
            built = "it is built of them" if self.kind == "symbols" else "they have none"
            remedy = f"inputs are {self.kind}: leave it out, {built}; or give ids"
            raise DataError("schema", "vocabulary", self.vocabulary[:5], remedy)
        if self.min_count > 1 and self.kind in INPUTS:
            remedy = f"inputs are {self.kind}, and only of symbols are the rare ones one: leave it out"
            raise DataError("schema", "min_count", self.min_count, remedy)
        if self.task == "next":
            self._check_next()

    def _check_next(self) -> None:
        for name in ("labels", "classes"):
            if (value := getattr(self, name)) is not None:
                remedy = 'of the task "next" the tokens that follow are the labels: leave it out'
                raise DataError("schema", name, value, remedy)
        if self.kind == "features" or isinstance(self.inputs, list):
            remedy = "predicts ids, and these inputs are features: take tag or classify"
            raise DataError("schema", "task", "next", remedy)
        if self.kind == "ids" and self.vocabulary is None:
            raise DataError(
                "schema", "vocabulary", "missing", 'the task "next" needs one of its ids: give it'
            )

    @property
    def labels_steps(self) -> bool:
        """Whether each token has a label; else the whole example has one."""
        return self.task != "classify"

    @property
    def columns(self) -> list[str]:
        """All that is named."""
        inputs = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        named = [*inputs, self.labels, self.lengths, self.weights, self.split, self.group]
        return [name for name in named if name is not None and name not in (FILE, FOLDER)]

    def of_kind(self, kind: str) -> Schema:
        """With what inputs are."""
        return dataclasses.replace(self, kind=kind)

    def named(self, inputs: str, labels: str) -> Schema:
        """With a format's usual names where none are given."""
        of_labels = None if self.task == "next" else self.labels or labels
        return dataclasses.replace(self, inputs=self.inputs or inputs, labels=of_labels)


def read_schema(path: str | Path) -> dict[str, Any]:
    """A schema's fields from a YAML file, for `Schema(**fields)`; files that it names lie beside it.

    Raises:
        DataError: it cannot be read, or a field of it is wrong.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(path, "file", str(error), "no YAML that can be read: mend it") from None
    if not isinstance(tree, Mapping):
        raise DataError(path, "file", tree, "must be a mapping, as `inputs: text`")
    tree = dict(tree)
    for name in LISTS:
        if isinstance(tree.get(name), str):
            tree[name] = lines(path.parent / tree[name], name)
    wrong = check(Schema, tree)[1]
    if wrong:
        raise DataError(path, str(wrong[0].key), _shown(wrong[0].value), wrong[0].remedy)
    if tree.get("splits"):
        tree["splits"] = {
            split: [str(path.parent / str(one)) for one in (files if isinstance(files, list) else [files])]
            for split, files in tree["splits"].items()
        }
    return tree


def lines(path: Path, field: str) -> list[str]:
    """The names in a file, one a line; a line of blanks is a name, as of a space among characters."""
    try:
        found = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(path, field, str(error), "must be a text in UTF-8, one a line") from None
    names = [line.rstrip("\r") for line in found]
    while names and not names[-1]:
        names.pop()
    if "" in names:
        number = names.index("") + 1
        raise DataError(
            f"{path}, line {number}", field, "", "an empty line would move all ids after it: take it out"
        )
    return check_names(names, field, str(path))


def _shown(value: object) -> object:
    return "null" if value is None else value
