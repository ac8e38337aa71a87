"""The work of a setting: batches and weights, in float64, the same for all arms and in all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.peers.lengths import draw
from experiments.peers.settings import BATCHES, GATES, Setting

INPUTS = 64


@dataclass(frozen=True)
class Batch:
    """Inputs, initial states and cotangents of one training step; what stands in the padding is zero."""

    inputs: np.ndarray  # [B, T, D]
    lengths: np.ndarray  # [B] int32
    states: list[
        np.ndarray
    ]  # [B, units] each, all of the forward direction first; none where cells start at zero
    d_outputs: np.ndarray  # [B, T, outputs]
    d_state: np.ndarray  # [B, outputs], of the last output

    @property
    def valid(self) -> int:
        """Tokens, padding apart."""
        return int(self.lengths.sum())

    @property
    def padded(self) -> int:
        """Batch times longest."""
        return int(self.inputs.shape[0] * self.inputs.shape[1])

    @property
    def mask(self) -> np.ndarray:
        """[B, T], true where there is a token."""
        return np.arange(self.inputs.shape[1]) < self.lengths[:, None]

    def one_way(self) -> Batch:
        """What the forward direction alone sees of a batch for both."""
        half, states = self.d_outputs.shape[-1] // 2, self.states[: len(self.states) // 2]
        return replace(
            self, states=states, d_outputs=self.d_outputs[..., :half], d_state=self.d_state[:, :half]
        )


def lengths_of(setting: Setting, seed: int = 0) -> list[np.ndarray]:
    """The lengths of each batch of a setting; those of a smaller batch are others."""
    return [
        draw(setting.lengths, setting.batch, 100 * seed + number)
        for number in range(BATCHES[setting.lengths])
    ]


def batch_of(setting: Setting, lengths: np.ndarray, outputs: int, number: int = 0) -> Batch:
    """A batch of these lengths, padded to the longest, for a cell of so many outputs (both directions)."""
    random = np.random.default_rng([number, setting.batch, setting.units])
    batch, time = len(lengths), int(lengths.max())
    valid = (np.arange(time) < lengths[:, None])[..., None]
    return Batch(
        inputs=random.normal(size=(batch, time, INPUTS)) * valid,
        lengths=lengths,
        states=[0.3 * random.normal(size=(batch, setting.units)) for _ in range(states_of(setting))],
        d_outputs=random.normal(size=(batch, time, outputs)) * valid,
        d_state=random.normal(size=(batch, outputs)),
    )


def states_of(setting: Setting) -> int:
    """How many initial states are given: [h, c] for a direction of an LSTM, [h] of a GRU, else none."""
    one_way = {"lstm": 2, "gru": 1, "gru_before": 1}.get(setting.cell, 0)
    return one_way * (2 if setting.both else 1)


def cut(lengths: np.ndarray, most: int) -> np.ndarray:
    """Lengths of at most so much."""
    return np.minimum(lengths, most).astype("int32")


def weights(setting: Setting, direction: int = 0) -> dict[str, np.ndarray]:
    """Weights of a cell of GATES in Keras' shapes and order of gates."""
    random = np.random.default_rng([direction, setting.units])
    width, units = GATES[setting.cell] * setting.units, setting.units
    bias = (2, width) if setting.cell == "gru" else (width,)
    return {
        "kernel": random.normal(size=(INPUTS, width)) * INPUTS**-0.5,
        "recurrent_kernel": random.normal(size=(units, width)) * units**-0.5,
        "bias": 0.1 * random.normal(size=bias),
    }


def other_weights(started: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Weights for a cell that has these to begin with: matrices drawn anew, vectors moved a little.

    A vector that starts as random numbers, not the same in all arms, is drawn anew too.
    """
    random = np.random.default_rng(1)
    made = []
    for value in started:
        drawn = random.normal(size=value.shape)
        if value.ndim == 2:
            made.append(drawn * value.shape[0] ** -0.5)
        else:
            made.append(0.1 * drawn + (value if np.ptp(value) == 0 else 0))
    return made
