"""What a data set takes on disk, beside the same examples as plain text and as packed `tf.train.Example`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from workbench.data.manifest import PAD, UNKNOWN, Manifest, load_manifest
from workbench.data.next_token import END
from workbench.data.verify import Chunk, read_split


def storage(folder: str | Path) -> dict[str, float]:
    """Bytes of all shards for a token, and over those of the other two forms, by the names of METRICS.

    As text a symbol is written as the vocabulary spells it, with a byte between where one has more than a
    character, a label as its class number with a byte between, a float as 4 bytes, and a byte ends each list.
    A packed Example holds each list as one feature, and is written in the shards' own compression.
    """
    folder = Path(folder)
    manifest = load_manifest(folder)
    taken = sum(shard.bytes for shard in manifest.shards)
    text = packed = tokens = 0
    with tempfile.TemporaryDirectory() as scratch:
        for split in manifest.splits:
            path = Path(scratch) / split
            with tf.io.TFRecordWriter(str(path), manifest.compression or None) as writer:
                for chunk in read_split(folder, split, manifest):
                    text += _text_bytes(chunk, manifest)
                    tokens += int(chunk.lengths.sum())
                    for record in packed_examples(chunk, manifest):
                        writer.write(record)
            packed += path.stat().st_size
    return {
        "data/bytes_per_token": taken / tokens,
        "data/times_text": taken / text,
        "data/times_packed_example": taken / packed,
    }


def packed_examples(chunk: Chunk, manifest: Manifest) -> list[bytes]:
    """The chunk's examples as `tf.train.Example`, each list one feature; floats row after row."""
    ends = np.cumsum(chunk.lengths)
    labels_of = np.split(chunk.labels, ends[:-1]) if manifest.labels_steps else chunk.labels[:, np.newaxis]
    records: list[bytes] = []
    start = 0
    for inputs, labels in zip(np.split(chunk.inputs, ends[:-1]), labels_of, strict=True):
        if manifest.inputs == "ids":
            values = tf.train.Feature(int64_list=tf.train.Int64List(value=inputs))
        else:
            values = tf.train.Feature(float_list=tf.train.FloatList(value=inputs.ravel()))
        features = {
            "length": tf.train.Feature(int64_list=tf.train.Int64List(value=[len(inputs)])),
            "inputs": values,
            "labels": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
        }
        if chunk.weights is not None:
            own = (
                chunk.weights[start : start + len(inputs)]
                if manifest.weights == "step"
                else [chunk.weights[len(records)]]
            )
            features["weights"] = tf.train.Feature(float_list=tf.train.FloatList(value=own))
        start += len(inputs)
        records.append(
            tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
                deterministic=True
            )
        )
    return records


def _text_bytes(chunk: Chunk, manifest: Manifest) -> int:
    """Bytes of the chunk's examples as plain text."""
    if manifest.task == "next":  # the text itself says what follows
        total = len(chunk.lengths)
    else:
        lists = 2 if manifest.labels_steps else 1
        digits = np.array([len(str(label)) + 1 for label in range(len(manifest.labels))])
        total = int(digits[chunk.labels].sum()) + lists * len(chunk.lengths)
    if chunk.weights is not None:
        total += 4 * chunk.weights.size
    if manifest.inputs == "features":
        return total + 4 * chunk.inputs.size
    ends = [END] if manifest.task == "next" else []  # no part of the text: its line ends there
    written = [symbol for symbol in manifest.vocabulary if symbol not in (PAD, UNKNOWN, *ends)]
    between = int(any(len(symbol) > 1 for symbol in written))
    sizes = np.array(
        [0 if symbol in ends else len(symbol.encode()) + between for symbol in manifest.vocabulary]
    )
    return total + int(sizes[chunk.inputs].sum())
