"""Words that several rooms say: numbers of things, and the name that was meant."""

from __future__ import annotations

import difflib
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
