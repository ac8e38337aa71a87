"""What reads people's files: READERS is suffix -> Reader; `sources` finds the files and their splits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from workbench.data.convert.readers import arrays, arrow, conllu_rows, csv_rows, json_lines, text
from workbench.data.convert.rows import Reader
from workbench.data.convert.schema import FOLDER, Schema
from workbench.data.errors import DataError
from workbench.data.manifest import MANIFEST, SPLITS
from workbench.data.split_names import split_named, split_of_name
from workbench.wording import did_you_mean

OF_ARRAYS, OF_ARROW, TEXT = ".npy", ".arrow", ".txt"
READERS: Mapping[str, Reader] = {
    ".csv": csv_rows.READER,
    ".tsv": csv_rows.READER,
    ".jsonl": json_lines.READER,
    ".ndjson": json_lines.READER,
    ".json": json_lines.READER,
    ".parquet": arrow.READER,
    ".npz": arrays.READER,
    ".conllu": conllu_rows.READER,
    TEXT: text.READER,
}
_FOLDERS: Mapping[str, Reader] = {OF_ARRAYS: arrays.READER, OF_ARROW: arrow.READER}


class Source(NamedTuple):
    """A file, or a folder of one data set, that is read as a whole. `split` None: to be divided."""

    path: Path
    kind: str
    split: str | None

    @property
    def reader(self) -> Reader:
        """What reads it."""
        return reader_of(self.kind)


def reader_of(kind: str) -> Reader:
    """The reader of a suffix, of a file's or of those in a folder."""
    return READERS[kind] if kind in READERS else _FOLDERS[kind]


@contextmanager
def _looked_at() -> Iterator[None]:
    """A path that cannot be looked at is a DataError with the system's words."""
    try:
        yield
    except OSError as error:
        remedy = "it cannot be looked at: correct the name, or ask for the permission (ls -ld)"
        raise DataError(str(error.filename or "sources"), "file", str(error.strerror), remedy) from None


@_looked_at()
def find(given: Iterable[str], schema: Schema) -> list[Source]:
    """The sources in order, each with its split: as `SPLIT=PATH` says it, else as the schema, else its name.

    Where none is for validation, those for training are divided, unless a column says it or no share is wanted.
    """
    wanted = list(given)
    if schema.splits:
        if wanted:
            raise DataError(
                "schema", "splits", ", ".join(schema.splits), "name files there or here, not both"
            )
        for split, files in schema.splits.items():
            wanted += [f"{split_named(split, 'schema: splits')}={one}" for one in _listed(files)]
    if not wanted:
        raise DataError(
            "sources", "files", "none", "name them, before --inputs and its names; or `splits` in the schema"
        )
    found: list[Source] = []
    for one in wanted:
        said, path = _taken_apart(one)
        if said is not None and schema.split is not None:
            remedy = (
                f"and split = {schema.split}: an example's split is said by its file or by a column, not both"
            )
            raise DataError("sources", "splits", f"{said}={path}", remedy)
        found += _at(path, said, schema)
    seen: dict[Path, Source] = {}
    for source in found:
        first = seen.setdefault(source.path.resolve(), source)
        if first is not source:
            raise DataError(
                source.path, "file", "twice", "each of its examples would count twice: name it once"
            )
    if schema.split is not None:
        return [source._replace(split=None) for source in found]
    splits = {source.split for source in found}
    if splits and not splits & {"train", None}:
        raise DataError(
            "sources", "splits", ", ".join(map(str, splits)), "none is for training: name it so, train=FILE"
        )
    divided = "validation" not in splits and schema.validation_share > 0
    in_training = None if divided else "train"
    return [
        source._replace(split=in_training) if source.split in ("train", None) else source for source in found
    ]


def _listed(files: object) -> list[str]:
    return list(map(str, files)) if isinstance(files, list) else [str(files)]


def _taken_apart(given: str) -> tuple[str | None, Path]:
    word, equals, path = given.partition("=")
    if equals and not Path(given).exists():
        return split_named(word, given), Path(path)
    return None, Path(given)


def _at(path: Path, split: str | None, schema: Schema) -> list[Source]:
    """The sources that lie at a path."""
    if path.is_dir():
        return _in_folder(path, split, schema)
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(path, "file", "missing", f"there is no such file{did_you_mean(path.name, beside)}")
    kind = _kind(path)
    if kind is None:
        raise DataError(
            path, "file", path.suffix or "no suffix",
            f"is read by its suffix: {', '.join(READERS)} (each but .npz and .parquet also with .gz), a folder of "
            "them or of .npy files, or one that `datasets` saved",
        )  # fmt: skip
    return [Source(path, kind, split or split_of_name(path.name))]


def _kind(path: Path) -> str | None:
    if path.suffix == OF_ARRAYS:
        raise DataError(
            path, "file", "one array", f"give the folder, {path.parent}: it is read with those beside it"
        )
    name = path.name[:-3] if path.suffix.lower() == ".gz" else path.name
    kind = Path(name).suffix.lower()
    if name != path.name and kind in (".npz", ".parquet"):
        return None
    return kind if kind in READERS else None


def _of_one_kind(folder: Path, files: list[Path]) -> list[Path]:
    """The files that are read: a .txt only where nothing else is, as it may be a licence, or a treebank's text."""
    kinds = {one: kind for one in files if (kind := _kind(one)) is not None}
    others = {kind for kind in kinds.values() if kind != TEXT}
    if len({READERS[kind].rows for kind in others}) > 1:
        found = ", ".join(sorted(others))
        raise DataError(folder, "folder", found, "has files of several kinds: name the files that are meant")
    return [one for one, kind in kinds.items() if kind != TEXT or not others]


def _below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and those in it, linked ones too; each once, so that links make no circle."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in (*folders, *files))


def _in_folder(folder: Path, split: str | None, schema: Schema) -> list[Source]:
    if (folder / MANIFEST).exists():
        raise DataError(folder / MANIFEST, "file", "there", "is a data set already: data=tfrecord reads it")
    if (folder / arrow.OF_SPLITS).exists():
        parts = arrow.splits_of(folder)
        return [Source(path, OF_ARROW, split_named(name, str(folder))) for name, path in parts.items()]
    own = split or split_of_name(folder.name)
    if (folder / arrow.STATE).exists():
        return [Source(folder, OF_ARROW, own)]
    if any(folder.glob(f"*{OF_ARRAYS}")):
        return [Source(folder, OF_ARRAYS, own)]
    inside = sorted(_below(folder) if schema.labels == FOLDER else folder.iterdir())
    files = _of_one_kind(folder, [one for one in inside if one.is_file()])
    if not files:
        arrays_in = [one.name for one in inside if one.is_dir() and any(one.glob(f"*{OF_ARRAYS}"))]
        if set(arrays_in) & set(SPLITS):
            return [source for name in arrays_in for source in _in_folder(folder / name, split, schema)]
        names = ", ".join(one.name for one in inside[:3]) or "nothing"
        raise DataError(folder, "folder", names, f"no file with a suffix that is read: {', '.join(READERS)}")

    def named(path: Path) -> str | None:
        above = path.relative_to(folder).parts[:-1]
        return split or split_of_name(path.name) or next(filter(None, map(split_of_name, above)), None)

    return [Source(one, str(_kind(one)), named(one) or own) for one in files]
