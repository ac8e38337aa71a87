"""The joint: a checked configuration -> the rooms' plain arguments -> a run record. Also the child's entry.

python -m workbench.run FROZEN.yaml              # one run, by hand: what it logs goes to stdout
python -m workbench.run --prepare FROZEN.yaml    # make or open its data set only
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import json
import math
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from workbench.config import EXPERIMENT_GROUPS, Config
from workbench.identity import identity
from workbench.loading import Loading, MadeBy
from workbench.options.cell import Custom
from workbench.process.channel import Channel, die_with_parent
from workbench.process.replicas import WORKER, Replicas, meet, number_in_cluster
from workbench.provenance import code_version, environment, machine
from workbench.record import Findings
from workbench.record.tags import DIVERGED, IS_EPOCH, NOT_ALONE

if TYPE_CHECKING:  # at run time only where it is used: a fork server imports this file
    from workbench.data.feed import Feed
    from workbench.measure.timing import Window
    from workbench.training import Distribution

Log = Callable[[int, Mapping[str, float]], None]


_TIMING_LOCK = Path(tempfile.gettempdir()) / "workbench-timing.lock"
_TURN_S = 24 * 3600.0
"""So long the workers of a run wait while others are timed on the chief's machine."""
CODE = code_version()
"""Of the code that this process imported: in a fork server, when the server began."""


def run(
    config: Config, channel: Channel, folder: Path | None = None, made_by: MadeBy | None = None
) -> Findings:
    """Train and measure as the configuration says; what it logs on the way goes through the channel.

    `folder` is the prepared data set; without it, it is made or found here. `made_by` is what was planned to make
    the numbers; without it, what is here. Where training left something that is no number, or something measured of
    it is none, the run has diverged, and nothing more is measured.
    """
    target = getattr(config.cell, "target", None)
    made_by = made_by or MadeBy.here(target, CODE)
    with made_by.loading(target) as loading:
        record = _run(config, channel, folder, made_by, loading)
    record.tags |= made_by.beside(loading.loaded())
    return record


def _run(
    config: Config, channel: Channel, folder: Path | None, made_by: MadeBy, loading: Loading
) -> Findings:
    from workbench.data.storage import storage
    from workbench.measure.graph import build_graph
    from workbench.measure.memory import peak_memory
    from workbench.training import make_train_step, set_determinism, train, weights_digest

    record = Findings()
    training = config.training
    device = set_devices(config, training.workers if training.strategy == "mirrored" else 1)
    distribution = _distribution(config, device["device"], channel)
    set_determinism(config.seed, training.deterministic)
    data = _feed(config, folder or prepare(config))
    fingerprint = data.manifest.fingerprint
    same = identity(dataclasses.asdict(config), EXPERIMENT_GROUPS, fingerprint, made_by.code(), length=64)
    distribution.require_equal(same, "configuration, data or code")
    with distribution.scope():
        model, optimizer = _model(config, data), _optimizer(config)
    loading.loaded()  # all that was imported by now is as planned, or nothing is computed
    record.add({"memory/parameters": sum(math.prod(weight.shape) for weight in model.trainable_variables)})
    loss, clip_norm = config.loss, config.optimizer.clip_norm
    step = make_train_step(model, optimizer, loss.average, loss.mask, clip_norm, distribution)

    channel.note("tracing")
    graph = build_graph(step.trace, next(iter(_window(step, data)())))
    record.add({"speed/graph_build_s": graph.seconds, "speed/graph_nodes": graph.nodes})

    channel.note("training")
    with peak_memory() as memory:
        result = train(
            model,
            _epochs(distribution, data),
            optimizer=None,
            epochs=training.epochs,
            max_steps=training.max_steps,
            log=channel.log,
            log_every=training.log_every,
            step=step,
        )
    record.add(memory.metrics())
    record.tags |= {
        "digest.losses": result.losses_sha256,
        "digest.order": result.order_sha256,
        "digest.weights": weights_digest(model),
        "memory.method": memory.method,
        DIVERGED: "false",
        **{f"device.{key}": str(value) for key, value in device.items()},
        "device.replicas": str(distribution.replicas),
        "device.processes": str(distribution.processes),
        **environment(),
        **_dropped(data),
        "data.held": data.held,
        **_kernels(config, model),
    }
    lost = result.not_finite or _measured(config, model, step, data, channel, record, result)
    if lost:
        record.diverge(result.batches, lost)
        if math.isfinite(
            result.losses[-1]
        ):  # MLflow ranks a run by its last value, and NaN behind all others
            channel.log(result.batches + 1, {"loss/step": math.nan})
    else:
        if config.measure.reading:
            channel.note("reading")
            record.add(_read(config, data, channel, record))
        if config.measure.storage:
            channel.note("measuring the data set's size")
            record.add(storage(data.folder))
        record.add({"speed/traces": step.traces})
    record.facts |= {
        "device": device["device"],
        "threads": _threads(device),
        "task": data.manifest.task,
        "data.fingerprint": data.manifest.fingerprint,
    }
    return record


def prepare(config: Config) -> Path:
    """Make or find the data set of a configuration; raises `workbench.data.errors.DataError`."""
    from workbench.data import shards

    return shards.prepare(config.data)


def _feed(config: Config, folder: Path) -> Feed:
    """The data set of a run, with its batches as the configuration pads them."""
    from workbench.data.feed import Feed
    from workbench.data.manifest import require_free_class_zero
    from workbench.seeds import seed_for

    padding = dataclasses.asdict(config.padding)
    feed = Feed(
        folder,
        padding=padding.pop("name"),
        batch_size=config.data.batch_size,
        window_examples=config.measure.window_examples,
        seed=seed_for(config.seed, "order"),
        parse=_chosen(config.data.parse),
        memory_mb=config.data.memory_mb,
        readers=config.data.readers,
        replicas=config.training.workers,
        **padding,
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


def _window(step: Any, data: Feed) -> Callable[[], Any]:
    """The same of the timed window, as steps."""
    if step.distribution.replicas == 1:
        return data.window
    return lambda: step.feed([data.window(replica) for replica in step.distribution.mine])


def set_devices(config: Config, count: int) -> dict[str, Any]:
    """Set `count` devices up as the configuration says; refuses what this machine has not, before anything runs."""
    from workbench.measure.device import configure
    from workbench.rnn.cudnn import check_machine

    training = config.training
    device = configure(_chosen(training.device), tf32=training.tf32, threads=training.threads, count=count)
    if config.rnn.unroll == "cudnn":
        check_machine(lengths=config.rnn.pass_lengths)
    return device


def _kernels(config: Config, model: Any) -> dict[str, str]:
    """What ran each cell: the kernels, each with its reason, or the runner itself where it has but one."""
    from workbench.rnn import kernels_of

    ran = {cell.name: kernels_of(cell) for cell in model.cells_of_layers()}
    words = [f"{name}: {one.kernel} ({one.reason})" for name, choices in ran.items() for one in choices]
    return {"rnn.kernels": "; ".join(words) or config.rnn.unroll}


def _dropped(data: Feed) -> dict[str, str]:
    """What of the source is not in the data set, and why; nothing where all of it is."""
    counts = {reason: count for reason, count in data.manifest.dropped.items() if count}
    return {"data.dropped": ", ".join(f"{n} {reason}" for reason, n in counts.items())} if counts else {}


def _model(config: Config, data: Feed) -> Any:
    from workbench.cells.composition import Wrapping
    from workbench.model import build_model
    from workbench.seeds import seed_for

    manifest, cell, rnn = data.manifest, dataclasses.asdict(config.cell), dataclasses.asdict(config.rnn)
    wrapping = {field.name: cell.pop(field.name) for field in dataclasses.fields(Wrapping)}
    if isinstance(config.cell, Custom):
        cell |= cell.pop("options")
    ids = manifest.inputs == "ids"
    return build_model(
        task=_chosen(manifest.task),
        classes=len(manifest.labels),
        vocabulary_size=len(manifest.vocabulary or ()) if ids else None,
        feature_size=None if ids else manifest.feature_size,
        embedding_size=config.model.embedding_size,
        cell=cell.pop("name"),
        units=cell.pop("units"),
        cell_options=cell,
        wrapping=wrapping,
        layers=config.model.layers,
        rnn=rnn.pop("unroll"),
        direction=rnn.pop("direction"),
        pass_lengths=rnn.pop("pass_lengths"),
        rnn_options={key: value for key, value in rnn.items() if key != "allow_retrace"},
        dropout=config.model.dropout,
        embedding_dropout=config.model.embedding_dropout,
        seed=seed_for(config.seed, "model"),
        dtype=config.model.dtype,
    )


def _optimizer(config: Config) -> Any:
    from workbench.training import make_optimizer

    options = dataclasses.asdict(config.optimizer)
    options.pop("clip_norm")
    return make_optimizer(options.pop("name"), options.pop("learning_rate"), **options)


def _measured(
    config: Config, model: Any, step: Any, data: Feed, channel: Channel, record: Findings, result: Any
) -> str:
    """Measure the trained model, a stage after the other; what is no number ends it, and is said in words."""
    from workbench.training import first_not_finite

    channel.note("evaluating")
    if lost := record.add(_trained(result, data, step.distribution) | _evaluated(config, model, data)):
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
    window = _timed(config, step, data, channel, record)
    record.add(window.metrics())
    lost = f"of the timed window {window.not_finite} losses" if window.not_finite else first_not_finite(step)
    return f"in the timed window after it, {lost}" if lost else ""


def _trained(result: Any, data: Feed, distribution: Distribution) -> dict[str, float | None]:
    split = data.manifest.splits["train"]
    padding_share, predicted = 1 - result.valid_tokens / max(1, result.padded_tokens), data.predicted()
    return {
        "loss/train_objective": result.objective_last_epoch,
        "speed/train_s": result.seconds,
        "speed/train_input_wait_share": result.input_wait_s / result.seconds,
        "speed/input_open_s": data.open_s,
        "speed/first_step_s": result.first_step_s,
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


def _evaluated(config: Config, model: Any, data: Feed) -> dict[str, float | None]:
    from workbench.training import Evaluator

    evaluator = Evaluator(model, loss=config.loss.average, mask=config.loss.mask)
    found: dict[str, float | None] = {}
    for split in ("train", "validation", *(["test"] if getattr(config.data, "test", False) else [])):
        if split in data.manifest.splits:
            found |= evaluator(data.evaluation(split)).metrics(split)
    for split in ("train", "test"):
        found.pop(f"loss/{split}_objective", None)
    said, true = (
        found.get("loss/validation_objective"),
        found.get(f"loss/validation_per_{config.loss.average}"),
    )
    if true and said is not None:
        found["loss/validation_objective_error"] = abs(said / true - 1)
    if data.manifest.task == "classify":  # an example has one label: there is no mean over tokens
        found = {name: value for name, value in found.items() if not name.endswith("_per_token")}
    return found | _over_commonest(data, found)


def _correct(config: Config, model: Any, data: Feed) -> dict[str, float]:
    from itertools import islice

    from workbench.probes.invariance import correctness
    from workbench.probes.longer import takes_longer_sequence
    from workbench.probes.padding_gradient import gradient_share_past_end
    from workbench.seeds import seed_for

    count = config.measure.correctness_batches
    if not count:
        return {}
    split = "validation" if "validation" in data.manifest.splits else "train"
    batches = list(islice(data.evaluation(split), count))
    loss, mask = config.loss.average, config.loss.mask
    found = correctness(model, batches, loss=loss, mask=mask, seed=seed_for(config.seed, "probes"))
    found["correctness/takes_longer_sequence"] = takes_longer_sequence(model, batches[0])
    if data.manifest.task == "tag":
        found["correctness/gradient_share_past_end"] = gradient_share_past_end(
            model, batches, loss=loss, mask=mask
        )
    return found


def _timed(config: Config, step: Any, data: Feed, channel: Channel, record: Findings) -> Window:
    from workbench.measure.timing import timed_window, turn

    measure, distribution = config.measure, step.distribution
    if distribution.is_chief:
        channel.quiet()
    with turn(_TIMING_LOCK) if distribution.is_chief else nullcontext((0.0, "")) as (waited, shared):
        distribution.gather([0.0], timeout_s=_TURN_S)  # the others wait for the chief's turn
        window = timed_window(
            step,
            _window(step, data),
            passes=measure.passes,
            warmup_steps=measure.warmup_steps,
            quiet_steps=measure.quiet_steps,
            traces=lambda: step.traces,
            would_trace=step.would_trace if distribution.replicas == 1 else None,
            parts=step.parts,
            inject_sleep=measure.inject_sleep,
        )
    counts = ("valid_tokens", "padded_tokens", "examples")
    total = distribution.gather([getattr(window, name) for name in counts]).sum(axis=0)
    of_all: dict[str, Any] = {name: int(n) for name, n in zip(counts, total, strict=True)}
    window = dataclasses.replace(window, **of_all)
    if window.traces_in_window:
        raise RuntimeError(
            f"{window.traces_in_window} new graphs were traced inside the timed window, so its time is no "
            "measurement; pad to fewer lengths, or set measure.timing=false"
        )
    record.tags |= {f"window.{key}": str(value) for key, value in vars(window.machine).items()}
    record.tags["window.lock_waited_s"] = f"{waited:.3f}"
    if shared:
        record.tags[NOT_ALONE] = shared
    record.tags[IS_EPOCH] = str(measure.window_examples is None).lower()
    return window


def _read(config: Config, data: Feed, channel: Channel, record: Findings) -> dict[str, float]:
    from workbench.measure.reading import examples_per_second
    from workbench.measure.timing import turn

    passes = config.measure.passes
    channel.quiet()
    with turn(_TIMING_LOCK) as (_, shared):
        found = {
            "speed/read_examples_per_s": examples_per_second(data.window, passes=passes),
            "speed/shards_examples_per_s": examples_per_second(data.chunks, passes=passes),
        }
    if shared:
        record.tags[NOT_ALONE] = shared
    return found


def _over_commonest(data: Feed, found: Mapping[str, float | None]) -> dict[str, float | None]:
    """What a model knows more than the commonest label; nothing where the labels are not counted."""
    split = data.manifest.splits.get("validation")
    commonest = split.label_share() if split else None
    per = "token" if data.manifest.task == "tag" else "example"
    right = found.get(f"accuracy/validation_per_{per}")
    if commonest is None or right is None:
        return {}
    return {"accuracy/validation_over_commonest": right - commonest}


def _chosen(value: str) -> Any:
    """A text of which the schema's choices are the room's literals."""
    return value


def _threads(device: Mapping[str, Any]) -> int:
    return device["intra_threads"] or int(machine()["machine.cores"])


def limit_memory(megabytes: int) -> None:
    """Have an allocation beyond so much data of this process fail, as it would on a smaller machine."""
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 10**6,) * 2)


def main(arguments: list[str]) -> int:
    """The child: read a frozen configuration, run it, send the record; the exit code."""
    channel = Channel()
    parser = argparse.ArgumentParser(prog="python -m workbench.run", description=__doc__)
    parser.add_argument("frozen", type=Path, help="a frozen configuration")
    parser.add_argument("--prepare", action="store_true", help="make or open the data set, no more")
    parser.add_argument("--devices", action="store_true", help="see whether its devices are there, no more")
    parser.add_argument("--data", type=Path, help="the folder of the prepared data set")
    parser.add_argument(
        "--made-by", type=Path, help="what was planned to make the numbers: JSON, of MadeBy's fields"
    )
    parser.add_argument(WORKER, action="store_true", help="be one of a run's workers, started by its chief")
    given = parser.parse_args(arguments)
    if given.worker:
        die_with_parent()
    try:
        made_by = MadeBy(**json.loads(given.made_by.read_text())) if given.made_by else None
        if made_by:
            made_by.require_here(CODE)
        config = Config.of(yaml.safe_load(given.frozen.read_text()))
        if config.workbench.memory_limit_mb:
            limit_memory(config.workbench.memory_limit_mb)
        if given.devices:
            here = number_in_cluster(config.training) is None  # else each machine has one of the replicas
            set_devices(config, config.training.workers if here else 1)
            channel.send("result", devices="are there")
        elif given.prepare:
            from workbench.data.shards import open_dataset

            folder = prepare(config)
            channel.send("result", folder=str(folder), fingerprint=open_dataset(folder).fingerprint)
        else:
            with _workers(config, arguments, channel):
                record = run(config, channel, given.data, made_by)
            kind = (
                {"kind": "failure", "error": record.failure, "trace": ""}
                if record.failure
                else {"kind": "result"}
            )
            channel.send(**kind, facts=record.facts, metrics=record.metrics, tags=record.tags)
            if record.failure and not given.worker:  # one that the chief started has done its part
                return 1
    except Exception as error:
        traceback.print_exc()
        message = str(error) or type(error).__name__
        channel.send("failure", error=message, trace=traceback.format_exc())
        return 1
    return 0


@contextmanager
def _workers(config: Config, arguments: list[str], channel: Channel) -> Iterator[None]:
    """Around a run of several processes that nobody else has started: the others, on this machine."""
    training = config.training
    if training.strategy != "multi_worker" or number_in_cluster(training) is not None:
        yield
        return

    def fail(message: str, trace: str) -> None:
        """Where this process waits for one that is gone, and would for long."""
        print(trace, flush=True)
        channel.send("failure", error=message, trace=trace)
        os._exit(1)

    started = Replicas(arguments, training.workers, timeout_s=training.worker_timeout_s, fail=fail)
    with started as workers:
        try:
            yield
        except Exception as error:
            from workbench.training import LostReplicaError

            if not isinstance(error, LostReplicaError):
                raise
            message, trace = workers.lost()
            print(trace, flush=True)
            raise RuntimeError(f"{message}: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
