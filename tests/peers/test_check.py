"""That an arm that computes something else is found out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.peers.check import DisagreementError, Result, error, loss, require_equal
from experiments.peers.settings import Setting
from experiments.peers.work import Batch, batch_of

SETTING = Setting("gru", 2, 3, "equal")


@pytest.fixture
def batch() -> Batch:
    return batch_of(SETTING, np.array([4, 2], "int32"), outputs=3)


@pytest.fixture
def expected(batch: Batch) -> Result:
    random = np.random.default_rng(0)
    gradients = {"inputs": random.normal(size=batch.inputs.shape), "kernel": random.normal(size=(64, 9))}
    return Result(random.normal(size=batch.d_outputs.shape), random.normal(size=(2, 3)), gradients)


def test_the_loss_is_the_sum_whose_gradients_the_arms_compute(batch, expected):
    by_hand = 0.0
    for b, length in enumerate(batch.lengths):
        for t in range(length):
            by_hand += float(expected.outputs[b, t] @ batch.d_outputs[b, t])
        by_hand += float(expected.state[b] @ batch.d_state[b])
    assert loss(expected, batch) == pytest.approx(by_hand)


def test_padding_does_not_count_and_anything_else_does(batch, expected):
    outputs, d_inputs = expected.outputs.copy(), expected.gradients["inputs"].copy()
    outputs[1, 2:], d_inputs[1, 2:] = np.nan, 7
    padded = Result(outputs, expected.state, {**expected.gradients, "inputs": d_inputs})
    assert error(padded, expected, batch)[0] == 0

    d_inputs = expected.gradients["inputs"].copy()
    d_inputs[1, 1, 0] += 1e-3
    wrong = replace(expected, gradients={**expected.gradients, "inputs": d_inputs})
    with pytest.raises(DisagreementError, match="the gradient of inputs is off by"):
        require_equal("arm", wrong, expected, batch, 1e-5)


def test_a_missing_gradient_a_nan_and_another_shape_are_refused(batch, expected):
    with pytest.raises(DisagreementError, match="arm has no gradient of kernel"):
        require_equal("arm", replace(expected, gradients={"inputs": batch.inputs}), expected, batch, 1.0)
    with pytest.raises(DisagreementError, match="the loss is off by nan"):
        require_equal("arm", replace(expected, state=np.full((2, 3), np.nan)), expected, batch, 1.0)
    with pytest.raises(
        DisagreementError, match=r"arm: the last output has shape \(2, 4\), the reference \(2, 3\)"
    ):
        require_equal("arm", replace(expected, state=np.zeros((2, 4))), expected, batch, 1.0)
