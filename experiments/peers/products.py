"""Times the product of a recurrent step by itself, [rows, H] @ [H, 4 H], in each way that there is; see README.md.

A loop's products depend on one another, so `STEPS` of them are timed in a chain:

    state = state @ weights;  state = its first H columns

XLA's is what a window of `rnn=packed` makes, on one chain of examples and one core. PyTorch's LSTM makes oneDNN's,
whose weights are laid out once for all steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from experiments.about import about, made_by
from experiments.peers.measure import torch_version
from experiments.timing import ratio, rounds, step_seconds

STEPS = 64
_BLAS = "OPENBLAS_NUM_THREADS"
OURS = "XLA"
Way = Callable[[np.ndarray, np.ndarray], Callable[[], Any]]
"""Of the first state [rows, H] and the weights [H, 4 H]: what makes the chain and returns its last state."""


def _xla(layout: Callable[[tf.Tensor], Any], product: Callable[[tf.Tensor, Any], tf.Tensor]) -> Way:
    """A loop inside XLA; what `layout` makes of the weights is made before it."""

    def way(state: np.ndarray, weights: np.ndarray) -> Callable[[], Any]:
        @tf.function(jit_compile=True, autograph=False)
        def chain(state: tf.Tensor, weights: Any) -> tf.Tensor:
            def body(t: Any, state: Any) -> Any:
                return t + 1, product(state, weights)

            return tf.while_loop(lambda t, _: t < STEPS, body, (0, state))[1]

        laid, begin = layout(tf.constant(weights)), tf.constant(state)
        return lambda: chain(begin, laid).numpy()

    return way


def _first(z: Any, units: int) -> Any:
    return z[:, :units]


def _gates(weights: tf.Tensor) -> list[tf.Tensor]:
    """A matrix [H, H] a gate."""
    return tf.split(weights, 4, 1)


def _each_gate(state: tf.Tensor, gates: list[tf.Tensor]) -> tf.Tensor:
    """A product a gate; all four count, though the chain goes on with the first."""
    made = [tf.matmul(state, one) for one in gates]
    return made[0] + 0.0 * tf.add_n(made[1:])


def _plain(state: np.ndarray, weights: np.ndarray) -> Callable[[], Any]:
    """TensorFlow's own product, one op after the other."""

    @tf.function(autograph=False)
    def chain(state: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        for _ in range(STEPS):
            state = _first(tf.matmul(state, weights), state.shape[1])
        return state

    given = tf.constant(state), tf.constant(weights)
    return lambda: chain(*given).numpy()


def _numpy(state: np.ndarray, weights: np.ndarray) -> Callable[[], Any]:
    def chain() -> np.ndarray:
        now = state
        for _ in range(STEPS):
            now = _first(now @ weights, state.shape[1])
        return now

    return chain


def _torch(packed: bool) -> Way:
    """PyTorch's product; `packed`: oneDNN's, whose weights were laid out before, as its LSTM has them."""

    def way(state: np.ndarray, weights: np.ndarray) -> Callable[[], Any]:
        import torch

        matrix, begin, units = torch.from_numpy(weights), torch.from_numpy(state), state.shape[1]
        if packed:
            ops = torch.ops.mkldnn
            laid = ops._reorder_linear_weight(matrix.T.contiguous(), len(state))

            def product(now: Any) -> Any:
                return ops._linear_pointwise(now, laid, None, "none", [], "")
        else:

            def product(now: Any) -> Any:
                return torch.mm(now, matrix)

        def chain() -> np.ndarray:
            now = begin
            with torch.inference_mode():
                for _ in range(STEPS):
                    now = _first(product(now), units)
            return now.numpy()

        return chain

    return way


WAYS: dict[str, Way] = {
    OURS: _xla(tf.identity, lambda h, r: _first(tf.matmul(h, r), h.shape[1])),
    "XLA, weights transposed": _xla(
        tf.transpose, lambda h, r: _first(tf.matmul(h, r, transpose_b=True), h.shape[1])
    ),
    "XLA, a product a gate": _xla(_gates, _each_gate),
    "TensorFlow": _plain,
    "NumPy": _numpy,
    "PyTorch": _torch(packed=False),
    "PyTorch, weights laid out once": _torch(packed=True),
}


def measure(units: int, rows: int, seconds: float) -> list[dict[str, Any]]:
    """A row a way: microseconds a product, and how many times as long as XLA's, with its interval of 95%.

    A way that cannot be had here, or whose chain is not that of float64, has the reason in place of a time.
    """
    random = np.random.default_rng(units + rows)
    state = random.normal(size=(rows, units)).astype(np.float32)
    weights = (random.normal(size=(units, 4 * units)) / np.sqrt(units)).astype(np.float32)
    exact = state.astype(np.float64)
    for _ in range(STEPS):
        exact = _first(exact @ weights.astype(np.float64), units)
    chains, refused = {}, {}
    for name, way in WAYS.items():
        try:
            chains[name] = way(state, weights)
            error = float(np.max(np.abs(chains[name]() - exact)) / np.max(np.abs(exact)))
        except (ImportError, AttributeError, RuntimeError, tf.errors.OpError) as lacking:
            refused[name] = str(lacking).splitlines()[0]
            continue
        if not error < 1e-3:  # of 64 products in a row
            refused[name] = f"off by {error:.1e} of the largest"
    timed = {name: _as_call(chain) for name, chain in chains.items() if name not in refused}
    taken = rounds(timed, 1, seconds=seconds, most=200)
    found = []
    for name in WAYS:
        row: dict[str, Any] = {"units": units, "rows": rows, "way": name}
        if name in refused:
            found.append(row | {"refused": refused[name]})
            continue
        times, low, high = ratio(taken[name], taken[OURS]) if OURS in taken else (math.nan,) * 3
        us = 1e6 * step_seconds(taken[name]) / STEPS
        gflops = 8e-3 * rows * units * units / us
        found.append(row | {"us": us, "gflops": gflops, "times": times, "low": low, "high": high})
    return found


def _as_call(chain: Callable[[], Any]) -> Callable[[int], object]:
    return lambda _: chain()


def table(found: Mapping[str, Any]) -> str:
    """The rows as Markdown, a line for each size."""
    lines = [
        f"# The product of a step, {found['threads']} thread{'s' * (found['threads'] > 1)}",
        "",
        made_by("experiments.peers.products", found),
        "",
        "Microseconds a product [rows, H] @ [H, 4 H]; in brackets how many times as long as XLA's takes.",
        "",
        "| H | rows | " + " | ".join(WAYS) + " |",
        "| ---: | ---: |" + " --- |" * len(WAYS),
    ]
    sizes = dict.fromkeys((row["units"], row["rows"]) for row in found["rows"])
    for size in sizes:
        of_size = {row["way"]: row for row in found["rows"] if (row["units"], row["rows"]) == size}
        lines.append(f"| {size[0]} | {size[1]} | " + " | ".join(_cell(of_size[name]) for name in WAYS) + " |")
    refused = {row["way"]: row["refused"] for row in found["rows"] if "refused" in row}
    lines += ["", *(f"- {name}: {why}" for name, why in refused.items())] if refused else []
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any]) -> str:
    if "refused" in row:
        return "-"
    if row["way"] == OURS:
        return f"{row['us']:.1f}"
    return f"{row['us']:.1f} ({row['times']:.2f} [{row['low']:.2f}, {row['high']:.2f}])"


def main() -> None:
    """Measure; write products-N-threads.json and .md."""
    parser = argparse.ArgumentParser(prog="python -m experiments.peers.products", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of each library")
    parser.add_argument("--units", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each size")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if os.environ.get(_BLAS) != str(given.threads):  # NumPy's library reads it as it starts
        os.environ[_BLAS] = str(given.threads)
        os.execv(sys.executable, [sys.executable, "-m", "experiments.peers.products", *sys.argv[1:]])
    _set_threads(given.threads)
    begin = time.monotonic()
    rows = [row for units in given.units for n in given.rows for row in measure(units, n, given.seconds)]
    found = {
        "typed": [word for word in sys.argv[1:] if word != str(given.out) and not word.startswith("--out")],
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "threads": given.threads,
        "about": about(["tensorflow", "numpy"]) | {"version.torch": torch_version()},
        "rows": rows,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"products-{given.threads}-thread{'s' * (given.threads > 1)}"
    (given.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / f"{name}.md").write_text(table(found))
    print(table(found))


def _set_threads(number: int) -> None:
    """For TensorFlow and PyTorch."""
    tf.config.threading.set_intra_op_parallelism_threads(number)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(number)


if __name__ == "__main__":
    main()
