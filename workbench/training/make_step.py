"""The training step that a loss, a mask and a number of replicas come to."""

from __future__ import annotations

import keras

from workbench.losses import LOSSES, MASKS
from workbench.model import SequenceModel
from workbench.training.distribution import Distribution
from workbench.training.objective import check_name
from workbench.training.replicas import ReplicatedStep
from workbench.training.step import TrainStep


def make_train_step(
    model: SequenceModel,
    optimizer: keras.optimizers.Optimizer,
    loss: str = "token",
    mask: str = "length",
    clip_norm: float | None = None,
    distribution: Distribution | None = None,
) -> TrainStep | ReplicatedStep:
    """A `TrainStep` by the names of a loss in LOSSES and a mask in MASKS; over replicas a `ReplicatedStep`."""
    check_name("loss", loss, LOSSES)
    check_name("mask", mask, MASKS)
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is {clip_norm}: must be above 0, or None for no clipping")
    if distribution is None or distribution.replicas == 1:
        return TrainStep(model, optimizer, loss, mask, clip_norm)
    return ReplicatedStep(model, optimizer, loss, mask, clip_norm, distribution)
