"""How something is dropped: a mask that keeps the mean."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def check_keep_prob(name: str, value: Any) -> None:
    """Refuses what is no probability of keeping something."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f"{name} must be over 0 and at most 1, not {value!r}.")


def keep_mask(shape: Any, dtype: Any, keep_prob: float, seed: Any) -> tf.Tensor:
    """Zero where something is dropped, 1 / keep_prob elsewhere, so that the mean is one."""
    kept = tf.floor(keep_prob + tf.random.stateless_uniform(shape, tf.cast(seed, tf.int32)))
    return tf.cast(kept / keep_prob, dtype)
