"""Times a training step of every cell beside the LSTM's, interleaved; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tensorflow as tf

from experiments.about import typed
from experiments.timing import quartiles, rounds, step_seconds
from workbench.cells import CELLS
from workbench.cells.composition import compose_cell
from workbench.options.cell import LSTM, SCHEMAS
from workbench.provenance import machine, versions
from workbench.repositories import git
from workbench.rnn import RNNS

B, T, D, H = 32, 50, 64, 64
WRAPPED = {
    "lstm, 4 layers": LSTM(units=H, layers=4),
    "lstm, dropout 0.5 on outputs": LSTM(units=H, output_keep_prob=0.5),
    "lstm, residual": LSTM(units=H, residual=True),
    "lstm, attention over 10": LSTM(units=H, attention_length=10),
}


def step_of(cell: object, inputs: tf.Tensor) -> Callable[[], object]:
    """One training step's work: outputs, and the gradients of their sum of squares."""
    variables = cell.trainable_variables

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, _ = RNNS["dynamic"](cell, inputs, None, training=True)
            loss = tf.reduce_sum(outputs**2)
        return [loss, *tape.gradient(loss, [inputs, *variables])]

    return lambda: step()[0].numpy()


def measure(turns: int, steps: int) -> list[dict[str, object]]:
    """A row a cell: its parameters, the median time of a step in ms, its ratio to the LSTM with quartiles."""
    inputs = tf.random.stateless_normal([B, T, D], seed=[1, 2])
    named = {name: compose_cell(SCHEMAS[name](units=H)) for name in CELLS}
    named |= {name: compose_cell(options) for name, options in WRAPPED.items()}
    run = {}
    for name, cell in named.items():
        cell.build((None, D))
        run[name] = several(step_of(cell, inputs), steps)
        run[name](0)
    times = rounds(run, 1, seconds=0, least=turns, most=turns, seed=1)
    rows = []
    for name, cell in named.items():
        low, middle, high = quartiles(times[name], times["lstm"])
        rows.append(
            {
                "cell": name,
                "parameters": int(sum(tf.size(v) for v in cell.trainable_variables)),
                "ms": round(1e3 * step_seconds(times[name]) / steps, 2),
                "ratio": round(middle, 2),
                "low": round(low, 2),
                "high": round(high, 2),
            }
        )
    return rows


def several(step: Callable[[], object], times: int) -> Callable[[int], object]:
    """A step taken several times, as what is timed at once."""
    return lambda _: [step() for _ in range(times)]


def main() -> None:
    """Measure and write results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    rows = measure(given.rounds, given.steps)
    facts = {
        **machine(),
        **versions(),
        **git(),
        "command": typed("experiments/cell_cost/measure.py"),
    }
    facts["setting"] = (
        f"B {B}, T {T}, {D} inputs, {H} units, float32, {given.rounds} rounds of {given.steps} steps"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "cells.json").write_text(json.dumps({"facts": facts, "cells": rows}, indent=1) + "\n")
    lines = [
        "| cell | parameters | ms a step | times the LSTM's [quartiles] |",
        "| --- | ---: | ---: | --- |",
    ]
    lines += [
        f"| {r['cell']} | {r['parameters']:,} | {r['ms']} | {r['ratio']} [{r['low']}, {r['high']}] |"
        for r in rows
    ]
    lines += ["", *(f"- {key}: {value}" for key, value in facts.items())]
    (given.out / "cells.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
