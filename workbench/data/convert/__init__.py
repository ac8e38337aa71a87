"""People's files -> a data set of shards with its manifest, in two passes; no TensorFlow, flat memory.

    files -> parts -> [processes: rows -> arrays, saved] -> numbers of symbols and labels, counted
                   -> [processes: arrays -> SequenceExamples -> shards] -> manifest -> fsync -> rename

The first pass reads each file once and leaves arrays in a folder beside the one that is made, with symbols numbered
as they come; when all are counted, the second writes them with their ids. So a file that changes meanwhile cannot
make two halves of a data set. The folder appears at its name as a whole; what a killed conversion left is removed
by the next one to the same name.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.data.convert.divide import divide
from workbench.data.convert.layout import Layout, Left, settle
from workbench.data.convert.pack import pack
from workbench.data.convert.readers import Source, arrow, csv_rows, find, reader_of
from workbench.data.convert.rows import Block
from workbench.data.convert.schema import Schema
from workbench.data.convert.spool import Final, Saved, Spool, save
from workbench.data.convert.workplace import Run, building, in_processes
from workbench.data.convert.write import digests, jobs, write_shard
from workbench.data.errors import DataError
from workbench.data.given import check_some_weigh
from workbench.data.manifest import Manifest, Shard, from_json
from workbench.data.next_token import with_end

__all__ = ["Progress", "Schema", "convert"]

Progress = Callable[[str, int, int], None]
"""Told which pass it is ("reading", "writing"), and of what in all how much is done: bytes of files, shards."""


def convert(
    sources: Iterable[str | Path],
    folder: str | Path,
    schema: Schema | None = None,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Write `sources` as a data set: `python -m workbench data=tfrecord data.path=FOLDER` then runs on it.

    `sources`: files or folders, `SPLIT=PATH` where the name does not say which split it is. `folder` must not
    exist. With several `processes` a script calls it below `if __name__ == "__main__":`, for multiprocessing.

    Raises:
        DataError: a file, a row or the schema is wrong, naming it, or nothing can be written; then nothing is.
    """
    schema, folder = schema or Schema(), Path(folder)
    if schema.task == "next" and schema.vocabulary is not None:
        schema = _replaced(schema, vocabulary=with_end(schema.vocabulary)[0])
    found = find(map(str, sources), schema)
    _check_used(schema, found)
    with building(folder) as (work, spool_folder), in_processes(processes) as run:
        spool, layout, left = _read(found, schema, spool_folder, run, processes, progress or _untold)
        final = finished(spool, layout, str(folder), left, [one.split for one in found])
        source: dict[str, Any] = {"name": "convert", "files": sorted({one.path.name for one in found})}
        source |= {"validation_share": schema.validation_share} if spool.divided else {}
        return written(
            spool, final, layout, left, work, run, progress or _untold, name=folder.name, source=source
        )


def _untold(what: str, done: int, total: int) -> None:
    pass


def _check_used(schema: Schema, sources: Sequence[Source]) -> None:
    """Raise DataError for an option that none of these files can use: it would be passed over."""
    if schema.delimiter is not None and not any(one.reader is csv_rows.READER for one in sources):
        remedy = "stands between the columns of a .csv or .tsv, and none of these files is one: leave it out"
        raise DataError(sources[0].path, "delimiter", repr(schema.delimiter), remedy)
    if schema.over_length == "split" and schema.max_length is None:
        raise DataError("schema", "over_length", "split", "says nothing without a max_length: give it too")


# -- the first pass


class _Task(NamedTuple):
    block: Block
    layout: Layout
    folder: Path
    number: int


def _pack_and_save(task: _Task) -> tuple[list[Saved], Left, Block]:
    """In a process of its own: a block's rows as arrays on disk."""
    block, layout = task.block, task.layout
    reader, unlabelled = reader_of(block.reader), 0
    packed = reader.packed(block, layout) if reader.packed else None
    if packed is None:
        packed, unlabelled = pack(reader.rows(block, layout.schema), block, layout)
    divided, left = divide(packed, block, layout)
    if unlabelled:
        left.dropped["no_label"] = unlabelled
    saved = [
        save(of, task.folder, task.number, split, tag=layout.schema.labels_steps)
        for split, of in divided.items()
    ]
    return saved, left, block._replace(payload=None)


def _read(
    sources: Sequence[Source], schema: Schema, folder: Path, run: Run, processes: int, progress: Progress
) -> tuple[Spool, Layout, Left]:
    divided = schema.split is None and any(one.split is None for one in sources)
    spool, left = Spool(folder, divided), Left({}, {"examples": 0, "pieces": 0})
    total = sum(_size(one.path) for one in sources)
    layout, done = None, 0
    tasks = _Tasks(sources, schema, folder)
    for saved, of_block, block in run(_pack_and_save, tasks, 2 * processes + 1):
        for one in saved:
            spool.add(one, block.where)
        left.add(of_block)
        done += tasks.sizes.popleft()
        progress("reading", min(done, total), total)
    layout = tasks.layout
    if layout is None:
        raise DataError(
            ", ".join(str(one.path) for one in sources[:3]), "examples", "none", "nothing to train on"
        )
    return spool, layout, left


class _Tasks:
    """The blocks of all sources as they are read; the first that tells settles what all must be."""

    def __init__(self, sources: Sequence[Source], schema: Schema, folder: Path) -> None:
        self._sources, self._schema, self._folder = sources, schema, folder
        self._named: tuple[Path, list[str]] | None = None
        """The first file that names its classes, and the names."""
        self.layout: Layout | None = None
        self.sizes: deque[int] = deque()

    def __iter__(self) -> Iterator[_Task]:
        index = 0
        for source in self._sources:
            reader = source.reader
            schema = self._schema.named(reader.inputs, reader.labels)
            if self.layout is not None:
                schema = self._settled(schema)
            if reader is arrow.READER:
                schema = self._with_classes(schema, source.path)
            for part in reader.parts(source.path, schema):
                block = Block(source.kind, str(source.path), source.split, reader.unit, *part)
                if self.layout is None:
                    self.layout = settle(reader.rows(block, schema), block, schema)
                    schema = self._settled(schema)
                self.sizes.append(part.bytes)
                yield _Task(block, self.layout._replace(schema=schema), self._folder, index)
                index += 1

    def _settled(self, schema: Schema) -> Schema:
        assert self.layout is not None
        of = self.layout.schema
        return _replaced(schema, task=of.task, kind=of.kind, classes=schema.classes or of.classes)

    def _with_classes(self, schema: Schema, path: Path) -> Schema:
        """With the classes as the file names them: its class ids are places among those names."""
        own = arrow.classes(path, schema)
        if own is None:
            return schema
        self._named = self._named or (path, own)
        first, names = self._named
        if own != names:
            remedy = f"{first} has {', '.join(names)}: a class id means one thing; cast one's labels to the other's"
            raise DataError(path, "classes", ", ".join(own), remedy)
        if schema.classes is None:
            return _replaced(schema, classes=own)
        given = {name: place for place, name in enumerate(schema.classes)}
        if any(given.get(name, place) != place for place, name in enumerate(own)):
            remedy = (
                "those given are in another order, and class ids are places in the file's: give none, or so"
            )
            raise DataError(path, "classes", ", ".join(own), remedy)
        return schema


def _replaced(schema: Schema, **values: Any) -> Schema:
    return dataclasses.replace(schema, **values)


def _size(path: Path) -> int:
    try:
        return sum(one.stat().st_size for one in path.iterdir()) if path.is_dir() else path.stat().st_size
    except OSError:
        return 0


# -- between the passes, and the second


def finished(
    spool: Spool,
    layout: Layout,
    name: str,
    left: Left,
    splits: Iterable[str | None],
) -> Final:
    """Count to the end; each of `splits` must have an example."""
    schema = layout.schema
    is_next = schema.task == "next"
    if "train" not in spool.blocks:
        raise DataError(
            name, "splits.train", f"empty, dropped: {left.dropped}", "no example to train on: widen max_length, "
            "lower validation_share, or give more data (examples that are alike stay in one split)",
        )  # fmt: skip
    for split in splits:
        if split is not None and split not in spool.blocks:
            raise DataError(name, f"splits.{split}", f"empty, dropped: {left.dropped}", "no example in this split: "
                            "leave it out if none is wanted, else give more data")  # fmt: skip
    for split in spool.blocks:
        check_some_weigh(split in spool.weigh, name, split)
    final = spool.finish(
        name, kind=str(schema.kind), min_count=schema.min_count, first_class=schema.first_class,
        classes=schema.vocabulary if is_next else schema.classes, vocabulary=schema.vocabulary, is_next=is_next,
    )  # fmt: skip
    for what, array in (("ids", final.ids), ("classes", final.classes)):
        if array is not None:
            np.save(spool.folder / f"{what}.npy", array)
    return final


def written(
    spool: Spool, final: Final, layout: Layout, left: Left, work: Path, run: Run, progress: Progress = _untold, *,
    name: str, source: dict[str, Any],
) -> Manifest:  # fmt: skip
    """The shards and their manifest, in `work`."""
    schema = layout.schema
    todo = jobs(
        spool.blocks, spool.values, schema.shards, schema.compression, spool.folder, work,
        tag=schema.labels_steps, weights=layout.weights,
    )  # fmt: skip
    shards: list[Shard] = []
    for shard in run(write_shard, todo, len(todo)):
        shards.append(shard)
        progress("writing", len(shards), len(todo))
    _check_apart(shards, final, work, schema.compression, name)
    manifest = Manifest(
        name=name,
        task=str(schema.task),
        inputs="features" if schema.kind == "features" else "ids",
        labels=final.labels,
        splits=final.splits,
        shards=shards,
        vocabulary=final.vocabulary,
        feature_size=layout.width if schema.kind == "features" else None,
        first_class=1 if schema.task == "next" else schema.first_class,
        dropped=left.dropped,
        cut=left.cut if left.cut["examples"] else {},
        source=source,
        compression=schema.compression,
        weights=layout.weights,
    )
    from_json(manifest.to_json(), name)
    manifest.write(work)
    return manifest


def _check_apart(shards: Sequence[Shard], final: Final, work: Path, compression: str, name: str) -> None:
    """Raise DataError where two splits have the same examples, in whatever order; then their counts are alike."""
    found: dict[str, list[bytes]] = {}
    for split, info in final.splits.items():
        if list(final.splits.values()).count(info) > 1:
            found[split] = digests([work / one.file for one in shards if one.split == split], compression)
    for split, of in found.items():
        first = next(one for one in found if found[one] == of)
        if first != split:
            raise DataError(
                name, f"splits.{split}", f"{len(of)} examples", f"are those of {first}: what is learned on "
                "one would be measured on the same; give each split its own, or leave one out",
            )  # fmt: skip
