"""Is a trained model's answer for an example the same in a padded batch as alone?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.cells.base import initial_states
from workbench.model import SequenceModel
from workbench.options.loss import Loss
from workbench.seeds import seed_for
from workbench.training import batch_loss, dense_gradients

Batch = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]

REFERENCE_RNN = "dynamic"
"""The runner of the reference: it takes any length with one graph, and has nothing to do with padding there."""

RELATIVE_FLOOR = 1e-3
"""Relative error is |a - b| / max(|b|, floor): below it, rounding of a number near 0 would look like an error."""


def correctness(
    model: SequenceModel, batches: Iterable[Batch], loss: Loss, *, seed: int = 0
) -> dict[str, float]:
    """Hold a model on padded batches against each example run alone and unpadded.

    Returns the errors and changes that METRICS has under `correctness/`, the largest over all batches:

    - the error of valid outputs and of final states, with lengths passed and without, whichever way the model
      runs itself. The reference is the same weights on the example alone, cut to its length, no lengths passed.
      Examples of one length run together in it, which is still without padding. It is run by the dynamic
      runner, also for a model that unrolls (which would need a graph for each length).
    - the largest output past an example's end (0 where nothing was padded);
    - the change of loss and gradient, relative, when padding is longer by half (rounded up, filled with 0), and
      when the padded inputs are random (ids over the whole vocabulary, or standard normal features). Labels
      keep their padding of 0. Here the model passes lengths, or does not, as it is set, and `loss` is that
      of its training, each token counting once (weights of a data set are left out). The gradient's change is the
      norm of the difference over the norm.

    An example of length 0 has no outputs to compare; its final state must be the initial one. Relative means
    |a - b| / max(|b|, 1e-3). Dropout is off. Source: the guide, passing sequence_length.
    """
    probe = _Probe(model, loss)
    random = np.random.default_rng(seed_for(seed, "padding"))
    found = _Largest()
    for number, batch in enumerate(batches):
        arrays = _arrays(batch, number)
        alone = _alone(probe, arrays)
        for given, passed in (("with", True), ("without", False)):
            _compare(found, given, *probe.outputs(arrays, passed), arrays["length"], *alone)
        base = probe.gradient(arrays)
        for change, other in (("longer", _longer(arrays)), ("random", _random(arrays, model, random))):
            loss_change, gradient_change = _change(probe.gradient(other), base)
            found.note(f"correctness/loss_change_padding_{change}", loss_change)
            found.note(f"correctness/gradient_change_padding_{change}", gradient_change)
    if not found.largest:
        raise ValueError("correctness() got no batches: nothing was compared")
    return found.largest


def with_padding(batches: Iterable[Batch], count: int) -> tuple[list[Batch], bool]:
    """The first `count` batches, or where none of them has a padded step the first that have; and whether any has.

    Buckets and short validation splits may begin with batches that have none, which say nothing of padding.
    """

    def is_padded(batch: Batch) -> bool:
        return int(np.min(batch["length"], initial=batch["inputs"].shape[1])) < batch["inputs"].shape[1]

    rest = iter(batches)
    first = list(islice(rest, count))
    padded = first if any(map(is_padded, first)) else list(islice(filter(is_padded, rest), count))
    return padded or first, bool(padded)


def is_of_padding(metric: str) -> bool:
    """Whether a metric of batches without any padded step would be 0 whatever the model does with padding."""
    return metric.endswith(("_without_lengths", "_padding_random", "_past_end")) or "_past_end_" in metric


@dataclass
class _Largest:
    largest: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep the larger; NaN stays, since an error that is no number must not hide behind one that is."""
        held = self.largest.get(name, 0.0)
        self.largest[name] = value if math.isnan(value) or value > held else held


class _Probe:
    """A model's outputs, loss and gradient.

    A model that unrolls runs eagerly here: its graphs cost more to build than they save.
    """

    def __init__(self, model: SequenceModel, loss: Loss):
        def outputs(passed: bool, rnn: str | None = None) -> Callable[[Batch], Any]:
            def run(batch: Batch) -> Any:
                ran = model.run(batch, pass_lengths=passed, rnn=rnn)
                return ran.outputs, tuple(ran.state)

            return run

        def gradient(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                parts = batch_loss(model, batch, model(batch), loss)
                value = parts.sum / parts.denominator
            flat = [
                tf.reshape(slope, [-1]) for slope in dense_gradients(tape, value, model.trainable_variables)
            ]
            return value, tf.concat(flat, axis=0)

        def graph(function: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
            return tf.function(function, input_signature=[model.batch_signature()], autograph=False)

        self.model = model
        as_run: Callable[..., Any] = (lambda function: function) if model.needs_static_length else graph
        self._outputs = {passed: as_run(outputs(passed)) for passed in (True, False)}
        self._gradient = as_run(gradient)
        self._reference = graph(outputs(passed=False, rnn=REFERENCE_RNN))

    def outputs(self, batch: Arrays, passed: bool) -> tuple[np.ndarray, list[np.ndarray]]:
        """RNN outputs and flat final states of a padded batch."""
        return _numpy(self._outputs[passed](_tensors(batch)))

    def reference(self, batch: Arrays) -> tuple[np.ndarray, list[np.ndarray]]:
        """The same of a batch without padding, by the reference runner."""
        return _numpy(self._reference(_tensors(batch)))

    def gradient(self, batch: Arrays) -> tuple[float, np.ndarray]:
        """Loss, and the gradient of all weights as one vector."""
        value, slope = self._gradient(_tensors(batch))
        return float(value), slope.numpy().astype(np.float64)

    def initial_state(self) -> list[np.ndarray]:
        """The state in which an RNN starts: what an empty sequence must end in."""
        cells = self.model.cells_of_layers()
        states = [keras.tree.flatten(initial_states(cell, 1)) for cell in cells]
        return [state.numpy()[0] for layer in states for state in layer]


def _tensors(batch: Arrays) -> dict[str, tf.Tensor]:
    return {name: tf.constant(array) for name, array in batch.items()}


def _numpy(ran: tuple[tf.Tensor, tuple[tf.Tensor, ...]]) -> tuple[np.ndarray, list[np.ndarray]]:
    outputs, states = ran
    return outputs.numpy(), [state.numpy() for state in states]


def _arrays(batch: Batch, number: int) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(batch[name]) for name in ("inputs", "labels", "length")}
    longest = arrays["inputs"].shape[1]
    if (arrays["length"] > longest).any() or (arrays["length"] < 0).any():
        raise ValueError(
            f"batch {number}: length must lie between 0 and the padded length {longest}, got "
            f"{arrays['length'].min()} to {arrays['length'].max()}"
        )
    return arrays


def _alone(probe: _Probe, batch: Arrays) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs [B, T, O] (0 past the end) and final states of each example run without padding."""
    lengths = batch["length"]
    initial = probe.initial_state()
    states = [np.repeat(state[np.newaxis], len(lengths), axis=0) for state in initial]
    outputs = np.zeros((*batch["inputs"].shape[:2], probe.model.output_size), initial[0].dtype)
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        labels = batch["labels"][rows]
        cut = {
            "inputs": batch["inputs"][rows, :length],
            "labels": labels[:, :length] if labels.ndim > 1 else labels,
            "length": lengths[rows],
        }
        outputs[rows, :length], ran = probe.reference(cut)
        for whole, part in zip(states, ran, strict=True):
            whole[rows] = part
    return outputs, states


def _compare(
    found: _Largest,
    given: str,
    outputs: np.ndarray,
    states: list[np.ndarray],
    lengths: np.ndarray,
    outputs_alone: np.ndarray,
    states_alone: list[np.ndarray],
) -> None:
    valid = np.arange(outputs.shape[1]) < lengths[:, np.newaxis]
    pairs = {
        "output": [(outputs[valid], outputs_alone[valid])],
        "state": list(zip(states, states_alone, strict=True)),
    }
    for what, values in pairs.items():
        for got, right in values:
            absolute, relative = _errors(got, right)
            found.note(f"correctness/max_abs_error_{what}_{given}_lengths", absolute)
            found.note(f"correctness/max_rel_error_{what}_{given}_lengths", relative)
    past = float(np.max(np.abs(outputs[~valid]), initial=0.0))
    found.note(f"correctness/max_abs_output_past_end_{given}_lengths", past)


def _errors(got: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    difference = np.abs(got.astype(np.float64) - right)
    relative = difference / np.maximum(np.abs(right), RELATIVE_FLOOR)
    return float(np.max(difference, initial=0.0)), float(np.max(relative, initial=0.0))


def _change(changed: tuple[float, np.ndarray], base: tuple[float, np.ndarray]) -> tuple[float, float]:
    loss = abs(changed[0] - base[0]) / max(abs(base[0]), RELATIVE_FLOOR)
    moved = float(np.linalg.norm(changed[1] - base[1]))
    return loss, moved / max(float(np.linalg.norm(base[1])), RELATIVE_FLOOR)


def _longer(batch: Arrays) -> Arrays:
    """The same examples with half as much again of steps, at least one, all of it padding."""
    more = math.ceil(batch["inputs"].shape[1] / 2) or 1
    longer = dict(batch)
    for name in ("inputs", "labels") if batch["labels"].ndim > 1 else ("inputs",):
        widths = [(0, more) if axis == 1 else (0, 0) for axis in range(batch[name].ndim)]
        longer[name] = np.pad(batch[name], widths)
    return longer


def _random(batch: Arrays, model: SequenceModel, random: np.random.Generator) -> Arrays:
    """The same examples with random inputs in place of the padding."""
    inputs = batch["inputs"]
    if model.vocabulary_size is not None:
        noise = random.integers(0, model.vocabulary_size, inputs.shape).astype(inputs.dtype)
    else:
        noise = random.standard_normal(inputs.shape).astype(inputs.dtype)
    valid = np.arange(inputs.shape[1]) < batch["length"][:, np.newaxis]
    valid = valid.reshape(*valid.shape, *[1] * (inputs.ndim - 2))
    return {**batch, "inputs": np.where(valid, inputs, noise)}
