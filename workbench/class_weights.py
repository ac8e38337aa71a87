"""How much each class counts in the loss, once the classes of a data set are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from workbench.config import ConfigError, Problem
from workbench.options.loss import Loss
from workbench.options.schema import not_among


def resolved(loss: Loss, labels: Sequence[str], label_counts: Sequence[int]) -> Loss:
    """The loss with its class weights as a list, one a class: of the names in a mapping, or balanced by counts.

    Balanced is N / (C * n), N labels in all, C classes that occur, n labels of this one; as in scikit-learn.

    >>> resolved(Loss("length", class_weights="balanced"), ["a", "b"], [30, 10]).class_weights
    [0.6666666666666666, 2.0]
    >>> resolved(Loss("length", class_weights={"b": 3}), ["a", "b"], []).class_weights
    [1.0, 3.0]

    Raises:
        ConfigError: a label that is none of these, a list of another size, or counts that are not known.
    """
    given = loss.class_weights
    if given is None:
        return loss
    if isinstance(given, str):
        if not sum(label_counts):
            raise _wrong(
                given, "this data set's manifest does not count its labels; give the weights as a mapping"
            )
        occur = sum(count > 0 for count in label_counts)
        weights = [sum(label_counts) / (occur * count) if count else 1.0 for count in label_counts]
    elif isinstance(given, Mapping):
        numbers = {name: number for number, name in enumerate(labels)}
        for name in given:
            if str(name) not in numbers:
                raise _wrong(given, f"{name} is no label of this data set; {not_among(name, labels)}")
        weights = [1.0] * len(labels)
        for name, weight in given.items():
            weights[numbers[str(name)]] = float(weight)
    elif len(given) != len(labels):
        named = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
        raise _wrong(given, f"{len(given)} numbers for {len(labels)} classes ({named}): give one for each")
    else:
        weights = list(given)
    if not any(weights):
        raise _wrong(given, "all are 0: no label would count")
    return replace(loss, class_weights=weights)


def _wrong(given: Any, remedy: str) -> ConfigError:
    return ConfigError([Problem("loss.class_weights", given, remedy)])
