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


PACKAGE = types.ModuleType("package")
PACKAGE.inside = SETTINGS


def of_the_same_name(SLOPE):
    return lambda z: SLOPE * z


def importing(z):
    import conftest

    return conftest.slope * z


def not_yet_known():
    def function(z):
        return later * z

    closed_over(function)  # before there is a value
    assert closed_over(function) is None
    later = 0.5
    return function


@pytest.mark.parametrize(
    "function",
    [
        tf.tanh, tf.nn.relu, tf.sigmoid, keras.ops.tanh, keras.activations.get("gelu"), abs,
        lambda z: keras.ops.tanh(z), functools.partial(keras.activations.leaky_relu),
    ],
)  # fmt: skip
def test_nothing_but_functions_of_libraries(function):
    assert numbers(function) == []


def numbers(function):
    """What is read beside functions."""
    return [one for one in closed_over(function) if not isinstance(one, str | types.CodeType)]


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
        (of_the_same_name(0.9), (0.9,)),
        (lambda z: PACKAGE.inside.slope * z, (0.3,)),
        (lambda z, a=True, b=True, c=False: z if (a and b) or c else -z, (True, True, False)),
    ],
)
def test_numbers(function, read):
    assert sorted(numbers(function)) == sorted(read)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z * LIST[0], lambda z: z * TENSOR, Holder(), Holder().method, keras.layers.LeakyReLU(),
        lambda z: by_another(z) * TENSOR, functools.partial(tf.multiply, TENSOR), tf.function(lambda z: z * TENSOR),
        lambda z: SETTINGS.Inner.slope * z, lambda z: globals()["SLOPE"] * z, lambda z: getattr(SETTINGS, NAME) * z,
        lambda z: Holder()(z), lambda z: Holder().method(z), importing, lambda z: PACKAGE * z,
        tf.recompute_grad(lambda z: z * TENSOR), leaky(tf.Variable(1.0)), leaky(np.ones(1)),
    ],
)  # fmt: skip
def test_what_may_be_another_thing_at_the_next_call(function):
    assert closed_over(function) is None


def test_a_variable_of_a_closure_may_come_later():
    assert numbers(not_yet_known()) == [0.5]


def test_another_function_of_the_same_name_is_told_apart(monkeypatch):
    read = set()
    for one in (leaky(0.6), lambda z: 0.6 - z, tf.tanh, tf.nn.relu):
        monkeypatch.setattr(SETTINGS, "scaled", one)
        read.add(closed_over(lambda z: SETTINGS.scaled(z)))
    assert len(read) == 4
