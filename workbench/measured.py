"""What a run measures of its trained model: evaluation, correctness, timed window, reading. Part of the joint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import Config
from workbench.places import of_this_host
from workbench.process.channel import Channel
from workbench.record import Findings
from workbench.record.tags import IS_EPOCH, NOT_ALONE

if TYPE_CHECKING:  # at run time only where it is used: a fork server imports this file
    from workbench.data.feed import Feed
    from workbench.measure.timing import Window
    from workbench.training import Distribution

_TIMING_LOCK = of_this_host() / "workbench-timing.lock"
_TURN_S = 24 * 3600.0
"""So long the workers of a run wait while others are timed on the chief's machine."""


def measured(
    config: Config,
    model: Any,
    step: Any,
    data: Feed,
    channel: Channel,
    record: Findings,
    result: Any,
    *,
    folder: Path | None = None,
) -> str:
    """Measure the trained model, a stage after the other; what is no number ends it, and is said in words.

    Precision, recall and F1 of each class go to `classes_SPLIT.csv` in the folder, if one is given.
    """
    from workbench.training import first_not_finite

    channel.note("evaluating")
    if lost := record.add(
        _trained(result, data, step.distribution) | _evaluated(config, model, data, folder)
    ):
        return lost
    found, other = _correct(config, model, data), "without" if config.rnn.pass_lengths else "with"
    beside = {name for name in found if name.endswith(f"_{other}_lengths")}
    record.add(
        {name: found.pop(name) for name in beside}
    )  # of a way in which the model does not run: no fault
    if lost := record.add(found):
        return lost
    if not config.measure.timing:
        return ""
    channel.note("timing")
    timed = _timed(config, step, data, channel, record)
    record.add(timed.metrics())
    lost = f"of the timed window {timed.not_finite} losses" if timed.not_finite else first_not_finite(step)
    return f"in the timed window after it, {lost}" if lost else ""


def _trained(result: Any, data: Feed, distribution: Distribution) -> dict[str, float | None]:
    split = data.manifest.splits["train"]
    padding_share, predicted = 1 - result.valid_tokens / max(1, result.padded_tokens), data.predicted()
    return {
        "loss/train_objective": result.objective_last_epoch,
        "speed/train_s": result.seconds,
        "speed/train_input_wait_share": result.input_wait_s / result.seconds,
        "speed/input_open_s": data.open_s,
        # of a run that was resumed when all of its steps were known there was none
        "speed/first_step_s": None if math.isnan(result.first_step_s) else result.first_step_s,
        "memory/largest_batch_bytes": result.largest_batch_bytes,
        "data/padding_share": padding_share,
        "data/predicted_padding_error": padding_share - predicted["data/predicted_padding_share"],
        "data/class_zero_share": split.label_share(0),
        "data/batches_at_longest": data.at_longest if distribution.replicas == 1 else None,
        "data/valid_tokens": result.valid_tokens,
        "data/padded_tokens": result.padded_tokens,
        "data/examples": result.examples,
        "data/batches": result.batches,
        "data/shards": sum(shard.split == "train" for shard in data.manifest.shards),
        "data/longest": data.manifest.longest,
        "data/mean_length": split.mean_length,
        **predicted,
    }


def _evaluated(config: Config, model: Any, data: Feed, folder: Path | None) -> dict[str, float | None]:
    from workbench.training import Evaluator

    evaluator = Evaluator(model, config.loss)
    found: dict[str, float | None] = {}
    validation = None
    for split in ("train", "validation", *(["test"] if getattr(config.data, "test", False) else [])):
        if split in data.manifest.splits and data.manifest.splits[split].examples:
            evaluation = evaluator(data.evaluation(split))
            found |= evaluation.metrics(split)
            validation = evaluation if split == "validation" else validation
            if folder and evaluation.classes and split != "train":
                evaluation.classes.write(folder / f"classes_{split}.csv", data.manifest.labels)
    for split in ("train", "test"):
        found.pop(f"loss/{split}_objective", None)
    said, true = (
        found.get("loss/validation_objective"),
        found.get(f"loss/validation_per_{config.loss.average}"),
    )
    is_weighed = config.loss.class_weights is not None or data.manifest.weights
    if true and said is not None and not is_weighed:  # else it is another loss
        found["loss/validation_objective_error"] = abs(said / true - 1)
    if data.manifest.task == "classify":  # an example has one label: there is no mean over tokens
        found = {name: value for name, value in found.items() if not name.endswith("_per_token")}
    return found | _over_commonest(data, validation, found)


def _correct(config: Config, model: Any, data: Feed) -> dict[str, float]:
    from workbench.probes.invariance import correctness, is_of_padding, with_padding
    from workbench.probes.longer import takes_longer_sequence
    from workbench.probes.padding_gradient import gradient_share_past_end
    from workbench.seeds import seed_for

    count = config.measure.correctness_batches
    if not count:
        return {}
    validation = data.manifest.splits.get("validation")
    split = "validation" if validation and validation.examples else "train"
    batches, are_padded = with_padding(data.evaluation(split), count)
    found = correctness(model, batches, config.loss, seed=seed_for(config.seed, "probes"))
    found["correctness/takes_longer_sequence"] = takes_longer_sequence(model, batches[0])
    if data.manifest.labels_steps:
        found["correctness/gradient_share_past_end"] = gradient_share_past_end(model, batches, config.loss)
    return {name: value for name, value in found.items() if are_padded or not is_of_padding(name)}


def _timed(config: Config, step: Any, data: Feed, channel: Channel, record: Findings) -> Window:
    from workbench.measure.timing import timed_window, turn

    measure, distribution = config.measure, step.distribution
    if distribution.is_chief:
        channel.quiet()
    with turn(_TIMING_LOCK) if distribution.is_chief else nullcontext((0.0, "")) as (waited, shared):
        distribution.gather([0.0], timeout_s=_TURN_S)  # the others wait for the chief's turn
        timed = timed_window(
            step,
            window(step, data),
            measure,
            traces=lambda: step.traces,
            would_trace=step.would_trace if distribution.replicas == 1 else None,
            parts=step.parts,
        )
    counts = ("valid_tokens", "padded_tokens", "examples")
    total = distribution.gather([getattr(timed, name) for name in counts]).sum(axis=0)
    of_all: dict[str, Any] = {name: int(n) for name, n in zip(counts, total, strict=True)}
    timed = dataclasses.replace(timed, **of_all)
    if timed.traces_in_window:
        raise RuntimeError(
            f"{timed.traces_in_window} new graphs were traced inside the timed window, so its time is no "
            "measurement; pad to fewer lengths, or set measure.timing=false"
        )
    record.tags |= {f"window.{key}": str(value) for key, value in vars(timed.machine).items()}
    record.tags["window.lock_waited_s"] = f"{waited:.3f}"
    if shared:
        record.tags[NOT_ALONE] = shared
    record.tags[IS_EPOCH] = str(measure.window_examples is None).lower()
    return timed


def read(config: Config, data: Feed, channel: Channel, record: Findings) -> dict[str, float]:
    """How fast the data set is read, nothing done with it."""
    from workbench.measure.reading import examples_per_second
    from workbench.measure.timing import turn

    measure = config.measure
    channel.quiet()
    with turn(_TIMING_LOCK) as (_, shared):
        found = {
            "speed/read_examples_per_s": examples_per_second(data.window, measure),
            "speed/shards_examples_per_s": examples_per_second(data.chunks, measure),
        }
    if shared:
        record.tags[NOT_ALONE] = shared
    return found


def _over_commonest(data: Feed, evaluated: Any, found: Mapping[str, float | None]) -> dict[str, float | None]:
    """What a model knows more than the commonest label of what was evaluated; nothing where none were counted."""
    split = data.manifest.splits.get("validation")
    commonest = split.label_share() if split else None
    if split and evaluated and evaluated.examples < split.examples:  # measure.evaluated_examples
        counts = evaluated.classes.actual if evaluated.classes else []
        commonest = max(counts) / sum(counts) if sum(counts) else None
    per = "token" if data.manifest.labels_steps else "example"
    right = found.get(f"accuracy/validation_per_{per}")
    if commonest is None or right is None:
        return {}
    return {"accuracy/validation_over_commonest": right - commonest}


def window(step: Any, data: Feed) -> Callable[[], Any]:
    """The same of the timed window, as steps."""
    if step.distribution.replicas == 1:
        return data.window
    return lambda: step.feed([data.window(replica) for replica in step.distribution.mine])
