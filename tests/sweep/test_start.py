"""What a person is told where a record is lost, or a sweep was not judged: a command that does what it says."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.__main__ import main
from workbench.claims import Claim, load
from workbench.config import Config
from workbench.places import claims_file
from workbench.process.child import Outcome
from workbench.record.plan import Job
from workbench.sweep import sweep
from workbench.sweep.conduct import Conductor, Ended, Prepared, PrepareError, data_key
from workbench.sweep.start import sweep_folder
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


CLAIMS = """
schema: 1
pairs: 6
control_again: false
claims:
- name: batch_is_faster
  statement: Padding within the batch trains faster.
  source: test
  metric: loss/validation_per_token
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: higher
  smallest: 1.2
  why_smallest: a test
"""


def test_claims_that_are_edited_while_a_sweep_is_prepared_are_refused_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)

    def edit(self: Conductor, jobs: list[Job]) -> None:
        path.write_text(CLAIMS.replace("1.2", "1.1"))
        self.prepared.update({data_key(job.tree): Prepared("folder", "fingerprint") for job in jobs})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Conductor, "prepare", edit)
    monkeypatch.setattr(sweep, "require_devices", lambda jobs, conductor: None)
    words = ["-m", "padding=global,batch", "measure=off", "sweep.claims=claims.yaml", "data=synthetic"]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "was changed while the sweep was prepared; nothing was run" in said
    assert Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db").runs("runs") == []


def test_a_claim_on_what_no_job_would_record_is_refused_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "claims.yaml").write_text(
        CLAIMS.replace("loss/validation_per_token", "speed/valid_tokens_per_s")
    )
    monkeypatch.chdir(tmp_path)
    assert (
        main(["-m", "padding=global,batch", "measure=off", "sweep.claims=claims.yaml", "data=synthetic"]) == 2
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "no job of its treatment records speed/valid_tokens_per_s, since measure.timing=false" in said
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("typed", "file"), [(["data=synthetic"], "config.yaml"), (["-m", "seed=1,2", "measure=off"], "grid.json")]
)
def test_a_full_disk_before_the_first_job_is_said_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    typed: list[str],
    file: str,
) -> None:
    write, prepare = Path.write_text, Conductor.prepare

    def on_a_full_disk(self: Path, *given: str) -> int:
        if self.name == file and "hydra" in self.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, *given)

    def prepared(self: Conductor, jobs: list[Job]) -> None:
        if "-m" not in typed:
            prepare(self, jobs)
        self.prepared.update({data_key(job.tree): Prepared("folder", "fingerprint") for job in jobs})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "write_text", on_a_full_disk)
    monkeypatch.setattr(Conductor, "prepare", prepared)
    monkeypatch.setattr(sweep, "require_devices", lambda jobs, conductor: None)
    assert main(typed) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_folder_of_nobody_is_refused() -> None:
    with pytest.raises(PrepareError, match=r"tracking.folder=~no-such-user-9/x: cannot make a folder there"):
        sweep_folder("~no-such-user-9/x", "runs", "s")
