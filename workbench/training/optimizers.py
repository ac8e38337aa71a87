"""Optimizers by name: Keras' own."""

from __future__ import annotations

from collections.abc import Callable

import keras

from workbench.options.optimizer import Optimizer

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def make_optimizer(options: Optimizer) -> keras.optimizers.Optimizer:
    """A Keras optimizer. Clipping is the training step's, not the optimizer's."""
    return OPTIMIZERS[options.name](learning_rate=options.learning_rate, **options.own())
