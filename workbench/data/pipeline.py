"""Shards -> padded batches: `batches(folder, split, data, padding)`.

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.held import Parsed, Records, hold_parsed, hold_records, read_lengths
from workbench.data.lengths import settled
from workbench.data.manifest import MANIFEST, Manifest, load_manifest
from workbench.data.padding import Plan, plan
from workbench.data.read_shard import reason_of
from workbench.data.sequence_example import parse_batch, parse_one
from workbench.data.whose import restore
from workbench.options.data import Data
from workbench.options.padding import Global, Padding

# the purposes for which the seed is used
_ORDER = 0x6F72646572  # "order"
_PART = 0x70617274  # "part"
_AHEAD = 4  # batches made before they are asked for

Batch = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Batches:
    """One epoch of a split as batches, iterable as often as wanted; `len` is their number.

    A batch is a dict, described by `element_spec`: `inputs` int32 [B, T] or float32 [B, T, D], `labels` int32 [B,
    T] or [B], `length` int32 [B], `index` int64 [B] (the example's number in its split), and `weights` float32
    [B, T] or [B] where the data set has them. Padding is 0.
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
    data: Data,
    padding: Padding,
    **drawn: Any,
) -> Batches:
    """One epoch of `split`: each example once, none dropped, the last batches as small as they come.

    `data` says how the split is read, and with `padding` and `drawn`, `plan_batches`' keywords, what is in a batch.
    `data.parse`: "cached" parses all examples once a process and holds them; "vectorised" a batch at once, each
    time; "one" example by example and pads then, as the guide does. The batches are equal.
    Where a split would take more than `data.memory_mb`, "cached" is refused, and the others read the shards batch
    by batch. T is static under global padding.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    _check_split(folder, split, manifest)
    place = (str(folder.resolve()), split, manifest.fingerprint)
    if data.parse == "cached":
        parsed = hold_parsed(*place, data.memory_mb, data.readers)
        chosen = _plan(parsed.lengths, manifest, split, data, padding, **drawn)
        spec = _spec(manifest, chosen, padding)
        return Batches(
            chosen,
            spec,
            "parsed",
            lambda: _shaped(_planned(chosen).map(lambda i, t: _gather(parsed, i, t)), spec, len(chosen)),
            lambda: (_tensors(parsed.batch(*one)) for one in chosen),
        )
    records = hold_records(*place, data.memory_mb, data.readers)
    chosen = _plan(records.lengths, manifest, split, data, padding, **drawn)
    spec = _spec(manifest, chosen, padding)
    made = _vectorised if data.parse == "vectorised" else _one_by_one

    def dataset() -> tf.data.Dataset:
        return _shaped(made(records, chosen, manifest), spec, len(chosen))

    return Batches(chosen, spec, records.held, dataset, lambda: _read_on(folder, dataset()))


def plan_batches(folder: str | Path, split: str, data: Data, padding: Padding, **drawn: Any) -> Plan:
    """The batches that `batches` of the same gives: their indices and padded lengths.

    Buckets without boundaries have the best for the training split's lengths, as many as its size is worth
    (`lengths.settled`).
    `seed` and `epoch` determine the order, and nothing else does; `shuffle=False` keeps the stored one.
    `max_examples`: only so many of the split, drawn by `seed`: the same ones for every padding and every epoch,
    shuffled or not, and among those that a greater `max_examples` draws. None: all.
    `replica` of `replicas`: only the examples of the split's shards replica, replica + replicas, ...; a DataError
    where there are fewer shards than replicas.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    _check_split(folder, split, manifest)
    lengths = read_lengths(str(folder.resolve()), split, manifest.fingerprint)
    return _plan(lengths, manifest, split, data, padding, **drawn)


def _plan(
    lengths: np.ndarray,
    manifest: Manifest,
    split: str,
    data: Data,
    padding: Padding,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    max_examples: int | None = None,
    replica: int = 0,
    replicas: int = 1,
) -> Plan:
    part = examples_of(manifest, split, replica, replicas)
    part = part[drawn_part(len(part), max_examples, seed)]
    return plan(
        settled(padding, manifest.splits["train"].histogram, data.batch_size),
        lengths,
        part[example_order(len(part), seed, epoch)] if shuffle else part,
        batch_size=data.batch_size,
        longest=manifest.longest,
    )


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


def _spec(manifest: Manifest, chosen: Plan, padding: Padding) -> dict[str, tf.TensorSpec]:
    """Which axes are static, so that a `tf.function` traces once."""
    width = chosen[0].padded_length if isinstance(padding, Global) else None
    ids, tag = manifest.inputs == "ids", manifest.labels_steps
    return {
        "inputs": tf.TensorSpec(
            [None, width] if ids else [None, width, manifest.feature_size], tf.int32 if ids else tf.float32
        ),
        "labels": tf.TensorSpec([None, width] if tag else [None], tf.int32),
        "length": tf.TensorSpec([None], tf.int32),
        "index": tf.TensorSpec([None], tf.int64),
        **_of_weights(
            manifest,
            step=tf.TensorSpec([None, width], tf.float32),
            example=tf.TensorSpec([None], tf.float32),
        ),
    }


def _of_weights(manifest: Manifest, *, step: Any, example: Any) -> dict[str, Any]:
    """The entry of the weights, where there are any."""
    return {"weights": step if manifest.weights == "step" else example} if manifest.weights else {}


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
    weights = {}
    if parsed.weights is not None:
        weights = {"weights": tf.gather(parsed.weights, places if parsed.weighed == "step" else indices)}
    return {
        "inputs": tf.gather(parsed.inputs, places),
        "labels": tf.gather(parsed.labels, places if parsed.tag else indices),
        "length": tf.cast(lengths, tf.int32),
        "index": indices,
        **weights,
    }


def _vectorised(records: Records, plan: Plan, manifest: Manifest) -> tf.data.Dataset:
    def parse(indices: tf.Tensor, padded_length: tf.Tensor) -> Batch:
        batch = parse_batch(records.fetch(indices), manifest)
        for name, values in batch.items():
            if values.shape.rank > 1:
                batch[name] = _pad(values, padded_length)
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
            "labels": rank2 if manifest.labels_steps else [],
            "length": [],
            "index": [],
            **_of_weights(manifest, step=rank2, example=[]),
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
