"""Two cells on one batch, one forward and one backward over the valid part."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import share_a_cell
from workbench.cells.wrappers import MultiRNNCell
from workbench.masking import reverse_valid
from workbench.rnn.checks import as_tensors, check_inputs, check_sequence_length, renamed
from workbench.rnn.step import swap_time
from workbench.rnn.table import RNNS, TOGETHER, TURNING


def bidirectional_rnn(
    cell_fw: Any,
    cell_bw: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    rnn: str = "dynamic",
    initial_state_fw: Any = None,
    initial_state_bw: Any = None,
    training: bool = False,
    time_major: bool = False,
    **options: Any,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Runs `cell_fw` over each example's valid part and `cell_bw` over the same reversed, each by any runner.

        out_fw, state_fw = rnn(cell_fw, inputs)
        out_bw, state_bw = rnn(cell_bw, reverse_valid(inputs));  out_bw = reverse_valid(out_bw)

    `rnn` is a name of RNNS; further options go to it. Returns `((out_fw, out_bw), (state_fw, state_bw))`; the
    backward state is the one after an example's first token. Both outputs stand in the order of the inputs.

    Raises ValueError where both directions are, or have inside, one cell, which would share its weights.

    Source: Schuster and Paliwal, https://doi.org/10.1109/78.650093; the guide, "Bidirectional RNNs".
    """
    if rnn not in RNNS:
        raise ValueError(f"rnn={rnn!r} is not a runner; there are {', '.join(RNNS)}.")
    if share_a_cell([cell_fw, cell_bw]):
        raise ValueError(
            "cell_fw and cell_bw are one cell, or have one inside, so both directions would share its weights: "
            "make two."
        )

    if rnn in TOGETHER and not any(isinstance(cell, MultiRNNCell) for cell in (cell_fw, cell_bw)):
        options |= {"training": training, "time_major": time_major}
        with renamed({f"initial_states_{way}[0]": f"initial_state_{way}" for way in ("fw", "bw")}):
            outputs, (states_fw, states_bw) = TOGETHER[rnn](
                [cell_fw],
                [cell_bw],
                inputs,
                sequence_length,
                initial_states_fw=[initial_state_fw],
                initial_states_bw=[initial_state_bw],
                **options,
            )
        return tuple(tf.split(outputs, 2, axis=-1)), (states_fw[0], states_bw[0])

    options = {"training": training, "time_major": time_major, **TURNING.get(rnn, {}), **options}
    run = RNNS[rnn]
    with renamed({"initial_state": "initial_state_fw"}):
        out_fw, state_fw = run(cell_fw, inputs, sequence_length, initial_state=initial_state_fw, **options)
    with renamed({"initial_state": "initial_state_bw"}):
        out_bw, state_bw = _turned(
            rnn, cell_bw, inputs, sequence_length, initial_state=initial_state_bw, **options
        )
    return (out_fw, out_bw), (state_fw, state_bw)


def backward_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    rnn: str = "dynamic",
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
    **options: Any,
) -> tuple[Any, Any]:
    """Runs a cell by any runner over each example's valid part from its end: a bidirectional RNN's other half.

    `rnn` is a name of RNNS; further options go to it. Outputs stand in the order of the inputs; the final state is
    the one after an example's first token.
    """
    if rnn not in RNNS:
        raise ValueError(f"rnn={rnn!r} is not a runner; there are {', '.join(RNNS)}.")
    inputs = as_tensors(inputs)
    check_inputs(cell, inputs, time_major)
    first = tf.nest.flatten(inputs)[0]
    sizes = [tf.shape(first)[axis] if first.shape[axis] is None else first.shape[axis] for axis in (0, 1)]
    time_steps, batch = sizes if time_major else reversed(sizes)
    lengths = check_sequence_length(sequence_length, batch, time_steps)
    options |= {"initial_state": initial_state, "training": training, "time_major": time_major}
    return _turned(rnn, cell, inputs, lengths, **options)


def _turned(
    rnn: str, cell: Any, inputs: Any, lengths: Any, *, time_major: bool, **options: Any
) -> tuple[Any, Any]:
    """By the runner's own `go_backwards`, where it has one; else by turning what goes in and what comes out."""

    def reverse(nest: Any) -> Any:
        if not time_major:
            return reverse_valid(nest, lengths)
        batch_major = tf.nest.map_structure(lambda x: swap_time(tf.convert_to_tensor(x)), nest)
        return tf.nest.map_structure(swap_time, reverse_valid(batch_major, lengths))

    run = RNNS[rnn]
    if rnn in TURNING:
        return run(cell, inputs, lengths, time_major=time_major, go_backwards=True, **options)
    outputs, state = run(cell, reverse(inputs), lengths, time_major=time_major, **options)
    return reverse(outputs), state
