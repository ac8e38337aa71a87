"""The one error of the data rooms: which file, which field, what came, and what to do."""

from __future__ import annotations

from pathlib import Path

_LONGEST_VALUE = 200


class DataError(ValueError):
    """Data that cannot be used, or cannot be written.

    The message names the file (or the option), the field in it, the value that came, and the remedy:

    >>> print(DataError("manifest.json", "version", 7, "this program reads version 1: prepare it again"))
    manifest.json: version = 7: this program reads version 1: prepare it again
    """

    def __init__(self, file: str | Path, field: str, value: object, remedy: str):
        self.file, self.field, self.value, self.remedy = str(file), field, value, remedy
        shown = value if isinstance(value, str) else repr(value)
        if len(shown) > _LONGEST_VALUE:
            shown = shown[:_LONGEST_VALUE] + "..."
        super().__init__(f"{self.file}: {field} = {shown}: {remedy}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, object, str]]:
        return DataError, (self.file, self.field, self.value, self.remedy)
