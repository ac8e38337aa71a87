"""Lines through costs whose growth is known."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.record import Run
from workbench.record.frames import runs_of
from workbench.report import page
from workbench.report.growth import growths


def runs(lengths: tuple[int, ...], blocks: int = 3, noise: float = 0.0) -> list[Run]:
    """Unrolled: 548 + 64 nodes a step, 0.1 + 0.01 s a step and block; a loop: 841 nodes and 0.2 s, however long."""
    rows = []
    for block in range(1, blocks + 1):
        for unroll in ("static", "dynamic"):
            for steps in lengths:
                nodes, seconds = (
                    (548 + 64 * steps, 0.1 + 0.01 * block * steps) if unroll == "static" else (841, 0.2)
                )
                rows.append(
                    {
                        "run_id": f"{unroll}-{steps}-{block}",
                        "status": "FINISHED",
                        "params.seed": str(block),
                        "params.rnn.unroll": unroll,
                        "params.padding.length": str(steps),
                        "params.cell.units": "64",
                        "tags.workbench.kind": "run",
                        "tags.workbench.block": str(block),
                        "metrics.speed/graph_nodes": float(nodes),
                        "metrics.speed/graph_build_s": seconds + (noise if steps == 50 else 0.0),
                    }
                )
    other = {"params.cell.units": "32", "run_id": "one length only"}
    return runs_of(pd.DataFrame([*rows, rows[0] | other]))


def test_known_lines_are_found_for_each_arm_with_their_spread_over_blocks(facts) -> None:
    frame = runs((25, 50, 100))
    found = {(one.arm, one.metric): one for one in growths(frame)}
    assert {arm for arm, _ in found} == {"static", "dynamic"}
    nodes = found["static", "speed/graph_nodes"]
    assert (nodes.base, nodes.slope, nodes.explained) == pytest.approx((548, 64, 1))
    assert nodes.interval == pytest.approx((64, 64))
    build = found["static", "speed/graph_build_s"]
    assert (build.base, build.slope) == pytest.approx((0.1, 0.02))
    # slopes 0.01, 0.02, 0.03: deviation 0.01, over the root of 3, times t of 2, 4.30265
    assert build.interval == pytest.approx((0.02 - 0.024841, 0.02 + 0.024841), abs=1e-6)
    loop = found["dynamic", "speed/graph_nodes"]
    assert (loop.base, loop.slope, loop.explained) == pytest.approx((841, 0, 1))
    text = page.page_markdown([], frame, facts)
    assert "| static | speed/graph_nodes | 548 | 64 [64, 64] | 100.0% |" in text


def test_what_is_no_line_is_said_to_be_less_of_one() -> None:
    (bent,) = [
        one
        for one in growths(runs((25, 50, 100), noise=0.5))
        if (one.arm, one.metric) == ("static", "speed/graph_build_s")
    ]
    assert bent.explained < 0.7


def test_two_lengths_or_one_block_make_no_line(sweep_runs) -> None:
    assert (
        growths(runs((25, 100)))
        == growths(runs((25, 50, 100), blocks=1))
        == growths(runs_of(sweep_runs))
        == []
    )
    assert growths([]) == []
