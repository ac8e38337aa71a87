"""`check`: what is wrong with a model of variable-length sequences, found by changing what must not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.probes import change_probes as changes
from workbench.probes.case import Case, make_case
from workbench.probes.causes import Locator, is_rnn
from workbench.probes.empty_probe import empty_example
from workbench.probes.findings import Finding, Findings
from workbench.probes.given import padded_batch
from workbench.probes.gradient_probe import gradient
from workbench.probes.guess_probe import guess, last_step
from workbench.probes.loss_probe import additional, loss
from workbench.probes.metric_probe import metric
from workbench.probes.objective import Metrics, Objective
from workbench.probes.padded import Padded
from workbench.probes.raised import said
from workbench.probes.subject import Subject
from workbench.probes.traced import Ran, array

_EMPTY = (
    "An example of length 0 makes the model fail: a step at length - 1, or a shape of 0.",
    "Take the step at tf.maximum(length - 1, 0), and give an empty example zeros by tf.where.",
)


def check(
    model: Any,
    inputs: Any,
    lengths: Any,
    *,
    labels: Any = None,
    loss: Any = None,
    metrics: Any = None,
    sample_weight: Any = None,
    pad_value: Any = 0,
    label_pad: Any = None,
    training: bool = False,
    seed: int = 0,
) -> list[Finding]:
    """Says what is wrong with how a model treats padding; an empty list where nothing was found.

    No reference is needed: what must not matter is changed, and the results are compared. Padding is made longer;
    its content is changed, where the model is told the lengths; each example is run alone, cut to its length; the
    examples change places; the same call is made twice; real steps are made to look like padding. Compared are
    outputs at valid steps, states, the loss and its slopes, metrics over batches of unlike size, gradients.

        findings = check(model, {"ids": ids, "length": lengths}, lengths, labels=labels, loss=my_loss)

    `model` is a Keras model or layer, compiled or not, a callable `model(inputs, training=False)` (an argument that
    is named as lengths or a mask are is given them), or the path of a .keras file. `inputs` is an array or a dict
    or list of arrays: ids or features [B, T, ...] with padding behind, the lengths [B] or a mask by step (known by
    their values), or what has no steps. `lengths` are [B], or the key of the input that holds them. `labels` and
    `sample_weight` are nested as Keras has them; what is [B, T, ...] is padded too, by `label_pad` or else by what
    the data have there. `loss` and `metrics` are Keras' names or objects, or functions (`Objective` says how
    they may be written); without them those of a compiled model are taken. `pad_value` fills longer padding (or a
    dict of such by input); data that are padded with one other value keep it. A model that is told no lengths gets
    `pad_value` at every padded step.

    Differences count that are far above rounding: 16 times what moving every weight and input by one rounding of
    the coarsest type in use does, or 16 roundings of the largest number of that output.
    An example of length 0 that the data do not have is tried too; a result that is not finite is then only noted,
    a gradient that is not finite although the results are is a finding.

    The result is a `Findings`: a list with `not_tried`, which says what could not be (a fixed T, a fixed batch).
    The model's variables are as before when it returns. While it runs those that are trained and all 0
    (biases) hold small numbers, as they will in training: 0 hides faults.

    Raises:
        ValueError: arrays that do not fit together, a file that cannot be loaded, a model that fails on the data.
    """
    _known("loss", loss, keras.losses.get)
    _known("metrics", metrics, keras.metrics.get)
    subject = Subject(model, training=training)
    measured = [one for one in tf.nest.flatten(metrics) if isinstance(one, keras.metrics.Metric)]
    counts = [v for one in (subject.model, *measured) for v in _counts_of(one)]
    running = [(v, array(v)) for v in counts]  # an epoch may be going on
    try:
        batch = padded_batch(
            inputs, lengths, labels=labels, sample_weight=sample_weight, pad_value=pad_value, label_pad=label_pad,
            declared=_declared(subject.model, inputs), told=subject.is_told,
        )  # fmt: skip
        found = Findings()
        for name in batch.apart:
            found.note(
                f"The steps of input {name} were left as they are: its examples end elsewhere than lengths says. "
                "Give the lengths of that input, in a call of its own, to try them."
            )
        return _checked(subject, batch, loss, metrics, found, np.random.default_rng(seed))
    finally:
        subject.close()
        for variable, value in running:
            variable.assign(value)


def _counts_of(thing: Any) -> list[Any]:
    """What a metric, or a model's metrics, have counted so far."""
    if isinstance(thing, keras.Model):
        return list(thing.metrics_variables)
    return list(thing.variables) if isinstance(thing, keras.metrics.Metric) else []


def _known(option: str, given: Any, get: Callable[[str], Any]) -> None:
    """Raise ValueError for a name that Keras does not know."""
    for one in tf.nest.flatten(given):
        if isinstance(one, str) and one not in (
            "accuracy",
            "acc",
            "crossentropy",
            "ce",
        ):  # compile's own words
            try:
                get(one)
            except ValueError as error:
                raise ValueError(f"{option}={one!r}: Keras knows none of that name.") from error


_NO_LOSS = ("The loss was not tried", "The loss: not tried")


def assert_padding_invariant(model: Any, inputs: Any, lengths: Any, **options: Any) -> None:
    """As `check`, for test suites: raises where there are findings.

    Raises:
        AssertionError: the findings, a line each; or that nothing, or not the loss that was given, was compared.
    """
    found = check(model, inputs, lengths, **options)
    not_tried = getattr(found, "not_tried", ())
    if nothing := next((one for one in not_tried if one.startswith("Nothing was compared")), ""):
        raise AssertionError(f"{nothing} training=False, or a model that draws nothing, can be checked.")
    lost = next((one for one in not_tried if one.startswith(_NO_LOSS)), "")
    if lost and options.get("loss") is not None:
        raise AssertionError(f"{lost} Without loss= the outputs alone are checked.")
    if found:
        lines = "\n".join(f"  {finding}" for finding in found)
        raise AssertionError(f"{len(found)} faults in how the model treats padding:\n{lines}")


def _checked(
    subject: Subject,
    batch: Padded,
    loss_given: Any,
    metrics_given: Any,
    found: Findings,
    random: np.random.Generator,
) -> Findings:
    batch, base = _first_run(subject, batch, found)
    kept = changes.kept_state(subject, batch)
    if not kept and not subject.accelerate(batch, base) and changes.draws(subject, batch):
        found.note("Nothing was compared: the model draws random numbers, other ones at each call.")
        return found
    case = make_case(subject, batch, base, found, random)
    locate = Locator(case)
    if kept and not changes.twice(case, locate):
        return found
    usable = _finite(case)
    if usable:
        for what, probe in (
            ("Longer padding", changes.longer),
            ("The padding's content", changes.content),
            ("Each example alone", changes.each_alone),
            ("Other orders", changes.order),
        ):
            _tried(found, what, lambda probe=probe: probe(case, locate))  # type: ignore[misc]
        _tried(found, "What real steps look like", lambda: guess(case))
        _tried(found, "The last real step", lambda: last_step(case))
    objective = _objective(case, loss_given)
    if objective is not None:
        _tried(found, "The loss", lambda: loss(case, objective))
    _tried(found, "Losses that the model adds", lambda: additional(case))
    metrics = Metrics(subject, metrics_given, batch)
    if metrics.known and batch.labels:
        _tried(found, "The metrics", lambda: metric(case, metrics))
    elif metrics.known and metrics_given is not None:
        found.note("Metrics were not tried: no labels were given.")
    if usable:
        _tried(found, "The gradient", lambda: gradient(case, objective))
    _tried(found, "An example of length 0", lambda: empty_example(case, objective))
    _inside(case, locate)
    return found


def _tried(found: Findings, what: str, probe: Callable[[], Any]) -> None:
    try:
        probe()
    except Exception as error:
        found.note(f"{what}: not tried to the end, {said(error)[:200]}")


def _first_run(subject: Subject, batch: Padded, found: Findings) -> tuple[Padded, Ran]:
    """The batch as it was given; without its empty examples where the model fails on them alone."""
    try:
        subject.build(batch)
        return batch, subject.run(batch)
    except Exception as error:
        if subject.drop_optional_masks():
            found.note("A mask that need not be given was left away: the model does not take one of [B, T].")
            told = dataclasses.replace(batch, told=subject.is_told)
            return _first_run(subject, told if told.knows_length else told.filled(), found)
        full = [int(i) for i in np.flatnonzero(batch.lengths > 0)]
        if full and len(full) < batch.size:
            try:
                fewer = batch.rows(full)
                subject.build(fewer)
                ran = subject.run(fewer)
            except Exception:
                pass
            else:
                found.add(
                    "empty_sequence",
                    float("nan"),
                    f"the call with an empty example: {said(error)[:200]}",
                    *_EMPTY,
                )
                return fewer, ran
        raise ValueError(f"the model fails on the data as given: {said(error)}") from error


def _finite(case: Case) -> bool:
    """Are the numbers at valid steps finite? Else there is nothing to compare."""
    good = True
    for i, (layout, values) in enumerate(zip(case.layouts, case.base.arrays, strict=True)):
        if layout.batch_axis is None or (values.dtype.kind != "f" and values.dtype.name != "bfloat16"):
            continue
        for row in case.many:
            if case.batch.lengths[row] == 0:
                continue
            bad = np.argwhere(
                _is_fault(layout.valid(values, row, int(case.batch.lengths[row])).astype(float))
            )
            if bad.size:
                half = case.epsilon > 1e-5
                given_nan = any(not np.isfinite(x).all() for x in case.batch.inputs if x.dtype.kind == "f")
                if half:
                    cause = (
                        "A mask's large number overflows in half precision: -1e9 is -inf there, "
                        "and 0 x inf is NaN."
                    )
                    remedy = (
                        "Take a number that float16 holds (-3e4), or tf.where with the type's "
                        "own smallest, or softmax in float32."
                    )
                elif given_nan:
                    cause = "NaN past the end reaches valid steps: 0 x NaN is NaN."
                    remedy = "Mask with tf.where, which picks, not by multiplying."
                else:
                    cause = "Valid steps are not finite: a softmax or a division has nothing valid to take."
                    remedy = (
                        "Look for rows whose mask is all false, and for large numbers that are "
                        "added or multiplied."
                    )
                at = tuple(int(n) for n in bad[0])
                case.found.add(layout.kind, float("nan"), changes.place(case, i, row, at), cause, remedy)
                good = False
                break
    return good


def _is_fault(values: np.ndarray) -> np.ndarray:
    """Where numbers are none, or endless; a score of -inf rules a class out."""
    return np.isnan(values) | np.isposinf(values)


def _objective(case: Case, loss_given: Any) -> Objective | None:
    objective = Objective(case.subject, loss_given)
    if not objective.known:
        return None
    if not case.batch.labels:
        case.found.note("The loss was not tried: no labels were given.")
        return None
    return objective


def _inside(case: Case, locate: Locator) -> None:
    """What Keras' layers show: a mask that is lost, a state that runs over padding, real steps that are masked."""
    if case.keras_model is None:
        return
    wrong = case.found.kinds & {"outputs", "state", "loss", "metric"}
    if wrong and (lost := locate.lost()):
        cause = "A mask that tells padding apart is lost"
        if lost.unmasked:
            cause += ": it is joined with something that has none, which counts as valid everywhere."
        elif lost.layer is None:
            cause += " between two layers: arithmetic and tf operations give tensors without one."
        else:
            cause += ": this layer does not pass it on."
        case.found.add(
            "mask_lost", float((~case.batch.valid).sum()), lost.at, cause,
            "Use a layer that keeps masks (Add, Concatenate of masked parts, a Layer with "
            "supports_masking = True and "
            "compute_mask), or pass `mask=` by hand to what comes after.",
        )  # fmt: skip
    for found in locate.causes():
        if is_rnn(found.call) and found.call is not None and all(x.ndim < 3 for x, _ in found.call.outputs):
            case.found.add(
                "state", found.size, f"the final state of {found.call.name}", found.cause, found.remedy
            )
    _masked_real_steps(case, locate)


def _masked_real_steps(case: Case, locate: Locator) -> None:
    batch = case.batch
    looks: np.ndarray = np.zeros(batch.valid.shape, bool)
    for x, part in zip(batch.inputs, batch.parts, strict=True):
        if part.role == "sequence":
            looks |= (x == np.asarray(part.fill)).reshape(*batch.valid.shape, -1).all(-1)
    real = looks & batch.valid
    if not real.any():
        return
    for call in locate.base:
        for _, mask in call.outputs:
            if mask is not None and mask.shape == real.shape and not mask[real].any():
                case.found.add(
                    "class_zero", float(real.sum()), f"{int(real.sum())} real steps, masked by {call.name}",
                    "Real steps that look like padding are taken for padding: the mask or the "
                    "length is read from the content.",
                    "Give the lengths, or keep an id (a value) for padding that no real step has.",
                )  # fmt: skip
                return


def _declared(model: Any, inputs: Any) -> list[tuple[int | None, ...]] | None:
    """The shapes of a functional model's inputs, in the order in which tf.nest has the arrays that are given.

    Keras takes arrays by name for inputs that it has as a list.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "built", False):
        return None
    try:
        structure = model._inputs_struct if hasattr(model, "_inputs_struct") else model.inputs
        if isinstance(structure, dict):
            return [tuple(structure[key].shape) for key in sorted(structure)]
        listed = structure if isinstance(structure, list | tuple) else [structure]
        if isinstance(inputs, dict):
            named = {x.name: tuple(x.shape) for x in listed}
            return [named[key] for key in sorted(inputs)]
        return [tuple(x.shape) for x in listed]
    except Exception:
        return None
