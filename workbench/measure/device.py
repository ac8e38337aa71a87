"""Which device TensorFlow runs on, and how: set once, before its runtime starts, and recorded."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from workbench.options.training import Training


class DeviceError(RuntimeError):
    """A device that was asked for and cannot be had; the message says what there is and what to change."""


def configure(
    training: Training, *, count: int = 1, first: int = 0, memory_growth: bool = True, tensorflow: Any = tf
) -> dict[str, Any]:
    """Set device, TF32 and threads; return what was set and what was found.

    `auto` takes the first GPU that TensorFlow sees, else the CPU; the record says which. `gpu` with none there
    raises DeviceError and never runs on the CPU instead. `count` devices are used, other GPUs are hidden: as
    many GPUs from number `first` on, DeviceError where there are fewer, or as many logical devices of the CPU.
    `threads` sets both of TensorFlow's pools (intra-op and inter-op); None leaves one thread a core. Without `tf32`
    float32 products on a GPU are full float32; TensorFlow's own default is TF32. Must be called before
    TensorFlow runs its first operation, after which threads and devices are fixed. (`tensorflow` is there for
    tests.)
    """
    device, threads = training.device, training.threads
    config = tensorflow.config
    gpus = config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise DeviceError(
            "training.device=gpu: TensorFlow sees no GPU. Look at `nvidia-smi`, install CUDA's packages "
            "(pip install 'tensorflow[and-cuda]'), and see that CUDA_VISIBLE_DEVICES hides none "
            f"(it is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}); or take training.device=cpu"
        )
    chosen = gpus[first : first + count] if device in ("auto", "gpu") else []
    if gpus and device != "cpu" and len(chosen) < count:
        raise DeviceError(
            f"training.workers={max(count, training.workers)}: each replica needs a GPU of its own, and TensorFlow "
            f"sees {len(gpus)}; take fewer, or training.device=cpu"
        )
    try:
        config.set_visible_devices(chosen, "GPU")
        for gpu in chosen:
            config.experimental.set_memory_growth(gpu, memory_growth)
        if count > 1 and not chosen:
            [cpu] = config.list_physical_devices("CPU")
            config.set_logical_device_configuration(
                cpu, [tensorflow.config.LogicalDeviceConfiguration() for _ in range(count)]
            )
        if threads is not None:
            config.threading.set_intra_op_parallelism_threads(threads)
            config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise DeviceError(
            "device settings come too late, TensorFlow has run already in this process "
            f"({error}): call configure() before anything that computes, or start a new process"
        ) from error
    config.experimental.enable_tensor_float_32_execution(training.tf32)
    return _found(tensorflow, chosen, memory_growth)


def _found(tensorflow: Any, chosen: list[Any], memory_growth: bool) -> dict[str, Any]:
    config = tensorflow.config
    build = tensorflow.sysconfig.get_build_info()
    details = config.experimental.get_device_details(chosen[0]) if chosen else {}
    capability = details.get("compute_capability")
    return {
        "device": "gpu" if chosen else "cpu",
        "device_name": details.get("device_name", "GPU") if chosen else "CPU",
        "compute_capability": ".".join(map(str, capability)) if capability else None,
        "gpus_seen": len(config.list_physical_devices("GPU")),
        "memory_growth": memory_growth if chosen else None,
        "cuda_version": build.get("cuda_version") if chosen else None,
        "cudnn_version": build.get("cudnn_version") if chosen else None,
        "cudnn_loaded": cudnn_version() if chosen else None,
        "tf32": bool(config.experimental.tensor_float_32_execution_enabled()),
        "intra_threads": config.threading.get_intra_op_parallelism_threads(),
        "inter_threads": config.threading.get_inter_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "tf_xla_flags": os.environ.get("TF_XLA_FLAGS", ""),
    }


def cudnn_version() -> str | None:
    """The version of the cuDNN library that will be used, as `9.1.0`; None where its library cannot be asked.

    What TensorFlow was built against is another number, and 8.1 to 8.9.0 gave corrupt masked results.
    """
    import ctypes

    for name in ("libcudnn.so.9", "libcudnn.so.8", "libcudnn.so"):
        try:
            version = int(ctypes.CDLL(name).cudnnGetVersion())
        except (OSError, AttributeError):
            continue
        if version >= 90000:
            return f"{version // 10000}.{version % 10000 // 100}.{version % 100}"
        return f"{version // 1000}.{version % 1000 // 100}.{version % 100}"
    return None
