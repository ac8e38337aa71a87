"""Results go into the experiment's folder whole, and push nothing else out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.report import assemble


def test_a_report_replaces_the_one_before_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, made = tmp_path / "results", tmp_path / "made"
    for folder, figure in ((target, "old.svg"), (made, "new.svg")):
        (folder / "figures").mkdir(parents=True)
        (folder / "figures" / figure).touch()
        (folder / "report.md").write_text(figure)
    (target / "verdicts.json").touch()  # the new sweep has no claims
    (target / "protocol.md").write_text("measured by something else")
    monkeypatch.setattr(assemble, "results_folder", lambda name: target)
    assemble.Report(made, [], [], {}).commit_results("any")
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == ["figures/new.svg", "protocol.md", "report.md"]
    assert (target / "report.md").read_text() == "new.svg"
    assert not target.with_name("results.old").exists()
