"""What the block cells share: what their ops cannot do, refused in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from workbench.cells.custom_gradient import custom_gradient
from workbench.cells.vectorized import inside_map
from workbench.cells.xla import inside_jit


def check_block_options(cell: Any, dtypes: Sequence[str], **fixed: Any) -> None:
    """Refuses dtypes that the op has no kernel for, and options that it cannot honour."""
    kind = type(cell).__name__
    if cell.compute_dtype not in dtypes:
        raise ValueError(f"{kind} computes in {' or '.join(dtypes)} only, not in {cell.compute_dtype}.")
    for option, value in fixed.items():
        found = getattr(cell, option)
        if found != value:
            shown = getattr(value, "__name__", value)
            raise ValueError(f"{kind} is one op and has {option}={shown} only, not {found!r}.")


def refuse_where_lost(cell: Any, name: str) -> None:
    """Refuses what the op cannot be inside of, before TensorFlow does; `name` is the cell that gives the same."""
    if inside_jit():
        raise ValueError(
            f"{type(cell).__name__} is an op that XLA does not have, so it cannot run inside an outer jit_compile: "
            f'use cell "{name}", whose weights and numbers are the same, or leave jit_compile away.'
        )
    if inside_map():
        raise ValueError(
            f"{type(cell).__name__} {cell.name} is an op with a gradient of its own, which tf.vectorized_map would "
            f'lose (Keras\' TimeDistributed of an unknown number of steps): use cell "{name}", whose weights and '
            "numbers are the same, or give the inputs a known number of steps."
        )


def inside(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Operands of an op with a gradient of its own, as tensors of the graph that is traced now.

    TensorFlow takes such operands as they are, so in a branch of `tf.cond` the gradient would see the tensors
    outside it where the branch sees its own: run, it fails for want of one of them. tests/facts shows it.
    """
    return [tf.identity(tensor) for tensor in tensors]


def once_only(gradient: Callable[..., Any], plain: str) -> Callable[..., Any]:
    """A gradient made of ops without a gradient of their own, which says so when it is differentiated."""

    @custom_gradient
    def guarded(*tensors: tf.Tensor) -> Any:
        def refuse(*_: Any) -> None:
            raise NotImplementedError(
                "a block cell has no second derivatives: its gradient is an op that TensorFlow cannot "
                f'differentiate. Use cell "{plain}", whose numbers are the same, to differentiate twice.'
            )

        return gradient(*map(tf.stop_gradient, tensors)), refuse

    return guarded
