"""The variables in a checkpoint of TF 1.15, under the names they had in its graph."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
KEY = "/.ATTRIBUTES/VARIABLE_VALUE"
# What optimizers, moving averages and training loops keep; in another scope than the variable's, too.
KEPT = re.compile(
    r"(^|/)(beta[12]_power(_\d+)?|global_step|save_counter)$"
    r"|/(Adam|AdaMax|AdamW|LazyAdam|Nadam|Momentum|RMSProp|Adagrad|AdagradDA|Adadelta|Ftrl|ExponentialMovingAverage)"
    r"(_\d+)?$|/\.OPTIMIZER_SLOT/"
)

# The weights of tf.contrib.cudnn_rnn's layers as cuDNN has them; a Saver keeps them again under readable names.
OPAQUE = re.compile(r"(^|/)opaque_kernel(/|$)")


def read_checkpoint(variables: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """Names and arrays, of a mapping or of a checkpoint; ":0" and the like are taken off the names.

    Raises ValueError where there is no checkpoint.
    """
    if isinstance(variables, Mapping):
        return {re.sub(r":\d+$", "", name): value for name, value in variables.items()}
    path = os.fspath(variables)
    try:
        reader = tf.train.load_checkpoint(path)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"{path} is no checkpoint of TensorFlow: give the part before .index and .data-00000-of-00001, or a "
            f"folder with a file `checkpoint` ({str(error).splitlines()[0]})"
        ) from error
    keys = [key for key in reader.get_variable_to_shape_map() if key != GRAPH]
    names = _names(keys, reader.get_tensor(GRAPH)) if reader.has_tensor(GRAPH) else {key: key for key in keys}
    return {names[key]: reader.get_tensor(key) for key in keys}


def _names(keys: list[str], graph: Any) -> dict[str, str]:
    """What a checkpoint of objects (tf.train.Checkpoint) calls its keys: the variables' own names where these
    tell them apart, as in TF 1's graphs, else the objects' path."""
    attributes = [a for node in TrackableObjectGraph.FromString(graph).nodes for a in node.attributes]
    full = {a.checkpoint_key: a.full_name for a in attributes if a.full_name}
    paths = {key: key.removesuffix(KEY) for key in keys}
    names = {key: full.get(key, path) for key, path in paths.items()}
    return names if len(set(names.values())) == len(names) else paths


def without_slots(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is kept beside the variables: a name below another variable's and of its shape is a slot."""

    def slot(name: str) -> bool:
        of, _, _ = name.rpartition("/")
        return bool(KEPT.search(name) or OPAQUE.search(name)) or (
            of in variables and np.shape(variables[of]) == np.shape(variables[name])
        )

    return {name: value for name, value in variables.items() if not slot(name)}
