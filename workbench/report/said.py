"""A verdict said so that nobody misreads it: the value in its own unit, beside what was claimed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from workbench.claims import Verdict
from workbench.claims.instrument import FAILED_AA, NOT_ALIKE
from workbench.claims.statistics import REGIONS
from workbench.record import METRICS
from workbench.report import numbers, power
from workbench.report.arms import WORDS

_COMPARED = {
    "/s": ("faster", "slower"),
    "s": ("longer", "shorter"),
    "ms": ("longer", "shorter"),
    "MB": ("more memory", "less memory"),
    "bytes": ("more bytes", "fewer bytes"),
    "nodes": ("more nodes", "fewer nodes"),
    "traces": ("more traces", "fewer traces"),
}
_SINGULAR = {"batches": "batch", "traces": "trace", "times": "time", "nodes": "node", "files": "file"}


def title(metric: str) -> str:
    """What a metric is called in a sentence.

    >>> title("speed/valid_tokens_per_s"), title("data/padding_share")
    ('training speed', 'padding share')
    """
    given = METRICS[metric].title if metric in METRICS else ""
    return given or metric.rpartition("/")[2].replace("_", " ")


def better(metric: str) -> str:
    """Which way is better, in words; empty where neither is.

    >>> better("speed/graph_build_s"), better("speed/valid_tokens")
    ('less is better', '')
    """
    way = METRICS[metric].better if metric in METRICS else None
    return {"higher": "more is better", "lower": "less is better", "zero": "zero is right"}.get(way or "", "")


def arms(one: Verdict) -> str:
    """The arms in a few words, what both share left out.

    >>> from types import SimpleNamespace as Row
    >>> arms(Row(treatment="cell.name=gru, rnn.unroll=packed", control="cell.name=gru, rnn.unroll=dynamic"))
    'packed against dynamic'
    >>> arms(Row(treatment="cell.units=64", control="0"))
    'units=64'
    """
    treatment, control = (dict(_options(text)) for text in (one.treatment, one.control))
    if not control:
        return _short(treatment)
    apart = [name for name in {**treatment, **control} if treatment.get(name) != control.get(name)]
    sides = ({name: side[name] for name in apart if name in side} for side in (treatment, control))
    return " against ".join(_short(side) for side in sides) if apart else "the same twice"


def value(one: Verdict) -> str:
    """What was measured, in its own unit: of a difference to a declared value the value itself, not the difference.

    "1.62x [1.57, 1.67]"; "5.19 times" where 10 were declared and the difference is -4.81.
    """
    declared = _declared(one)
    if declared is None or one.effect is None:
        return numbers.effect_words(one)
    words = _in_unit(declared + one.effect, one)
    if one.interval is None:
        return words
    ends = (_in_unit(None if end is None else declared + end, one) for end in one.interval)
    return f"{words} [{', '.join(ends)}]"


def claimed(one: Verdict) -> str:
    """What was claimed, in the same unit: "at least 1.1x", "10 times or more", "within 1.05x either way"."""
    if one.scale == "ratio":
        return _claimed_ratio(one)
    declared, smallest = _declared(one), _bound(one)
    ends = {side: (declared or 0.0) + side * smallest for side in (-1, 1)}
    if one.direction == "same":
        if apart := one.smallest + one.tolerance:
            return (
                f"within {_in_unit(apart, one)} of {_in_unit(declared, one)}"
                if declared is not None
                else f"apart by at most {_in_unit(apart, one)}"
            )
        return "no difference" if declared is None else _in_unit(declared, one)
    side = 1 if one.direction in ("higher", "not_higher") else -1
    bound = _in_unit(ends[side], one)
    more, less = ("at least", "at most") if one.smallest or one.kind == "exact" else ("above", "below")
    return {
        "higher": f"{more} {bound}",
        "lower": f"{less} {bound}",
        "not_higher": f"at most {bound}",
        "not_lower": f"at least {bound}",
    }[one.direction]


def bound(one: Verdict) -> str:
    """What was claimed, in signs: ">= 1.1x", "within 1.05x", "10 times or more" as ">= 10 times"."""
    words = claimed(one).removesuffix(" either way")
    for text, sign in (("at least", ">="), ("at most", "<="), ("above", ">"), ("below", "<")):
        words = words.replace(text, sign)
    return words


def sentence(one: Verdict) -> str:
    """What was found, with the value and what would have been worth the name.

    "faster: 1.32x [1.26, 1.39]; worth the name from 1.5x"; what is not said by the words is named:
    "unresolved: validation loss 0.83x [0.63, 1.10]; worth the name from 0.98x down".
    """
    if one.effect is None:
        return one.finding
    found = value(one)
    words = numbers.finding_word(one)
    if one.kind == "exact":
        pairs = held(one)
        if pairs:
            words = (
                f"fails in all of {pairs[1]} pairs"
                if not pairs[0]
                else f"holds in {pairs[0]} of {pairs[1]} pairs"
            )
        mean = " on average" if _differs(one) else ""
        return f"{words}: {title(one.metric)} {found}{mean}; claimed: {claimed(one)}"
    if one.direction.startswith("not_"):
        words = words.partition(", but less")[0]
    compared = in_words(words, one.metric)
    named = found if compared != words else f"{title(one.metric)} {found}"
    return "; ".join(text for text in (f"{compared}: {named}", each(one), worth(one), undecided(one)) if text)


def each(one: Verdict) -> str:
    """What was measured in each condition, where the claim is of every one; of many the least and the most."""
    judged = sorted(
        (part for part in one.by_condition if part.get("judged")), key=lambda part: part["effect"]
    )
    if not judged:
        return ""
    of_many = "between " if len(judged) > 3 else ""
    shown = [judged[0], judged[-1]] if of_many else judged
    told = [f"{_short(part['condition'])} {numbers.sized(part['effect'], None, one)}" for part in shown]
    return f"each of {len(judged)} conditions is judged, {of_many}{numbers.listed(told)}"


def held(one: Verdict) -> tuple[int, int] | None:
    """In how many pairs of how many an exact claim holds: each block has a pair for each condition."""
    found = re.match(r"holds in (\d+) of (\d+) pairs", one.finding)
    return (int(found[1]), int(found[2])) if found and one.kind == "exact" else None


def undecided(one: Verdict) -> str:
    """Why a claim is open whose own interval would decide it: the one corrected for all claims does not."""
    if one.verdict != "inconclusive" or one.reasons or one.decision_interval is None:
        return ""
    own, wide = (_side(one, interval) for interval in (one.interval, one.decision_interval))
    if not own or wide:
        return ""
    ends = numbers.sized(one.effect, one.decision_interval, one).rpartition(" [")[2]
    return f"open, as the interval corrected for all claims of the table is [{ends}"


def look(one: Verdict) -> str:
    """At which of several looks a claim was decided, or that none did and how many pairs would; else empty."""
    if not one.looks:
        return ""
    if one.look:
        return f"decided at look {one.look} of {len(one.looks)}, of {one.looks[one.look - 1]} pairs"
    if any(reason.startswith((FAILED_AA, NOT_ALIKE)) for reason in one.reasons):
        return ""  # it is open for that, at whatever look
    there = one.pairs + len({part["block"] for part in one.failed})
    if there < one.looks[-1]:
        return f"open, and not judged to the last look: {there} of its {one.looks[-1]} blocks are there"
    words = f"open after all {len(one.looks)} looks"
    if one.verdict != "inconclusive" or one.kind != "measured" or one.decided_at is None or one.reasons:
        return words
    needed = power.pairs_that_decide(one)
    many = f"over {power.MOST_PAIRS}" if needed is None else f"about {needed}"
    return f"{words}: were its effect as measured, {many} pairs would decide it"


def reasons(one: Verdict) -> list[str]:
    """What a reader is told of how a verdict came about: its reasons, and its look."""
    return [*one.reasons, *filter(None, [look(one)])]


def _side(one: Verdict, interval: Sequence[float | None] | None) -> str:
    """Whether an interval lies wholly inside what is claimed, or wholly outside; empty where it does neither."""
    low, high = region(one)
    ends = [end for end in interval or () if end is not None]
    if len(ends) < 2:
        return ""
    inside, outside = low <= ends[0] and ends[1] <= high, ends[1] < low or high < ends[0]
    return "inside" if inside else "outside" if outside else ""


def region(one: Verdict) -> tuple[float, float]:
    """What is claimed, on the scale of the effect."""
    if one.scale != "ratio":
        return REGIONS[one.direction](one.smallest)
    low, high = REGIONS[one.direction](math.log(one.smallest))
    return math.exp(low), math.exp(high)


def _differs(one: Verdict) -> bool:
    """Whether an exact claim's value is a mean over pairs that show different ones, or may."""
    shown = {_in_unit(part["effect"], one) for part in one.by_block if isinstance(part.get("effect"), float)}
    pairs = held(one)
    return len(shown) > 1 or (pairs is not None and pairs[1] > one.pairs)


def in_words(finding: str, metric: str) -> str:
    """A finding with higher and lower said as the metric's: "faster, but less than worth the name".

    >>> in_words("not higher by as much as is worth the name", "speed/valid_tokens_per_s")
    'not faster by as much as is worth the name'
    """
    unit = METRICS[metric].unit if metric in METRICS else ""
    pair = next(
        (words for end, words in _COMPARED.items() if unit == end or (end == "/s" and unit.endswith(end))),
        None,
    )
    if pair is None:
        return finding
    words = dict(zip(("higher", "lower"), pair, strict=True))
    return re.sub("higher|lower", lambda found: words[found[0]], finding)


def worth(one: Verdict) -> str:
    """From where the effect was declared to be worth the name."""
    if one.direction in ("higher", "lower"):
        down = " down" if one.direction == "lower" else ""
        return f"worth the name from {claimed(one).removeprefix('at least ').removeprefix('at most ')}{down}"
    return f"claimed: {claimed(one)}"


def counter_example(one: Verdict) -> str:
    """The first pair that speaks against an exact claim; empty where none does."""
    found = next((text for text in one.reasons if text.startswith(("counter-example", "a repeat"))), "")
    words = re.fullmatch(
        r"counter-example in (block .*): \S+ is (\S+) in the treatment and (\S+) in .*", found
    )
    if not words:
        return found
    treatment, control = (_in_unit(_number(text), one) for text in words.groups()[1:])
    if treatment == control:  # to the digits that are shown
        treatment, control = words.groups()[1:]
    return f"{words[1]}: {treatment} against {control}"


def _claimed_ratio(one: Verdict) -> str:
    up, down = _times(_bound(one), 4), _times(1 / _bound(one), 3)
    if one.direction == "same":
        up = _times(one.smallest * (1 + one.tolerance), 4)
        return "no difference" if up == "1x" else f"within {up} either way"
    return {
        "higher": f"at least {up}",
        "lower": f"at most {down}",
        "not_higher": f"at most {up}",
        "not_lower": f"at least {down}",
    }[one.direction]


def _times(ratio: float, digits: int) -> str:
    """
    >>> _times(1.0004, 4), _times(1.05, 4), _times(1, 4)
    ('1.0004x', '1.05x', '1x')
    """
    enough = (n for n in range(digits, 12) if f"{ratio:.{n}g}" != "1")
    return f"{ratio:.{next(enough, digits)}g}x"


def _bound(one: Verdict) -> float:
    """The bound with the tolerance of an exact claim: outwards, or towards no effect where one is claimed."""
    claims_one = one.direction in ("higher", "lower")
    if one.scale == "ratio":
        return one.smallest / (1 + one.tolerance) if claims_one else one.smallest * (1 + one.tolerance)
    return one.smallest - one.tolerance if claims_one else one.smallest + one.tolerance


def _declared(one: Verdict) -> float | None:
    """The value that a claim was held against; None where it was another arm."""
    return None if one.scale == "ratio" else _number(one.control)


def _in_unit(number: float | None, one: Verdict) -> str:
    if number is None:
        return numbers.NOTHING
    near = 0.0 if math.isclose(number, 0, abs_tol=1e-15) else number
    if one.unit in ("1", "", "times") and (
        one.metric.startswith("accuracy/")
        or one.metric.rpartition("_")[2] == "share"
        or "_share_" in one.metric
    ):
        return f"{100 * near:.4g}%"
    unit = "" if one.unit in ("1", "") else f" {_SINGULAR.get(one.unit, one.unit) if near == 1 else one.unit}"
    return f"{numbers.number(near)}{unit}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _options(text: str) -> list[tuple[str, str]]:
    parts = re.split(r", (?=[^\s=\[\](){}]+=)", text)  # a value may be a list
    return [(name, value) for name, equals, value in (part.partition("=") for part in parts) if equals]


def _short(options: dict[str, str]) -> str:
    return ", ".join(_plain(name, value) for name, value in options.items()) or "what is left"


def _plain(name: str, value: str) -> str:
    """A value that says itself what it is stands alone; others bring the last part of their name."""
    if words := WORDS.get((name, value)):
        return words
    last = name.rpartition(".")[2]
    return value if last in ("name", "unroll", "direction", "parse", "task") else f"{last}={value}"
