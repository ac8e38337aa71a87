"""How much of a loss's gradient is spent on padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.training import batch_loss


def gradient_share_past_end(model: SequenceModel, batches: Iterable[Mapping[str, Any]], loss: Loss) -> float:
    """The share of the loss's gradient by the logits that lies past the examples' ends, over all batches.

        slopes [B, T, classes] = d loss / d logits
        share = sum of |slopes| past the end / sum of |slopes|

    0 where the mask keeps padding out of the loss; 0 too where nothing has a slope. For a model of steps: one
    that classifies has no logits past the end (ValueError). Source: the guide, sequence loss.
    """
    if model.task == "classify":
        raise ValueError(f"a model of the task {model.task!r} has no logits past an example's end")
    past, whole = 0.0, 0.0
    for batch in batches:
        logits = tf.convert_to_tensor(model(batch))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            parts = batch_loss(model, batch, logits, loss)
            value = parts.sum / parts.denominator
        size = np.abs(tape.gradient(value, logits).numpy().astype(np.float64)).sum(axis=-1)
        valid = np.arange(size.shape[1]) < np.asarray(batch["length"])[:, np.newaxis]
        past, whole = past + size[~valid].sum(), whole + size.sum()
    return float(past / whole) if whole else 0.0
