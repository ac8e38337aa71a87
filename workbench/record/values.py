"""The one rule by which recorded values compare."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
}  # as Python writes them; `none` is a name (loss=none)


def normalise(value: Any) -> str | None:
    """A value as text that is equal where the values are: the one rule by which params are compared.

    MLflow keeps params as text, claims.yaml has numbers and truth values. Numbers compare as numbers, True with
    true, None with null, lists item by item; all else as stripped text, case kept. None stands for "not there",
    as does what pandas has where nothing is (NaN, NaT, NA).

    >>> [normalise(value) for value in (1, "1.0", "1e0", True, "True", None, "None", " b ")]
    ['1', '1', '1', 'true', 'true', None, 'null', 'b']
    >>> normalise([1.0, "a"]) == normalise("['1', 'a']") == normalise("[1, a]")
    True
    """
    if is_missing(value):
        return None
    if isinstance(value, list | tuple):
        return json.dumps([normalise("None" if one is None else one) for one in value])
    text = str(value).strip()
    if re.fullmatch(r"[-+]?\d+", text):
        return str(int(text))
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
        number = float(text)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    if text in WORDS:
        return WORDS[text]
    if text[:1] == "[" and text[-1:] == "]":
        try:
            return normalise(list(ast.literal_eval(text)))
        except (ValueError, SyntaxError):  # [lstm, gru]: a list without quotes
            return json.dumps([normalise(one) for one in text[1:-1].split(",") if one.strip()])
    return text


def is_missing(value: Any) -> bool:
    """Whether a cell of a table holds nothing: None, or NaN, NaT or NA of pandas, which this does not import."""
    nothing = type(value).__name__ in ("NAType", "NaTType") or (
        isinstance(value, float) and math.isnan(value)
    )
    return value is None or nothing
