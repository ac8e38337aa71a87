"""conf/tracking: where runs are recorded."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.config.schema import option


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


SCHEMAS: dict[str, type[Tracking]] = {"sqlite": Tracking, "server": Tracking}
