"""Shards -> padded batches: `batches(folder, split, padding=...)`.

    read the serialized examples and their lengths (once a process) -> order drawn from (seed, epoch)
    -> plan: PADDINGS[padding](lengths, order) -> tf.data: gather, parse, pad, prefetch

The plan is made before an epoch, so batches depend on the arguments alone, however many threads parse. The
serialized examples of a split are held in memory (some ten bytes a token): meant for data sets up to a
few gigabytes; beyond that this would have to stream, with a shuffle buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, Manifest, load_manifest
from workbench.data.padding import PADDINGS, Plan
from workbench.data.sequence_example import parse_batch, parse_one
from workbench.data.verify import read_split
from workbench.lengths import quantile_boundaries

# the purposes for which the seed is used
_ORDER = 0x6F72646572  # "order"
_PART = 0x70617274  # "part"


@dataclass(frozen=True)
class _Split:
    serialized: tf.Tensor  # string [N]
    lengths: np.ndarray  # int64 [N]


def batches(
    folder: str | Path, split: str, *, parse: Literal["vectorised", "one"] = "vectorised", **planned: Any
) -> tf.data.Dataset:
    """One epoch of `split` as batches: each example once, none dropped, the last batches as small as they come.

    A batch is a dict: `inputs` int32 [B, T] or float32 [B, T, D], `labels` int32 [B, T] or [B], `length` int32
    [B], `index` int64 [B] (the example's number in its split). Padding is 0. T is static with `padding="global"`.

    `planned`: `plan_batches`' options, which say what is in a batch: padding, batch_size, seed, epoch and others.
    `parse`: "vectorised" parses a batch at once, "one" example by example and pads then, as the guide does;
    the batches are equal.
    """
    folder = Path(folder)
    manifest = load_manifest(folder)
    plan = plan_batches(folder, split, **planned)
    loaded = _load(str(folder.resolve()), split, manifest.fingerprint)
    if parse == "vectorised":
        dataset = _vectorised(loaded, plan, manifest)
    elif parse == "one":
        dataset = _one_by_one(loaded, plan, manifest)
    else:
        raise ValueError(f'parse = {parse!r}: must be "vectorised" or "one"')
    width = plan[0].padded_length if planned.get("padding") == "global" else None
    dataset = dataset.map(lambda batch: _with_shapes(batch, manifest, width))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(plan)))
    return dataset.prefetch(tf.data.AUTOTUNE)


def plan_batches(
    folder: str | Path,
    split: str,
    *,
    padding: str = "batch",
    batch_size: int | None = 32,
    token_budget: int | None = None,
    boundaries: Sequence[int] | None = None,
    buckets: int = 8,
    pad_to_boundary: bool = False,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    max_examples: int | None = None,
    longest: int | None = None,
) -> Plan:
    """The batches that `batches` with the same options gives: their indices and padded lengths.

    `padding`, `batch_size`, `token_budget`, `boundaries`, `pad_to_boundary`: see `padding`. A `token_budget` given
    takes the place of `batch_size`. `boundaries` default to `buckets` quantiles of the training split's lengths.
    `seed` and `epoch` determine the order, and nothing else does; `shuffle=False` keeps the stored one.
    `max_examples`: only so many of the split, drawn by `seed`: the same ones for every padding and every epoch,
    shuffled or not, and among those that a greater `max_examples` draws. None: all.
    `longest`: T of `padding="global"`; default the longest example of the data set, all splits.
    """
    folder = Path(folder)
    manifest = load_manifest(folder)
    if padding not in PADDINGS:
        raise ValueError(f"padding = {padding!r}: must be one of {', '.join(PADDINGS)}")
    if split not in manifest.splits:
        raise DataError(folder / MANIFEST, "splits", ", ".join(manifest.splits), f"has no split {split!r}")
    lengths = _load(str(folder.resolve()), split, manifest.fingerprint).lengths
    part = drawn_part(len(lengths), max_examples, seed)
    if padding == "bucket" and boundaries is None:
        boundaries = quantile_boundaries(manifest.splits["train"].histogram, buckets)
    return PADDINGS[padding](
        lengths,
        part[example_order(len(part), seed, epoch)] if shuffle else part,
        batch_size=None if token_budget else batch_size,
        token_budget=token_budget,
        longest=manifest.longest if longest is None else longest,
        boundaries=boundaries,
        pad_to_boundary=pad_to_boundary,
    )


def drawn_part(count: int, max_examples: int | None, seed: int) -> np.ndarray:
    """The numbers of `max_examples` of `count` examples, drawn by the seed, rising; of all where it is None."""
    if max_examples is None:
        return np.arange(count)
    if max_examples < 1:
        raise ValueError(f"max_examples = {max_examples}: must be 1 or more, or None")
    return np.sort(np.random.default_rng([_PART, seed]).permutation(count)[:max_examples])


def example_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch's examples: a permutation drawn from seed and epoch."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


def check_batch(batch: dict[str, Any], manifest: Manifest) -> None:
    """Raise DataError where a batch (or a data set's element_spec) is not what `manifest` promises.

    Names, dtypes and ranks; where there are values, that lengths fit and that ids and labels are in range.
    """
    rank = {
        "inputs": 2 if manifest.inputs == "ids" else 3,
        "labels": 2 if manifest.task == "tag" else 1,
        "length": 1,
    }
    dtype = {
        "inputs": tf.int32 if manifest.inputs == "ids" else tf.float32,
        "labels": tf.int32,
        "length": tf.int32,
    }
    for name in rank:
        if name not in batch:
            raise DataError("batch", name, "missing", f"a batch has {', '.join(rank)}")
        if batch[name].dtype != dtype[name]:
            raise DataError("batch", f"{name}.dtype", str(batch[name].dtype), f"must be {dtype[name].name}")
        if len(batch[name].shape) != rank[name]:
            raise DataError("batch", f"{name}.shape", str(batch[name].shape), f"must have {rank[name]} axes")
    if manifest.inputs == "features" and batch["inputs"].shape[2] != manifest.feature_size:
        raise DataError(
            "batch", "inputs.shape", str(batch["inputs"].shape), f"must end in {manifest.feature_size}"
        )
    if isinstance(batch["length"], tf.TensorSpec):
        return
    length, labels, inputs = (np.asarray(batch[name]) for name in ("length", "labels", "inputs"))
    if length.size and (length.min() < 0 or length.max() > inputs.shape[1]):
        raise DataError(
            "batch", "length", length.tolist(), f"must be 0 to {inputs.shape[1]}, the padded length"
        )
    valid = np.arange(inputs.shape[1]) < length[:, None]
    for name, values, size, first in (
        ("labels", labels[valid] if labels.ndim == 2 else labels, len(manifest.labels), manifest.first_class),
        ("inputs", inputs[valid] if manifest.inputs == "ids" else np.zeros(0), len(manifest.vocabulary), 0),
    ):
        if values.size and (values.min() < first or values.max() >= size):
            raise DataError(
                "batch", name, f"{values.min()} to {values.max()}", f"must be {first} to {size - 1}"
            )
    for name, values in (("inputs", inputs), ("labels", labels)):
        if values.ndim > 1 and np.any(values[~valid]):
            raise DataError("batch", name, "not 0 past an example's end", "padding must be 0")


@lru_cache(maxsize=4)
def _load(folder: str, split: str, fingerprint: str) -> _Split:
    """A split in memory, read and checked once a process."""
    manifest = load_manifest(folder)
    records = read_split(folder, split, manifest)
    if not records.serialized:
        raise DataError(
            Path(folder) / MANIFEST, f"splits.{split}.examples", 0, "an empty split: no batch to make"
        )
    with tf.device("CPU:0"):
        return _Split(tf.constant(records.serialized, tf.string), records.lengths)


def _planned(plan: Plan) -> tf.data.Dataset:
    """(indices [B], padded length) of each batch."""
    flat = tf.constant(np.concatenate([batch.indices for batch in plan]), tf.int64)
    sizes = np.array([len(batch.indices) for batch in plan])
    ends = np.cumsum(sizes)
    table = np.stack([ends - sizes, ends, [batch.padded_length for batch in plan]], axis=1)
    return tf.data.Dataset.from_tensor_slices(table).map(lambda row: (flat[row[0] : row[1]], row[2]))


def _vectorised(split: _Split, plan: Plan, manifest: Manifest) -> tf.data.Dataset:
    def parse(indices: tf.Tensor, padded_length: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = parse_batch(tf.gather(split.serialized, indices), manifest)
        for name in ("inputs", "labels"):
            if batch[name].shape.rank > 1:
                batch[name] = _pad(batch[name], padded_length)
        return {**batch, "index": indices}

    return _planned(plan).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _one_by_one(split: _Split, plan: Plan, manifest: Manifest) -> tf.data.Dataset:
    """The guide's way. A batch is a small data set of its own where batches differ in size or width."""

    def parse(index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {**parse_one(split.serialized[index], manifest), "index": index}

    def padded_shapes(width: Any) -> dict[str, Any]:
        rank2 = tf.stack([tf.cast(width, tf.int64)])
        return {
            "inputs": rank2 if manifest.inputs == "ids" else tf.stack([rank2[0], manifest.feature_size]),
            "labels": rank2 if manifest.task == "tag" else [],
            "length": [],
            "index": [],
        }

    def one_batch(indices: tf.Tensor, padded_length: tf.Tensor) -> tf.data.Dataset:
        examples = tf.data.Dataset.from_tensor_slices(indices).map(parse)
        return examples.padded_batch(tf.size(indices, tf.int64), padded_shapes(padded_length))

    size, width = len(plan[0].indices), plan[0].padded_length
    uniform = all(len(batch.indices) == size for batch in plan[:-1]) and len(plan[-1].indices) <= size
    if any(batch.padded_length != width for batch in plan):
        width = -1  # to the longest of the batch, if that is what is planned
        uniform = uniform and all(batch.padded_length == split.lengths[batch.indices].max() for batch in plan)
    if uniform:
        flat = np.concatenate([batch.indices for batch in plan]).astype(np.int64)
        examples = tf.data.Dataset.from_tensor_slices(flat)
        parsed = examples.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return parsed.padded_batch(size, padded_shapes(width))
    return _planned(plan).flat_map(one_batch)


def _pad(values: tf.Tensor, padded_length: tf.Tensor) -> tf.Tensor:
    """Zeros on the time axis up to `padded_length`."""
    missing = tf.cast(padded_length, tf.int32) - tf.shape(values)[1]
    return tf.pad(values, [[0, 0], [0, missing]] + [[0, 0]] * (values.shape.rank - 2))


def _with_shapes(batch: dict[str, tf.Tensor], manifest: Manifest, width: int | None) -> dict[str, tf.Tensor]:
    """Say which axes are static, so that a `tf.function` traces once."""
    tail: Iterable[int | None] = [] if manifest.inputs == "ids" else [manifest.feature_size]
    shapes: dict[str, list[int | None]] = {
        "inputs": [None, width, *tail],
        "labels": [None, width] if manifest.task == "tag" else [None],
        "length": [None],
        "index": [None],
    }
    return {name: tf.ensure_shape(batch[name], shape) for name, shape in shapes.items()}
