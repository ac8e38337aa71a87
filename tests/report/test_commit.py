"""Results go into the experiment's folder whole, and push nothing else out of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from workbench import places
from workbench.record import Run
from workbench.report import assemble
from workbench.report.__main__ import _committed_like


def test_a_report_replaces_the_one_before_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, made = tmp_path / "results", tmp_path / "made"
    for folder, figure in ((target, "memory.svg"), (made, "padding.svg")):
        (folder / "figures").mkdir(parents=True)
        (folder / "figures" / figure).touch()
        (folder / "report.md").write_text(figure)
    (target / "verdicts.json").touch()  # the new sweep has no claims
    (target / "protocol.md").write_text("measured by something else")
    (made / "figures" / "mine.png").touch()
    (made / "private_notes.txt").touch()
    (made / "exploratory-0123456789ab").mkdir()
    monkeypatch.setattr(assemble, "results_folder", lambda name, *_: target)
    assemble.Report(made, [], [], {}).commit_results("any")
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == ["figures/padding.svg", "protocol.md", "report.md"]
    assert (target / "report.md").read_text() == "padding.svg"
    assert not (target / "exploratory-0123456789ab").exists()
    assert not target.with_name("results.old").exists()


def test_results_that_a_kill_left_under_another_name_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its two renames nothing lies where the results belong."""
    target, made, old = (tmp_path / name for name in ("results", "made", "results.old"))
    for folder in (made, old):
        folder.mkdir()
        (folder / "report.md").write_text(folder.name)
    (old / "my_notes.md").write_text("a person's own")
    monkeypatch.setattr(assemble, "results_folder", lambda name, *_: target)
    assemble.Report(made, [], [], {}).commit_results("any")
    assert (target / "my_notes.md").read_text() == "a person's own"
    assert (target / "report.md").read_text() == "made"


def test_an_experiment_of_ones_own_gets_its_first_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, target = tmp_path / "made", tmp_path / "experiments" / "own" / "results"
    made.mkdir()
    (made / "report.md").write_text("first")
    monkeypatch.setattr(assemble, "results_folder", lambda name, *_: target)
    assemble.Report(made, [], [], {}).commit_results("own")
    assert (target / "report.md").read_text() == "first"


@pytest.mark.parametrize(
    ("held", "is_refused"),
    [
        (None, False),
        ("[]", False),
        ('[{"claim": "a", "kind": "measured", "exploratory": true}]', False),
        ('[{"claim": "a", "kind": "measured", "exploratory": false}]', True),
        ("cut off", True),
    ],
)
def test_verdicts_on_claims_that_were_not_committed_go_over_no_declared_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdicts, held: str | None, is_refused: bool
) -> None:
    target, made = tmp_path / "results", tmp_path / "made"
    made.mkdir()
    (made / "verdicts.json").write_text("new")
    if held is not None:
        target.mkdir()
        (target / "verdicts.json").write_text(held)
    monkeypatch.setattr(assemble, "results_folder", lambda name, *_: target)
    exploratory = [replace(verdicts[0], claim="a", exploratory=True)]
    report = assemble.Report(made, exploratory, [], {})
    if not is_refused:
        report.commit_results("any")
        assert (target / "verdicts.json").read_text() == "new"
        return
    with pytest.raises(assemble.ReportError, match="was left as it is"):
        report.commit_results("any")
    assert (target / "verdicts.json").read_text() == held


@pytest.mark.parametrize(
    ("scale", "devices", "folder"),
    [
        ("quick", ("cpu", "cpu"), "results"),
        ("", ("cpu",), "results"),
        ("full", ("cpu",), "results-full"),
        ("quick", ("cpu", "gpu"), "results-gpu"),
        ("full", ("gpu",), "results-gpu-full"),
    ],
)
def test_what_is_of_a_gpu_or_another_scale_lies_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str, devices: tuple[str, ...], folder: str
) -> None:
    """The guide's page is made of `results`, which a larger sweep, or one on a GPU, must not replace."""
    own, made = tmp_path / "experiments" / "own", tmp_path / "made"
    for one, text in ((own / "results", "the guide's"), (made, "new")):
        one.mkdir(parents=True)
        (one / "report.md").write_text(text)
    monkeypatch.setattr(places, "ROOT", tmp_path)
    runs = [Run(device, "", params={"device": device}) for device in devices]
    assert assemble.Report(made, [], runs, {"scale": scale}).commit_results("own") == own / folder
    assert (own / folder / "report.md").read_text() == "new"
    assert (own / "results" / "report.md").read_text() == ("new" if folder == "results" else "the guide's")
    assert sorted(path.name for path in own.iterdir()) == sorted({"results", folder})


def test_results_are_held_against_the_committed_ones_of_their_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    for name in ("results", "results-full"):
        (tmp_path / "experiments" / "own" / name).mkdir(parents=True)
    for scale, folder in (("quick", "results"), ("full", "results-full")):
        other = tmp_path / scale
        other.mkdir()
        (other / "facts.json").write_text(json.dumps({"scale": scale}))
        assert _committed_like("own", other) == tmp_path / "experiments" / "own" / folder
    (other / "runs.csv").write_text("run_id,status,params.device\na,FINISHED,gpu\n")
    with pytest.raises(
        assemble.ReportError, match=r"is of gpu and full, and .*results-gpu-full is not there"
    ):
        _committed_like("own", other)
