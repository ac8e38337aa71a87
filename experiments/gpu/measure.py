"""The device script's own measurements, a part a process: python -m experiments.gpu.measure PART SIZE."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.gpu.device import row
from experiments.peers.settings import KERAS, PACKED, TORCH, Setting, can, in_order
from experiments.peers.settings import Job as PeersJob

FEATURES = 64
NO_GPU = "TensorFlow sees no GPU: nothing is measured at full size (--size tiny tries the script)"
WARM_UP, TIMED = 5, 9
"""XLA's first calls run kernel by kernel and record graphs; a later one is what a training step costs."""


def _tell(part: str, **values: Any) -> None:
    row(Path(os.environ["WORKBENCH_GPU_ROWS"]), part=part, **values)
    print(part, values, flush=True)


def devices(size: str) -> None:
    """What there is, and whether products, XLA and cuDNN give right numbers."""
    import keras
    import tensorflow as tf

    from workbench.measure.device import configure
    from workbench.options.training import Training

    _tell(
        "devices",
        **{"what": "setup", **configure(Training(device="auto" if size == "tiny" else "gpu", tf32=False))},
    )
    draw = np.random.default_rng(0)
    a = draw.normal(size=(512, 512)).astype("float32")
    exact = a.astype("float64") @ a.astype("float64")
    compiled = tf.function(lambda x: tf.tanh(x @ x / 1000), jit_compile=True)
    found = {"a product": (tf.matmul(a, a), exact), "XLA": (compiled(a), np.tanh(exact / 1000))}
    layer = keras.layers.LSTM(32, return_sequences=True, zero_output_for_mask=True)
    x, mask = draw.normal(size=(4, 7, 16)).astype("float32"), tf.sequence_mask([7, 3, 1, 5], 7)
    with tf.device("CPU:0"):
        slow = keras.layers.LSTM(32, return_sequences=True, zero_output_for_mask=True, use_cudnn=False)
        slow.build(x.shape)
        layer.build(x.shape)
        slow.set_weights(layer.get_weights())
        expected = slow(x, mask=mask)
    found["Keras' LSTM"] = layer(x, mask=mask), expected
    for what, (ours, theirs) in found.items():
        _tell(
            "devices", what=what, largest_error=float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs))))
        )


def steps(size: str) -> None:
    """Microseconds a step of the tiles kernel: by rows, then by steps a turn; Keras' layer beside it."""
    small = size == "tiny"
    _by_rows("steps", [(16, 2)] if small else [(r, 8) for r in (64, 256, 16, 1024)], 8 if small else 512)
    _by_rows("steps", [(16, 1)] if small else [(64, u) for u in (1, 4, 16)], 8 if small else 512)
    if not small:
        _by_rows("steps", [(64, 8), (256, 8)], 512, dtype="mixed_bfloat16")
        _by_rows("steps", [(64, 8), (256, 8)], 512, tf32=True)


def whole_loops(size: str) -> None:
    """The same where XLA_FLAGS ask for graphs of whole loops."""
    small = size == "tiny"
    _by_rows("whole loops", [(16, 1)] if small else [(64, 8), (256, 8)], 8 if small else 512)


def _by_rows(
    part: str, cases: list[tuple[int, int]], units: int, *, dtype: str = "float32", tf32: bool = False
) -> None:
    import keras
    import tensorflow as tf

    from workbench.cells import CELLS
    from workbench.rnn import packed_rnn

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and units >= 64:
        raise SystemExit(NO_GPU)
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    device = "gpu" if gpus else "cpu"
    cell = CELLS["lstm"](units, dtype=dtype)
    cell.build((None, FEATURES))
    layer = keras.layers.LSTM(units, return_sequences=True, dtype=dtype)
    layer.build((None, None, FEATURES))
    time_steps = 32 if units < 64 else 256
    for rows, together in cases:
        x = tf.random.normal([rows, time_steps, FEATURES], dtype=cell.compute_dtype)
        lengths = tf.fill([rows], time_steps)
        run = lambda x, n=lengths, u=together: packed_rnn(cell, x, n, kernel="tiles", unroll_steps=u)[0]  # noqa: E731
        facts = {"rows": rows, "unroll_steps": together, "units": units, "dtype": dtype, "tf32": tf32}
        facts["device"] = device
        found: dict[str, Any] = {}
        for name, one in (*_ways(run, cell, "tiles"), *_ways(layer, layer, "keras")):
            try:
                found[name] = _microseconds(one, x, time_steps)
            except Exception as error:  # what fails costs nothing else
                found["refused"] = f"{name}: {type(error).__name__}: {error}"[:300]
        _tell(part, **facts, **found)


def _ways(run: Callable[[Any], Any], owner: Any, name: str) -> list[tuple[str, Callable[[Any], Any]]]:
    """Forward alone, and with the gradients of inputs and weights."""
    import tensorflow as tf

    weights = [v.value for v in owner.trainable_variables]

    def both(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = run(x)
            total = tf.reduce_sum(outputs)
        return outputs, tape.gradient(total, [x, *weights])

    functions = (("forward", run), ("with_gradients", both))
    return [(f"{name}_{what}_us", tf.function(one, autograph=False)) for what, one in functions]


def _microseconds(function: Callable[[Any], Any], x: Any, time_steps: int) -> float:
    import tensorflow as tf

    taken = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        function(x)
        tf.test.experimental.sync_devices()
        taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken[WARM_UP:]) / time_steps


def peers(size: str) -> None:
    """Training steps beside Keras, cuDNN and PyTorch: the settings of the goals first, then the others."""
    from experiments.peers.processes import Processes, sees_gpu
    from experiments.peers.worker import Machine, run_job
    from experiments.timing import PAUSE

    processes = Processes()
    machine = Machine(os.cpu_count() or 1, processes.run(sees_gpu), 60 * PAUSE if size == "tiny" else 1.5)
    if not machine.gpu and size != "tiny":
        raise SystemExit(NO_GPU)
    device = "gpu" if machine.gpu else "cpu"
    for setting in _settings(size):
        arms = {PACKED, KERAS, *TORCH} if setting.cell in ("lstm", "gru") else {PACKED, "dynamic", "keras"}
        arms |= {"cudnn"} if machine.gpu and setting.cell in ("lstm", "gru") else set()
        chosen = in_order(arm for arm in arms if can(arm, setting))
        try:
            outcome = processes.run(run_job, PeersJob(setting, chosen), machine)
        except Exception as error:  # one setting that fails costs no other
            _tell("peers", setting=setting.name, refused=f"{type(error).__name__}: {error}"[:300])
            continue
        for name, one in outcome.arms.items():
            values = {"refused": one.refused[:300]} if one.refused else {"ms": _milliseconds(one.taken)}
            more = {"first_call_s": one.first_call_s, "error": one.error}
            _tell("peers", setting=setting.name, arm=name, device=device, **values, **more)


def _milliseconds(taken: Any) -> float:
    """The sum over the batches of each one's median, a batch."""
    return 1e3 * float(np.median(taken, axis=0).mean())


def _settings(size: str) -> list[Setting]:
    if size == "tiny":
        return [Setting("lstm", 4, 16, "geometric_100"), Setting("ugrnn", 4, 16, "geometric_100")]
    first = [
        Setting("lstm", batch, units, lengths)
        for batch, units in ((64, 256), (256, 512))
        for lengths in ("geometric_1000", "equal")
    ]
    others = [Setting("lstm_peephole_proj", 64, 256, "geometric_100"), Setting("gru", 64, 256, "equal")]
    with_tf32 = [Setting(s.cell, s.batch, s.units, s.lengths, tf32=True) for s in first]
    sizes = [Setting("lstm", batch, units, "geometric_1000") for batch, units in ((64, 512), (64, 1024))]
    sizes += [Setting("lstm", 256, units, "equal") for units in (256, 1024)]
    return [*first, *others, *with_tf32, *sizes]


PARTS = {"devices": devices, "steps": steps, "whole_loops": whole_loops, "peers": peers}


def main(part: str, size: str) -> None:
    """Measure one part, at a size, and print what was found, a line of JSON each."""
    PARTS[part](size)


if __name__ == "__main__":
    main(*sys.argv[1:])
