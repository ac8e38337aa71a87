"""A short cut: columns as pyarrow has them -> what `pack` makes of rows, without a Python object for each token."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.data.convert.flat import Numbered, arrays
from workbench.data.convert.layout import Layout, Packed
from workbench.data.convert.pack import split_code
from workbench.data.convert.rows import Block


def packed(inputs: Any, labels: Any, numbers: np.ndarray, block: Block, layout: Layout) -> Packed | None:
    """Lists of strings or whole numbers, and labels likewise or one each; None for whatever else it is."""
    import pyarrow

    schema = layout.schema
    tag = schema.task == "tag"
    found, of_labels = _lists(inputs, pyarrow), _lists(labels, pyarrow) if tag else None
    if found is None or (tag and (of_labels is None or not np.array_equal(found[0], of_labels[0]))):
        return None
    lengths = found[0]
    tokens, names = _values(found[1], pyarrow), _values(of_labels[1] if of_labels else labels, pyarrow)
    if tokens is None or names is None or isinstance(tokens, Numbered) != (schema.kind == "symbols"):
        return None
    if isinstance(names, Numbered) and not all(map(str.strip, names.names)):
        return None  # an empty label is for `pack` to say
    made = arrays(numbers, lengths, tokens, names, block, layout)
    return made._replace(splits=np.full(len(lengths), split_code(None, block, 0, said=False), np.int8))


def _lists(column: Any, pyarrow: Any) -> tuple[np.ndarray, Any] | None:
    """Lengths, and the values end to end."""
    types = pyarrow.types
    kind = column.type
    if column.null_count or not (types.is_list(kind) or types.is_large_list(kind)):
        return None
    offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.diff(offsets), column.flatten()


def _values(values: Any, pyarrow: Any) -> Numbered | np.ndarray | None:
    types, kind = pyarrow.types, values.type
    if values.null_count:
        return None
    if types.is_string(kind) or types.is_large_string(kind):
        values.validate(full=True)  # else bytes that are no UTF-8 are found late
        encoded = values.dictionary_encode()
        return Numbered(encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int32))
    if types.is_integer(kind):
        found = values.to_numpy(zero_copy_only=False)
        within = not found.size or (found.min() >= -(2**31) + 1 and found.max() <= 2**31 - 1)
        return found.astype(np.int64) if within else None
    return None
