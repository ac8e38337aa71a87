"""Examples -> the bytes of a TFRecord file of `tf.train.SequenceExample`s, in NumPy, some thousands at a time.

A record is what `sequence_example.to_sequence_example` makes, with its map entries in one fixed order: the same
examples are the same bytes in every process. A protocol buffer's field is a tag, the size of what follows, and
that; a TFRecord frame is the record's length, that length's checksum, the record, and its checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from workbench.data.manifest import FEATURE_NAMES

_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"  # the tag of a field whose size is written before it
_LENGTH, _INPUTS, _LABELS = (FEATURE_NAMES[role].encode() for role in ("length", "inputs", "labels"))
_WEIGHTS = b"weights"
_SEGMENT = 128  # bytes over which a checksum is taken in all records at once
_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed


def framed(
    lengths: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    tag: bool,
    weighed: str = "",
) -> bytes:
    """The TFRecord frames of examples that lie end to end.

    `inputs`: ids [tokens] or float32 [tokens, D]; `labels`: class ids, [tokens], or not `tag` and [N]; `weights`:
    float32, [tokens] or [N] as `weighed` says, step or example.

    >>> frame = framed(np.array([2]), np.array([5, 300]), np.array([1, 0]), tag=True)
    >>> int.from_bytes(frame[:8], "little") + 16 == len(frame)
    True
    """
    ends, nothing = np.cumsum(lengths), [None] * len(lengths)
    lists = [_feature_lists(_INPUTS, inputs, ends)]
    if tag:
        lists.append(_feature_lists(_LABELS, labels, ends))
    if weights is not None and weighed == "step":
        lists.append(_feature_lists(_WEIGHTS, weights[:, np.newaxis], ends))
    contexts = map(
        _context,
        lengths.tolist(),
        nothing if tag else labels.tolist(),
        weights.tolist() if weights is not None and weighed == "example" else nothing,
    )
    parts: list[bytes] = []
    records: list[int] = []
    for context, *own in zip(contexts, *lists, strict=True):
        content = b"".join(own)
        varint = _varint(len(content))
        record = len(context) + len(varint) + len(content)
        records.append(record)
        parts += (_ZEROS[: -record % _SEGMENT], context, varint, content)
    return _frames(b"".join(parts), records)


@lru_cache(maxsize=1 << 16)
def _context(length: int, label: int | None = None, weight: float | None = None) -> bytes:
    """A record up to the size of its feature lists."""
    entries = _single_entry(_LENGTH, length) + (b"" if label is None else _single_entry(_LABELS, label))
    if weight is not None:
        floats = _field(_SECOND, _field(_FIRST, struct.pack("<f", weight)))
        entries += _entry(_WEIGHTS, floats)
    return _field(_FIRST, entries) + _SECOND


def _feature_lists(name: bytes, values: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """Each example's feature list of that name, with its head."""
    steps, marks = _steps(values, ends)
    marks = marks.tolist()
    return [
        _list_head(name, end - start) + steps[start:end]
        for start, end in zip([0, *marks[:-1]], marks, strict=True)
    ]


def _steps(values: np.ndarray, ends: np.ndarray) -> tuple[bytes, np.ndarray]:
    """The steps of a feature list, of all examples end to end, and where each one's end: a Feature of one id, or of
    D floats, a step."""
    if values.ndim == 1:
        return _int_steps(values.astype(np.uint32), ends)
    width = 4 * values.shape[1]
    head = _field(_FIRST, _field(_SECOND, _field(_FIRST, bytes(width))))[:-width]
    rows = np.empty((len(values), len(head) + width), np.uint8)
    rows[:, : len(head)] = np.frombuffer(head, np.uint8)
    rows[:, len(head) :] = np.ascontiguousarray(values, "<f4").view(np.uint8)
    return rows.tobytes(), ends * rows.shape[1]


def _int_steps(values: np.ndarray, ends: np.ndarray) -> tuple[bytes, np.ndarray]:
    """One-id Features end to end, and where each example's end; an id has 1 to 5 bytes, 7 bits in each."""
    sizes = np.ones(len(values), np.int64)
    most = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    for byte in range(1, most):
        sizes += values >> 7 * byte > 0
    rows = np.empty((len(values), 6 + most), np.uint8)
    rows[:, 0:6:2] = (_FIRST[0], _THIRD[0], _FIRST[0])
    rows[:, 1:6:2] = sizes[:, np.newaxis] + (4, 2, 0)
    for byte in range(most):
        rows[:, 6 + byte] = (values >> 7 * byte & 127) | np.where(byte < sizes - 1, 128, 0)
    marks = np.concatenate(([0], np.cumsum(sizes + 6)))[ends]
    if int(sizes.min(initial=most)) == most:
        return rows.tobytes(), marks
    return rows[np.arange(6 + most) < (sizes + 6)[:, np.newaxis]].tobytes(), marks


def _single_entry(name: bytes, value: int) -> bytes:
    """A context's feature: one whole number."""
    return _entry(name, _field(_THIRD, _field(_FIRST, _varint(value))))


def _entry(name: bytes, feature: bytes) -> bytes:
    """A map's entry: a context's feature by its name."""
    return _field(_FIRST, _field(_FIRST, name) + _field(_SECOND, feature))


@lru_cache(maxsize=1 << 16)
def _list_head(name: bytes, size: int) -> bytes:
    """What is before the steps of a feature list, of so many bytes."""
    inner = _field(_FIRST, name) + _SECOND + _varint(size)
    return _FIRST + _varint(len(inner) + size) + inner


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


@lru_cache(maxsize=1 << 16)
def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _frames(filled: bytes, sizes: Sequence[int]) -> bytes:
    """The frames of records that are `filled` up to whole segments, of so many bytes each."""
    different = list(set(sizes))
    heads = [struct.pack("<Q", size) for size in different]
    head_of = dict(zip(different, map(bytes.__add__, heads, masked_checksums(heads)), strict=True))
    checksums = _masked(_checksums(filled, np.array(sizes, np.int64)))
    parts: list[bytes] = []
    end = 0
    for size, checksum in zip(sizes, checksums, strict=True):
        end += size + -size % _SEGMENT
        parts += (head_of[size], filled[end - size : end], checksum)
    return b"".join(parts)


def masked_checksums(records: Sequence[bytes]) -> list[bytes]:
    """Of each record, of four bytes or more, the CRC-32C, rotated and shifted as TFRecord files have it.

    >>> masked_checksums([b"123456789"])[0].hex()  # CRC-32C is 0xE3069283
    'e5b08ac7'
    """
    filled = b"".join(part for record in records for part in (_ZEROS[: -len(record) % _SEGMENT], record))
    return _masked(_checksums(filled, np.array([len(record) for record in records], np.int64)))


def _masked(crc: np.ndarray) -> list[bytes]:
    masked = ((crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)).astype("<u4").tobytes()
    return [masked[i : i + 4] for i in range(0, len(masked), 4)]


def _checksums(filled: bytes, sizes: np.ndarray) -> np.ndarray:
    """CRC-32C of each of some records. Zeros in front change nothing of one that begins with 0, so each is filled
    up to whole segments there, and the ones that it is to begin with are added to its first four bytes."""
    segments = -(-sizes // _SEGMENT)
    ends = np.cumsum(segments)
    data = np.frombuffer(bytearray(filled), np.uint8)
    data[(ends * _SEGMENT - sizes)[:, np.newaxis] + np.arange(4)] ^= 255
    steps, (pairs, *over) = data.view("<u2").reshape(-1, _SEGMENT // 2), _tables()
    of_segments = np.zeros(len(steps), np.uint32)
    for column in np.ascontiguousarray(steps.T):
        of_segments = pairs[(of_segments & 0xFFFF) ^ column] ^ (of_segments >> 16)
    crc = np.zeros(len(sizes), np.uint32)
    order = np.argsort(-segments, kind="stable")  # those that go on are always the first of them
    starts = (ends - segments)[order]
    going = np.searchsorted(-segments[order], -np.arange(int(segments.max(initial=0))), side="left")
    for k, count in enumerate(going.tolist()):
        low, high = crc[:count] & 0xFFFF, crc[:count] >> 16
        crc[:count] = over[0][low] ^ over[1][high] ^ of_segments[starts[:count] + k]
    result = np.empty_like(crc)
    result[order] = crc
    return ~result


_ZEROS = bytes(_SEGMENT)


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What becomes of a checksum's low 16 bits over the next two bytes; and of its low and its high 16 bits over a
    segment of zeros."""
    halves = np.arange(1 << 16, dtype=np.uint32)
    pairs: np.ndarray = halves.copy()
    for _ in range(16):
        pairs = pairs >> 1 ^ np.where(pairs & 1, np.uint32(_POLYNOMIAL), np.uint32(0))

    def over(crc: np.ndarray) -> np.ndarray:
        for _ in range(_SEGMENT // 2):
            crc = pairs[crc & 0xFFFF] ^ (crc >> 16)
        return crc

    return pairs, over(halves), over(halves << 16)
