"""What a file is, by its first bytes: `check_tfrecord` refuses what is no TFRecord file, and calls it what it is.

No TensorFlow: nothing is read but the first bytes, and what a compressed file begins with once decompressed.
"""

from __future__ import annotations

import codecs
import re
import zlib
from pathlib import Path

from workbench.data.errors import DataError
from workbench.data.records import masked_checksums
from workbench.data.whose import INDEX, MANIFEST, WRITE, restore, unopened

TFRECORD, GZIP, ZLIB, EMPTY = "a TFRecord file", "compressed by gzip", "compressed by zlib", "empty"
_COMPRESSIONS = {GZIP: "GZIP", ZLIB: "ZLIB"}
_HEAD = 1024
_FRAME = 12  # bytes before a record: its length, and that length's checksum
_TEXTS = {
    b"version https://git-lfs": "a Git LFS pointer",
    b"/annex/objects/": "a git-annex pointer",
    b"%PDF-": "a PDF file",
}
_MARKS = {  # of no text: one may begin with ORCA, PAR1 or x^2
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"\xff\x06\x00\x00sNaPpY": "compressed by snappy",
    b"PK\x03\x04": "a ZIP archive (.npz and .xlsx are such)",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"FEA1": "a Feather file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
}
_PAGE = re.compile(r"<(!doctype|\?xml|html|head|body|script)\b|<!--", re.IGNORECASE)
_UNPACK = "decompress or unpack it first (TensorFlow itself reads GZIP and ZLIB only)"
_REMEDIES = (
    ("a Git LFS", "`git lfs pull` fetches the file that it stands for"),
    ("a git-annex", "`git annex get` fetches the file that it stands for"),
    ("compressed by", _UNPACK),
    ("a tar archive", _UNPACK),
    ("a ZIP", _UNPACK),
    ("a 7-Zip", _UNPACK),
    ("a RAR", _UNPACK),
    ("an HTML", "the download gave a page in place of the file: download the file itself"),
    ("a CoNLL-U", "`data=ud_english_ewt data.path=FOLDER` reads those"),
    (EMPTY, "copy it again, or leave it out where it is meant to be empty"),
)


def remedy_of(kind: str, usual: str) -> str:
    """What to do about a file of this kind, where it is none of those wanted; `usual` where nothing is known."""
    return next((remedy for begins, remedy in _REMEDIES if kind.startswith(begins)), usual)


def kind_of(head: bytes) -> str:
    """What begins with these bytes, in words; "" where nothing tells.

    >>> kind_of(b"PAR1\\x15"), kind_of(b"PAR1 is a word"), kind_of(b"<!DOCTYPE html>"), kind_of(bytes([0, 1, 2]))
    ('a Parquet file', 'a text', 'an HTML or XML page', '')
    """
    if not head:
        return EMPTY
    if len(head) >= _FRAME and head[8:_FRAME] == masked_checksums([head[:8]])[0]:
        return TFRECORD  # first: a length may begin as another kind's mark does
    text = _text(head)
    for mark, name in (_TEXTS if text else _MARKS).items():
        if head.startswith(mark):
            return name
    if text:
        return text
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:2] == b"\x1f\x8b":
        return GZIP
    if head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0 and _inside(head) is not None:
        return ZLIB
    return ""


def check_tfrecord(path: Path, compression: str) -> None:
    """Raise DataError, saying what the file is, unless it begins as a TFRecord file in `compression` does.

    An empty file passes: it has no record.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise DataError(path, "file", error.strerror or str(error), unopened(path, error)) from None
    kind = kind_of(head)
    found = _COMPRESSIONS.get(kind, "")
    content = (_inside(head) or b"") if found else head
    inside = kind_of(content)
    if inside not in (TFRECORD, EMPTY) and (inside or len(content) >= _FRAME):
        what = inside or f"beginning with the bytes {content[:8].hex(' ')}"
        usual = f"shards are TFRecord files of tf.train.SequenceExample, which {WRITE} writes"
        usual += "" if inside else f"; if it was one, {restore(path)}"
        what = f"{kind}, and in it {what}" if found else what
        raise DataError(path, "file", what, f"no TFRecord file: {remedy_of(inside, usual)}")
    if found != compression and kind != EMPTY:
        said = f'compression={found!r} to {INDEX}, or "compression": "{found}" in {MANIFEST}'
        is_ = f"the file is {kind}" if found else "the file is not compressed"
        raise DataError(path, "compression", compression or '""', f"{is_}: say {said}, one for all shards")


def compression_of(path: Path) -> str:
    """The compression of a TFRecord file by its first bytes; of what is none, or cannot be read, "".

    What is wrong with a file is left to `check_tfrecord` to say.
    """
    try:
        with path.open("rb") as stream:
            return _COMPRESSIONS.get(kind_of(stream.read(_HEAD)), "")
    except OSError:
        return ""


def check_complete(path: Path) -> None:
    """Raise DataError where a compressed file ends before its compressed data do: TensorFlow may not say so."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            while block:
                try:
                    stream.decompress(block, 1 << 20)
                except zlib.error as error:
                    raise DataError(path, "file", str(error), f"damaged: {restore(path)}") from None
                block = stream.unconsumed_tail or stream.unused_data
                if stream.unused_data:  # another member begins
                    if compression_of(path) == "ZLIB":
                        remedy = "holds several streams, of which TensorFlow reads the first: write it as one"
                        raise DataError(path, "file", "ZLIB", remedy)
                    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    if not stream.eof:
        raise DataError(path, "file", f"{path.stat().st_size} bytes", f"ends too early: {restore(path)}")


def _inside(head: bytes) -> bytes | None:
    """What the compressed bytes begin with; None where they are not compressed by gzip or zlib."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(head)
    except zlib.error:
        return None


def _text(head: bytes) -> str:
    """Which text begins so; "" where it is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "a text in UTF-16"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last letter may be cut
    except UnicodeDecodeError:
        return ""
    if any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return ""
    text = text.lstrip("\ufeff \t\r\n")
    if _PAGE.match(text):
        return "an HTML or XML page"
    if text.startswith(("{", "[")):
        return "a JSON text"
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if lines and lines[0].startswith("1") and lines[0].count("\t") >= 3:
        return "a CoNLL-U file"
    return "a text"
