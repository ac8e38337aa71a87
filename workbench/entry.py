"""The entry of the process that each run is: a frozen configuration in, its findings out through the channel.

python -m workbench.entry FROZEN.yaml              # one run, by hand: what it logs goes to stdout
python -m workbench.entry --prepare FROZEN.yaml    # make or open its data set only
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from workbench import run as joint
from workbench.config import Config
from workbench.loading import MadeBy
from workbench.process.channel import Channel, die_with_parent
from workbench.process.replicas import WORKER, Replicas, number_in_cluster


def limit_memory(megabytes: int) -> None:
    """Have an allocation beyond so much data of this process fail, as it would on a smaller machine."""
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 10**6,) * 2)


def main(arguments: list[str]) -> int:
    """The child: read a frozen configuration, run it, send the record; the exit code."""
    channel = Channel()
    parser = argparse.ArgumentParser(prog="python -m workbench.entry", description=__doc__)
    parser.add_argument("frozen", type=Path, help="a frozen configuration")
    parser.add_argument("--prepare", action="store_true", help="make or open the data set, no more")
    parser.add_argument("--devices", action="store_true", help="see whether its devices are there, no more")
    parser.add_argument("--data", type=Path, help="the folder of the prepared data set")
    parser.add_argument("--checkpoint", type=Path, help="where its checkpoint is, or goes")
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
            made_by.require_here(joint.CODE)
        config = Config.of(yaml.safe_load(given.frozen.read_text()))
        if config.workbench.memory_limit_mb:
            limit_memory(config.workbench.memory_limit_mb)
        if given.devices:
            here = number_in_cluster(config.training) is None  # else each machine has one of the replicas
            joint.set_devices(config, config.training.workers if here else 1)
            channel.send("result", devices="are there")
        elif given.prepare:
            from workbench.data import shards

            folder = shards.prepare(config.data)
            channel.send("result", folder=str(folder), fingerprint=shards.open_dataset(folder).fingerprint)
        else:
            with _workers(config, arguments, channel):
                own = given.frozen.absolute().parent
                checkpoint = given.checkpoint or own / "checkpoint.npz"
                record = joint.run(config, channel, given.data, made_by, keep_in=own, checkpoint=checkpoint)
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
        channel.send("failure", error=in_words(error), trace=traceback.format_exc())
        return 1
    return 0


def in_words(error: Exception) -> str:
    """What went wrong, and where it is known what to do.

    >>> in_words(RuntimeError("INTERNAL: libdevice not found at ./libdevice.10.bc [[{{node Stateful..."))[:56]
    'XLA finds no CUDA files (libdevice.10.bc): install them '
    """
    message = str(error) or type(error).__name__
    if "libdevice" not in message:
        return message
    return (
        "XLA finds no CUDA files (libdevice.10.bc): install them (pip install 'tensorflow[and-cuda]'), or "
        "say where they lie: XLA_FLAGS=--xla_gpu_cuda_data_dir=FOLDER, of which FOLDER/nvvm/libdevice is a folder"
    )


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
        try:
            started.forget()
        finally:
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
