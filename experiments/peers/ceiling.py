"""The matrix products of a packed training step, and nothing else: what no runner of packed steps can beat.

For each step the running examples' states [n, H] times the recurrent weights [H, G], and back, gradients [n, G]
times their transpose. Then once for all N tokens: inputs times kernel, and the products of the gradients of kernel,
recurrent weights and inputs. Gates, gathers, copies, sums and what is kept for the backward pass are left out.

Which product is the faster depends on the sizes, so both are timed, and the faster is the ceiling: XLA's, in two
independent chains, so that two cores are busy, in loops of constant size, of which there are more than the engine
has, so that fewer rows are computed in vain; and TensorFlow's own, on all running examples at once by all threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

CHAINS = 2
ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
Ceiling = tuple[Callable[[np.ndarray], Any], Callable[[Any], Any]]


def xla_ceiling(kernel: tf.Tensor, recurrent: tf.Tensor, batch: int) -> Ceiling:
    """`prepare(lengths)`, and `step` on what it gives: chains of XLA's products."""
    largest = max(1, (batch + CHAINS - 1) // CHAINS)
    rows = row_counts(largest)
    units, width = recurrent.shape
    transposed = tf.transpose(recurrent)
    begin = _random(largest, width)

    @tf.function(autograph=False, jit_compile=True)
    def forward(steps: tf.Tensor, recurrent: tf.Tensor, begin: tf.Tensor) -> tf.Tensor:
        def body(k: Any, h: Any) -> Any:
            return k + 1, tf.matmul(h, recurrent)[:, :units]

        h = begin[:, :units]
        for index, n in enumerate(rows):
            _, h = tf.while_loop(lambda k, _, index=index: k < steps[index], body, (0, h[:n]))
        return h

    @tf.function(autograph=False, jit_compile=True)
    def backward(steps: tf.Tensor, transposed: tf.Tensor, begin: tf.Tensor) -> tf.Tensor:
        def body(k: Any, dz: Any) -> Any:
            return k + 1, tf.concat([tf.matmul(dz, transposed), dz[:, units:]], 1)

        dz = begin
        for index, n in enumerate(rows):
            _, dz = tf.while_loop(lambda k, _, index=index: k < steps[index], body, (0, dz[:n]))
        return dz

    @tf.function(autograph=False, reduce_retracing=True)
    def step(steps: tf.Tensor, x: tf.Tensor, h: tf.Tensor, dz: tf.Tensor) -> list[tf.Tensor]:
        done = [tf.matmul(x, kernel)]
        done += [forward(steps[chain], recurrent, begin) for chain in range(CHAINS)]
        with tf.control_dependencies(done):
            ends = [backward(steps[chain], transposed, begin) for chain in range(CHAINS)]
        with tf.control_dependencies(ends):
            return [*done, *ends, *_for_all_tokens(kernel, x, h, dz)]

    def prepare(lengths: np.ndarray) -> Any:
        return tf.constant(steps_of(lengths, rows), tf.int32), *_tokens(kernel, recurrent, lengths)

    return prepare, lambda given: step(*given)


def plain_ceiling(kernel: tf.Tensor, recurrent: tf.Tensor, batch: int) -> Ceiling:
    """`prepare(lengths)`, and `step` on what it gives: one chain of TensorFlow's products."""
    units, width = recurrent.shape
    transposed = tf.transpose(recurrent)
    begin = _random(batch, width)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(running: tf.Tensor, x: tf.Tensor, h: tf.Tensor, dz: tf.Tensor) -> list[tf.Tensor]:
        steps = tf.size(running)

        def forward(k: Any, h: Any) -> Any:
            return k + 1, tf.matmul(h[: running[k]], recurrent)[:, :units]

        def backward(k: Any, dz: Any) -> Any:
            dz = dz[: running[k]]
            return k + 1, tf.concat([tf.matmul(dz, transposed), dz[:, units:]], 1)

        def loop(body: Any, start: Any) -> Any:
            shapes = (tf.TensorShape([]), tf.TensorShape([None, start.shape[1]]))
            more = {"shape_invariants": shapes, "parallel_iterations": 1}
            return tf.while_loop(lambda k, _: k < steps, body, (0, start), **more)[1]

        done = [tf.matmul(x, kernel), loop(forward, begin[:, :units])]
        with tf.control_dependencies(done):
            end = loop(backward, begin)
        with tf.control_dependencies([end]):
            return [*done, end, *_for_all_tokens(kernel, x, h, dz)]

    def prepare(lengths: np.ndarray) -> Any:
        running = (lengths[:, None] > np.arange(int(lengths.max()))).sum(0)
        return tf.constant(running, tf.int32), *_tokens(kernel, recurrent, lengths)

    return prepare, lambda given: step(*given)


def _for_all_tokens(kernel: tf.Tensor, x: tf.Tensor, h: tf.Tensor, dz: tf.Tensor) -> list[tf.Tensor]:
    """Gradients of kernel, recurrent weights and inputs."""
    d_kernel, d_recurrent = (tf.matmul(operand, dz, transpose_a=True) for operand in (x, h))
    return [d_kernel, d_recurrent, tf.matmul(dz, kernel, transpose_b=True)]


def _tokens(kernel: tf.Tensor, recurrent: tf.Tensor, lengths: np.ndarray) -> list[tf.Tensor]:
    """Inputs, states and gradients of all tokens."""
    return [_random(int(lengths.sum()), n) for n in (kernel.shape[0], *recurrent.shape)]


def _random(rows: int, columns: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(rows, columns)), tf.float32)


def row_counts(largest: int) -> list[int]:
    """The numbers of rows that a step may have, falling.

    >>> row_counts(16)
    [16, 12, 8, 6, 4, 2, 1]
    """
    return sorted({*(n for n in ROWS if n < largest), largest}, reverse=True)


def steps_of(lengths: np.ndarray, rows: list[int]) -> np.ndarray:
    """How many steps of each chain have so many rows, rounded up to one of `rows`; [chains, len(rows)].

    >>> steps_of(np.array([5, 5, 2, 1]), [2, 1]).tolist()
    [[2, 3], [1, 4]]
    """
    ordered = -np.sort(-lengths)
    counts = np.zeros((CHAINS, len(rows)), int)
    for chain in range(CHAINS):
        part = ordered[chain::CHAINS]
        running = (part[:, None] > np.arange(int(part.max(initial=0)))).sum(0)
        for n in running:
            counts[chain, max(k for k, size in enumerate(rows) if size >= n)] += 1
    return counts
