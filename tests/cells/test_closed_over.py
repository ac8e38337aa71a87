"""What an activation of one's own reads from outside, found without calling it."""

from __future__ import annotations

import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells.closed_over import closed_over

SLOPE, LIST, TENSOR, NAME = 0.1, [1.0], tf.ones([]), "slope"


def leaky(slope):
    return lambda z: tf.maximum(z, slope * z)


def by_another(z):
    return leaky_of_all(z) + 1


def leaky_of_all(z, at_least=0.5):
    return tf.maximum(at_least, SLOPE * z)


class Holder:
    def __init__(self):
        self.scale = 1.0

    def method(self, z):
        return z * self.scale

    def __call__(self, z):
        return z * self.scale


SETTINGS = types.ModuleType("settings")
SETTINGS.slope, SETTINGS.Inner, SETTINGS.scaled = 0.3, type("Inner", (), {"slope": 0.4}), leaky(0.6)


def with_an_attribute(z):
    return with_an_attribute.slope * z


with_an_attribute.slope = 0.8


def nested(z):
    def inner(v):
        return SLOPE * v

    return sum(inner(z) for _ in range(2))


@pytest.mark.parametrize(
    "function",
    [
        tf.tanh, tf.nn.relu, tf.sigmoid, keras.ops.tanh, keras.activations.get("gelu"), abs,
        lambda z: keras.ops.tanh(z), functools.partial(keras.activations.leaky_relu),
    ],
)  # fmt: skip
def test_nothing_but_functions_of_libraries(function):
    assert closed_over(function) == ()


@pytest.mark.parametrize(
    ("function", "read"),
    [
        (leaky(0.2), (0.2,)),
        (leaky_of_all, (SLOPE, 0.5)),
        (by_another, (SLOPE, 0.5)),
        (functools.partial(leaky_of_all, at_least=0.7), (SLOPE, 0.5, 0.7)),
        (lambda z: SETTINGS.slope * z, (0.3,)),
        (lambda z: SETTINGS.scaled(z), (0.6,)),
        (with_an_attribute, (0.8,)),
        (nested, (SLOPE,)),
    ],
)
def test_numbers(function, read):
    assert sorted(closed_over(function)) == sorted(read)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z * LIST[0], lambda z: z * TENSOR, Holder(), Holder().method, keras.layers.LeakyReLU(),
        lambda z: by_another(z) * TENSOR, functools.partial(tf.multiply, TENSOR), tf.function(lambda z: z * TENSOR),
        lambda z: SETTINGS.Inner.slope * z, lambda z: globals()["SLOPE"] * z, lambda z: getattr(SETTINGS, NAME) * z,
        lambda z: Holder()(z),
        tf.recompute_grad(lambda z: z * TENSOR), leaky(tf.Variable(1.0)), leaky(np.ones(1)),
    ],
)  # fmt: skip
def test_what_may_be_another_thing_at_the_next_call(function):
    assert closed_over(function) is None
