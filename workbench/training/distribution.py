"""Over how many replicas a run is trained, and how they agree: `tf.distribute` behind three names.

    one()           one replica, no strategy
    mirrored(2)     MirroredStrategy: devices of this process, each with a copy of the variables
    multi_worker()  MultiWorkerMirroredStrategy: a process a replica, as TF_CONFIG says; variables are plain ones,
                    equal because every worker begins with equal weights and makes equal updates

Whatever the strategy, replica r of R has the shards r, r + R, ... of the training split, and what they find is
added up by `ReplicaContext.all_reduce`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class LostReplicaError(RuntimeError):
    """A replica did not take part in time, so that the others cannot go on."""


_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


@dataclass(frozen=True)
class Distribution:
    """The replicas of a run: how many there are, and which of them are this process'."""

    strategy: tf.distribute.Strategy
    replicas: int
    """All of them, in all processes."""
    local: int
    """Those of this process."""
    first: int
    """The number of this process' first replica; the chief's is 0."""

    @property
    def is_chief(self) -> bool:
        """Whether this process reports: it has the first replica."""
        return self.first == 0

    @property
    def mine(self) -> range:
        """The numbers of this process' replicas."""
        return range(self.first, self.first + self.local)

    @property
    def processes(self) -> int:
        """How many processes take part."""
        return self.replicas // self.local

    @property
    def mirrors(self) -> bool:
        """Whether variables are copied to several devices of this process."""
        return self.local > 1

    def scope(self) -> Any:
        """Where the model and the optimizer must be made."""
        return self.strategy.scope() if self.mirrors else nullcontext()

    def local_replica(self) -> int:
        """Inside `strategy.run`: which of this process' replicas is being traced."""
        number = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
        return int(number) - self.first if self.local > 1 else 0

    def update(self, optimizer: keras.optimizers.Optimizer, gradients: Any, variables: Sequence[Any]) -> None:
        """Apply gradients that are those of all replicas together already, equal on each."""
        if self.mirrors:
            self.strategy.run(lambda summed: optimizer.apply(summed, variables), (gradients,))
        else:
            optimizer.apply(gradients, variables)

    def gather(self, values: Sequence[float], timeout_s: float | None = None) -> np.ndarray:
        """[processes, len(values)]: each process' values. All must call it, with equally many.

        `timeout_s`: how long the others may stay away, in place of the distribution's own limit.
        """
        own = np.asarray(values, np.float64)
        if self.processes == 1:
            return own[np.newaxis]
        place = np.zeros((self.processes, len(own)))
        place[self.first // self.local] = own

        @tf.function(autograph=False)
        def added() -> tf.Tensor:
            return self.strategy.run(lambda: summed(tf.constant(place), timeout_s))

        with lost_replicas():
            return added().numpy()

    def require_equal(self, digest: str, what: str) -> None:
        """Raise where processes have other digests (hexadecimal) than the first one has."""
        found = self.gather(list(bytes.fromhex(digest)))
        other = [str(number) for number, row in enumerate(found) if (row != found[0]).any()]
        if other:
            raise RuntimeError(
                f"{what} of worker {', '.join(other)} differ from those of worker 0: all must run the same "
                "configuration and data, code and versions, on the same kind of processor"
            )


def one() -> Distribution:
    """One replica, in this process."""
    return Distribution(tf.distribute.get_strategy(), 1, 1, 0)


def mirrored(replicas: int, device: str) -> Distribution:
    """`replicas` devices of this process, of a kind, which `measure.device.configure` has made or shown."""
    strategy = tf.distribute.MirroredStrategy([f"{device.upper()}:{i}" for i in range(replicas)])
    return Distribution(strategy, replicas, replicas, 0)


def multi_worker(worker: int, timeout_s: float) -> Distribution:
    """This process as number `worker` of the cluster that TF_CONFIG names; returns when all are there.

    It waits for them without a limit, and no other Python runs in the process meanwhile.

    A worker that then stays away longer than `timeout_s` makes the others raise `LostReplicaError`.
    """
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout_s)
    _limit_waiting(timeout_s)
    with lost_replicas():
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    return Distribution(strategy, strategy.num_replicas_in_sync, 1, worker)


def _limit_waiting(timeout_s: float) -> None:
    """Say how long to wait for a sign of life of each worker: there is no public way to another limit than 10 s."""
    from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
    from tensorflow.python.eager import context

    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{'chief' if 'chief' in cluster.jobs else 'worker'}/replica:0/task:0",
        heartbeat_timeout_in_ms=round(timeout_s * 1000),
        coordinated_jobs=[CoordinatedJob(name=job, num_tasks=cluster.num_tasks(job)) for job in cluster.jobs],
    )


def reduced_before(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer, taking gradients as summed over the replicas already, as clipping by their norm needs.

    Keras would sum them once more inside a strategy, and has no option against it.
    """
    if not hasattr(optimizer, "_all_reduce_sum_gradients"):
        raise RuntimeError(
            f"the optimizers of Keras {keras.__version__} sum gradients over replicas in a way that is not known "
            "here: take training.strategy=none or multi_worker, or an older Keras"
        )
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs
    return optimizer


@contextmanager
def lost_replicas() -> Iterator[None]:
    """What TensorFlow raises for a replica that is gone, as `LostReplicaError`."""
    try:
        yield
    except _LOST as error:
        named = re.findall(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", error.message)
        which = ", ".join(dict.fromkeys(_with_its_address(job, number) for job, number in named))
        raise LostReplicaError(
            f"a worker is gone, or did not take part in time: {which or 'TensorFlow does not say which'} "
            f"({type(error).__name__})"
        ) from error


def _with_its_address(job: str, number: str) -> str:
    """A task, and where TF_CONFIG has it."""
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
    addresses = cluster.get(job, [])
    return f"{job} {number} ({addresses[int(number)]})" if int(number) < len(addresses) else f"{job} {number}"


def summed(values: Any, timeout_s: float | None = None) -> Any:
    """Inside `strategy.run`: a nest of tensors, each summed over all replicas."""
    options = timeout_s and tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout_s)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values, options or None)
