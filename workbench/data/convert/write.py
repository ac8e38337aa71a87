"""The second pass: spooled blocks -> shards, each written by one process. Plain NumPy and zlib."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench.data.manifest import Shard
from workbench.data.records import framed

ENDINGS = {"GZIP": ".gz", "ZLIB": ".zlib"}
_BITS = {"GZIP": 31, "ZLIB": 15}
_VALUES_A_SHARD = 4_000_000
_AT_ONCE = 1 << 19  # tokens made into records at once


class Piece(NamedTuple):
    """Of a spooled block, examples `first` to `end`."""

    stem: str
    first: int
    end: int


class Job(NamedTuple):
    """A shard to be written: its examples, where they lie and where it goes."""

    split: str
    file: str
    pieces: list[Piece]
    spool: Path
    folder: Path
    compression: str
    tag: bool
    weights: str


def jobs(
    blocks: dict[str, list[tuple[str, int]]], values: dict[str, int], shards: int | None, compression: str,
    spool: Path, folder: Path, *, tag: bool, weights: str,
) -> list[Job]:  # fmt: skip
    """The shards of each split, of as many examples each; how many does not depend on the machine."""
    made = []
    for split, of in blocks.items():
        total = sum(examples for _, examples in of)
        count = min(total, shards or 1 + values[split] // _VALUES_A_SHARD)
        for k in range(count):
            file = f"{split}-{k:05d}-of-{count:05d}.tfrecord" + ENDINGS.get(compression, "")
            pieces = _pieces(of, k * total // count, (k + 1) * total // count)
            made.append(Job(split, file, pieces, spool, folder, compression, tag, weights))
    return made


def _pieces(blocks: list[tuple[str, int]], first: int, end: int) -> list[Piece]:
    pieces, at = [], 0
    for stem, examples in blocks:
        if at < end and at + examples > first:
            pieces.append(Piece(stem, max(0, first - at), min(examples, end - at)))
        at += examples
    return pieces


def write_shard(job: Job) -> Shard:
    """Write one shard to its end and have the disk confirm it."""
    path, digest, count = job.folder / job.file, hashlib.sha256(), 0
    packer = zlib.compressobj(wbits=_BITS[job.compression]) if job.compression else None
    ids, classes = (_saved(job.spool / f"{name}.npy") for name in ("ids", "classes"))
    with path.open("wb") as stream:

        def put(data: bytes) -> None:
            digest.update(data)
            stream.write(data)

        for piece in job.pieces:
            lengths, inputs, labels, weights = _block(job, piece, ids, classes)
            count += len(lengths)
            at = token = 0
            ends = np.cumsum(lengths)
            while at < len(lengths):
                to = max(at + 1, int(np.searchsorted(ends, token + _AT_ONCE, side="right")))
                last = int(ends[to - 1])
                tags = labels[token:last] if job.tag else labels[at:to]
                weighed = None
                if weights is not None:
                    weighed = weights[token:last] if job.weights == "step" else weights[at:to]
                data = framed(
                    lengths[at:to], inputs[token:last], tags, weighed, tag=job.tag, weighed=job.weights
                )
                put(packer.compress(data) if packer else data)
                at, token = to, last
        if packer:
            put(packer.flush())
        stream.flush()
        os.fsync(stream.fileno())
        size = stream.tell()
    return Shard(job.split, job.file, count, size, digest.hexdigest())


def digests(paths: Iterable[Path], compression: str) -> list[bytes]:
    """SHA-256 of each record of some shards, in their own order."""
    found = []
    for path in paths:
        data = path.read_bytes()
        if compression:
            data = zlib.decompress(data, wbits=_BITS[compression])
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            found.append(hashlib.sha256(data[at + 12 : at + 12 + size]).digest())
            at += size + 16
    return sorted(found)


def _saved(path: Path) -> np.ndarray | None:
    return np.load(path, mmap_mode="r") if path.exists() else None


def _block(
    job: Job, piece: Piece, ids: np.ndarray | None, classes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """A piece's lengths, ids (or features), classes and weights."""
    with (job.spool / f"{piece.stem}.npy").open("rb") as stream:
        lengths, inputs, labels = np.load(stream), np.load(stream), np.load(stream)
        weights = np.load(stream) if job.weights else None
    with (job.spool / f"{piece.stem}.numbers.npy").open("rb") as stream:
        symbols, names = np.load(stream), np.load(stream)
    if ids is not None:
        inputs = ids[symbols][inputs]
    if classes is not None:
        labels = (classes[names] if len(names) else classes)[labels]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    first, last = int(starts[piece.first]), int(starts[piece.end])
    tags = labels[first:last] if job.tag else labels[piece.first : piece.end]
    if weights is not None:
        weights = weights[first:last] if job.weights == "step" else weights[piece.first : piece.end]
    return lengths[piece.first : piece.end], inputs[first:last], tags, weights
