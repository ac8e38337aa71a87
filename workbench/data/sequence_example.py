"""One example <-> `tf.train.SequenceExample` (guide, section SequenceExample).

The context holds what is not sequential: `length`, and the label where the task is "classify". Feature lists
hold what is: `inputs` (int64, or floats of `feature_size`) and, where the task is "tag", `labels`. `weights`, where
there are any, are floats: of the steps, or one in the context.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.data.encode import Encoded
from workbench.data.manifest import FEATURE_NAMES, Manifest


@lru_cache(maxsize=1 << 16)
def _int_feature(value: int) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float_feature(value: float) -> Any:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def _int_list(values: np.ndarray) -> Any:
    return tf.train.FeatureList(feature=[_int_feature(value) for value in values.tolist()])


def to_sequence_example(example: Encoded, names: dict[str, str] = FEATURE_NAMES) -> Any:
    """The proto of one encoded example.

    >>> proto = to_sequence_example(Encoded(np.array([4, 5, 1]), np.array([1, 0, 0])))
    >>> [feature.int64_list.value[0] for feature in proto.feature_lists.feature_list["inputs"].feature]
    [4, 5, 1]
    >>> proto.context.feature["length"].int64_list.value[0]
    3
    """
    context = {names["length"]: _int_feature(len(example.inputs))}
    if example.inputs.ndim == 2:
        rows = example.inputs.tolist()
        inputs = tf.train.FeatureList(
            feature=[tf.train.Feature(float_list=tf.train.FloatList(value=row)) for row in rows]
        )
    else:
        inputs = _int_list(example.inputs)
    lists = {names["inputs"]: inputs}
    if example.labels.ndim:
        lists[names["labels"]] = _int_list(example.labels)
    else:
        context[names["labels"]] = _int_feature(int(example.labels))
    if example.weights is not None:
        floats = [_float_feature(value) for value in np.atleast_1d(example.weights).tolist()]
        if example.weights.ndim:
            lists["weights"] = tf.train.FeatureList(feature=floats)
        else:
            [context["weights"]] = floats
    return tf.train.SequenceExample(
        context=tf.train.Features(feature=context), feature_lists=tf.train.FeatureLists(feature_list=lists)
    )


_PADDED: Callable[..., Any] = partial(tf.io.FixedLenSequenceFeature, allow_missing=True)


def declared_features(
    manifest: Manifest, steps: Callable[..., Any] = _PADDED
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Context and sequence features as TensorFlow's parsers want them declared; `steps`: a list, of (shape, dtype).

    The length is not among them: an example is as long as its inputs, and a length that is written says the same.
    An empty example may have no list at all.
    """
    names = manifest.feature_names
    scalar = tf.io.FixedLenFeature([], tf.int64)
    context: dict[str, Any] = {}
    if manifest.inputs == "ids":
        sequence = {names["inputs"]: steps([], tf.int64)}
    else:
        sequence = {names["inputs"]: steps([manifest.feature_size], tf.float32)}
    if manifest.labels_steps:
        sequence[names["labels"]] = steps([], tf.int64)
    else:
        context[names["labels"]] = scalar
    if manifest.weights == "step":
        sequence[names["weights"]] = steps([], tf.float32)
    elif manifest.weights:
        context[names["weights"]] = tf.io.FixedLenFeature([], tf.float32)
    return context, sequence


def parse_batch(serialized: tf.Tensor, manifest: Manifest) -> dict[str, tf.Tensor]:
    """Serialized examples [B] -> a batch padded with zeros to its longest example.

    The examples are taken to be what `manifest` says: `verify.read_split` made sure of it.
    """
    context, sequence = declared_features(manifest)
    singles, lists, steps = tf.io.parse_sequence_example(
        serialized, context_features=context, sequence_features=sequence
    )
    return _batch(singles, lists, steps[manifest.feature_names["inputs"]], manifest)


def parse_one(serialized: tf.Tensor, manifest: Manifest) -> dict[str, tf.Tensor]:
    """One serialized example, as the guide parses it; not padded."""
    context, sequence = declared_features(manifest)
    singles, lists = tf.io.parse_single_sequence_example(
        serialized, context_features=context, sequence_features=sequence
    )
    steps = tf.shape(lists[manifest.feature_names["inputs"]])[0]
    return _batch(singles, lists, steps, manifest)


def _batch(
    singles: dict[str, tf.Tensor], lists: dict[str, tf.Tensor], steps: tf.Tensor, manifest: Manifest
) -> dict[str, tf.Tensor]:
    """The workbench's names and types."""
    names = manifest.feature_names
    inputs = lists[names["inputs"]]
    labels = (lists if manifest.labels_steps else singles)[names["labels"]]
    weights = {}
    if manifest.weights:
        weights = {"weights": (lists if manifest.weights == "step" else singles)[names["weights"]]}
    return {
        "inputs": tf.cast(inputs, tf.int32) if manifest.inputs == "ids" else inputs,
        "labels": tf.cast(labels, tf.int32),
        "length": tf.cast(steps, tf.int32),
        **weights,
    }
