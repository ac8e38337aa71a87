"""The loss and the metrics of a model: as it was compiled, or as they are given, by the semantics of `compile`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.masking import sequence_mask
from workbench.probes.chance import seed_all, without_chance
from workbench.probes.padded import Padded
from workbench.probes.subject import Subject
from workbench.probes.traced import Ran, array, quiet, tensors

_PREDICTED = {
    "y_pred",
    "pred",
    "preds",
    "predictions",
    "prediction",
    "logits",
    "outputs",
    "output",
    "scores",
    "y_hat",
}


class Objective:
    """The loss of a batch, as a scalar tensor, without what the model adds by itself.

    A function may be written (y_true, y_pred), or with more arguments, which are known by their names: one with
    "mask" in it gets bool [B, T], one with "len" the lengths, one with "weight" the sample weights. A function that
    names its predictions first (logits, y_pred, outputs, ...) gets them first. Values that are no scalar are
    averaged as `compile` does it, under Keras' own mask and the sample weights; of a pair (sum, denominator) the
    quotient counts.
    """

    def __init__(self, subject: Subject, loss: Any) -> None:
        self.subject, self.loss = subject, loss
        model = subject.model
        compiled = isinstance(model, keras.Model) and getattr(model, "compiled", False)
        self.own = loss is None and compiled and (_is_own(model, "compute_loss") or _has_loss(model))
        self.by_step = loss is None and isinstance(model, keras.Model) and _is_own(model, "train_step")
        self._holder: Any = None
        if loss is not None and not _is_plain(loss):
            self._holder = keras.Model()
            with quiet():
                self._holder.compile(loss=loss)

    @property
    def known(self) -> bool:
        """Is there a loss?"""
        return self.loss is not None or self.own or self.by_step

    @property
    def is_told(self) -> bool:
        """Is it a function that gets the mask or the lengths as an argument of its own?"""
        if self.loss is None or not _is_plain(self.loss):
            return False
        return any(word in name.lower() for name in extra_names(self.loss) for word in ("mask", "len"))

    def __call__(self, batch: Padded, nest: Any) -> Any:
        """The loss of what the model gave for a batch."""
        labels, weights = tensors(batch.label_nest()), _none(batch.weight_nest())
        with quiet():
            if self.by_step:
                return self._step(batch, labels, weights)
            if self.loss is None:
                model = self.subject.model
                total = model.compute_loss(
                    x=tensors(batch.nest()), y=labels, y_pred=nest, sample_weight=weights
                )
                if not _is_own(model, "compute_loss"):
                    for extra in model.losses:
                        total = total - tf.cast(extra, total.dtype)
                return total
            predicted = matched(batch, nest)
            if self._holder is not None:
                return self._holder.compute_loss(x=None, y=labels, y_pred=predicted, sample_weight=weights)
            return reduced(self._plain(labels, predicted, batch, weights), predicted, batch, weights)

    def _plain(self, labels: Any, predicted: Any, batch: Padded, weights: Any) -> Any:
        """What the function gives; as `compile` has it labels [B] go with predictions [B, 1], in their type."""
        each = isinstance(labels, tf.Tensor) and isinstance(predicted, tf.Tensor)
        if each and labels.shape.rank == 1 and predicted.shape.rank == 2 and predicted.shape[-1] == 1:
            labels = labels[..., tf.newaxis]
        try:
            return call_by_names(self.loss, labels, predicted, batch, weights)
        except (TypeError, tf.errors.InvalidArgumentError):
            if not each or labels.dtype == predicted.dtype:
                raise
            return call_by_names(self.loss, tf.cast(labels, predicted.dtype), predicted, batch, weights)

    def _step(self, batch: Padded, labels: Any, weights: Any) -> Any:
        """The loss that a training step of the person's own says it has; the weights stay as they are."""
        model = self.subject.model
        compiled = getattr(model, "optimizer", None)
        optimizers = list(
            {id(one): one for one in (*_optimizers(model), compiled) if one is not None}.values()
        )
        if (
            compiled is not None and not compiled.built
        ):  # lest what it makes in the step stays as the step left it
            compiled.build(model.trainable_variables)
        variables = [*model.variables, *(v for one in optimizers for v in one.variables)]
        kept = [(v, array(v)) for v in variables]
        data = (tensors(batch.nest()), labels)
        model.reset_metrics()
        seed_all()
        try:
            with without_chance(model):
                logs = model.train_step(data if weights is None else (*data, weights))
        finally:
            for variable, value in kept:
                variable.assign(value)
            model.reset_metrics()
        value = (
            logs["loss"] if isinstance(logs, dict) and "loss" in logs else next(iter(tf.nest.flatten(logs)))
        )
        return tf.convert_to_tensor(value)


def _optimizers(model: Any) -> Iterator[Any]:
    """Those that a model, or one inside it, holds: as attributes, or in lists and mappings of such."""
    for owner in model._flatten_layers():
        held = [*vars(owner).values()]
        held += [one for value in held if isinstance(value, dict) for one in value.values()]
        held += [one for value in held if isinstance(value, list | tuple) for one in value]
        yield from (one for one in held if isinstance(one, keras.optimizers.Optimizer))


def call_by_names(
    function: Callable[..., Any], labels: Any, predicted: Any, batch: Padded, weights: Any
) -> Any:
    """A loss or metric by what its arguments are called."""
    names = extra_names(function)
    extra = {}
    ends = [name for name in names if "len" in name.lower()]
    for name in ends if len(ends) > 1 else ():
        if any(word in name.lower() for word in ("label", "target", "tgt", "true")):
            raise ValueError(
                f"{name} is asked for beside other lengths, and is not known: hand it in by a closure"
            )
    for name in names:
        if "mask" in name.lower():
            extra[name] = sequence_mask(tf.constant(batch.lengths, tf.int32), batch.steps)
        elif "weight" in name.lower():
            extra[name] = weights
        else:
            extra[name] = tf.constant(batch.lengths, tf.int32)
    first = _parameters(function)
    pair = (predicted, labels) if first and first[0].name in _PREDICTED else (labels, predicted)
    return function(*pair, **extra)


def extra_names(function: Callable[..., Any]) -> list[str]:
    """What a loss or metric takes beside labels and predictions."""
    found = []
    for p in _parameters(function)[2:]:
        lower = p.name.lower()
        has_own = p.default is not p.empty and p.default is not None
        if has_own or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue  # what has a value of its own keeps it
        if p.default is p.empty or any(word in lower for word in ("mask", "len", "weight")):
            found.append(p.name)
    return found


def reduced(values: Any, predicted: Any, batch: Padded, weights: Any) -> Any:
    """A scalar of what a loss function returns."""
    if isinstance(values, dict):
        values = values.get("loss", next(iter(values.values())))
    if isinstance(values, tuple | list):
        if len(values) >= 2 and all(tf.rank(v) == 0 for v in values[:2]):
            return tf.math.divide_no_nan(tf.cast(values[0], tf.float64), tf.cast(values[1], tf.float64))
        values = values[0]
    values = tf.convert_to_tensor(values)
    if values.shape.rank == 0:
        return values

    class Given(keras.losses.Loss):
        """Values that are there already."""

        def call(self, y_true: Any, y_pred: Any) -> Any:
            return values

    like = predicted if isinstance(predicted, tf.Tensor) else tf.nest.flatten(predicted)[0]
    flat = None if weights is None else tf.nest.flatten(weights)[0]
    return Given(dtype=values.dtype.name)(tf.zeros_like(like), like, sample_weight=flat)


def matched(batch: Padded, nest: Any) -> Any:
    """Of several outputs the one that the only labels are for; else all of them."""
    flat = tf.nest.flatten(nest)
    if len(batch.labels) != 1 or len(flat) == 1:
        return flat[0] if len(flat) == 1 and not isinstance(nest, dict) and len(batch.labels) == 1 else nest
    by_step = batch.label_parts[0].role == "sequence"
    for x in flat:
        if (x.shape.rank >= 2 and x.shape[1] == batch.steps) == by_step:
            return x
    return nest


class Metrics:
    """Metrics over batches: {name: value}."""

    def __init__(self, subject: Subject, metrics: Any, batch: Padded) -> None:
        self.subject = subject
        model = subject.model
        self.own = (
            metrics is None
            and isinstance(model, keras.Model)
            and getattr(model, "compiled", False)
            and _has_metrics(model)
        )
        self.given = metrics
        self.plain: list[tuple[str, Callable[..., Any]]] = []
        self.objects: list[Any] = []
        self._holder: Any = None
        left: Any = None
        if metrics is not None:
            listed = metrics if isinstance(metrics, list | tuple | dict) else [metrics]
            if isinstance(listed, dict):
                left = listed
            else:
                rest = []
                for metric in listed:
                    if isinstance(metric, keras.metrics.Metric) and extra_names(metric.update_state) not in (
                        [],
                        ["sample_weight"],
                    ):
                        self.objects.append(metric)
                    elif _is_plain(metric) and (extra_names(metric) or _predicts_first(metric)):
                        self.plain.append((getattr(metric, "__name__", "metric"), metric))
                    else:
                        rest.append(metric)
                left = rest
        if left:
            self._holder = keras.Model()
            option = "weighted_metrics" if batch.weights else "metrics"
            with quiet():
                self._holder.compile(loss=None, **{option: left})

    @property
    def known(self) -> bool:
        """Are there metrics?"""
        return self.own or bool(self.given)

    @property
    def sums(self) -> bool:
        """May the values of two batches be held against those of one?"""
        return self.own or self._holder is not None or bool(self.objects)

    def over(self, batches: Sequence[tuple[Padded, Ran]]) -> dict[str, float]:
        """The results after all these batches."""
        found: dict[str, float] = {}
        with quiet():
            for name, function in self.plain:
                if len(batches) == 1:
                    found[name] = float(np.mean(array(_called(function, *batches[0]))))
            for metric in self.objects:
                metric.reset_state()
                for b, r in batches:
                    _called(metric.update_state, b, r)
                _gather(found, metric.name, metric.result())
                metric.reset_state()
            model = self.subject.model if self.own else self._holder
            if model is not None:
                model.reset_metrics()
                results: dict[str, Any] = {}
                for b, r in batches:
                    predicted = r.nest if self.own else matched(b, r.nest)
                    results = model.compute_metrics(
                        tensors(b.nest()), tensors(b.label_nest()), predicted, _none(b.weight_nest())
                    )
                for name, value in results.items():
                    if name != "loss":
                        _gather(found, name, value)
                model.reset_metrics()
        return found


def _called(function: Callable[..., Any], batch: Padded, ran: Ran) -> Any:
    weights = _none(batch.weight_nest())
    return call_by_names(function, tensors(batch.label_nest()), matched(batch, ran.nest), batch, weights)


def _gather(found: dict[str, float], name: str, value: Any) -> None:
    values = array(value).reshape(-1)
    for i, one in enumerate(values):
        found[name if len(values) == 1 else f"{name}[{i}]"] = float(one)


def _none(nest: Any) -> Any:
    return None if nest is None else tensors(nest)


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _predicts_first(function: Any) -> bool:
    parameters = _parameters(function)
    return bool(parameters) and parameters[0].name in _PREDICTED


def _is_plain(loss: Any) -> bool:
    return callable(loss) and not isinstance(loss, keras.losses.Loss | keras.metrics.Metric | type)


def _is_own(model: Any, method: str) -> bool:
    """Has the model's class a method of its own in place of Keras'?"""
    return getattr(type(model), method) is not getattr(keras.Model, method)


def _has_loss(model: Any) -> bool:
    return getattr(model, "_compile_loss", None) is not None


def _has_metrics(model: Any) -> bool:
    return getattr(model, "_compile_metrics", None) is not None or _is_own(model, "compute_metrics")
