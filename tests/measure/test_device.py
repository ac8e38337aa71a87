from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workbench.measure.device import DeviceError, configure
from workbench.options.training import Training


class FakeTensorFlow:
    """What configure() asks of TensorFlow, with as many GPUs as wanted; `calls` is what it set."""

    def __init__(self, gpus: int, *, has_run: bool = False) -> None:
        self.calls: dict[str, Any] = {}
        self.has_run = has_run
        self.gpus = [f"GPU:{number}" for number in range(gpus)]
        self.config = SimpleNamespace(
            list_physical_devices=lambda kind: self.gpus,
            set_visible_devices=lambda devices, kind: self._set("visible", devices),
            experimental=SimpleNamespace(
                set_memory_growth=lambda gpu, on: self._set(f"growth {gpu}", on),
                enable_tensor_float_32_execution=lambda on: self.calls.update(tf32=on),
                tensor_float_32_execution_enabled=lambda: self.calls.get("tf32", True),
                get_device_details=lambda gpu: {"device_name": "NVIDIA H100", "compute_capability": (9, 0)},
            ),
            threading=SimpleNamespace(
                set_intra_op_parallelism_threads=lambda n: self._set("intra", n),
                set_inter_op_parallelism_threads=lambda n: self._set("inter", n),
                get_intra_op_parallelism_threads=lambda: self.calls.get("intra", 0),
                get_inter_op_parallelism_threads=lambda: self.calls.get("inter", 0),
            ),
        )
        self.sysconfig = SimpleNamespace(
            get_build_info=lambda: {"cuda_version": "12.5", "cudnn_version": "9"}
        )

    def _set(self, name: str, value: Any) -> None:
        if self.has_run:
            raise RuntimeError("cannot be modified after initialization")
        self.calls[name] = value


def test_auto_takes_the_first_gpu_and_hides_the_others() -> None:
    fake = FakeTensorFlow(2)
    found = configure(Training(), tensorflow=fake)
    assert fake.calls == {"visible": ["GPU:0"], "growth GPU:0": True, "tf32": False}
    assert (found["device"], found["device_name"], found["compute_capability"]) == (
        "gpu",
        "NVIDIA H100",
        "9.0",
    )
    assert (found["cuda_version"], found["gpus_seen"], found["tf32"]) == ("12.5", 2, False)


def test_auto_without_a_gpu_is_the_cpu_and_says_so() -> None:
    found = configure(Training(), tensorflow=FakeTensorFlow(0))
    assert (found["device"], found["device_name"], found["cudnn_version"]) == ("cpu", "CPU", None)


def test_cpu_hides_a_gpu_that_is_there() -> None:
    fake = FakeTensorFlow(1)
    assert configure(Training(device="cpu"), tensorflow=fake)["device"] == "cpu"
    assert fake.calls["visible"] == []


def test_a_gpu_that_is_not_there_is_refused_and_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    fake = FakeTensorFlow(0)
    with pytest.raises(
        DeviceError,
        match=r"training.device=gpu: TensorFlow sees no GPU.*it is '-1'.*take training.device=cpu",
    ):
        configure(Training(device="gpu"), tensorflow=fake)
    assert fake.calls == {}


def test_fewer_gpus_than_replicas_are_refused() -> None:
    with pytest.raises(
        DeviceError, match=r"^training.workers=3: each replica needs a GPU .* TensorFlow sees 2; take"
    ):
        configure(Training(), count=3, tensorflow=FakeTensorFlow(2))
    assert configure(Training(), count=2, tensorflow=FakeTensorFlow(3))["device"] == "gpu"


def test_threads_and_tf32_are_set_and_recorded() -> None:
    found = configure(Training(threads=2, tf32=True), memory_growth=False, tensorflow=FakeTensorFlow(1))
    assert (found["intra_threads"], found["inter_threads"], found["tf32"]) == (2, 2, True)
    assert found["memory_growth"] is False


def test_the_environments_flags_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    found = configure(Training(device="cpu"), tensorflow=FakeTensorFlow(0))
    assert (found["onednn"], found["xla_flags"]) == ("0", "--xla_dump_to=x")


def test_too_late_is_said_in_words() -> None:
    with pytest.raises(DeviceError, match="TensorFlow has run already in this process"):
        configure(Training(device="cpu"), tensorflow=FakeTensorFlow(0, has_run=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "tpu"}, r"training.device=tpu: must be one of auto, cpu, gpu"),
        ({"threads": 0}, r"training.threads=0: must be at least 1"),
    ],
)
def test_values_out_of_range_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Training(**given)


def test_the_real_tensorflow_has_all_that_is_asked_of_it() -> None:
    import tensorflow as tf

    for name in ("list_physical_devices", "set_visible_devices"):
        assert callable(getattr(tf.config, name))
    for name in ("set_memory_growth", "enable_tensor_float_32_execution", "get_device_details"):
        assert callable(getattr(tf.config.experimental, name))
    assert tf.config.experimental.tensor_float_32_execution_enabled() in (True, False)
    assert tf.config.threading.get_intra_op_parallelism_threads() >= 0
    assert isinstance(tf.sysconfig.get_build_info(), dict)
