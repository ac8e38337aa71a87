"""How PyTorch does one training step: its LSTM or GRU on a packed sequence, or on the padded batch.

PyTorch is an extra that may be missing, so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.peers.check import Result
from experiments.peers.settings import TORCH_PACKED, Setting
from experiments.peers.work import INPUTS, Batch, weights


@dataclass(frozen=True)
class TorchArm:
    """As arms.Arm."""

    prepare: Callable[[Batch], Any]
    step: Callable[[Any], Any]
    result: Callable[[Any], Result]
    graphs: Callable[[], int | None]
    outputs: int


def make_arm(name: str, setting: Setting, *, gpu: bool = False) -> TorchArm:
    """`torch_packed` or `torch_padded`."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    device = torch.device("cuda" if gpu else "cpu")
    kind = torch.nn.LSTM if setting.cell == "lstm" else torch.nn.GRU
    rnn = kind(INPUTS, setting.units, batch_first=True, bidirectional=setting.both).to(device)
    directions = ["", "_reverse"][: 1 + setting.both]
    for direction, suffix in enumerate(directions):
        for label, value in _to_torch(setting, weights(setting, direction)).items():
            getattr(rnn, f"{label}_l0{suffix}").data.copy_(torch.as_tensor(value, dtype=torch.float32))
    parameters = dict(rnn.named_parameters())
    lstm, packs = setting.cell == "lstm", name == TORCH_PACKED

    def prepare(batch: Batch) -> Any:
        def tensor(value: np.ndarray, learns: bool = False) -> Any:
            made = torch.as_tensor(value, dtype=torch.float32, device=device)
            return made.requires_grad_(learns)

        states = [tensor(np.stack(batch.states[k :: 1 + lstm]), True) for k in range(1 + lstm)]
        # Lengths stay on the CPU: pack_padded_sequence wants them there.
        lengths = torch.as_tensor(batch.lengths.astype("int64"))
        return tensor(batch.inputs, True), lengths, states, tensor(batch.d_outputs), tensor(batch.d_state)

    def step(given: Any) -> Any:
        inputs, lengths, states, d_outputs, d_state = given
        begin = tuple(states) if lstm else states[0]
        if packs:
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            outputs, final = rnn(packed, begin)
            outputs, _ = pad_packed_sequence(outputs, batch_first=True)
            h = final[0] if lstm else final
            last = torch.cat(list(h), -1)
        else:
            outputs, _ = rnn(inputs, begin)
            last = outputs[torch.arange(len(lengths)), lengths - 1]
        sources = [inputs, *states, *parameters.values()]
        gradients = torch.autograd.grad([outputs, last], sources, [d_outputs, d_state])
        if gpu:
            torch.cuda.synchronize()
        return outputs, last, gradients

    def result(done: Any) -> Result:
        outputs, last, (d_inputs, *rest) = done
        found = {"inputs": d_inputs}
        d_states, d_weights = rest[: 1 + lstm], dict(zip(parameters, rest[1 + lstm :], strict=True))
        for direction in range(len(directions)):
            for k, d_state in enumerate(d_states):
                found[f"state_{direction * (1 + lstm) + k}"] = d_state[direction]
        arrays = {name: value.detach().cpu().numpy() for name, value in found.items()}
        for direction, suffix in enumerate(directions):
            theirs = {
                label: d_weights[f"{label}_l0{suffix}"].detach().cpu().numpy()
                for label in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            prefix = ("forward ", "backward ")[direction] if setting.both else ""
            arrays |= {prefix + name: value for name, value in _to_keras(setting, theirs).items()}
        return Result(outputs.detach().cpu().numpy(), last.detach().cpu().numpy(), arrays)

    return TorchArm(prepare, step, result, lambda: None, setting.units * len(directions))


def configure(threads: int, tf32: bool) -> None:
    """The same threads as TensorFlow's, and TF32 or not."""
    import torch

    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def _to_torch(setting: Setting, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keras' weights in PyTorch's layout: gates in Keras' order, but r, z, n for Keras' z, r, n."""
    bias = named["bias"]
    if setting.cell == "lstm":
        bias = np.stack([bias, np.zeros_like(bias)])  # PyTorch has two, which it adds
    moved = {
        "weight_ih": named["kernel"].T,
        "weight_hh": named["recurrent_kernel"].T,
        "bias_ih": bias[0],
        "bias_hh": bias[1],
    }
    return {label: _turned(setting, value) for label, value in moved.items()}


def _to_keras(setting: Setting, theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    back = {label: _turned(setting, value) for label, value in theirs.items()}
    lstm = setting.cell == "lstm"
    bias = back["bias_ih"] if lstm else np.stack([back["bias_ih"], back["bias_hh"]])
    return {"kernel": back["weight_ih"].T, "recurrent_kernel": back["weight_hh"].T, "bias": bias}


def _turned(setting: Setting, value: np.ndarray) -> np.ndarray:
    """A GRU's first two gates swapped; its own inverse."""
    if setting.cell == "lstm":
        return value
    z, r, n = np.split(value, 3)
    return np.concatenate([r, z, n])
