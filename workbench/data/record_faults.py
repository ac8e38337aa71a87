"""What keeps one record from being the example that a manifest declares, in words: `check_record`.

It looks at the record itself, feature by feature, and names what it has in place of what it should have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from workbench.data.encode import check_range
from workbench.data.errors import DataError
from workbench.data.file_kind import kind_of
from workbench.data.given import check_weights
from workbench.data.manifest import Manifest
from workbench.data.whose import WRITE
from workbench.wording import did_you_mean

_KINDS = {"int64_list": "whole numbers", "float_list": "floats", "bytes_list": "bytes"}
_LISTS = {"int64_list": "an Int64List", "float_list": "a FloatList"}
_MEANT: Mapping[tuple[str, str], str] = {  # of inputs and labels
    (
        "bytes_list",
        "int64_list",
    ): ": write each one's number, its place in the vocabulary or among the labels",
    (
        "bytes_list",
        "float_list",
    ): ": decode them to numbers and write a FloatList (raw pixels: np.frombuffer)",
    ("float_list", "int64_list"): " (int64): write an Int64List; for float inputs give feature_size",
    ("int64_list", "float_list"): ": write a FloatList; where they are ids, leave feature_size out",
}
_NOT_LENGTH = "feature_names['length'] says what holds the length, and \"\" has the steps of inputs counted"
_WRITER = f"{WRITE} writes them from Python"


def decoded(record: bytes, where: str) -> Any:
    """The record as a SequenceExample, or DataError that says what it may be."""
    try:
        example = tf.train.SequenceExample.FromString(record)
    except DecodeError:
        kind = kind_of(record[:1024]) or "bytes that are no SequenceExample"
        raise DataError(
            where, "record", f"{kind}, {record[:20]!r}", f"must be a SequenceExample: {_WRITER}"
        ) from None
    if (
        record
        and not example.context.feature
        and not example.feature_lists.feature_list
        and example.ByteSize() > 8
    ):
        raise DataError(where, "record", "another message, without context and feature lists",
                        f"must be a SequenceExample: {_WRITER}")  # fmt: skip
    return example


def check_record(record: bytes, manifest: Manifest, where: str) -> None:
    """Raise DataError, naming feature, step and what came, unless the record is what `manifest` declares."""
    example, names, tag = decoded(record, where), manifest.feature_names, manifest.labels_steps
    length = None
    if names["length"]:
        length = _single(example, names["length"], "length", where)
    steps = _steps(example, "inputs", length, manifest, where)
    said = f"{names['length']} says" if names["length"] else f"{names['inputs']} has"
    ids = manifest.inputs == "ids"
    width = 1 if ids else manifest.feature_size or 1
    if length is None:
        length = len(steps)
    if length != len(steps):
        padded = f", without padding; {_NOT_LENGTH}" if 0 <= length < len(steps) else ""
        raise DataError(
            where, names["inputs"], len(steps), f"{said} {length}: write them equally long{padded}"
        )
    if not length and not tag:
        raise DataError(
            where, names["length"] or "length", 0, "an empty sequence cannot be classified: leave it out"
        )
    inputs = _values(steps, "int64_list" if ids else "float_list", names["inputs"], width, where)
    if tag:
        steps = _steps(example, "labels", length, manifest, where)
        if len(steps) != length:
            raise DataError(where, names["labels"], len(steps), f"{said} {length}: write them equally long")
        labels = _values(steps, "int64_list", names["labels"], 1, where).reshape(-1)
    else:
        labels = np.array([_single(example, names["labels"], "labels", where)])
    check_range(labels, len(manifest.labels), where, names["labels"], "the classes", manifest.first_class)
    if manifest.weights:
        _check_weights(example, length, manifest, where)
    if ids:
        check_range(inputs.reshape(-1), len(manifest.vocabulary), where, names["inputs"], "the vocabulary")
        return
    finite = np.isfinite(inputs).all(axis=1)
    if not finite.all():
        step = int(np.argmin(finite))
        raise DataError(
            where,
            f"{names['inputs']}[{step}]",
            inputs[step].tolist(),
            "not finite, and would make the loss so: leave the example out, or give it a number",
        )


def _check_weights(example: Any, length: int, manifest: Manifest, where: str) -> None:
    name = manifest.feature_names["weights"]
    if manifest.weights == "step":
        steps = _steps(example, "weights", length, manifest, where)
        if len(steps) != length:
            raise DataError(where, name, len(steps), f"must be one for each of {length} steps")
        weights = _values(steps, "float_list", name, 1, where, meant={}).reshape(-1)
    else:
        weights = np.array([_single(example, name, "weights", where, "float_list")], np.float32)
    check_weights(weights, where, manifest.weights, name)


def _steps(example: Any, role: str, length: int | None, manifest: Manifest, where: str) -> Any:
    """The steps of a feature list; where it is absent, the example must be empty by its length."""
    name, lists, context = (
        manifest.feature_names[role],
        example.feature_lists.feature_list,
        example.context.feature,
    )
    if name in lists or length == 0:
        return lists[name].feature if name in lists else []
    if not lists and context:
        raise DataError(where, "record", f"a tf.train.Example with {_named(context)}", "must be a SequenceExample, "
                        f"with a step a token in feature lists: {_WRITER}")  # fmt: skip
    if name in context:
        remedy = {
            "labels": 'one for the whole example is the task "classify"',
            "weights": 'one for the whole example is weights="example"',
        }.get(role, "write a step a token")
        raise DataError(where, name, "in the context", f"must be a feature list, a step a token: {remedy}")
    has = f"it has {_named(lists)}; no feature list {name}{did_you_mean(name, lists)}"
    raise DataError(where, name, "missing", f"{has} (feature_names[{role!r}] says what it is called)")


def _single(example: Any, name: str, role: str, where: str, kind: str = "int64_list") -> Any:
    """One number of the context."""
    context, lists = example.context.feature, example.feature_lists.feature_list
    if name not in context:
        if name in lists and role == "labels":
            raise DataError(where, name, "in a feature list", 'one for each token is the task "tag"')
        if name in lists and role == "weights":
            raise DataError(where, name, "in a feature list", 'one for each token is weights="step"')
        has = (
            f"its context has {_named(context)}{did_you_mean(name, context)}"
            if context
            else "its context is empty"
        )
        other = _NOT_LENGTH if role == "length" else f"feature_names[{role!r}] says what it is called"
        raise DataError(where, name, "missing", f"{has}; {other}")
    if context[name].WhichOneof("kind") != kind:
        wanted = "whole number (int64)" if kind == "int64_list" else "float"
        raise DataError(where, name, _shown(context[name]), f"must be one {wanted}")
    values = getattr(context[name], kind).value
    if len(values) != 1:
        raise DataError(where, name, f"{len(values)} values", "must be one for the whole example")
    return values[0]


def _values(
    steps: Iterable[Any], kind: str, name: str, width: int, where: str, meant: Mapping[Any, str] = _MEANT
) -> np.ndarray:
    """The values of the steps, [T, width]."""
    rows = []
    for i, step in enumerate(steps):
        if step.WhichOneof("kind") not in (kind, None):
            remedy = meant.get((step.WhichOneof("kind"), kind), f": write {_LISTS[kind]}")
            raise DataError(where, f"{name}[{i}]", _shown(step), f"must be {_KINDS[kind]}{remedy}")
        values = getattr(step, kind).value
        if len(values) != width:
            few = f"must have {width} values a token"
            raise DataError(
                where,
                f"{name}[{i}]",
                f"{len(values)} values",
                few if width > 1 else "must have 1 value a token",
            )
        rows.append(list(values))
    return np.array(rows, np.int64 if kind == "int64_list" else np.float32).reshape(len(rows), width)


def _shown(feature: Any) -> str:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return "nothing"
    values = getattr(feature, kind).value
    first = values[0] if values else ""
    if kind == "bytes_list" and len(first) > 20:
        return f"{_KINDS[kind]}, {len(values)} value, the first of {len(first)} bytes"
    return f"{_KINDS[kind]}, {list(values[:3])}"


def _named(features: Iterable[str]) -> str:
    """Their names, in an order that is the same each time."""
    names = sorted(features)
    return ", ".join(names[:10]) + (" and more" if names[10:] else "") if names else "none"
