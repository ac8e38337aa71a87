"""How something is dropped: a mask that keeps the mean."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_APART = 0x5851F42D  # between the seeds of two replicas: an odd number far from those that people take


def check_keep_prob(name: str, value: Any) -> None:
    """Refuses what is no probability of keeping something."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f"{name} must be over 0 and at most 1, not {value!r}.")


def keep_mask(shape: Any, dtype: Any, keep_prob: float, seed: Any) -> tf.Tensor:
    """Zero where something is dropped, 1 / keep_prob elsewhere, so that the mean is one."""
    kept = tf.floor(keep_prob + tf.random.stateless_uniform(shape, seed_of_replica(seed)))
    return tf.cast(kept / keep_prob, dtype)


def seed_of_replica(seed: Any) -> tf.Tensor:
    """The seed int32 [2] as this replica of `tf.distribute` uses it: other examples need other masks.

    The first replica, which is the only one where there is no strategy, has the seed as it is.
    """
    seed = tf.cast(seed, tf.int32)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    apart = tf.cast(replica.replica_id_in_sync_group, tf.int32) * _APART
    return seed + tf.stack([apart, 0])  # the second number counts draws
