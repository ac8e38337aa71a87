"""What people call a split, and which of the workbench's it is."""

from __future__ import annotations

from workbench.data.errors import DataError
from workbench.data.manifest import SPLITS

OTHER_NAMES = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "validation"}


def split_named(word: object, where: str) -> str:
    """The split that is meant by `word`, or DataError."""
    split = OTHER_NAMES.get(str(word).strip().lower(), str(word).strip().lower())
    if split not in SPLITS:
        raise DataError(where, "split", word, f"splits are {', '.join(SPLITS)}: write one of them")
    return split


def split_of_name(name: str) -> str | None:
    """The split that a file's name says: that of its last word that is one."""
    words = "".join(letter if letter.isalpha() else " " for letter in name.lower()).split()
    found = [OTHER_NAMES.get(word, word) for word in words]
    return next((word for word in reversed(found) if word in SPLITS), None)
