"""A fixed matrix product: how fast is this machine just now?"""

from __future__ import annotations

import time
from collections.abc import Callable

import tensorflow as tf

SIZE, OF_A_GPU = 1024, 8192
"""Rows and columns of both operands, on a CPU and on a GPU: products of milliseconds there, which the time to start
one does not hide, and past any cache effect of a single tile."""

WARM_UP_S = 0.1
"""Products before the first that counts in a process: without them the first 50 ms are a fifth slower than all
that follow, and every window's two calibrations differ."""


def calibrate(
    *,
    seconds: float = 0.05,
    least: int = 3,
    size: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Run a float32 product of two `size` x `size` matrices again and again; return the best GFLOP/s.

    The best and not the mean: the question is what the machine can give just now, and whatever disturbs a
    product of a few milliseconds only ever makes it slower. At least `least` products, then until `seconds`
    are over. It is a gate (claims/README.md, section 3) and never a divisor of a result.
    """
    if size is None:
        size = OF_A_GPU if tf.config.list_logical_devices("GPU") else SIZE
    product = _product(size)
    product()  # the first call traces, and pages the operands in
    best = float("inf")
    begin = clock()
    done = 0
    while done < least or clock() - begin < seconds:
        start = clock()
        product()
        best = min(best, clock() - start)
        done += 1
    return 2.0 * size**3 / best / 1e9


_PRODUCTS: dict[int, Callable[[], object]] = {}


def _product(size: int) -> Callable[[], object]:
    if size not in _PRODUCTS:
        left = tf.random.stateless_uniform([size, size], seed=[1, size])
        right = tf.random.stateless_uniform([size, size], seed=[2, size])
        multiply = tf.function(lambda: tf.reduce_sum(tf.linalg.matmul(left, right)[0, :8]))
        _PRODUCTS[size] = lambda: multiply().numpy()
        begin = time.perf_counter()
        while time.perf_counter() - begin < WARM_UP_S:
            _PRODUCTS[size]()
    return _PRODUCTS[size]
