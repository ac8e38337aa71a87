"""What a person is told where a record is lost, or a sweep was not judged: a command that does what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.__main__ import main
from workbench.claims import Claim, load
from workbench.config import Config
from workbench.places import claims_file
from workbench.process.child import Outcome
from workbench.sweep import sweep
from workbench.sweep.conduct import Conductor, Ended
from workbench.sweep.grid import Job
from workbench.tracking import Tracker, TrackingError


def test_a_single_run_whose_record_is_lost_after_it_is_told_where_it_is_and_not_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def gone(*given: object) -> None:
        raise TrackingError("the database is gone")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Conductor, "prepare", lambda self, jobs: None)
    monkeypatch.setattr(Conductor, "run", lambda self, job: Ended(job, "r1", Outcome("finished")))
    monkeypatch.setattr(Tracker, "get", gone)
    assert main([]) == 1
    said = capsys.readouterr().err
    assert said.startswith("the database is gone\n")
    assert "recorded as run r1, to be read once tracking.uri answers again" in said
    assert "resume" not in said, "a single run is not resumed"


def test_the_command_that_judges_a_sweep_names_it_its_store_and_its_claims(tmp_path: Path, job: Job) -> None:
    config = Config.of({**job.tree, "name": "mine"})
    claim = Claim("c", "", "ours", "speed/step_p50_ms", {}, {"value": 0}, "same", 1.1, "", file=str(tmp_path))
    words = "python -m workbench.report mine --sweep s --uri sqlite:///mlruns/mlflow.db"
    assert sweep._judging(config, "s", None) == words
    assert sweep._judging(config, "s", [claim]) == words, "its claims are no longer there"
    (tmp_path / "claims.yaml").touch()
    own = replace(claim, file=str(tmp_path / "claims.yaml"))
    assert sweep._judging(config, "s", [own]) == f"{words} --claims {tmp_path / 'claims.yaml'}"
    known, claims = Config.of({**job.tree, "name": "padding_ablation"}), load(claims_file("padding_ablation"))
    assert sweep._judging(known, "s", claims) == words.replace("mine", "padding_ablation")
    assert "--claims" in sweep._judging(known, "s", [own])
