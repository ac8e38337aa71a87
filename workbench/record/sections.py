"""Tags of a run as MLflow holds them: what says where it ran stands in one tag a section, as JSON.

Some fifty tags that seldom differ would otherwise hide the few that do. Whoever reads runs by `workbench.tracking`
has them one by one; most of it lies with the run as environment.json too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

SECTIONS = ("device", "environment", "machine", "version", "window")
_OWN = "workbench."  # in front of a section's name, whose bare name may be a tag of the user's
_MOST = 5000  # characters in a tag: MLflow takes 8,000; what is longer is kept one by one


def by_section(tags: Mapping[str, str], sections: Iterable[str] = SECTIONS) -> dict[str, dict[str, str]]:
    """Some sections' tags, each section's by their names within it.

    >>> by_section({"version.keras": "3.15", "workbench.block": "1"})
    {'version': {'keras': '3.15'}}
    """
    found: dict[str, dict[str, str]] = {}
    wanted = set(sections)
    for name, value in sorted(tags.items()):
        section, dot, key = name.partition(".")
        if dot and section in wanted:
            found.setdefault(section, {})[key] = value
    return found


def folded(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as they are written.

    >>> folded({"version.keras": "3.15", "version.numpy": "2.4.6", "workbench.block": "1"})
    {'workbench.block': '1', 'workbench.version': '{"keras": "3.15", "numpy": "2.4.6"}'}
    """
    found = dict(tags)
    for section, inside in by_section(tags).items():
        text = json.dumps(inside)
        if len(text) <= _MOST:
            found = {name: value for name, value in found.items() if not name.startswith(f"{section}.")}
            found[_OWN + section] = text
    return found


def unfolded(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that were read, one by one. One that stands by itself counts: it came later, or from an older version.

    A tag of a section's name that is no mapping is somebody else's, and stays what it is.

    >>> unfolded({"workbench.block": "1", "workbench.version": '{"keras": "3.15"}'})
    {'version.keras': '3.15', 'workbench.block': '1'}
    """
    found: dict[str, str] = {}
    rest = dict(tags)
    for section in SECTIONS:
        if rest.get(_OWN + section, "").startswith("{"):
            inside = json.loads(rest.pop(_OWN + section))
            found |= {f"{section}.{key}": value for key, value in inside.items()}
    return found | rest
