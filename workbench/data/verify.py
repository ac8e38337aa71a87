"""Is a data set what its manifest says? `open_dataset` checks files, `read_split` and `chunks` what is in them.

Every fault is a DataError that names the file, the field, the value and the remedy.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from workbench.data.encode import check_range
from workbench.data.errors import DataError
from workbench.data.given import check_names, check_splits
from workbench.data.manifest import (
    MANIFEST,
    Manifest,
    Shard,
    SplitInfo,
    check_schema,
    from_json,
    load_manifest,
)

_AGAIN = "copy or prepare the data set again (remove the folder first)"
_CHUNK = 4096  # examples parsed at once


class Chunk(NamedTuple):
    """Some examples of a shard, in order: as they are stored, and parsed.

    `lengths` int64 [N]; `inputs` int64 [tokens] or float32 [tokens, D] and `labels` int64 [tokens] (or [N]),
    example after example.
    """

    serialized: list[bytes]
    lengths: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray


class Counts:
    """Lengths and labels of a split, added up as it is read."""

    def __init__(self, classes: int):
        self.lengths: Counter[int] = Counter()
        self.labels = np.zeros(classes, np.int64)

    def add(self, chunk: Chunk) -> None:
        """Count a chunk's examples."""
        self.lengths.update(chunk.lengths.tolist())
        self.labels += np.bincount(chunk.labels, minlength=len(self.labels))

    def split_info(self) -> SplitInfo:
        """The counts as a manifest has them."""
        return SplitInfo(
            examples=sum(self.lengths.values()),
            tokens=sum(length * count for length, count in self.lengths.items()),
            longest=max(self.lengths, default=0),
            histogram=dict(sorted(self.lengths.items())),
            label_counts=tuple(self.labels.tolist()),
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
        for _ in read_split(folder, split, manifest):
            pass
    return manifest


def read_split(folder: str | Path, split: str, manifest: Manifest, *, readers: int = 1) -> Iterator[Chunk]:
    """The split's examples, shard after shard, each checked: lengths, ids, labels, and the manifest's counts.

    `readers` shards are read at once, in threads; their examples come in the same order, and so many shards are in
    memory then. With one, some thousands of examples are.
    """
    folder = Path(folder)
    counts = Counts(len(manifest.labels))
    shards = [shard for shard in manifest.shards if shard.split == split]
    for shard, chunks in zip(
        shards, _shards_of([folder / s.file for s in shards], manifest, readers), strict=True
    ):
        read = 0
        for chunk in chunks:
            read += len(chunk.lengths)
            counts.add(chunk)
            yield chunk
        if read != shard.examples:
            raise DataError(
                folder / shard.file, "examples", read, f"the manifest says {shard.examples}: {_AGAIN}"
            )
    found, said = counts.split_info(), manifest.splits[split]
    for name in ("histogram", "label_counts"):
        if getattr(found, name) != getattr(said, name) and (name == "histogram" or said.label_counts):
            raise DataError(
                folder / MANIFEST,
                f"splits.{split}.{name}",
                getattr(said, name),
                f"the shards have {getattr(found, name)}: write the manifest again",
            )


def _shards_of(paths: Sequence[Path], manifest: Manifest, readers: int) -> Iterator[Iterable[Chunk]]:
    """The chunks of each shard, in order."""
    if readers == 1:
        yield from (read_shard(path, manifest) for path in paths)
        return
    with ThreadPoolExecutor(readers, thread_name_prefix="workbench-reader") as pool:
        waiting: deque[Future[list[Chunk]]] = deque()
        try:
            for path in paths:
                if len(waiting) == readers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(_whole_shard, path, manifest))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _whole_shard(path: Path, manifest: Manifest) -> list[Chunk]:
    return list(read_shard(path, manifest))


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
    check_splits(splits, name)
    if (folder / MANIFEST).exists():
        raise DataError(
            folder / MANIFEST, "file", "exists", "nothing is written over: remove it to index again"
        )
    for split, files in splits.items():
        if isinstance(files, str) or not files:
            raise DataError(name, f"splits.{split}", files, "must be a list of file names, at least one")
    described: dict[str, Any] = {
        "name": name,
        "task": task,
        "inputs": "ids" if feature_size is None else "features",
        "labels": check_names(labels, "labels", name),
        "vocabulary": check_names(vocabulary, "vocabulary", name),
        "feature_size": feature_size,
        "first_class": first_class,
        "compression": compression,
        "source": {"name": "index_shards"},
    }
    bare = Manifest(**described, splits={}, shards=[])
    bare.feature_names.update(feature_names or {})
    check_schema(bare, name)
    shards, infos = [], {}
    for split, files in splits.items():
        counts = Counts(len(described["labels"]))
        for file in files:
            path = folder / file
            read = 0
            for chunk in read_shard(path, bare):
                counts.add(chunk)
                read += len(chunk.lengths)
            shards.append(Shard(split, file, read, path.stat().st_size, sha256(path)))
        infos[split] = counts.split_info()
    manifest = Manifest(**described, splits=infos, shards=shards, feature_names=bare.feature_names)
    from_json(manifest.to_json(), folder / MANIFEST)
    manifest.write(folder)
    return manifest


def read_shard(path: Path, manifest: Manifest) -> Iterator[Chunk]:
    """The examples of one shard, in order, some thousands at a time, each parsed and checked."""
    blocks = iter(tf.data.TFRecordDataset(str(path), manifest.compression or None).batch(_CHUNK))
    first = 0
    while True:
        try:
            block = next(blocks, None)
        except tf.errors.OpError as error:
            raise DataError(
                path, f"record {first} or later", _reason(error), f"unreadable: {_AGAIN}"
            ) from None
        if block is None:
            return
        yield _checked(path, first, block.numpy().tolist(), manifest)
        first += len(block)


def _checked(path: Path, first: int, records: list[bytes], manifest: Manifest) -> Chunk:
    """Parse some examples and check them. As ragged: one long example costs itself only."""
    names, tag = manifest.feature_names, manifest.task == "tag"
    lengths, lists, labels = _parsed(path, first, records, manifest)
    if not tag and not lengths.all():
        raise DataError(
            f"{path}: example {first + int(np.argmin(lengths != 0))}",
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
            raise DataError(
                f"{path}: example {first + place}",
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
    ends = np.cumsum(lengths)
    if tag:
        labels = lists[names["labels"]].flat_values.numpy()
    label_ends = ends if tag else np.arange(1, len(lengths) + 1)
    classes, low = len(manifest.labels), manifest.first_class
    _in_range(path, first, labels, label_ends, classes, names["labels"], "the classes", low)
    inputs = lists[names["inputs"]].flat_values.numpy()
    if manifest.inputs == "ids":
        size = len(manifest.vocabulary)
        _in_range(path, first, inputs, ends, size, names["inputs"], "the vocabulary", 0)
    else:
        inputs = inputs.reshape(-1, manifest.feature_size)
        finite = np.isfinite(inputs).all(axis=1)
        if not finite.all():
            token = int(np.argmin(finite))
            example = int(np.searchsorted(ends, token, side="right"))
            place = token - int(ends[example - 1] if example else 0)
            raise DataError(
                f"{path}: example {first + example}",
                f"{names['inputs']}[{place}]",
                inputs[token].tolist(),
                "not finite, and would make the loss so: leave the example out, or give it a number",
            )
    return Chunk(records, lengths, inputs, labels)


def _parsed(
    path: Path, first: int, records: list[bytes], manifest: Manifest
) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Lengths; the feature lists, ragged; labels of the examples where they have one each."""
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
    labels = np.zeros(0, np.int64) if tag else singles[names["labels"]].numpy()
    return singles[names["length"]].numpy(), lists, labels


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
