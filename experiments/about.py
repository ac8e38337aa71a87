"""Where and when a benchmark was run: what stands beside its results."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.provenance import machine, versions
from workbench.repositories import git

_MACHINE = ("machine.cpu", "machine.cores", "machine.memory_gb")


def about(packages: Sequence[str]) -> dict[str, str]:
    """Machine, Python, the workbench and these packages by their versions, commit and day."""
    named = [f"version.{name}" for name in ("python", *packages, "workbench")]
    return {
        **{name: text for name, text in machine().items() if name in _MACHINE},
        **{name: text for name, text in versions().items() if name in named},
        "commit": git()["git.commit"],
        "date": time.strftime("%Y-%m-%d"),
    }


def typed(program: str) -> str:
    """The command that runs, of options with one value each, without this machine's folders: no `--out`."""
    words = iter(sys.argv[1:])
    found = ["python", program]
    for word in words:
        name, equals, value = word.partition("=")
        value = value if equals else next(words, "")
        if name != "--out":
            found += [name, "FOLDER" if name == "--treebank" else value]
    return " ".join(found)


def made_by(module: str, found: Mapping[str, Any]) -> str:
    """The line of a report that says how its results (`typed`, `minutes`, `about`) were made.

    >>> made_by("experiments.x", {"typed": ["--n", "1"], "minutes": 2.5, "about": {"machine.cores": "2"}})
    '`python -m experiments.x --n 1`, 2.5 minutes; cores 2'
    """
    about = ", ".join(f"{name.rpartition('.')[2]} {text}" for name, text in found["about"].items())
    return f"`{' '.join(['python -m', module, *found['typed']])}`, {found['minutes']} minutes; {about}"
