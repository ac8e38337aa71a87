"""TF 1.15's losses and the guide's masks and means."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from workbench.losses import LOSSES, MASKS, cross_entropy

FOLDER = Path(os.environ.get("WORKBENCH_GOLDEN_DIR", Path(__file__).parent / "data"))
pytestmark = pytest.mark.skipif(not (FOLDER / "losses.npz").exists(), reason=f"{FOLDER} has no losses.npz")
NEAR = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=["with_class0", "without_class0"])
def case(request):
    with np.load(FOLDER / "losses.npz") as data:
        found = {k.removeprefix(request.param + "/"): v for k, v in data.items()}
        found["targets"] = data[f"targets_{request.param}"]
    return found


def mean(kind, case, mask):
    parts = LOSSES[kind](case["logits"], case["targets"], mask)
    return parts.sum / parts.denominator


def test_cross_entropy_and_masks(case):
    losses = cross_entropy(case["logits"], case["targets"])
    np.testing.assert_allclose(losses, case["cross_entropy"], **NEAR)
    for name in ("length", "sign"):
        mask = MASKS[name](case["targets"], case["lengths"])
        np.testing.assert_allclose(losses * mask, case[f"{name}_masked"], **NEAR)
    np.testing.assert_allclose(losses * case["weights"], case["sequence_loss_none"], **NEAR)


def test_per_token_is_sequence_loss(case):
    np.testing.assert_allclose(mean("token", case, case["weights"]), case["sequence_loss_all"], **NEAR)


def test_per_token_without_mask_is_the_naive_mean(case):
    mask = MASKS["none"](case["targets"], case["lengths"])
    np.testing.assert_allclose(mean("token", case, mask), case["naive_mean"], **NEAR)


@pytest.mark.parametrize("axis", ["batch", "time"])
def test_average_over_the_other_axis(case, axis):
    """Per token over one example (or one step) alone is sequence_loss with that average left out."""
    kind = {"batch": "sequence_loss_no_batch_avg", "time": "sequence_loss_no_time_avg"}[axis]
    cut = (lambda x, i: x[i : i + 1]) if axis == "batch" else (lambda x, i: x[:, i : i + 1])
    for i, theirs in enumerate(case[kind]):
        alone = {"logits": cut(case["logits"], i), "targets": cut(case["targets"], i)}
        np.testing.assert_allclose(mean("token", alone, cut(case["weights"], i)), theirs, **NEAR)


@pytest.mark.parametrize("name", ["length", "sign"])
def test_per_example_is_the_guides_mean(case, name):
    mask = MASKS[name](case["targets"], case["lengths"])
    means = case[f"guide_mean_by_example_{name}"]
    counted = tf.reduce_any(mask > 0, 1).numpy()
    if name == "sign":  # the guide divides by the true length, whatever the sign mask lets through
        weight = mask.numpy().sum(1) / case["lengths"]
        means = np.divide(means, weight, out=np.zeros_like(means), where=weight > 0)
    np.testing.assert_allclose(mean("example", case, mask), means[counted].mean(), **NEAR)
