"""Where runs are kept, made ready: an address checked, a new SQLite database made, a server asked if it answers.

A new database is made in one process under a file lock, since MLflow's migrations are not locked and two
processes that make one at once destroy it.
"""

from __future__ import annotations

import logging
import re
import socket
import sqlite3
import sys
import warnings
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse

from mlflow.tracking import MlflowClient
from requests.utils import get_environ_proxies, select_proxy

from workbench.provenance import without_passwords
from workbench.tracking import database
from workbench.tracking.database import TrackingError

_SQLITE = "sqlite:///"


def resolved(uri: str) -> tuple[str, Path | None]:
    """The URI with an absolute path where it names a SQLite file, and that file."""
    if uri.startswith(_SQLITE):
        path = _sqlite_file(uri[len(_SQLITE) :])
        return f"{_SQLITE}{path}", path
    if re.fullmatch(r"https?|(postgresql|mysql|mssql)(\+\w+)?", urlparse(uri).scheme):
        return uri, None
    raise TrackingError(
        f"tracking.uri={without_passwords(uri)}: must be sqlite:///FILE, an http(s) address of a server, or the "
        "URI of a PostgreSQL, MySQL or SQL Server database (a folder of MLflow's file store is reached through "
        "a server: mlflow server --backend-store-uri FOLDER)"
    )


def _sqlite_file(named: str) -> Path:
    try:
        path = Path(named).expanduser().resolve()
    except RuntimeError as error:  # ~nobody
        raise TrackingError(f"tracking.uri={_SQLITE}{named}: {error}; give the path in full") from error
    why = ""
    if named in ("", ":memory:"):
        why = "names no file, and nothing would be kept; name one"
    elif re.search("[?%]", named + str(path)):
        # MLflow opens what they stand for, and makes a folder of the name as it is written
        why = (
            f"{path}: MLflow takes ? and % in a SQLite address as signs of its own; give the path as it is, "
            "without options, in a folder whose name has neither"
        )
    elif path.is_dir():
        why = f"{path} is a folder; name a file in it"
    if why:
        raise TrackingError(f"tracking.uri={_SQLITE}{named}: {why}")
    return path


def folder(artifacts: str) -> Path:
    """The folder that artifacts are to lie below; TrackingError for an address of anything else."""
    if re.match(r"[A-Za-z][\w+.-]+:", artifacts):
        raise TrackingError(
            f"tracking.artifacts={artifacts}: must be a folder, as a path; artifacts in a bucket go through a "
            "server (tracking=server)"
        )
    try:
        return Path(artifacts).expanduser().absolute()
    except RuntimeError as error:  # ~nobody
        raise TrackingError(f"tracking.artifacts={artifacts}: {error}; give the path in full") from error


def initialise(file: Path, uri: str, wal: bool) -> None:
    """A SQLite database that is there, can be written and is of this MLflow's version; a new one is made whole."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"tracking.uri={uri}: cannot make the folder {file.parent}: {error}") from error
    with database.lock(file):
        quiet()
        if not file.exists():
            _make(file, wal)
        database.require_writable(file)
        if not wal and database.is_wal(file):
            database.leave_wal(file)
        try:
            MlflowClient(uri).search_experiments(max_results=1)
        except Exception as error:
            if hint := database.explain_wal(file) if "disk I/O" in str(error) else "":
                raise TrackingError(f"tracking.uri={uri}: {hint}") from error
            raise


def same_file(file: Path) -> tuple[int, int] | None:
    """What tells a file from another at its place; None where there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _make(file: Path, wal: bool) -> None:
    """A new database, renamed into place as a whole: one whose migrations were cut short cannot be used again."""
    migrated, whole = (file.with_name(f"{file.name}.{name}") for name in ("new", "whole"))
    for left_over in (migrated, whole):
        left_over.unlink(missing_ok=True)
    MlflowClient(f"{_SQLITE}{migrated}").search_experiments(max_results=1)
    with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(whole)) as target:
        source.backup(target)  # a copy, since MLflow keeps the other open
    if wal and (why := database.try_wal(whole)):
        print(
            f"{file}: no write-ahead log works there ({why}); it is made without, as by tracking.wal=false",
            file=sys.stderr,
        )
    whole.rename(file)
    migrated.unlink()


def require_answer(uri: str) -> None:
    """Raise TrackingError where no server answers at an http(s) address."""
    address = urlparse(uri)
    if address.scheme not in ("http", "https"):
        return
    if select_proxy(
        uri, get_environ_proxies(uri)
    ):  # it is reached through another host, which is not asked here
        return
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError as error:
        raise TrackingError(
            f"tracking.uri={without_passwords(uri)}: {error}; give a port by its number"
        ) from error
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise TrackingError(
            f"tracking.uri={without_passwords(uri)}: nothing answers there ({error}); start the server "
            "(`mlflow server --port ...`), or take tracking=sqlite"
        ) from error


def quiet() -> None:
    """MLflow's own log says only what went wrong, and not with fifty lines of traceback: ours say what to do."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="mlflow|alembic|sqlalchemy")
