"""Several experiments one after another: one that cannot be run costs no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.claims.one_claim import CLAIMS
from workbench.__main__ import main
from workbench.claims import Verdict, load
from workbench.report import guide
from workbench.report.recorded import ReportError
from workbench.sweep import series
from workbench.sweep.conduct import PrepareError
from workbench.sweep.journal import RecordLostError
from workbench.sweep.sweep import Swept

BOTH = {"padding_ablation", "loss_masking_ablation"}


OWN = """# @package _global_
name: NAME
sweep:
  claims: CLAIMS
  grids:
    - {padding: [global, batch]}
"""


def two_of_ones_own(folder: Path) -> Path:
    """Two small experiments, mine_a and mine_b in folder/confs, of one file of claims, which is returned."""
    claims, confs = folder / "own.yaml", folder / "confs" / "experiment"
    claims.write_text(CLAIMS)
    confs.mkdir(parents=True)
    for name in ("mine_a", "mine_b"):
        (confs / f"{name}.yaml").write_text(OWN.replace("NAME", name).replace("CLAIMS", str(claims)))
    return claims


def type_in(monkeypatch: pytest.MonkeyPatch, folder: Path, without_data: set[str]) -> tuple[int, list[str]]:
    """Both experiments, of which some have no data: the exit code, and which were run."""
    ran = []

    def run_sweep(compose: object, overrides: Sequence[str], console: object) -> Swept:
        name = overrides[0].partition("=")[2]
        if name in without_data:
            raise PrepareError("no such file")
        ran.append(name)
        return Swept(0, f"{name}-s")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(series, "run_sweep", run_sweep)
    return main(["-m", f"sweep.experiments=[{','.join(sorted(BOTH))}]"]), ran


@pytest.mark.parametrize(
    ("without_data", "code"), [({"loss_masking_ablation"}, 1), pytest.param(BOTH, 2, marks=pytest.mark.slow)]
)
def test_an_experiment_that_cannot_be_run_costs_no_other_and_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    without_data: set[str],
    code: int,
) -> None:
    found, ran = type_in(monkeypatch, tmp_path, without_data)
    assert (found, set(ran)) == (code, BOTH - without_data)
    said = capsys.readouterr().out
    for name in without_data:
        assert said.rstrip().splitlines()[-len(without_data) :].count(f"{name} was ended: no such file") == 1
    assert ("The guide's claims" in said) == (without_data != BOTH)


@pytest.mark.slow  # quick: an experiment that cannot be run
def test_a_record_that_is_lost_once_jobs_were_run_is_no_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def lost(*given: object) -> int:
        raise RecordLostError("the database is gone")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(series, "run_sweep", lost)
    monkeypatch.setattr("workbench.__main__.run_sweep", lost)
    assert main(["-m", f"sweep.experiments=[{','.join(sorted(BOTH))}]"]) == 1
    assert main(["-m", "seed=1,2"]) == 1
    assert capsys.readouterr().err == "the database is gone\n"


@pytest.mark.slow  # quick: tests/claims/test_declaration.py
def test_a_claim_that_has_no_place_in_the_table_is_refused_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "guide.yaml").write_text("U1: {section: s, words: w}\n")
    monkeypatch.setattr(guide, "experiments_folder", lambda: tmp_path)
    assert type_in(monkeypatch, tmp_path, set()) == (2, [])
    assert "which is no id of experiments/guide.yaml" in capsys.readouterr().err


@pytest.mark.slow  # quick: an experiment that cannot be run
@pytest.mark.parametrize("error", [PrepareError("no folder"), ReportError("no run")])
def test_a_table_that_cannot_be_made_is_said_once_all_were_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: Exception
) -> None:
    def broken(*given: object) -> None:
        raise error

    monkeypatch.setattr(series, "_show_table", broken)
    found, ran = type_in(monkeypatch, tmp_path, set())
    assert (found, set(ran)) == (1, BOTH)
    assert f"runs has no table: {error}" in capsys.readouterr().out


def test_a_name_for_all_of_them_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The table would then show an older sweep of each as this one."""
    two_of_ones_own(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "--config-dir", "confs", "sweep.experiments=[mine_a,mine_b]", "name=trial"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "name=trial: mine_a and mine_b would be recorded under one name" in said


def test_the_table_has_the_verdicts_of_claims_that_sweep_claims_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim,) = load(two_of_ones_own(tmp_path))
    found = Verdict(
        *(claim.name, claim.sha, "reproduced", "holds in 2 of 2 pairs: x", "exact", claim.metric, "nats"),
        *("difference", "same", 0.0, "padding.name=batch", "padding.name=global"),
        effect=0.0,
        pairs=2,
        planned=2,
    )

    def run_sweep(compose: object, overrides: Sequence[str], console: object) -> Swept:
        report = Path("mlruns/hydra") / overrides[0].partition("=")[2] / "s" / "report"
        report.mkdir(parents=True)
        (report / "verdicts.json").write_text(json.dumps([found.to_json()]))
        return Swept(0, "s")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(series, "run_sweep", run_sweep)
    assert main(["-m", "--config-dir", "confs", "sweep.experiments=[mine_a,mine_b]"]) == 0
    (page,) = tmp_path.rglob("guide.md")
    assert "2 claims declared, 2 judged: 2 reproduced" in page.read_text()
