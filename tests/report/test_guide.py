"""The page over all experiments, the plan of a sweep, and two results held against each other."""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from workbench.claims import Claim, ClaimError, Verdict, judge_table, load
from workbench.places import ROOT, claims_file, experiments, results_folder
from workbench.record import Run
from workbench.record.tags import BLOCK, KIND, REPEAT
from workbench.report import guide
from workbench.report.__main__ import main
from workbench.report.guide import Finding
from workbench.report.plan import noise, plan_lines, time_line
from workbench.report.replication import OPPOSITE, OTHER_CLAIM, SAME, prediction, replicated

IDS = yaml.safe_load((ROOT / "experiments" / "guide.yaml").read_text())
GUIDE = [
    f"{letter}{n}"
    for letter, last in zip("SPULBCM", (6, 3, 4, 4, 2, 4, 4), strict=True)
    for n in range(1, last + 1)
]


def verdict(claim: Claim, word: str, effects: list[float]) -> Verdict:
    made = Verdict.from_json(
        dict.fromkeys(("finding", "treatment", "control"), "")
        | {
            "direction": claim.direction,
            "claim": claim.name,
            "sha": claim.sha,
            "verdict": word,
            "kind": "measured",
            "metric": claim.metric,
            "unit": "times",
            "scale": "ratio",
            "smallest": 1.2,
            "statement": claim.statement,
        }
    )
    by_block = tuple({"block": str(n), "effect": one} for n, one in enumerate(effects, 1))
    return replace(made, by_block=by_block, effect=effects[0], interval=(1.0, 2.0), pairs=6, planned=6)


def claim(name: str) -> Claim:
    arms = {"padding.name": "batch"}, {"padding.name": "global"}
    return Claim(name, f"{name} holds.", "ours", "speed/valid_tokens_per_s", *arms, "higher", 1.2, "why not")


def test_every_id_of_the_guide_is_there_and_is_answered_by_a_claim_or_by_tests_that_exist():
    assert list(IDS) == GUIDE
    written = (ROOT / "experiments" / "guide.yaml").read_text().count("\n  tests:")
    assert written == sum("tests" in given for given in IDS.values()), (
        "of a key written twice YAML keeps the last"
    )
    declared = [one.claim.name for one in guide.committed(guide.of_the_guide())]
    for one, given in IDS.items():
        tests = [ROOT / test for test in given.get("tests", ())]
        assert all(test.is_file() for test in tests), one
        for test in (test for test in tests if test.suffix == ".py"):
            functions = [
                node for node in ast.walk(ast.parse(test.read_text())) if isinstance(node, ast.FunctionDef)
            ]
            assert any(function.name.startswith("test_") for function in functions), test
        assert tests or any(name.startswith(f"{one}_") for name in declared), f"{one} is answered by nothing"


def test_the_guide_runs_every_experiment_that_declares_a_claim_on_it():
    named = {
        name
        for name in experiments()
        if (path := claims_file(name)) and any(claim.name.partition("_")[0] in IDS for claim in load(path))
    }
    assert set(guide.of_the_guide()) == named


def test_the_committed_page_is_the_one_that_the_command_makes(capsys):
    assert main(["--guide"]) == 0
    assert capsys.readouterr().out == (ROOT / "experiments" / "README.md").read_text() + "\n"


def test_a_claim_is_filed_by_its_id_and_an_unknown_id_is_refused():
    known, ours = claim("U1_building_is_slow"), claim("bucketing_is_faster")
    found = [Finding("x", known, verdict(known, "contradicted", [1.1])), Finding("x", ours, None)]
    filed = {one.id: one for one in guide.entries(found)}
    assert [one.claim.name for one in filed["U1"].findings] == ["U1_building_is_slow"]
    assert [one.claim.name for one in filed[""].findings] == ["bucketing_is_faster"]
    page = guide.write_page(found, {"x": "x/README.md"})
    assert "2 claims declared, 1 judged: 0 reproduced, 1 contradicted, 0 inconclusive." in page
    assert "| bucketing_is_faster holds. | not run yet |" in page
    again = replace(
        verdict(known, "instrument failed", [1.4]), kind="instrument", decided_at=0.95, interval=(1.3, 1.5)
    )
    page = guide.write_page(found, {"x": "x/README.md"}, {"x": again})
    assert (
        "- x: **instrument failed**, training speed 1.40x [1.30, 1.50], 6 of 6 pairs; no measured verdict"
        in page
    )
    assert (
        "over 1 timed sweep of this page: the control differs from itself beyond its 95% interval in 1;"
        in page
    )
    old = [replace(one, verdict=None) for one in found]  # the claims were changed since
    assert "A/A" not in guide.write_page(old, {"x": "x/README.md"}, {"x": again})
    refused = r"claims:0: name: Z9_nothing begins with Z9, which is no id .*; begin it otherwise"
    with pytest.raises(ClaimError, match=refused):
        guide.entries([Finding("x", claim("Z9_nothing"), None)])


def test_two_experiments_may_have_a_claim_of_one_name():
    """Of 2 hypotheses in each file: 0.001 stands among 4, 0.02 does not."""
    one = replace(claim("faster"), family=2)
    first, second = (
        replace(verdict(one, "reproduced", [1.5]), p_reproduced=p, p_contradicted=1 - p, decided_at=0.975)
        for p in (0.001, 0.02)
    )
    found = [Finding("a", one, first), Finding("b", one, second)]
    assert guide.stands_over_all(found) == {("a", "faster"): True, ("b", "faster"): False}
    html = guide.write_html(found, {"a": "a.html", "b": "b.html"})
    assert re.findall('data-label="over all files">([^<]*)<', html) == ["stands", "would not stand"]
    rows = re.findall('<tr id="([^"]*)"', html)
    assert len(set(rows)) == 2, "each has its anchor"


def test_a_verdict_on_a_claim_that_was_changed_since_is_not_its_verdict(tmp_path: Path):
    name = "padding_ablation"
    claims = load(claims_file(name))
    first = claims[0]
    (tmp_path / "verdicts.json").write_text(
        json.dumps([replace(verdict(first, "reproduced", [1.3]), sha="old").to_json()])
    )
    assert guide.findings(name, tmp_path, claims)[0].verdict is None
    (tmp_path / "verdicts.json").write_text(json.dumps([verdict(first, "reproduced", [1.3]).to_json()]))
    assert guide.findings(name, tmp_path, claims)[0].verdict == verdict(first, "reproduced", [1.3])


def test_the_noise_of_a_run_is_that_of_its_pairs_over_the_root_of_two():
    made = replace(verdict(claim("a"), "reproduced", [1.0, 1.1, 1.21]), interval=None)
    assert noise(made) == pytest.approx(0.0953 / 2**0.5, rel=1e-3)
    equal = replace(verdict(claim("a"), "reproduced", [1.1, 1.1, 1.1]), interval=(1.05, 1.15))
    assert noise(equal) > 0.01, "as it is judged: an accuracy that differs by one example in each block"
    assert noise(verdict(claim("a"), "reproduced", [1.0, 1.1])) is None


def test_without_an_earlier_run_a_claim_is_planned_for_three_noises():
    lines = list(plan_lines([claim("a")], [], 6))
    assert [line.split(":")[0] for line in lines] == [f"if a run varies by {n}%" for n in (3, 10, 20)]
    assert "not known" in time_line([], 6)
    assert "not known" in time_line([Run("", "FINISHED", tags={BLOCK: "0"}, end=1.0)], 6)


def test_the_noise_of_a_ratio_is_none_of_a_difference():
    """Of a control that was run again in the unit of the table's first claim."""
    memory = "memory/rss_growth_mb"
    table = {"pairs": 8, "equal": (), "control_again": True, "metric": memory, "direction": "lower"}
    ratio = replace(claim("a"), smallest=1.05, **table)
    treatment = {"padding.name": "pooled"}
    difference = replace(claim("b"), treatment=treatment, smallest=20.0, scale="difference", **table)
    runs = [
        Run(
            f"{arm}{repeat}{block}",
            "FINISHED",
            {"seed": str(block), "padding.name": arm},
            {memory: mb + 30 * ((block * (repeat + 2)) % 5)},
            {KIND: "run", BLOCK: str(block), REPEAT: str(repeat)},
            start=float(block),
        )
        for block in range(1, 9)
        for arm, repeat, mb in (("global", 0, 300), ("global", 1, 300), ("batch", 0, 240))
    ]
    first, second = plan_lines([ratio, difference], runs, 8)
    assert first.startswith("a: ")
    assert second == f"b: no earlier run says how much {memory} varies; run one sweep first"


def test_time_is_the_throw_away_block_and_as_many_blocks_as_planned():
    lasted = [("0", 60.0), ("1", 30.0), ("1", 30.0), ("2", 30.0), ("2", 30.0)]
    runs = [Run("", "FINISHED", tags={BLOCK: block}, end=seconds) for block, seconds in lasted]
    assert time_line(runs, 6) == "time: about 7.0 minutes for 6 blocks of 2 runs"


def test_a_plan_is_printed_from_the_committed_results(capsys, tmp_path: Path):
    assert main(["padding_ablation", "--plan", "--uri", f"sqlite:///{tmp_path}/none.db"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("noise from the committed results")
    assert "24 are planned at the last of 3 looks" in said
    assert "time: about" in said


def test_opposite_verdicts_fail_a_replication_and_other_claims_are_not_compared(tmp_path: Path):
    one, two, three = claim("a"), claim("b"), claim("c")
    effects = [1.28, 1.3, 1.32, 1.29, 1.31, 1.3]
    first = [verdict(each, "reproduced", effects) for each in (one, two, three)]
    second = [
        verdict(one, "reproduced", [1.3] * 6),
        verdict(two, "contradicted", [0.9] * 6),
        replace(verdict(three, "reproduced", effects), sha="another"),
    ]
    found = replicated([replace(each, interval=None) for each in first], second)
    assert [each.answer for each in found] == [SAME, OPPOSITE, OTHER_CLAIM]
    assert [each.within for each in found] == [True, False, None]
    # by hand: logarithms of mean 0.26231 and deviation 0.010879; t of 5 is 2.5706; sqrt(1/6 + 1/6) is 0.57735
    low, high = prediction(replace(first[0], interval=None), 6)
    assert (low, high) == (pytest.approx(1.2791, abs=1e-4), pytest.approx(1.3211, abs=1e-4))
    (tmp_path / "verdicts.json").write_text("[]")
    assert main(["padding_ablation", "--against", str(tmp_path)]) == 0
    assert main(["padding_ablation", "--against", str(tmp_path / "none")]) == 2


def test_a_claim_of_one_result_only_is_named_whichever_has_it():
    one, two = (verdict(claim(name), "reproduced", [1.3] * 6) for name in "ab")
    for first, second in (([one], [one, two]), ([one, two], [one])):
        found = {each.claim: (each.answer, each.first, each.second) for each in replicated(first, second)}
        assert found["a"] == (SAME, "reproduced", "reproduced")
        assert found["b"][0] == OTHER_CLAIM
        assert sorted(found["b"][1:]) == ["", "reproduced"]


def test_an_effect_in_every_condition_foretells_none_as_another_may_decide_next():
    every = replace(claim("a"), over={"cell.name": ["lstm", "gru"]}, scope="every")
    every = replace(every, pairs=6, equal=(), control_again=False)

    def result(wider: str) -> list[Verdict]:
        """Twice as fast with one cell and three times with the other; of one of them the blocks spread more."""
        runs = []
        for cell, ratio in (("lstm", 2.0), ("gru", 3.0)):
            spread = 0.1 * math.log(ratio / 1.2) * (1.05 if cell == wider else 1.0)
            for block, off in enumerate((1, -1, 0.5, -0.5, 0.25, -0.25), 1):
                tags = {KIND: "run", BLOCK: str(block)}
                for arm, value in (("batch", 100 * ratio * math.exp(spread * off)), ("global", 100.0)):
                    params = {"seed": str(block), "padding.name": arm, "cell.name": cell}
                    name = f"{cell}{arm}{block}"
                    runs.append(
                        Run(name, "FINISHED", params, {every.metric: value}, tags, start=float(block))
                    )
        return judge_table([every], runs)

    first, second = result("lstm"), result("gru")
    assert first[0].effect != pytest.approx(second[0].effect), "each of another condition"
    (found,) = replicated(first, second)
    assert (found.answer, found.within) == (SAME, None)


@pytest.mark.parametrize(
    ("words", "passed_over"),
    [
        (["one", "--against", "two", "--out", "kept"], "--against makes no use of --out"),
        (["one", "--against", "two", "--commit-results"], "--against makes no use of --commit-results"),
        (["--guide", "--sweep", "s"], "--guide makes no use of --sweep"),
        (["tracking.uri=sqlite:///a.db", "--plan"], "the store is --uri sqlite:///a.db here"),
        (["one", "--plan", "--full"], "--plan makes no use of --full"),
        (["one", "--runs", "", "--claims", "c.yaml", "--sweep", "s"], "--runs makes no use of --sweep"),
        (["one", "--scale", "full"], "--scale is for --plan"),
    ],
)
def test_what_would_be_passed_over_is_refused(words: list[str], passed_over: str, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert passed_over in capsys.readouterr().err


@pytest.mark.slow  # quick: opposite verdicts, above
def test_two_folders_are_held_against_each_other(tmp_path: Path, capsys):
    committed = results_folder("padding_ablation")
    assert main([str(committed), "--against", str(committed)]) == 0
    said = capsys.readouterr().out
    assert "same verdict" in said
    assert "inconclusive on one side" not in said
    assert "not the same" not in said
    other = tmp_path / "other"
    other.mkdir()
    (other / "verdicts.json").write_text((committed / "verdicts.json").read_text())
    assert main([str(other), "--against", str(committed)]) == 0
    assert f"the runs were not compared: {other / 'runs.csv'} is not there" in capsys.readouterr().out
    assert main([str(tmp_path), "--against", str(committed)]) == 2
    assert f"{tmp_path} holds no verdicts.json" in capsys.readouterr().err
