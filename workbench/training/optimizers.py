"""Optimizers by name: Keras' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda momentum=0.9, **options: keras.optimizers.SGD(momentum=momentum, **options),
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def make_optimizer(name: str, learning_rate: float, **options: Any) -> keras.optimizers.Optimizer:
    """A Keras optimizer by its name in OPTIMIZERS; `options` are its own (momentum, weight_decay, ...).

    Clipping is the training step's (`clip_norm`), not the optimizer's.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}: must be one of {', '.join(sorted(OPTIMIZERS))}")
    return OPTIMIZERS[name](learning_rate=learning_rate, **options)
