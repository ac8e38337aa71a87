"""The validation split while training: its curve, the best weights so far, and when to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from workbench.options.training import Training

Log = Callable[[int, dict[str, float]], None]
Validate = Callable[[], Mapping[str, float]]
"""Evaluates the validation split as the model is now: loss/, accuracy/ and f1/validation_epoch."""


class Watch:
    """Evaluates as often as `training` says, and always after the last step; where one epoch is all, not at all.

        found = validate(); log(step, found)
        better than the best: best_epoch = epoch, best weights = a copy
        patience evaluations without a better one: ended_early says so

    Evaluating draws nothing and changes no weight, so that training goes on as it would have without.
    """

    def __init__(
        self,
        model: keras.Model,
        training: Training,
        validate: Validate | None,
        log: Log | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if validate is None and (asked := needs_validation(training)):
            raise ValueError(f"{asked}: there is no validation split to go by")
        self._model, self._training, self._log, self._clock = model, training, log, clock
        self._validate = validate if training.validate_every and training.epochs > 1 else None
        self._best, self._since = math.inf, 0
        self.best_weights = list[np.ndarray]()
        """Of the best epoch, where they are to be kept; empty as long as none was looked at."""
        self.found: dict[str, float] = {}
        """What the last evaluation gave."""
        self.best_epoch: int | None = None
        """The epoch (from 1) that was best, by the latest evaluation."""
        self.ended_early = ""
        """Why training is to end before its epochs are over; empty where it is not."""

    def after(self, epoch: int, step: int) -> float:
        """Look, if it is time to, after an epoch (from 0); the seconds that it took."""
        training, count = self._training, epoch + 1
        is_last = count == training.epochs or step == training.max_steps
        if self._validate is None or not (is_last or count % (training.validate_every or 1) == 0):
            return 0.0
        start = self._clock()
        found = self.found = dict(self._validate())
        if self._log is not None and found:
            self._log(step, found)
        value = found.get(f"{training.best_by}/validation_epoch", math.nan)
        self._take(count, value if training.best_by == "loss" else -value)
        if training.patience and self._since >= training.patience and not is_last:
            self.ended_early = (
                f"ended early, after epoch {count} of {training.epochs}: no better validation {training.best_by} "
                f"in training.patience={training.patience} evaluations"
                + (f" since epoch {self.best_epoch}" if self.best_epoch else ", and none at all")
            )
        return self._clock() - start

    def _take(self, epoch: int, cost: float) -> None:
        if not cost < self._best:  # NaN is never better
            self._since += 1
            return
        self._best, self._since, self.best_epoch = cost, 0, epoch
        if self._training.keep == "best":
            self.best_weights = [variable.numpy().copy() for variable in self._model.weights]

    def restore(self) -> None:
        """Put the best weights back, where they are to be kept and there was an evaluation to go by."""
        if self.best_weights:
            for variable, values in zip(self._model.weights, self.best_weights, strict=True):
                variable.assign(values)


def needs_validation(training: Any) -> str:
    """Which option of training cannot be without a validation split, as NAME=VALUE; empty where none is set."""
    if training.keep == "best":
        return "training.keep=best"
    return f"training.patience={training.patience}" if training.patience else ""
