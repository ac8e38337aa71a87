"""A report reads: by the claims that lie with the sweep, and never with fewer verdicts over more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.claims.one_claim import CLAIMS
from workbench.claims import claims_sha, load
from workbench.report.__main__ import main
from workbench.tracking import Tracker


class Swept:
    """A recorded sweep of an experiment of one's own, and the command that judges it."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlruns/mlflow.db"
        self.tracker = Tracker(self.uri, str(folder / "mlruns/artifacts"), wal=False)
        self.claims = folder / "own.yaml"
        self.claims.write_text(CLAIMS)
        tags = {
            "workbench.sweep": "s",
            "workbench.claims_sha": claims_sha(load(self.claims)),
            "workbench.planned_pairs": "2",
        }
        own = self.tracker.experiment("own")
        self.run = self.tracker.start(
            own, "sweep", params={"name": "own"}, tags={**tags, "workbench.kind": "sweep"}
        )
        self.tracker.text(self.run, self.claims.read_text(), "claims.yaml")
        self.tracker.text(self.run, '{"skipped": [], "jobs": []}', "grid.json")
        for number in range(4):
            params = {"padding.name": ["global", "batch"][number % 2], "seed": number // 2}
            place = {
                "workbench.block": str(number // 2 + 1),
                "workbench.repeat": "0",
                "workbench.kind": "run",
            }
            run = self.tracker.start(own, "job", params=params, tags={**tags, **place}, parent=self.run)
            self.tracker.log(run, [(0, {"loss/validation_per_token": 1.0})])
            self.tracker.finish(run, "FINISHED")
        self.tracker.finish(self.run, "FINISHED")
        self.folder = folder / "mlruns/hydra/own/s/report"

    def held(self) -> list[list[str]]:
        """The claims that were judged, in the folder and in MLflow."""
        texts = (
            (self.folder / "verdicts.json").read_text(),
            self.tracker.read_text(self.run, "verdicts.json"),
        )
        return [[one["claim"] for one in json.loads(text)] for text in texts]


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    monkeypatch.chdir(tmp_path)
    made = Swept(tmp_path)
    assert main(["own"]) == 0
    return made


def test_the_claims_that_lie_with_the_sweep_judge_it_and_other_ones_beside(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swept.held() == [["equal"], ["equal"]]
    assert main(["own"]) == 0
    said = capsys.readouterr().out
    assert "by the claims that the sweep was declared with (SHA-256 " in said
    before = (swept.folder / "verdicts.json").read_bytes()
    swept.claims.write_text(CLAIMS.replace("tolerance: 0", "").replace("name: equal", "name: other"))
    assert main(["own", "--claims", "own.yaml"]) == 0
    assert "exploratory, beside the declared verdicts: own.yaml" in capsys.readouterr().out
    assert swept.held() == [["equal"], ["equal"]]
    assert (swept.folder / "verdicts.json").read_bytes() == before
    (beside,) = swept.folder.glob("exploratory-*")
    assert [one["claim"] for one in json.loads((beside / "verdicts.json").read_text())] == ["other"]
    assert "verdicts.json" in swept.tracker.files(swept.run, beside.name)
    assert main(["own", "--claims", "own.yaml", "--commit-results"]) == 2
    assert "these are exploratory" in capsys.readouterr().err


def test_claims_that_cannot_be_read_judge_and_write_nothing(
    swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept,) = (tmp_path / "mlruns/artifacts").rglob("claims.yaml")
    before = swept.held()
    kept.rename(kept.with_name("mine.yaml"))  # as sweeps of before have it
    assert main(["own"]) == 0
    kept.with_name("mine.yaml").unlink()
    assert main(["own"]) == 2
    assert re.search(r"was declared with \(SHA-256 .*cannot be read.*--claims", capsys.readouterr().err)
    assert swept.held() == before
    assert main(["own", "--claims", "own.yaml"]) == 0
    assert "by the claims that the sweep was declared with" in capsys.readouterr().out


def test_a_report_without_runs_leaves_the_verdicts(swept: Swept, capsys: pytest.CaptureFixture[str]) -> None:
    for run in swept.tracker.find("1", {"workbench.kind": "run"}):
        swept.tracker._client.delete_run(run.run_id)
    assert main(["own"]) == 2
    assert "nothing was written over them" in capsys.readouterr().err
    assert swept.held() == [["equal"], ["equal"]]


def test_planning_finds_them_too(swept: Swept, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["own", "--plan"]) == 0
    assert "equal" in capsys.readouterr().out


def test_a_deleted_sweep_and_one_that_never_was_are_told_apart(
    swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    swept.tracker._client.delete_run(swept.run)
    for words in (["own"], ["own", "--sweep", "s"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"runs restore --run-id {swept.run}" in said
        assert "4 runs of its jobs are there" in said
    assert main(["nothing"]) == 2
    said = capsys.readouterr().err
    assert "has no sweep" in said
    assert "+experiment" not in said, "it is no experiment that can be run"
    assert main(["padding_ablation"]) == 2
    assert "+experiment=padding_ablation -m" in capsys.readouterr().err


def test_verdicts_that_are_cut_in_the_store_are_made_anew(swept: Swept) -> None:
    """As a full disk leaves them, or a kill while they are kept."""
    whole = swept.tracker.read_text(swept.run, "verdicts.json")
    swept.tracker.text(swept.run, whole[:20], "verdicts.json")
    assert main(["own"]) == 0
    assert swept.held() == [["equal"], ["equal"]]


def test_a_folder_that_is_drawn_again_elsewhere_goes_over_no_other_verdicts(
    swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    held = json.dumps([{"claim": "found_long_ago", "kind": "measured", "sha": "1" * 64}])
    (other / "verdicts.json").write_text(held)
    again = [str(swept.folder), "--claims", "own.yaml", "--out"]
    assert main([*again, str(other)]) == 2
    assert "holds verdicts on found_long_ago" in capsys.readouterr().err
    assert [one.name for one in other.iterdir()] == ["verdicts.json"]
    assert (other / "verdicts.json").read_text() == held
    assert main([*again, str(tmp_path / "new")]) == 0


def test_an_arm_of_which_no_run_was_begun_stays_on_a_page_that_is_drawn_again(swept: Swept) -> None:
    job = {"number": 9, "arm": "padding.name=batch", "block": 3, "repeat": 0}
    job |= {"config": {"padding": {"name": "batch"}, "cell": {"name": "nas"}, "seed": 3}}
    grid = {"skipped": [], "jobs": [job], "blocks": 2, "throw_away": False}
    swept.tracker.text(swept.run, json.dumps(grid), "grid.json")
    page = swept.folder / "report.md"

    def shown() -> list[str]:
        return [line for line in page.read_text().splitlines() if re.match(r"\|.*\bnas\b.*\| 0 \|", line)]

    assert main(["own"]) == 0
    first = shown()
    assert len(first) == 1
    assert main([str(swept.folder), "--claims", "own.yaml"]) == 0
    assert shown() == first
