"""Words that several rooms say: numbers of things, and the name that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "job"), counted(2, "job")
    ('1 job', '2 jobs')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def did_you_mean(name: object, names: Iterable[object], before: str = "") -> str:
    """`; did you mean x?` with the name that is most alike, `before` in front of it; nothing where none is.

    >>> did_you_mean("epoch", ["epochs", "device"], before="training.")
    '; did you mean training.epochs?'
    """
    near = difflib.get_close_matches(str(name), sorted(map(str, names)), 1)
    return f"; did you mean {before}{near[0]}?" if near else ""


def lasting(seconds: float) -> str:
    """A time as a person says it.

    >>> [lasting(one) for one in (12, 400, 9000)]
    ['about 12 s', 'about 7 min', 'about 2.5 h']
    """
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def typed(key: str, text: str) -> str:
    """An override that gives a text as it is, in Hydra's quotes where it has what Hydra reads as its own.

    >>> typed("data.path", "/data/reviews"), typed("data.path", "reviews (1)"), typed("data.path", "2024")
    ('data.path=/data/reviews', "data.path='reviews (1)'", "data.path='2024'")
    """
    words = ("null", "true", "false", "nan", "inf")
    if re.fullmatch(r"[A-Za-z_./]([\w./ -]*[\w./-])?", text, re.ASCII) and text.lower() not in words:
        return f"{key}={text}"
    text = text.replace("${", "\\${")  # else an interpolation
    # within Hydra's quotes a backslash is one but before a quote, or the end
    return (
        f"{key}='"
        + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
        + "'"
    )
