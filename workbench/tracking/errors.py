"""Errors of MLflow, its databases and its servers, explained: what it was, where, and what to do."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.exceptions import MlflowException

from workbench.provenance import without_passwords
from workbench.tracking.database import TrackingError

_DELETED = re.compile(r"The run (\w+) must be in the 'active' state")
_POINTER = re.compile(r"\(Background on this error at: \S+\)")
"""SQLAlchemy's, to a page that says nothing of what happened here."""
_LONGEST = 400
_OTHER_VERSION = f"the database was written by another MLflow version (this is {mlflow.__version__})"
_REMEDIES = {
    ("database is locked",): "another program has had it locked for long: end that, or wait for it",
    ("readonly database", "readonly directory"): (
        "the file or its folder cannot be written: make both writable, or copy them to where they can be"
    ),
    ("disk I/O error", "locking protocol"): (
        "a network drive may lack what SQLite needs: take tracking.wal=false, a local disk, or tracking=server"
    ),
    ("disk is full", "No space left"): "make room where it lies",
}


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Whatever MLflow raises inside, as a TrackingError that says what to do."""
    where = f"tracking.uri={without_passwords(uri)}"
    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"{where}: {_explanation(_one_line(error), uri)}") from error
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"{where}: this kind of database needs the package {error.name}: install it, or take tracking=sqlite"
        ) from error
    except sqlite3.DatabaseError as error:
        raise TrackingError(f"{where}: not a usable SQLite database ({error})") from error
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy", "alembic")):
            raise
        message = _one_line(error)
        hint = (
            _OTHER_VERSION
            if "revision" in message
            else _remedy(message)
            or "the database cannot be used; is it a whole SQLite file, and is the disk full?"
        )
        raise TrackingError(f"{where}: {hint}: {message[:_LONGEST]}") from error


def mlflow_command(uri: str, words: str) -> str:
    """A command of MLflow's for a store, to be typed."""
    return f"`MLFLOW_TRACKING_URI={shlex.quote(without_passwords(uri))} mlflow {words}`"


def _explanation(message: str, uri: str) -> str:
    if "out-of-date database schema" in message or "Can't locate revision" in message:
        upgrade = f"`mlflow db upgrade {shlex.quote(without_passwords(uri))}`"
        return (
            f"{_OTHER_VERSION}; copy it, then {upgrade}, or give another tracking.uri. MLflow says: {message}"
        )
    if "error code 401" in message or "not authenticated" in message:
        return (
            "the server does not take these credentials; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment"
        )
    if gone := _DELETED.search(message):
        restore = mlflow_command(uri, f"runs restore --run-id {gone[1]}")
        return f"run {gone[1]} was deleted in MLflow; restore it by {restore}"
    remedy = _remedy(message)
    return f"{message}; {remedy}" if remedy else message


def _remedy(message: str) -> str:
    return next((remedy for words, remedy in _REMEDIES.items() if any(one in message for one in words)), "")


def _one_line(error: Exception) -> str:
    return " ".join(_POINTER.sub("", str(error)).split())
