"""What a sweep costs beside its jobs; and how fast a store takes runs from several writers."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.scale.child import DATA
from workbench.process.spawner import ForkServer
from workbench.record import METRICS
from workbench.sweep import conduct
from workbench.sweep.compose import Composer
from workbench.sweep.overrides import parsed
from workbench.sweep.sweep import run_sweep
from workbench.tracking import Tracker

ARMS = 10
"""Of each block."""
_OF_A_RUN = ("runs", "params", "tags", "metrics", "latest_metrics")
_AT_ONCE = 200
_PREPARE = """
import sys
from workbench.data.shards import prepare
from workbench.options.data import Synthetic
print(prepare(Synthetic(examples=20, mean=5, cache_dir=sys.argv[1])))
"""


def sweep(jobs: int, uri: str | None) -> dict[str, float]:
    """Seconds and memory of a sweep of `jobs`: its dry run, itself, resuming it complete, reading it, its report.

    `uri`: of the store; None: a new SQLite database. All in this process, which should be a new one.
    """
    with tempfile.TemporaryDirectory() as scratch, _small_jobs(Path(scratch)):
        database = Path(scratch) / "mlflow.db"
        where = uri or f"sqlite:///{database}"
        name = f"scale-{jobs}-{os.getpid()}"
        asked = [
            f"name={name}",
            f"cell.units=range(1,{ARMS + 1})",
            f"seed=range(1,{jobs // ARMS + 1})",
            f"tracking.uri={where}",
            f"tracking.artifacts={scratch}/artifacts",
            f"tracking.folder={scratch}/runs",
            "workbench.quiet=true",
        ]
        console = Console(file=io.StringIO())

        def run(words: list[str]) -> int:
            parsed.cache_clear()  # a command begins with nothing composed
            return run_sweep(Composer(), words, console).code

        found: dict[str, float] = {"jobs": jobs}
        found["dry_run_s"] = _seconds(lambda: run([*asked, "workbench.dry_run=true"]))
        found["memory_before_mb"] = _peak_mb()
        own, begun = _cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)
        found["sweep_s"] = _seconds(lambda: _must(run(asked)))
        found["parent_cpu_s"] = _cpu(resource.RUSAGE_SELF) - own
        found["children_cpu_s"] = _cpu(resource.RUSAGE_CHILDREN) - begun
        found["memory_after_mb"] = _peak_mb()
        found["resume_s"] = _seconds(lambda: _must(run([*asked, "workbench.resume=true"])))
        tracker = Tracker(where, create=False)
        found["read_s"] = _seconds(lambda: _expect(len(tracker.runs(name)), jobs + 1))
        found |= looked_at(name, where)
        if uri is None:
            found["store_mb"] = sum(one.stat().st_size for one in database.parent.glob("mlflow.db*")) / 1e6
        return found


def writers(count: int, each: int, uri: str | None) -> dict[str, float]:
    """`count` processes that record `each` runs at the same time: runs a second over all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        where = uri or f"sqlite:///{scratch}/mlflow.db"
        experiment = Tracker(where, f"{scratch}/artifacts").experiment(f"writers-{count}-{os.getpid()}")
        context = multiprocessing.get_context("spawn")
        ready, go = context.Semaphore(0), context.Event()
        processes = [
            context.Process(target=_write, args=(where, experiment, each, ready, go), daemon=True)
            for _ in range(count)
        ]
        for process in processes:
            process.start()
        for _ in processes:
            while not ready.acquire(timeout=5):
                if any(process.exitcode for process in processes):
                    raise RuntimeError(f"{count} writers: one of them failed before it wrote")
        start = time.perf_counter()
        go.set()
        for process in processes:
            process.join()
        seconds = time.perf_counter() - start
        if any(process.exitcode for process in processes):
            raise RuntimeError(f"{count} writers: one of them failed")
        found = Tracker(where, create=False).matching("", None)
        _expect(sum(run.experiment == experiment for run in found), count * each)
        return {
            "writers": count,
            "runs": count * each,
            "seconds": seconds,
            "runs_per_s": count * each / seconds,
        }


def fill(uri: str, runs: int) -> float:
    """Put so many runs of another experiment into a store, as others have recorded before; seconds.

    One is recorded; the others are its rows again in the store's tables, since recording them would take an hour.
    """
    import sqlalchemy as sql

    with tempfile.TemporaryDirectory() as scratch:
        tracker = Tracker(uri, f"{scratch}/artifacts")
        experiment = tracker.experiment("before")
        if tracker.runs("before"):
            raise RuntimeError(f"{uri} was filled before: give an empty database")
        _record(tracker, experiment, 1)
        (one,) = tracker.runs("before")
        start = time.perf_counter()
        engine, tables = sql.create_engine(tracker.uri), sql.MetaData()
        tables.reflect(engine)
        with engine.begin() as connection:
            for table in (tables.tables[name] for name in _OF_A_RUN):
                rows = connection.execute(sql.select(table).where(table.c.run_uuid == one.run_id)).mappings()
                its = [dict(row) for row in rows]
                for first in range(1, runs, _AT_ONCE):
                    names = [f"{number:032x}" for number in range(first, min(first + _AT_ONCE, runs))]
                    copies = [{**row, "run_uuid": name} for name in names for row in its]
                    connection.execute(sql.insert(table), copies)
        engine.dispose()
        _expect(len(tracker.runs("before")), runs)
        return time.perf_counter() - start


def looked_at(name: str, uri: str) -> dict[str, float]:
    """Seconds of the report of an experiment's last sweep, and until `workbench.ui` says where its runs are."""
    with tempfile.TemporaryDirectory() as scratch:
        report = [sys.executable, "-m", "workbench.report", name, "--uri", uri, "--out", f"{scratch}/report"]
        found = {"report_s": _seconds(lambda: subprocess.run(report, check=True, stdout=subprocess.DEVNULL))}
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        words = [
            sys.executable,
            "-m",
            "workbench.ui",
            name,
            "--uri",
            uri,
            "--no-browser",
            "--port",
            str(port),
        ]
        start = time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as ui:
            assert ui.stdout is not None
            while not (line := ui.stdout.readline()).startswith("http"):
                if not line:
                    raise RuntimeError("workbench.ui said no address")
            found["ui_s"] = time.perf_counter() - start
            ui.terminate()
        return found


def _write(uri: str, experiment: str, runs: int, ready: Any, go: Any) -> None:
    tracker = Tracker(uri, create=False)
    ready.release()
    go.wait()
    _record(tracker, experiment, runs)


def _record(tracker: Tracker, experiment: str, runs: int) -> None:
    params = {f"group.option{number}": number for number in range(80)}
    rows = [(step, {"loss/step": 1.0 / step}) for step in range(1, 21)]
    for number in range(runs):
        run_id = tracker.start(experiment, f"run {number}", params=params, tags={"workbench.kind": "run"})
        tracker.log(run_id, [*rows, (20, dict.fromkeys(METRICS, 1.0))])
        tracker.finish(run_id, "FINISHED")


@contextlib.contextmanager
def _small_jobs(scratch: Path) -> Iterator[None]:
    """Sweeps in this process start jobs that compute nothing, on a data set that is there."""
    made = subprocess.run(
        [sys.executable, "-c", _PREPARE, str(scratch / "data")], capture_output=True, text=True, check=True
    )
    before, conduct.ForkServer = conduct.ForkServer, _server  # type: ignore[misc, assignment]
    os.environ[DATA] = made.stdout.strip().splitlines()[-1]
    try:
        yield
    finally:
        conduct.ForkServer = before  # type: ignore[misc]
        del os.environ[DATA]


def _server(log: Path, environment: Any) -> ForkServer:
    return ForkServer(log, environment, module="experiments.scale.child", preloaded=["workbench.record"])


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _must(code: int) -> None:
    if code:
        raise RuntimeError(f"the sweep ended with exit code {code}")


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"{found} runs are in the store, and {wanted} were made")


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def fitted(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """a + b N + c N^2, none below 0, by the relative errors: what grows faster than the jobs shows in c.

    >>> a, b, c = fitted([10, 100, 1000], [1.1, 2.0, 11.0])
    >>> round(a, 3), round(b, 4), round(c, 6)
    (1.0, 0.01, 0.0)
    """
    import numpy as np
    from scipy.optimize import nnls

    n = np.array(sizes, float)
    features = np.stack([np.ones_like(n), n, n**2], axis=1)
    scale = features.max(axis=0)
    found, _ = nnls(features / scale / np.array(seconds)[:, np.newaxis], np.ones(len(n)))
    a, b, c = (found / scale).tolist()
    return a, b, c
