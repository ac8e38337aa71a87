"""conf/tracking: where runs are recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from workbench.options.schema import option


@dataclass(frozen=True)
class Tracking:
    """An MLflow tracking server or database."""

    name: str = option("sqlite", "", choices=["sqlite", "server"])
    uri: str = option(
        "sqlite:///mlruns/mlflow.db", "MLflow tracking URI; a relative path is below the working folder"
    )
    artifacts: str | None = option(
        "mlruns/artifacts", "artifact folder of new experiments; null: the server's own"
    )
    folder: str = option("mlruns", "where run folders (hydra/) and verdicts lie")
    wal: bool = option(
        True, "SQLite's write-ahead log: readers do not block writers; false on network drives"
    )


_REMEDIES = {
    "http": "a server's user and password come from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "postgresql": "PostgreSQL's password comes from PGPASSWORD or ~/.pgpass",
}


def password_in(uri: str) -> str:
    """What to do about a password in a tracking URI, where it would be recorded; empty where there is none.

    >>> password_in("http://me:secret@host")[:45]
    "a server's user and password come from MLFLOW"
    >>> password_in("postgresql://me:se/cret@host/db") != "", password_in("postgresql://me@host/db")
    (True, '')
    """
    address = urlsplit(uri)
    kind = address.scheme.partition("+")[0].removesuffix("s")
    # of a database's address all up to the @ is the password, a slash too
    in_front = address.password is not None or (
        kind not in ("http", "sqlite") and re.match(r"[\w+.-]+://[^:/@\s]*:[^@?]+@", uri)
    )
    in_query = re.search(
        r"(^|[&;{])\s*(password|passwd|pwd)\s*=", unquote(address.query).replace("odbc_connect=", "&"), re.I
    )
    if not in_front and not in_query:
        return ""
    return _REMEDIES.get(kind, "put an MLflow server before this database (tracking=server)")


SCHEMAS: dict[str, type[Tracking]] = {"sqlite": Tracking, "server": Tracking}
