"""Data sets on disk: `prepare` builds one from a source, `open_dataset` verifies, `write_dataset` is for anyone.

    sources -> encode -> SequenceExamples -> shards in a temporary folder -> manifest -> fsync -> rename

The manifest is written last and the folder renamed into place as a whole, so a folder at its final name is
complete. Two processes that prepare the same data set at once build it once, under a file lock.
Within each split `prepare` stores the examples in an order drawn by the seed, so that any first N are a random
sample; `write_dataset` keeps the order that it is given.
`prepare` holds a data set in memory while it writes it (ten bytes a token or so, several times over): it is meant
for data sets up to a few tens of millions of tokens. `write_dataset` and `workbench.convert` hold a part at a time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from workbench import file_lock
from workbench.data.convert.from_python import write_dataset
from workbench.data.convert.workplace import sync
from workbench.data.encode import Encoded, EncodedSet, encode, split_info
from workbench.data.errors import DataError
from workbench.data.manifest import (
    MANIFEST,
    VERSION,
    Manifest,
    Shard,
    check_apart,
    load_manifest,
)
from workbench.data.sequence_example import to_sequence_example
from workbench.data.sources import SOURCES, digest
from workbench.data.verify import index_shards, open_dataset, sha256, verify_examples
from workbench.data.whose import LOCKS
from workbench.options.data import Built, Data

__all__ = ["default_cache_dir", "index_shards", "open_dataset", "prepare", "verify_examples", "write_dataset"]

_UNFINISHED = ".building-"
_OF_CONTENT = {field.name for field in fields(Built)} - {field.name for field in fields(Data)}
_RECIPE = 4  # raised when the same arguments give other bytes: no older data set in the cache is then taken
_STORED = 0x73746F726564  # "stored": the purpose for which the seed is used here
_MESSAGE_NO_SPACE = (
    "the disk is full: free that much, or give another folder (data.cache_dir, for what the workbench keeps); "
    "nothing is left behind"
)


def default_cache_dir() -> Path:
    """The user's cache folder for prepared data sets."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rnn-workbench" / "data"


def prepare(data: Data, task: str | None = None) -> Path:
    """The folder of the data set that these options give, built if it is not in `data.cache_dir` yet.

    `TFRecord` is used in place and as it is. `task`: None for that of the options, of the manifest, or the first of
    those that the source can give. `max_examples` are of train and validation together, sampled by `split_seed`;
    where the source has a validation split of its own, it is cut to `validation_share` of that too.

    The folder's name is the source and a hash of all that bears on its content, the source's files included.
    Raises DataError. Of a data set that is there already only the manifest is read: `open_dataset` tells
    whether its shards are whole. A damaged one is never built over.
    """
    where = f"data={data.name}"
    task = task or getattr(data, "task", None)
    if not isinstance(data, Built):
        return _in_place(data, task)
    its = SOURCES[data.name]
    task = task or its.tasks[0]
    if task not in its.tasks:
        raise DataError(where, "task", task, f"it has {', '.join(its.tasks)} only")
    source_fingerprint = its.fingerprint(data)
    building = {name: getattr(data, name) for name in _OF_CONTENT}
    key = digest(VERSION, _RECIPE, data.name, source_fingerprint, task, building)
    cache = Path(data.cache_dir).expanduser() if data.cache_dir is not None else default_cache_dir()
    target = cache / f"{data.name}-{key[:16]}"
    if target.exists():
        load_manifest(target)
        return target
    with _lock(cache, target.name):
        if target.exists():  # the process that held the lock has built it
            load_manifest(target)
            return target
        _remove_leftovers(cache, target.name)
        limits: dict[str, int | None] = {"train": None, "validation": None}
        if data.max_examples is not None:
            held_out = max(1, round(data.max_examples * data.validation_share))
            limits = {"train": data.max_examples - held_out, "validation": held_out}
        corpus = its.read(data, task, limits)
        encoded = encode(
            corpus, name=where, task=task, max_length=data.max_length, over_length=data.over_length,
            limits=limits, first_class=data.first_class,
        )  # fmt: skip
        if its.fingerprint(data) != source_fingerprint:
            raise DataError(where, "source", "changed while it was read", "type the same again")
        encoded.splits = {
            split: _shuffled(of, [_STORED, data.split_seed, i])
            for i, (split, of) in enumerate(encoded.splits.items())
        }
        described = {
            "name": data.name,
            "options": its.recorded(data),
            "fingerprint": source_fingerprint,
            "seed": data.split_seed,
            "info": dict(corpus.info),
        }
        _write(
            encoded, target, name=data.name, task=task, shards=data.shards, compression=data.compression,
            source=described,
        )  # fmt: skip
    return target


def _in_place(data: Any, task: str | None) -> Path:
    if not data.path:
        raise DataError("data=tfrecord", "path", data.path, "give path: the folder of the manifest")
    folder = Path(data.path).expanduser()
    manifest = load_manifest(folder)
    if task not in (None, manifest.task):
        raise DataError(
            folder / MANIFEST, "task", manifest.task, f"{task} is asked for: leave task out to take the data set's"
        )  # fmt: skip
    if data.test and "test" not in manifest.splits:
        raise DataError(
            folder / MANIFEST, "splits", ", ".join(manifest.splits), "no test split: leave test out, or write one"
        )  # fmt: skip
    return folder


def _shuffled(examples: Sequence[Encoded], seed: Sequence[int]) -> list[Encoded]:
    return [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))]


def _write(
    encoded: EncodedSet,
    target: Path,
    *,
    name: str,
    task: str,
    shards: int,
    compression: str,
    source: dict[str, Any],
) -> Manifest:
    """Shards, then manifest, into a temporary folder beside `target`, renamed to it when all is on disk."""
    records = {
        split: [to_sequence_example(example).SerializeToString(deterministic=True) for example in examples]
        for split, examples in encoded.splits.items()
    }
    needed = sum(len(record) + 16 for of in records.values() for record in of)
    _check_apart(records, name)
    free = shutil.disk_usage(target.parent).free
    if not compression and free < needed:
        raise DataError(target.parent, "free space", f"{free} bytes, {needed} needed", _MESSAGE_NO_SPACE)
    with _folder_errors(target.parent):
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}{_UNFINISHED}", dir=target.parent))
    try:
        written = []
        for split, of in records.items():
            count = min(shards, len(of))
            for k in range(count):
                part = of[k * len(of) // count : (k + 1) * len(of) // count]
                file = f"{split}-{k:05d}-of-{count:05d}.tfrecord" + {"GZIP": ".gz", "ZLIB": ".zlib"}.get(
                    compression, ""
                )
                written.append(_write_shard(temporary, split, file, part, compression))
        check_apart(written, name)
        manifest = Manifest(
            name=name,
            task=task,
            inputs="features" if encoded.feature_size else "ids",
            labels=encoded.labels,
            splits={split: split_info(of, len(encoded.labels)) for split, of in encoded.splits.items()},
            shards=written,
            vocabulary=encoded.vocabulary,
            feature_size=encoded.feature_size,
            first_class=encoded.first_class,
            dropped=encoded.dropped,
            cut=encoded.cut,
            source=source,
            compression=compression,
        )
        sync(manifest.write(temporary))
        sync(temporary)
        os.chmod(temporary, 0o755)
        os.rename(temporary, target)
        sync(target.parent)
        return manifest
    except (OSError, tf.errors.OpError) as error:
        full = isinstance(error, tf.errors.ResourceExhaustedError) or getattr(error, "errno", 0) in (
            errno.ENOSPC,
            errno.EDQUOT,
        )
        if full:
            free = shutil.disk_usage(target.parent).free
            raise DataError(
                target.parent, "free space", f"{free} bytes, {needed} needed", _MESSAGE_NO_SPACE
            ) from None
        raise DataError(
            target, "folder", str(error), "cannot be written: check it, or give another"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_apart(records: Mapping[str, Sequence[bytes]], name: str) -> None:
    """Raise DataError where two splits have the same examples, in whatever order."""
    found: dict[bytes, str] = {}
    for split, of in records.items():
        content = hashlib.sha256(b"".join(sorted(hashlib.sha256(record).digest() for record in of))).digest()
        if content in found:
            raise DataError(
                name, f"splits.{split}", f"{len(of)} examples", f"are those of {found[content]}: what is learned "
                "on one would be measured on the same; give each split its own, or leave one out"
            )  # fmt: skip
        found[content] = split


def _write_shard(folder: Path, split: str, file: str, records: Sequence[bytes], compression: str) -> Shard:
    path = folder / file
    with tf.io.TFRecordWriter(str(path), compression or None) as writer:
        for record in records:
            writer.write(record)
    sync(path)
    return Shard(split, file, len(records), path.stat().st_size, sha256(path))


@contextmanager
def _lock(cache: Path, name: str) -> Iterator[None]:
    """One process at a time for each data set; the kernel releases the lock of one that died."""
    with _folder_errors(cache):
        (cache / LOCKS).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _folder_errors(cache):
            stack.enter_context(file_lock.held(cache / LOCKS / name))
        yield


def _remove_leftovers(cache: Path, mine: str) -> None:
    """What builds that never ended left behind: of this data set, whose lock we hold, or one that none holds."""
    for leftover in cache.glob(f".*{_UNFINISHED}*"):
        name = leftover.name[1 : leftover.name.rindex(_UNFINISHED)]
        if name == mine:
            shutil.rmtree(leftover, ignore_errors=True)
            continue
        with suppress(OSError), file_lock.held(cache / LOCKS / name, wait=False):  # else it is being built
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    """A folder that cannot be made or written is a DataError."""
    try:
        yield
    except OSError as error:
        if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(folder, "free space", "none", _MESSAGE_NO_SPACE) from None
        if isinstance(error, file_lock.NoLocksError):
            raise DataError(folder, "lock", "none", f"{error} (data.cache_dir)") from error
        raise DataError(
            folder,
            "folder",
            str(error),
            "cannot be written: name another; data.cache_dir sets where the workbench keeps its own",
        ) from error
