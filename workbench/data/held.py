"""What of a split is held in memory, read and checked once a process: its parsed arrays, its records, or neither.

hold_parsed  -> Parsed: 4 bytes a token for ids, as many for labels; a batch is gathered from it
hold_records -> Records: the serialized examples, or where they are in the shards; a batch is parsed from them
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, Manifest, load_manifest
from workbench.data.verify import read_split

_FRAME = 12, 4  # bytes before and after a record in a TFRecord file: its length and two checksums


@dataclass(frozen=True)
class Parsed:
    """A split's examples end to end: `inputs` int32 [tokens + 1] or float32 [tokens + 1, D], the last all zeros;
    `labels` likewise, or [N] where an example has one; where each example starts, and how long it is; `weights`
    float32 as its `weighed` says, of steps or examples."""

    inputs: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    tag: bool
    weights: np.ndarray | None = None
    weighed: str = ""

    def batch(self, indices: np.ndarray, padded_length: int) -> dict[str, np.ndarray]:
        """The examples `indices`, padded with zeros to `padded_length`."""
        lengths = self.lengths[indices]
        steps = np.arange(padded_length)
        zero = len(self.inputs) - 1
        places = np.where(steps < lengths[:, np.newaxis], self.starts[indices][:, np.newaxis] + steps, zero)
        weights = {}
        if self.weights is not None:
            weights = {"weights": self.weights[places if self.weighed == "step" else indices]}
        return {
            "inputs": self.inputs[places],
            "labels": self.labels[places if self.tag else indices],
            "length": lengths.astype(np.int32),
            "index": indices.astype(np.int64),
            **weights,
        }


@dataclass(frozen=True)
class Records:
    """A split's serialized examples: `fetch(indices [n]) -> string [n]`, in TensorFlow."""

    lengths: np.ndarray
    held: Literal["records", "nothing"]
    fetch: Callable[[tf.Tensor], tf.Tensor]


@lru_cache(maxsize=4)
def hold_parsed(folder: str, split: str, fingerprint: str, memory_mb: int, readers: int = 1) -> Parsed:
    """A split parsed; DataError where that takes more than `memory_mb`."""
    manifest = _whole(folder, split)
    info, tag = manifest.splits[split], manifest.labels_steps
    width = manifest.feature_size if manifest.inputs == "features" else None
    weighed = manifest.weights
    needed = manifest.parsed_bytes(split)
    if needed > memory_mb * 1e6:
        raise DataError(
            Path(folder) / MANIFEST,
            f"splits.{split}.tokens",
            info.tokens,
            f"{needed / 1e6:.0f} MB parsed, more than data.memory_mb={memory_mb}: raise that, or take "
            "data.parse=vectorised, which reads the shards batch by batch then",
        )
    rows = info.tokens + 1
    inputs = np.zeros((rows, width) if width else rows, np.float32 if width else np.int32)
    labels = np.zeros(rows if tag else info.examples, np.int32)
    lengths = np.zeros(info.examples, np.int64)
    weights = np.zeros(rows if weighed == "step" else info.examples, np.float32) if weighed else None
    token = example = 0
    for chunk in read_split(folder, split, manifest, readers=readers):
        tokens, examples = token + len(chunk.inputs), example + len(chunk.lengths)
        if tokens >= rows or examples > info.examples:
            continue  # more than the manifest says: the reader says so at its end
        inputs[token:tokens], lengths[example:examples] = chunk.inputs, chunk.lengths
        labels[slice(token, tokens) if tag else slice(example, examples)] = chunk.labels
        if weights is not None:
            weights[slice(token, tokens) if weighed == "step" else slice(example, examples)] = chunk.weights
        token, example = tokens, examples
    return Parsed(inputs, labels, np.cumsum(lengths) - lengths, lengths, tag, weights, weighed)


@lru_cache(maxsize=4)
def hold_records(folder: str, split: str, fingerprint: str, memory_mb: int, readers: int = 1) -> Records:
    """A split's records in memory, or where they are more than `memory_mb`, left in their shards."""
    manifest = _whole(folder, split)
    shards = [shard for shard in manifest.shards if shard.split == split]
    most = memory_mb * 1e6
    keep = bool(manifest.compression) or sum(shard.bytes for shard in shards) <= most
    kept: list[bytes] = []
    sizes, lengths, taken = [], [], 0
    for chunk in read_split(folder, split, manifest, readers=readers):
        sizes += [len(record) for record in chunk.serialized]
        lengths.append(chunk.lengths)
        taken += sum(sizes[-len(chunk.serialized) :])
        if keep:
            kept += chunk.serialized
        if keep and taken > most:
            raise DataError(
                Path(folder) / MANIFEST,
                "compression",
                manifest.compression,
                f"the records of {split} are more than data.memory_mb={memory_mb}, and compressed shards cannot be "
                "read out of order: raise it, take data.parse=cached, or write the data set without compression",
            )
    all_lengths = np.concatenate(lengths)
    if keep:
        with tf.device("CPU:0"):
            serialized = tf.constant(kept, tf.string)
        return Records(all_lengths, "records", lambda indices: tf.gather(serialized, indices))
    files = [Path(folder) / shard.file for shard in shards]
    table = _places([shard.examples for shard in shards], np.array(sizes, np.int64))
    return Records(all_lengths, "nothing", _reader(files, table))


@lru_cache(maxsize=4)
def read_lengths(folder: str, split: str, fingerprint: str) -> np.ndarray:
    """The length of each of a split's examples."""
    return np.concatenate([chunk.lengths for chunk in read_split(folder, split, _whole(folder, split))])


def _whole(folder: str, split: str) -> Manifest:
    manifest = load_manifest(folder)
    if not manifest.splits[split].examples:
        raise DataError(
            Path(folder) / MANIFEST, f"splits.{split}.examples", 0, "an empty split: no batch to make"
        )
    return manifest


def _places(examples: list[int], sizes: np.ndarray) -> np.ndarray:
    """(shard, first byte, bytes) of each record, where shards have so many `examples`."""
    before, after = _FRAME
    parts, done = [], 0
    for shard, count in enumerate(examples):
        own = sizes[done : done + count]
        ends = np.cumsum(own + before + after)
        parts.append(np.stack([np.full(count, shard), ends - own - after, own], axis=1))
        done += count
    return np.concatenate(parts)


def _reader(files: list[Path], places: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """`fetch` from uncompressed shards; each of a batch's shards is opened once."""

    def read(indices: np.ndarray) -> np.ndarray:
        found = np.empty(len(indices), object)
        for shard in np.unique(places[indices, 0]).tolist():
            descriptor = os.open(files[shard], os.O_RDONLY)
            try:
                for i in np.flatnonzero(places[indices, 0] == shard).tolist():
                    _, start, size = places[indices[i]].tolist()
                    found[i] = os.pread(descriptor, size, start)
                    if len(found[i]) < size:
                        raise OSError(
                            f"{files[shard]}: was cut since it was opened: its record at {start} is not there"
                        )
            finally:
                os.close(descriptor)
        return found

    def fetch(indices: tf.Tensor) -> Any:
        found = tf.numpy_function(read, [indices], tf.string)
        found.set_shape([None])
        return found

    return fetch
