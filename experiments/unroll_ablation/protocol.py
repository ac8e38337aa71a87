"""TensorFlow's own benchmark of static against dynamic unrolling, with this project's runners; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tensorflow as tf

from experiments.about import typed
from experiments.timing import ratio, rounds, step_seconds
from workbench.cells import CELLS
from workbench.provenance import machine, versions
from workbench.repositories import git
from workbench.rnn import RNNS

BATCHES, TIME, UNITS = (256, 512), 50, (128, 256, 512)
ARMS: dict[str, tuple[str, dict[str, int]]] = {
    "static": ("static", {}),
    "dynamic": ("dynamic", {}),
    "dynamic, 8 steps an iteration": ("dynamic", {"unroll_steps": 8}),
    "packed": ("packed", {}),
}


def step_of(arm: str, batch: int, units: int) -> Callable[[], np.ndarray]:
    """What the protocol times: outputs, final state and the gradients of both by every weight."""
    draw = np.random.default_rng(127)
    length = tf.constant(draw.integers(0, TIME, size=batch), tf.int32)
    inputs = tf.constant(draw.standard_normal([batch, TIME, units], np.float32))
    cell = CELLS["lstm"](units, use_peepholes=True)
    cell.build((None, units))
    for variable in cell.trainable_variables:
        variable.assign(draw.uniform(-0.01, 0.01, variable.shape))
    runner, options = ARMS[arm]

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs, states = RNNS[runner](cell, inputs, length, **options)
            total = tf.add_n([tf.reduce_sum(tensor) for tensor in [outputs, *states]])
        return [total, *tape.gradient(total, cell.trainable_variables)]

    return lambda: np.concatenate([tensor.numpy().ravel() for tensor in step()])


def measure(batch: int, units: int, turns: int) -> list[dict[str, object]]:
    """A row an arm: first call, median step, and its speed as a ratio to static's with a 95% t interval."""
    run, first = {}, {}
    for arm in ARMS:
        run[arm] = step_of(arm, batch, units)
        start = time.perf_counter()
        values = run[arm]()
        first[arm] = time.perf_counter() - start
        run[arm]()
        if arm == "static":
            reference = values
        worst = np.max(np.abs(values - reference)) / np.max(np.abs(reference))
        if not worst < 1e-5:
            raise ValueError(f"{arm} differs from static by {worst:.1e} of the largest value: not timed")
    calls = {arm: lambda _, step=run[arm]: step() for arm in ARMS}
    times = rounds(calls, 1, seconds=0, least=turns, most=turns, seed=1)
    rows = []
    for arm in ARMS:
        value, low, high = ratio(times["static"], times[arm])
        row = {"batch": batch, "units": units, "arm": arm, "first_call_s": round(first[arm], 2)}
        row |= {"ms": round(1e3 * step_seconds(times[arm]), 1), "ratio": round(value, 2)}
        if arm != "static":
            row |= {"low": round(low, 2), "high": round(high, 2)}
        rows.append(row)
    return rows


def main() -> None:
    """Measure and write results/protocol.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    rows = [row for batch in BATCHES for units in UNITS for row in measure(batch, units, given.rounds)]
    facts = {
        **machine(),
        **versions(),
        **git(),
        "command": typed("experiments/unroll_ablation/protocol.py"),
    }
    facts["setting"] = (
        f"LSTM with peepholes, T {TIME}, inputs as wide as units, lengths uniform on 0 to {TIME - 1}, float32, "
        f"{given.rounds} interleaved rounds"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "protocol.json").write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")
    lines = [
        "| batch | units | runner | first call, s | ms a step | times as fast as static [95%] |",
        "| ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        interval = f" [{row['low']}, {row['high']}]" if "low" in row else ""
        cells = [row[name] for name in ("batch", "units", "arm", "first_call_s", "ms")]
        cells.append(f"{row['ratio']}{interval}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", *(f"- {key}: {value}" for key, value in facts.items())]
    (given.out / "protocol.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
