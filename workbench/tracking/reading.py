"""Records in MLflow, read: the runs of a server or a database, each as a `Run`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Self

import mlflow
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from workbench.config.tracking import Tracking
from workbench.provenance import without_passwords
from workbench.record import Run
from workbench.record.sections import unfolded
from workbench.record.tags import KIND, SWEEP
from workbench.tracking import addresses, database
from workbench.tracking.artifacts import Artifacts
from workbench.tracking.database import TrackingError
from workbench.tracking.errors import explained, mlflow_command
from workbench.tracking.places import Configured

_AT_ONCE = 100
_ALL = 2**31 - 1
_PAGE = 250  # of a page MLflow holds some hundred objects a run while it reads it


class Reader:
    """One tracking server or database, and the runs that it has.

    Args:
        uri: of the server or database.
        artifacts: the folder below which artifacts lie; None: where the record has them.
        wal: whether a new SQLite database keeps a write-ahead log; false also switches an old one back.
        create: make a database that is not there, and move the record of artifacts to where they are. What only
            reads does neither.

    Raises:
        TrackingError: nothing answers at the address, or the database is of another MLflow version.
    """

    def __init__(
        self, uri: str, artifacts: str | None = None, *, wal: bool = True, create: bool = True
    ) -> None:
        self.uri, self._database = addresses.resolved(uri)
        if self._database and not create and not self._database.exists():
            raise TrackingError(
                f"tracking.uri={uri}: there is no database {self._database}; run something first"
            )
        self.artifacts = addresses.folder(artifacts) if artifacts else None
        if self._database:
            with explained(self.uri):
                addresses.initialise(self._database, self.uri, wal)
        else:
            addresses.require_answer(self.uri)
        self._opened = addresses.same_file(self._database) if self._database else None
        addresses.quiet()
        mlflow.set_tracking_uri(self.uri)
        with explained(self.uri):
            self._client = MlflowClient(self.uri)
            self._client.search_experiments(max_results=1)
        self._artifacts = Artifacts(
            self._client,
            Configured(self.uri, self.artifacts, self._database),
            runs=lambda experiment: self._found([experiment], "", view=ViewType.ALL),
            lock=self._lock,
            may_move=create,
        )

    @classmethod
    def of(cls, tracking: Tracking, *, create: bool = True) -> Self:
        """The store that a configuration names; not to `create` is only to read it."""
        return cls(tracking.uri, tracking.artifacts, wal=tracking.wal, create=create)

    def runs(self, experiment: str, sweep: str | None = None, most: int | None = None) -> list[Run]:
        """The runs of an experiment, by its name, or of one of its sweeps; the oldest first, `most` of them."""
        clause = f"tags.`{SWEEP}` = '{sweep}'" if sweep else ""
        return self._search(self._experiments(experiment), clause, most=most)

    def latest(self, experiment: str | None = None) -> list[Run]:
        """The run that was started last, of an experiment or of all; none where there is none."""
        return self._search(self._experiments(experiment), "", "DESC", most=1)

    def matching(self, clause: str, experiment: str | None = None) -> list[Run]:
        """The runs that a filter of MLflow's takes, of an experiment or of all; the oldest first."""
        return self._search(self._experiments(experiment), clause)

    def jobs(self, experiment: str, sweep: str, most: int | None = None) -> list[Run]:
        """The runs of a sweep's jobs: all but its own run and reruns of them; the oldest first.

        `most`: only those among its first so many runs.
        """
        return [run for run in self.runs(experiment, sweep, most) if run.is_job]

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
        return mlflow_command(self.uri, words)

    def experiments(self) -> list[str]:
        """The names of all experiments, but those that were deleted."""
        with self._reached():
            return [str(one.name) for one in _all_pages(self._client.search_experiments)]

    def experiment_name(self, run: Run) -> str:
        """The name of a run's experiment."""
        with self._reached():
            return str(self._client.get_experiment(run.experiment).name)

    def tags_of_experiment(self, experiment: str) -> dict[str, str]:
        """The tags of an experiment, by its id."""
        with self._reached():
            return dict(self._client.get_experiment(experiment).tags)

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """The runs of an experiment, by its id, that carry all these tags; the oldest first."""
        clause = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return self._search([experiment], clause)

    def get(self, run_id: str) -> Run:
        """One run, by its id."""
        with self._reached():
            return _run_of(self._client.get_run(run_id))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Every (step, value) that was logged of a metric, by step."""
        with self._reached():
            found = self._client.get_metric_history(run_id, metric)
        return sorted((one.step, one.value) for one in found)

    def histories(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """`history` of many runs, without those that never logged the metric.

        A database is asked for a hundred at once: MLflow's question for one takes SQLite 50 ms where 55,000 are.
        """
        bulk = getattr(self._client._tracking_client.store, "get_metric_history_bulk", None)
        if bulk is None:
            each = {run_id: self.history(run_id, metric) for run_id in run_ids}
            return {run_id: points for run_id, points in each.items() if points}
        found: dict[str, list[tuple[int, float]]] = {}
        with self._reached():
            for at in range(0, len(run_ids), _AT_ONCE):
                for one in bulk(run_ids[at : at + _AT_ONCE], metric, _ALL):
                    found.setdefault(one.run_id, []).append((one.step, one.value))
        return {run_id: sorted(points) for run_id, points in found.items()}

    def runs_at(self, run: Run) -> str:
        """Where a browser finds the runs of a run's experiment; empty where no server is known."""
        if not self.uri.startswith(("http://", "https://")):
            return ""
        return f"{without_passwords(self.uri).rstrip('/')}/#/experiments/{run.experiment}/runs"

    def files(self, run_id: str, folder: str | None = None) -> list[str]:
        """The names of a run's artifacts in a folder, or of those in none."""
        with self._reached():
            store, _ = self._artifacts.reading(run_id)
            return [Path(one.path).name for one in store.list_artifacts(folder)]

    def read_text(self, run_id: str, name: str) -> str:
        """An artifact of a run, as text."""
        with self._reached():
            return self._artifacts.read_text(run_id, name)

    def _experiments(self, name: str | None = None, *, deleted: bool = False) -> list[str]:
        """The ids of all experiments, or of the one of a name, where it is there."""
        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        with self._reached():
            if name is None:
                pages = _all_pages(lambda **page: self._client.search_experiments(view_type=view, **page))
                return [str(one.experiment_id) for one in pages]
            found = self._client.get_experiment_by_name(name)
            return [str(found.experiment_id)] if found else []

    def _search(
        self,
        experiments: Sequence[str],
        clause: str,
        order: str = "ASC",
        view: int = ViewType.ACTIVE_ONLY,
        most: int | None = None,
    ) -> list[Run]:
        """All runs of these experiments that the clause takes, or the first of them at `most`, by their start.

        What runs have in common, as most of their params and tags, is one string for all of them.
        """
        texts: dict[str, str] = {}
        found = islice(self._found(experiments, clause, order, view), most)
        return [_run_of(run, lambda text: texts.setdefault(text, text)) for run in found]

    def _found(
        self, experiments: Sequence[str], clause: str, order: str = "ASC", view: int = ViewType.ACTIVE_ONLY
    ) -> Iterator[MlflowRun]:
        by = [f"attributes.start_time {order}"]
        if not experiments:
            return
        with self._reached():
            yield from _all_pages(
                lambda **page: self._client.search_runs(
                    list(experiments), clause, run_view_type=view, order_by=by, **page
                )
            )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Errors explained. SQLite goes on in a file that was moved or deleted: nobody would find what it took."""
        if self._database and addresses.same_file(self._database) != self._opened:
            raise TrackingError(
                f"tracking.uri={self.uri}: {self._database} is no longer the file that was opened: it was moved, "
                "deleted or replaced; put it back: a sweep then goes on with workbench.resume=true"
            )
        with explained(self.uri):
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with database.lock(self._database) if self._database else nullcontext():
            yield


def _all_pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Everything that one of MLflow's searches finds, which it gives in pages; one page is held at a time."""
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        token = page.token
        yield from page
        if not token:
            return


def _run_of(run: MlflowRun, one: Callable[[str], str] = str) -> Run:
    """A run as MLflow gives it, as everything else takes it; `one` gives the string that is held of equal ones."""
    end = run.info.end_time
    return Run(
        run_id=str(run.info.run_id),
        status=one(str(run.info.status)),
        params={one(name): one(value) for name, value in run.data.params.items()},
        metrics={one(name): value for name, value in run.data.metrics.items() if not math.isnan(value)},
        no_numbers=frozenset(one(name) for name, value in run.data.metrics.items() if math.isnan(value)),
        tags={one(name): one(value) for name, value in unfolded(run.data.tags).items()},
        start=(run.info.start_time or 0) / 1000,
        end=None if end is None else end / 1000,
        experiment=str(run.info.experiment_id),
        is_deleted=run.info.lifecycle_stage == "deleted",
    )
