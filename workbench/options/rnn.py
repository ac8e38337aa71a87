"""conf/rnn: how a cell is run over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class RNN(Options):
    """What every unrolling has."""

    unroll: str = option(help="a name in workbench.rnn.RNNS")
    pass_lengths: bool = option(True, "give the RNN its sequence lengths")
    direction: str = option("forward", "", choices=["forward", "backward", "both"])


def needs_cudnn(rnn: Mapping[str, Any]) -> bool:
    """Whether a run with these options has cuDNN or fails."""
    return rnn["unroll"] == "cudnn" or bool(rnn.get("use_cudnn"))


@dataclass(frozen=True)
class Static(RNN):
    """Unrolled while tracing: one copy of the cell for each step."""

    unroll: str = "static"
    allow_retrace: bool = option(False, "accept a new graph for every length that a batch may have")

    def own(self) -> dict[str, Any]:
        """Nothing that the runner takes: what may be retraced is asked before a run (`config.rules`)."""
        return {}


@dataclass(frozen=True)
class Dynamic(RNN):
    """One loop at run time, bounded by the batch's longest example."""

    unroll: str = "dynamic"
    unroll_steps: int = option(1, "steps an iteration of the loop", low=1, high=64)


@dataclass(frozen=True)
class Packed(RNN):
    """Sorted by length, each step on the examples that still run: no padded step is computed."""

    unroll: str = "packed"
    kernel: str = option(
        "auto",
        "what computes; the run's record says what auto took",
        choices=["auto", "xla", "tiles", "plain", "autodiff", "masked"],
    )
    batch_size: int | None = option(
        None, "most examples of a batch, to compile for; null: the next power of two, from 32", low=1
    )
    chains: int = option(2, "independent parts of a batch, which run on as many cores", low=1, high=64)
    unroll_steps: int = option(
        8, "steps a turn of the loop in the tiles kernel, that of a GPU", choices=[1, 2, 4, 8, 16, 32]
    )


@dataclass(frozen=True)
class Keras(RNN):
    """Keras' own layer with a mask: every step of every example is computed."""

    unroll: str = "keras"
    use_cudnn: bool | None = option(None, "null: on a GPU, cuDNN wherever Keras can; the record says which")


@dataclass(frozen=True)
class Cudnn(RNN):
    """One call of cuDNN's for all layers of a cell, or both directions; on a GPU only."""

    unroll: str = "cudnn"


SCHEMAS: dict[str, type[RNN]] = {
    "static": Static,
    "dynamic": Dynamic,
    "packed": Packed,
    "keras": Keras,
    "cudnn": Cudnn,
}
