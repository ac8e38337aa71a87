"""Records in MLflow: runs written and read back. Nothing outside this room imports mlflow."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before anything of mlflow's is imported
os.environ.setdefault("DO_NOT_TRACK", "true")

from workbench.tracking.database import TrackingError
from workbench.tracking.reading import Reader
from workbench.tracking.writing import Tracker, as_text

__all__ = ["Reader", "Tracker", "TrackingError", "as_text"]
