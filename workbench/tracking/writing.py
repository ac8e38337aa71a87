"""Records in MLflow, written: experiments, runs, their params, metrics, tags and files."""

from __future__ import annotations

import errno
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from workbench.provenance import without_passwords
from workbench.record import Run
from workbench.record.sections import by_section, folded
from workbench.record.tags import ERROR, FILES, KIND, MADE_BY, NAME, PARENT
from workbench.tracking import kept_model
from workbench.tracking.database import TrackingError
from workbench.tracking.places import below, make
from workbench.tracking.reading import Reader

_LONGEST_TAG = 8000
_LONGEST_PARAM = 6000
BATCH = 900
"""Values that MLflow takes at once."""


class Tracker(Reader):
    """Writes runs to one tracking server or database, and reads them back: opened as a Reader is."""

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
                experiment,
                tags={
                    key: _encodable(str(one)) for key, one in {FILES: "{}", **own, **folded(others)}.items()
                },
                run_name=_encodable(name),
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
            Param(key, _encodable(as_text(value))[:_LONGEST_PARAM])
            for key, value in params.items()
            if value is not None
        ]
        with self._reached():
            for at in range(0, len(entries), 100):
                self._client.log_batch(run_id, params=entries[at : at + 100], synchronous=True)

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
            for at in range(0, len(entries), BATCH):
                self._client.log_batch(run_id, metrics=entries[at : at + BATCH], synchronous=True)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        if sections := by_section(tags):  # what stands in the same tags already stays
            before = self.get(run_id).tags
            tags = {name: before[name] for name in before if name.partition(".")[0] in sections} | dict(tags)
        entries = [RunTag(key, _encodable(str(value))) for key, value in folded(tags).items()]
        with self._reached():
            for at in range(0, len(entries), 100):
                self._client.log_batch(run_id, tags=entries[at : at + 100], synchronous=True)

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
            _said_again(self._client.log_inputs, run_id, entries)

    def describe(self, run: Run, name: str, note: str) -> None:
        """Name a run, and give it its description (Markdown), cut with a sign to what MLflow takes."""
        if len(note) > _LONGEST_TAG:
            note = note[: _LONGEST_TAG - 40].rpartition("\n")[0] + "\n\n… (the report has the rest)"
        self.tag(run.run_id, {NAME: name[:250], "mlflow.note.content": note})

    def experiment_tags(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment, by its id: its description, a saved view of its runs."""
        with self._reached():
            for key, value in tags.items():
                _said_again(self._client.set_experiment_tag, experiment, key, value)

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
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
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

    def reopen(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set a run that was closed running again; the error that it was closed with is no longer its own."""
        self.tag(
            run_id, tags
        )  # first whose it is: what runs and is a dead process' may be closed by any command
        with self._reached():
            if ERROR in self.get(run_id).tags:
                self._client.delete_tag(run_id, ERROR)
            self._client.update_run(run_id, status="RUNNING")


def _said_again(call: Callable[..., Any], *given: Any) -> None:
    """Say something to MLflow's store, again where it refuses it once.

    It looks whether it knows a data set or a tag, and then adds it: of two processes that say the same in the same
    moment for the first time it refuses one.
    """
    try:
        call(*given)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        call(*given)


def _encodable(text: str) -> str:
    """A text that a store can take: a file's name need not be UTF-8, and stands in errors."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_text(value: Any) -> str:
    """A value as MLflow keeps it: text."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
