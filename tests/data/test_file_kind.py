"""What a file is by its first bytes, against what the libraries that write such files make."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf

from workbench.data.errors import DataError
from workbench.data.file_kind import check_complete, check_tfrecord, kind_of

TEXT = b"# sent_id = 1\n1\tThe\tthe\tDET\t_\n"


def tfrecord(folder, *records, compression=None):
    path = folder / "written.tfrecord"
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def made(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def zipped(stream):
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "b")


def archived(stream):
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))


KINDS = {
    "compressed by bzip2": bz2.compress(TEXT),
    "compressed by xz": lzma.compress(TEXT),
    "a ZIP archive": made(zipped),
    "a tar archive": made(archived),
    "a NumPy array": made(lambda stream: np.save(stream, np.arange(3))),
    "a Python pickle": pickle.dumps([1, 2]),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a git-annex pointer": b"/annex/objects/SHA256E-s9--0\n",
    "compressed by zstd": b"\x28\xb5\x2f\xfd\x04\x00",
    "a Parquet file": b"PAR1\x15\x04",
    "an Arrow file": b"ARROW1\x00\x00",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n",
    "an HTML or XML page": b"\n <!DOCTYPE html>\n<html>",
    "a JSON text": b'{"inputs": [1]}\n',
    "a CoNLL-U file": TEXT,
    "a text in UTF-16": "wörter".encode("utf-16"),
    "a text": "wörter, zeile\n".encode(),
    "beginning with the bytes 00 01 02": bytes(range(30)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_no_shard_is_called_what_it_is(tmp_path, kind, packed):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(gzip.compress(KINDS[kind]) if packed else KINDS[kind])
    for compression in ("", "GZIP"):
        with pytest.raises(DataError) as caught:
            check_tfrecord(path, compression)
        assert f"{'compressed by gzip, and in it ' if packed else ''}{kind}" in str(caught.value)
        assert "no TFRecord file" in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "ORCA swims",
        "PAR1 is a word",
        "FEA1",
        "BZh9",
        "x^2 + 1",
        "x y",
        "Rar! she said",
        "<s> a </s>",
        "<unk>",
        "< 3",
    ],
)
def test_a_text_is_one_whatever_its_first_word(words):
    assert kind_of(f"{words}\tX\n".encode() * 50) == "a text"


def test_an_sqlite_database(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table a (b)")
    assert kind_of((tmp_path / "a.db").read_bytes()) == "an SQLite database"


@pytest.mark.parametrize("declared", ["", "GZIP", "ZLIB"])
@pytest.mark.parametrize("found", ["", "GZIP", "ZLIB"])
def test_compression_that_is_not_what_was_declared_is_named(tmp_path, declared, found):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(tfrecord(tmp_path, b"record", compression=found or None))
    if found == declared:
        check_tfrecord(path, declared)
        return
    with pytest.raises(DataError) as caught:
        check_tfrecord(path, declared)
    assert f"compression = {declared}" in str(caught.value)
    assert f"compression={found!r} to workbench.data.shards.index_shards" in str(caught.value)
    assert f'"compression": "{found}" in manifest.json' in str(caught.value)


def test_a_record_as_long_as_a_gzip_files_mark_is_a_record(tmp_path):
    """A length of 0x8b1f is written as gzip's mark, one of 0x5178 as zlib's."""
    for length in (0x8B1F, 0x9C78, 0x5178):
        assert kind_of(tfrecord(tmp_path, bytes(length))[:1024]) == "a TFRecord file"


@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
def test_a_compressed_file_that_ends_too_early(tmp_path, packed):
    """Wherever it is cut: TensorFlow 2.21 reads one without its checksum as if it were whole."""
    whole = packed(tfrecord(tmp_path, *[bytes([n]) * 9 for n in range(9)]))
    path = tmp_path / "a.tfrecord"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="ends too early: copy it again"):
            check_complete(path)
    path.write_bytes(whole)
    check_complete(path)
    if packed is gzip.compress:
        path.write_bytes(whole + whole)
        check_complete(path)
    path.write_bytes(whole[:-6] + bytes(2) + whole[-4:])
    with pytest.raises(DataError, match=r"damaged|ends too early"):
        check_complete(path)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "a.tfrecord").mkdir()
    (tmp_path / "a.tfrecord" / "part-0").write_text("")
    with pytest.raises(DataError, match=r"Is a directory: is a folder; name the files in it \(part-0\)"):
        check_tfrecord(tmp_path / "a.tfrecord", "")
