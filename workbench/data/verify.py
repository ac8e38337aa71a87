"""Is a data set what its manifest says? `open_dataset` checks files, `read_split` what is in them.

Every fault is a DataError that names the file, the field, the value and the remedy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.file_kind import EMPTY, check_complete, check_tfrecord, compression_of
from workbench.data.given import check_names, check_some_weigh, check_splits, some_weigh
from workbench.data.manifest import (
    MANIFEST,
    Manifest,
    Shard,
    SplitInfo,
    check_apart,
    check_schema,
    from_json,
    load_manifest,
)
from workbench.data.read_shard import Chunk, read_shard
from workbench.data.record_faults import decoded
from workbench.data.whose import restore, unopened
from workbench.wording import did_you_mean

_LENGTH = re.compile(r"(?<![a-z])(seq|sequence)?len(gth)?s?(?![a-z])")  # what looks like the name of a length


class Counts:
    """Lengths and labels of a split, added up as it is read."""

    def __init__(self, classes: int):
        self.lengths: Counter[int] = Counter()
        self.labels = np.zeros(classes, np.int64)
        self.weigh = False
        """Whether a weight is above 0, or there are none."""

    def add(self, chunk: Chunk) -> None:
        """Count a chunk's examples."""
        self.lengths.update(chunk.lengths.tolist())
        self.labels += np.bincount(chunk.labels, minlength=len(self.labels))
        self.weigh |= some_weigh(chunk.weights)

    def split_info(self) -> SplitInfo:
        """The counts as a manifest has them."""
        return SplitInfo.of(self.lengths, self.labels.tolist())


def open_dataset(folder: str | Path, verify: bool = True) -> Manifest:
    """The manifest at `folder`, after `verify`: every shard is there, of its size and its SHA-256.

    The examples themselves are checked when they are read, or by `verify_examples`.
    """
    folder = Path(folder)
    manifest = load_manifest(folder)
    for i, shard in enumerate(manifest.shards if verify else []):
        _check_whole(folder / shard.file, f"shards[{i}]", shard, manifest.compression)
    return manifest


def _check_whole(path: Path, field: str, shard: Shard, compression: str) -> None:
    """Raise DataError unless the file is there, of the size and with the SHA-256 that the manifest says."""
    try:
        size = path.stat().st_size
        found = sha256(path) if size == shard.bytes else ""
    except FileNotFoundError:
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        remedy = f"{restore(path)}{did_you_mean(path.name, beside)}"
        raise DataError(path, f"{field}.file", "missing", remedy) from None
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        raise DataError(path, f"{field}.file", str(error), unopened(path, error)) from None
    if found == shard.sha256:
        return
    check_tfrecord(path, compression)  # a file in its place says most by what it is
    if size != shard.bytes:
        what = f"truncated or changed, the manifest says {shard.bytes}: {restore(path, changed=True)}"
        raise DataError(path, f"{field}.bytes", size, what)
    what = f"damaged, the manifest says {shard.sha256}: {restore(path, changed=True)}"
    raise DataError(path, f"{field}.sha256", found, what)


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
            path = folder / shard.file
            raise DataError(
                path, "examples", read, f"the manifest says {shard.examples}: {restore(path, changed=True)}"
            )
    found, said = counts.split_info(), manifest.splits[split]
    check_some_weigh(counts.weigh or not found.examples, str(folder), split)
    for name in ("histogram", "label_counts"):
        if getattr(found, name) != getattr(said, name) and (name == "histogram" or said.label_counts):
            raise DataError(
                folder / MANIFEST,
                f"splits.{split}.{name}",
                getattr(said, name),
                f"the shards have {getattr(found, name)}: {restore(folder / MANIFEST, changed=True)}",
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
                waiting.append(pool.submit(list, read_shard(path, manifest)))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def index_shards(
    folder: str | Path,
    splits: Mapping[str, Sequence[str]],
    *,
    name: str,
    labels: Sequence[str],
    task: str = "tag",
    vocabulary: Sequence[str] = (),
    feature_size: int | None = None,
    feature_names: Mapping[str, str | None] | None = None,
    first_class: int = 0,
    compression: str | None = None,
    weights: str = "",
) -> Manifest:
    """Write a manifest for shards that another program wrote, which makes them a data set.

        index_shards("treebank", {"train": ["a.tfrecord", "b.tfrecord"], "validation": ["c.tfrecord"]},
                     name="treebank", labels=["NOUN", "VERB"], vocabulary=words,
                     feature_names={"inputs": "tokens"})

    `splits`: split -> files in `folder`, each listed once, and no two in different splits of the same bytes.
    `weights`: "step" or "example" where each has a weight in the loss, a float.
    `feature_names`: what the SequenceExamples call `length`, `inputs`, `labels` and `weights`, where it is other.
    Where the first one's context has no `length`, or `length` is named "", the steps of `inputs` are counted, and
    the manifest says so. `compression`: "", "GZIP" or "ZLIB", one for all; None: that of the first, by its bytes.
    Every example is read and checked.
    """
    folder = Path(folder)
    if not isinstance(splits, Mapping):
        raise DataError(name, "splits", splits, 'must be {"train": [files], "validation": [files]}')
    check_splits(splits, name)
    if (folder / MANIFEST).exists():
        raise DataError(
            folder / MANIFEST, "file", "exists", "nothing is written over: rename it to index again"
        )
    described: dict[str, Any] = {
        "name": name,
        "task": task,
        "inputs": "ids" if feature_size is None else "features",
        "labels": check_names(labels, "labels", name),
        "vocabulary": check_names(vocabulary, "vocabulary", name),
        "feature_size": feature_size,
        "first_class": first_class,
        "compression": compression or "",
        "weights": weights,
        "source": {"name": "index_shards"},
    }
    bare = Manifest(**described, splits={}, shards=[])
    bare.feature_names.update({role: called or "" for role, called in (feature_names or {}).items()})
    check_schema(bare, name)
    shards = _listed(folder, splits, name)
    check_apart(shards, name, within=True)
    if compression is None:
        described["compression"] = compression_of(folder / shards[0].file)
        bare = dataclasses.replace(bare, compression=described["compression"])
    if "length" not in (feature_names or {}):
        bare.feature_names["length"] = _length_of(folder / shards[0].file, bare)
    counts = {split: Counts(len(described["labels"])) for split in splits}
    shards = [_counted(folder / shard.file, shard, bare, counts[shard.split]) for shard in shards]
    infos = {split: of.split_info() for split, of in counts.items()}
    for split, of in counts.items():
        check_some_weigh(of.weigh or not infos[split].examples, str(folder), split)
    manifest = Manifest(**described, splits=infos, shards=shards, feature_names=bare.feature_names)
    from_json(manifest.to_json(), folder / MANIFEST)
    try:
        manifest.write(folder)
    except OSError as error:
        raise DataError(folder / MANIFEST, "file", str(error), "must be written beside the shards") from None
    return manifest


def _listed(folder: Path, splits: Mapping[str, Sequence[str]], name: str) -> list[Shard]:
    """The files of all splits with size and SHA-256, their examples uncounted; DataError for one that is none."""
    shards: list[Shard] = []
    if not splits:
        raise DataError(name, "splits", "none", 'must name files, as {"train": ["train.tfrecord"]}')
    for split, files in splits.items():
        if isinstance(files, (str, bytes)) or not isinstance(files, Sequence) or not files:
            raise DataError(name, f"splits.{split}", files, "must be a list of file names, at least one")
        for i, file in enumerate(map(str, files)):
            path, field = folder / file, f"splits.{split}[{i}]"
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise DataError(name, field, file, f"must lie in {folder}, named by its place there")
            try:
                shards.append(
                    Shard(split, file, int(path.stat().st_size > 0), path.stat().st_size, sha256(path))
                )
            except (OSError, ValueError) as error:
                remedy = "name a file of the folder"
                if isinstance(error, IsADirectoryError):
                    remedy = "name the files in it"
                elif not folder.is_dir():
                    remedy = f"{folder} is no folder: give the one that holds the shards"
                elif any(letter in file for letter in "*?["):
                    remedy = "patterns are not expanded: list the names"
                else:
                    remedy += did_you_mean(file, (one.name for one in folder.iterdir()))
                raise DataError(path, field, getattr(error, "strerror", None) or str(error), remedy) from None
    return shards


def _counted(path: Path, shard: Shard, manifest: Manifest, counts: Counts) -> Shard:
    """The shard with the number of its examples, each read, checked and counted."""
    if manifest.compression:
        check_tfrecord(path, manifest.compression)
        check_complete(path)
    read = 0
    for chunk in read_shard(path, manifest, whole=True):
        counts.add(chunk)
        read += len(chunk.lengths)
    if not read:
        raise DataError(path, "file", EMPTY, "it has no record: copy it again, or leave it out")
    return dataclasses.replace(shard, examples=read)


def _length_of(path: Path, manifest: Manifest) -> str:
    """What the context of the first example calls its length: the usual name, or "" where it has none."""
    usual = manifest.feature_names["length"]
    try:
        check_tfrecord(path, manifest.compression)
        [record] = tf.data.TFRecordDataset(str(path), manifest.compression or None).take(1)
    except (tf.errors.OpError, ValueError):
        return usual  # `read_shard` says what is wrong
    context = decoded(record.numpy(), f"{path}: example 0").context.feature
    if usual in context:
        return usual
    perhaps = [
        key for key in sorted(context) if _LENGTH.search(key.lower()) and context[key].int64_list.value
    ]
    if perhaps:
        raise DataError(
            f"{path}: example 0", "feature_names['length']", "not given", f"is the length {' or '.join(perhaps)}, "
            'which the context has? Name it, or give "" to have the steps counted, padding with them'
        )  # fmt: skip
    return ""


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
