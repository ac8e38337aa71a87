"""What the cells that walk along frequency share: how an input falls into overlapping blocks of features."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def block_starts(
    input_size: int, feature_size: int | None, frequency_skip: int | None, allow_unseen: bool = False
) -> tuple[int, list[int]]:
    """The size of a block, and the feature at which each begins.

    ValueError where a feature is in no block, being between two or in a rest too short for one, unless
    `allow_unseen`.

    >>> block_starts(7, 3, 2)
    (3, [0, 2, 4])
    >>> block_starts(7, None, None)
    (7, [0])
    """
    if frequency_skip and not feature_size:
        raise ValueError(
            f"frequency_skip={frequency_skip} does nothing without feature_size (there is one block): set that too."
        )
    size = feature_size or input_size
    skip = frequency_skip or size
    if size > input_size:
        raise ValueError(f"feature_size={size} is over the {input_size} features of the inputs.")
    starts = list(range(0, input_size - size + 1, skip))
    unseen = sorted(set(range(input_size)) - {k for start in starts for k in range(start, start + size)})
    if unseen and not allow_unseen:
        raise ValueError(
            f"of {input_size} features {len(unseen)} lie in no block, the first of them feature {unseen[0]}: "
            f"blocks have feature_size={size} and begin frequency_skip={skip} apart. TF 1.15 leaves such features "
            "out without a word; choose sizes that fit, or pass allow_unseen=True to have it so."
        )
    return size, starts


def spread(kernel: tf.Tensor, input_size: int, starts: list[int]) -> tf.Tensor:
    """One kernel for all blocks at once: [feature_size, K] -> [D, blocks * K], zero where a block does not look.

    So the projections of all blocks and steps are one product, with the kernel shared between the blocks.
    A block may begin before the first feature or end past the last: what it looks at there is zero.
    """
    rows, width = kernel.shape
    columns = []
    for start in starts:
        inside = kernel[max(0, -start) : max(0, min(rows, input_size - start))]
        above = min(max(0, start), input_size)
        columns.append(tf.pad(inside, [[above, input_size - above - inside.shape[0]], [0, 0]]))
    return tf.concat(columns, 1) if columns else tf.zeros([input_size, width], kernel.dtype)


def stack_states(states: Any) -> list[tf.Tensor]:
    """States of each block, [(h, c), ...] -> [h, c] side by side."""
    return [tf.concat(list(parts), -1) for parts in zip(*states, strict=True)]
