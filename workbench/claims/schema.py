"""The schema of claims.yaml as a table: a line a field, with its default, its meaning and its check."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.claims import others
from workbench.claims.statistics import MINIMUM_BLOCKS, REGIONS
from workbench.record import METRICS, normalise
from workbench.wording import did_you_mean

REQUIRED = object()
Check = Callable[[Any], str | None]
ASSAY = "{learnt: 0.05, planted: {optimizer.learning_rate: 0.0001}}"
"""What an assay looks like."""


@dataclass(frozen=True)
class Field:
    """One field: what it means, how a value is checked (a complaint or None), and its default."""

    meaning: str
    check: Check
    default: Any = REQUIRED


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?` for the nearest known name, else the names where they are few, else nothing."""
    names = sorted(known)
    near = did_you_mean(name, names)
    if near:
        return near
    return f"; there are {', '.join(names)}" if 0 < len(names) <= 20 else ""


def parse_where(text: str) -> tuple[str, str, str]:
    """`name operator value`, taken apart; ValueError says what is wrong with it.

    >>> parse_where("data/padding_share_random_batches > 0.5")
    ('data/padding_share_random_batches', '>', '0.5')
    """
    match = re.fullmatch(r"\s*([\w./-]+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*", str(text))
    if not match:
        raise ValueError(f"{text!r} is not `name operator value`, such as data/padding_share > 0.5")
    name, operator, value = match.groups()
    if operator not in ("==", "!=") and not is_number(normalise(value)):
        raise ValueError(f"{text!r} compares with {value!r}, which is no number")
    return name, operator, value


def contradictions(claim: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, complaint) for fields that are right alone and wrong together."""
    ratio, exact = claim["scale"] == "ratio", claim["kind"] == "exact"
    metric, smallest = METRICS[claim["metric"]], claim["smallest"]
    if ratio and metric.scale == "difference":
        yield "metric", f"a ratio of {claim['metric']} has no meaning; write `scale: difference`"
    if ratio and smallest < 1:
        yield (
            "smallest",
            f"{smallest:g} is below 1; a ratio says by which factor (1.2, also where lower is claimed)",
        )
    if not exact and claim["direction"] == "same" and smallest == (1 if ratio else 0):
        yield "smallest", "no measurement can show exactly no difference; give a margin, or `kind: exact`"
    if claim["tolerance"] and not exact:
        yield "tolerance", "is for exact claims only; `smallest` is the margin of a measured one"
    yield from _arms(claim, ratio, exact)
    if claim["assay"]:
        yield from (("assay", wrong) for wrong in _assay_of(claim, metric.noisy))
    for name in claim["over"]:
        if name in claim["treatment"] or name in claim["control"]:
            yield f"over.{name}", "is named by an arm too; a factor is either compared or averaged over"
    if claim["scope"] == "every" and not claim["over"]:
        yield "scope", "`every` needs conditions; name them in `over`"
    if not exact and claim["elsewhere"] == "same" and smallest == (1 if ratio else 0):
        yield "elsewhere", "no measurement can show exactly no difference; give `smallest` a margin"
    if claim["elsewhere"] and not claim["where"]:
        yield "elsewhere", "there is no elsewhere without `where`"


def _assay_of(claim: Mapping[str, Any], noisy: bool) -> Iterator[str]:
    if claim["kind"] == "exact" or claim["direction"] in ("higher", "lower"):
        claimed = "exact" if claim["kind"] == "exact" else claim["direction"]
        yield f"is for measured claims of same, not_lower or not_higher, not for {claimed}; leave it out"
    if noisy:
        yield f"is for what was learnt, and {claim['metric']} is measured by a clock or the system; leave it out"
    if claim["where"]:
        yield "is not judged beside `where`; state the condition in `over`, or leave one of the two out"
    for name, value in claim["assay"]["planted"].items():
        if name in claim["over"]:
            yield f"planted: {name} is averaged over too; plant a difference in a value that `over` leaves alone"
        for arm in ("treatment", "control"):
            if name in claim[arm] and normalise(claim[arm][name]) == normalise(value):
                yield f"planted: {name}={value} is what the {arm} has; plant another value, that makes it worse"


def _arms(claim: Mapping[str, Any], ratio: bool, exact: bool) -> Iterator[tuple[str, str]]:
    treatment, control = claim["treatment"], claim["control"]
    if "value" in treatment:
        yield "treatment.value", "only a control can be a plain value"
    if "value" in control:
        if not exact:
            yield (
                "control.value",
                "a plain value as control is for `kind: exact`; a measured claim compares runs",
            )
        if len(control) > 1:
            yield "control.value", "stands alone: a value, or dotted config values"
        if not is_number(normalise(control["value"])):
            yield "control.value", f"{control['value']!r} is no number"
        elif ratio and float(control["value"]) <= 0:
            yield "control.value", f"no ratio to {control['value']}; write `scale: difference`"
    elif not any(
        normalise(treatment[name]) != normalise(control[name]) for name in treatment if name in control
    ):
        yield "control", "the arms do not differ: both must name a parameter, with different values"


def too_few_pairs(pairs: Any, kinds: Iterable[str]) -> Iterator[tuple[str, str]]:
    """A complaint for each number of pairs with which a measured claim could never be decided."""
    if "measured" in kinds and pairs is not None:
        for scale, given in pairs.items() if isinstance(pairs, Mapping) else [("", pairs)]:
            first = given[0] if isinstance(given, list) else given
            if first < MINIMUM_BLOCKS:
                name = f"pairs.{scale}" if scale else "pairs"
                yield name, f"{first} cannot decide a measured claim; at least {MINIMUM_BLOCKS}"


def is_number(text: str | None) -> bool:
    """Whether a text is a finite number."""
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _number(low: float, high: float = math.inf, open_ends: bool = False) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is no number"
        inside = low < value < high if open_ends else low <= value < high
        span = f"above {low:g} and below {high:g}" if high < math.inf else f"{low:g} or more"
        return None if inside else f"{value:g} is out of range; {span}"

    return check


def _one_of(*allowed: Any) -> Check:
    def check(value: Any) -> str | None:
        if type(value) in {type(one) for one in allowed} and value in allowed:
            return None
        names = [str(one) for one in allowed]
        if len(names) == 1:
            return f"{value!r} is wrong; it must be {names[0]}"
        return f"{value!r} is none of {', '.join(names)};{nearest_or_all(str(value), names).split(';')[1]}"

    return check


def _sentence(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else f"{value!r} is no text; write a sentence"


_PARAM = r"[A-Za-z_][\w./: -]*"


def _name(value: Any) -> str | None:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", value):
        return f"{value!r} is no name; letters, digits, _ . and - without spaces"
    return "control_again is the name of the A/A row; choose another" if value == "control_again" else None


def _block(value: Any) -> str | None:
    if not isinstance(value, str) or not re.fullmatch(_PARAM, value):
        return f"{value!r} is no name of a param or tag, such as seed"
    return None


def _metric(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{value!r} is no name of a metric; a claim is about one"
    return None if value in METRICS else f"no metric {value}{nearest_or_all(value, METRICS)}"


def _pairs(value: Any) -> str | None:
    given = list(value.values()) if isinstance(value, dict) else [value]
    looks = [one if isinstance(one, list) else [one] for one in given]
    if not given or not all(one and all(type(n) is int and n >= 2 for n in one) for one in looks):
        return (
            f"{value!r} is no number of pairs (2 or more), no rising list of looks such as [6, 12, 24], nor one of "
            "the two for each scale, such as {quick: [6, 12, 24], full: 12}"
        )
    for one in looks:
        if one != sorted(set(one)):
            return f"{one} does not rise; name the pairs at each look once, the fewest first, such as [6, 12, 24]"
    return None


def _arm(value: Any) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"{value!r} is no arm; write dotted config values, such as {{padding.name: batch}}"
    for name, one in value.items():
        if name in ("seed", "repeat"):
            return (
                f"{name} cannot tell arms apart: the workbench tells repeats apart by it; name another param"
            )
        if not re.fullmatch(_PARAM, str(name)):
            return f"{name!r} is no name of a param, such as padding.name"
        if isinstance(one, dict):
            return f"{name}: {one!r} is no plain value; write the dotted name out"
        if isinstance(one, datetime.date):
            return f"{name}: {one} is a date to YAML; put it in quotes, as it is recorded"
    return None


def _over(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"{value!r} is no mapping of dotted config values to lists, such as {{cell.name: [lstm, gru]}}"
    for name, values in value.items():
        if not isinstance(values, list) or not values:
            return f"{name}: {values!r} is no list of values"
        if any(isinstance(one, datetime.date) for one in values):
            return f"{name}: a date is none to compare with; put it in quotes, as it is recorded"
        if len({normalise(one) for one in values}) < len(values):
            return f"{name}: a value stands twice in {values}"
    return None


def _names(value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        return f"{value!r} is no list of names"
    return None


def unknown_metric(names: Iterable[str]) -> str | None:
    """Which is no metric of those with a slash, as metrics of the workbench's own runs have, and no params."""
    unknown = next((name for name in names if "/" in name and name not in METRICS), None)
    return f"no metric {unknown}{nearest_or_all(unknown, METRICS)}" if unknown else None


def _where(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"{value!r} is no list of conditions"
    try:
        for text in value:
            parse_where(text)
    except ValueError as error:
        return str(error)
    return None


def _assay(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"learnt", "planted"}:
        return f"{value!r} is no assay; write {ASSAY}"
    if complaint := _number(0, 1)(value["learnt"]):
        return f"learnt: {complaint} (how far both arms' accuracy must exceed the commonest label's share)"
    if isinstance(value["planted"], dict) and "value" in value["planted"]:
        return "planted: value is no config value; name what makes the control worse, such as a learning rate"
    complaint = _arm(value["planted"])
    return complaint and f"planted: {complaint}"


def _claims(value: Any) -> str | None:
    return None if isinstance(value, list) and value else f"{value!r} is no list of claims"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"{value!r} is neither true nor false"


_direction = _one_of(*REGIONS)

FILE_FIELDS: dict[str, Field] = {
    "schema": Field("version of this schema", _one_of(1), 1),
    "confidence": Field("1 - the chance of any false verdict in the table", _number(0.5, 1, True), 0.95),
    "pairs": Field(
        "planned blocks, or a number for each scale: {quick: 6, full: 12}; a list is looks: [6, 12, 24] (section "
        "2.7); fixed when the sweep starts",
        _pairs,
        10,
    ),
    "block": Field("the replicate", _block, "seed"),
    "equal": Field("what must be equal inside every pair", _names, ("data.fingerprint", "device", "threads")),
    "control_again": Field(
        "whether the first control runs once more in every block (the A/A arm)", _flag, True
    ),
    "runs": Field(
        "of runs that the workbench did not make ([section 5](#5-claims-for-others)): metrics and ignore",
        others.complaint,
        {},
    ),
    "claims": Field("the claims", _claims),
}

CLAIM_FIELDS: dict[str, Field] = {
    "name": Field("one word", _name),
    "statement": Field("what is claimed, in our words", _sentence),
    "source": Field("who says so", _sentence),
    "kind": Field(
        "measured (an interval decides) or exact (one counter-example contradicts)",
        _one_of("measured", "exact"),
        "measured",
    ),
    "metric": Field("a name of workbench.record.METRICS", _metric),
    "treatment": Field("the arm that is claimed of: dotted config values", _arm),
    "control": Field("what it is held against: likewise, or {value: 0} for an exact claim", _arm),
    "scale": Field(
        "ratio (treatment / control) or difference (treatment - control)",
        _one_of("ratio", "difference"),
        "ratio",
    ),
    "direction": Field(
        "where the treatment lies against the control: higher, lower, not_lower, not_higher, same", _direction
    ),
    "smallest": Field(
        "the smallest effect worth the name: a ratio of 1 or more, or a difference of 0 or more; for not_lower, "
        "not_higher and same the margin",
        _number(0),
    ),
    "why_smallest": Field("one sentence", _sentence),
    "over": Field(
        "conditions: dotted config values and their lists, averaged with equal weights inside a block",
        _over,
        {},
    ),
    "scope": Field(
        "claimed of the average over the conditions, or of every one", _one_of("average", "every"), "average"
    ),
    "where": Field("conditions, `name > value`, on quantities that both arms share", _where, ()),
    "elsewhere": Field("the direction claimed outside `where`", lambda v: v and _direction(v), None),
    "tolerance": Field("by how much an exact claim may be off", _number(0), 0.0),
    "assay": Field(
        "for same, not_lower and not_higher on something learnt: what shows that a difference could have been seen "
        f"(section 2.9): {ASSAY}",
        _assay,
        None,
    ),
}
