"""Several bidirectional layers, each reading both directions of the one below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from workbench.cells.base import share_a_cell
from workbench.rnn.bidirectional import bidirectional_rnn
from workbench.rnn.checks import renamed
from workbench.rnn.table import TOGETHER


def stacked_bidirectional_rnn(
    cells_fw: Sequence[Any],
    cells_bw: Sequence[Any],
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_states_fw: Sequence[Any] | None = None,
    initial_states_bw: Sequence[Any] | None = None,
    **options: Any,
) -> tuple[tf.Tensor, tuple[list[Any], list[Any]]]:
    """Runs a pair of cells a layer over a batch; what a layer reads is what both directions below put out.

        for cell_fw, cell_bw in zip(cells_fw, cells_bw):
            inputs = concat(bidirectional_rnn(cell_fw, cell_bw, inputs))

    Further options (`rnn`, `training`, `time_major`, ...) are `bidirectional_rnn`'s. Returns `(outputs [B, T, both
    sizes], (states_fw, states_bw))` of the last layer's outputs and every layer's states, a list for each way.

    Raises ValueError where the two lists are not of one length, or hold one cell twice.

    Source: TF 1.15's contrib stack_bidirectional_dynamic_rnn.
    """
    layers = len(cells_fw)
    if layers == 0 or len(cells_bw) != layers:
        raise ValueError(
            f"a layer needs two cells, but cells_fw has {layers} and cells_bw {len(cells_bw)}: give as many."
        )
    if share_a_cell([*cells_fw, *cells_bw]):
        raise ValueError(
            "one cell is given twice, or is inside two of them, so layers would share its weights: make a cell "
            "for each."
        )
    for name, states in (("initial_states_fw", initial_states_fw), ("initial_states_bw", initial_states_bw)):
        if states is not None and len(states) != layers:
            raise ValueError(
                f"{name} has states for {len(states)} layers, but there are {layers}: give as many."
            )
    if options.get("rnn") in TOGETHER:
        run = TOGETHER[options.pop("rnn")]
        initial = {"initial_states_fw": initial_states_fw, "initial_states_bw": initial_states_bw}
        return run(cells_fw, cells_bw, inputs, sequence_length, **initial, **options)
    states_fw, states_bw = [], []
    for layer, (cell_fw, cell_bw) in enumerate(zip(cells_fw, cells_bw, strict=True)):
        with renamed({f"initial_state_{way}": f"initial_states_{way}[{layer}]" for way in ("fw", "bw")}):
            outputs, (state_fw, state_bw) = bidirectional_rnn(
                cell_fw,
                cell_bw,
                inputs,
                sequence_length,
                initial_state_fw=None if initial_states_fw is None else initial_states_fw[layer],
                initial_state_bw=None if initial_states_bw is None else initial_states_bw[layer],
                **options,
            )
        inputs = tf.concat(outputs, axis=-1)
        states_fw.append(state_fw)
        states_bw.append(state_bw)
    return inputs, (states_fw, states_bw)
