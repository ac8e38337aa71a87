"""A cell of its options, with the wrappers around it: what `cell=` in a configuration comes to."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from workbench.cells import CELLS
from workbench.cells.base import check_is_cell
from workbench.cells.wrappers import AttentionWrapper, DropoutWrapper, MultiRNNCell, ResidualWrapper
from workbench.options.cell import Cell, Custom


def compose_cell(options: Cell, *, seed: int = 0, dtype: Any = "float32", name: str = "cell") -> Any:
    """A cell of CELLS, or anyone's (`Custom`), wrapped from the inside out: residual, dropout, layers, attention.

    The guide's own composition, an LSTM of 64 in Dropout(output 0.5) four times in a MultiRNN, is
    `LSTM(units=64, layers=4, output_keep_prob=0.5)`; each layer is a cell of its own. `seed` is that of the
    dropout's noise.

    Raises:
        ValueError: no such module or class, or one that does not take its options.
        TypeError: what the class makes is no cell.
    """
    make: Any
    if isinstance(options, Custom):
        make, own = _custom(options.target), options.options
    else:
        make, own = CELLS[options.name], options.own()
    layers = []
    for layer in range(options.layers):
        label = f"{name}_{layer}" if options.layers > 1 else name
        made = _made(make, options, own, dtype, label)
        if options.residual:
            made = ResidualWrapper(made, name=f"{label}_residual")
        if options.drops:
            made = DropoutWrapper(
                made,
                input_keep_prob=options.input_keep_prob,
                state_keep_prob=options.state_keep_prob,
                output_keep_prob=options.output_keep_prob,
                variational=options.variational,
                seed=seed + layer,
                name=f"{label}_dropout",
            )
        layers.append(made)
    whole = MultiRNNCell(layers, name=f"{name}_layers") if len(layers) > 1 else layers[0]
    if options.attention_length is None:
        return whole
    return AttentionWrapper(
        whole,
        options.attention_length,
        attn_size=options.attention_size,
        attn_vec_size=options.attention_vector_size,
        name=f"{name}_attention",
    )


def _made(make: Any, options: Cell, own: Mapping[str, Any], dtype: Any, label: str) -> Any:
    try:
        made = make(options.units, **own, dtype=dtype, name=label)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"cell={options.name} with units={options.units} and {dict(own) or 'no options'}: {error}; "
            f"it takes {inspect.signature(make)}"
        ) from error
    check_is_cell(f"cell={options.name}", made)
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
