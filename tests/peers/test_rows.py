"""From what was measured to rows, goals and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from experiments.peers import report
from experiments.peers.figures import write_figures
from experiments.peers.rows import rows_of
from experiments.peers.settings import SIZES, Goal, Job, Setting, can
from experiments.peers.worker import Measured, Outcome

SETTING = Setting("lstm", 4, 8, "geometric_100")
FACTS = {"threads": "2", "device": "CPU", "PyTorch": "1", "minutes": "1", "machine.cpu": "a CPU"}


def taken(ms: float, noise: float = 0.01) -> np.ndarray:
    spread = np.array([[-1.0], [1.0], [0.0], [1.0], [-1.0], [0.0]])
    return ms / 1e3 * (1 + noise * spread) * np.array([[0.5, 1.5]])


@pytest.fixture
def outcome() -> Outcome:
    arms = {
        "packed": Measured("packed", taken(10), first_call_s=2.5, compiles=1, error=1e-6, memory_mb=20.0),
        "dynamic": Measured("dynamic", taken(50, -0.01), first_call_s=0.2, compiles=1, error=1e-6),
        "keras_layer": Measured(
            "keras_layer", taken(45), first_call_s=0.2, compiles=1, error=1e-6, memory_mb=80.0
        ),
        "torch_packed": Measured("torch_packed", refused="PyTorch is not installed"),
        "torch_padded": Measured("torch_padded", taken(9, -0.2)),
        "ceiling": Measured("ceiling", taken(7)),
        "ceiling_plain": Measured("ceiling_plain", taken(8)),
    }
    alone = {"torch_padded": Measured("torch_padded", taken(8))}
    return Outcome(SETTING, arms, [60, 40], [100, 200], 30, alone)


@pytest.fixture
def rows(outcome: Outcome):
    goals = (
        Goal("speed", 6.0, "keras_layer"),
        Goal("speed", 3.0, "torch_packed"),
        Goal("speed", 1.0, "torch_padded"),
        Goal("share_of_ceiling", 0.6),
        Goal("memory", 0.3, "keras_layer", least=False),
        Goal("first_call_s", 3.0, least=False),
    )
    return rows_of(Job(SETTING, tuple(outcome.arms), goals, ("packed", "keras_layer")), outcome, 2, "cpu")


def one(rows, quantity, peer):
    (row,) = [row for row in rows if (row["quantity"], row["peer"]) == (quantity, peer)]
    return row


def test_a_ratio_is_peer_over_arm_with_its_interval_and_is_held_against_its_goal(rows):
    row = one(rows, "speed", "keras_layer")
    assert (row["arm"], row["goal"], row["met"]) == ("packed", 6.0, False)
    assert row["ratio"] == pytest.approx(4.5)
    assert row["low"] <= row["ratio"] <= row["high"]
    assert one(rows, "memory", "keras_layer")["ratio"] == 0.25
    assert one(rows, "memory", "keras_layer")["met"]
    assert one(rows, "share_of_ceiling", None)["ratio"] == pytest.approx(0.7)
    assert one(rows, "first_call_s", None)["met"]


def test_a_peer_without_a_goal_has_its_ratio_all_the_same(rows):
    row = one(rows, "speed", "dynamic")
    assert row["ratio"] == pytest.approx(5, rel=0.01)
    assert row["goal"] is None
    assert row["met"] is None


def test_what_was_not_measured_is_a_missed_goal_and_a_sentence(rows):
    row = one(rows, "speed", "torch_packed")
    assert (row["ratio"], row["met"]) == (None, False)
    page = report.page_markdown(rows, FACTS)
    assert "Not measured: torch_packed in lstm-b4-h8-geometric_100: PyTorch is not installed" in page
    assert "| times as fast as torch_packed | ≥ 3 | - | not measured |" in page


def test_an_arm_has_a_row_with_its_speed(rows):
    (row,) = [row for row in rows if row["arm"] == "packed" and row["quantity"] is None]
    assert (row["ms"], row["valid_tokens_per_s"], row["padded_tokens_per_s"]) == (10.0, 5000, 15000)
    assert [(b["valid"], b["padded"], b["ms"]) for b in row["batches"]] == [(60, 100, 5.0), (40, 200, 15.0)]


def test_pytorch_alone_has_a_row_and_a_ratio_without_an_interval(rows):
    (row,) = [row for row in rows if row["arm"] == "torch_padded_alone"]
    assert row["ms"] == 8.0
    against = one(rows, "speed", "torch_padded_alone")
    assert (against["ratio"], against["low"]) == (pytest.approx(0.8), None)


def test_an_interval_around_the_goal_is_said(rows):
    verdicts = {
        row["peer"]: report.verdict(row) for row in rows if row["quantity"] == "speed" and row["goal"]
    }
    assert verdicts["keras_layer"] == "missed"
    assert verdicts["torch_padded"] == "missed, within noise"


def test_where_packed_is_slower_is_said_peer_by_peer(rows):
    said = report.closing(rows)
    assert "Slower than keras_layer in 0 of 1 settings." in said
    assert any(line.startswith("Slower than torch_padded in 1 of 1 settings: lstm-b4") for line in said)


def test_written_printed_and_committed(rows, tmp_path):
    out = tmp_path / "mlruns" / "peers.json"
    report.write(rows, FACTS, out)
    assert json.loads(out.read_text()) == json.loads(json.dumps(rows))
    console = Console(width=200, record=True)
    report.show(rows, FACTS, console)
    assert "4.5 [4.5, 4.5]" in console.export_text()
    report.commit(out, tmp_path / "results")
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"peers.json", "facts.json", "report.md", "ratios.svg", "ratios.png"}


def test_ratios_of_more_than_twelve_settings_go_on_in_another_figure(rows, tmp_path):
    compared = [row for row in rows if row["quantity"] == "speed"]
    many = [{**row, "setting": f"setting {number}"} for number in range(13) for row in compared]
    assert [path.name for path in write_figures(tmp_path, many)] == [
        *("ratios.svg", "ratios.png", "ratios_2.svg", "ratios_2.png")
    ]


def test_every_goal_can_be_measured_and_full_has_all_of_quick():
    quick, full = SIZES["quick"](), {job.setting: job for job in SIZES["full"]()}
    for job in (*quick, *full.values()):
        assert all(can(arm, job.setting) for arm in job.arms), job.setting.name
        assert {goal.arm for goal in job.goals} <= set(job.arms)
        assert {goal.peer for goal in job.goals if goal.peer} <= set(job.arms), job.setting.name
        assert set(job.memory) <= set(job.arms)
        assert len({(goal.quantity, goal.peer) for goal in job.goals}) == len(job.goals), job.setting.name
        near = job.setting.units == 256 and "ceiling" in job.arms
        assert (Goal("share_of_ceiling", 0.6) in job.goals) == near, job.setting.name
    for job in quick:
        assert set(job.goals) <= set(full[job.setting].goals), job.setting.name
        assert set(job.arms) <= set(full[job.setting].arms)
    assert len({job.setting for job in quick}) == len(quick)
