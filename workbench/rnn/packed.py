"""The packed RNN: no padded step is computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.keras_step import step_form
from workbench.cells.vectorized import inside_map
from workbench.cells.wrappers import MultiRNNCell
from workbench.cells.wrappers.wrapper import Around, WrapperCell
from workbench.cells.xla import inside_jit
from workbench.masking import zero_past_end
from workbench.rnn.keras_dropout import drop_inputs
from workbench.rnn.packing.autodiff import run_autodiff
from workbench.rnn.packing.compiled import run_compiled
from workbench.rnn.packing.kernel import choose_kernel, keep_choice, kernels_of
from workbench.rnn.packing.lifetime import free_with
from workbench.rnn.packing.masked import run_masked
from workbench.rnn.packing.plain import run_plain
from workbench.rnn.packing.received import Received, receive
from workbench.rnn.packing.tiles import UNROLLS, run_tiles
from workbench.rnn.step import swap_time

__all__ = ["BESIDE_ANOTHER", "kernels_of", "packed_rnn"]

BESIDE_ANOTHER: dict[str, Any] = {"chains": 1}
"""Options where two run side by side, as both directions do: each takes a core, whole batches make larger products.

Tried on 2 cores (LSTMs of 256 units, lengths of UD EWT): 0.84 to 1.01 of the time of two chains each.
"""


def packed_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
    kernel: str = "auto",
    batch_size: int | None = None,
    chains: int = 2,
    unroll_steps: int = 8,
    go_backwards: bool = False,
) -> tuple[Any, Any]:
    """Runs a cell over a batch sorted by length, each step on the examples that still run.

        order = argsort(sequence_length), longest first
        projected = valid inputs @ kernel + bias                      (one product)
        for t in range(longest):
            running = how many are longer than t
            output[t], state[:running] = step(projected[t, :running], state[:running])

    Arguments and results are `dynamic_rnn`'s, and so are the numbers. Beside them:

    `kernel` says what computes: "xla" (loops of static shape inside XLA; the fastest on a CPU; compiles for seconds
    once for each kind of cell and size of batch), "tiles" (the same for a GPU: loops of a known number of turns,
    few sizes of rows, each compiled once), "plain" (the same without XLA), "autodiff" (for cells that have only
    `call`), "masked" (every step of every example, for use inside an outer jit_compile), or "auto", which takes one
    by the rules of `choose_kernel`. What ran is told by `kernels_of(cell)`.
    `batch_size` is the most examples that a batch will have, to compile for; None takes the batch's own size, or
    the next power of two from 32 on where that is not known while tracing. Smaller batches are filled up with empty
    examples.
    `chains`: into how many independent parts a batch falls in the "xla" kernel, which run on as many cores; fewer
    where a part would have fewer than four examples (if their number, or `batch_size`, is known while tracing).
    `unroll_steps`: how many steps the "tiles" kernel takes in a turn of its loop; 1, 2, 4, 8, 16 or 32.
    `go_backwards` runs each example's valid part from its end; outputs stand in the order of the inputs, as those
    of `bidirectional_rnn`'s backward cell do.

    Keras' own LSTMCell, GRUCell and SimpleRNNCell are in one-step form, but with recurrent dropout in training.
    A MultiRNNCell or StackedRNNCells runs layer by layer, each by the kernel that fits it. So does the cell in a
    wrapper that acts on inputs and outputs alone (residual; dropout that drops no state), for all steps at once.

    "xla", "tiles" and "plain" have a gradient of their own, and no second one: NotImplementedError. ValueError says
    which argument is wrong, or why a kernel cannot run this cell here.

    Source: packed sequences are known from PyTorch (`torch.nn.utils.rnn.pack_padded_sequence`) and cuDNN; the guide
    has none.
    """
    _check_whole("chains", chains)
    if batch_size is not None:
        _check_whole("batch_size", batch_size)
    if unroll_steps not in UNROLLS:
        raise ValueError(f"unroll_steps must be one of {', '.join(map(str, UNROLLS))}, not {unroll_steps!r}.")
    received = receive(cell, inputs, sequence_length, initial_state, training, time_major, go_backwards)
    free_with(cell)
    by_parts = _by_parts(cell, kernel, training)
    if by_parts is not None:
        options = {"kernel": kernel, "batch_size": batch_size, "chains": chains, "unroll_steps": unroll_steps}
        outputs, states = by_parts(received, **options)
    else:
        received = received if kernel == "autodiff" else _in_one_step(received)
        chosen = choose_kernel(received.cell, kernel, training)
        keep_choice(cell, chosen)
        kernels = _KERNELS | {
            "xla": partial(run_compiled, batch_size=batch_size, chains=chains),
            "tiles": partial(run_tiles, batch_size=batch_size, together=unroll_steps),
        }
        outputs, states = kernels[chosen.kernel](received)
    outputs, states = received.shaped(outputs, states)
    return (tf.nest.map_structure(swap_time, outputs) if time_major else outputs), states


_KERNELS: dict[str, Callable[[Received], tuple[Any, Any]]] = {
    "plain": run_plain,
    "autodiff": run_autodiff,
    "masked": run_masked,
}


def _in_one_step(received: Received) -> Received:
    """With a cell of Keras' in one-step form, where it has one; what it drops of its inputs is dropped here."""
    form = step_form(received.cell, received.training)
    if form is None:
        return received
    return received._replace(cell=form, inputs=drop_inputs(received.cell, received.inputs, received.training))


def _by_parts(cell: Any, kernel: str, training: bool) -> Callable[..., tuple[Any, Any]] | None:
    """How a cell made of others runs where each can have a kernel of its own; None where it runs whole."""
    if kernel == "masked" or inside_jit() or inside_map():
        return None
    if isinstance(cell, MultiRNNCell) or type(cell) is keras.layers.StackedRNNCells:
        return _layer_by_layer
    around = cell.around(training) if isinstance(cell, WrapperCell) and kernel != "autodiff" else None
    return None if around is None else partial(_within, around)


def _within(around: Around, whole: Received, **options: Any) -> tuple[Any, Any]:
    """What a wrapper does, for all steps at once, around its cell's run."""
    options |= {"training": whole.training, "go_backwards": whole.backwards}
    outputs, states = packed_rnn(
        around.cell, around.before(whole.inputs), whole.lengths, initial_state=whole.states, **options
    )
    return zero_past_end(around.after(whole.inputs, outputs), whole.lengths), states


def _layer_by_layer(stack: Received, **options: Any) -> tuple[Any, list[Any]]:
    """All steps of a layer, then of the next: the same numbers as all layers step by step."""
    outputs, final_state = stack.inputs, []
    options |= {"training": stack.training, "go_backwards": stack.backwards}
    for cell, state in zip(stack.cell.cells, stack.states, strict=True):
        state = state if tf.nest.is_nested(state) else [state]  # of a cell that has no get_initial_state
        outputs, state = packed_rnn(cell, outputs, stack.lengths, initial_state=state, **options)
        final_state.append(state)
    return outputs, final_state


def _check_whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}.")
