"""Shards -> padded batches: `batches(folder, split, padding=...)`.

    order drawn from (seed, epoch) -> plan(padding, lengths, order)
    -> cached: gather from the split's parsed arrays     (parsed once a process, some thousands at a time)
       vectorised: fetch a batch's records, parse them at once, pad
       one: parse example by example, then pad, as the guide does
    -> a thread that is a few batches ahead

The plan is made before an epoch, so batches depend on the arguments alone, however many threads parse; the three
ways give equal batches. What is held in memory is bounded by `memory_mb`: beyond it records are read from the
shards as a batch needs them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.held import Parsed, Records, hold_parsed, hold_records, read_lengths
from workbench.data.manifest import MANIFEST, Manifest, load_manifest
from workbench.data.padding import BATCH_PRICE, PADDINGS, POOL, Plan, plan
from workbench.data.read_shard import reason_of
from workbench.data.sequence_example import parse_batch, parse_one
from workbench.data.whose import restore
from workbench.lengths import best_boundaries, usual_buckets

PARSES = ("cached", "vectorised", "one")
MEMORY_MB = 2048

# the purposes for which the seed is used
_ORDER = 0x6F72646572  # "order"
_PART = 0x70617274  # "part"
_AHEAD = 4  # batches made before they are asked for

Batch = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Batches:
    """One epoch of a split as batches, iterable as often as wanted; `len` is their number.

    A batch is a dict, described by `element_spec`: `inputs` int32 [B, T] or float32 [B, T, D], `labels` int32 [B,
    T] or [B], `length` int32 [B], `index` int64 [B] (the example's number in its split). Padding is 0.
    `plan` says what is in each. `held` is what of the split is in memory: "parsed", "records" or "nothing".
    `dataset()` is the same as a `tf.data.Dataset`, for what wants one.
    """

    plan: Plan
    element_spec: dict[str, tf.TensorSpec]
    held: Literal["parsed", "records", "nothing"]
    dataset: Callable[[], tf.data.Dataset]
    _made: Callable[[], Iterator[Batch]]

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        return ahead(self._made)


def batches(
    folder: str | Path,
    split: str,
    *,
    parse: Literal["cached", "vectorised", "one"] = "cached",
    memory_mb: int = MEMORY_MB,
    readers: int = 1,
    **planned: Any,
) -> Batches:
    """One epoch of `split`: each example once, none dropped, the last batches as small as they come.

    `planned`: `plan_batches`' options, which say what is in a batch: padding, batch_size, seed, epoch and others.
    `parse`: "cached" parses all examples once a process and holds them; "vectorised" a batch at once, each time;
    "one" example by example and pads then, as the guide does. The batches are equal.
    `memory_mb`: what a split may take in memory. Where it would take more, "cached" is refused, and the others read
    the shards batch by batch. `readers` shards are read at once. T is static with `padding="global"`.
    """
    if parse not in PARSES:
        raise ValueError(f"parse = {parse!r}: must be one of {', '.join(PARSES)}")
    folder = Path(folder)
    manifest = _manifest(folder)
    _check_split(folder, split, manifest)
    place = (str(folder.resolve()), split, manifest.fingerprint)
    if parse == "cached":
        parsed = hold_parsed(*place, memory_mb, readers)
        chosen = _plan(parsed.lengths, manifest, split, **planned)
        spec = _spec(manifest, chosen, planned)
        return Batches(
            chosen,
            spec,
            "parsed",
            lambda: _shaped(_planned(chosen).map(lambda i, t: _gather(parsed, i, t)), spec, len(chosen)),
            lambda: (_tensors(parsed.batch(*one)) for one in chosen),
        )
    records = hold_records(*place, memory_mb, readers)
    chosen = _plan(records.lengths, manifest, split, **planned)
    spec = _spec(manifest, chosen, planned)
    made = _vectorised if parse == "vectorised" else _one_by_one

    def dataset() -> tf.data.Dataset:
        return _shaped(made(records, chosen, manifest), spec, len(chosen))

    return Batches(chosen, spec, records.held, dataset, lambda: _read_on(folder, dataset()))


def plan_batches(folder: str | Path, split: str, **planned: Any) -> Plan:
    """The batches that `batches` with the same options gives: their indices and padded lengths.

    `padding`, `batch_size`, `token_budget`, `boundaries`, `pad_to_boundary`, `pool`, `batch_price`: see `padding`.
    A `token_budget` given takes the place of `batch_size`. `boundaries` default to the best `buckets` for the
    training split's lengths, and `buckets` to as many as its size is worth (`lengths.usual_buckets`).
    `seed` and `epoch` determine the order, and nothing else does; `shuffle=False` keeps the stored one.
    `max_examples`: only so many of the split, drawn by `seed`: the same ones for every padding and every epoch,
    shuffled or not, and among those that a greater `max_examples` draws. None: all.
    `longest`: T of `padding="global"`; default the longest example of the data set, all splits.
    `replica` of `replicas`: only the examples of the split's shards replica, replica + replicas, ...; a DataError
    where there are fewer shards than replicas.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    _check_split(folder, split, manifest)
    lengths = read_lengths(str(folder.resolve()), split, manifest.fingerprint)
    return _plan(lengths, manifest, split, **planned)


def _plan(
    lengths: np.ndarray,
    manifest: Manifest,
    split: str,
    *,
    padding: str = "batch",
    batch_size: int | None = 32,
    token_budget: int | None = None,
    boundaries: Sequence[int] | None = None,
    buckets: int | None = None,
    pad_to_boundary: bool = False,
    pool: int = POOL,
    batch_price: int = BATCH_PRICE,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    max_examples: int | None = None,
    longest: int | None = None,
    replica: int = 0,
    replicas: int = 1,
) -> Plan:
    if padding not in PADDINGS:
        raise ValueError(f"padding = {padding!r}: must be one of {', '.join(PADDINGS)}")
    size = None if token_budget else batch_size
    part = examples_of(manifest, split, replica, replicas)
    part = part[drawn_part(len(part), max_examples, seed)]
    if padding == "bucket" and boundaries is None:
        train = manifest.splits["train"]
        boundaries = _boundaries(
            tuple(train.histogram.items()), buckets or usual_buckets(train.examples, size)
        )
    return plan(
        padding,
        lengths,
        part[example_order(len(part), seed, epoch)] if shuffle else part,
        batch_size=size,
        token_budget=token_budget,
        longest=manifest.longest if longest is None else longest,
        boundaries=boundaries,
        pad_to_boundary=pad_to_boundary,
        pool=pool,
        batch_price=batch_price,
    )


@lru_cache(maxsize=8)
def _boundaries(histogram: tuple[tuple[int, int], ...], buckets: int) -> list[int]:
    return best_boundaries(dict(histogram), buckets)


def ahead(made: Callable[[], Iterator[Batch]], batches: int = _AHEAD) -> Iterator[Batch]:
    """What `made()` gives, made by a thread that is at most `batches` ahead; its exception is raised here.

    >>> list(ahead(lambda: iter([1, 2, 3])))
    [1, 2, 3]
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(batches)
    stop = threading.Event()

    def work() -> None:
        try:
            for batch in made():
                ready.put(("batch", batch))
                if stop.is_set():
                    return
            ready.put(("end", None))
        except BaseException as error:
            ready.put(("error", error))

    thread = threading.Thread(target=work, daemon=True, name="workbench-input")
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
        while not ready.empty():  # it may wait for room; there is some now, and it puts no more than one
            ready.get()
        thread.join()


def examples_of(manifest: Manifest, split: str, replica: int, replicas: int) -> np.ndarray:
    """The numbers, rising, of the examples that a replica has: those of every `replicas`-th shard of the split."""
    counts = [shard.examples for shard in manifest.shards if shard.split == split]
    if len(counts) < replicas:
        raise DataError(
            MANIFEST, f"splits.{split}", f"{len(counts)} shards", f"each of {replicas} replicas needs one of its "
            f"own: give data.shards={replicas}, write the data set in more files, or take fewer training.workers"
        )  # fmt: skip
    owners = np.repeat(np.arange(len(counts)) % replicas, counts)
    return np.flatnonzero(owners == replica)


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


def _check_split(folder: Path, split: str, manifest: Manifest) -> None:
    if split not in manifest.splits:
        raise DataError(folder / MANIFEST, "splits", ", ".join(manifest.splits), f"has no split {split!r}")


def _manifest(folder: Path) -> Manifest:
    """The manifest, read again only where its file is another."""
    try:
        stat = (folder / MANIFEST).stat()
    except OSError:
        return load_manifest(folder)  # which says what is wrong
    return _manifest_as_of(folder.resolve(), stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=8)
def _manifest_as_of(folder: Path, *state: int) -> Manifest:
    return load_manifest(folder)


def _spec(manifest: Manifest, chosen: Plan, planned: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Which axes are static, so that a `tf.function` traces once."""
    width = chosen[0].padded_length if planned.get("padding") == "global" else None
    ids, tag = manifest.inputs == "ids", manifest.task == "tag"
    return {
        "inputs": tf.TensorSpec(
            [None, width] if ids else [None, width, manifest.feature_size], tf.int32 if ids else tf.float32
        ),
        "labels": tf.TensorSpec([None, width] if tag else [None], tf.int32),
        "length": tf.TensorSpec([None], tf.int32),
        "index": tf.TensorSpec([None], tf.int64),
    }


def _read_on(folder: Path, dataset: tf.data.Dataset) -> Iterator[Batch]:
    """The batches; records were checked when the split was opened, so what fails is a file that changed since."""
    try:
        yield from dataset
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError, tf.errors.NotFoundError) as error:
        remedy = f"a shard changed or went missing while it was read: {restore(folder, changed=True)}"
        raise DataError(folder, "shards", reason_of(error).strip().splitlines()[0], remedy) from error


def _tensors(batch: Mapping[str, np.ndarray]) -> Batch:
    with tf.device("CPU:0"):
        return {name: tf.convert_to_tensor(values) for name, values in batch.items()}


def _shaped(dataset: tf.data.Dataset, spec: Mapping[str, tf.TensorSpec], count: int) -> tf.data.Dataset:
    shaped = dataset.map(
        lambda batch: {name: tf.ensure_shape(batch[name], spec[name].shape) for name in spec}
    )
    return shaped.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def _planned(plan: Plan) -> tf.data.Dataset:
    """(indices [B], padded length) of each batch."""
    flat = tf.constant(np.concatenate([batch.indices for batch in plan]), tf.int64)
    sizes = np.array([len(batch.indices) for batch in plan])
    ends = np.cumsum(sizes)
    table = np.stack([ends - sizes, ends, [batch.padded_length for batch in plan]], axis=1)
    return tf.data.Dataset.from_tensor_slices(table).map(lambda row: (flat[row[0] : row[1]], row[2]))


def _gather(parsed: Parsed, indices: tf.Tensor, padded_length: tf.Tensor) -> Batch:
    """`Parsed.batch` in TensorFlow."""
    lengths, starts = tf.gather(parsed.lengths, indices), tf.gather(parsed.starts, indices)
    steps = tf.range(padded_length)
    places = tf.where(steps < lengths[:, tf.newaxis], starts[:, tf.newaxis] + steps, len(parsed.inputs) - 1)
    return {
        "inputs": tf.gather(parsed.inputs, places),
        "labels": tf.gather(parsed.labels, places if parsed.tag else indices),
        "length": tf.cast(lengths, tf.int32),
        "index": indices,
    }


def _vectorised(records: Records, plan: Plan, manifest: Manifest) -> tf.data.Dataset:
    def parse(indices: tf.Tensor, padded_length: tf.Tensor) -> Batch:
        batch = parse_batch(records.fetch(indices), manifest)
        for name in ("inputs", "labels"):
            if batch[name].shape.rank > 1:
                batch[name] = _pad(batch[name], padded_length)
        return {**batch, "index": indices}

    return _planned(plan).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _one_by_one(records: Records, plan: Plan, manifest: Manifest) -> tf.data.Dataset:
    """The guide's way. A batch is a small data set of its own where batches differ in size or width."""

    def parse(index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {**parse_one(records.fetch(index[tf.newaxis])[0], manifest), "index": index}

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
        uniform = uniform and all(
            batch.padded_length == records.lengths[batch.indices].max() for batch in plan
        )
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
