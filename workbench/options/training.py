"""conf/training: how long, how exactly, and on what."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Training(Options):
    """Epochs over the training split; the validation split is evaluated on the way and at the end."""

    name: str = option("default", "", choices=["default"])
    epochs: int = option(1, "passes over the training split", low=1)
    max_steps: int | None = option(None, "stop after so many steps; null: never", low=1)
    truncate: int | None = option(
        None,
        "truncated back-propagation: a batch goes in chunks of so many steps, the state carried, with an update "
        "after each; null: through the whole sequence",
        low=1,
    )
    deterministic: bool = option(False, "TensorFlow's op determinism: on for quality, off for timing")
    device: str = option("auto", "auto takes a GPU if TensorFlow sees one", choices=["auto", "cpu", "gpu"])
    tf32: bool = option(False, "let a GPU round float32 products to TF32")
    threads: int | None = option(None, "threads of TensorFlow; null: one a core", low=1)
    log_every: int = option(20, "steps between two logged losses", low=1)
    validate_every: int | None = option(
        1,
        "epochs between two evaluations of the validation split while training, where there are several; null: "
        "only at the end",
        low=1,
    )
    keep: str = option(
        "none",
        "the trained model, with its run: as the last step left it, or with the weights of the best epoch",
        choices=["none", "last", "best"],
    )
    best_by: str = option(
        "loss", "what tells the best epoch, on the validation split", choices=["loss", "accuracy", "f1"]
    )
    patience: int | None = option(
        None, "evaluations without a better one after which training ends early; null: it never does", low=1
    )
    checkpoint_every: int | str | None = option(
        None,
        "epochs, or seconds as 60s, between two checkpoints of a long job, from which it goes on after a kill "
        "(workbench.resume=true); null: none",
    )
    strategy: str = option(
        "none",
        "of tf.distribute: mirrored copies the model to several devices of one process, multi_worker to several "
        "processes, on this machine or as TF_CONFIG says",
        choices=["none", "mirrored", "multi_worker"],
    )
    workers: int = option(
        1, "replicas that share each batch, the shards divided among them: devices or processes", low=1
    )
    worker_timeout_s: float = option(
        120.0, "after so long without one of its workers a run ends as failed", above=0
    )


def interval(every: int | str) -> tuple[int | None, float | None]:
    """Epochs or seconds between two checkpoints, the other None; ValueError says what `checkpoint_every` may be.

    >>> interval(5), interval("90s")
    ((5, None), (None, 90.0))
    """
    seconds = re.fullmatch(r"(\d+(?:\.\d*)?)\s*s", every) if isinstance(every, str) else None
    if seconds and 0 < float(seconds[1]) < math.inf:
        return None, float(seconds[1])
    if not isinstance(every, str) and every >= 1:
        return every, None
    raise ValueError("must be a whole number of epochs, 1 or more, or seconds over 0 as in 60s, or null")


SCHEMAS: dict[str, type[Training]] = {"default": Training}
