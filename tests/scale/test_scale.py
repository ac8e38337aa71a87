"""The benchmark of sweeps without work: its table from made-up rows, and it itself, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.scale import __main__ as command
from experiments.scale import measure, sequences


def row(jobs: int) -> dict[str, float]:
    return {
        "jobs": jobs, "dry_run_s": 1 + 0.01 * jobs, "sweep_s": 2 + 0.1 * jobs + 1e-5 * jobs**2,
        "parent_cpu_s": 0.02 * jobs,
        "children_cpu_s": 0.1 * jobs, "memory_before_mb": 200, "memory_after_mb": 210, "resume_s": 1 + 0.01 * jobs,
        "read_s": 0.001 * jobs, "report_s": 2, "ui_s": 3, "store_mb": 0.02 * jobs,
    }  # fmt: skip


def test_the_table_says_what_follows_for_a_million_jobs() -> None:
    found = {
        "typed": ["--jobs", "10"],
        "minutes": 1.0,
        "about": {"machine.cpu": "some cpu", "commit": "abc"},
        "sweeps": {"SQLite": [row(n) for n in (10, 100, 1000)]},
        "writers": {"SQLite": [{"writers": 2, "runs": 80, "seconds": 8.0, "runs_per_s": 10.0}]},
        "filled": {"SQLite": [{"runs": 50_000, "seconds": 90.0}, row(10)]},
    }
    said = command.markdown(found)
    assert (
        "| 1,000 | 11.0 s | 112.0 s | 112 | 20 ms | 11.0 s | 1.00 s | 2.0 s | 3.0 s | 200, 210 MB | 20.0 MB |"
        in said
    )
    a, b, c = measure.fitted([10, 100, 1000], [row(n)["sweep_s"] for n in (10, 100, 1000)])
    assert (a, b, c) == (pytest.approx(2), pytest.approx(0.1), pytest.approx(1e-5))
    assert f"| {(2 + 1e5 + 1e7) / 3600:.1f} h |" in said
    assert "| 2 | 80 | 10.0 |" in said
    assert said.index("holds 50,000 runs of another") < said.rindex("| 10 | 1.1 s |")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "filled", "--filled", "20"], "--only needs --out"),
        (["--only", "sweeps", "filled", "--out", "here"], "go together"),
        (["--only", "writers", "--filled", "20", "--out", "here"], "go together"),
    ],
)
def test_a_part_stands_in_a_folder_of_its_own_and_is_what_was_asked_for(words, says, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(words)
    assert says in capsys.readouterr().err


def test_sequences_are_the_same_each_time_and_their_labels_can_be_learnt(tmp_path: Path) -> None:
    assert sequences.main(["--examples", "300", "--out", str(tmp_path / "all.csv")]) == 0
    head, *lines = (tmp_path / "all.csv").read_text().splitlines()
    assert head == "text,label"
    assert lines == [line.strip() for line in sequences.rows(300)]
    for line in lines:
        words, label = line.split(",")
        odd = [int(word[1:]) % 2 for word in words.split()]
        assert 1 <= len(odd) <= sequences.LONGEST
        assert label == ("odd" if sum(odd) > len(odd) / 2 else "even")


@pytest.mark.parametrize("jobs", ["0", "15", "some", "-10"])
def test_a_number_that_is_no_whole_ten_is_refused(jobs: str, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(["--jobs", jobs])
    assert "must be a whole ten" in capsys.readouterr().err


@pytest.mark.command
@pytest.mark.slow
def test_it_measures(tmp_path: Path, capsys) -> None:
    assert command.main(["--jobs", "10", "--writers", "2", "--filled", "30", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert [one["jobs"] for one in found["sweeps"]["SQLite"]] == [10]
    assert all(value > 0 for one in found["sweeps"]["SQLite"] for value in one.values())
    assert found["writers"]["SQLite"][0]["runs"] == 2 * command.EACH
    assert [one.get("runs", one.get("jobs")) for one in found["filled"]["SQLite"]] == [30, 10]
    assert "| 10 |" in (tmp_path / "report.md").read_text()
