"""What to do: an answer stands only as long as the verdicts that it rests on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.claims import ClaimError
from workbench.report import decisions, guide
from workbench.report.decisions import Decision

ONE = Decision(
    question="Which padding?",
    experiment="padding",
    answer="Bucket: {a_claim} as fast.",
    when="lengths that spread",
    needs={"a_claim": "reproduced"},
)
LINKS = {"padding": "padding/README.md"}


@pytest.fixture
def verdict(verdicts):
    return replace(verdicts[0], claim="a_claim", verdict="reproduced")


def test_an_answer_has_its_value_condition_and_verdict(verdict) -> None:
    text = "\n".join(decisions.page([ONE], {"a_claim": verdict}, LINKS))
    assert "### Which padding?" in text
    assert "Bucket: 3.53x [3.47, 3.60] as fast." in text
    assert "Holds for: lengths that spread." in text
    assert "`a_claim` **reproduced**: [padding](padding/README.md)" in text


@pytest.mark.parametrize(("word", "said"), [("contradicted", "contradicted"), (None, "not run yet")])
def test_an_answer_whose_verdict_changed_is_withdrawn(verdict, word, said) -> None:
    now = replace(verdict, verdict=word) if word else None
    text = "\n".join(decisions.page([ONE], {"a_claim": now}, LINKS))
    assert "Bucket" not in text
    assert f"No answer now: `a_claim` is {said}" in text


@pytest.mark.parametrize("answer", ["Bucket: {a_claim}.", "Bucket: {b_claim}."])
def test_a_claim_that_is_not_there_is_refused(verdict, answer: str) -> None:
    with pytest.raises(ClaimError, match=r"decisions\.yaml: [ab]_claim is no claim"):
        decisions.page(
            [replace(ONE, answer=answer)], {"c": verdict} if "a_" in answer else {"a_claim": verdict}, LINKS
        )


def test_those_that_are_declared_stand_on_the_committed_results() -> None:
    """A verdict that changes withdraws its answer here: then write the answer anew."""
    names = guide.of_the_guide()
    found = {one.claim.name: one.verdict for one in guide.committed(names)}
    links = {name: f"{name}/README.md" for name in names}
    made = decisions.declared()
    assert len(made) >= 6
    text = "\n".join(decisions.page(made, found, links))
    assert "No answer now" not in text
    assert "(not run)" not in text
    assert text.count("![") == len(made)
