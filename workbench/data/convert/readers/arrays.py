"""NumPy: arrays by name, of an .npz file or of a folder of .npy files, read some rows at a time.

Inputs are padded, [N, T] or [N, T, D], or end to end, [tokens] or [tokens, D]; `lengths` [N] says how long each
is. Labels and weights are likewise, or [N]. Strings [N] are examples to be split.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from workbench.data.convert.rows import BLOCK, Block, Part, Reader, Row, label_of_name, no_column, refuse
from workbench.data.convert.schema import Schema
from workbench.data.errors import DataError
from workbench.data.file_kind import kind_of, remedy_of

LENGTHS = ("lengths", "length", "sequence_length", "sequence_lengths")
_KINDS = "iufUb"


class _Array:
    """An array of a file, of which some rows are read at a time."""

    def __init__(self, stream: IO[bytes], size: int, where: str) -> None:
        self._stream, self.where = stream, where
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise DataError(where, "version", version, "save it again with np.save")
        self.shape, self._columns, self.dtype = read[version](stream)
        if self.dtype.kind not in _KINDS:
            remedy = "save numbers or strings; examples of unlike lengths padded, with an array `lengths`"
            raise DataError(where, "dtype", str(self.dtype), remedy)
        if self._columns and len(self.shape) > 1:
            raise DataError(where, "order", "columns first", "save np.ascontiguousarray of it")
        if not self.shape or any(n < 0 for n in self.shape):
            raise DataError(where, "shape", str(self.shape), "must have an axis of examples")
        self.row_bytes = self.dtype.itemsize
        for n in self.shape[1:]:
            self.row_bytes *= n
        if self.row_bytes * self.shape[0] > size:
            raise DataError(
                where, "shape", str(self.shape), f"{size} bytes are fewer: the file is cut, or damaged"
            )

    def take(self, rows: int) -> np.ndarray:
        """The next rows."""
        size = rows * self.row_bytes
        data = self._stream.read(size)
        if len(data) < size:
            raise DataError(self.where, "file", "ends too early", "it is cut: copy it again")
        if self.dtype.kind == "U":
            letters = np.frombuffer(data, self.dtype.str[0] + "u4")
            if letters.max(initial=0) > sys.maxunicode:
                raise DataError(
                    self.where, "letter", hex(letters.max()), "is none: the file is damaged, save it again"
                )
        return np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])

    def end(self) -> None:
        """Read what is behind the last row: nothing, and a checksum that is held against the rows."""
        if self._stream.read(1):
            raise DataError(self.where, "file", "goes on behind its last row", "save it again with np.save")


def rows(block: Block, schema: Schema) -> list[Row]:
    """The examples of a block; of examples end to end, each its own piece."""
    label = label_of_name(schema, block.path)
    inputs, labels, lengths, split, weights, flat, tags_flat, weights_flat = block.payload
    number = range(block.first, block.first + len(lengths if lengths is not None else inputs))
    whole = None if lengths is None else lengths.tolist()
    if flat:
        ends = np.cumsum(lengths)[:-1]
        pieces: list[Any] = np.split(inputs, ends)
        tags = np.split(labels, ends) if tags_flat else labels
    else:
        pieces, tags = list(inputs), labels
    labels = [label] * len(number) if label is not None else [_plain(one) for one in tags]
    splits = [None] * len(number) if split is None else split.tolist()
    weighed: list[Any] = [None] * len(number) if weights is None else list(weights)
    if weights_flat:
        weighed = np.split(weights, ends)
    return [
        Row(i, _plain(piece), one, None if whole is None else whole[k], splits[k], weighed[k])
        for k, (i, piece, one) in enumerate(zip(number, pieces, labels, strict=True))
    ]


def _plain(value: Any) -> Any:
    """Strings and single values as Python's, numbers of several as they are."""
    return value.tolist() if value.dtype.kind in "U" or not value.ndim else value


def _parts(path: Path, schema: Schema) -> Iterator[Part]:
    refuse(path, schema, "group")
    try:
        with ExitStack() as stack:
            yield from _read(path, schema, stack)
    except DataError:
        raise
    except Exception as error:  # whatever zipfile, zlib and NumPy make of bytes that are no such file
        raise DataError(
            path, "file", f"{type(error).__name__}: {error}", "cannot be read as NumPy arrays: save it again"
        ) from None


def _read(path: Path, schema: Schema, stack: ExitStack) -> Iterator[Part]:
    if path.is_dir():
        files = {one.stem: one for one in sorted(path.glob("*.npy"))}
        sizes = {name: one.stat().st_size for name, one in files.items()}
    else:
        with path.open("rb") as stream:
            head = stream.read(1024)
        if not head.startswith(b"PK\x03\x04"):
            kind = kind_of(head) or f"beginning with the bytes {head[:8].hex(' ')}"
            raise DataError(path, "file", kind, remedy_of(kind, "no .npz file: save it with np.savez"))
        archive = stack.enter_context(zipfile.ZipFile(path))
        sizes = {one.filename.removesuffix(".npy"): one.file_size for one in archive.infolist()}

    def array(name: str | None) -> _Array | None:
        if name is None:
            return None
        if name not in sizes:
            raise no_column(str(path), name, sizes)
        stream = files[name].open("rb") if path.is_dir() else archive.open(f"{name}.npy")
        return _Array(stack.enter_context(stream), sizes[name], f"{path}: {name}")

    if not isinstance(schema.inputs, str):
        raise DataError(path, "inputs", schema.inputs, "of arrays one has the inputs: name one")
    inputs = array(schema.inputs)
    labels = array(schema.labels) if label_of_name(schema, str(path)) is None else None
    lengths = array(schema.lengths or next((name for name in LENGTHS if name in sizes), None))
    split, weights = array(schema.split), array(schema.weights)
    assert inputs is not None
    if lengths is None and not (inputs.dtype.kind == "U" and len(inputs.shape) == 1):
        raise DataError(path, "lengths", "missing", "say how long each example is, padding not counted: an array "
                        f"`lengths` of {inputs.shape[0]} whole numbers")  # fmt: skip
    if lengths is not None and (lengths.dtype.kind not in "iu" or len(lengths.shape) != 1):
        raise DataError(
            lengths.where, "array", f"{lengths.dtype}{list(lengths.shape)}", "must be whole numbers, [N]"
        )
    yield from _cut(path, inputs, labels, lengths, split, weights, schema.task)


def _cut(
    path: Path,
    inputs: _Array,
    labels: _Array | None,
    lengths: _Array | None,
    split: _Array | None,
    weights: _Array | None,
    task: str | None,
) -> Iterator[Part]:
    total = (lengths or inputs).shape[0]
    flat = lengths is not None and (len(inputs.shape) == 1 or inputs.shape[0] != total)
    tags_flat = flat and labels is not None and labels.shape[0] == inputs.shape[0] != total
    if flat and labels is not None and labels.shape == (inputs.shape[0],) == (total,):
        if task is None:
            remedy = (
                f"{total} tokens, labels and examples: say what a label is of (--task tag, --task classify)"
            )
            raise DataError(labels.where, "task", "not given", remedy)
        tags_flat = task == "tag"
    weights_flat = flat and weights is not None and weights.shape[0] == inputs.shape[0] != total
    for one, wanted in (
        (inputs, None if flat else total),
        (labels, None if tags_flat else total),
        (split, total),
        (weights, None if weights_flat else total),
    ):
        if one is not None and wanted is not None and one.shape[0] != wanted:
            raise DataError(
                one.where, "shape", str(one.shape), f"must begin with {wanted}, the number of examples"
            )
    most = max(1, BLOCK // max(1, inputs.row_bytes))
    first = tokens = 0
    while first < total:
        rows = min(1 << 14 if flat else most, total - first)
        long = None if lengths is None else lengths.take(rows).astype(np.int64)
        if long is not None and (long.min() < 0 or int(long.max()) > 1 << 31):
            at = int(np.argmax((long < 0) | (long > 1 << 31)))
            raise DataError(
                f"{path}: example {first + at}", "lengths", int(long[at]), "must be a length, 0 or more"
            )
        cuts = [rows]
        if flat and long is not None:  # as many as have so many tokens, one at the least
            cuts = [*np.flatnonzero(np.diff(np.cumsum(long) // most)).tolist(), rows]
        at = 0
        for cut in dict.fromkeys(cuts):
            if cut == at:
                continue
            part = None if long is None else long[at:cut]
            steps = int(part.sum()) if flat and part is not None else cut - at
            if flat and tokens + steps > inputs.shape[0]:
                raise _not_their_sum(inputs, lengths)
            taken = inputs.take(steps)
            tags = None if labels is None else labels.take(steps if tags_flat else cut - at)
            named = None if split is None else split.take(cut - at)
            weighed = None if weights is None else weights.take(steps if weights_flat else cut - at)
            payload = taken, tags, part, named, weighed, flat, tags_flat, weights_flat
            yield Part(first + at, payload, steps * inputs.row_bytes)
            at, tokens = cut, tokens + (steps if part is None else int(part.sum()))
        first += rows
    if flat and tokens != inputs.shape[0]:
        raise _not_their_sum(inputs, lengths)
    either = lengths is not None and not flat and tokens == total and len(inputs.shape) == 2
    if either and inputs.dtype.kind == "f" and inputs.shape[1] > 1:
        remedy = (
            f"as many examples as tokens: padded or end to end? Write them padded, [N, T, D] with N {total}"
        )
        raise DataError(inputs.where, "shape", str(inputs.shape), remedy)
    for one in (inputs, labels, lengths, split, weights):
        if one is not None:
            one.end()


def _not_their_sum(inputs: _Array, lengths: _Array | None) -> DataError:
    assert lengths is not None
    return DataError(
        inputs.where, "shape", str(inputs.shape),
        f"examples end to end are as many tokens as {lengths.where} has in all; padded ones are [N, T] with N "
        f"{lengths.shape[0]}",
    )  # fmt: skip


READER = Reader("example", _parts, rows)
