"""What somebody's model or cell raised, in a line."""

from __future__ import annotations

import re


def said(error: Exception) -> str:
    """An exception's kind and what it says, without what Keras prints around it."""
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\} ", "", str(error)).rpartition("Exception encountered: ")[2]
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    line = lines[1] if lines[0].startswith("Exception encountered when calling") and lines[1:] else lines[0]
    line = line.partition(" Full object config")[0].partition(" You can attempt the following")[0]
    return f"{type(error).__name__}: {line.strip()}"
