"""Options of the whole suite, its quick part of a grid, which file is first, and MLflow's databases."""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from typing import Any
from zlib import crc32

import pytest

THREADS = "TF_NUM_INTRAOP_THREADS"
OURS = pytest.StashKey[bool]()
"""Whether THREADS is set by this file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=12,
        help="processes that the fault test kills at random moments; over 100 is its long form",
    )
    parser.addoption(
        "--hostile",
        type=int,
        default=30,
        help="damaged inputs that each reader of data is given; a million are its long form",
    )
    parser.addoption(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="K/N",
        help="beside all quick tests the K-th of N parts of the slow ones",
    )
    parser.addoption(
        "--gpu", action="store_true", help="with the GPU, without TF32; skips all where there is none"
    )


def _part(text: str) -> tuple[int, int]:
    """
    >>> _part("2/3")
    (2, 3)
    """
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part: K/N with K from 1 to N, as 2/3")
    return int(number), int(parts)


def pytest_configure(config: pytest.Config) -> None:
    """Without `--gpu` tests see none, since TF32 and memory taken whole would fail them; with it each takes what it
    needs.
    """
    if config.getoption("--gpu"):
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    elif shutil.which("nvidia-smi"):
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    if workers > 1 and THREADS not in os.environ:
        # threads that wait for another worker's core double the time of what a test computes
        os.environ[THREADS] = str(max(1, (os.cpu_count() or 1) // workers))
        config.stash[OURS] = True


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` is looked at, and before the order is shuffled
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test marked `covering(n)` what is beside a part in which any n values of its parameters meet is slow.

    Of one marked `covering(n, m)` no more is run than a part in which any m values meet.
    Of the slow ones those of another `--part` are left out. Files that start processes are run first.
    """
    if config.getoption("--gpu") and (why := _without_gpu()):
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))
    grids = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("covering"):
            grids[item.parent, item.originalname].append(item)
    left_out: set[pytest.Item] = set()
    for grid in grids.values():
        mark = grid[0].get_closest_marker("covering")
        assert mark is not None
        number, *most = mark.args
        quick = _cover(grid, number)
        assert quick, f"{grid[0].originalname}: covering({number}) of fewer parameters leaves no quick test"
        for item in set(grid) - quick:
            item.add_marker(pytest.mark.slow)
        if most:
            left_out |= set(grid) - quick - _cover(grid, *most)
    slow = [item for item in items if item.get_closest_marker("slow") and item not in left_out]
    left_out.update(_beside_the_part(slow, *config.getoption("--part")))
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    _begin_with_the_longest(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What the imports made stays: collecting garbage needs not look at it each time, for up to seconds a time.

    Processes that tests start have as many threads as a user's have; so has a worker none of whose files imports
    TensorFlow before its tests do.
    """
    if session.config.stash.get(OURS, False):
        if tf := sys.modules.get("tensorflow"):
            tf.config.list_logical_devices()  # which makes its threads
        del os.environ[THREADS]
    gc.collect()
    gc.freeze()


def _beside_the_part(items: list[pytest.Item], number: int, parts: int) -> list[pytest.Item]:
    """What is not in one of the parts, which are of nearly as many tests each.

    All parameters of a test are in one part, as what its fixtures make is made for all.
    """
    part_of, sizes = dict[str, int](), [0] * parts
    of_name = Counter(_without_parameters(item) for item in items)
    for name in sorted(of_name, key=lambda name: (-of_name[name], crc32(name.encode()))):
        part_of[name] = sizes.index(min(sizes))
        sizes[part_of[name]] += of_name[name]
    return [item for item in items if part_of[_without_parameters(item)] != number - 1]


def _without_parameters(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _begin_with_the_longest(items: list[pytest.Item]) -> None:
    """Files that start processes, then those of most tests: none of them is left to one worker at the end."""
    number = Counter(item.path for item in items)
    starts_processes = {item.path for item in items if item.get_closest_marker("command")}
    items.sort(key=lambda item: (item.path not in starts_processes, -number[item.path]))


def _without_gpu() -> str:
    """Why no test can have a GPU here; empty where it can, and then products are full float32 as on a CPU."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    return "" if tf.config.list_physical_devices("GPU") else "TensorFlow sees no GPU"


def _cover(grid: list[pytest.Function], number: int) -> set[pytest.Function]:
    """About as few tests as can be in which whatever `number` values meet in any meet; the same ones each time."""
    together = {
        item: set(
            combinations(sorted((name, id(value)) for name, value in item.callspec.params.items()), number)
        )
        for item in grid
    }
    left, taken = set().union(*together.values()), set()
    ordered = sorted(together, key=lambda item: crc32(item.nodeid.encode()))
    while left:
        best = max(ordered, key=lambda item: len(together[item] & left))
        taken.add(best)
        left -= together[best]
    return taken


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow takes seconds to migrate a new SQLite file: of the first in this process the others are copies.

    Processes that tests start make theirs by themselves.
    """
    if "mlflow" not in sys.modules:  # of no test that was collected
        yield
        return
    from mlflow.store.db import utils

    migrate, kept = utils._initialize_tables, tmp_path_factory.mktemp("mlflow") / "migrated.db"

    def copy(engine: Any) -> None:
        if engine.url.get_backend_name() != "sqlite":
            return migrate(engine)
        if not (is_kept := kept.exists()):
            migrate(engine)
        with closing(sqlite3.connect(kept)) as known, closing(engine.raw_connection()) as new:
            source, target = (known, new) if is_kept else (new, known)
            getattr(source, "driver_connection", source).backup(getattr(target, "driver_connection", target))
        return None

    utils._initialize_tables = copy
    yield
    utils._initialize_tables = migrate
