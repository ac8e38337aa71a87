"""What MLflow shows of a sweep: its own run's name, description and metrics, and a view of its runs."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workbench.record import Run
from workbench.record.frames import runs_of
from workbench.report import in_mlflow
from workbench.tracking import Tracker


def test_a_sweep_says_what_it_found(tmp_path: Path, verdicts, sweep_runs) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'm.db'}")
    experiment = tracker.experiment("padding")
    run_id = tracker.start(
        experiment, "sweep s1", params={}, tags={"workbench.kind": "sweep", "workbench.sweep": "s1"}
    )
    runs = runs_of(sweep_runs)
    in_mlflow.show(tracker, tracker.get(run_id), verdicts, runs, {"question": "What does padding cost?"})
    own = tracker.get(run_id)
    assert own.tags["mlflow.runName"] == "5 claims: 3 reproduced, 1 contradicted, 1 inconclusive · s1"
    note = own.tags["mlflow.note.content"]
    assert note.startswith("What does padding cost?\n\n| claim | verdict | measured | claimed |")
    assert "3.53x [3.47, 3.60]" in note
    assert own.metrics["claim/P2_batch_padding_is_faster/effect"] == verdicts[0].effect
    assert own.metrics["claim/P2_batch_padding_is_faster/low"] == verdicts[0].interval[0]
    found = tracker._client.get_experiment(experiment).tags
    assert "3 reproduced" in found["mlflow.note.content"]
    assert "more is better" in found["mlflow.note.content"]
    assert json.loads(found["mlflow.sharedViewState.workbench"]) == in_mlflow.view("s1", runs)


def test_a_row_elsewhere_is_a_metric_too(tmp_path: Path, verdicts, sweep_runs) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'm.db'}")
    run_id = tracker.start(tracker.experiment("x"), "s", params={}, tags={"workbench.sweep": "s3"})
    odd = replace(verdicts[0], claim="faster_in_long_ones (elsewhere)")
    in_mlflow.show(tracker, tracker.get(run_id), [odd], runs_of(sweep_runs), {})
    assert tracker.get(run_id).metrics["claim/faster_in_long_ones elsewhere/effect"] == odd.effect


def test_what_is_too_long_for_mlflow_is_cut_with_a_sign(tmp_path: Path, verdicts, sweep_runs) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'm.db'}")
    run_id = tracker.start(tracker.experiment("x"), "s", params={}, tags={"workbench.sweep": "s4"})
    many = [replace(verdicts[0], claim=f"{'long_' * 60}{n}", statement="It is so. " * 20) for n in range(60)]
    in_mlflow.show(tracker, tracker.get(run_id), many, runs_of(sweep_runs), {"question": "q" * 300})
    own = tracker.get(run_id)
    assert len(own.tags["mlflow.note.content"]) <= 8000
    assert own.tags["mlflow.note.content"].endswith("… (the report has the rest)")
    assert any(name.startswith("claim/long_") for name in own.metrics)


def test_the_view_has_what_was_found_and_what_varies(sweep_runs) -> None:
    made = in_mlflow.view("s1", runs_of(sweep_runs))
    assert made["selectedColumns"][:3] == [
        "attributes.`Duration`",
        "metrics.`speed/valid_tokens_per_s`",
        "metrics.`data/padding_share`",
    ]
    assert {"params.`padding.name`", "params.`cell.name`"} <= set(made["selectedColumns"])
    assert "params.`seed`" not in made["selectedColumns"]
    assert "tags.`workbench.sweep` = 's1'" in made["searchFilter"]
    assert made["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "workbench.title"}]


def test_the_address_opens_the_runs_and_not_the_genai_page() -> None:
    where = in_mlflow.address("http://127.0.0.1:5000/", "7")
    assert where == (
        "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=workbench"
    )


def test_nothing_judged_is_named_by_its_runs(tmp_path: Path, sweep_runs) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'm.db'}")
    run_id = tracker.start(tracker.experiment("x"), "s", params={}, tags={"workbench.sweep": "s2"})
    in_mlflow.show(tracker, tracker.get(run_id), [], runs_of(sweep_runs), {})
    assert tracker.get(run_id).tags["mlflow.runName"] == "48 runs · s2"


def test_what_a_person_wrote_of_the_experiment_stays(tmp_path: Path, verdicts, sweep_runs) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", f"{tmp_path}/artifacts")
    experiment = tracker.experiment("x")
    own = tracker.get(tracker.start(experiment, "sweep", params={}, tags={"workbench.sweep": "s"}))
    note = "mlflow.note.content"
    tracker.experiment_tags(experiment, {note: "Read the wiki first.\nLast sweep (of March): odd."})
    for _ in range(2):
        in_mlflow.show(tracker, own, verdicts, runs_of(sweep_runs), {"question": "Does it pay?"})
    found = tracker.tags_of_experiment(experiment)[note]
    assert found.startswith("Read the wiki first.\nLast sweep (of March): odd.")
    assert found.count("Does it pay?") == 1


def test_an_older_sweep_that_is_judged_again_describes_no_experiment(
    tmp_path: Path, verdicts, sweep_runs
) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'm.db'}")
    experiment = tracker.experiment("x")
    older, newer = (
        tracker.start(
            experiment,
            sweep,
            params={"name": "x"},
            tags={"workbench.kind": "sweep", "workbench.sweep": sweep},
        )
        for sweep in ("s1", "s2")
    )
    tracker.start(experiment, "1", params={}, tags={"workbench.kind": "run", "workbench.sweep": "s2"})
    empty = {"workbench.kind": "sweep", "workbench.sweep": "of no run"}  # as one that could not be opened
    tracker.start(experiment, "s3", params={"name": "x"}, tags=empty)
    old, new = map(tracker.get, (older, newer))
    for own in (new, replace(old, start=new.start - 1)):
        in_mlflow.show(tracker, own, verdicts, runs_of(sweep_runs), {})
    found = tracker.tags_of_experiment(experiment)
    assert "Last sweep (s2)" in found[in_mlflow.NOTE]
    assert "'s2'" in json.loads(found["mlflow.sharedViewState.workbench"])["searchFilter"]
    assert "5 claims" in tracker.get(older).tags["mlflow.runName"]


def test_what_opens_a_sweep_can_be_pasted_and_shows_no_password() -> None:
    own = Run("r", "FINISHED", {"name": "own"}, experiment="1")
    spaced = "sqlite:////home/me/my runs/mlflow.db"
    tracker: Any = SimpleNamespace(uri=spaced)
    assert shlex.split(in_mlflow.where(tracker, own)) == [
        "python", "-m", "workbench.ui", "own", "--uri", spaced,
    ]  # fmt: skip
    tracker = SimpleNamespace(uri="postgresql://me:s3cret@db.example.org/mlflow")
    assert "db.example.org/mlflow" in in_mlflow.where(tracker, own)
    assert "s3cret" not in in_mlflow.where(tracker, own)
