"""At which look each claim was decided, what the open ones would need, what is not assessable; and the state."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from workbench.claims import NOT_ASSESSABLE, Claim
from workbench.claims.statistics import p_above
from workbench.claims.table import judge_table
from workbench.record import Run
from workbench.record.tags import BLOCK
from workbench.report import assemble, page, power, said, tables
from workbench.report.family import standing
from workbench.report.html import page_html
from workbench.report.state import instrument_state

SPEED = "speed/valid_tokens_per_s"
LOOKS = (6, 12, 24)


def a_claim(name: str, treatment: str, **changes: object) -> Claim:
    arms = ({"padding.name": treatment}, {"padding.name": "global"})
    values = {"pairs": LOOKS, "equal": (), "control_again": False, **changes}
    return Claim(name, f"{treatment} is faster.", "ours", SPEED, *arms, "higher", 1.2, "", **values)  # type: ignore[arg-type]


CLAIMS = [a_claim("clear", "batch"), a_claim("near", "bucket")]


@pytest.fixture(scope="module")
def looked():
    """Verdicts of which the first is decided at once and the second at no look."""
    factor = {"global": (1.0, 1.0), "batch": (2.0, 1.01), "bucket": (1.25, 1.2)}
    runs = [
        Run(
            f"{arm}{block}",
            "FINISHED",
            {"padding.name": arm, "seed": str(block)},
            {SPEED: mean * noise ** (1 if block % 2 else -1)},
            {BLOCK: str(block), "workbench.kind": "run"},
        )
        for block in range(1, 25)
        for arm, (mean, noise) in factor.items()
    ]
    return judge_table(CLAIMS, runs, planned=24), runs


def test_each_claim_says_its_look_in_markdown_page_and_terminal(looked, facts, tmp_path) -> None:
    verdicts, runs = looked
    clear, near = map(said.look, verdicts)
    assert clear == "decided at look 1 of 3, of 6 pairs"
    assert near.startswith("open after all 3 looks: were its effect as measured, about ")
    assert near.endswith(" pairs would decide it")
    file = io.StringIO()
    assemble.Report(tmp_path, verdicts, runs, {**facts, "skipped": []}).show(Console(file=file, width=300))
    texts = (page.page_markdown(verdicts, runs, facts, []), page_html(verdicts, runs, facts), file.getvalue())
    for text in texts:
        assert clear in text
        assert near in text
    assert "judged at 6, 12 and 24 pairs" in texts[0]
    assert tables.verdict_csv(verdicts).splitlines()[0].endswith(",look")


def test_one_look_says_nothing_of_looks(verdicts) -> None:
    assert {said.look(one) for one in verdicts} == {""}
    assert ",look" not in tables.verdict_csv(verdicts)
    assert "judged at" not in page.page_markdown(verdicts, [], {}, [])


def test_the_pairs_that_would_decide_it_do(looked) -> None:
    """Against Monte Carlo: so many pairs of this effect and spread decide it 9 times in 10."""
    near = looked[0][1]
    needed = power.pairs_that_decide(near)
    assert needed is not None
    values, level = near.block_values(), (1 - near.decided_at) / 2
    drawn = np.random.default_rng(1).normal(np.mean(values), np.std(values, ddof=1), (4000, needed))
    assert np.mean(p_above(drawn, math.log(1.2)) <= level) == pytest.approx(0.9, abs=0.03)
    at_bound = replace(near, by_block=tuple({"block": str(k), "effect": 1.2 * 1.1**k} for k in (-1, 0, 1)))
    assert power.pairs_that_decide(at_bound) is None
    assert "over 400 pairs" in said.look(at_bound)
    void = replace(near, reasons=("the control differs from itself",))
    assert said.look(void) == "open after all 3 looks", "no number of pairs would decide it"


def test_a_p_of_one_look_of_three_counts_three_times_over_all_files(looked) -> None:
    """As its look had a third of the error; 0.01 stands among 4 hypotheses at 0.0125, three times that does not."""
    clear = replace(looked[0][0], p_reproduced=0.01, p_contradicted=0.99)
    claim = replace(CLAIMS[0], family=4)
    assert standing({"one": [(claim, clear)]}) == {("one", "clear"): False}
    assert standing({"one": [(claim, replace(clear, looks=(), look=0))]}) == {("one", "clear"): True}


def test_the_plan_is_that_of_the_last_look() -> None:
    assert "10 are planned: 100% power" in power.plan_line(CLAIMS[0], 0.05, 10)
    line = power.plan_line(CLAIMS[0], 0.10, 12, 3)
    assert "12 are planned at the last of 3 looks: " in line
    assert line != power.plan_line(CLAIMS[0], 0.10, 12)


def test_what_is_not_assessable_is_counted_said_and_shown(verdicts, facts) -> None:
    why = "the models are not shown to have learnt: the control beats the commonest label by 0.01"
    odd = [replace(verdicts[0], verdict=NOT_ASSESSABLE, reasons=(why,)), *verdicts[1:]]
    assert tables.headline(odd).endswith("1 not assessable")
    assert "**not assessable**" in page.page_markdown(odd, [], facts, [])
    assert why in page.page_markdown(odd, [], facts, [])
    html = page_html(odd[:1], [], facts)
    assert '<span class="badge open">not assessable</span>' in html
    assert why in html
    assert "<option>not assessable</option>" in html
    assert "<option>not assessable</option>" not in page_html(verdicts[:1], [], facts)


def windows(disturbed: int, of: int = 20) -> list[Run]:
    return [
        Run(
            f"r{k}",
            "FINISHED",
            {"seed": str(k)},
            {
                "speed/calibration_before_gflops": 100.0,
                "speed/calibration_after_gflops": 50.0 if k < disturbed else 100.0,
            },
            {BLOCK: str(k + 1), "workbench.kind": "run"},
        )
        for k in range(of)
    ]


@pytest.mark.parametrize(
    ("disturbed", "again", "state"),
    [
        (
            0,
            "instrument ok",
            "Instrument quiet: 0 of 20 timed windows disturbed; the control against itself (A/A): ",
        ),
        (1, "instrument ok", "Instrument quiet: 1 of 20 timed windows disturbed"),
        (2, "instrument ok", "Instrument NOISY: 2 of 20 timed windows disturbed"),
        (
            0,
            "watch",
            "Instrument NOISY: 0 of 20 timed windows disturbed; the control against itself (A/A): watch.",
        ),
        (0, "instrument failed", "Instrument NOISY: "),
    ],
)
def test_the_state_of_the_instrument_leads_terminal_page_and_markdown(
    verdicts, facts, tmp_path, disturbed: int, again: str, state: str
) -> None:
    rows = [replace(one, verdict=again) if one.kind == "instrument" else one for one in verdicts]
    runs = windows(disturbed)
    told = instrument_state(rows, runs)
    assert told.startswith(state)
    facts = {**facts, "state": told, "skipped": []}
    file = io.StringIO()
    assemble.Report(tmp_path, rows, runs, facts).show(Console(file=file, width=300), quiet=True)
    assert file.getvalue().startswith(told), "before any verdict, and to who asked for quiet too"
    markdown = page.page_markdown(rows, runs, facts, [])
    assert f"> **Note.** {told}" in markdown.partition("## Verdicts")[0]
    warned = page.warnings(runs, facts)
    assert warned.count(told) == 1
    assert not any("had a disturbed window" in one for one in warned), "said once"
    assert told in page_html([], [], facts, warnings=warned)


def test_where_no_clock_was_read_there_is_no_state(verdicts) -> None:
    assert instrument_state([one for one in verdicts if one.kind != "instrument"], []) == ""
