"""The examples of one shard, in order, parsed and checked: `read_shard`.

Some thousands are parsed and checked at once; where anything is wrong among them, `record_faults.check_record`
finds the first that is, and says so in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.file_kind import check_tfrecord
from workbench.data.given import are_weights
from workbench.data.manifest import Manifest
from workbench.data.record_faults import check_record, decoded
from workbench.data.sequence_example import declared_features
from workbench.data.whose import restore

FRAME = 16  # bytes around a record in a TFRecord file: its length and two checksums
_CHUNK, _AT_MOST = 4096, 1 << 24  # examples, and bytes of them, parsed at once


class Chunk(NamedTuple):
    """Some examples of a shard, in order: as they are stored, and parsed.

    `lengths` int64 [N]; `inputs` int64 [tokens] or float32 [tokens, D] and `labels` int64 [tokens] (or [N]),
    example after example; `weights` float32, of the tokens or [N], where the manifest says that there are.
    """

    serialized: list[bytes]
    lengths: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None


def read_shard(path: Path, manifest: Manifest, whole: bool = False) -> Iterator[Chunk]:
    """The examples of one shard, in order, some thousands at a time, each parsed and checked.

    `whole`: look at every byte, as for files that nobody has indexed before. TensorFlow's parser takes what it
    looks for, and passes over bytes that are no message.
    """
    check_tfrecord(path, manifest.compression)
    records = tf.data.TFRecordDataset(str(path), manifest.compression or None)
    at_once = _at_once(path, manifest)
    blocks = iter(records.batch(at_once))
    first = held = 0
    while True:
        serialized: list[bytes] = []
        taken = 0
        try:
            while len(serialized) < _CHUNK and taken < _AT_MOST:
                block = next(blocks, None)
                if block is None:
                    break
                more = block.numpy().tolist()
                serialized += more
                taken += sum(map(len, more))
        except tf.errors.OpError as error:
            raise _unreadable(path, records, error) from None
        if not serialized:
            break
        yield checked(path, first, serialized, manifest, whole)
        first += len(serialized)
        held += sum(map(len, serialized)) + FRAME * len(serialized)
    if not manifest.compression and held != (size := path.stat().st_size):
        raise _cut(
            path, first, f"{size - held} bytes"
        )  # too few for a record to begin: TensorFlow leaves them out


def _at_once(path: Path, manifest: Manifest) -> int:
    """How many records are read at a time: some MB of them, as far as the manifest knows."""
    known = next((one.examples for one in manifest.shards if Path(one.file).name == path.name), 0)
    if known < 2:
        return 16
    each = max(1.0, path.stat().st_size / known * (8 if manifest.compression else 1))
    return max(1, min(512, int(_AT_MOST / 4 / each)))


def _unreadable(path: Path, records: tf.data.Dataset, error: tf.errors.OpError) -> DataError:
    """Which record cannot be read, and what that means."""
    number = 0
    try:
        for _ in records:
            number += 1
    except tf.errors.OpError as again:
        error = again
    reason = reason_of(error)
    if "truncated" in reason:
        return _cut(path, number, reason)
    return DataError(path, f"record {number}", reason, f"unreadable: {restore(path)}")


def _cut(path: Path, number: int, what: str) -> DataError:
    return DataError(path, f"record {number}", what, f"unreadable, the file ends inside it: {restore(path)}")


def checked(path: Path, first: int, records: list[bytes], manifest: Manifest, whole: bool = False) -> Chunk:
    """Parse some examples and check them. As ragged: one long example costs itself only."""
    if whole:
        for number, record in enumerate(records, first):
            decoded(record, f"{path}: example {number}")
    reason = ""
    try:
        chunk, suspicious = _parsed(records, manifest)
    except tf.errors.InvalidArgumentError as error:
        reason, suspicious = reason_of(error), np.arange(len(records))
    for i in suspicious.tolist():
        where = f"{path}: example {first + i}"
        check_record(records[i], manifest, where)
        if reason:
            _check_alone(records[i], manifest, where)
    if reason:
        raise DataError(
            path, f"examples {first} to {first + len(records) - 1}", reason, "write them as declared"
        )
    return chunk


def _check_alone(record: bytes, manifest: Manifest, where: str) -> None:
    """Refuses what TensorFlow's parser does not read, though protocol buffers do."""
    try:
        _parsed([record], manifest)
    except tf.errors.InvalidArgumentError as error:
        raise DataError(where, "record", reason_of(error), "write it as declared") from error


def _parsed(records: list[bytes], manifest: Manifest) -> tuple[Chunk, np.ndarray]:
    """The examples, and the numbers of those to be looked at one by one: something is wrong among them."""
    names, tag = manifest.feature_names, manifest.labels_steps
    context, sequence = declared_features(manifest, lambda shape, dtype: tf.io.RaggedFeature(dtype))
    if names["length"]:
        context[names["length"]] = tf.io.FixedLenFeature([], tf.int64)
    with tf.device("CPU:0"):
        singles, lists, _ = tf.io.parse_sequence_example(
            records, context_features=context, sequence_features=sequence
        )
        steps = {name: values.row_lengths().numpy() for name, values in lists.items()}
    lengths = steps[names["inputs"]]
    inputs = lists[names["inputs"]].flat_values.numpy()
    labels = (lists[names["labels"]].flat_values if tag else singles[names["labels"]]).numpy()
    if names["length"]:
        well = all(np.array_equal(found, singles[names["length"]]) for found in steps.values())
    else:
        well = all(np.array_equal(found, lengths) for found in steps.values())
    for name, values in lists.items():
        width = manifest.feature_size or 1 if name == names["inputs"] else 1
        well = well and bool((values.values.row_lengths().numpy() == width).all())
    well = well and _within(labels, manifest.first_class, len(manifest.labels))
    weights = None
    if manifest.weights:
        of_steps = lists.get(names["weights"])
        weights = (singles[names["weights"]] if of_steps is None else of_steps.flat_values).numpy()
        well = well and bool(are_weights(weights).all())
    if manifest.inputs == "ids":
        well = well and _within(inputs, 0, len(manifest.vocabulary))
    elif well:
        inputs = inputs.reshape(-1, manifest.feature_size)
        well = bool(np.isfinite(inputs).all())
    empty = lengths == 0  # an absent list reads as one of no steps
    if well and tag:
        empty &= not names["length"]
    return Chunk(records, lengths, inputs, labels, weights), np.flatnonzero(
        empty if well else np.ones_like(empty)
    )


def _within(values: np.ndarray, low: int, end: int) -> bool:
    return not values.size or bool(values.min() >= low and values.max() < end)


_ABOUT_NODES = re.compile(
    r"\{\{.*?\}\}\s*|\s*\[Op:.*|' failed with .*|Error in user-defined function .* with iterator: \S+ "
)


def reason_of(error: tf.errors.OpError) -> str:
    """TensorFlow's message without the names of its nodes."""
    return _ABOUT_NODES.sub("", error.message)
