"""A process of a distributed training run, for the tests: `python distributed.py KIND NUMBER DATA OUTPUT.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
CASES: dict[str, dict[str, Any]] = {
    "token": {"clip_norm": 0.05, "direction": "both"},
    "example": {
        "average": "example",
        "clip_norm": 0.05,
        "rnn": "packed",
        "rnn_options": {"kernel": "autodiff"},
    },
    "xla": {"rnn": "packed", "rnn_options": {"kernel": "xla"}, "cell": "lstm"},
    "keras": {"rnn": "keras"},
    "shards": {"rnn": "static", "vocabulary_size": 100, "classes": 100},
    "dropout": {"dropout": 0.5, "cell_options": {"output_keep_prob": 0.8}},
    "weighed steps": {"weighed": "step", "clip_norm": 0.05},
    "weighed examples": {"weighed": "example", "average": "example"},
    "diverged": {"learning_rate": float("inf"), "max_steps": 1},
}
EPOCHS = 2


def batches(case: str, data: Path, epoch: int, replica: int) -> Iterable[Batch]:
    """A replica's batches of an epoch.

    Of "shards" those of three files, two of them replica 0's. Else replica 0 has three batches, replica 1 one in
    epoch 0 and none in epoch 1, and lengths differ widely.
    """
    if case == "shards":
        from workbench.data.feed import Feed
        from workbench.options.data import TFRecord
        from workbench.options.padding import Global

        feed = Feed(data, TFRecord(batch_size=8), Global(), replicas=2, seed=5)
        for batch in feed.train(epoch, replica):
            yield {name: np.asarray(values) for name, values in batch.items()}
        return
    for number in range(3 if replica == 0 else 1 - epoch):
        random = np.random.default_rng([epoch, replica, number])
        lengths = random.integers(0, 3 if replica else 9, 4 + replica).astype(np.int32)
        lengths[0] = 2 if replica else 9 - number
        valid = np.arange(lengths.max()) < lengths[:, np.newaxis]
        ids = np.where(valid, random.integers(1, 10, valid.shape), 0).astype(np.int32)
        index = np.arange(len(ids), dtype=np.int64) + 100 * replica + 10 * number
        batch = {"inputs": ids, "labels": ids % 2, "length": lengths, "index": index}
        if of := CASES[case].get("weighed"):
            shape = valid.shape if of == "step" else lengths.shape
            weights = random.integers(0, 3, shape).astype(np.float32)
            batch["weights"] = weights * valid if of == "step" else weights
        yield batch


def union(case: str, data: Path, epoch: int) -> Iterable[Batch]:
    """The same global batches for one replica: what the two have at a step, padded together."""
    both = [list(batches(case, data, epoch, replica)) for replica in (0, 1)]
    for number in range(max(map(len, both))):
        parts = [given[number] for given in both if number < len(given)]
        width = max(part["inputs"].shape[1] for part in parts)
        yield {
            name: np.concatenate(
                [
                    np.pad(part[name], [(0, 0), (0, width - part[name].shape[1])][: part[name].ndim])
                    if part[name].ndim > 1
                    else part[name]
                    for part in parts
                ]
            )
            for name in parts[0]
        }


def trained(case: str, given: Callable[[int], Any], distribution: Any = None) -> dict[str, Any]:
    """What training of a case gives, as JSON can hold it."""
    from workbench.model import SequenceModel
    from workbench.options.cell import SCHEMAS as CELLS
    from workbench.options.loss import Loss
    from workbench.options.model import Model
    from workbench.options.optimizer import AdamW
    from workbench.options.rnn import SCHEMAS as RNNS
    from workbench.options.training import Training
    from workbench.training import make_train_step, one, train

    options = {name: value for name, value in CASES[case].items() if name != "weighed"}
    cell = CELLS[options.pop("cell", "basic_rnn")](units=4, **options.pop("cell_options", {}))
    rnn = RNNS[options.pop("rnn", "dynamic")](
        direction=options.pop("direction", "forward"), **options.pop("rnn_options", {})
    )
    around = Model(embedding_size=4, dtype="float64", dropout=options.pop("dropout", 0.0))
    loss, clip_norm = Loss("length", options.pop("average", "token")), options.pop("clip_norm", None)
    learning_rate, max_steps = options.pop("learning_rate", 0.05), options.pop("max_steps", None)
    distribution = distribution or one()
    with distribution.scope():
        model = SequenceModel(
            cell, rnn, around, **{"task": "tag", "classes": 2, "vocabulary_size": 10, **options}
        )
    logged: list[list[float]] = []
    step = make_train_step(model, AdamW(clip_norm=clip_norm), loss, distribution)
    step.optimizer.learning_rate = learning_rate
    result = train(
        step,
        given,
        Training(epochs=EPOCHS, max_steps=max_steps, log_every=2),
        log=lambda number, values: logged.append([number, values["loss/step"], values["data/valid_tokens"]]),
    )
    return {
        "losses": result.losses,
        "weights": [
            variable.numpy().tolist() for variable in model.trainable_variables if not result.diverged
        ],
        "not finite": result.not_finite,
        "counts": [result.examples, result.padded_tokens, result.valid_tokens, result.batches],
        "objective": result.objective_last_epoch,
        "order": result.order_sha256,
        "bytes": result.largest_batch_bytes,
        "logged": logged,
    }


def main(kind: str, number: int, data: Path, output: Path) -> None:
    import tensorflow as tf

    from workbench.training import mirrored, multi_worker

    if kind == "mirrored":
        [cpu] = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        distribution = mirrored(2, "cpu")
    else:
        distribution = multi_worker(number, timeout_s=120)
    found = {
        case: trained(
            case,
            lambda epoch, case=case: [batches(case, data, epoch, replica) for replica in distribution.mine],
            distribution,
        )
        for case in CASES
    }
    output.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
