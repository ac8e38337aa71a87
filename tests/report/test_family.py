"""Verdicts of several files taken for one table, against Holm by hand and against the files' own verdicts."""

from __future__ import annotations

from dataclasses import replace

from workbench.claims import Claim, Verdict
from workbench.report import guide
from workbench.report.family import standing


def claim(name: str, family: int = 0, direction: str = "higher") -> Claim:
    arms = {"padding.name": "batch"}, {"padding.name": "global"}
    made = Claim(name, "", "ours", "speed/valid_tokens_per_s", *arms, direction, 1.2, "why not")
    return replace(made, family=family)


def verdict(word: str, inside: float, outside: float) -> Verdict:
    return Verdict(
        *(
            "x",
            "sha",
            word,
            "",
            "measured",
            "speed/valid_tokens_per_s",
            "times",
            "ratio",
            "higher",
            1.2,
            "a",
            "b",
        ),
        p_reproduced=inside,
        p_contradicted=outside,
    )


def test_holm_over_two_files_by_hand() -> None:
    """Of 4 hypotheses in each file: 0.001 <= 0.05/8, 0.007 <= 0.05/7, 0.009 > 0.05/6; each is below 0.05/4."""
    one = [
        (claim("a", 4), verdict("reproduced", 0.001, 0.999)),
        (claim("b", 4), verdict("contradicted", 0.991, 0.009)),
    ]
    two = [
        (claim("a", 4), verdict("reproduced", 0.007, 0.993)),
        (claim("c", 4), verdict("inconclusive", 0.5, 0.5)),
    ]
    assert standing({"one": one, "two": two}) == {("one", "a"): True, ("one", "b"): False, ("two", "a"): True}
    assert standing({"one": one}) == {("one", "a"): True, ("one", "b"): True}


def test_what_was_declared_and_not_judged_counts_too() -> None:
    """0.009 stands among 5 hypotheses, not among 6; `same` has 3, of which a verdict goes by 2."""
    judged = (claim("a", 2), verdict("reproduced", 0.009, 0.991))
    assert standing({"one": [judged], "two": [(claim("b", 3, "same"), None)]}) == {("one", "a"): True}
    assert standing({"one": [judged], "two": [(claim("b", 4), None)]}) == {("one", "a"): False}


def test_one_file_alone_is_decided_as_its_verdicts_were() -> None:
    decided = 0
    for name in guide.of_the_guide():
        rows = [(one.claim, one.verdict) for one in guide.committed([name])]
        found = standing({name: rows})
        assert all(found.values()), found
        decided += len(found)
    assert decided > 10


def test_a_small_p_that_does_not_stand_eases_nothing() -> None:
    """0.014 stands beside a verdict of 0.001 (0.05/3), not beside one that the A/A arm has voided (0.05/4)."""
    one = [(claim("a", 2), verdict("reproduced", 0.014, 0.986))]
    stands, voided = (
        [(claim("b", 2), verdict(word, 0.001, 0.999))] for word in ("reproduced", "inconclusive")
    )
    assert standing({"one": one, "two": stands})["one", "a"]
    assert standing({"one": one, "two": voided}) == {("one", "a"): False}
