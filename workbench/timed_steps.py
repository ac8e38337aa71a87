"""Training steps on made-up batches of given shapes, timed: `python -m workbench.timed_steps`, JSON in and out.

A part of the joint, in a process of its own: `advise` starts it. Seconds are what a run's timed window would say of
such a batch: from giving it to having its loss, in some passes after one that does not count.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import time
from typing import Any

from workbench.config import Config


def main() -> int:
    """Read what is asked from standard input, print the seconds of each batch."""
    asked = json.load(sys.stdin)
    print(json.dumps({"seconds": timed(Config.of(asked["tree"]), asked)}))
    return 0


def timed(config: Config, asked: dict[str, Any]) -> list[list[float]]:
    """Of each batch the seconds of each pass.

    `asked`: the model's `task`, `classes`, `vocabulary` or `features`, `batches` [T, lengths], `passes`, and a
    `seed`, from which their content and their order are drawn.
    """
    import numpy as np

    from workbench.model import SequenceModel
    from workbench.run import set_devices
    from workbench.training import make_train_step

    set_devices(config, 1)
    draw = np.random.default_rng(asked["seed"])
    model = SequenceModel(
        config.cell,
        config.rnn,
        config.model,
        task=asked["task"],
        classes=asked["classes"],
        vocabulary_size=asked["vocabulary"],
        feature_size=asked["features"],
    )
    loss = dataclasses.replace(config.loss, class_weights=None)  # which cost nothing, and are of real labels
    step = make_train_step(model, config.optimizer, loss, truncate=config.training.truncate)

    def batch(steps: int, lengths: list[int]) -> dict[str, np.ndarray]:
        length = np.array(lengths, np.int32)
        valid = np.arange(steps) < length[:, np.newaxis]
        if asked["vocabulary"]:
            ids = draw.integers(min(2, asked["vocabulary"] - 1), asked["vocabulary"], valid.shape)
            inputs = np.where(valid, ids, 0).astype(np.int32)
        else:
            inputs = draw.standard_normal((*valid.shape, asked["features"])).astype(np.float32)
            inputs *= valid[..., np.newaxis]
        labels = draw.integers(0, asked["classes"], valid.shape) * valid
        if asked["task"] == "classify":
            labels = draw.integers(0, asked["classes"], len(length))
        return {"inputs": inputs, "labels": labels.astype(np.int32), "length": length}

    batches = [batch(*one) for one in asked["batches"]]
    seconds: list[list[float]] = [[] for _ in batches]
    gc.disable()
    for number in range(asked["passes"] + 1):
        for place in draw.permutation(len(batches)):
            start = time.perf_counter()
            float(step(batches[place]))
            if number:
                seconds[place].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
