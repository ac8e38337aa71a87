from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest


@pytest.fixture
def in_float64() -> Iterator[None]:
    """What is made without a dtype is of float64: rounding hides nothing, and differs on no other machine."""
    usual = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # floatx alone changes none that was asked for before
    yield
    keras.config.set_floatx(usual[0])
    keras.config.set_dtype_policy(usual[1])
