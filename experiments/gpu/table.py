"""The rows of the device script as short tables in Markdown. No TensorFlow here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def table(path: Path) -> str:
    """How each part ended, then what each measured: a column for each value that some row of it has."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    ends = [row for row in rows if "status" in row]
    found = "".join(
        f"\n## {part}\n\n{_markdown([{k: v for k, v in row.items() if k != 'part'} for row in rows_of])}"
        for part in dict.fromkeys(row["part"] for row in rows)
        if (rows_of := [row for row in rows if row["part"] == part and "status" not in row])
    )
    return f"# What the device script found\n\n{_markdown(ends)}{found}"


def _markdown(rows: list[Row]) -> str:
    """
    >>> print(_markdown([{"rows": 16, "us": 7.1234}, {"rows": 64}]))
    | rows | us |
    | --- | --- |
    | 16 | 7.12 |
    | 64 |  |
    <BLANKLINE>
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([_shown(row.get(name, "")) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")
