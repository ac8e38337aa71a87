"""A cell with kinks is right: along a way that crosses them its slopes change, and their mean is the quotient."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from workbench.probes.cell_checks import CHECKS, RUNNER_CHECKS, CellError, check_cell

OTHERS = {*CHECKS, *RUNNER_CHECKS} - {"derivative"}


@pytest.mark.parametrize("seed", range(3))
def test_relu_in_float32_is_no_fault(seed) -> None:
    check_cell(keras.layers.SimpleRNNCell(32, activation="relu"), seed=seed, skip=OTHERS)


@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_gradient_beside_kinks_is_one(seed) -> None:
    @tf.custom_gradient
    def wrong(z):
        return tf.nn.relu(z), lambda d: 1.3 * d * tf.cast(z > 0, d.dtype)

    with pytest.raises(CellError, match="mend the gradient"):
        check_cell(keras.layers.SimpleRNNCell(32, activation=wrong), seed=seed, skip=OTHERS)
