"""The A/A study of timed windows: what it says of windows whose disturbance is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.quiet_windows import SPEED, limit, main
from workbench.record.gate import REQUEUE_SPREAD, WATCHED


def csv(path: Path, apart: np.ndarray) -> Path:
    """Windows whose second calibration is so much above the first."""
    head = [
        "run_id",
        "status",
        "start_time",
        "tags.workbench.block",
        *(f"metrics.{one}" for one in (*WATCHED, SPEED)),
    ]
    rows = [
        f"r{k},FINISHED,2026-01-01,{k + 1},100,{100 * (1 + one)},0.01,{1000 + k % 7}"
        for k, one in enumerate(apart)
    ]
    path.write_text("\n".join([",".join(head), *rows]) + "\n")
    return path


@pytest.mark.parametrize(("most", "code"), [(0.22, 0), (0.4, 1)])
def test_it_says_which_limit_lets_windows_pass(tmp_path, capsys, most, code):
    apart = np.linspace(0, most, 200)
    assert main([str(csv(tmp_path / "runs.csv", apart))]) == code
    said = capsys.readouterr().out
    assert f"{(apart > REQUEUE_SPREAD).sum()} of 200 windows stopped by the gate" in said
    assert f"a limit that 95% of windows pass: {np.sort(apart)[195]:.1%}" in said
    assert "foreign CPU: 0.0% beyond the limit of 5%" in said
    assert "speed of the " in said


def test_its_limit_is_passed_by_95_of_100_windows_in_19_of_20_studies():
    """Against the truth: of uniform windows the limit itself is the share that passes it."""
    rng = np.random.default_rng(7)
    limits = np.array([limit(rng.random(200)) for _ in range(2000)])
    assert 0.95 <= np.mean(limits >= 0.95) <= 0.985
    assert limit(np.arange(58.0)) == np.inf


def test_what_holds_no_window_is_refused(tmp_path, capsys):
    (tmp_path / "runs.csv").write_text("run_id,status,start_time\nr,FINISHED,2026-01-01\n")
    for path, said in (
        (tmp_path / "runs.csv", "holds no run with a timed window"),
        (tmp_path / "x", "no such file"),
    ):
        with pytest.raises(SystemExit):
            main([str(path)])
        assert said in capsys.readouterr().err
