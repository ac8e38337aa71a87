"""conf/optimizer: Keras optimizers by name."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Optimizer(Options):
    """A Keras optimizer with its own defaults but for the learning rate."""

    name: str = option(help="a Keras optimizer")
    learning_rate: float = option(1e-3, "", above=0)
    clip_norm: float | None = option(5.0, "bound of the gradients' global norm; null: none", above=0)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Stochastic gradient descent with momentum."""

    name: str = "momentum"
    momentum: float = option(0.9, "", low=0, high=1)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    name: str = "adamw"
    weight_decay: float = option(0.004, "", low=0)


SCHEMAS: dict[str, type[Optimizer]] = {
    "adam": Optimizer,
    "adamw": AdamW,
    "sgd": Optimizer,
    "momentum": Momentum,
    "rmsprop": Optimizer,
    "adagrad": Optimizer,
}
