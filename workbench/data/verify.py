"""Is a data set what its manifest says? `open_dataset` checks files, `read_split` what is in them.

Every fault is a DataError that names the file, the field, the value and the remedy.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from workbench.data.encode import check_range
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, Manifest, Shard, SplitInfo, load_manifest

_AGAIN = "copy or prepare the data set again (remove the folder first)"
_CHUNK = 4096  # examples parsed at once


class Records(NamedTuple):
    """Serialized examples in order, and what they hold: `lengths` int64 [N], `label_counts` int64 [C]."""

    serialized: list[bytes]
    lengths: np.ndarray
    label_counts: np.ndarray

    def split_info(self) -> SplitInfo:
        """The counts as a manifest has them."""
        histogram = Counter(self.lengths.tolist())
        return SplitInfo(
            examples=len(self.lengths),
            tokens=int(self.lengths.sum()),
            longest=int(self.lengths.max(initial=0)),
            histogram=dict(sorted(histogram.items())),
            label_counts=tuple(self.label_counts.tolist()),
        )


def open_dataset(folder: str | Path, verify: bool = True) -> Manifest:
    """The manifest at `folder`, after `verify`: every shard is there, of its size and its SHA-256.

    The examples themselves are checked when they are read, or by `verify_examples`.
    """
    folder = Path(folder)
    manifest = load_manifest(folder)
    for i, shard in enumerate(manifest.shards if verify else []):
        path = folder / shard.file
        try:
            size = path.stat().st_size
            found = sha256(path) if size == shard.bytes else ""
        except FileNotFoundError:
            raise DataError(path, f"shards[{i}].file", "missing", _AGAIN) from None
        except OSError as error:
            raise DataError(path, f"shards[{i}].file", str(error), f"cannot be read: {_AGAIN}") from None
        if size != shard.bytes:
            raise DataError(
                path,
                f"shards[{i}].bytes",
                size,
                f"truncated or changed, the manifest says {shard.bytes}: {_AGAIN}",
            )
        if found != shard.sha256:
            raise DataError(
                path, f"shards[{i}].sha256", found, f"damaged, the manifest says {shard.sha256}: {_AGAIN}"
            )
    return manifest


def verify_examples(folder: str | Path) -> Manifest:
    """`open_dataset`, then read every example of every split."""
    manifest = open_dataset(folder)
    for split in manifest.splits:
        read_split(folder, split, manifest)
    return manifest


def read_split(folder: str | Path, split: str, manifest: Manifest) -> Records:
    """The split's examples, shard after shard, each checked: lengths, ids, labels, and the manifest's counts."""
    folder = Path(folder)
    parts = []
    for shard in manifest.shards:
        if shard.split == split:
            parts.append(read_shard(folder / shard.file, manifest))
            if len(parts[-1].serialized) != shard.examples:
                raise DataError(
                    folder / shard.file,
                    "examples",
                    len(parts[-1].serialized),
                    f"the manifest says {shard.examples}: {_AGAIN}",
                )
    records = Records(
        [record for part in parts for record in part.serialized],
        np.concatenate([part.lengths for part in parts] or [np.zeros(0, np.int64)]),
        np.sum([part.label_counts for part in parts], axis=0) if parts else np.zeros(0, np.int64),
    )
    found, said = records.split_info(), manifest.splits[split]
    for name in ("histogram", "label_counts"):
        if getattr(found, name) != getattr(said, name) and (name == "histogram" or said.label_counts):
            raise DataError(
                folder / MANIFEST,
                f"splits.{split}.{name}",
                getattr(said, name),
                f"the shards have {getattr(found, name)}: write the manifest again",
            )
    return records


def index_shards(
    folder: str | Path,
    splits: Mapping[str, Sequence[str]],
    *,
    name: str,
    labels: Sequence[str],
    task: str = "tag",
    vocabulary: Sequence[str] = (),
    feature_size: int | None = None,
    feature_names: Mapping[str, str] | None = None,
    first_class: int = 0,
    compression: str = "",
) -> Manifest:
    """Write a manifest for shards that another program wrote, which makes them a data set.

        index_shards("treebank", {"train": ["a.tfrecord", "b.tfrecord"], "validation": ["c.tfrecord"]},
                     name="treebank", labels=["NOUN", "VERB"], vocabulary=words,
                     feature_names={"inputs": "tokens"})

    `splits`: split -> files in `folder`. `feature_names`: what the SequenceExamples call `length`, `inputs`
    and `labels`, where it is something else. Every example is read and checked.
    """
    folder = Path(folder)
    described: dict[str, Any] = {
        "name": name,
        "task": task,
        "inputs": "features" if feature_size else "ids",
        "labels": list(labels),
        "vocabulary": list(vocabulary),
        "feature_size": feature_size,
        "first_class": first_class,
        "compression": compression,
        "source": {"name": "index_shards"},
    }
    bare = Manifest(**described, splits={}, shards=[])
    bare.feature_names.update(feature_names or {})
    shards, infos = [], {}
    for split, files in splits.items():
        parts = [read_shard(folder / file, bare) for file in files]
        infos[split] = Records(
            [],
            np.concatenate([part.lengths for part in parts]),
            np.sum([part.label_counts for part in parts], axis=0),
        ).split_info()
        for file, part in zip(files, parts, strict=True):
            path = folder / file
            shards.append(Shard(split, file, len(part.serialized), path.stat().st_size, sha256(path)))
    manifest = Manifest(**described, splits=infos, shards=shards, feature_names=bare.feature_names)
    manifest.write(folder)
    return load_manifest(folder)


def read_shard(path: Path, manifest: Manifest) -> Records:
    """The serialized examples of one shard, in order, each parsed once and checked."""
    records: list[bytes] = []
    try:
        for block in tf.data.TFRecordDataset(str(path), manifest.compression or None).batch(_CHUNK):
            records.extend(block.numpy().tolist())
    except tf.errors.OpError as error:
        raise DataError(
            path, f"record {len(records)} or later", _reason(error), f"unreadable: {_AGAIN}"
        ) from None
    lengths = [np.zeros(0, np.int64)]
    label_counts = np.zeros(len(manifest.labels), np.int64)
    for first in range(0, len(records), _CHUNK):
        chunk_lengths, labels = _check(path, first, records[first : first + _CHUNK], manifest)
        lengths.append(chunk_lengths)
        label_counts += np.bincount(labels, minlength=len(manifest.labels))
    return Records(records, np.concatenate(lengths), label_counts)


def _check(path: Path, first: int, records: list[bytes], manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and all labels of some examples. Parsed as ragged: one long example costs itself only."""
    names, tag = manifest.feature_names, manifest.task == "tag"
    scalar = tf.io.FixedLenFeature([], tf.int64)
    kind = tf.int64 if manifest.inputs == "ids" else tf.float32
    context = {names["length"]: scalar} if tag else {names["length"]: scalar, names["labels"]: scalar}
    sequence = {names["inputs"]: tf.io.RaggedFeature(kind)}
    if tag:
        sequence[names["labels"]] = tf.io.RaggedFeature(tf.int64)
    try:
        with tf.device("CPU:0"):
            singles, lists, _ = tf.io.parse_sequence_example(
                records, context_features=context, sequence_features=sequence
            )
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            path,
            f"examples {first} to {first + len(records) - 1}",
            _reason(error),
            "write them as the manifest says",
        ) from None
    lengths = singles[names["length"]].numpy()
    if not tag and not lengths.all():
        place = first + int(np.argmin(lengths != 0))
        raise DataError(
            f"{path}: example {place}",
            names["length"],
            0,
            "an empty sequence cannot be classified: leave it out",
        )
    for name, width in ((names["inputs"], manifest.feature_size or 1), (names["labels"], 1)):
        if name not in lists:
            continue
        steps, values = lists[name].row_lengths().numpy(), lists[name].values.row_lengths().numpy()
        if (wrong := steps != lengths).any():
            place = int(np.argmax(wrong))
            where = f"{path}: example {first + place}"
            raise DataError(
                where,
                name,
                int(steps[place]),
                f"{names['length']} says {lengths[place]}: write them equally long",
            )
        if (wrong := values != width).any():
            place = int(np.argmax(wrong))
            example = first + int(np.searchsorted(np.cumsum(steps), place, side="right"))
            raise DataError(
                f"{path}: example {example}", name, int(values[place]), f"must have {width} values a token"
            )
    labels = lists[names["labels"]].flat_values.numpy() if tag else singles[names["labels"]].numpy()
    ends = np.cumsum(lengths) if tag else np.arange(1, len(lengths) + 1)
    _in_range(
        path, first, labels, ends, len(manifest.labels), names["labels"], "the classes", manifest.first_class
    )
    if manifest.inputs == "ids":
        ids = lists[names["inputs"]].flat_values.numpy()
        _in_range(
            path,
            first,
            ids,
            np.cumsum(lengths),
            len(manifest.vocabulary),
            names["inputs"],
            "the vocabulary",
            0,
        )
    return lengths, labels


def _in_range(
    path: Path, first: int, values: np.ndarray, ends: np.ndarray, size: int, field: str, of: str, low: int
) -> None:
    """`check_range`, naming the example: `ends` is where each example's values end."""
    wrong = (values < low) | (values >= size)
    if wrong.any():
        example = int(np.searchsorted(ends, np.argmax(wrong), side="right"))
        start = ends[example - 1] if example else 0
        check_range(values[start : ends[example]], size, f"{path}: example {first + example}", field, of, low)


def _reason(error: tf.errors.OpError) -> str:
    """TensorFlow's message without the names of its nodes."""
    return re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:.*", "", error.message)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
