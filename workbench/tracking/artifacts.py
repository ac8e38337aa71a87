"""The files of runs: written where is configured, found where they are, and listed in the record."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from workbench.record.tags import FILES
from workbench.tracking.database import TrackingError, rewrite_location
from workbench.tracking.places import (
    PLACE,
    Configured,
    Place,
    as_tag,
    files_in,
    from_record,
    local,
    make,
    way,
)

Lock = Callable[[], AbstractContextManager[None]]


class Artifacts:
    """The artifacts of a database's runs.

    Args:
        client: MLflow's.
        configured: the store and the place.
        runs: every run of an experiment, by its id, also those that were deleted.
        lock: under which the record of an experiment's place is changed.
        may_move: whether it may be changed. What only reads takes the place that it finds, and changes nothing.
    """

    def __init__(
        self,
        client: MlflowClient,
        configured: Configured,
        *,
        runs: Callable[[str], Iterable[Any]],
        lock: Lock,
        may_move: bool,
    ) -> None:
        self._client, self._configured, self._runs, self._lock = client, configured, runs, lock
        self._may_move = may_move
        self._places: dict[str, Place] = {}

    def settle(self, experiment: Any) -> None:
        """Hold an experiment's place against what is configured before anything is written.

        Of a project that was copied or moved whole the record is put right.

        Raises:
            TrackingError: what is written would go elsewhere than configured, or to a place that is gone.
        """
        place = self._decide(experiment)
        if place.refusal:
            raise TrackingError(place.refusal)
        if place.says:
            print(place.says, file=sys.stderr)
        if place.folder is None:
            return
        if self._configured.artifacts:
            make(place.folder, self._configured.artifacts)
        if self._may_move:
            self._record(experiment, place)

    def _record(self, experiment: Any, place: Place) -> None:
        assert place.folder is not None
        if place.moves:
            new = place.folder.as_uri()
            with self._lock():
                rewrite_location(self._configured.uri, experiment.experiment_id, place.location, new)
            print(
                f"experiment {experiment.name!r}: its artifacts lie in {place.folder}, and no longer in "
                f"{local(place.location)}: the record says so now",
                file=sys.stderr,
            )
            place = self._places[experiment.experiment_id] = Place(new, place.folder)
        database = self._configured.database
        if database and (told := way(place.location, database)) != experiment.tags.get(PLACE):
            with self._lock():  # MLflow fails where two processes set a new tag at once
                if self._client.get_experiment(experiment.experiment_id).tags.get(PLACE) != told:
                    self._client.set_experiment_tag(experiment.experiment_id, PLACE, told)

    def _decide(self, experiment: Any) -> Place:
        def record() -> dict[str, Any]:
            return {run.info.run_id: from_record(run) for run in self._runs(experiment.experiment_id)}

        place = self._places[experiment.experiment_id] = self._configured.place(experiment, record)
        return place

    def _place(self, run: Any) -> Place:
        """The place of a run's experiment; it may have been moved since it was looked at."""
        known = self._places.get(run.info.experiment_id)
        if known and str(run.info.artifact_uri).startswith(f"{known.location}/"):
            return known
        return self._decide(self._client.get_experiment(run.info.experiment_id))

    @contextmanager
    def writing(self, run_id: str) -> Iterator[Any]:
        """Where a run's artifacts are written, as a store of MLflow's; afterwards the record lists them.

        Raises:
            TrackingError: they would go to a place that is gone.
        """
        run = self._client.get_run(run_id)
        place = self._place(run)
        if place.refusal:
            raise TrackingError(place.refusal)
        uri = place.of_run(run.info.artifact_uri)
        yield self._store(uri)
        if folder := local(uri):
            self._client.set_tag(run_id, FILES, as_tag(files_in(folder)), synchronous=True)

    def reading(self, run_id: str) -> tuple[Any, str]:
        """Where a run's artifacts are read, as a store of MLflow's, and in words."""
        run = self._client.get_run(run_id)
        uri = self._place(run).of_run(run.info.artifact_uri)
        return self._store(uri), str(local(uri) or uri)

    def read_text(self, run_id: str, name: str) -> str:
        """An artifact of a run, as text.

        Raises:
            TrackingError: it cannot be read; it says where it was looked for.
        """
        store, where = self.reading(run_id)
        try:
            if Path(where).is_absolute():
                return Path(store.download_artifacts(name)).read_text()
            with tempfile.TemporaryDirectory() as scratch:
                return Path(store.download_artifacts(name, scratch)).read_text()
        except (MlflowException, OSError) as error:
            is_missing = Path(where).is_absolute() and not (Path(where) / name).exists()
            why = "there is no such file" if is_missing else str(error)
            if is_missing and not Path(where).exists():
                why = "that folder is not there; bring it back, or what it had from a copy"
            raise TrackingError(f"{name} of run {run_id}, looked for in {where}: {why}") from error

    def _store(self, uri: str) -> Any:
        return get_artifact_repository(uri, tracking_uri=self._configured.uri)
