"""Records in MLflow: the only importer of mlflow.

A new SQLite database is made in one process under a file lock, since MLflow's migrations are not locked and
two processes that make one at once destroy it.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import socket
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import mlflow
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from workbench import artifacts as places
from workbench import database as files
from workbench.database import TrackingError
from workbench.provenance import without_passwords
from workbench.record import Run
from workbench.record.tags import ERROR, KIND, PARENT, SWEEP

_SQLITE = "sqlite:///"
_LONGEST_PARAM = 6000
_BATCH = 900
_PAGE = 1000
_DELETED = re.compile(r"The run (\w+) must be in the 'active' state")
_POINTER = re.compile(r"\(Background on this error at: \S+\)")
"""SQLAlchemy's, to a page that says nothing of what happened here."""


class Tracker:
    """Writes runs to one tracking server or database, and reads them back.

    Raises:
        TrackingError: nothing answers at the address, or the database is of another MLflow version.
    """

    def __init__(
        self, uri: str, artifacts: str | None = None, *, wal: bool = True, create: bool = True
    ) -> None:
        self.uri, self._database = _resolved(uri)
        if self._database and not create and not self._database.exists():
            raise TrackingError(
                f"tracking.uri={uri}: there is no database {self._database}; run something first"
            )
        self._artifacts = Path(artifacts).absolute() if artifacts else None
        self._looked_at: set[str] = set()
        if self._database:
            with _explained(self.uri):
                _initialise(self._database, self.uri, wal)
        else:
            _answers(self.uri)
        self._opened = _same_file(self._database) if self._database else None
        _quiet()
        mlflow.set_tracking_uri(self.uri)
        with _explained(self.uri):
            self._client = MlflowClient(self.uri)
            self._client.search_experiments(max_results=1)

    def experiment(self, name: str) -> str:
        """The id of an experiment, made where it is not there."""
        with self._reached(), self._lock():
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                if found.lifecycle_stage == "deleted":
                    raise TrackingError(
                        f"tracking.uri={without_passwords(self.uri)}: {self._restore(found)}, or give "
                        "another name=..."
                    )
                self._at_home(found, writes=True)
                return found.experiment_id
            folder = None
            if self._artifacts:
                wanted = places.below(self._artifacts, name)
                places.make(wanted, self._artifacts)
                folder = wanted.as_uri()
            return self._client.create_experiment(name, artifact_location=folder)

    def _at_home(self, found: Any, *, writes: bool = False) -> None:
        """Hold an experiment's artifact location against the configured place; under the lock.

        A project that was copied or moved has the runs' artifacts in the configured place: the record is put right.

        Raises:
            TrackingError: what is written would go elsewhere than configured (only where `writes`).
        """
        name, location = found.name, found.artifact_location
        old = places.local(location)
        if self._database is None:
            self._say_whose(name, location, old)
            return
        base = self._artifacts or self._database.parent / "artifacts"
        new = places.below(base, name)
        if old is None:
            if writes and self._artifacts:
                raise TrackingError(
                    f"tracking.artifacts={base}: experiment {name!r} keeps its artifacts at {location}; "
                    "tracking.artifacts=null leaves them there, or give another name=..."
                )
            return
        runs = frozenset(run.run_id for run in self._search([found.experiment_id], "", every=True))
        both = places.Places(old, new, runs)
        if both.is_one:
            pass
        elif both.may_move and (self._artifacts or both.at(new)):
            places.make(new, base)
            files.rewrite_location(self._database, found.experiment_id, location, new.as_uri())
            print(
                f"experiment {name!r}: its artifacts lie in {new}, and no longer in {old}: the record says so now",
                file=sys.stderr,
            )
        elif writes and self._artifacts:
            raise TrackingError(both.refusal(name))
        else:
            new = old
        if writes and self._artifacts:
            places.make(new, base)

    def _say_whose(self, name: str, location: str, old: Path | None) -> None:
        """A server's experiments lie where the server has them, whatever is configured here."""
        if self._artifacts and old != self._artifacts / name:
            print(
                f"tracking.artifacts={self._artifacts} does nothing here: the server keeps the artifacts of "
                f"experiment {name!r} at {location}",
                file=sys.stderr,
            )

    def start(
        self,
        experiment: str,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        """Open a run and return its id.

        Its kind is set last: a run whose process died while it was opened is of no kind, and no data. One that
        could not be opened whole is closed.
        """
        own = {"mlflow.runName": name, "mlflow.source.type": "LOCAL", "mlflow.source.name": "workbench"}
        if parent:
            own[PARENT] = parent
        kind = {key: value for key, value in tags.items() if key == KIND}
        others = {key: value for key, value in tags.items() if key != KIND}
        with self._reached():
            run = self._client.create_run(experiment, tags={**own, **others}, run_name=name)
        run_id = str(run.info.run_id)
        try:
            self.params(run_id, params)
            if kind:
                self.tag(run_id, kind)
        except BaseException as error:
            with suppress(TrackingError):
                why = str(error) or "interrupted"
                self.tag(run_id, {ERROR: f"could not be opened: {why}"[:5000]})
            with suppress(TrackingError):
                self.finish(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        return run_id

    def params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log parameters; a value too long for MLflow is cut, the whole config is an artifact."""
        entries = [Param(key, as_text(value)[:_LONGEST_PARAM]) for key, value in params.items()]
        with self._reached():
            for at in range(0, len(entries), 100):
                self._client.log_batch(run_id, params=entries[at : at + 100])

    def log(self, run_id: str, rows: list[tuple[int, Mapping[str, float]]]) -> None:
        """Log rows of (step, values) in as few calls as can be.

        What is not finite is logged as NaN, which MLflow ranks behind all numbers; +inf it keeps as 1.8e308.
        """
        now = int(time.time() * 1000)
        entries = [
            Metric(name, float(value) if math.isfinite(value) else math.nan, now, step)
            for step, values in rows
            for name, value in values.items()
        ]
        with self._reached():
            for at in range(0, len(entries), _BATCH):
                self._client.log_batch(run_id, metrics=entries[at : at + _BATCH])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        entries = [RunTag(key, str(value)) for key, value in tags.items()]
        with self._reached():
            for at in range(0, len(entries), 100):
                self._client.log_batch(run_id, tags=entries[at : at + 100])

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Keep a file, or all files of a folder."""
        with self._kept(run_id):
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), folder)
            else:
                self._client.log_artifact(run_id, str(path), folder)

    def text(self, run_id: str, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        with self._kept(run_id):
            self._client.log_text(run_id, text, name)

    @contextmanager
    def _kept(self, run_id: str) -> Iterator[None]:
        """An artifact that cannot be kept is an error of the store, which names the place."""
        try:
            with self._reached():
                yield
        except OSError as error:
            raise TrackingError(f"the artifacts of run {run_id} cannot be kept: {error}") from error

    def finish(self, run_id: str, status: str) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        with self._reached():
            self._client.set_terminated(run_id, status)

    def runs(self, experiment: str, sweep: str | None = None) -> list[Run]:
        """The runs of an experiment, by its name, or of one of its sweeps; the oldest first."""
        return self._search(self._experiments(experiment), f"tags.`{SWEEP}` = '{sweep}'" if sweep else "")

    def running(self) -> list[Run]:
        """The runs of all experiments that nobody has closed."""
        return self._search(self._experiments(), "attributes.status = 'RUNNING'")

    def sweeps(
        self, *, experiment: str | None = None, sweep: str | None = None, deleted: bool = False
    ) -> list[Run]:
        """The parents of sweeps, of one experiment (by its name) or of all, by their id or all; newest first.

        With `deleted` only those that were deleted in MLflow, also of experiments that were.
        """
        clause = f"tags.`{KIND}` = 'sweep'" + (f" and tags.`{SWEEP}` = '{sweep}'" if sweep else "")
        of, view = self._experiments(experiment, deleted=deleted), ViewType.ACTIVE_ONLY
        return self._search(of, clause, "DESC", ViewType.DELETED_ONLY if deleted else view)

    def deleted_experiment(self, name: str) -> str:
        """In words, that an experiment was deleted, and how it is restored; empty where it was not."""
        with self._reached():
            found = self._client.get_experiment_by_name(name)
        return self._restore(found) if found is not None and found.lifecycle_stage == "deleted" else ""

    def _restore(self, found: Any) -> str:
        command = self.mlflow(f"experiments restore --experiment-id {found.experiment_id}")
        return f"experiment {found.name!r} was deleted in MLflow; restore it by {command}"

    def mlflow(self, words: str) -> str:
        """A command of MLflow's for this store, to be typed."""
        return f"`MLFLOW_TRACKING_URI={shlex.quote(without_passwords(self.uri))} mlflow {words}`"

    def experiment_name(self, run: Run) -> str:
        """The name of a run's experiment."""
        with self._reached():
            return str(self._client.get_experiment(run.experiment).name)

    def reopen(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set a run that was closed running again; the error that it was closed with is no longer its own."""
        with self._reached():
            self._client.update_run(run_id, status="RUNNING")
            if ERROR in self.get(run_id).tags:
                self._client.delete_tag(run_id, ERROR)
        self.tag(run_id, tags)

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """The runs of an experiment, by its id, that carry all these tags; the oldest first."""
        clause = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return self._search([experiment], clause)

    def get(self, run_id: str) -> Run:
        """One run, by its id."""
        return _typed(self._recorded(run_id))

    def _recorded(self, run_id: str) -> MlflowRun:
        with self._reached():
            return self._client.get_run(run_id)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Every (step, value) that was logged of a metric, by step."""
        with self._reached():
            found = self._client.get_metric_history(run_id, metric)
        return sorted((one.step, one.value) for one in found)

    def files(self, run_id: str, folder: str | None = None) -> list[str]:
        """The names of a run's artifacts in a folder, or of those in none."""
        self._look(run_id)
        with self._reached():
            return [Path(one.path).name for one in self._client.list_artifacts(run_id, folder)]

    def read_text(self, run_id: str, name: str) -> str:
        """An artifact of a run, as text."""
        uri = self._look(run_id)
        try:
            with self._reached():
                path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name)
            return Path(path).read_text()
        except (TrackingError, OSError) as error:
            folder = places.local(uri)
            missing = folder is not None and not (folder / name).exists()
            why = "there is no such file" if missing else str(error)
            raise TrackingError(f"{name} of run {run_id}, looked for in {folder or uri}: {why}") from error

    def _look(self, run_id: str) -> str:
        """Where a run's artifacts lie, once the record of its experiment has been held against the places."""
        run = self._recorded(run_id)
        experiment = run.info.experiment_id
        if experiment not in self._looked_at:
            with self._reached(), self._lock():
                self._at_home(self._client.get_experiment(experiment))
            self._looked_at.add(experiment)
            run = self._recorded(run_id)
        return str(run.info.artifact_uri)

    def _experiments(self, name: str | None = None, *, deleted: bool = False) -> list[str]:
        """The ids of all experiments, or of the one of a name, where it is there."""
        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        with self._reached():
            if name is None:
                found = _all_pages(lambda **page: self._client.search_experiments(view_type=view, **page))
            else:
                found = [one for one in [self._client.get_experiment_by_name(name)] if one]
        return [str(one.experiment_id) for one in found]

    def _search(
        self,
        experiments: Sequence[str],
        clause: str,
        order: str = "ASC",
        view: int = ViewType.ACTIVE_ONLY,
        *,
        every: bool = False,
    ) -> list[Run]:
        """All runs of these experiments that the clause takes, by their start; with `every` also the deleted."""
        by = [f"attributes.start_time {order}"]
        view = ViewType.ALL if every else view
        if not experiments:
            return []
        with self._reached():
            found = _all_pages(
                lambda **page: self._client.search_runs(
                    list(experiments), clause, run_view_type=view, order_by=by, **page
                )
            )
        return [_typed(run) for run in found]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Errors explained. SQLite goes on in a file that was moved or deleted: nobody would find what it took."""
        if self._database and _same_file(self._database) != self._opened:
            raise TrackingError(
                f"tracking.uri={self.uri}: {self._database} is no longer the file that was opened: it was moved, "
                "deleted or replaced; put it back: a sweep then goes on with workbench.resume=true"
            )
        with _explained(self.uri):
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if self._database is None:
            yield
            return
        with files.file_lock(self._database):
            yield


def _all_pages(search: Callable[..., Any]) -> list[Any]:
    """Everything that one of MLflow's searches finds, which it gives in pages."""
    found, token = [], None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _typed(run: MlflowRun) -> Run:
    """A run as MLflow gives it, as everything else takes it."""
    end = run.info.end_time
    return Run(
        run_id=str(run.info.run_id),
        status=str(run.info.status),
        params=dict(run.data.params),
        metrics={name: value for name, value in run.data.metrics.items() if not math.isnan(value)},
        tags=dict(run.data.tags),
        start=(run.info.start_time or 0) / 1000,
        end=None if end is None else end / 1000,
        experiment=str(run.info.experiment_id),
        is_deleted=run.info.lifecycle_stage == "deleted",
    )


def _resolved(uri: str) -> tuple[str, Path | None]:
    """The URI with an absolute path where it names a SQLite file, and that file."""
    if uri.startswith(_SQLITE):
        path = Path(uri[len(_SQLITE) :]).resolve()
        return f"{_SQLITE}{path}", path
    if re.fullmatch(r"https?|(postgresql|mysql|mssql)(\+\w+)?", urlparse(uri).scheme):
        return uri, None
    raise TrackingError(
        f"tracking.uri={without_passwords(uri)}: must be sqlite:///FILE, an http(s) address of a server, or the "
        "URI of a PostgreSQL, MySQL or SQL Server database"
    )


def _initialise(database: Path, uri: str, wal: bool) -> None:
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(
            f"tracking.uri={uri}: cannot make the folder {database.parent}: {error}"
        ) from error
    with files.file_lock(database):
        _quiet()
        if not database.exists():
            _make(database, wal)
        elif not wal and files.is_wal(database):
            files.leave_wal(database)
        try:
            MlflowClient(uri).search_experiments(max_results=1)
        except Exception as error:
            if hint := files.explain_wal(database) if "disk I/O" in str(error) else "":
                raise TrackingError(f"tracking.uri={uri}: {hint}") from error
            raise


def _same_file(database: Path) -> tuple[int, int] | None:
    """What tells a file from another at its place; None where there is none."""
    try:
        found = database.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _make(database: Path, wal: bool) -> None:
    """A new database, renamed into place as a whole: one whose migrations were cut short cannot be used again."""
    migrated, whole = (database.with_name(f"{database.name}.{name}") for name in ("new", "whole"))
    for left_over in (migrated, whole):
        left_over.unlink(missing_ok=True)
    MlflowClient(f"{_SQLITE}{migrated}").search_experiments(max_results=1)
    with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(whole)) as target:
        source.backup(target)  # a copy, since MLflow keeps the other open
    if wal and (why := files.try_wal(whole)):
        print(
            f"{database}: no write-ahead log works there ({why}); it is made without, as by tracking.wal=false",
            file=sys.stderr,
        )
    whole.rename(database)
    migrated.unlink()


def _answers(uri: str) -> None:
    address = urlparse(uri)
    if address.scheme not in ("http", "https"):
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise TrackingError(
            f"tracking.uri={without_passwords(uri)}: nothing answers there ({error}); start the server "
            "(`mlflow server --port ...`), or take tracking=sqlite"
        ) from error


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        message = " ".join(_POINTER.sub("", str(error)).split())
        where = f"tracking.uri={without_passwords(uri)}"
        if "out-of-date database schema" in message or "Can't locate revision" in message:
            raise TrackingError(
                f"{where}: the database was written by another MLflow version (this is {mlflow.__version__}); copy "
                f"it, then `mlflow db upgrade {without_passwords(uri)}`, or give another tracking.uri. "
                f"MLflow says: {message}"
            ) from error
        if "error code 401" in message or "not authenticated" in message:
            raise TrackingError(
                f"{where}: the server does not take these credentials; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment"
            ) from error
        if gone := _DELETED.search(message):
            restore = f"mlflow runs restore --run-id {gone[1]}"
            raise TrackingError(
                f"{where}: run {gone[1]} was deleted in MLflow; restore it by `{restore}`"
            ) from error
        if "database is locked" in message:
            raise TrackingError(
                f"{where}: {message}; another program has had it locked for long: end that, or wait for it"
            ) from error
        if "disk I/O error" in message or "locking protocol" in message:
            raise TrackingError(
                f"{where}: {message}; a network drive may lack what SQLite needs: take tracking.wal=false, a local "
                "disk, or tracking=server"
            ) from error
        if "disk is full" in message:
            raise TrackingError(f"{where}: {message}; make room where it lies") from error
        raise TrackingError(f"{where}: {message}") from error
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"tracking.uri={without_passwords(uri)}: this kind of database needs the package {error.name}: "
            "install it, or take tracking=sqlite"
        ) from error
    except sqlite3.DatabaseError as error:
        raise TrackingError(f"tracking.uri={uri}: not a usable SQLite database ({error})") from error
    except Exception as error:
        if type(error).__module__.startswith(("sqlalchemy", "alembic")):
            message = " ".join(_POINTER.sub("", str(error)).split())
            hint = (
                f"the database was written by another MLflow version (this is {mlflow.__version__})"
                if "revision" in message
                else "the database cannot be used; is it a whole SQLite file, and is the disk full?"
            )
            raise TrackingError(f"tracking.uri={without_passwords(uri)}: {hint}: {message[:400]}") from error
        raise


def as_text(value: Any) -> str:
    """A value as MLflow keeps it: text."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # it logs every error that it raises with fifty lines of traceback; ours say what to do
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="mlflow|alembic|sqlalchemy")
