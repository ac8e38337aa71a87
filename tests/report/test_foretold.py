"""The ideal gain of less padding, by hand, beside what was found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.claims import Judged, judged_table
from workbench.record.frames import runs_of
from workbench.report import page
from workbench.report.foretold import PREDICTED, foretold

ANOTHER = """\
- name: the_gru_is_faster
  statement: Another matter than padding.
  source: ours
  metric: speed/valid_tokens_per_s
  treatment: {cell.name: gru}
  control: {cell.name: lstm}
  direction: higher
  smallest: 1.2
  why_smallest: less is not worth it
  over: {padding.name: [batch]}
"""


def test_the_ideal_gain_is_the_ratio_of_valid_shares(declare, sweep_runs, facts) -> None:
    """0.86 and 0.61 of the positions are padding: 0.39 / 0.14 = 2.7857; speeds are 12,000 and 42,000."""
    claims = declare(ANOTHER)
    judged = judged_table(claims, sweep_runs)
    (found,) = foretold(claims, judged)
    assert (found.claim, found.ideal) == ("batch_is_faster", pytest.approx(2.7857, rel=1e-4))
    assert found.realised == pytest.approx(1.2528 / 1.0245, abs=0.05)  # logarithms of 3.5 and of 2.7857
    text = page.page_markdown(judged.verdicts, runs_of(sweep_runs), facts | {"foretold": [found]})
    (row,) = [line for line in text.splitlines() if line.startswith("| `batch_is_faster` | 2.79x")]
    assert row.endswith("% |")
    every = [replace(one, scope="every") for one in claims]  # their rows show one condition, not the mean
    assert foretold(every, judged) == foretold([], judged) == foretold(claims, Judged([], {})) == []
    unknown = judged_table(claims, sweep_runs.drop(columns=f"metrics.{PREDICTED}"))
    assert foretold(claims, unknown) == []
    alike = sweep_runs.assign(**{f"metrics.{PREDICTED}": 0.5})
    (none,) = foretold(claims, judged_table(claims, alike))
    assert (none.ideal, none.realised) == (1.0, None)
