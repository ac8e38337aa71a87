"""`python -m experiments.peers`: what it prints and writes, both exit codes."""

from __future__ import annotations

import json

import pytest

from experiments.peers import __main__ as command
from experiments.peers import measure
from experiments.peers.settings import Job, Setting, never_slower


def test_what_cannot_be_is_refused_with_what_there_is(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command.main(["--size", "quick", "--only", "lsmt"]) == 2
    assert "--only lsmt: no setting has that in its name; there are lstm-b32-h256" in capsys.readouterr().err
    assert command.main(["--arms", "packed,keras_lstm"]) == 2
    assert "keras_lstm is no arm; there are packed" in capsys.readouterr().err
    assert command.main(["--commit-results"]) == 2
    assert "nothing was measured yet; run python -m experiments.peers first" in capsys.readouterr().err


def test_settings_are_listed_without_a_run(capsys):
    assert command.main(["--size", "quick", "--only", "gru", "--arms", "packed,keras_layer", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "gru-b32-h256-geometric_400: packed, keras_layer"


@pytest.mark.slow  # quick: tests/peers/test_arms.py, test_timing.py and test_rows.py
@pytest.mark.command
def test_a_tiny_comparison_from_processes_to_the_file(monkeypatch, tmp_path, capsys):
    arms = ("packed", "keras_layer", "torch_packed", "ceiling")
    job = never_slower(Job(Setting("lstm", 2, 4, "equal"), arms, memory=("keras_layer",)))
    monkeypatch.setitem(command.SIZES, "quick", lambda: [job])
    monkeypatch.setattr(measure, "has_torch", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert command.main(["--size", "quick", "--seconds", "0", "--device", "cpu"]) == 0
    rows = json.loads((tmp_path / "mlruns" / "peers.json").read_text())
    assert (tmp_path / "mlruns" / "peers" / "report.md").is_file()
    found = {(row["arm"], row["peer"]): row for row in rows}
    speed = found["packed", "keras_layer"]
    assert speed["turns"] == 6
    assert speed["low"] < speed["ratio"] < speed["high"]
    assert speed["error"] < 2e-6
    assert found["keras_layer", None]["peak_memory_mb"] is not None
    assert found["packed", "torch_packed"]["ratio"] is None
    assert (
        "torch_packed in lstm-b2-h4-equal: PyTorch is not installed: pip install" in capsys.readouterr().out
    )
