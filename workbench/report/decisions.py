"""From verdicts to what to do: an answer stands as long as the claims that it needs have the verdicts it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from workbench.claims import ClaimError, Verdict
from workbench.places import experiments_folder
from workbench.report import said

_CLAIM = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Decision:
    """A question people have, what was found, under which condition, and what that rests on."""

    question: str
    experiment: str
    answer: str
    when: str
    needs: Mapping[str, str] = field(default_factory=dict)
    figure: str = ""


def declared() -> list[Decision]:
    """Those of experiments/decisions.yaml."""
    path = experiments_folder() / "decisions.yaml"
    return [Decision(**one) for one in yaml.safe_load(path.read_text())]


def page(
    decisions: Sequence[Decision],
    verdicts: Mapping[str, Verdict | None],
    links: Mapping[str, str],
    *,
    pictures: bool = True,
) -> list[str]:
    """The decisions as lines of Markdown; an answer whose claims came out otherwise now says so in its place.

    Raises:
        ClaimError: a decision names a claim that no experiment declares.
    """
    lines = []
    for one in decisions:
        lines += [f"### {one.question}", "", *_answer(one, verdicts), ""]
        lines += [f"Holds for: {one.when}.", ""]
        rests = ", ".join(f"`{name}` **{_verdict(name, verdicts)}**" for name in one.needs)
        lines += [f"Rests on {rests}: [{one.experiment}]({links[one.experiment]}).", ""]
        if pictures and (picture := _picture(one, links)):
            lines += [picture, ""]
    return lines


def _answer(one: Decision, verdicts: Mapping[str, Verdict | None]) -> Iterator[str]:
    otherwise = [name for name, word in one.needs.items() if _verdict(name, verdicts) != word]
    if otherwise:
        words = ", ".join(f"`{name}` is {_verdict(name, verdicts)}" for name in otherwise)
        yield f"No answer now: {words}, and the answer that was given rests on another verdict."
        return

    def measured(found: re.Match[str]) -> str:
        verdict = verdicts.get(found[1])
        if verdict is None:
            _verdict(found[1], verdicts)
            return "(not run)"
        return said.value(verdict)

    yield _CLAIM.sub(measured, one.answer)


def _verdict(name: str, verdicts: Mapping[str, Verdict | None]) -> str:
    if name not in verdicts:
        raise ClaimError(
            f"experiments/decisions.yaml: {name} is no claim of the experiments that answer the guide"
        )
    verdict = verdicts[name]
    return "not run yet" if verdict is None else verdict.verdict


def _picture(one: Decision, links: Mapping[str, str]) -> str:
    folder = Path(links[one.experiment]).parent
    path = folder / "results" / "figures" / f"{one.figure}.svg"
    return f"![{one.question}]({path})" if (experiments_folder() / path).is_file() else ""
