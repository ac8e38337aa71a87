"""Effects at equal calibration: by the normal equations, and of runs of which only the machine's state varies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench.claims import Claim, Judged, judged_table
from workbench.record.frames import runs_of
from workbench.report import page
from workbench.report.sensitivity import CALIBRATIONS, adjusted, at_equal_calibration

ANOTHER = """\
- name: batch_builds_faster
  statement: Built outside the window, which the calibrations do not stand beside.
  source: ours
  metric: speed/graph_build_s
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: lower
  smallest: 1.2
  why_smallest: less is not worth it
  over: {cell.name: [lstm]}
"""
SPEED = {"global": 12_000.0, "batch": 42_000.0}


@pytest.fixture
def declared(declare) -> list[Claim]:
    return declare(ANOTHER)


@pytest.fixture
def runs(sweep_runs: pd.DataFrame) -> pd.DataFrame:
    """Each run's speed is that of its padding times the state of the machine, which is what it is calibrated at."""
    frame = sweep_runs[sweep_runs["params.padding.name"].isin(SPEED)].reset_index(drop=True)
    state = np.exp(np.random.default_rng(3).normal(0, 0.1, len(frame)))
    speed = frame["params.padding.name"].map(SPEED) * state
    calibrated = {f"metrics.{name}": 100 * state for name in CALIBRATIONS}
    return frame.assign(**{"metrics.speed/valid_tokens_per_s": speed}, **calibrated)


def test_the_line_is_that_of_the_normal_equations() -> None:
    x, y = np.array([0.1, -0.2, 0.05, 0.3, -0.1, 0.0]), np.array([1.0, 0.7, 1.1, 1.2, 0.8, 1.05])
    design = np.stack([np.ones_like(x), x], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    intercept, slope = inverse @ design.T @ y
    left = y - design @ [intercept, slope]
    reach = stats.t.ppf(0.975, 4) * np.sqrt(left @ left / 4 * inverse[0, 0])
    expected = (intercept, intercept - reach, intercept + reach, slope)
    assert at_equal_calibration(y, x, 0.95) == pytest.approx(expected)


def test_where_only_the_machine_varies_the_effect_comes_out_exactly(declared, runs, facts) -> None:
    judged = judged_table(declared, runs)
    (found,) = adjusted(declared, judged)
    assert (found.claim, found.effect, found.slope) == (
        "batch_is_faster",
        pytest.approx(3.5),
        pytest.approx(1),
    )
    assert found.interval == pytest.approx((3.5, 3.5))
    low, high = judged.verdicts[0].interval
    assert high / low > 1.1, "as judged the machine's state is in it"
    text = page.page_markdown(judged.verdicts, runs_of(runs), facts | {"adjusted": [found]})
    (row,) = [line for line in text.splitlines() if line.startswith("| `batch_is_faster` | 3.")]
    assert row.endswith("| 3.5x [3.5, 3.5] | 1 |")


def test_what_was_not_calibrated_or_not_judged_is_left_out(declared, runs, sweep_runs, facts) -> None:
    judged = judged_table(declared, runs)
    assert adjusted([], judged) == adjusted(declared, Judged([], {})) == []
    assert adjusted([replace(one, scope="every") for one in declared], judged) == []
    assert adjusted(declared, judged_table(declared, sweep_runs)) == []
    alike = runs.assign(**{f"metrics.{name}": 100.0 for name in CALIBRATIONS})
    assert adjusted(declared, judged_table(declared, alike)) == []
    few = runs[pd.to_numeric(runs["tags.workbench.block"]) <= 5]
    assert adjusted(declared, judged_table(declared, few)) == []
    text = page.page_markdown(judged.verdicts, runs_of(runs), facts | {"adjusted": []})
    assert "machine's state" not in text
