"""Options of the whole suite, which part of a grid of parameters the quick one takes, and MLflow's databases."""

from __future__ import annotations

import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from typing import Any
from zlib import crc32

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=12,
        help="processes that the fault test kills at random moments; over 100 is its long form",
    )


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` is looked at, and before the order is shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test marked `covering(n)` has beside a part in which any n values of its parameters meet is slow."""
    grids = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("covering"):
            grids[item.parent, item.originalname].append(item)
    for grid in grids.values():
        mark = grid[0].get_closest_marker("covering")
        assert mark is not None
        together = {item: _meetings(item, *mark.args) for item in grid}
        for item in set(grid) - _cover(together):
            item.add_marker(pytest.mark.slow)


def _meetings(item: pytest.Function, number: int) -> set[tuple[tuple[str, int], ...]]:
    """Each `number` of a test's parameters with their values."""
    values = sorted((name, id(value)) for name, value in item.callspec.params.items())
    return set(combinations(values, number))


def _cover(together: dict[pytest.Function, set[tuple[tuple[str, int], ...]]]) -> set[pytest.Function]:
    """Tests in which whatever meets in any meets once, about as few as can be; the same ones each time."""
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
