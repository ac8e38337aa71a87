"""Work in processes of their own, forked from a server that imported the libraries but never ran them."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

PRELOADED = (
    "experiments.peers.arms",
    "experiments.peers.worker",
    "workbench.measure.memory",
    "workbench.measure.device",
)


class DiedError(RuntimeError):
    """A process ended without an answer."""


class Processes:
    """`run(function, *arguments)` in a new process; with `fresh` in a new interpreter that imported nothing yet."""

    def __init__(self) -> None:
        os.environ.setdefault(
            "TF_CPP_MIN_LOG_LEVEL", "3"
        )  # what fails is an exception; the rest says what CPUs lack
        more = ["torch"] if importlib.util.find_spec("torch") else []
        self._forked = multiprocessing.get_context("forkserver")
        self._forked.set_forkserver_preload([*PRELOADED, *more])
        self._fresh = multiprocessing.get_context("spawn")

    def run(self, function: Callable[..., Any], *arguments: Any, fresh: bool = False) -> Any:
        """What the function returns; its exception; or DiedError where its process died."""
        context = self._fresh if fresh else self._forked
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                return pool.submit(function, *arguments).result()
            except BrokenProcessPool as error:
                raise DiedError(
                    f"the process of {function.__name__} died (killed, or out of memory?)"
                ) from error


def sees_gpu() -> bool:
    """Whether TensorFlow sees a GPU; for a process of its own."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
