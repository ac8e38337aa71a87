"""Records in MLflow: runs written and read back. Nothing outside imports mlflow, but for what this is made of."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from workbench import addresses, database, kept_model
from workbench.artifact_places import Configured, below, make
from workbench.artifacts import Artifacts
from workbench.database import TrackingError
from workbench.provenance import without_passwords
from workbench.record import Run
from workbench.record.sections import by_section, folded, unfolded
from workbench.record.tags import ERROR, FILES, KIND, MADE_BY, NAME, PARENT, SWEEP
from workbench.store_errors import explained, mlflow_command

_LONGEST_TAG = 8000
_LONGEST_PARAM = 6000
_BATCH = 900
_AT_ONCE = 100
_ALL = 2**31 - 1
_PAGE = 250  # of a page MLflow holds some hundred objects a run while it reads it


class Tracker:
    """Writes runs to one tracking server or database, and reads them back.

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

    def experiment(self, name: str) -> str:
        """The id of an experiment, made where it is not there; its artifacts can be written where is configured.

        Raises:
            TrackingError: they cannot, or the experiment was deleted.
        """
        with self._reached():
            found = self._client.get_experiment_by_name(name) or self._new_experiment(name)
            if found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"tracking.uri={without_passwords(self.uri)}: {self._restore(found)}, or give "
                    "another name=..."
                )
            self._artifacts.settle(found)
        return str(found.experiment_id)

    def _new_experiment(self, name: str) -> Any:
        folder = None
        if self.artifacts:
            folder = below(self.artifacts, name)
            make(folder, self.artifacts)
        try:
            with self._lock():
                self._client.create_experiment(name, artifact_location=folder.as_uri() if folder else None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another process, since we looked
                raise
        return self._client.get_experiment_by_name(name)

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
        own = {"mlflow.runName": name, "mlflow.source.type": "LOCAL", MADE_BY: "workbench"}
        if parent:
            own[PARENT] = parent
        kind = {key: value for key, value in tags.items() if key == KIND}
        others = {key: value for key, value in tags.items() if key != KIND}
        with self._reached():
            run = self._client.create_run(
                experiment, tags={FILES: "{}", **own, **folded(others)}, run_name=name
            )
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
        """Log parameters that are set; a value too long for MLflow is cut, the whole config is an artifact."""
        entries = [
            Param(key, as_text(value)[:_LONGEST_PARAM]) for key, value in params.items() if value is not None
        ]
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
        if sections := by_section(tags):  # what stands in the same tags already stays
            before = self.get(run_id).tags
            tags = {name: before[name] for name in before if name.partition(".")[0] in sections} | dict(tags)
        entries = [RunTag(key, str(value)) for key, value in folded(tags).items()]
        with self._reached():
            for at in range(0, len(entries), 100):
                self._client.log_batch(run_id, tags=entries[at : at + 100])

    def inputs(self, run_id: str, name: str, digest: str, splits: Mapping[str, Mapping[str, Any]]) -> None:
        """Say which data set a run reads: one entry a split, its profile what is told of it.

        `digest` is cut to the 36 characters that MLflow takes.
        """
        entries = [
            DatasetInput(
                Dataset(
                    name=f"{name[:400]} {split}",
                    digest=digest[:36],
                    source_type="local",
                    source=json.dumps({"name": name}),
                    profile=json.dumps(profile),
                ),
                [InputTag("mlflow.data.context", split)],
            )
            for split, profile in splits.items()
        ]
        with self._reached():
            self._client.log_inputs(run_id, entries)

    def describe(self, run: Run, name: str, note: str) -> None:
        """Name a run, and give it its description (Markdown), cut with a sign to what MLflow takes."""
        if len(note) > _LONGEST_TAG:
            note = note[: _LONGEST_TAG - 40].rpartition("\n")[0] + "\n\n… (the report has the rest)"
        self.tag(run.run_id, {NAME: name[:250], "mlflow.note.content": note})

    def experiment_tags(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment, by its id: its description, a saved view of its runs."""
        with self._reached():
            for key, value in tags.items():
                self._client.set_experiment_tag(experiment, key, value)

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Keep a file, or all files of a folder."""
        with self._kept(run_id) as store:
            if path.is_dir():
                store.log_artifacts(str(path), folder)
            else:
                store.log_artifact(str(path), folder)

    def text(self, run_id: str, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(text)
            self.artifact(run_id, path)

    def model(self, run_id: str, folder: Path) -> None:
        """Keep the model that lies in a run's folder as an MLflow model: runs:/RUN_ID/model."""
        with tempfile.TemporaryDirectory() as scratch, self._reached():
            written = Path(scratch) / kept_model.FOLDER
            tags = kept_model.write(folder, written, run_id, self.get(run_id).tags)
            self.artifact(run_id, written, kept_model.FOLDER)
        self.tag(run_id, tags)

    @contextmanager
    def _kept(self, run_id: str) -> Iterator[Any]:
        """An artifact that cannot be kept is an error of the store, which names the place."""
        try:
            with self._reached(), self._artifacts.writing(run_id) as store:
                yield store
        except OSError as error:
            full = "; make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise TrackingError(f"the artifacts of run {run_id} cannot be kept: {error}{full}") from error

    def finish(self, run_id: str, status: str, *, begun: float = 0.0) -> None:
        """Close a run: FINISHED, FAILED or KILLED.

        One that another host began (`begun`, seconds since the epoch by its clock) does not end before that, late
        as this host's clock may be.
        """
        end = max(time.time(), begun)
        with self._reached():
            self._client.set_terminated(run_id, status, round(end * 1000))

    def runs(self, experiment: str, sweep: str | None = None, most: int | None = None) -> list[Run]:
        """The runs of an experiment, by its name, or of one of its sweeps; the oldest first, `most` of them."""
        clause = f"tags.`{SWEEP}` = '{sweep}'" if sweep else ""
        return self._search(self._experiments(experiment), clause, most=most)

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


def as_text(value: Any) -> str:
    """A value as MLflow keeps it: text."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
