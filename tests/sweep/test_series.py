"""Several experiments one after another: one that cannot be run costs no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from workbench.__main__ import main
from workbench.report import assemble
from workbench.sweep import series
from workbench.sweep.conduct import PrepareError
from workbench.sweep.journal import RecordLostError

BOTH = {"padding_ablation", "loss_masking_ablation"}


def type_in(monkeypatch: pytest.MonkeyPatch, folder: Path, without_data: set[str]) -> tuple[int, list[str]]:
    """Both experiments, of which some have no data: the exit code, and which were run."""
    ran = []

    def run_sweep(compose: object, overrides: Sequence[str], console: object) -> int:
        name = overrides[0].partition("=")[2]
        if name in without_data:
            raise PrepareError("no such file")
        ran.append(name)
        return 0

    monkeypatch.chdir(folder)
    monkeypatch.setattr(series, "run_sweep", run_sweep)
    monkeypatch.setattr(assemble, "latest_sweep", lambda tracker, name: "a-sweep")
    return main(["-m", f"sweep.experiments=[{','.join(sorted(BOTH))}]"]), ran


@pytest.mark.parametrize(("without_data", "code"), [({"loss_masking_ablation"}, 1), (BOTH, 2)])
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
