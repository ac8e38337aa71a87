"""claims.yaml -> checked claims; every complaint names the file, the line, the value and the remedy.

README.md, section 1, is the schema. `load` reads a file, `planned` says how many pairs a scale plans, `claims_sha`
fixes what was declared; checks.py holds the claims against the configs before the first run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from workbench.claims.others import known_metrics
from workbench.claims.schema import (
    CLAIM_FIELDS,
    FILE_FIELDS,
    REQUIRED,
    Field,
    contradictions,
    nearest_or_all,
    parse_where,
    too_few_pairs,
    unknown_metric,
)
from workbench.claims.statistics import REGIONS, hypotheses
from workbench.claims.yaml_lines import At, YamlError, read_with_lines


class ClaimError(ValueError):
    """A claims file, or a list of claims, that cannot be used; a line `file:line: ...` for each mistake."""

    @property
    def problems(self) -> tuple[str, ...]:
        """The lines of the message."""
        return tuple(str(self).splitlines())


@dataclass(frozen=True)
class Claim:
    """One claim with the settings of its table (the last group of fields, alike in all claims of a file).

    `family` is how many hypotheses the measured claims of the whole file make, and `table_sha` the hash of the
    whole file's claims: a claim that is judged alone is still corrected for, and declared with, its table.
    """

    name: str
    statement: str
    source: str
    metric: str
    treatment: Mapping[str, Any]
    control: Mapping[str, Any]
    direction: str
    smallest: float
    why_smallest: str
    kind: str = "measured"
    scale: str = "ratio"
    over: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scope: str = "average"
    where: Sequence[str] = ()
    elsewhere: str | None = None
    tolerance: float = 0.0
    assay: Mapping[str, Any] | None = None
    # the table's
    schema: int = 1
    confidence: float = 0.95
    pairs: int | Sequence[int] | Mapping[str, int | Sequence[int]] = 10
    block: str = "seed"
    equal: Sequence[str] = ("data.fingerprint", "device", "threads")
    control_again: bool = True
    runs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Of a table on runs that the workbench did not make; what it says bears on which runs pair, not on a claim."""
    # where it stands
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    family: int = field(default=0, compare=False, repr=False)
    table_sha: str = field(default="", compare=False, repr=False)
    others_planted: Sequence[Mapping[str, Any]] = field(default=(), compare=False, repr=False)

    @property
    def sha(self) -> str:
        """SHA-256 of the canonical JSON of the claim with its table's settings (not of where it stands)."""
        declared = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}
        if self.assay is None:  # a claim without is what it was before there were any
            del declared["assay"]
        return _sha(declared)

    @property
    def planted(self) -> list[Mapping[str, Any]]:
        """The planted differences of the table: a run that has one is of no arm but the one that names it."""
        return [*([self.assay["planted"]] if self.assay else []), *self.others_planted]

    @property
    def as_planted(self) -> Claim:
        """The claim with the control's planted difference as its treatment."""
        assert self.assay is not None
        return replace(self, treatment={**self.control, **self.assay["planted"]})

    @property
    def region(self) -> tuple[float, float]:
        """The effects that the claim claims, on the scale of the statistic (logarithms for ratios)."""
        return REGIONS[self.direction](self.margin)

    @property
    def margin(self) -> float:
        """`smallest` on the scale of the statistic."""
        return math.log(self.smallest) if self.scale == "ratio" else float(self.smallest)

    def at(self, name: str) -> str:
        """`file:line` of one of the claim's fields, for a message; of the claim where the field is not written."""
        return f"{self.file or 'claims'}:{self.lines.get(name, self.line)}"


@dataclass(frozen=True)
class ClaimSet:
    """The claims of one table, checked to belong together; what judging needs to know of the table as a whole."""

    claims: tuple[Claim, ...]

    def __post_init__(self) -> None:
        """Refuse no claims, claims of different tables, and two claims of one name."""
        if not self.claims:
            raise ClaimError("no claims to judge: pass the list that workbench.claims.load gives")
        for name in FILE_FIELDS:
            if name != "claims" and len({_sha(getattr(claim, name)) for claim in self.claims}) > 1:
                raise ClaimError(
                    f"claims of two tables in one call: their `{name}` differs; judge each table"
                )
        names = [claim.name for claim in self.claims]
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise ClaimError(f"two claims are named {name}; a name stands for one claim")

    @property
    def alpha(self) -> float:
        """The chance of any false verdict in the table."""
        return 1 - self.claims[0].confidence

    @property
    def family(self) -> int:
        """Hypotheses that Holm corrects for: those of the declared measured claims, judged or not."""
        return max(sum(map(hypotheses_of, self.claims)), *(claim.family for claim in self.claims))

    @property
    def sha(self) -> str:
        """The hash of the table that the claims were loaded from."""
        return self.claims[0].table_sha or claims_sha(self.claims)


def load(path: str | Path) -> list[Claim]:
    """Read and check a claims.yaml; ClaimError names every mistake in it by file and line.

    >>> try:
    ...     load("claims.yml")
    ... except ClaimError as error:
    ...     print(error)
    claims.yml: no such file; an experiment declares its claims there
    """
    content, lines = _read(path)
    with known_metrics(content.get("runs") if isinstance(content, dict) else None):
        return _checked(str(path), content, lines)


def _checked(path: str, content: Any, lines: Mapping[At, int]) -> list[Claim]:
    """The claims of what a file holds."""
    say = _Complaints(path, lines)
    table = say.checked(content, FILE_FIELDS, (), "the file")
    claims: list[Claim] = []
    of_ours = isinstance(content, dict) and not content.get("runs")  # others call params as they like
    if of_ours and (complaint := unknown_metric(table.get("equal", ()))):
        say.add(("equal",), complaint)
    shared = {".".join(map(str, at)): line for at, line in lines.items() if at[:1] not in ((), ("claims",))}
    for number, one in enumerate(table.pop("claims", None) or []):
        where = ("claims", number)
        before = len(say.problems)
        known = say.checked(one, CLAIM_FIELDS, where, "a claim")
        named = [parse_where(text)[0] for text in known.get("where", ())]
        if of_ours and (complaint := unknown_metric(named)):
            say.add((*where, "where"), complaint)
        if len(say.problems) == before:
            for name, complaint in contradictions(known):
                say.add((*where, *name.split(".", 1)), complaint)
        if len(say.problems) == before:
            own = {".".join(map(str, at[2:])): line for at, line in lines.items() if at[:2] == where}
            claims.append(Claim(**known, file=path, line=lines[where], lines=shared | own))
    for name, complaint in too_few_pairs(table.get("pairs"), [claim.kind for claim in claims]):
        say.add(tuple(name.split(".", 1)), complaint)
    say.duplicates(claims)
    if say.problems:
        raise ClaimError("\n".join(say.problems))
    claims = [replace(claim, **table) for claim in claims]
    family, sha = sum(map(hypotheses_of, claims)), claims_sha(claims)
    planted = [claim.assay["planted"] for claim in claims if claim.assay]
    return [replace(claim, family=family, table_sha=sha, others_planted=planted) for claim in claims]


def claims_sha(claims: Sequence[Claim]) -> str:
    """The hash of a whole table, whatever the order of its claims: what a sweep stores before its first run."""
    return _sha(sorted(claim.sha for claim in claims))


def planned(claims: Sequence[Claim], scale: str) -> int:
    """How many pairs (blocks) the table plans at a scale, at the most: those of its last look."""
    return looks(claims, scale)[-1]


def looks(claims: Sequence[Claim], scale: str, blocks: int | None = None) -> tuple[int, ...]:
    """The numbers of pairs at which the table is judged at a scale; one, where no looks are declared.

    Of a sweep of another number of `blocks` than declared it is that number: it is judged once, at its end.

    >>> pairs = {"quick": [6, 12, 24], "full": 12}
    >>> table = [Claim("n", "s", "ours", "m", {}, {}, "same", 1.1, "w", pairs=pairs)]
    >>> looks(table, "quick"), looks(table, "full"), looks(table, "quick", 8)
    ((6, 12, 24), (12,), (8,))
    """
    pairs = ClaimSet(tuple(claims)).claims[0].pairs
    if isinstance(pairs, Mapping):
        if scale not in pairs and blocks is not None:
            return (blocks,)
        if scale not in pairs:
            there = ", ".join(sorted(pairs))
            raise ClaimError(
                f"{claims[0].file or 'claims'}: pairs: no number for scale {scale!r}; it has {there}"
            )
        pairs = pairs[scale]
    declared = (pairs,) if isinstance(pairs, int) else tuple(pairs)
    return declared if blocks in (None, declared[-1]) else (blocks,)


def hypotheses_of(claim: Claim) -> int:
    """How many one-sided hypotheses a claim adds to its table; its `elsewhere` row adds its own."""
    if claim.kind != "measured":
        return 0
    return hypotheses(claim.direction) + (hypotheses(claim.elsewhere) if claim.elsewhere else 0)


def _read(path: str | Path) -> tuple[Any, dict[At, int]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ClaimError(f"{path}: no such file; an experiment declares its claims there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ClaimError(f"{path}: cannot be read: {error}") from error
    try:
        return read_with_lines(text)
    except YamlError as error:
        raise ClaimError(f"{path}:{error.line}: {error}") from error


def _sha(value: Any) -> str:
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Mappings and sequences as JSON has them; whole floats as integers, so that 1 and 1.0 hash alike."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass
class _Complaints:
    """Collects what is wrong with a file, so that one reading names all of it."""

    file: str
    lines: Mapping[At, int]
    problems: list[str] = field(default_factory=list)

    def add(self, at: At, complaint: str) -> None:
        claim_or_table = at[2:] if at[:1] == ("claims",) and len(at) > 1 else at
        while at and at not in self.lines:
            at = at[:-1]
        name = ".".join(map(str, claim_or_table))
        self.problems.append(f"{self.file}:{self.lines.get(at, 1)}: {name + ': ' if name else ''}{complaint}")

    def checked(self, given: Any, known: Mapping[str, Field], at: At, what: str) -> dict[str, Any]:
        """The fields of `given` that are right, defaults filled in; a complaint for each that is not."""
        if not isinstance(given, dict):
            self.add(at, f"{what} must be a mapping of fields to values, not {given!r}")
            return {}
        for name in given:
            if name not in known:
                self.add((*at, name), f"{what} has no such field{nearest_or_all(str(name), known)}")
        right = {}
        for name, one in known.items():
            if name not in given:
                if one.default is REQUIRED:
                    self.add(at, f"{what} needs `{name}` ({one.meaning})")
                else:
                    right[name] = one.default
            elif complaint := one.check(given[name]):
                self.add((*at, name), complaint)
            else:
                right[name] = given[name]
        return right

    def duplicates(self, claims: Sequence[Claim]) -> None:
        first: dict[str, Claim] = {}
        for claim in claims:
            if claim.name in first:
                there = first[claim.name].line
                self.problems.append(
                    f"{claim.at('name')}: name: {claim.name} is taken by the claim of line {there}"
                )
            first.setdefault(claim.name, claim)
