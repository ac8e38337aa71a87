"""What draws: generators that are seeded and given back as they were, dropout and noise that are switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from workbench.cells.keras_state import generator_of_keras
from workbench.probes.traced import array
from workbench.rnn.keras_dropout import rates_off

_RANDOM_RATES = ("rate", "dropout", "recurrent_dropout", "stddev")


@contextmanager
def generators_kept() -> Iterator[None]:
    """After it NumPy's and TensorFlow's generators go on as if nothing had drawn or seeded them."""
    from tensorflow.python.eager import context

    of_numpy, of_tf = np.random.get_state(), context.context()
    seed, generator = getattr(of_tf, "_seed", None), getattr(of_tf, "_rng", None)
    state = generator.getstate() if generator is not None else None
    of_keras = generator_of_keras()
    drawn = array(of_keras.state) if of_keras is not None else None
    try:
        yield
    finally:
        if of_keras is not None:
            of_keras.state.assign(drawn)
        np.random.set_state(of_numpy)
        if hasattr(of_tf, "_seed") and hasattr(of_tf, "_rng"):
            of_tf._seed, of_tf._rng = seed, generator
            if generator is not None:
                generator.setstate(state)


def seed_all() -> None:
    """The same numbers from every generator."""
    tf.random.set_seed(0)
    np.random.seed(0)
    if (generator := generator_of_keras()) is not None:
        generator.state.assign(np.zeros(2, "uint32"))


@contextmanager
def without_chance(model: Any) -> Iterator[None]:
    """Inside, no dropout and no noise: in training a model draws other numbers for other shapes."""
    with rates_off(model._flatten_layers(), _RANDOM_RATES):
        yield
