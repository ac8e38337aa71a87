"""Training and evaluation: one graph for a step, the loss of every step, sums that do not depend on batching."""

from workbench.training.distribution import Distribution, LostReplicaError, mirrored, multi_worker, one
from workbench.training.evaluation import Evaluation, Evaluator
from workbench.training.loop import TrainResult, first_not_finite, set_determinism, train, weights_digest
from workbench.training.make_step import make_train_step
from workbench.training.objective import batch_loss, dense_gradients
from workbench.training.optimizers import OPTIMIZERS, make_optimizer
from workbench.training.scores import F1, ClassCounts
from workbench.training.step import TrainStep
from workbench.training.validation import needs_validation

__all__ = [
    "F1",
    "OPTIMIZERS",
    "ClassCounts",
    "Distribution",
    "Evaluation",
    "Evaluator",
    "LostReplicaError",
    "TrainResult",
    "TrainStep",
    "batch_loss",
    "dense_gradients",
    "first_not_finite",
    "make_optimizer",
    "make_train_step",
    "mirrored",
    "multi_worker",
    "needs_validation",
    "one",
    "set_determinism",
    "train",
    "weights_digest",
]
