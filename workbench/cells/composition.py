"""A cell by its name and options, and the wrappers around it: what `cell=` in a configuration comes to."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.cells import CELLS
from workbench.cells.base import check_is_cell
from workbench.cells.wrappers import AttentionWrapper, DropoutWrapper, MultiRNNCell, ResidualWrapper

CUSTOM = "custom"


@dataclass(frozen=True)
class Wrapping:
    """What stands around a cell, from the inside out: residual, dropout, layers, attention.

    The guide's own composition, an LSTM of 64 in Dropout(output 0.5) four times in a MultiRNN, is
    `Wrapping(layers=4, output_keep_prob=0.5)`; each layer is a cell of its own.
    """

    layers: int = 1
    input_keep_prob: float = 1.0
    state_keep_prob: float = 1.0
    output_keep_prob: float = 1.0
    variational: bool = False
    residual: bool = False
    attention_length: int | None = None
    attention_size: int | None = None
    attention_vector_size: int | None = None

    @property
    def drops(self) -> bool:
        """Whether anything is dropped in training."""
        return min(self.input_keep_prob, self.state_keep_prob, self.output_keep_prob) < 1


def compose_cell(
    cell: str,
    units: int,
    options: Mapping[str, Any] | None = None,
    wrapping: Wrapping | None = None,
    *,
    seed: int = 0,
    dtype: Any = "float32",
    name: str = "cell",
) -> Any:
    """The cell called `cell` in CELLS with its options, wrapped; or anyone's, where `cell` is `custom`.

    `custom` takes `options["target"]`, a `module:Class` with Keras' cell contract, and passes the rest of the
    options to it. `seed` is that of the dropout's noise.

    Raises:
        ValueError: no such cell, module or class, or one that does not take its options.
        TypeError: what the class makes is no cell.
    """
    options, wrapping = dict(options or {}), wrapping or Wrapping()
    make = _custom(options.pop("target", None)) if cell == CUSTOM else CELLS[cell]
    layers = []
    for layer in range(wrapping.layers):
        label = f"{name}_{layer}" if wrapping.layers > 1 else name
        made = _made(make, cell, units, options, dtype, label)
        if wrapping.residual:
            made = ResidualWrapper(made, name=f"{label}_residual")
        if wrapping.drops:
            made = DropoutWrapper(
                made,
                input_keep_prob=wrapping.input_keep_prob,
                state_keep_prob=wrapping.state_keep_prob,
                output_keep_prob=wrapping.output_keep_prob,
                variational=wrapping.variational,
                seed=seed + layer,
                name=f"{label}_dropout",
            )
        layers.append(made)
    whole = MultiRNNCell(layers, name=f"{name}_layers") if len(layers) > 1 else layers[0]
    if wrapping.attention_length is None:
        return whole
    return AttentionWrapper(
        whole,
        wrapping.attention_length,
        attn_size=wrapping.attention_size,
        attn_vec_size=wrapping.attention_vector_size,
        name=f"{name}_attention",
    )


def _made(make: Any, cell: str, units: int, options: dict[str, Any], dtype: Any, label: str) -> Any:
    try:
        made = make(units, **options, dtype=dtype, name=label)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cell={cell} with units={units} and {options or 'no options'}: {error}; "
            f"it takes {inspect.signature(make)}"
        ) from error
    check_is_cell(f"cell={cell}", made)
    return made


def _custom(target: Any) -> Any:
    module, _, name = str(target or "").partition(":")
    if not module or not name:
        raise ValueError(f"cell.target={target}: must be module:Class, as mycells:MyLSTMCell")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(
            f"cell.target={target}: cannot import {module} ({error}); is its folder on PYTHONPATH?"
        ) from error
    except AttributeError as error:
        raise ValueError(f"cell.target={target}: {module} has no {name}") from error
