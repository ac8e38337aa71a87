"""Does a graph that was built for one padded length take a longer batch?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from workbench.model import SequenceModel
from workbench.training.step import PerLength, fields_of


def takes_longer_sequence(model: SequenceModel, batch: Mapping[str, Any]) -> bool:
    """Build the model's graph for this batch, then give the same graph the batch with one step more.

    The graph has the signature that training gives it (`SequenceModel.batch_signature`): any length for a loop,
    the one padded length for an unrolled model, which refuses another. Source: the guide, rnn against dynamic_rnn.
    """
    graph = PerLength(model, model).trace(batch)
    try:
        graph({name: _one_step_more(values, name) for name, values in fields_of(batch).items()})
    except (TypeError, ValueError):  # a signature that does not fit, which TensorFlow names by either
        return False
    return True


def _one_step_more(values: Any, name: str) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    if name == "length" or values.shape.rank < 2:  # labels of whole sequences have no steps
        return values
    return tf.pad(values, [(0, 1) if axis == 1 else (0, 0) for axis in range(values.shape.rank)])
