"""The manifest of a data set on disk: what is in its shards, and how to know that they are whole.

A data set is a folder with `manifest.json` and the shards that it names. The manifest is written last, so a
folder without one is no data set. A minimal one, by hand or from another program, has `version`, `name`,
`task`, `inputs`, `vocabulary` (or `feature_size`), `labels`, `splits`, `shards`; the rest has defaults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.data.errors import DataError
from workbench.data.whose import INDEX, MANIFEST, restore, unopened, without_manifest
from workbench.options.data import TASKS

VERSION = 1
INPUTS = ("ids", "features")
SPLITS = ("train", "validation", "test")
COMPRESSIONS = ("", "GZIP", "ZLIB")
PAD, UNKNOWN = "<pad>", "<unk>"
FEATURE_NAMES = {"length": "length", "inputs": "inputs", "labels": "labels"}
WEIGHTS = ("", "step", "example")


@dataclass(frozen=True)
class SplitInfo:
    """Counts of one split. `histogram` is length -> examples; `label_counts[c]` is how often class c occurs."""

    examples: int
    tokens: int
    longest: int
    histogram: dict[int, int]
    label_counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, lengths: Mapping[int, int], label_counts: Sequence[int]) -> SplitInfo:
        """The counts, by how many examples are of each length, and how many labels of each class."""
        tokens = sum(length * count for length, count in lengths.items())
        longest, histogram = max(lengths, default=0), dict(sorted(lengths.items()))
        return cls(sum(lengths.values()), tokens, longest, histogram, tuple(label_counts))

    @property
    def mean_length(self) -> float:
        """Tokens an example, by the histogram."""
        return sum(length * n for length, n in self.histogram.items()) / sum(self.histogram.values())

    def label_share(self, label: int | None = None) -> float | None:
        """The share of a label among all, of the commonest where none is asked for; None if not counted.

        >>> SplitInfo(2, 4, 3, {1: 1, 3: 1}, label_counts=(1, 3)).label_share()
        0.75
        """
        total = sum(self.label_counts)
        if not total:
            return None
        return (max(self.label_counts) if label is None else self.label_counts[label]) / total


@dataclass(frozen=True)
class Shard:
    """One TFRecord file: `file` is relative to the manifest's folder."""

    split: str
    file: str
    examples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Schema, counts and checksums of a data set on disk.

    `splits`: "train", and "validation" to evaluate on; "test" is set aside.
    `task`: "tag" (a label for each token), "classify" (one for each example) or "next" (for each token the one that
    follows, from `</s>` to `</s>`: labels are ids of the vocabulary).
    `inputs`: "ids" (int, `vocabulary[id]` is its symbol; 0 is padding, 1 unknown) or "features"
    (float vectors of `feature_size`).
    `labels[c]` is the name of class c. Class 0 is a real class unless `first_class` is 1; then labels[0] is
    padding and no example has it.
    `dropped`: reason -> how many examples (reasons that begin with `files_`: files) were left out.
    `cut`: `examples` longer than max_length that were cut, and the `pieces` made of them.
    `weights`: "step" where a feature list has how much each step counts in the loss, "example" where the context
    has how much the example does; floats, 0 or more.
    `feature_names`: what `length`, `inputs`, `labels` and, if there are, `weights` are called in the
    SequenceExamples. A `length` of "" says that the context has none: an example is as long as its list of inputs.
    `compression`: "", "GZIP" or "ZLIB", for all shards.
    `fingerprint`: SHA-256 over all of that which bears on a batch, the shards' own SHA-256 included, and over
    nothing that depends on the machine or the folder.
    """

    name: str
    task: str
    inputs: str
    labels: list[str]
    splits: dict[str, SplitInfo]
    shards: list[Shard]
    vocabulary: list[str] = field(default_factory=list)
    feature_size: int | None = None
    first_class: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    feature_names: dict[str, str] = field(default_factory=lambda: dict(FEATURE_NAMES))
    compression: str = ""
    weights: str = ""
    version: int = VERSION
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.weights:
            self.feature_names.setdefault("weights", "weights")
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self.computed_fingerprint())

    @property
    def labels_steps(self) -> bool:
        """Whether each token has a label; else the whole example has one."""
        return self.task != "classify"

    @property
    def longest(self) -> int:
        """The longest example of the data set, all splits."""
        return max(split.longest for split in self.splits.values())

    @property
    def class_zero_in_use(self) -> bool:
        """Does class 0 occur as a label? Then neither 0 nor its sign can tell padding from data (guide, P3)."""
        counts = [split.label_counts for split in self.splits.values()]
        if all(counts):
            return any(count[0] > 0 for count in counts)
        return self.first_class == 0

    def parsed_bytes(self, split: str) -> int:
        """What a split takes in memory when it is parsed as a whole."""
        info, width = self.splits[split], self.feature_size if self.inputs == "features" else None
        each = (width or 1) + self.labels_steps + (self.weights == "step")
        return 4 * (info.tokens + 1) * each + 24 * info.examples

    def computed_fingerprint(self) -> str:
        """What `fingerprint` must be."""
        content = self.to_json()
        for apart in ("fingerprint", "name", "source", "dropped", "cut"):
            content.pop(apart)
        content["shards"] = [[shard.split, shard.examples, shard.sha256] for shard in self.shards]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; `from_json` is the way back."""
        content = dataclasses.asdict(self)
        if not self.weights:  # a data set without is what it was before there were any
            del content["weights"]
        for split in content["splits"].values():
            split["histogram"] = {str(k): v for k, v in sorted(split["histogram"].items())}
            split["label_counts"] = list(split["label_counts"])
        return content

    def write(self, folder: Path) -> Path:
        """Write `folder/manifest.json`."""
        path = Path(folder) / MANIFEST
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return part.replace(path)


def require_free_class_zero(manifest: Manifest, folder: str | Path) -> None:
    """Raise DataError where a loss that masks by the labels' sign would leave out tokens of a real class 0.

    Whether class 0 is in use, only the data set itself can say where anyone may have written it.
    """
    if manifest.class_zero_in_use:
        raise DataError(
            Path(folder) / MANIFEST,
            "labels[0]",
            manifest.labels[0],
            "class 0 is in use, and a sign mask would drop its tokens; take loss=length, write the data set with "
            "first_class=1, or ask for it with loss.accept_class_zero=true",
        )


def load_manifest(folder: str | Path) -> Manifest:
    """Read and check `folder/manifest.json`; the shards are not touched (`shards.open_dataset` checks them).

    Raises DataError with file, field, value and remedy.
    """
    path = Path(folder) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except (FileNotFoundError, NotADirectoryError):
        value, remedy = without_manifest(Path(folder))
        raise DataError(path, "file", value, f"no data set: {remedy}") from None
    except OSError as error:
        raise DataError(path, "file", error.strerror or str(error), unopened(path, error)) from None
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 or no JSON are ValueErrors
        raise DataError(path, "file", str(error), f"unreadable: {restore(path)}") from None
    return from_json(content, path)


def from_json(content: object, path: str | Path = MANIFEST) -> Manifest:
    """Check what was read from `path` and make it a Manifest."""
    if not isinstance(content, dict):
        raise DataError(path, "file", type(content).__name__, "must be a JSON object")
    version = content.get("version")
    if "version" not in content:
        has = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise DataError(
            path, "version", "missing", f"no manifest of the workbench, it has {has}: {INDEX} writes one"
        )
    if version != VERSION or isinstance(version, bool):
        raise DataError(
            path,
            "version",
            version,
            f"this program reads version {VERSION}: {restore(Path(path), changed=True)}",
        )
    content = dict(content)
    _check_fields(Manifest, content, path, "")
    given = content.get("fingerprint", "")
    content["splits"] = {
        name: _split(value, path, f"splits.{name}") for name, value in content["splits"].items()
    }
    content["shards"] = [_shard(value, path, f"shards[{i}]") for i, value in enumerate(content["shards"])]
    content["feature_names"] = {**FEATURE_NAMES, **content.get("feature_names", {})}
    manifest = Manifest(**content)
    _check_meaning(manifest, path)
    if given and manifest.computed_fingerprint() != given:
        raise DataError(
            path,
            "fingerprint",
            given,
            f"the manifest's content has {manifest.computed_fingerprint()}: it was edited after it was written; "
            f"take the field out if the edit is right, else {restore(Path(path))}",
        )
    return manifest


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, no key of which may be there twice: the first would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f"the key {next(key for key in keys if keys.count(key) > 1)} is there twice in an object"
        )
    return found


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "str": (str,),
    "int | None": (int, type(None)),
    "list[str]": (list,),
    "list[Shard]": (list,),
    "dict[str, SplitInfo]": (dict,),
    "dict[int, int]": (dict,),
    "dict[str, int]": (dict,),
    "dict[str, str]": (dict,),
    "dict[str, Any]": (dict,),
    "tuple[int, ...]": (list,),
}


def _check_fields(kind: type, content: object, path: str | Path, prefix: str) -> None:
    """Every field known, every field without a default there, every type right."""
    where = prefix or "file"
    if not isinstance(content, Mapping):
        raise DataError(path, where, content, "must be an object")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    dot = f"{prefix}." if prefix else ""
    for name in content:
        if name not in fields:
            raise DataError(path, f"{dot}{name}", content[name], f"unknown; fields are {', '.join(fields)}")
    for name, item in fields.items():
        optional = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        if name not in content:
            if not optional:
                raise DataError(
                    path, f"{dot}{name}", "missing", f"{kind.__name__} needs it: see its docstring"
                )
            continue
        value, types = content[name], _TYPES[str(item.type)]
        if not isinstance(value, types) or isinstance(value, bool):
            wanted = " or ".join(one.__name__ for one in types)
            raise DataError(path, f"{dot}{name}", value, f"must be {wanted}")
        if (
            isinstance(value, list)
            and str(item.type) == "list[str]"
            and not all(isinstance(one, str) for one in value)
        ):
            raise DataError(path, f"{dot}{name}", value, "must be a list of strings")
        if isinstance(value, int) and value < 0:
            raise DataError(path, f"{dot}{name}", value, "must not be negative")


def _split(value: dict[str, Any], path: str | Path, where: str) -> SplitInfo:
    _check_fields(SplitInfo, value, path, where)
    counts = value.get("label_counts", [])
    for name, numbers in (
        ("histogram", value["histogram"].values()),
        ("histogram", [int(key) if key.isdecimal() and len(key) < 19 else key for key in value["histogram"]]),
        ("label_counts", counts),
    ):
        for number in numbers:
            if type(number) is not int or number < 0:
                raise DataError(path, f"{where}.{name}", number, "lengths and counts must be whole numbers")
    histogram = {int(length): count for length, count in value["histogram"].items()}
    split = SplitInfo.of(histogram, counts)
    for name in ("examples", "tokens", "longest"):
        if value[name] != (wanted := getattr(split, name)):
            raise DataError(path, f"{where}.{name}", value[name], f"the histogram beside it says {wanted}")
    return split


def _shard(value: dict[str, Any], path: str | Path, where: str) -> Shard:
    _check_fields(Shard, value, path, where)
    file = Path(value["file"])
    if file.is_absolute() or ".." in file.parts:
        raise DataError(path, f"{where}.file", value["file"], "must lie inside the manifest's folder")
    return Shard(**value)


def check_schema(manifest: Manifest, path: str | Path) -> None:
    """Raise DataError where what a manifest says of its examples is no schema: what the types alone do not say."""

    def one_of(name: str, allowed: tuple[Any, ...]) -> None:
        if getattr(manifest, name) not in allowed:
            raise DataError(
                path, name, getattr(manifest, name), f"must be one of {', '.join(map(repr, allowed))}"
            )

    one_of("task", TASKS)
    one_of("inputs", INPUTS)
    one_of("compression", COMPRESSIONS)
    one_of("first_class", (0, 1))
    one_of("weights", WEIGHTS)
    if manifest.weights == "step" and not manifest.labels_steps:
        raise DataError(path, "weights", "step", 'one label an example has one weight: must be "example"')
    if manifest.inputs == "features" and not manifest.feature_size:
        raise DataError(
            path, "feature_size", manifest.feature_size, 'inputs are "features": how many a token?'
        )
    if manifest.inputs == "ids" and not manifest.vocabulary:
        raise DataError(path, "vocabulary", "empty", 'inputs are "ids": a symbol for each is needed')
    if manifest.task == "next":
        if manifest.inputs != "ids":
            raise DataError(path, "inputs", manifest.inputs, 'the task "next" predicts ids: must be "ids"')
        if manifest.labels != manifest.vocabulary or manifest.first_class != 1:
            raise DataError(
                path,
                "labels",
                manifest.labels[:5],
                'of the task "next" they are the vocabulary, and first_class is 1',
            )
    if len(manifest.labels) <= manifest.first_class:
        raise DataError(path, "labels", manifest.labels, "no class is left: name the classes")
    used: dict[str, str] = {}
    for name, called in manifest.feature_names.items():
        names = [*FEATURE_NAMES, *(["weights"] if manifest.weights else [])]
        if name not in names:
            remedy = f"names are {', '.join(names)}"
            if name == "weights":
                remedy = 'of what are they? say weights="step" or weights="example"'
            raise DataError(path, f"feature_names.{name}", name, remedy)
        if not isinstance(called, str) or not (called or name == "length"):
            raise DataError(
                path, f"feature_names.{name}", called, "must be what the SequenceExamples call it"
            )
        if called in used:
            raise DataError(
                path, f"feature_names.{name}", called, f"{used[called]} is called so too: each its own"
            )
        used[called] = name


def check_apart(shards: Sequence[Shard], path: str | Path, *, within: bool = False) -> None:
    """Raise DataError, naming both, where a file is listed twice or the same bytes are in two splits.

    `within`: also where the same bytes are twice in one split. Examples that are alike, in files that are not, are
    left alone: short sentences occur in every split of a real corpus.
    """
    files: dict[str, Shard] = {}
    contents: dict[str, Shard] = {}
    for i, shard in enumerate(shards):
        first = files.setdefault(str(Path(shard.file)), shard)
        if first is shard and shard.examples:
            first = contents.setdefault(shard.sha256, shard)
        if first is shard or (first.split == shard.split and first.file != shard.file and not within):
            continue
        raise _twice(path, f"shards[{i}].file", shard, first)


def _twice(path: str | Path, field: str, shard: Shard, first: Shard) -> DataError:
    which = "the same file" if Path(first.file) == Path(shard.file) else f"the same bytes as {first.file}"
    if first.split == shard.split:
        return DataError(
            path, field, shard.file, f"{which}, twice in {shard.split}: each of its examples would count "
            "twice; list it once"
        )  # fmt: skip
    return DataError(
        path, field, shard.file, f"{which}, in {first.split} and in {shard.split}: what is learned on one would be "
        "measured on the same examples; list it in one of them, and give the other its own"
    )  # fmt: skip


def _check_meaning(manifest: Manifest, path: str | Path) -> None:
    """What the types alone do not say: the schema, and that the counts agree."""
    check_schema(manifest, path)
    if not manifest.splits.get("train", SplitInfo(0, 0, 0, {})).examples:
        raise DataError(path, "splits.train.examples", 0, "an empty data set: nothing to train on")
    for name, split in manifest.splits.items():
        if name not in SPLITS:
            remedy = f"splits are {', '.join(SPLITS)}, another would not be used: rename it"
            raise DataError(path, f"splits.{name}", name, remedy)
        inside = sum(shard.examples for shard in manifest.shards if shard.split == name)
        if inside != split.examples:
            raise DataError(
                path, f"splits.{name}.examples", split.examples, f"its shards have {inside} altogether"
            )
        if manifest.task == "classify" and split.histogram.get(0):
            raise DataError(
                path,
                f"splits.{name}.histogram.0",
                split.histogram[0],
                'empty sequences cannot be classified: leave them out, or use the task "tag"',
            )
        if split.label_counts and len(split.label_counts) != len(manifest.labels):
            raise DataError(
                path,
                f"splits.{name}.label_counts",
                len(split.label_counts),
                f"{len(manifest.labels)} classes",
            )
    for i, shard in enumerate(manifest.shards):
        if shard.split not in manifest.splits:
            raise DataError(
                path, f"shards[{i}].split", shard.split, f"splits are {', '.join(manifest.splits)}"
            )
    check_apart(manifest.shards, path)
