"""Runs written with MlflowClient to SQLite and read back are judged as the frame they came from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.claims import claims_sha, judge_table

mlflow = pytest.importorskip("mlflow")
Metric, Param, RunTag = mlflow.entities.Metric, mlflow.entities.Param, mlflow.entities.RunTag

BATCH, GLOBAL = ({"padding.name": name} for name in ("batch", "global"))
AGAIN = {**GLOBAL, "tags.workbench.repeat": "1", "repeat": 1}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
def test_the_verdict_survives_the_tracking_store(claim, sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    noise = np.array([0.02, -0.01, 0.03, -0.02, 0.01, -0.03])
    fields = {"control_again": True, "equal": ["threads", "speed/valid_tokens"]}
    claims = [
        claim(**fields),
        claim(name="other", direction="same", smallest=1.05, **fields),
    ]
    runs = sweep(
        ({**BATCH, "threads": 2, "padding.longest": None}, [*150 * np.exp(noise), None]),
        ({**GLOBAL, "threads": 2, "padding.longest": 159}, [100.0] * 7),
        ({**AGAIN, "threads": 2, "padding.longest": 159}, [*100 * np.exp(noise[::-1]), 100.0]),
        **{"tags.workbench.claims_sha": claims_sha(claims), "metrics.speed/valid_tokens": 12_345.0},
    )
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("round trip", artifact_location=(tmp_path / "artifacts").as_uri())
    for row in runs.to_dict("records"):
        run = client.create_run(experiment, start_time=int(row["start_time"].timestamp() * 1000))
        row["run_id"] = run.info.run_id
        there = {column: value for column, value in row.items() if value is not None and value == value}
        kinds = {"params": Param, "metrics": lambda name, value: Metric(name, value, 0, 0), "tags": RunTag}
        client.log_batch(
            run.info.run_id,
            **{
                kind: [
                    make(column[len(kind) + 1 :], there[column])
                    for column in there
                    if column.startswith(kind)
                ]
                for kind, make in kinds.items()
            },
        )
        client.set_terminated(run.info.run_id, row["status"])
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        read = mlflow.search_runs(experiment_ids=[experiment])
    finally:
        mlflow.set_tracking_uri(before)
    assert len(read) == len(runs) == 21

    def plain(verdicts):
        return json.dumps([one.to_json() for one in verdicts], sort_keys=True)

    ids = dict(zip(read.sort_values("start_time")["run_id"], runs["run_id"], strict=True))
    found = plain(judge_table(claims, read, planned=7))
    for own, expected in ids.items():
        found = found.replace(own, expected)
    assert found == plain(judge_table(claims, runs, planned=7))
    assert [one.verdict for one in judge_table(claims, read, planned=6)] == [
        "reproduced",
        "contradicted",
        "instrument ok",
    ]
