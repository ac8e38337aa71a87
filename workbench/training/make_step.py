"""The training step that an optimizer, a loss and a number of replicas come to."""

from __future__ import annotations

from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.options.optimizer import Optimizer
from workbench.training.distribution import Distribution
from workbench.training.optimizers import make_optimizer
from workbench.training.replicas import ReplicatedStep
from workbench.training.step import TrainStep
from workbench.training.truncated import TruncatedStep


def make_train_step(
    model: SequenceModel,
    optimizer: Optimizer,
    loss: Loss,
    distribution: Distribution | None = None,
    *,
    truncate: int | None = None,
) -> TrainStep | ReplicatedStep:
    """A `TrainStep`; over replicas a `ReplicatedStep`; with `truncate`, on one, a `TruncatedStep`."""
    if distribution is None or distribution.replicas == 1:
        if truncate is not None:
            return TruncatedStep(model, make_optimizer(optimizer), loss, optimizer.clip_norm, truncate)
        return TrainStep(model, make_optimizer(optimizer), loss, optimizer.clip_norm)
    with distribution.scope():
        made = make_optimizer(optimizer)
    return ReplicatedStep(model, made, loss, optimizer.clip_norm, distribution)
