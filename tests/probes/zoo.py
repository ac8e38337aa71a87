"""What the zoo's models share: small data with padding, and a way to note what each model is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.probes import Findings, check
from workbench.probes.traced import quiet

LENGTHS = np.array([6, 2, 4, 1])
B, T, D, IDS, CLASSES = 4, 6, 3, 10, 3
VALID = np.arange(T) < LENGTHS[:, None]


@dataclass
class Animal:
    """A model on its data, as `check` takes them."""

    model: Any
    inputs: Any
    lengths: Any = field(default_factory=lambda: LENGTHS)
    options: dict[str, Any] = field(default_factory=dict)


def ids(lowest: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(lowest, IDS, (B, T)) * VALID


def features(junk: bool = False) -> np.ndarray:
    random = np.random.default_rng(1)
    x = random.normal(size=(B, T, D)).astype(np.float32)
    return x if junk else x * VALID[..., None].astype(np.float32)


def tags(pad: int = 0, lowest: int = 0) -> np.ndarray:
    y = np.random.default_rng(2).integers(lowest, CLASSES, (B, T))
    y[0, :3] = [lowest, 1, 2]
    y[2, :3] = [2, lowest, 1]
    return np.where(VALID, y, pad)


def classes() -> np.ndarray:
    return np.array([0, 1, 2, 1])


def weights() -> np.ndarray:
    return VALID.astype(np.float32)


def with_length(x: Any, name: str = "x") -> dict[str, Any]:
    return {name: x, "length": LENGTHS}


def mask_of(length: Any, x: Any) -> Any:
    return tf.sequence_mask(length, tf.shape(x)[1])


def dense(units: int = CLASSES, **options: Any) -> Any:
    return keras.layers.Dense(units, **options)


def embedding(**options: Any) -> Any:
    return keras.layers.Embedding(IDS, 4, **options)


def sequential(*layers: Any) -> Any:
    return keras.Sequential(list(layers))


def compiled(model: Any, loss: Any = "sparse_categorical_crossentropy", **options: Any) -> Any:
    model.compile("sgd", loss, **options)
    return model


def fed(dtype: str = "int64", shape: tuple[int | None, ...] = (None,), name: str | None = None) -> Any:
    return keras.Input(shape, dtype=dtype, name=name)


def kernel(rows: int = D, columns: int = 4, seed: int = 3) -> Any:
    return tf.Variable(np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32))


class Room(dict):
    """Models by name; a wrong one with the kinds that must be found."""

    def __call__(self, *kinds: str) -> Callable[[Callable[[], Animal]], Callable[[], Animal]]:
        def note(make: Callable[[], Animal]) -> Callable[[], Animal]:
            assert make.__name__ not in self
            self[make.__name__] = (make, set(kinds))
            return make

        return note


def found_in(animal: Animal) -> Findings:
    found = check(animal.model, animal.inputs, animal.lengths, **animal.options)
    assert isinstance(found, Findings)
    assert not [note for note in found.not_tried if "not tried to the end" in note], found.not_tried
    return found


def animal_of(room: Room, name: str) -> Animal:
    with quiet():  # Keras warns of masks that a layer destroys
        animal: Animal = room[name][0]()
    return animal


def params(room: Room, quick: set[str]) -> list[Any]:
    assert quick <= set(room)
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in room]
