"""The joint: a checked configuration -> its groups, each to the room that uses it -> what a run finds."""

from __future__ import annotations

import dataclasses
import faulthandler
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import Config
from workbench.identity import identity, makers
from workbench.loading import Loading, MadeBy
from workbench.measured import measured, read, window
from workbench.options.rnn import needs_cudnn
from workbench.process.channel import Channel
from workbench.process.replicas import meet, number_in_cluster, number_on_this_host
from workbench.provenance import code_version, environment, machine, versions
from workbench.record import Findings
from workbench.record.tags import DIVERGED, RESUMED_FROM
from workbench.record.thinning import thinned

if TYPE_CHECKING:  # at run time only where it is used: a fork server imports this file
    from workbench.data.feed import Feed
    from workbench.training import Distribution, TrainResult
    from workbench.training.checkpoint import Checkpoints

CODE = code_version()
"""Of the code that this process imported: in a fork server, when the server began."""


def run(
    config: Config,
    channel: Channel,
    folder: Path | None = None,
    made_by: MadeBy | None = None,
    *,
    keep_in: Path | None = None,
    checkpoint: Path | None = None,
) -> Findings:
    """Train and measure as the configuration says; what it logs on the way goes through the channel.

    `folder` is the prepared data set; without it, it is made or found here. `made_by` is what was planned to make
    the numbers; without it, what is here. `keep_in` is where a trained model that is to be kept goes, `checkpoint`
    the file that a killed training goes on from (`training.checkpoint_every`). Where
    training left something that is no number, or something measured of it is none, the run has diverged, and
    nothing more is measured.
    """
    target = getattr(config.cell, "target", None)
    made_by = made_by or MadeBy.here(target, CODE)
    with made_by.loading(target) as loading:
        record = _run(config, channel, folder, made_by, loading, keep_in, checkpoint)
    record.tags |= made_by.beside(loading.loaded())
    return record


def _run(
    config: Config,
    channel: Channel,
    folder: Path | None,
    made_by: MadeBy,
    loading: Loading,
    keep_in: Path | None,
    checkpoint: Path | None,
) -> Findings:
    from workbench.class_weights import resolved
    from workbench.data.storage import storage
    from workbench.kept import keep
    from workbench.measure.graph import build_graph
    from workbench.measure.memory import peak_memory
    from workbench.training import make_train_step, set_determinism, train, weights_digest

    record = Findings()
    training = config.training
    device = set_devices(
        config,
        training.workers if training.strategy == "mirrored" else 1,
        first=number_on_this_host(training),
    )
    distribution = _distribution(config, device["device"], channel)
    set_determinism(config.seed, training.deterministic)
    data = _feed(config, folder)
    fingerprint = data.manifest.fingerprint
    same = identity(dataclasses.asdict(config), fingerprint, made_by.code(), length=64)
    distribution.require_equal(same, "configuration, data or code")
    saved = _checkpoints(config, checkpoint, fingerprint, made_by, device, channel)
    with distribution.scope():
        model = _model(config, data)
    loading.loaded()  # all that was imported by now is as planned, or nothing is computed
    record.add({"memory/parameters": sum(math.prod(weight.shape) for weight in model.trainable_variables)})
    train_split = data.manifest.splits["train"]
    config = dataclasses.replace(
        config, loss=resolved(config.loss, data.manifest.labels, train_split.label_counts)
    )
    step = make_train_step(model, config.optimizer, config.loss, distribution, truncate=training.truncate)

    channel.note("tracing")
    graph = build_graph(step.trace, next(iter(window(step, data)())))
    record.add({"speed/graph_build_s": graph.seconds, "speed/graph_nodes": graph.nodes})

    channel.note("training")
    with peak_memory() as memory:
        epochs, validate = _epochs(distribution, data), _validation(config, model, data)
        result = train(step, epochs, training, log=channel.log, validate=validate, checkpoints=saved)
    channel.curve("loss/step", _not_logged(result))
    record.tags |= _how_it_ended(config, result, channel)
    if saved and saved.resumed_from:
        record.tags[RESUMED_FROM] = str(saved.resumed_from)
    record.add(memory.metrics())
    record.tags |= {
        "digest.losses": result.losses_sha256,
        "digest.order": result.order_sha256,
        "digest.weights": weights_digest(model),
        "memory.method": memory.method,
        DIVERGED: "false",
        **_circumstances(config, model, data, device, distribution),
    }
    if keep_in and training.keep != "none" and not result.diverged:
        keep(model, keep_in)
    classes_in = keep_in if distribution.is_chief else None
    lost = result.not_finite or measured(
        config, model, step, data, channel, record, result, folder=classes_in
    )
    if lost:
        record.diverge(result.batches, lost)
        # MLflow ranks a run by its last value, NaN behind all others
        last = {"loss/step": result.losses[-1], **result.validation}
        if open_ones := {name: math.nan for name, value in last.items() if math.isfinite(value)}:
            channel.log(result.batches + 1, open_ones)
    else:
        if config.measure.reading:
            channel.note("reading")
            record.add(read(config, data, channel, record))
        if config.measure.storage:
            channel.note("measuring the data set's size")
            record.add(storage(data.folder))
        record.add({"speed/traces": step.traces})
    record.facts |= {
        "device": device["device"],
        "threads": device["intra_threads"] or int(machine()["machine.cores"]),
        "task": data.manifest.task,
        "data.fingerprint": data.manifest.fingerprint,
    }
    return record


def _checkpoints(
    config: Config,
    file: Path | None,
    fingerprint: str,
    made_by: MadeBy,
    device: Mapping[str, Any],
    channel: Channel,
) -> Checkpoints | None:
    """Those of a run that is to have them; a file that was made otherwise counts for nothing."""
    from workbench.training.checkpoint import Checkpoints

    every = config.training.checkpoint_every
    if every is None or file is None:
        return None
    follows_from = {
        "configuration": identity(dataclasses.asdict(config), "", {}, length=64),
        "data": fingerprint,
        **makers({**versions(), **environment(), **made_by.planned}),
        **{name: machine()[name] for name in ("machine.cpu", "machine.cores")},
        **{name: str(device.get(name)) for name in ("device", "device_name")},
    }
    found = Checkpoints(file, every, follows_from)
    if found.said:
        channel.say(found.said)
    return found


def _feed(config: Config, folder: Path | None) -> Feed:
    """The data set of a run, made or found where no folder is given; its batches as the configuration pads them.

    Raises:
        DataError: it cannot be had (`workbench.data.errors`).
    """
    from workbench.data import shards
    from workbench.data.feed import Feed
    from workbench.data.manifest import require_free_class_zero
    from workbench.seeds import seed_for

    feed = Feed(
        folder or shards.prepare(config.data),
        config.data,
        config.padding,
        window_examples=config.measure.window_examples,
        evaluated_examples=config.measure.evaluated_examples,
        seed=seed_for(config.seed, "order"),
        replicas=config.training.workers,
    )
    if config.loss.mask == "sign" and not config.loss.accept_class_zero:
        require_free_class_zero(feed.manifest, feed.folder)
    return feed


def _distribution(config: Config, device: str, channel: Channel) -> Distribution:
    """The replicas of a run; of several processes, once all of them are there."""
    from workbench.training import mirrored, multi_worker, one

    training = config.training
    if training.strategy == "none":
        return one()
    if training.strategy == "mirrored":
        return mirrored(training.workers, device)
    channel.note(f"waiting for {training.workers} workers")
    number = number_in_cluster(training)
    if number is None:
        raise RuntimeError("a worker needs TF_CONFIG, which `python -m workbench` sets where it starts them")
    limit = training.worker_timeout_s
    meet(training.workers, number, limit)
    words = (
        f"not all {training.workers} workers joined within {limit:g} s, or this one was ended as it waited"
    )
    with channel.last_words(words):
        faulthandler.dump_traceback_later(limit, exit=True)  # by a thread that needs no Python
        distribution = multi_worker(number, limit)
        faulthandler.cancel_dump_traceback_later()
    return distribution


def _epochs(distribution: Distribution, data: Feed) -> Callable[[int], Any]:
    """An epoch's batches as the training step takes them: of one replica, or of each that is this process'."""
    if distribution.replicas == 1:
        return data.train
    return lambda epoch: [data.train(epoch, replica) for replica in distribution.mine]


def _validation(config: Config, model: Any, data: Feed) -> Callable[[], dict[str, float]] | None:
    """What evaluates the validation split on the way, by the names of its curves; None where there is none."""
    from workbench.training import Evaluator

    split, evaluator = data.manifest.splits.get("validation"), Evaluator(model, config.loss)
    if split is None or not split.examples:
        return None
    per = "token" if data.manifest.labels_steps else "example"

    def validate() -> dict[str, float]:
        found = evaluator(data.evaluation("validation")).metrics("validation")
        each = {name: found[f"{name}/validation_per_{per}"] for name in ("loss", "accuracy")}
        each["f1"] = found["f1/validation_macro"]
        return {f"{name}/validation_epoch": value for name, value in each.items() if value is not None}

    return validate


def _not_logged(result: TrainResult) -> list[tuple[int, float]]:
    """Of the losses of all steps so many that their curve is seen, less those that were logged on the way."""
    points = thinned(list(enumerate(result.losses, 1)))
    return [point for point in points if point[0] not in result.logged]


def _how_it_ended(config: Config, result: TrainResult, channel: Channel) -> dict[str, str]:
    """As tags: which epoch was best, where its weights were put back, and whether training ended early."""
    tags = {}
    if config.training.keep == "best" and not result.diverged:
        tags["training.best_epoch"] = str(result.best_epoch or config.training.epochs)
    if result.ended_early:
        channel.note(result.ended_early)
        tags["training.ended_early"] = result.ended_early
    return tags


def set_devices(config: Config, count: int, *, first: int = 0) -> dict[str, Any]:
    """Set `count` devices up as the configuration says; refuses what this machine has not, before anything runs.

    `first`: of its GPUs, the number from which on this process takes them.
    """
    from workbench.measure.device import configure
    from workbench.rnn.cudnn import check_machine

    device = configure(config.training, count=count, first=first)
    if needs_cudnn(vars(config.rnn)):
        asked = "rnn=cudnn" if config.rnn.unroll == "cudnn" else "rnn.use_cudnn=true"
        check_machine(lengths=config.rnn.pass_lengths, asked=asked)
    return device


def _circumstances(
    config: Config, model: Any, data: Feed, device: Mapping[str, Any], distribution: Distribution
) -> dict[str, str]:
    """As tags: the devices, what ran each cell, what of the source is left out of the data, what was in memory."""
    from workbench.rnn import kernels_of

    ran = {cell.name: kernels_of(cell) for cell in model.cells_of_layers()}
    kernels = [f"{name}: {one.kernel} ({one.reason})" for name, choices in ran.items() for one in choices]
    dropped = [f"{count} {reason}" for reason, count in data.manifest.dropped.items() if count]
    return {
        **{f"device.{key}": str(value) for key, value in device.items() if value is not None},
        "device.replicas": str(distribution.replicas),
        "device.processes": str(distribution.processes),
        **environment(),
        **({"data.dropped": ", ".join(dropped)} if dropped else {}),
        "data.held": data.held,
        "rnn.kernels": "; ".join(kernels) or config.rnn.unroll,
    }


def _model(config: Config, data: Feed) -> Any:
    from workbench.model import SequenceModel
    from workbench.seeds import seed_for

    manifest = data.manifest
    ids = manifest.inputs == "ids"
    return SequenceModel(
        config.cell,
        config.rnn,
        config.model,
        task=manifest.task,
        classes=len(manifest.labels),
        vocabulary_size=len(manifest.vocabulary or ()) if ids else None,
        feature_size=None if ids else manifest.feature_size,
        seed=seed_for(config.seed, "model"),
    )
