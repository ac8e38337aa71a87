"""Claims on runs that the workbench did not make: metrics, arms and block are what the file says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from workbench.claims import ClaimError, PairingError, judge_table, load
from workbench.record import METRICS
from workbench.report.__main__ import main

EXAMPLE = Path(__file__).parents[2] / "experiments" / "scikit_learn"


@pytest.fixture
def file(tmp_path):
    """The example's claims with a text replaced, as a path."""

    def make(old: str = "", new: str = "") -> Path:
        text = (EXAMPLE / "claims.yaml").read_text()
        assert old in text
        path = tmp_path / "claims.yaml"
        path.write_text(text.replace(old, new))
        return path

    return make


def _runs(**columns):
    """What the example's sweep logs, with made-up accuracies: scaling is worth 0.3, less some of each seed."""
    rows = [
        {
            "run_id": f"{seed}-{scaling}-{cache}",
            "status": "FINISHED",
            "start_time": pd.Timestamp(seed, unit="s", tz="UTC"),
            "params.split_seed": str(seed),
            "params.scaling": scaling,
            "params.cache_size": str(cache),
            "metrics.accuracy": 0.6 + (scaling == "standard") * (0.3 + 0.01 * (seed % 3)),
            **{name: value(seed) if callable(value) else value for name, value in columns.items()},
        }
        for seed in range(8)
        for scaling in ("none", "standard")
        for cache in (100, 200)
    ]
    return pd.DataFrame(rows)


def test_runs_of_any_origin_are_judged_by_the_file(file):
    before = set(METRICS)
    measured, exact = judge_table(load(file()), _runs())
    assert (measured.verdict, exact.verdict) == ("reproduced", "reproduced")
    # seeds 0..7 give 0.30, 0.31, 0.32, 0.30, ...: a mean of (3 * 0.30 + 3 * 0.31 + 2 * 0.32) / 8
    assert measured.effect == pytest.approx(0.30875)
    assert set(METRICS) == before  # what a file names is known to that file alone


def test_every_param_is_part_of_the_key_but_those_ignored(file):
    runs = _runs()
    runs["params.folder"] = runs["run_id"]
    with pytest.raises(PairingError, match=r"differ in more than they name: folder"):
        judge_table(load(file()), runs)
    assert judge_table(load(file("ignore: []", "ignore: [folder]")), runs)[0].verdict == "reproduced"
    with pytest.raises(PairingError, match=r"cache_size varies \(100, 200\); name it in `over`"):
        judge_table(load(file("  over: {cache_size: [100, 200]}\n")), runs.drop(columns="params.folder"))


def test_the_parent_of_a_search_is_left_out(file):
    parent = pd.DataFrame([{"run_id": "p", "status": "FINISHED", "params.best_scaling": "standard"}])
    both = pd.concat([_runs(), parent])
    assert judge_table(load(file()), both) == judge_table(load(file()), _runs())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "block: split_seed",
            "block: splitseed",
            "block=splitseed: none of 32 runs.*did you mean split_seed",
        ),
        ("block: split_seed", "block: fold", "name the one that tells repeats apart.*they have cache_size"),
        ("accuracy", "acuracy", "metric=acuracy: no run has it; they have accuracy"),
    ],
)
def test_what_no_run_has_is_named(file, old, new, words):
    with pytest.raises(PairingError, match=words):
        judge_table(load(file(old, new)), _runs())


def test_the_same_run_of_two_experiments_is_no_later_attempt(file):
    runs = pd.concat([_runs(experiment_id="1"), _runs(experiment_id="2")], ignore_index=True)
    runs["run_id"] = [f"run{number}" for number in runs.index]
    with pytest.raises(PairingError, match=r"are of two experiments \(ids 1 and 2\): name one"):
        judge_table(load(file()), runs)
    apart = _runs(experiment_id=lambda seed: str(seed % 2))
    assert [one.verdict for one in judge_table(load(file()), apart)] == ["reproduced", "reproduced"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("metric: accuracy", "metric: score", "claims.yaml:15: metric: no metric score"),
        ("better: higher", "better: up", "claims.yaml:3: runs: metrics.accuracy.better: 'up' is no better"),
        ("ignore:", "ignor:", "'ignor' is none of metrics, ignore; did you mean ignore"),
        ("ignore: []", "ignore: folder", "ignore: 'folder' is no list"),
        ("    accuracy: {", "    loss/step: {", "metrics.loss/step: is the workbench's own name"),
    ],
)
def test_a_bad_section_is_refused_by_line(file, old, new, words):
    with pytest.raises(ClaimError, match=words):
        load(file(old, new))


# what these do with frames is tested above
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
def test_the_example_of_scikit_learn(tmp_path, capsys, monkeypatch, file):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, str(EXAMPLE / "sweep.py")], check=True, capture_output=True)
    asked = ["wine", "--uri", "sqlite:///wine.db", "--claims", str(EXAMPLE / "claims.yaml")]
    assert main([*asked, "--runs", "", "--out", "kept"]) == 0
    assert "2 claims: 2 reproduced" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "kept").iterdir()}
    assert written == {"verdicts.json", "verdicts.csv", "runs.csv", "report.md", "report.html", "figures"}
    said = (tmp_path / "kept" / "report.md").read_text()
    assert "An SVC gets more of the wines right" in said
    assert said.count("| 8 |") >= 4, "four arms of eight seeds each"
    assert "nan" not in said
    for other in (said, (tmp_path / "kept" / "report.html").read_text()):
        assert "reproduced" in other
    assert main([*asked, "--runs", "params.scaling = 'robust'"]) == 2
    assert "finds no run" in capsys.readouterr().err
    assert main([*asked, "--runs", "params.scaling is robust"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("--runs")
    assert "Invalid clause" in said
    assert "compares by =" in said
    assert main([*asked[:-1], str(file("runs:", "# runs:")), "--runs", ""]) == 2
    capsys.readouterr()
