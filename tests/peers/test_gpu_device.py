"""The device script: parts, their limits, and what is written, with commands that need no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.gpu import device, measure
from experiments.gpu.device import Part, main
from experiments.peers.settings import can


def made(*parts: Part) -> object:
    return lambda size, state_in, out: list(parts)


WRITES = "import os, json; open(os.environ['WORKBENCH_GPU_ROWS'], 'a').write(json.dumps({}) + chr(10))"


def test_each_part_has_its_limit_and_what_it_found_is_written_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    tells = WRITES.format("{'part': 'tells', 'rows': 16, 'us': 7.1234}")
    hangs = WRITES.format("{'part': 'hangs', 'rows': 1}") + "; import time; time.sleep(60)"
    parts = made(
        Part("tells", ["-c", tells], 60),
        Part("hangs", ["-c", hangs], 3),
        Part(
            "fails", ["-c", "import sys, os; print(os.environ['WHICH']); sys.exit(7)"], 60, {"WHICH": "flag"}
        ),
    )
    monkeypatch.setattr(device, "parts", parts)
    assert main(["--out", str(tmp_path)]) == 1
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows if "status" in row] == ["ended", "out of time", "failed (7)"]
    assert {"part": "hangs", "rows": 1} in rows
    table = (tmp_path / "table.md").read_text()
    assert "## tells\n\n| rows | us |\n| --- | --- |\n| 16 | 7.12 |\n" in table
    assert table in capsys.readouterr().out
    assert "flag" in (tmp_path / "log.txt").read_text()


def test_what_does_not_fit_is_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        device, "parts", made(Part("one", ["-c", "pass"], 60), Part("two", ["-c", "pass"], 60))
    )
    assert main(["--out", str(tmp_path), "--minutes", "0.05", "--parts", "two"]) == 0
    assert json.loads((tmp_path / "rows.jsonl").read_text())["status"] == "left out"
    assert main(["--out", str(tmp_path), "--parts", "three"]) == 2


def test_what_fails_of_a_case_costs_nothing_that_was_measured_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def microseconds(name: str, x: object, time_steps: int) -> float:
        if name == "keras":
            raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")
        return 7.0

    monkeypatch.setenv("WORKBENCH_GPU_ROWS", str(tmp_path / "rows.jsonl"))
    monkeypatch.setattr(measure, "_ways", lambda run, owner, name: [(f"{name}_us", name)])
    monkeypatch.setattr(measure, "_microseconds", microseconds)
    measure._by_rows("steps", [(16, 2)], 8)
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert (row["tiles_us"], row["refused"]) == (7.0, "keras_us: RuntimeError: CUDNN_STATUS_NOT_SUPPORTED")


def test_all_that_is_asked_can_be_done() -> None:
    """In 14 minutes with what comes before: the parts but the ablation, which takes what is left, in 10."""
    for size in ("full", "tiny"):
        names = [part.name for part in device.parts(size, Path("/nowhere"), Path("/out"))]
        assert len({*names}) == len(names)
        for setting in measure._settings(size):
            assert can("packed", setting)
    assert {"experiments.gpu.measure"} == {
        part.arguments[1]
        for part in device.parts("full", Path(), Path())
        if part.name in ("devices", "steps", "peers")
    }
    limits = {
        part.name: part.limit_s for part in device.parts("full", Path(), Path()) if part.name != "ablation"
    }
    assert sum(limits.values()) <= 570, "what --minutes gives by default"


def test_a_part_that_is_not_there_is_named_before_any_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["--out", str(tmp_path / "out"), "--parts", "steps,peer"]) == 2
    assert "no part is called peer; there are devices, " in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_what_the_runs_recorded_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's folder for temporary files goes with a machine that is lent."""
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    state = tmp_path / f"workbench-gpu-{device.os.getuid()}"
    writes = (
        f"from pathlib import Path; p = Path({str(state)!r}); (p / 'hydra/x/s/0001-1').mkdir(parents=True); "
        "(p / 'mlflow.db').write_text('db'); (p / 'hydra/x/s/0001-1/result.json').write_text('{}')"
    )
    monkeypatch.setattr(device, "parts", made(Part("run", ["-c", writes], 60)))
    assert main(["--out", str(tmp_path / "out")]) == 0
    back = sorted(path.relative_to(tmp_path / "out/state") for path in (tmp_path / "out/state").rglob("*.*"))
    assert list(map(str, back)) == ["hydra/x/s/0001-1/result.json", "mlflow.db"]
