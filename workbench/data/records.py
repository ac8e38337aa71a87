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
_SEGMENT = 128  # bytes over which a checksum is taken in all records at once
_AT_ONCE = 1 << 22  # bytes of records whose checksums are taken at once
_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed


def framed(lengths: np.ndarray, inputs: np.ndarray, labels: np.ndarray, *, tag: bool) -> bytes:
    """The TFRecord frames of examples that lie end to end.

    `inputs`: ids [tokens] or float32 [tokens, D]; `labels`: class ids, [tokens], or not `tag` and [N].

    >>> frame = framed(np.array([2]), np.array([5, 300]), np.array([1, 0]), tag=True)
    >>> int.from_bytes(frame[:8], "little") + 16 == len(frame)
    True
    """
    ends = np.cumsum(lengths)
    of_inputs = _steps(inputs, ends)
    context = [_length_entry(length) for length in lengths.tolist()]
    if tag:
        of_labels = _steps(labels, ends)
        records = [
            _record(first, (_list_head(_INPUTS, len(one)), one, _list_head(_LABELS, len(two)), two))
            for first, one, two in zip(context, of_inputs, of_labels, strict=True)
        ]
    else:
        single = [_single_entry(_LABELS, label) for label in labels.tolist()]
        records = [
            _record(first + second, (_list_head(_INPUTS, len(one)), one))
            for first, second, one in zip(context, single, of_inputs, strict=True)
        ]
    return _frames(records)


def _record(context: bytes, lists: tuple[bytes, ...]) -> bytes:
    content = b"".join(lists)
    return b"".join((_FIRST, _varint(len(context)), context, _SECOND, _varint(len(content)), content))


def _steps(values: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """Of each example the steps of a feature list: a Feature of one id, or of D floats, a step."""
    if values.ndim == 2:
        width = 4 * values.shape[1]
        head = _field(_FIRST, _field(_SECOND, _field(_FIRST, bytes(width))))[:-width]
        rows = np.empty((len(values), len(head) + width), np.uint8)
        rows[:, : len(head)] = np.frombuffer(head, np.uint8)
        rows[:, len(head) :] = np.ascontiguousarray(values, "<f4").view(np.uint8)
        flat, marks = rows.tobytes(), ends * rows.shape[1]
    else:
        flat, marks = _int_steps(values.astype(np.uint32), ends)
    return [flat[a:b] for a, b in zip([0, *marks[:-1].tolist()], marks.tolist(), strict=True)]


def _int_steps(values: np.ndarray, ends: np.ndarray) -> tuple[bytes, np.ndarray]:
    """One-id Features end to end, and where each example's end; an id has 1 to 5 bytes, 7 bits in each."""
    sizes = np.ones(len(values), np.int64)
    for bits in (7, 14, 21, 28):
        sizes += values >> bits > 0
    most = int(sizes.max(initial=1))
    rows = np.empty((len(values), 6 + most), np.uint8)
    rows[:, 0:6:2] = (_FIRST[0], _THIRD[0], _FIRST[0])
    rows[:, 1:6:2] = sizes[:, np.newaxis] + (4, 2, 0)
    for byte in range(most):
        rows[:, 6 + byte] = (values >> 7 * byte & 127) | np.where(byte < sizes - 1, 128, 0)
    marks = np.concatenate(([0], np.cumsum(sizes + 6)))[ends]
    if int(sizes.min(initial=most)) == most:
        return rows.tobytes(), marks
    return rows[np.arange(6 + most) < (sizes + 6)[:, np.newaxis]].tobytes(), marks


@lru_cache(maxsize=1 << 16)
def _single_entry(name: bytes, value: int) -> bytes:
    """A context's feature: one whole number."""
    feature = _field(_THIRD, _field(_FIRST, _varint(value)))
    return _field(_FIRST, _field(_FIRST, name) + _field(_SECOND, feature))


def _length_entry(length: int) -> bytes:
    return _single_entry(_LENGTH, length)


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


def _frames(records: Sequence[bytes]) -> bytes:
    sizes = [len(record) for record in records]
    different = list(set(sizes))
    heads = [struct.pack("<Q", size) for size in different]
    head_of = dict(zip(different, map(bytes.__add__, heads, masked_checksums(heads)), strict=True))
    parts: list[bytes] = []
    for size, record, checksum in zip(sizes, records, masked_checksums(records), strict=True):
        parts += (head_of[size], record, checksum)
    return b"".join(parts)


def masked_checksums(records: Sequence[bytes]) -> list[bytes]:
    """Of each record, of four bytes or more, the CRC-32C, rotated and shifted as TFRecord files have it.

    >>> masked_checksums([b"123456789"])[0].hex()  # CRC-32C is 0xE3069283
    'e5b08ac7'
    """
    found: list[np.ndarray] = []
    first = taken = 0
    for i, record in enumerate(records):
        taken += len(record)
        if taken >= _AT_ONCE or i == len(records) - 1:
            found.append(_checksums(records[first : i + 1]))
            first, taken = i + 1, 0
    crc = np.concatenate(found) if found else np.zeros(0, np.uint32)
    masked = ((crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)).astype("<u4").tobytes()
    return [masked[i : i + 4] for i in range(0, len(masked), 4)]


def _checksums(records: Sequence[bytes]) -> np.ndarray:
    """CRC-32C of each. Zeros in front change nothing of one that begins with 0, so each record is filled up to
    whole segments there, and the ones that it is to begin with are added to its first four bytes."""
    sizes = np.array([len(record) for record in records])
    segments = -(-sizes // _SEGMENT)
    ends = np.cumsum(segments)
    filled = b"".join(part for record in records for part in (_ZEROS[: -len(record) % _SEGMENT], record))
    data = np.frombuffer(bytearray(filled), np.uint8)
    data[(ends * _SEGMENT - sizes)[:, np.newaxis] + np.arange(4)] ^= 255
    steps, (pairs, *over) = data.view("<u2").reshape(-1, _SEGMENT // 2), _tables()
    of_segments = np.zeros(len(steps), np.uint32)
    for column in np.ascontiguousarray(steps.T):
        of_segments = pairs[(of_segments & 0xFFFF) ^ column] ^ (of_segments >> 16)
    crc = np.zeros(len(records), np.uint32)
    order = np.argsort(-segments, kind="stable")  # those that go on are always the first of them
    starts = (ends - segments)[order]
    going = np.searchsorted(-segments[order], -np.arange(int(segments.max())), side="left")
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
